//! What a person has said of a box for a while: that nothing is changed on it, that it takes no more visitors.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{ago, moment, shown};

/// The longest time for which an order stands, in seconds: seven days. What is to last longer is said in the document.
pub const LONGEST_ORDER_SECS: u64 = 7 * 86_400;
/// What is said first of a step that waits for the end of a hold.
pub const ON_HOLD: &str = "on hold";
/// So far a clock may be set back before an order counts as of another time.
const CLOCK_SLACK_SECS: i64 = 300;

/// An order of a person that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingOrder {
    /// The format: 1.
    pub format: u32,
    /// When it was given.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Who gave it: an account.
    pub by: String,
    /// Why, in that person's words.
    pub reason: String,
}

impl StandingOrder {
    /// Whether it stands at that moment. One that was given in the future, or for longer than any, does not: the clock was wrong.
    pub fn stands(&self, now: Timestamp) -> bool {
        let longest = i64::try_from(LONGEST_ORDER_SECS).unwrap_or(i64::MAX);
        now < self.until
            && self.since.as_second() <= now.as_second().saturating_add(CLOCK_SLACK_SECS)
            && self
                .until
                .as_second()
                .saturating_sub(self.since.as_second())
                <= longest
    }

    /// `until 2026-11-30 16:00:00Z (in 2 h), by root: new disks`.
    pub fn line(&self, now: Timestamp) -> String {
        format!("{} ({})", self.fixed(), ago(self.until, now))
    }

    /// The same as [`StandingOrder::line`] without what changes with each look: `until 2026-11-30 16:00:00Z, by root: new disks`.
    pub fn fixed(&self) -> String {
        format!(
            "until {}, by {}: {}",
            moment(self.until),
            shown(&self.by),
            shown(&self.reason)
        )
    }
}

/// A version of the document that a person has taken back on a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoneStatus {
    /// The version.
    pub version: u64,
    /// The one before, by which the box goes.
    pub goes_by: u64,
    /// The run that was to be undone.
    pub run: u64,
    /// When that was said.
    pub since: Timestamp,
    /// By whom: an account.
    pub by: String,
}

impl UndoneStatus {
    /// In a sentence.
    pub fn line(&self) -> String {
        format!(
            "version {} was taken back here by {} (run {}): this box is as version {} says, until another version comes",
            self.version,
            shown(&self.by),
            self.run,
            self.goes_by
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_stands_for_its_time_and_not_by_a_wrong_clock() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let order = StandingOrder {
            format: 1,
            since: at("2026-11-30T14:00:00Z"),
            until: at("2026-11-30T16:00:00Z"),
            by: "alice".into(),
            reason: "new disks".into(),
        };
        assert!(order.stands(at("2026-11-30T14:00:00Z")));
        assert!(
            order.stands(at("2026-11-30T13:58:00Z")),
            "a clock that was put right"
        );
        assert!(!order.stands(at("2026-11-30T16:00:00Z")));
        assert!(
            !order.stands(at("2026-11-29T14:00:00Z")),
            "else it stood for a day longer"
        );
        let endless = StandingOrder {
            until: at("2036-11-30T16:00:00Z"),
            ..order.clone()
        };
        assert!(!endless.stands(at("2026-11-30T14:00:00Z")));
        assert_eq!(
            order.line(at("2026-11-30T14:00:00Z")),
            "until 2026-11-30 16:00:00Z, by alice: new disks (in 2 h)"
        );
    }
}
