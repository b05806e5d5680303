//! The keys that count, how many of them must sign, and whether they did.

use std::fmt;

use super::signing_key::SigningKey;
use super::sshsig::{BadSignature, Message, Sshsig};
use crate::fleet::Signature;
use crate::fleet::names::KeyName;

/// No fleet has more keys.
pub const MOST_KEYS: usize = 32;

/// Who must vouch for a document before it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Nobody: unsigned documents are accepted.
    Nobody,
    /// So many of these keys.
    Keys(Keyring),
}

impl Trust {
    /// In short, for reports: `none`, `1 of 3 keys`.
    pub fn in_short(&self) -> String {
        match self {
            Self::Nobody => "none".into(),
            Self::Keys(keyring) => keyring.in_short(),
        }
    }

    /// Who vouches for `signed`; nobody where nobody is asked to.
    pub fn signers(
        &self,
        signed: &[u8],
        signatures: &[Signature],
        namespace: &'static str,
    ) -> Result<Vec<KeyName>, Unverified> {
        match self {
            Self::Nobody => Ok(Vec::new()),
            Self::Keys(keyring) => keyring.signers(signed, signatures, namespace),
        }
    }
}

/// Keys, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<SigningKey>,
    threshold: usize,
}

/// These keys cannot be a keyring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitKeyring {
    /// There are none, or too many.
    #[error("{0} keys: expected 1 to {MOST_KEYS}")]
    Number(usize),
    /// One key twice would make one person two.
    #[error("{0} and {1} are the same key: one key signs once, whatever it is called")]
    SameKey(KeyName, KeyName),
    /// Nobody could tell them apart.
    #[error("two keys are called {0}: change the comment of one")]
    SameName(KeyName),
    /// The threshold cannot be met, or is met by nobody.
    #[error("threshold = {threshold}, and there are {keys} keys: expected 1 to {keys}")]
    Threshold {
        /// How many should sign.
        threshold: usize,
        /// How many there are.
        keys: usize,
    },
}

/// Too few of the keys that count have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    /// Who has.
    pub signers: Vec<KeyName>,
    /// How many should have.
    pub threshold: usize,
    /// How many keys count.
    pub keys: usize,
    /// Why the other signatures do not count, each with its place and the name that it goes by.
    pub bad: Vec<(usize, KeyName, BadSignature)>,
}

impl Keyring {
    /// At least one key, each once, and a threshold that they can meet.
    pub fn new(keys: Vec<SigningKey>, threshold: usize) -> Result<Self, UnfitKeyring> {
        if keys.is_empty() || keys.len() > MOST_KEYS {
            return Err(UnfitKeyring::Number(keys.len()));
        }
        for (index, key) in keys.iter().enumerate() {
            for other in keys.iter().skip(index + 1) {
                if key.is_same_key(other) {
                    return Err(UnfitKeyring::SameKey(key.name.clone(), other.name.clone()));
                }
                if key.name == other.name {
                    return Err(UnfitKeyring::SameName(key.name.clone()));
                }
            }
        }
        if !(1..=keys.len()).contains(&threshold) {
            return Err(UnfitKeyring::Threshold {
                threshold,
                keys: keys.len(),
            });
        }
        Ok(Self { keys, threshold })
    }

    /// The keys.
    pub fn keys(&self) -> &[SigningKey] {
        &self.keys
    }

    /// How many of them must sign.
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// What the key of a signature is called here; `None`: it does not count.
    pub fn name_of(&self, sshsig: &Sshsig) -> Option<&KeyName> {
        let key = self.keys.iter().find(|trusted| trusted.key == sshsig.key);
        key.map(|key| &key.name)
    }

    /// In short, for reports: `1 of 3 keys`.
    pub fn in_short(&self) -> String {
        let keys = self.keys.len();
        format!(
            "{} of {keys} key{}",
            self.threshold,
            if keys == 1 { "" } else { "s" }
        )
    }

    /// Who of the keys has signed `signed`, in the keyring's order, where they are enough. A signature that does not count
    /// does no harm beside enough that do.
    pub fn signers(
        &self,
        signed: &[u8],
        signatures: &[Signature],
        namespace: &'static str,
    ) -> Result<Vec<KeyName>, Unverified> {
        let message = Message::new(signed);
        let mut signed_by = vec![false; self.keys.len()];
        let mut bad = Vec::new();
        for (index, signature) in signatures.iter().enumerate() {
            match self.signer(signature, &message, namespace) {
                Ok(signer) => {
                    if let Some(signed) = signed_by.get_mut(signer) {
                        *signed = true;
                    }
                }
                Err(why) => bad.push((index, signature.key.clone(), why)),
            }
        }
        let signers: Vec<KeyName> = self
            .keys
            .iter()
            .zip(&signed_by)
            .filter(|(_, signed)| **signed)
            .map(|(key, _)| key.name.clone())
            .collect();
        if signers.len() >= self.threshold {
            return Ok(signers);
        }
        Err(Unverified {
            signers,
            threshold: self.threshold,
            keys: self.keys.len(),
            bad,
        })
    }

    /// Which of the keys made a signature.
    fn signer(
        &self,
        signature: &Signature,
        message: &Message<'_>,
        namespace: &'static str,
    ) -> Result<usize, BadSignature> {
        let sshsig = Sshsig::from_armor(signature.sshsig.as_str())?;
        let signer = self
            .keys
            .iter()
            .position(|trusted| trusted.key == sshsig.key)
            .ok_or_else(|| BadSignature::UnknownKey(sshsig.fingerprint()))?;
        sshsig.check(message, namespace)?;
        Ok(signer)
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threshold, keys) = (self.threshold, self.keys);
        if self.signers.is_empty() && self.bad.is_empty() {
            write!(
                out,
                "nobody signed it, and {threshold} of {keys} trusted keys must: publish it with agentctl fleet publish"
            )?;
        } else {
            let good = self.signers.len();
            write!(
                out,
                "too few signatures: {good} of the {threshold} that are needed count"
            )?;
            if let Some((last, others)) = self.signers.split_last() {
                write!(out, " (")?;
                for name in others {
                    write!(out, "{name}, ")?;
                }
                write!(out, "{last})")?;
            }
            if self.bad.is_empty() {
                write!(
                    out,
                    "; have another trusted key sign it: agentctl fleet cosign"
                )?;
            }
        }
        for (index, name, why) in &self.bad {
            write!(out, "; /signatures/{index} ({name}): {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unverified {}
