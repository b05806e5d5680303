//! `MariaDB`: `domain-server-sequence`, in lists.
//!
//! The server tells three of them: `gtid_slave_pos` (last applied, one a domain), `gtid_binlog_pos` (last written, one
//! a domain) and `gtid_binlog_state` (last written of each server in each domain). All are read into one map, and their
//! union is what a server has. With `gtid_strict_mode` the numbers of a domain only grow, whichever server wrote them,
//! so that a domain is one line of history and whoever has a transaction has all before it.

use std::collections::BTreeMap;
use std::fmt;

use super::{Containment, Flavour, GtidError};

/// The last sequence number of each server in each domain, as far as told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    last: BTreeMap<(u32, u32), u64>,
}

/// A decimal number as the server writes it: no sign, no leading zero.
pub(super) fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

impl Positions {
    pub(super) fn parse(text: &str) -> Result<Self, GtidError> {
        let mut last = BTreeMap::new();
        if text.trim().is_empty() {
            return Ok(Self { last });
        }
        let wrong = |why| GtidError::new(Flavour::MariaDb, text, why);
        for gtid in text.split(',') {
            let mut parts = gtid.trim().split('-');
            let (Some(domain), Some(server), Some(sequence), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(wrong("expected domain-server-sequence"));
            };
            let (Some(domain), Some(server), Some(sequence)) =
                (number(domain), number(server), number(sequence))
            else {
                return Err(wrong("expected three numbers"));
            };
            if last.insert((domain, server), sequence).is_some() {
                return Err(wrong("one server twice in one domain"));
            }
        }
        Ok(Self { last })
    }

    /// No transactions.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The last transaction of each domain.
    #[must_use]
    pub fn tip(&self) -> Self {
        let last = self
            .tips()
            .into_iter()
            .map(|(domain, (server, sequence))| ((domain, server), sequence))
            .collect();
        Self { last }
    }

    /// Those that this server wrote.
    #[must_use]
    pub fn written_by(&self, server: u32) -> Self {
        let mut own = self.clone();
        own.last.retain(|(_, writer), _| *writer == server);
        own
    }

    fn tips(&self) -> BTreeMap<u32, (u32, u64)> {
        let mut tips: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
        for (&(domain, server), &sequence) in &self.last {
            let tip = tips.entry(domain).or_insert((server, sequence));
            if sequence > tip.1 {
                *tip = (server, sequence);
            }
        }
        tips
    }

    /// Whether the last transaction of each domain of `other` is among these.
    ///
    /// `No` where this ends before it, or has another transaction of the same number. `Unknown` where this goes on
    /// beyond it and does not tell what that server wrote: a position names only ends, and so does the state of a server
    /// that was restored from a snapshot.
    pub fn contains(&self, other: &Self) -> Containment {
        let own = self.tips();
        let mut answer = Containment::Yes;
        for (domain, (server, sequence)) in other.tips() {
            let told = self.last.get(&(domain, server)).copied();
            let end = own.get(&domain).copied();
            match (told, end) {
                (Some(told), _) if told >= sequence => {}
                (_, Some((_, end))) if end <= sequence => return Containment::No,
                // That server is known to have written its last before `sequence`.
                (_, None) | (Some(_), Some(_)) => return Containment::No,
                (None, Some(_)) => answer = Containment::Unknown,
            }
        }
        answer
    }

    /// The ends that lie beyond `other`, or beside it.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let ends = other.tips();
        let last = self
            .tips()
            .into_iter()
            .filter(|(domain, (server, sequence))| {
                let told = other.last.get(&(*domain, *server));
                let behind = ends.get(domain).is_none_or(|(_, end)| end <= sequence);
                told.is_none_or(|told| told < sequence) && (behind || told.is_some())
            })
            .map(|(domain, (server, sequence))| ((domain, server), sequence))
            .collect();
        Self { last }
    }

    /// The last transaction of each domain that both have: where two histories part. Only where a domain is one line of
    /// history, and both know what each server wrote. A domain that they share nothing of is not in it.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let both = self.last.iter().filter_map(|(key, &sequence)| {
            let there = *other.last.get(key)?;
            // Of a server that wrote on after they parted, only what the other one knows is in both.
            Some((*key, sequence.min(there)))
        });
        Self {
            last: both.collect(),
        }
        .tip()
    }

    /// By how many transactions this is ahead of `other`, over all domains.
    pub fn beyond(&self, other: &Self) -> u64 {
        let ends = other.tips();
        self.tips().into_iter().fold(0, |sum, (domain, (_, end))| {
            let other = ends.get(&domain).map_or(0, |(_, other)| *other);
            sum.saturating_add(end.saturating_sub(other))
        })
    }

    /// Of each server in each domain, the later.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut last = self.last.clone();
        for (&key, &sequence) in &other.last {
            let own = last.entry(key).or_insert(sequence);
            *own = sequence.max(*own);
        }
        Self { last }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ((domain, server), sequence)) in self.last.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}
