//! One transaction's number, and the last one of each domain. Pure. Whoever compares what servers have asks
//! [`crate::database::gtid`]; this follows a log, transaction by transaction.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// `domain-server-sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gtid {
    /// The domain.
    pub domain: u32,
    /// The server that wrote it first.
    pub server: u32,
    /// Its number in the domain.
    pub sequence: u64,
}

/// What is no transaction's number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no transaction: those are called like 0-11-253, domain-server-sequence (agentctl db find shows them)"
)]
pub struct NoGtid(String);

impl fmt::Display for Gtid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl FromStr for Gtid {
    type Err = NoGtid;

    fn from_str(text: &str) -> Result<Self, NoGtid> {
        let read = || {
            let mut parts = text.split('-');
            let gtid = Self {
                domain: parts.next()?.parse().ok()?,
                server: parts.next()?.parse().ok()?,
                sequence: parts.next()?.parse().ok()?,
            };
            (parts.next().is_none() && gtid.to_string() == text).then_some(gtid)
        };
        read().ok_or_else(|| NoGtid(text.chars().take(80).collect()))
    }
}

/// The last transaction of each domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tips(BTreeMap<u32, Gtid>);

impl Tips {
    /// That of a domain.
    pub fn of(&self, domain: u32) -> Option<Gtid> {
        self.0.get(&domain).copied()
    }

    /// This one was the last of its domain.
    pub fn set(&mut self, gtid: Gtid) {
        self.0.insert(gtid.domain, gtid);
    }

    /// This one is the last of its domain, unless there is a later one.
    pub fn raise(&mut self, gtid: Gtid) {
        let is_later = self
            .of(gtid.domain)
            .is_none_or(|tip| gtid.sequence > tip.sequence);
        if is_later {
            self.set(gtid);
        }
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each domain's.
    pub fn iter(&self) -> impl Iterator<Item = Gtid> {
        self.0.values().copied()
    }

    /// Whether `other` has, by the numbers, got at least as far in each of these domains.
    pub fn is_within(&self, other: &Self) -> bool {
        self.iter().all(|own| {
            let there = other.of(own.domain);
            there.is_some_and(|there| there.sequence >= own.sequence)
        })
    }
}

impl fmt::Display for Tips {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.0.values().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

impl FromStr for Tips {
    type Err = NoGtid;

    /// A list with commas; several of one domain are read as the last of them.
    fn from_str(text: &str) -> Result<Self, NoGtid> {
        let mut tips = Self::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            tips.raise(part.trim().parse()?);
        }
        Ok(tips)
    }
}

impl serde::Serialize for Tips {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Tips {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Gtid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Gtid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form_and_a_list_is_the_last_of_each_domain() {
        let gtid: Gtid = "0-11-253".parse().unwrap();
        assert_eq!(gtid.to_string(), "0-11-253");
        for wrong in ["", "0-11", "0-11-253-1", "0-011-1", "0-11--1", "a-1-1"] {
            assert!(wrong.parse::<Gtid>().is_err(), "{wrong}");
        }
        let tips: Tips = "0-11-253,0-12-260, 5-1-7".parse().unwrap();
        assert_eq!(tips.to_string(), "0-12-260,5-1-7");
        assert!("0-11-260".parse::<Tips>().unwrap().is_within(&tips));
        assert!(!"0-11-261".parse::<Tips>().unwrap().is_within(&tips));
        assert!(!"6-11-1".parse::<Tips>().unwrap().is_within(&tips));
        assert!(Tips::default().is_within(&tips));
    }
}
