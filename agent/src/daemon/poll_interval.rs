//! The interval between two reads of the leases: shorter while a change of master is under way or near. Pure.

use std::time::Duration;

/// The interval while a change is under way: mostly this is what a web server's clients wait for.
const HURRIED: Duration = Duration::from_millis(200);
/// So much time can be spent at the hurried interval at a stretch: the time after which a dead master's lease is taken, and some more.
const CREDIT: Duration = Duration::from_secs(30);
/// A 20th of the time at the usual interval is gained as new credit: a lease that is in trouble for days costs at most half as
/// many requests again, at the default interval.
const REGAINED: u32 = 20;

/// The interval, with the time that may still be spent at the hurried one.
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
    /// The interval before the next read. `usual`: the one that is set; `hurried`: a change is under way or near.
    pub(super) fn next(&mut self, usual: Duration, hurried: bool) -> Duration {
        if hurried
            && HURRIED < usual
            && let Some(left) = self.credit.checked_sub(HURRIED)
        {
            self.credit = left;
            return HURRIED;
        }
        self.credit = (self.credit + usual / REGAINED).min(CREDIT);
        usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(2);

    #[test]
    fn a_change_is_followed_closely_and_a_healthy_lease_at_leisure() {
        let mut interval = PollInterval::default();
        assert_eq!(interval.next(USUAL, false), USUAL);
        for _ in 0..100 {
            assert_eq!(interval.next(USUAL, true), HURRIED);
        }
        assert_eq!(interval.next(USUAL, false), USUAL);
        let fast = Duration::from_millis(100);
        assert_eq!(interval.next(fast, true), fast, "never slower than was set");
    }

    #[test]
    fn trouble_that_stays_costs_at_most_half_as_much_again() {
        let mut interval = PollInterval::default();
        let (mut time, mut asked) = (Duration::ZERO, 0);
        let hour = Duration::from_hours(1);
        while time < hour {
            time += interval.next(USUAL, true);
            asked += 1;
        }
        let usually = hour.as_secs() / USUAL.as_secs();
        assert!(asked < usually * 3 / 2 + 150, "{asked} against {usually}");
        // And then a calm hour gives all of it back.
        for _ in 0..usually {
            interval.next(USUAL, false);
        }
        assert_eq!(interval.credit, CREDIT);
    }
}
