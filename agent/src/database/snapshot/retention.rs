//! Which snapshots are kept, and why. Pure.
//!
//! Tiers: `every` so often, one is kept for so `long`. Whatever the tiers say, the newest stays, and so does the newest that
//! was restored: what is believed to be good has not been shown to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::id::SnapshotId;

/// One of each `every` is kept for so `long`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// The length of the stretches of time, counted from 1970, of each of which one is kept.
    pub every: Duration,
    /// For how long.
    pub long: Duration,
}

/// What is kept where the document does not say: 15 minutes for a day, hourly for a week, daily for five weeks, monthly for
/// a year.
pub fn usual() -> Vec<Tier> {
    let hours = |every: u64, days: u64| Tier {
        every: Duration::from_mins(every),
        long: Duration::from_hours(24 * days),
    };
    vec![
        hours(15, 1),
        hours(60, 7),
        hours(24 * 60, 35),
        hours(30 * 24 * 60, 366),
    ]
}

/// A snapshot, as far as keeping it is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: SnapshotId,
    /// Whether a drill has restored it.
    pub proven: bool,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is none that is newer.
    Newest,
    /// It is the newest of those that were restored.
    NewestProven,
    /// A tier wants it.
    Tier,
    /// It is the last of its epoch: what the former master had before the change.
    EpochEnd,
}

impl Reason {
    /// As people say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "the newest",
            Self::NewestProven => "the newest that was restored",
            Self::Tier => "a tier of `keep`",
            Self::EpochEnd => "the last of its epoch",
        }
    }
}

/// Why each snapshot is kept; those that are not in it may go.
pub fn kept(
    snapshots: &[Candidate],
    tiers: &[Tier],
    now: Timestamp,
) -> BTreeMap<SnapshotId, Reason> {
    let mut kept: BTreeMap<SnapshotId, Reason> = BTreeMap::new();
    let mut keep = |candidate: Option<&Candidate>, reason| {
        if let Some(candidate) = candidate {
            kept.entry(candidate.id.clone()).or_insert(reason);
        }
    };
    let mut all: Vec<&Candidate> = snapshots.iter().collect();
    all.sort_by(|one, other| one.id.recency(now).cmp(&other.id.recency(now)));
    keep(all.last().copied(), Reason::Newest);
    let proven = all.iter().rev().find(|candidate| candidate.proven);
    keep(proven.copied(), Reason::NewestProven);
    for tier in tiers {
        let young = all.iter().filter(|one| age(one, now) <= tier.long);
        let mut stretches: BTreeMap<u64, &Candidate> = BTreeMap::new();
        for candidate in young {
            let first = stretches
                .entry(stretch(candidate, tier.every))
                .or_insert(candidate);
            // The first of those that were restored; a coarser tier chooses among what a finer one has left.
            if candidate.proven && !first.proven {
                *first = candidate;
            }
        }
        for candidate in stretches.values() {
            keep(Some(candidate), Reason::Tier);
        }
    }
    // For as long as anything is kept: beyond, a change of master is of no interest to anybody.
    let longest = tiers.iter().map(|tier| tier.long).max().unwrap_or_default();
    let epochs: BTreeSet<u64> = all.iter().map(|one| one.id.epoch).collect();
    let present = all.last().map(|newest| newest.id.epoch);
    for epoch in epochs.iter().filter(|epoch| Some(**epoch) != present) {
        let last = all.iter().rev().find(|one| one.id.epoch == *epoch);
        keep(
            last.copied().filter(|one| age(one, now) <= longest),
            Reason::EpochEnd,
        );
    }
    kept
}

/// A snapshot of the future is new.
fn age(candidate: &Candidate, now: Timestamp) -> Duration {
    let age = now.duration_since(candidate.id.time);
    Duration::try_from(age).unwrap_or_default()
}

fn stretch(candidate: &Candidate, every: Duration) -> u64 {
    let second = u64::try_from(candidate.id.time.as_second()).unwrap_or_default();
    second / every.as_secs().max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUARTER: i64 = 900;
    const BEGIN: i64 = 1_780_000_200;

    fn at(second: i64, epoch: u64, proven: bool) -> Candidate {
        Candidate {
            id: SnapshotId {
                time: Timestamp::from_second(second).unwrap(),
                epoch,
                server: "db-4".parse().unwrap(),
            },
            proven,
        }
    }

    fn now(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Takes one each quarter of an hour, and lets go at once of what may go, for `days`.
    fn live(days: i64) -> (Vec<Candidate>, i64) {
        let tiers = usual();
        let mut there: Vec<Candidate> = Vec::new();
        let mut second = BEGIN;
        for turn in 0..days * 96 {
            second = BEGIN + turn * QUARTER;
            // A change of master on the third day; a drill each hour.
            there.push(at(second, if turn < 3 * 96 { 1 } else { 2 }, turn % 4 == 1));
            if turn % 8 == 0 {
                let kept = kept(&there, &tiers, now(second));
                there.retain(|one| kept.contains_key(&one.id));
            }
        }
        (there, second)
    }

    #[test]
    fn after_forty_days_there_is_one_of_each_stretch_that_was_promised() {
        let (there, end) = live(40);
        for tier in usual() {
            let step = i64::try_from(tier.every.as_secs()).unwrap();
            let long = i64::try_from(tier.long.as_secs()).unwrap();
            let first = (end - long).max(BEGIN) / step + 1;
            for stretch in first..=end / step {
                let is_in = |one: &Candidate| one.id.time.as_second() / step == stretch;
                assert!(there.iter().any(is_in), "{tier:?} {stretch}");
            }
        }
        // 96 of a day, 6 days by the hour, 28 by the day, two by the month, the boundary of the epoch, a few on the edges.
        assert!((260..300).contains(&there.len()), "{}", there.len());
        let last_of_one = there
            .iter()
            .filter(|one| one.id.epoch == 1)
            .max_by_key(|one| one.id.time);
        assert_eq!(
            last_of_one.unwrap().id.time.as_second(),
            BEGIN + (3 * 96 - 1) * QUARTER
        );
    }

    #[test]
    fn of_an_hour_the_one_that_was_restored_is_kept() {
        let day = 86_400;
        let all: Vec<Candidate> = (0..4)
            .map(|n| at(BEGIN - BEGIN % 3600 + n * QUARTER, 1, n == 2))
            .collect();
        let newest = at(BEGIN + 2 * day, 1, true);
        let list: Vec<Candidate> = all.iter().cloned().chain([newest.clone()]).collect();
        let kept = kept(&list, &usual(), now(BEGIN + 2 * day));
        let ids: Vec<&SnapshotId> = kept.keys().collect();
        assert_eq!(ids, [&all[2].id, &newest.id]);
    }

    #[test]
    fn without_any_tier_the_newest_and_the_newest_restored_stay() {
        let list = [
            at(BEGIN, 1, true),
            at(BEGIN + 10, 1, true),
            at(BEGIN + 20, 1, false),
            at(BEGIN + 30, 1, false),
        ];
        let kept = kept(&list, &[], now(BEGIN + 1_000_000_000));
        assert_eq!(kept.get(&list[1].id), Some(&Reason::NewestProven));
        assert_eq!(kept.get(&list[3].id), Some(&Reason::Newest));
        assert_eq!(kept.len(), 2);
    }

    proptest! {
        #[test]
        fn whatever_the_clock_and_the_tiers_the_last_restorable_one_stays(
            seconds in prop::collection::vec((0_i64..40_000_000, 0_u64..5, any::<bool>()), 1..60),
            tiers in prop::collection::vec((1_u64..100_000, 1_u64..4_000_000), 0..5),
            clock in -10_000_000_i64..100_000_000,
        ) {
            let list: Vec<Candidate> = seconds.iter().map(|(s, e, p)| at(BEGIN + s, *e, *p)).collect();
            let tiers: Vec<Tier> = tiers.iter().map(|(every, long)| Tier {
                every: Duration::from_secs(*every), long: Duration::from_secs(*long),
            }).collect();
            let kept = kept(&list, &tiers, now(BEGIN + clock));
            let now = now(BEGIN + clock);
            let newest = list.iter().map(|one| one.id.recency(now)).max().unwrap();
            prop_assert!(kept.contains_key(newest.1));
            if let Some(proven) = list.iter().filter(|one| one.proven).map(|one| one.id.recency(now)).max() {
                prop_assert!(kept.contains_key(proven.1));
            }
            // Keeping what is kept lets nothing more go: a prune that is repeated does nothing.
            let left: Vec<Candidate> = list.iter().filter(|one| kept.contains_key(&one.id)).cloned().collect();
            let again = super::kept(&left, &tiers, now);
            prop_assert_eq!(again.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
        }
    }
}
