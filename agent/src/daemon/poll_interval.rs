//! The interval between two reads of the leases: shorter while a change of master is under way or near. Pure.

use std::time::Duration;

use crate::converge::follow::Unrest;

/// The interval while a change is under way: mostly this is what a web server's clients wait for.
const HURRIED: Duration = Duration::from_millis(200);
/// So much time can be spent at shorter intervals at a stretch: the time after which a dead master's lease is taken, and some more.
const CREDIT: Duration = Duration::from_secs(30);
/// A 20th of the time at the usual interval is gained as new credit: a lease that is in trouble for days costs at most half as
/// many requests again, at the default interval.
const REGAINED: u32 = 20;

/// How often leases are read while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Where nobody tells of a change.
    pub(super) poll: Duration,
    /// The interval now: the same, or a longer one.
    pub(super) usual: Duration,
    /// Whether those who would know of a change tell of it at once.
    pub(super) told: bool,
}

/// The interval, with the time that may still be spent at shorter ones.
#[derive(Debug)]
pub(super) struct PollInterval {
    credit: Duration,
}

impl Default for PollInterval {
    fn default() -> Self {
        Self { credit: CREDIT }
    }
}

impl PollInterval {
    /// The interval before the next read.
    ///
    /// A lease that is overdue is nobody's fault whose clients it would help to hurry for long: all machines see it at once, and
    /// must not come at once. Who is told of a change needs no hurry at all.
    pub(super) fn next(&mut self, pace: Pace, unrest: Unrest) -> Duration {
        let Pace { poll, usual, told } = pace;
        let wait = match unrest {
            Unrest::None => usual,
            Unrest::Changing => self.hurried(HURRIED, poll).unwrap_or(poll).min(usual),
            Unrest::Overdue if told => jittered(poll * 2).min(usual),
            Unrest::Overdue => {
                let wait = self.hurried(jittered(poll / 2), poll);
                wait.unwrap_or_else(|| jittered(poll)).min(usual)
            }
        };
        if wait >= poll {
            self.credit = (self.credit + wait / REGAINED).min(CREDIT);
        }
        wait
    }

    /// The shorter interval, where there is credit for it.
    fn hurried(&mut self, wait: Duration, poll: Duration) -> Option<Duration> {
        let left = self.credit.checked_sub(wait).filter(|_| wait < poll)?;
        self.credit = left;
        Some(wait)
    }
}

/// A quarter more or less: machines that saw the same at the same moment do not ask at the same moment again.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(2);
    const ALONE: Pace = Pace {
        poll: USUAL,
        usual: USUAL,
        told: false,
    };
    const TOLD: Pace = Pace {
        poll: USUAL,
        usual: Duration::from_secs(30),
        told: true,
    };

    #[test]
    fn a_change_is_followed_closely_and_a_healthy_lease_at_leisure() {
        let mut interval = PollInterval::default();
        assert_eq!(interval.next(ALONE, Unrest::None), USUAL);
        assert_eq!(interval.next(TOLD, Unrest::None), TOLD.usual);
        for _ in 0..100 {
            assert_eq!(interval.next(ALONE, Unrest::Changing), HURRIED);
        }
        assert_eq!(interval.next(ALONE, Unrest::None), USUAL);
        let fast = Duration::from_millis(100);
        let fast = Pace {
            poll: fast,
            usual: fast,
            told: false,
        };
        let wait = interval.next(fast, Unrest::Changing);
        assert_eq!(wait, fast.poll, "never slower than was set");
    }

    /// How often a lease is read in an hour of this.
    fn hourly(pace: Pace, unrest: Unrest) -> u64 {
        let mut interval = PollInterval::default();
        let (mut time, mut asked) = (Duration::ZERO, 0);
        while time < Duration::from_hours(1) {
            time += interval.next(pace, unrest);
            asked += 1;
        }
        asked
    }

    #[test]
    fn trouble_that_stays_costs_at_most_half_as_much_again() {
        let usually = 3600 / USUAL.as_secs();
        for unrest in [Unrest::Changing, Unrest::Overdue] {
            let asked = hourly(ALONE, unrest);
            assert!(asked < usually * 3 / 2 + 150, "{unrest:?}: {asked}");
        }
    }

    #[test]
    fn an_overdue_lease_draws_no_storm() {
        let mut interval = PollInterval::default();
        let mut waits = Vec::new();
        for _ in 0..200 {
            waits.push(interval.next(ALONE, Unrest::Overdue));
        }
        assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(750)));
        let different: std::collections::BTreeSet<_> = waits.iter().collect();
        assert!(different.len() > 100, "they are spread");
        // Who is told of a change reads it a sixth as often.
        assert!((700..1300).contains(&hourly(TOLD, Unrest::Overdue)));
        assert_eq!(hourly(TOLD, Unrest::None), 120);
    }
}
