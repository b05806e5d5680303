//! The public keys that may sign: Ed25519, in a file or an agent, or in a FIDO token. Nothing weaker.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Base64Unpadded, Encoding as _};
use ssh_encoding::{Decode as _, Reader as _};

use crate::fleet::names::KeyName;

const ED25519: &str = "ssh-ed25519";
const TOKEN_ED25519: &str = "sk-ssh-ed25519@openssh.com";

/// No line of a key that may sign is longer, in bytes.
const LONGEST_LINE: usize = 1024;

/// A key that may sign, and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// What people call it: the comment of its line.
    pub name: KeyName,
    pub(super) key: Key,
}

/// The key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// As it stands in signatures.
    blob: Vec<u8>,
    /// The point on the curve.
    pub point: [u8; 32],
    /// Of a token's key, what it was made for: `ssh:`.
    pub application: Option<String>,
}

/// A line that is no key that may sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitKey {
    /// It has not the form of a public key's line.
    #[error(
        "expected the line of an OpenSSH .pub file with a name at its end: ssh-ed25519 AAAA… ops-2026"
    )]
    NoLine,
    /// It is a private key.
    #[error(
        "this is a private key: take it out, make a new one, and put the line of the .pub file here"
    )]
    Private,
    /// It is of a type that may not sign.
    #[error(
        "keys of type {0} do not sign fleet documents: make one with ssh-keygen -t ed25519, or -t ed25519-sk in a FIDO token"
    )]
    Type(String),
    /// What follows the type is not that key.
    #[error("what follows {0} is not such a key: it looks cut off, or two lines were mixed")]
    Broken(&'static str),
    /// There is no name.
    #[error(
        "the key has no name: add one at the end of its line, which says whose it is: ops-2026"
    )]
    Nameless,
    /// The name cannot be one.
    #[error("the name at the line's end, {0:?}, cannot be used; expected {expected}", expected = KeyName::EXPECTED)]
    Name(String),
}

impl SigningKey {
    /// Reads the line of a `.pub` file. Its comment is the key's name.
    pub fn from_line(line: &str) -> Result<Self, UnfitKey> {
        if line.contains("PRIVATE KEY") {
            return Err(UnfitKey::Private);
        }
        let line = line.trim();
        if line.len() > LONGEST_LINE || line.chars().any(char::is_control) {
            return Err(UnfitKey::NoLine);
        }
        let mut words = line.splitn(3, ' ');
        let (kind, blob, name) = (
            words.next().unwrap_or_default(),
            words.next().ok_or(UnfitKey::NoLine)?,
            words.next().unwrap_or_default().trim(),
        );
        let kind = match kind {
            ED25519 => ED25519,
            TOKEN_ED25519 => TOKEN_ED25519,
            _ if kind.starts_with("ssh-")
                || kind.starts_with("ecdsa-")
                || kind.starts_with("sk-") =>
            {
                return Err(UnfitKey::Type(kind.into()));
            }
            _ => return Err(UnfitKey::NoLine),
        };
        let blob = Base64::decode_vec(blob).map_err(|_| UnfitKey::Broken(kind))?;
        let key = Key::decode(&blob).ok_or(UnfitKey::Broken(kind))?;
        if key.kind() != kind {
            return Err(UnfitKey::Broken(kind));
        }
        if name.is_empty() {
            return Err(UnfitKey::Nameless);
        }
        let name = name.parse().map_err(|_| UnfitKey::Name(name.into()))?;
        Ok(Self { name, key })
    }

    /// As `ssh-keygen -l` names it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint()
    }

    /// Whether this is the same key, whatever it is called.
    pub fn is_same_key(&self, other: &Self) -> bool {
        // By the point alone: a token's key is the same one for each application.
        self.key.point == other.key.point
    }
}

/// The line of its `.pub` file.
impl fmt::Display for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = Base64::encode_string(&self.key.blob);
        write!(out, "{} {blob} {}", self.key.kind(), self.name)
    }
}

impl Key {
    /// Reads a key as it stands in signatures; `None`: of another type, or broken.
    pub(super) fn decode(blob: &[u8]) -> Option<Self> {
        let mut reader = blob;
        let kind = String::decode(&mut reader).ok()?;
        let point = Vec::<u8>::decode(&mut reader).ok()?.try_into().ok()?;
        let application = match kind.as_str() {
            ED25519 => None,
            TOKEN_ED25519 => Some(String::decode(&mut reader).ok()?),
            _ => return None,
        };
        reader.is_finished().then(|| Self {
            blob: blob.into(),
            point,
            application,
        })
    }

    /// The type that a key as it stands in signatures says it is of.
    pub(super) fn type_of(mut blob: &[u8]) -> Option<String> {
        String::decode(&mut blob).ok()
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self.application {
            None => ED25519,
            Some(_) => TOKEN_ED25519,
        }
    }

    pub(super) fn fingerprint(&self) -> String {
        let digest = digest(&SHA256, &self.blob);
        format!("SHA256:{}", Base64Unpadded::encode_string(digest.as_ref()))
    }
}
