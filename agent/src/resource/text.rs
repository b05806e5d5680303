//! The content of a file, by what may be shown of it.

use std::fmt;
use std::sync::Arc;

use crate::system::digest::sha256_hex;

/// The content of a file. One that is secret is written to its file and nowhere else: no diff, no log, no copy shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Content);

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Plain(String),
    Secret {
        text: String,
        digest: String,
    },
    /// Nothing to read: an image, an archive.
    Binary {
        bytes: Arc<[u8]>,
        digest: String,
    },
}

impl Text {
    /// A text that anybody may read.
    pub const fn plain(text: String) -> Self {
        Self(Content::Plain(text))
    }

    /// A text with a secret in it. `digest` is what tells it from others wherever that is written down: with a key, so
    /// that nobody finds the secret by trying.
    pub const fn secret(text: String, digest: String) -> Self {
        Self(Content::Secret { text, digest })
    }

    /// Bytes of which reports show how many they are and their SHA-256, which is `digest`.
    pub const fn binary(bytes: Arc<[u8]>, digest: String) -> Self {
        Self(Content::Binary { bytes, digest })
    }

    /// The text that is written; empty where it is no text. Not for reports: see [`Text::shown`].
    pub fn exposed(&self) -> &str {
        match &self.0 {
            Content::Plain(text) | Content::Secret { text, .. } => text,
            Content::Binary { .. } => "",
        }
    }

    /// The bytes that are written. Not for reports.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Content::Plain(text) | Content::Secret { text, .. } => text.as_bytes(),
            Content::Binary { bytes, .. } => bytes,
        }
    }

    /// What the ledger keeps of it: SHA-256 in hexadecimal, keyed where it is secret.
    pub fn digest(&self) -> String {
        match &self.0 {
            Content::Plain(text) => sha256_hex(text.as_bytes()),
            Content::Secret { digest, .. } | Content::Binary { digest, .. } => digest.clone(),
        }
    }

    /// What reports may show. `None`: nothing of it.
    pub fn shown(&self) -> Option<&str> {
        match &self.0 {
            Content::Plain(text) => Some(text),
            Content::Secret { .. } | Content::Binary { .. } => None,
        }
    }

    /// Whether it has a secret in it.
    pub const fn is_secret(&self) -> bool {
        matches!(self.0, Content::Secret { .. })
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Content::Plain(text) => fmt::Debug::fmt(text, out),
            Content::Secret { .. } => out.write_str("<secret>"),
            Content::Binary { bytes, digest } => write!(out, "<{} bytes, {digest}>", bytes.len()),
        }
    }
}
