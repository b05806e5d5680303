//! Trust that moves: each `trust/N.json` says who signs from then on, and is signed by those who sign until then. So a box
//! finds from the keys that it was made with to those that count today.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::keyring::{Keyring, UnfitKeyring, Unverified};
use super::signing_key::{SigningKey, UnfitKey};
use crate::fleet::names::{Name, Stamp};
use crate::fleet::strict::Object;
use crate::fleet::{Signature, sealed, unsealed};

/// What `trust/N.json` is signed for. Another one than that of documents: nobody can be led to sign one as the other.
pub const TRUST_NAMESPACE: &str = "node-agent-trust";

/// No `trust/N.json` is larger, in bytes.
pub const TRUST_LIMIT: u64 = 128 * 1024;

/// The format of `trust/N.json`.
const FORMAT: u32 = 1;

/// Who signs, from one `trust/N.json` to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number, 1 and up.
    pub number: u64,
    /// The fleet.
    pub fleet: Name,
    /// When it was made.
    pub issued: Timestamp,
    /// Until when it should have been followed by another one.
    pub expires: Option<Timestamp>,
    /// Who signs.
    pub keyring: Keyring,
    /// No version below this one is taken from here on; one that is above it and was accepted before does not count.
    pub version_floor: u64,
    /// How far a version may be above the one before; `None`: as the settings say.
    pub version_step: Option<u64>,
}

/// What is written of a generation: in the bucket and on a box's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    fleet: Name,
    trust: u64,
    issued: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Stamp>,
    keys: Vec<String>,
    threshold: usize,
    version_floor: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version_step: Option<u64>,
}

/// Why a `trust/N.json` is not followed.
#[derive(Debug, thiserror::Error)]
pub enum BadTrust {
    /// It is no such file.
    #[error("it cannot be read: {0}")]
    Broken(String),
    /// Those who sign until then have not signed it.
    #[error("those whose signatures count until then have not signed it: {0}")]
    Before(Unverified),
    /// Those who sign from then on have not signed it.
    #[error("those whose signatures count from then on have not signed it: {0}")]
    After(Unverified),
    /// Its keys cannot be trusted.
    #[error("its key {0} cannot sign: {1}")]
    Key(usize, UnfitKey),
    /// They cannot be trusted together.
    #[error("its keys cannot be: {0}")]
    Keyring(UnfitKeyring),
    /// It stands under another number.
    #[error("it says that it is number {found}, and stands as number {expected}")]
    Number {
        /// What it says.
        found: u64,
        /// Where it stands.
        expected: u64,
    },
    /// It is another fleet's.
    #[error("it is of fleet {0}, and this is fleet {1}")]
    Fleet(Name, Name),
}

impl Generation {
    /// The object's key in the bucket.
    pub fn object(number: u64) -> String {
        format!("trust/{number}.json")
    }

    /// Reads the file of number `number`, which follows those of `before`: nothing of it is read that they have not signed.
    pub fn read(
        bytes: &[u8],
        number: u64,
        before: &Keyring,
        fleet: Option<&Name>,
    ) -> Result<Self, BadTrust> {
        let (signed, signatures) = opened(bytes)?;
        before
            .signers(signed.as_bytes(), &signatures, TRUST_NAMESPACE)
            .map_err(BadTrust::Before)?;
        let generation = Self::of_signed(signed)?;
        generation
            .keyring
            .signers(signed.as_bytes(), &signatures, TRUST_NAMESPACE)
            .map_err(BadTrust::After)?;
        generation.check(number, fleet)?;
        Ok(generation)
    }

    /// Reads a file that too few may have signed yet: for whoever is to sign it.
    pub fn read_unsigned(bytes: &[u8]) -> Result<(Self, Vec<Signature>), BadTrust> {
        let (signed, signatures) = opened(bytes)?;
        Ok((Self::of_signed(signed)?, signatures))
    }

    fn check(&self, number: u64, fleet: Option<&Name>) -> Result<(), BadTrust> {
        if self.number != number {
            return Err(BadTrust::Number {
                found: self.number,
                expected: number,
            });
        }
        match fleet.filter(|fleet| **fleet != self.fleet) {
            Some(fleet) => Err(BadTrust::Fleet(self.fleet.clone(), fleet.clone())),
            None => Ok(()),
        }
    }

    fn of_signed(signed: &str) -> Result<Self, BadTrust> {
        let Object(written) = serde_json::from_str::<Object<Written>>(signed)
            .map_err(|error| BadTrust::Broken(error.to_string()))?;
        written.generation()
    }

    /// The signed part, as it is written into a file.
    pub fn to_signed(&self) -> String {
        // Plain fields only: nothing here can fail to be written as JSON.
        serde_json::to_string_pretty(&Written::of(self)).unwrap_or_default()
    }

    /// The whole file.
    pub fn sealed(&self, signatures: &[Signature]) -> String {
        sealed(&self.to_signed(), signatures)
    }
}

fn opened(bytes: &[u8]) -> Result<(&str, Vec<Signature>), BadTrust> {
    unsealed(bytes).ok_or_else(|| {
        BadTrust::Broken(
            "it is no JSON object with `signatures` and `signed`; was it half uploaded?".into(),
        )
    })
}

impl Written {
    fn of(generation: &Generation) -> Self {
        let keys = generation.keyring.keys().iter();
        Self {
            format: FORMAT,
            fleet: generation.fleet.clone(),
            trust: generation.number,
            issued: Stamp(generation.issued),
            expires: generation.expires.map(Stamp),
            keys: keys.map(ToString::to_string).collect(),
            threshold: generation.keyring.threshold(),
            version_floor: generation.version_floor,
            version_step: generation.version_step,
        }
    }

    fn generation(self) -> Result<Generation, BadTrust> {
        if self.format != FORMAT {
            return Err(BadTrust::Broken(format!(
                "this version of node-agent ({}) reads format {FORMAT}; it has format {}",
                env!("CARGO_PKG_VERSION"),
                self.format
            )));
        }
        let keys = self.keys.iter().enumerate().map(|(index, line)| {
            SigningKey::from_line(line).map_err(|error| BadTrust::Key(index, error))
        });
        let keyring = Keyring::new(keys.collect::<Result<_, _>>()?, self.threshold)
            .map_err(BadTrust::Keyring)?;
        Ok(Generation {
            number: self.trust,
            fleet: self.fleet,
            issued: self.issued.0,
            expires: self.expires.map(|expires| expires.0),
            keyring,
            version_floor: self.version_floor,
            version_step: self.version_step,
        })
    }
}

/// As a box keeps it: what the file says, whose signatures were checked when it was taken.
impl Serialize for Generation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::of(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Generation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        written.generation().map_err(serde::de::Error::custom)
    }
}

/// `trust 3: 1 of 2 keys`.
impl fmt::Display for Generation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "trust {}: {}", self.number, self.keyring.in_short())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TestKey, trusted};
    use super::*;

    fn generation(number: u64, keys: &[&TestKey], threshold: usize) -> Generation {
        Generation {
            number,
            fleet: "shop".parse().unwrap(),
            issued: "2026-11-30T00:00:00Z".parse().unwrap(),
            expires: None,
            keyring: trusted(keys, threshold),
            version_floor: 42,
            version_step: None,
        }
    }

    fn file(generation: &Generation, keys: &[&TestKey]) -> String {
        let signed = generation.to_signed();
        let signatures: Vec<_> = keys
            .iter()
            .map(|key| key.sign_for(signed.as_bytes(), TRUST_NAMESPACE))
            .collect();
        generation.sealed(&signatures)
    }

    #[test]
    fn a_generation_is_followed_where_old_and_new_have_signed() {
        let (alice, bob, carol) = (
            TestKey::new(1, "alice"),
            TestKey::new(2, "bob"),
            TestKey::new(3, "carol"),
        );
        let before = trusted(&[&alice, &bob], 2);
        let next = generation(4, &[&bob, &carol], 2);
        let fleet: Name = "shop".parse().unwrap();
        let read =
            |text: &str, number| Generation::read(text.as_bytes(), number, &before, Some(&fleet));
        let good = file(&next, &[&alice, &bob, &carol]);
        assert_eq!(read(&good, 4).unwrap(), next);
        let told = |text: &str, number| read(text, number).unwrap_err().to_string();
        let other = Generation {
            fleet: "other".parse().unwrap(),
            ..next.clone()
        };
        // A document's signature does not count for trust.
        let signed = next.to_signed();
        let as_document =
            next.sealed(&[alice.sign(signed.as_bytes()), bob.sign(signed.as_bytes())]);
        let all = [
            told(&file(&next, &[&alice, &carol]), 4),
            told(&file(&next, &[&alice, &bob]), 4),
            told(&good, 5),
            told(&file(&other, &[&alice, &bob, &carol]), 4),
            told(&good.replace("\"threshold\": 2", "\"threshold\": 1"), 4),
            told(&as_document, 4),
            told("{}", 4),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn what_a_box_keeps_of_it_is_read_back() {
        let alice = TestKey::new(1, "alice");
        let kept = Generation {
            expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            version_step: Some(7),
            ..generation(3, &[&alice], 1)
        };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Generation>(&text).unwrap(), kept);
        let unknown = text.replace("\"trust\"", "\"more\": 1, \"trust\"");
        assert!(serde_json::from_str::<Generation>(&unknown).is_err());
    }
}
