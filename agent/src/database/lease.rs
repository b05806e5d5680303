//! The lease: who is the master of a product's database, in which epoch. What it says, not how it is kept.
//!
//! Read strictly, with bounds: whoever follows a lease never goes back to a lower epoch, so one that says too much
//! must reach nobody's memory.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::fleet::Name;
use crate::fleet::strict;
use crate::system::machine_marks;

/// The only format there is.
pub const FORMAT: u32 = 1;
/// The most bytes of a lease.
pub const LEASE_LIMIT: u64 = 64 * 1024;
/// No epoch or sequence number is higher: what JSON's numbers hold exactly everywhere. A change of master each
/// second would take three hundred million years to get there.
pub const HIGHEST: u64 = 1 << 53;
/// The most bytes of a position. A MySQL set of many ranges can be long; a MariaDB position never is.
pub const GTID_LIMIT: usize = 16 * 1024;
/// The most servers on which locks can be held.
const HELD_LIMIT: usize = 16;
/// The shortest and the longest time to live, in milliseconds.
const TTL_MS: std::ops::RangeInclusive<u64> = 500..=600_000;

/// The key of a product's lease in the bucket.
pub fn key(product: &Name) -> String {
    format!("leases/{product}.json")
}

/// What one write of a lease is told apart by: never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A nonce of these bytes: for who has randomness of his own, such as a model that must be repeatable.
    pub const fn of(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// One that nobody had before.
    pub fn fresh() -> std::io::Result<Self> {
        crate::system::random::bytes().map(Self)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Nonce({self})")
    }
}

impl FromStr for Nonce {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if lower => Ok(Self(bytes)),
            _ => Err("expected a nonce of 32 lower-case hexadecimal digits"),
        }
    }
}

impl Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the owner does with his ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// He is the master and takes writes.
    Serving,
    /// He has taken the lease over and applies what he has received; he takes no writes yet.
    Promoting,
    /// He hands over to `to`, by a person's wish, and takes no writes any more.
    Switching,
    /// He has shown that his server takes no writes: a successor need not wait.
    Released,
}

impl LeaseState {
    /// The word for it, as the object has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Promoting => "promoting",
            Self::Switching => "switching",
            Self::Released => "released",
        }
    }
}

impl fmt::Display for LeaseState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// Who owned the lease before, and what he had: it bounds what a change of master can have lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// The last owner.
    pub owner: Name,
    /// The epoch in which he owned it.
    pub epoch: u64,
    /// The last position that he wrote into the lease.
    pub gtid: String,
    /// He had closed his server before he wrote that, and the new owner has all of it: whoever has no more than that
    /// lacks nothing with which this epoch began, and has nothing that its owner lacks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
}

/// A product's lease, as the object `leases/<product>.json` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The format: 1.
    pub format: u32,
    /// The product. A lease under another product's key is refused.
    pub product: Name,
    /// From 1; one more with each change of owner.
    pub epoch: u64,
    /// The server that owns it.
    pub owner: Name,
    /// Marks of the machine that wrote this, by which a copy of it that goes by the same name is told apart: two machines
    /// have none in common. Nothing: it could not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machine: Vec<String>,
    /// One more with each write of this epoch, from 1.
    pub seq: u64,
    /// Fresh with each write: by it a writer knows its own write again, and no two bodies are the same.
    pub nonce: Nonce,
    /// What the owner does.
    #[serde(deserialize_with = "strict::word")]
    pub state: LeaseState,
    /// The owner's position when this was written, as its server writes it. Empty: not known yet.
    pub gtid: String,
    /// Whether something outside the agent closes the owner's server when renewals stop.
    pub armed: bool,
    /// The servers on which the owner holds the product's lock, sorted by name.
    pub held: Vec<Name>,
    /// The epoch began by a person's order: a failover soon after it is not the second one in a row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub planned: bool,
    /// While promoting: the server may be opened at any moment, or be open. A promoting lease that does not say so is
    /// that of a server which takes no writes before a later one was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opening: bool,
    /// While serving: the owner is only watched, by a person's wish. Nothing closes its server when renewals stop, so nobody
    /// takes over by himself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// Released, and the owner took no writes in this epoch: it gave the lease back to somebody who has applied what it has
    /// not. Such an epoch is no change of master.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unopened: bool,
    /// Who is to take over: while switching, and announced shortly before, while still serving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
    /// When the epoch began, by the owner's wall clock: for people, and for the pause between two failovers.
    pub since: Timestamp,
    /// When this was written, by the owner's wall clock: for people.
    pub renewed: Timestamp,
    /// The owner's time to live, in milliseconds. Who waits for its end waits for the larger of this and his own.
    pub ttl_ms: u64,
    /// The last owner: from the second epoch on.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub previous: Option<Previous>,
}

/// Why some bytes are no lease of a product.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Not the JSON of a lease.
    #[error("it is not understood")]
    Syntax(#[from] serde_json::Error),
    /// A later version's.
    #[error("it has format {0}, this version of agentd knows format {FORMAT}: update agentd")]
    Format(u64),
    /// It belongs elsewhere.
    #[error("it is of the product {found}")]
    OtherProduct {
        /// Whose it says that it is.
        found: Name,
    },
    /// It says what no owner writes.
    #[error("{0}")]
    Absurd(String),
}

impl Lease {
    /// Reads the lease of `product`. Nothing that is not surely one passes.
    pub fn read(bytes: &[u8], product: &Name) -> Result<Self, LeaseError> {
        /// Of a later version only this is known.
        #[derive(Deserialize)]
        struct Head {
            format: u64,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format != u64::from(FORMAT) {
            return Err(LeaseError::Format(head.format));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let lease: Self = strict::object(&mut deserializer)?;
        deserializer.end()?;
        if lease.product != *product {
            return Err(LeaseError::OtherProduct {
                found: lease.product,
            });
        }
        lease.check().map_err(LeaseError::Absurd)?;
        Ok(lease)
    }

    /// The object's bytes. A lease that could not be read back is not written.
    pub fn bytes(&self) -> Result<Vec<u8>, LeaseError> {
        self.check().map_err(LeaseError::Absurd)?;
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn check(&self) -> Result<(), String> {
        in_range("epoch", self.epoch)?;
        in_range("seq", self.seq)?;
        if !TTL_MS.contains(&self.ttl_ms) {
            return Err(format!(
                "ttl_ms is {}, expected {} to {}",
                self.ttl_ms,
                TTL_MS.start(),
                TTL_MS.end()
            ));
        }
        position("gtid", &self.gtid)?;
        if self.held.len() > HELD_LIMIT || !self.held.is_sorted_by(|a, b| a < b) {
            return Err(format!(
                "held must be at most {HELD_LIMIT} servers, each once, sorted by name"
            ));
        }
        let is_mark = |mark: &String| {
            mark.len() == machine_marks::DIGITS
                && mark
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if self.machine.len() > machine_marks::MARKS || !self.machine.iter().all(is_mark) {
            return Err(format!(
                "machine must be at most {} marks of {} lower-case hexadecimal digits",
                machine_marks::MARKS,
                machine_marks::DIGITS
            ));
        }
        match (&self.to, self.state) {
            (None, LeaseState::Switching) => return Err("switching, and `to` is missing".into()),
            (Some(to), LeaseState::Switching) if *to == self.owner => {
                return Err("switching to its own owner".into());
            }
            (Some(to), LeaseState::Serving) if *to == self.owner => {
                return Err("to be handed to its own owner".into());
            }
            (Some(_), state @ (LeaseState::Promoting | LeaseState::Released)) => {
                return Err(format!("{state}, and yet there is `to`"));
            }
            _ => {}
        }
        if self.opening && self.state != LeaseState::Promoting {
            return Err(format!("{}, and yet opening", self.state));
        }
        if self.observed && self.state != LeaseState::Serving {
            return Err(format!("{}, and yet observed", self.state));
        }
        if self.unopened && self.state != LeaseState::Released {
            return Err(format!("{}, and yet unopened", self.state));
        }
        match &self.previous {
            None if self.epoch > 1 => Err(format!("epoch {} without `previous`", self.epoch)),
            Some(previous) if previous.epoch.checked_add(1) != Some(self.epoch) => Err(format!(
                "epoch {} follows epoch {}",
                self.epoch, previous.epoch
            )),
            Some(previous) => {
                position("previous.gtid", &previous.gtid)?;
                if self.epoch == 1 {
                    return Err("the first epoch follows none".into());
                }
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn in_range(what: &str, number: u64) -> Result<(), String> {
    if (1..=HIGHEST).contains(&number) {
        Ok(())
    } else {
        Err(format!("{what} is {number}, expected 1 to {HIGHEST}"))
    }
}

fn position(what: &str, text: &str) -> Result<(), String> {
    if text.len() > GTID_LIMIT {
        return Err(format!("{what} is longer than {GTID_LIMIT} bytes"));
    }
    if text.bytes().any(|byte| !(0x20..0x7f).contains(&byte)) {
        return Err(format!("{what} has characters that no position has"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
