//! JSON with the place of every value: what the slow path reads when a document has mistakes. Stops at the first
//! mistake of syntax, since nothing behind it can be trusted.
//!
//! Nothing is kept of a text but where its values stand: lists and objects are read again by whoever looks into them, so
//! that a text of a million values costs no more memory than a short one.

mod strings;

use std::borrow::Cow;

use super::pointer::Pointer;
use super::position::line_column;
use super::wording::shown;

/// The deepest nesting that is read. The deepest place of the model has 8.
const DEPTH: usize = 32;

/// A value, and where it starts and ends in the text, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Node<'t> {
    pub start: usize,
    pub end: usize,
    pub value: Value<'t>,
}

#[derive(Debug, Clone)]
pub(super) enum Value<'t> {
    Null,
    Bool(bool),
    /// As it was written.
    Number(&'t str),
    Text(Cow<'t, str>),
    List(Items<'t>),
    /// In the order of the text, keys that stand twice included.
    Object(Members<'t>),
}

#[derive(Debug)]
pub(super) struct Member<'t> {
    pub key: Cow<'t, str>,
    pub key_start: usize,
    pub value: Node<'t>,
}

/// The items of a list, read when they are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Items<'t> {
    text: &'t str,
    /// Where its bracket stands.
    start: usize,
}

impl<'t> Items<'t> {
    pub fn iter(self) -> impl Iterator<Item = Node<'t>> {
        let mut parser = Parser::at(self.text, self.start + 1);
        std::iter::from_fn(move || parser.next_item())
    }
}

/// The members of an object, read when they are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'t> {
    text: &'t str,
    /// Where its bracket stands.
    start: usize,
}

impl<'t> Members<'t> {
    pub fn iter(self) -> impl Iterator<Item = Member<'t>> {
        let mut parser = Parser::at(self.text, self.start + 1);
        std::iter::from_fn(move || parser.next_member())
    }
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
        let mut parser = Parser::at(text, 0);
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
    pub fn member(&self, key: &str) -> Option<Member<'t>> {
        match &self.value {
            Value::Object(members) => members.iter().find(|member| member.key == key),
            _ => None,
        }
    }
}

/// An object or list that is being read.
struct Open<'t> {
    start: usize,
    bracket: u8,
    segment: Segment<'t>,
}

/// Where in it.
enum Segment<'t> {
    /// Nowhere in particular.
    None,
    Key(Cow<'t, str>),
    Item(usize),
}

impl Segment<'_> {
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::None => None,
            Self::Key(key) => Some(Cow::Borrowed(key.as_ref())).filter(|key| !key.is_empty()),
            Self::Item(index) => Some(Cow::Owned(index.to_string())),
        }
    }
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
    const fn at(text: &'t str, at: usize) -> Self {
        Self {
            text,
            at,
            open: Vec::new(),
        }
    }

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
            pointer: Pointer::of(self.open.iter().filter_map(|open| open.segment.text())),
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
        let end = self.at;
        Ok(Node { start, end, value })
    }

    /// The next item of a list that was read already and found to be right; `None`: there is no other.
    fn next_item(&mut self) -> Option<Node<'t>> {
        self.skip_space();
        if matches!(self.peek(), None | Some(b']')) {
            return None;
        }
        let node = self.known_value()?;
        self.skip_comma();
        Some(node)
    }

    /// The same of an object.
    fn next_member(&mut self) -> Option<Member<'t>> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return None;
        }
        let key_start = self.at;
        let key = self.string().ok()?;
        self.skip_space();
        // The colon.
        self.at += 1;
        let value = self.known_value()?;
        self.skip_comma();
        Some(Member {
            key,
            key_start,
            value,
        })
    }

    fn skip_comma(&mut self) {
        self.skip_space();
        if self.peek() == Some(b',') {
            self.at += 1;
        }
    }

    /// A value of a text that was read already and found to be right: what is in lists and objects is passed over.
    fn known_value(&mut self) -> Option<Node<'t>> {
        self.skip_space();
        let start = self.at;
        let text = self.text;
        let value = match self.peek()? {
            b'{' => {
                self.pass();
                Value::Object(Members { text, start })
            }
            b'[' => {
                self.pass();
                Value::List(Items { text, start })
            }
            b'"' => Value::Text(self.string().ok()?),
            b'-' | b'0'..=b'9' => self.number().ok()?,
            _ => self.word().ok()?,
        };
        let end = self.at;
        Some(Node { start, end, value })
    }

    /// Passes over the list or object that begins here.
    fn pass(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => self.pass_string(),
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    /// Passes over the rest of a string.
    fn pass_string(&mut self) {
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
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
            segment: Segment::None,
        });
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn segment(&mut self, segment: Segment<'t>) {
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
                    self.segment(Segment::None);
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
        let (text, start) = (self.text, self.at);
        self.enter(b'[')?;
        if self.peek() != Some(b']') {
            for index in 0.. {
                self.segment(Segment::Item(index));
                self.value()?;
                if !self.more(b']')? {
                    break;
                }
            }
        }
        self.leave();
        Ok(Value::List(Items { text, start }))
    }

    fn object(&mut self) -> Result<Value<'t>, SyntaxError> {
        let (text, start) = (self.text, self.at);
        self.enter(b'{')?;
        if self.peek() != Some(b'}') {
            loop {
                self.segment(Segment::None);
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
                self.segment(Segment::Key(key));
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
                self.value()?;
                if !self.more(b'}')? {
                    break;
                }
            }
        }
        self.leave();
        Ok(Value::Object(Members { text, start }))
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
