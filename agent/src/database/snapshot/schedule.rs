//! When a snapshot is due: slots on the wall clock, so that a restart neither skips one nor takes one twice. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::bucket::phase;
use crate::fleet::Name;

/// Slots of a length, each product's at another place of the hour: a fleet's snapshot servers do not all begin at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    every: u64,
    phase: u64,
}

impl Slots {
    /// A product's slots of this length, which is a second at least.
    pub fn new(product: &Name, every: Duration) -> Self {
        Self {
            every: every.as_secs().max(1),
            phase: phase(product.as_str(), every).as_secs(),
        }
    }

    /// The beginning of the slot in which `moment` is.
    pub fn begin(self, moment: Timestamp) -> Timestamp {
        let second = u64::try_from(moment.as_second()).unwrap_or_default();
        let into = second.saturating_sub(self.phase) % self.every;
        moved(moment, into, false)
    }

    /// Whether one is due at `now`, the newest being of `last`.
    pub fn is_due(self, last: Option<Timestamp>, now: Timestamp) -> bool {
        // One of the future, by a clock that was put back since, is no reason to wait for years.
        last.is_none_or(|last| last < self.begin(now) || last > moved(now, self.every, true))
    }

    /// How long until the next slot begins.
    pub fn until_next(self, now: Timestamp) -> Duration {
        let next = moved(self.begin(now), self.every, true);
        Duration::try_from(next.duration_since(now)).unwrap_or_default()
    }
}

/// `moment`, so many seconds later or earlier, without fractions.
fn moved(moment: Timestamp, seconds: u64, later: bool) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX / 2);
    let by = SignedDuration::from_secs(if later { seconds } else { -seconds });
    moment.saturating_add(by).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> Slots {
        Slots {
            every: 900,
            phase: 120,
        }
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-11-24T{text}Z").parse().unwrap()
    }

    #[test]
    fn one_is_due_in_each_slot_and_not_twice() {
        let slots = slots();
        assert_eq!(slots.begin(at("15:10:00")), at("15:02:00"));
        assert!(slots.is_due(None, at("15:10:00")));
        assert!(slots.is_due(Some(at("15:01:59")), at("15:02:00")));
        assert!(!slots.is_due(Some(at("15:02:00")), at("15:16:59")));
        // Taken late in its slot: the next one comes in time all the same.
        assert!(slots.is_due(Some(at("15:16:00")), at("15:17:00")));
        assert_eq!(slots.until_next(at("15:16:00")), Duration::from_mins(1));
        assert_eq!(slots.until_next(at("15:17:00")), Duration::from_mins(15));
    }

    #[test]
    fn a_clock_that_was_put_back_stops_nothing() {
        assert!(slots().is_due(Some(at("23:00:00")), at("15:10:00")));
        // A little ahead, another machine's clock: not a second one at once.
        assert!(!slots().is_due(Some(at("15:10:05")), at("15:10:00")));
    }

    #[test]
    fn products_have_slots_of_their_own() {
        let every = Duration::from_mins(15);
        let of = |name: &str| Slots::new(&name.parse().unwrap(), every);
        assert_eq!(of("shop"), of("shop"));
        assert_ne!(of("shop"), of("video"));
        assert!(of("shop").phase < 900);
    }
}
