//! Keys of updates, as `tsig-keygen` writes them: `key "agentd" { algorithm hmac-sha256; secret "…"; };`.

use std::fmt;

use base64ct::{Base64, Encoding as _};

/// A key that updates are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its algorithm: `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
    pub algorithm: String,
    secret: Vec<u8>,
}

/// What is wrong with a key's file. Nothing of it is quoted: it is a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key in it.
    #[error("there is no key in it: it should be as tsig-keygen writes it")]
    NoKey,
    /// There is more than one.
    #[error("there is more than one key in it")]
    Several,
    /// A part of it is missing.
    #[error("its key has no {0}")]
    Missing(&'static str),
    /// Its algorithm is not one of those that are safe.
    #[error("its algorithm is none of hmac-sha256, hmac-sha384 and hmac-sha512")]
    Algorithm,
    /// Its secret is no base64, or too short.
    #[error("its secret is no base64 of at least 16 bytes")]
    Secret,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({}, {})", self.name, self.algorithm)
    }
}

impl Key {
    /// Reads a key's file. Other statements of named.conf beside the key are a mistake.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let words = words(text);
        let mut words = words.iter().map(String::as_str);
        if words.next() != Some("key") {
            return Err(KeyError::NoKey);
        }
        let name = words.next().ok_or(KeyError::Missing("name"))?;
        if words.next() != Some("{") {
            return Err(KeyError::NoKey);
        }
        let (mut algorithm, mut secret) = (None, None);
        while let Some(word) = words.next() {
            match word {
                "}" => break,
                "algorithm" => algorithm = words.next(),
                "secret" => secret = words.next(),
                _ => {}
            }
        }
        if words.any(|word| word == "key") {
            return Err(KeyError::Several);
        }
        let algorithm = algorithm.ok_or(KeyError::Missing("algorithm"))?;
        let algorithm = algorithm.trim_end_matches('.').to_ascii_lowercase();
        if !matches!(
            algorithm.as_str(),
            "hmac-sha256" | "hmac-sha384" | "hmac-sha512"
        ) {
            return Err(KeyError::Algorithm);
        }
        let secret = secret.ok_or(KeyError::Missing("secret"))?;
        let secret = Base64::decode_vec(secret).map_err(|_| KeyError::Secret)?;
        if secret.len() < 16 {
            return Err(KeyError::Secret);
        }
        Ok(Self {
            name: name.trim_end_matches('.').to_ascii_lowercase(),
            algorithm,
            secret,
        })
    }

    /// The secret itself.
    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }
}

/// The words of a file in named.conf's form: quotes and comments taken away, braces words of their own, semicolons none.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let is_comment =
            !quoted && (c == '#' || (c == '/' && chars.peek() == Some(&'/')) && word.is_empty());
        if is_comment {
            chars.by_ref().find(|c| *c == '\n');
            continue;
        }
        match c {
            '"' => quoted = !quoted,
            _ if quoted => word.push(c),
            '{' | '}' | ';' => {
                words.push(std::mem::take(&mut word));
                if c != ';' {
                    words.push(c.to_string());
                }
            }
            _ if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# of this fleet\nkey \"Agentd-Fleet\" {\n\talgorithm hmac-sha256; // as usual\n\tsecret \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\";\n};\n";

    #[test]
    fn a_key_reads_as_tsig_keygen_writes_it() {
        let key = Key::parse(FILE).unwrap();
        assert_eq!(
            (key.name.as_str(), key.algorithm.as_str()),
            ("agentd-fleet", "hmac-sha256")
        );
        assert_eq!(key.secret(), b"01234567890123456789012345678901");
        assert!(!format!("{key:?}").contains("0123"), "it is a secret");
        let bare = FILE.replace('"', "");
        assert_eq!(Key::parse(&bare), Ok(key));
    }

    #[test]
    fn what_is_no_key_is_told_without_quoting_it() {
        let refused = |text: &str| Key::parse(text).unwrap_err();
        assert_eq!(refused(""), KeyError::NoKey);
        assert_eq!(refused("zone \"x\" {};"), KeyError::NoKey);
        assert_eq!(refused(&FILE.repeat(2)), KeyError::Several);
        assert_eq!(
            refused(&FILE.replace("hmac-sha256", "hmac-md5")),
            KeyError::Algorithm
        );
        assert_eq!(refused(&FILE.replace("MDEy", "!!!!")), KeyError::Secret);
        assert_eq!(
            refused("key k { algorithm hmac-sha256; };"),
            KeyError::Missing("secret")
        );
        assert_eq!(
            refused("key k { secret \"AAAA\"; };"),
            KeyError::Missing("algorithm")
        );
        assert_eq!(
            refused("key k { algorithm hmac-sha256; secret \"AAAA\"; };"),
            KeyError::Secret
        );
    }
}
