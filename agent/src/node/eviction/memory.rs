//! What one server remembers of its own looks at others, and of what it has read: by a clock of its own that only goes forwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{Health, Target, short};
use crate::fleet::{EvictPart, Name};

/// One bad answer accuses nobody.
const LEAST_FAILURES: u32 = 2;

/// What one server remembers. All times are of the clock that goes on while a machine sleeps, since its boot.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    asked: BTreeMap<Target, Asked>,
    /// When a sighting was first read here.
    sightings: BTreeMap<(EvictPart, Name, Name), (Timestamp, Duration)>,
    /// When a word of a server was last new here.
    words: BTreeMap<Target, (u64, Duration)>,
    /// Since when this server itself has been well without a break, and when it looked last.
    well: BTreeMap<EvictPart, (Duration, Duration)>,
}

#[derive(Debug, Clone)]
struct Asked {
    /// The last time.
    at: Duration,
    /// Since when it has not answered; `None`: it did.
    silent: Option<Duration>,
    failures: u32,
    why: String,
}

impl Memory {
    /// Takes in how a look at a server went, at `now`: `Err` says why it is dead. A look that comes later than `longest` after the one
    /// before begins anew: who slept meanwhile has seen nothing.
    pub fn asked(
        &mut self,
        target: Target,
        found: Result<(), String>,
        now: Duration,
        longest: Duration,
    ) {
        let before = self.asked.get(&target);
        let before = before.filter(|before| now.saturating_sub(before.at) <= longest);
        let asked = match (found, before) {
            (Ok(()), _) => Asked {
                at: now,
                silent: None,
                failures: 0,
                why: String::new(),
            },
            (Err(why), before) => Asked {
                at: now,
                // It may have died right after its last answer.
                silent: Some(before.map_or(now, |before| before.silent.unwrap_or(before.at))),
                failures: before.map_or(0, |before| before.failures).saturating_add(1),
                why: short(&why),
            },
        };
        self.asked.insert(target, asked);
    }

    /// Forgets whom nobody asks any more.
    pub fn keep(&mut self, targets: &BTreeSet<Target>) {
        self.asked.retain(|target, _| targets.contains(target));
    }

    /// Takes in what was read.
    pub fn read(&mut self, health: &Health, now: Duration) {
        let mut present = BTreeMap::new();
        let mut words = BTreeMap::new();
        for part in EvictPart::ALL {
            for (server, record) in health.of(part) {
                for sighting in &record.seen_dead {
                    let key = (part, server.clone(), sighting.by.clone());
                    let known = self.sightings.get(&key);
                    let known = known.filter(|(since, _)| *since == sighting.since);
                    let first = known.map_or(now, |(_, first)| *first);
                    present.insert(key, (sighting.since, first));
                }
                if let Some(word) = &record.word {
                    let key = (part, server.clone());
                    let known = self.words.get(&key);
                    let known = known.filter(|(count, _)| *count == word.count);
                    let heard = known.map_or(now, |(_, heard)| *heard);
                    words.insert(key, (word.count, heard));
                }
            }
        }
        self.sightings = present;
        self.words = words;
    }

    /// Notes whether this server itself is well in one part. Who did not look for longer than `longest` begins anew: it may have slept.
    pub fn is_well(&mut self, part: EvictPart, well: bool, now: Duration, longest: Duration) {
        if well {
            let (since, last) = self.well.entry(part).or_insert((now, now));
            if now.saturating_sub(*last) > longest {
                *since = now;
            }
            *last = now;
        } else {
            self.well.remove(&part);
        }
    }

    /// For how long it has been.
    pub(super) fn well_for(&self, part: EvictPart, now: Duration) -> Option<Duration> {
        let (since, _) = self.well.get(&part)?;
        Some(now.saturating_sub(*since))
    }

    /// For how long a server has been found dead here, and how. `None`: it has not, or nobody has looked for longer than `longest`.
    pub(super) fn dead(
        &self,
        target: &Target,
        now: Duration,
        longest: Duration,
    ) -> Option<(Duration, &str)> {
        let asked = self.fresh(target, now, longest)?;
        let silent = asked.silent?;
        (asked.failures >= LEAST_FAILURES).then(|| (now.saturating_sub(silent), asked.why.as_str()))
    }

    /// Whether a server answered when it was asked last, not longer than `longest` ago.
    pub(super) fn answers(&self, target: &Target, now: Duration, longest: Duration) -> bool {
        self.fresh(target, now, longest)
            .is_some_and(|asked| asked.silent.is_none())
    }

    fn fresh(&self, target: &Target, now: Duration, longest: Duration) -> Option<&Asked> {
        let asked = self.asked.get(target)?;
        (now.saturating_sub(asked.at) <= longest).then_some(asked)
    }

    /// For how long a sighting has been known here.
    pub(super) fn known_for(
        &self,
        part: EvictPart,
        server: &Name,
        by: &Name,
        now: Duration,
    ) -> Duration {
        let key = (part, server.clone(), by.clone());
        let known = self.sightings.get(&key);
        known.map_or(Duration::ZERO, |(_, first)| now.saturating_sub(*first))
    }

    /// How long ago a server last said something new.
    pub(super) fn heard_before(
        &self,
        part: EvictPart,
        server: &Name,
        now: Duration,
    ) -> Option<Duration> {
        let (_, heard) = self.words.get(&(part, server.clone()))?;
        Some(now.saturating_sub(*heard))
    }
}
