//! JSON with the place of every value: what the slow path reads when a document has mistakes. Stops at the first
//! mistake of syntax, since nothing behind it can be trusted.

use std::borrow::Cow;

use super::pointer::Pointer;
use super::position::line_column;
use super::wording::shown;

/// The deepest nesting that is read. The deepest place of the model has 8.
const DEPTH: usize = 32;

/// A value and where it starts in the text, in bytes.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub start: usize,
    pub value: Value<'t>,
}

#[derive(Debug)]
pub(super) enum Value<'t> {
    Null,
    Bool(bool),
    /// As it was written.
    Number(&'t str),
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    /// In the order of the text, keys that stand twice included.
    Object(Vec<Member<'t>>),
}

#[derive(Debug)]
pub(super) struct Member<'t> {
    pub key: Cow<'t, str>,
    pub key_start: usize,
    pub value: Node<'t>,
}

/// The text is not JSON.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub offset: usize,
    pub pointer: Pointer,
    pub message: String,
}

impl<'t> Node<'t> {
    /// Reads a whole text.
    pub fn parse(text: &'t str) -> Result<Self, SyntaxError> {
        let mut parser = Parser {
            text,
            at: 0,
            open: Vec::new(),
        };
        let node = parser.value()?;
        parser.skip_space();
        if parser.at < text.len() {
            let found = parser.found();
            return Err(parser.error(format!(
                "the document ends before this, but {found} follows: were two documents pasted together?"
            )));
        }
        Ok(node)
    }

    /// The member called `key`; the first, where there are more.
    pub fn member(&self, key: &str) -> Option<&Member<'t>> {
        match &self.value {
            Value::Object(members) => members.iter().find(|member| member.key == key),
            _ => None,
        }
    }

    /// Where the value that `pointer` leads to starts; the nearest place around it, where it leads nowhere.
    pub fn locate(&self, pointer: &Pointer) -> usize {
        let mut node = self;
        for segment in pointer.segments() {
            let next = match &node.value {
                Value::Object(members) => members
                    .iter()
                    .find(|member| member.key == segment)
                    .map(|member| &member.value),
                Value::List(items) => segment.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.start
    }
}

/// An object or list that is being read.
struct Open<'t> {
    start: usize,
    bracket: u8,
    segment: Cow<'t, str>,
}

/// Quotes as word processors and chats write them.
const TYPOGRAPHIC_QUOTES: [char; 9] = ['“', '”', '„', '‟', '«', '»', '‘', '’', '‚'];
const TYPOGRAPHIC: &str =
    ": that is a typographic quote, as word processors and chats write it; JSON's are straight: \"";

struct Parser<'t> {
    text: &'t str,
    at: usize,
    open: Vec<Open<'t>>,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn error(&self, message: impl Into<String>) -> SyntaxError {
        self.error_at(self.at, message)
    }

    fn error_at(&self, offset: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            offset,
            pointer: Pointer::of(
                self.open
                    .iter()
                    .map(|open| &open.segment)
                    .filter(|segment| !segment.is_empty()),
            ),
            message: message.into(),
        }
    }

    /// The text ended too early.
    fn ended(&self) -> SyntaxError {
        let what = match self.open.last() {
            Some(open) => {
                let (line, column) = line_column(self.text, open.start);
                let kind = if open.bracket == b'{' {
                    "object"
                } else {
                    "list"
                };
                format!(
                    "the file ends inside the {kind} that starts at {line}:{column}: it looks half uploaded"
                )
            }
            None => "the file ends before the document does: it looks half uploaded".to_owned(),
        };
        self.error_at(self.text.len(), what)
    }

    /// What stands here, for messages.
    fn found(&self) -> String {
        let rest = self.rest();
        let word: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
            .take(21)
            .collect();
        match rest.chars().next() {
            None => "the end of the file".to_owned(),
            Some(_) if word.chars().count() > 20 => format!("`{}…`", word.get(..20).unwrap_or("")),
            Some(_) if !word.is_empty() => format!("`{word}`"),
            Some(c) => format!("`{}`", shown(c.encode_utf8(&mut [0; 4]))),
        }
    }

    fn value(&mut self) -> Result<Node<'t>, SyntaxError> {
        self.skip_space();
        let start = self.at;
        let value = match self.peek() {
            None => return Err(self.ended()),
            Some(b'{') => self.object()?,
            Some(b'[') => self.list()?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => self.word()?,
        };
        Ok(Node { start, value })
    }

    fn word(&mut self) -> Result<Value<'t>, SyntaxError> {
        for (word, value) in [
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Null),
        ] {
            if let Some(after) = self.rest().strip_prefix(word) {
                if after.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                    break;
                }
                self.at += word.len();
                return Ok(value);
            }
            if word.starts_with(self.rest()) {
                return Err(self.ended());
            }
        }
        let hint = match self.peek() {
            Some(b',' | b'}' | b']') => ": is something missing, or is there a comma too many?",
            Some(b'/' | b'#') => ": JSON has no comments",
            Some(b'\'') => ": JSON's strings stand in double quotes",
            _ if self.is_typographic() => TYPOGRAPHIC,
            _ => ": strings stand in double quotes; the only bare words are true, false and null",
        };
        Err(self.error(format!("expected a value, found {}{hint}", self.found())))
    }

    fn enter(&mut self, bracket: u8) -> Result<(), SyntaxError> {
        if self.open.len() >= DEPTH {
            return Err(self.error(format!(
                "nested deeper than {DEPTH} levels: no part of a fleet document is"
            )));
        }
        self.open.push(Open {
            start: self.at,
            bracket,
            segment: Cow::Borrowed(""),
        });
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn segment(&mut self, segment: Cow<'t, str>) {
        if let Some(open) = self.open.last_mut() {
            open.segment = segment;
        }
    }

    fn leave(&mut self) {
        self.at += 1;
        self.open.pop();
    }

    /// After an entry: whether another one follows.
    fn more(&mut self, close: u8) -> Result<bool, SyntaxError> {
        self.skip_space();
        match self.peek() {
            None => Err(self.ended()),
            Some(byte) if byte == close => Ok(false),
            Some(b',') => {
                let comma = self.at;
                self.at += 1;
                self.skip_space();
                if self.peek() == Some(close) {
                    self.segment(Cow::Borrowed(""));
                    return Err(self.error_at(
                        comma,
                        "the last entry has a comma after it: JSON has none there",
                    ));
                }
                Ok(true)
            }
            Some(byte) => {
                if let Some(error) = self.comma_missing_before(byte) {
                    return Err(error);
                }
                let hint = match byte {
                    b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' => ": is the comma missing?",
                    _ if self.is_typographic() => TYPOGRAPHIC,
                    b'/' | b'#' => ": JSON has no comments",
                    _ if byte.is_ascii_alphanumeric() => ": is a double quote missing before it?",
                    _ => "",
                };
                let found = match byte {
                    b'"' => "a string".to_owned(),
                    _ => self.found(),
                };
                Err(self.error(format!(
                    "expected `,` or `{}` after this entry, found {found}{hint}",
                    char::from(close)
                )))
            }
        }
    }

    /// The next entry begins on another line than the last one ends on: that is where the comma is missing.
    fn comma_missing_before(&self, byte: u8) -> Option<SyntaxError> {
        let begins = matches!(
            byte,
            b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'
        );
        let before = self.text.get(..self.at).unwrap_or_default();
        let end = before.trim_end_matches([' ', '\t', '\n', '\r']).len();
        let between = before.get(end..).unwrap_or_default();
        (begins && between.contains('\n')).then(|| {
            let (line, _) = line_column(self.text, self.at);
            self.error_at(
                end,
                format!("a comma is missing here, at the end of this line: another entry follows in line {line}"),
            )
        })
    }

    /// Whether a quote of word processors stands here.
    fn is_typographic(&self) -> bool {
        self.rest().starts_with(TYPOGRAPHIC_QUOTES)
    }

    fn list(&mut self) -> Result<Value<'t>, SyntaxError> {
        self.enter(b'[')?;
        let mut items = Vec::new();
        if self.peek() != Some(b']') {
            loop {
                self.segment(Cow::Owned(items.len().to_string()));
                items.push(self.value()?);
                if !self.more(b']')? {
                    break;
                }
            }
        }
        self.leave();
        Ok(Value::List(items))
    }

    fn object(&mut self) -> Result<Value<'t>, SyntaxError> {
        self.enter(b'{')?;
        let mut members = Vec::new();
        if self.peek() != Some(b'}') {
            loop {
                self.segment(Cow::Borrowed(""));
                let key_start = self.at;
                let key = match self.peek() {
                    None => return Err(self.ended()),
                    Some(b'"') => self.string()?,
                    Some(byte) => {
                        let hint = match byte {
                            b'/' | b'#' => ": JSON has no comments",
                            b',' => ": is there a comma too many?",
                            _ if self.is_typographic() => TYPOGRAPHIC,
                            _ => "",
                        };
                        let found = self.found();
                        return Err(self.error(format!(
                            "expected a key in double quotes, found {found}{hint}"
                        )));
                    }
                };
                self.segment(key.clone());
                self.skip_space();
                match self.peek() {
                    None => return Err(self.ended()),
                    Some(b':') => self.at += 1,
                    Some(_) => {
                        let found = self.found();
                        return Err(
                            self.error(format!("expected `:` after the key, found {found}"))
                        );
                    }
                }
                let value = self.value()?;
                members.push(Member {
                    key,
                    key_start,
                    value,
                });
                if !self.more(b'}')? {
                    break;
                }
            }
        }
        self.leave();
        Ok(Value::Object(members))
    }

    fn number(&mut self) -> Result<Value<'t>, SyntaxError> {
        let rest = self.rest();
        let len = rest
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_'))
            .count();
        let number = rest.get(..len).unwrap_or_default();
        if len == rest.len() && !self.open.is_empty() {
            return Err(self.ended());
        }
        if !is_number(number) {
            let hint = if number.trim_start_matches('-').starts_with('0') {
                ": no leading zeros, no 0x"
            } else if number.bytes().filter(|b| *b == b'.').count() > 1 {
                ": does it want double quotes?"
            } else {
                ""
            };
            return Err(self.error(format!("expected a number, found {}{hint}", self.found())));
        }
        self.at += len;
        Ok(Value::Number(number))
    }

    fn string(&mut self) -> Result<Cow<'t, str>, SyntaxError> {
        let quote = self.at;
        self.at += 1;
        let mut owned: Option<String> = None;
        loop {
            let rest = self.rest();
            let Some(len) = rest.find(|c: char| c == '"' || c == '\\' || c < ' ') else {
                return Err(self.ended());
            };
            let plain = rest.get(..len).unwrap_or_default();
            self.at += len;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(plain),
                        Some(text) => Cow::Owned(text + plain),
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(plain);
                    let character = self.escape()?;
                    text.push(character);
                }
                Some(b'\n' | b'\r') => {
                    let said = self.text.get(quote..self.at).unwrap_or_default();
                    let message = match said.chars().find(|c| TYPOGRAPHIC_QUOTES.contains(c)) {
                        Some(wrong) => format!(
                            "this string does not end on its line: it has the typographic quote `{wrong}`, and only a straight one (\") ends it"
                        ),
                        None => {
                            "this string does not end on its line: is the closing quote missing?"
                                .into()
                        }
                    };
                    return Err(self.error_at(quote, message));
                }
                _ => {
                    return Err(self.error(format!(
                        "a control character ({}) stands bare in a string",
                        self.found().trim_matches('`')
                    )));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let Some(byte) = self.peek() else {
            return Err(self.ended());
        };
        self.at += 1;
        let plain = match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(start),
            _ => {
                return Err(
                    self.error_at(start, "unknown escape: a backslash itself is written \\\\")
                );
            }
        };
        Ok(plain)
    }

    fn unicode(&mut self, start: usize) -> Result<char, SyntaxError> {
        let first = self.hex(start)?;
        let code = if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 2;
            let second = self.hex(start)?;
            if (0xdc00..0xe000).contains(&second) {
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            } else {
                first
            }
        } else {
            first
        };
        char::from_u32(code)
            .ok_or_else(|| self.error_at(start, "half of a surrogate pair: no character"))
    }

    fn hex(&mut self, start: usize) -> Result<u32, SyntaxError> {
        let digits = self.rest().as_bytes().get(..4);
        let Some(digits) = digits else {
            return Err(self.ended());
        };
        let mut code = 0;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else {
                return Err(self.error_at(start, "expected four hexadecimal digits after \\u"));
            };
            code = code * 16 + value;
        }
        self.at += 4;
        Ok(code)
    }
}

/// Whether `text` is a number as JSON has it.
fn is_number(text: &str) -> bool {
    fn digits(text: &str) -> Option<&str> {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        (rest.len() < text.len()).then_some(rest)
    }
    let text = text.strip_prefix('-').unwrap_or(text);
    let after_whole = match text.strip_prefix('0') {
        Some(rest) => Some(rest),
        None => digits(text),
    };
    let after_fraction = after_whole.and_then(|rest| match rest.strip_prefix('.') {
        Some(fraction) => digits(fraction),
        None => Some(rest),
    });
    let after_exponent = after_fraction.and_then(|rest| match rest.strip_prefix(['e', 'E']) {
        Some(exponent) => digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => Some(rest),
    });
    after_exponent == Some("")
}
