//! How soon leases are asked for again: more often while a change of master is under way or near. Pure.

use std::time::Duration;

/// The pause while a change is under way: what a web server's clients wait for is mostly this.
const HURRIED: Duration = Duration::from_millis(200);
/// So long can be hurried at a time: the time after which a dead master's lease is taken, and some more.
const CREDIT: Duration = Duration::from_secs(30);
/// So much of the time at the usual pace is gained for hurrying again: a lease that is in trouble for days costs no more
/// than half as many requests again, at the default pace.
const REGAINED: u32 = 20;

/// What is left for hurrying.
#[derive(Debug)]
pub(super) struct Pace {
    credit: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { credit: CREDIT }
    }
}

impl Pace {
    /// The pause before the next question. `usual`: the one that is set; `restless`: a change is under way or near.
    pub(super) fn pause(&mut self, usual: Duration, restless: bool) -> Duration {
        if restless
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
        let mut pace = Pace::default();
        assert_eq!(pace.pause(USUAL, false), USUAL);
        for _ in 0..100 {
            assert_eq!(pace.pause(USUAL, true), HURRIED);
        }
        assert_eq!(pace.pause(USUAL, false), USUAL);
        let fast = Duration::from_millis(100);
        assert_eq!(pace.pause(fast, true), fast, "never slower than was set");
    }

    #[test]
    fn trouble_that_stays_costs_at_most_half_as_much_again() {
        let mut pace = Pace::default();
        let (mut time, mut asked) = (Duration::ZERO, 0);
        let hour = Duration::from_hours(1);
        while time < hour {
            time += pace.pause(USUAL, true);
            asked += 1;
        }
        let usually = hour.as_secs() / USUAL.as_secs();
        assert!(asked < usually * 3 / 2 + 150, "{asked} against {usually}");
        // And then a calm hour gives all of it back.
        for _ in 0..usually {
            pace.pause(USUAL, false);
        }
        assert_eq!(pace.credit, CREDIT);
    }
}
