//! Secrets: texts that the document only names the place of. They are read where they are used, kept in memory for that
//! long, and written nowhere but into the files that are made of them.
//!
//! A place that keeps secrets is one module here with a `Keeper`.

mod aws;
mod file;
mod key;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use key::{KEY_FILE, SecretKey};

use crate::fleet::SecretSource;
use crate::system::file::Files;

/// The most bytes of a secret.
pub const LONGEST: usize = 64 * 1024;

/// A secret. It has no form that could be shown by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// From what its keeper has, of which a line end at the end is no part. The error says what it cannot be.
    fn read(bytes: Vec<u8>) -> Result<Self, &'static str> {
        if bytes.len() > LONGEST {
            return Err("is longer than 64 KiB");
        }
        let mut text = String::from_utf8(bytes).map_err(|_| "is no text in UTF-8")?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err("is empty");
        }
        Ok(Self(text))
    }

    /// The secret. Only for what is written to its own file.
    pub fn exposed(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<secret>")
    }
}

/// Why a secret cannot be had, as a sentence that says what to do. Nothing of the secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

/// A place that keeps secrets.
trait Keeper {
    /// Has one read, within seconds.
    async fn read(&self, files: &Files) -> Result<SecretText, SecretError>;
}

/// Reads secrets, each once.
pub async fn read(
    sources: BTreeSet<SecretSource>,
    files: &Files,
) -> BTreeMap<SecretSource, Result<SecretText, SecretError>> {
    let mut secrets = BTreeMap::new();
    for source in sources {
        let secret = match (&source.file, &source.aws) {
            (Some(path), _) => file::InFile(path).read(files).await,
            (None, Some(name)) => aws::InAws(name).read(files).await,
            (None, None) => Err(SecretError("the document does not say where it is".into())),
        };
        secrets.insert(source, secret);
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_at_the_end_is_no_part_of_a_secret() {
        let read = |text: &str| SecretText::read(text.into()).map(|secret| secret.0);
        assert_eq!(read("hunter2\n").unwrap(), "hunter2");
        assert_eq!(read("hunter2\r\n").unwrap(), "hunter2");
        assert_eq!(read("a\nb\n\n").unwrap(), "a\nb\n");
        for wrong in ["", "\n"] {
            assert!(read(wrong).is_err());
        }
        assert!(SecretText::read(vec![b'a'; LONGEST + 1]).is_err());
        assert!(SecretText::read(vec![0xff]).is_err());
        let secret = SecretText::read(b"hunter2".to_vec()).unwrap();
        assert_eq!(format!("{secret:?}"), "<secret>");
    }
}
