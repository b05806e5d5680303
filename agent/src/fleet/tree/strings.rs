//! Strings of JSON.

use std::borrow::Cow;

use super::{Parser, SyntaxError, TYPOGRAPHIC_QUOTES};

impl<'t> Parser<'t> {
    pub(super) fn string(&mut self) -> Result<Cow<'t, str>, SyntaxError> {
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
