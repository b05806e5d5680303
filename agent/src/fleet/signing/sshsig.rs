//! One signature in OpenSSH's own format (PROTOCOL.sshsig): read, and checked against the bytes that it should be of.

use std::cell::OnceCell;
use std::fmt;

use aws_lc_rs::digest::{self, SHA256, SHA512, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use pem_rfc7468::{Decoder, detect_base64_line_width};
use ssh_encoding::{Decode as _, Encode as _, Reader as _};

use super::signing_key::Key;

/// What stands around the signature in base64.
const LABEL: &str = "SSH SIGNATURE";
const MAGIC: [u8; 6] = *b"SSHSIG";
const VERSION: u32 = 1;
/// Of a token's flags: somebody touched it.
const USER_PRESENT: u8 = 1;

/// Bytes that may have been signed, with their digests, each made once.
#[derive(Debug)]
pub(super) struct Message<'m> {
    bytes: &'m [u8],
    sha256: OnceCell<digest::Digest>,
    sha512: OnceCell<digest::Digest>,
}

impl<'m> Message<'m> {
    pub(super) const fn new(bytes: &'m [u8]) -> Self {
        Self {
            bytes,
            sha256: OnceCell::new(),
            sha512: OnceCell::new(),
        }
    }

    fn digest(&self, hash: Hash) -> &[u8] {
        let (cell, algorithm) = match hash {
            Hash::Sha256 => (&self.sha256, &SHA256),
            Hash::Sha512 => (&self.sha512, &SHA512),
        };
        cell.get_or_init(|| digest(algorithm, self.bytes)).as_ref()
    }
}

/// By what the message was made short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

/// A signature, read and not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sshsig {
    pub(super) key: Key,
    namespace: String,
    reserved: Vec<u8>,
    hash: Hash,
    signature: [u8; 64],
    /// What a token adds to what it signs: its flags and its counter.
    token: Option<(u8, u32)>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// It is not one.
    #[error("this is no SSH signature as ssh-keygen -Y sign makes it ({0})")]
    Broken(&'static str),
    /// It is by a type of key that may not sign.
    #[error("it is by a key of type {0}; only ssh-ed25519 and sk-ssh-ed25519@openssh.com count")]
    Type(String),
    /// The message was hashed by something else than SHA-256 or SHA-512.
    #[error("the signed bytes were hashed with {0}; only sha256 and sha512 count")]
    Hash(String),
    /// The key is not among those that count.
    #[error("the key {0} is not among the trusted ones")]
    UnknownKey(String),
    /// It was made for something else.
    #[error(
        "it was made for the namespace {found:?}, not for {wanted:?}: sign with ssh-keygen -Y sign -n {wanted}"
    )]
    Namespace {
        /// What it was made for.
        found: String,
        /// What it should have been made for.
        wanted: &'static str,
    },
    /// A token signed, and nobody touched it.
    #[error(
        "the token signed without anybody touching it: use a key that was made without -O no-touch-required"
    )]
    NoPresence,
    /// It is not of these bytes.
    #[error(
        "it is not of these bytes: the signed part was changed or reformatted (by jq, an editor) after it was signed; sign it again"
    )]
    Mismatch,
}

impl Sshsig {
    /// Reads an armored signature.
    pub fn from_armor(text: &str) -> Result<Self, BadSignature> {
        let broken = BadSignature::Broken;
        let text = text.trim_ascii().as_bytes();
        let width = detect_base64_line_width(text).map_err(|_| broken("its armor is damaged"))?;
        let mut decoder =
            Decoder::new_wrapped(text, width).map_err(|_| broken("its armor is damaged"))?;
        if decoder.type_label() != LABEL {
            return Err(broken("its armor is of something else"));
        }
        let mut blob = Vec::new();
        decoder
            .decode_to_end(&mut blob)
            .map_err(|_| broken("its base64 is damaged"))?;
        Self::decode(&blob)
    }

    fn decode(blob: &[u8]) -> Result<Self, BadSignature> {
        let cut = |_| BadSignature::Broken("it is cut off");
        let mut reader = blob
            .strip_prefix(&MAGIC)
            .ok_or(BadSignature::Broken("it does not begin with SSHSIG"))?;
        if u32::decode(&mut reader).map_err(cut)? != VERSION {
            return Err(BadSignature::Broken("it is of another version than 1"));
        }
        let key_blob = Vec::<u8>::decode(&mut reader).map_err(cut)?;
        let namespace = String::decode(&mut reader).map_err(cut)?;
        let reserved = Vec::<u8>::decode(&mut reader).map_err(cut)?;
        let hash = String::decode(&mut reader).map_err(cut)?;
        let proof = Vec::<u8>::decode(&mut reader).map_err(cut)?;
        if !reader.is_finished() {
            return Err(BadSignature::Broken("something follows it"));
        }
        let key = Key::decode(&key_blob).ok_or_else(|| {
            let kind = Key::type_of(&key_blob).filter(|kind| kind.len() <= 64);
            BadSignature::Type(kind.unwrap_or_else(|| "unknown".into()))
        })?;
        let hash = match hash.as_str() {
            "sha256" => Hash::Sha256,
            "sha512" => Hash::Sha512,
            _ => return Err(BadSignature::Hash(hash.chars().take(32).collect())),
        };

        let mut reader = proof.as_slice();
        let kind = String::decode(&mut reader).map_err(cut)?;
        if kind != key.kind() {
            return Err(BadSignature::Broken("it is of another type than its key"));
        }
        let signature = Vec::<u8>::decode(&mut reader).map_err(cut)?;
        let signature = signature
            .try_into()
            .map_err(|_| BadSignature::Broken("it has not 64 bytes"))?;
        let token = if key.application.is_some() {
            let flags = u8::decode(&mut reader).map_err(cut)?;
            Some((flags, u32::decode(&mut reader).map_err(cut)?))
        } else {
            None
        };
        if !reader.is_finished() {
            return Err(BadSignature::Broken("something follows it"));
        }
        Ok(Self {
            key,
            namespace,
            reserved,
            hash,
            signature,
            token,
        })
    }

    /// The fingerprint of the key that it says it is by.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint()
    }

    /// Whether it was made by its key, for `namespace`, of these bytes. Whether the key counts is another question.
    pub(super) fn check(
        &self,
        message: &Message<'_>,
        namespace: &'static str,
    ) -> Result<(), BadSignature> {
        if self.namespace != namespace {
            return Err(BadSignature::Namespace {
                found: self.namespace.chars().take(64).collect(),
                wanted: namespace,
            });
        }
        let mut signed = MAGIC.to_vec();
        // Writing to memory, of less than 4 GiB, fails never; were it to, the signature would not fit.
        let hash = self.hash.to_string();
        let parts: [&[u8]; 4] = [
            self.namespace.as_bytes(),
            &self.reserved,
            hash.as_bytes(),
            message.digest(self.hash),
        ];
        for part in parts {
            part.encode(&mut signed)
                .map_err(|_| BadSignature::Mismatch)?;
        }
        if let (Some(application), Some((flags, counter))) = (&self.key.application, self.token) {
            let mut by_token = digest(&SHA256, application.as_bytes()).as_ref().to_vec();
            by_token.push(flags);
            by_token.extend(counter.to_be_bytes());
            by_token.extend(digest(&SHA256, &signed).as_ref());
            signed = by_token;
        }
        UnparsedPublicKey::new(&ED25519, &self.key.point)
            .verify(&signed, &self.signature)
            .map_err(|_| BadSignature::Mismatch)?;
        // Only now: of a signature that is not the key's own, its flags say nothing.
        match self.token {
            Some((flags, _)) if flags & USER_PRESENT == 0 => Err(BadSignature::NoPresence),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        })
    }
}
