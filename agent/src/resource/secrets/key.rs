//! The key of what is written down about files with secrets: with it a digest tells whether a file changed, and without
//! it nobody finds the secret by trying. It lies in memory (`/run`), never on a disk: a new one after each boot.

use std::path::Path;

use crate::settings::RUN_DIR;
use crate::system::digest::{keyed_hex, sha256};
use crate::system::file::{FileError, Files, Found};
use crate::system::random;

/// Its file in the directory of what lasts until the next boot.
pub const KEY_FILE: &str = "secret-digests.key";
/// In bytes.
const LENGTH: usize = 32;

/// The key.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; LENGTH]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("<key>")
    }
}

impl Default for SecretKey {
    /// One that nobody else has: digests made with it are like no others.
    fn default() -> Self {
        let bytes = random::bytes().unwrap_or_default();
        Self(sha256(&bytes))
    }
}

impl SecretKey {
    /// The key of this machine. Where there is none yet, one for this look only.
    pub fn load(files: &Files) -> Result<Self, FileError> {
        Ok(match files.read(&Path::new(RUN_DIR).join(KEY_FILE))? {
            Found::File { bytes, attributes } if attributes.is_private() => {
                bytes.try_into().map_or_else(|_| Self::default(), Self)
            }
            _ => Self::default(),
        })
    }

    /// Makes the key of this machine where there is none.
    pub fn make(files: &Files) -> Result<(), FileError> {
        let path = Path::new(RUN_DIR).join(KEY_FILE);
        let is_good = matches!(
            files.read(&path)?,
            Found::File { bytes, attributes } if bytes.len() == LENGTH && attributes.is_private()
        );
        if !is_good {
            files.remove(&path)?;
            files.write(&path, &Self::default().0, 0o600)?;
        }
        Ok(())
    }

    /// The digest of a text, in hexadecimal.
    pub fn digest(&self, text: &str) -> String {
        keyed_hex(&self.0, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::system::digest::sha256_hex;
    use crate::system::root::Root;

    #[test]
    fn a_machine_has_one_key_and_a_digest_needs_it() {
        let dir = TempDir::new().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let look = || SecretKey::load(&files).unwrap().digest("hunter2");
        assert_ne!(look(), look());
        SecretKey::make(&files).unwrap();
        let digest = look();
        SecretKey::make(&files).unwrap();
        assert_eq!(digest, look());
        assert_ne!(digest, sha256_hex(b"hunter2"));
    }
}
