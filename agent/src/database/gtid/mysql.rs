//! `MySQL`: sets of intervals, `uuid[:tag]:1-5:7,…`, true sets with exact answers.

use std::collections::BTreeMap;
use std::fmt;

use super::mariadb::number;
use super::{Flavour, GtidError};

/// The largest number that the server gives a transaction.
const LAST: u64 = (1 << 63) - 2;
/// The longest tag, in characters.
const TAG: usize = 32;

/// Who numbered the transactions: a server's uuid in lower case, and a tag that may be empty (since `MySQL` 8.3).
type Source = (String, String);

/// Closed intervals, ascending, apart from each other.
type Intervals = Vec<(u64, u64)>;

/// A set of transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sets {
    sets: BTreeMap<Source, Intervals>,
}

impl Sets {
    pub(super) fn parse(text: &str) -> Result<Self, GtidError> {
        let wrong = |why| GtidError::new(Flavour::MySql, text, why);
        let mut sets: BTreeMap<Source, Intervals> = BTreeMap::new();
        if text.trim().is_empty() {
            return Ok(Self { sets });
        }
        // The server breaks long sets into lines.
        for set in text.split(',') {
            let mut parts = set.trim().split(':');
            let uuid = parts
                .next()
                .and_then(uuid)
                .ok_or_else(|| wrong("expected a uuid"))?;
            let (mut label, mut count) = (String::new(), 0_usize);
            for part in parts {
                let part = part.trim();
                if let Some(tag) = tag(part) {
                    if count == 0 && !label.is_empty() {
                        return Err(wrong("a tag without intervals"));
                    }
                    (label, count) = (tag, 0);
                    continue;
                }
                let interval = interval(part)
                    .ok_or_else(|| wrong("expected an interval of numbers, 1-5 or 7"))?;
                count += 1;
                sets.entry((uuid.clone(), label.clone()))
                    .or_default()
                    .push(interval);
            }
            if count == 0 {
                return Err(wrong("a uuid or tag without intervals"));
            }
        }
        for intervals in sets.values_mut() {
            join(intervals);
        }
        Ok(Self { sets })
    }

    /// No transactions.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// How many transactions.
    pub fn count(&self) -> u64 {
        self.sets
            .values()
            .flatten()
            .fold(0, |sum, (from, to)| sum.saturating_add(to - from + 1))
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let sets = self
            .sets
            .iter()
            .map(|(source, own)| {
                let without = other.sets.get(source).map_or(&[][..], Vec::as_slice);
                (source.clone(), subtract(own, without))
            })
            .filter(|(_, left)| !left.is_empty())
            .collect();
        Self { sets }
    }

    /// All of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut sets = self.sets.clone();
        for (source, more) in &other.sets {
            let intervals = sets.entry(source.clone()).or_default();
            intervals.extend(more);
            join(intervals);
        }
        Self { sets }
    }
}

fn uuid(text: &str) -> Option<String> {
    let groups: Vec<&str> = text.trim().split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    (lengths == [8, 4, 4, 4, 12] && groups.iter().all(hex))
        .then(|| text.trim().to_ascii_lowercase())
}

/// A tag begins with a letter or an underscore, which no interval does.
fn tag(text: &str) -> Option<String> {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let rest = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (begins && rest && text.len() <= TAG).then(|| text.to_ascii_lowercase())
}

fn interval(text: &str) -> Option<(u64, u64)> {
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?),
    };
    (from >= 1 && from <= to && to <= LAST).then_some((from, to))
}

/// Sorts, and joins what overlaps or touches.
fn join(intervals: &mut Intervals) {
    intervals.sort_unstable();
    let mut joined: Intervals = Vec::with_capacity(intervals.len());
    for &(from, to) in intervals.iter() {
        match joined.last_mut() {
            Some(last) if from <= last.1 + 1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    *intervals = joined;
}

/// Both ascending and joined.
fn subtract(own: &[(u64, u64)], without: &[(u64, u64)]) -> Intervals {
    let mut left = Vec::new();
    for &(mut from, to) in own {
        for &(gone_from, gone_to) in without {
            if gone_to < from || gone_from > to {
                continue;
            }
            if gone_from > from {
                left.push((from, gone_from - 1));
            }
            from = gone_to + 1;
        }
        if from <= to {
            left.push((from, to));
        }
    }
    left
}

impl fmt::Display for Sets {
    /// As the server writes it: a uuid's untagged intervals first, then its tags.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&str> = None;
        for ((uuid, tag), intervals) in &self.sets {
            if before != Some(uuid) {
                let comma = if before.is_none() { "" } else { "," };
                write!(out, "{comma}{uuid}")?;
            }
            before = Some(uuid);
            if !tag.is_empty() {
                write!(out, ":{tag}")?;
            }
            for (from, to) in intervals {
                if from == to {
                    write!(out, ":{from}")?;
                } else {
                    write!(out, ":{from}-{to}")?;
                }
            }
        }
        Ok(())
    }
}
