//! SHA-256, for telling contents apart by a short name. By the library that does TLS: it uses the processor's own
//! instructions where there are any, and needs half of what portable code does where there are none.

use aws_lc_rs::digest::{self, Context, SHA256, SHA256_OUTPUT_LEN};
use aws_lc_rs::hmac;

/// The digest of a content that comes in pieces.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds the next piece. How the content is cut into pieces makes no difference.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> [u8; SHA256_OUTPUT_LEN] {
        copied(&self.0.finish())
    }

    /// The digest of all pieces: 64 lower-case hexadecimal digits.
    pub fn finish_hex(self) -> String {
        hex::encode(self.0.finish())
    }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    copied(&digest::digest(&SHA256, bytes))
}

fn copied(digest: &digest::Digest) -> [u8; SHA256_OUTPUT_LEN] {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes
}

/// SHA-256 of `bytes`: 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

/// HMAC-SHA-256 of `bytes` with `key`: 64 lower-case hexadecimal digits.
pub fn keyed_hex(key: &[u8], bytes: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hex::encode(hmac::sign(&key, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of FIPS 180-4.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_digest_is_the_standards() {
        assert_eq!(sha256_hex(b"abc"), ABC);
        assert_eq!(hex::encode(sha256(b"abc")), ABC);
    }

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let mut digest = Sha256::new();
        digest.update(b"a");
        digest.update(b"");
        digest.update(b"bc");
        assert_eq!(digest.finish_hex(), ABC);
    }
}
