//! Orders of persons that stand for a while, on disk: they outlive restarts, and need no daemon to be given.

use std::path::PathBuf;

use jiff::Timestamp;

use super::state;
use crate::report::StandingOrder;
use crate::system::file::{FileError, Files};

/// Where they lie: in a directory of their own, so that it can be watched.
pub const ORDERS: &str = "/var/lib/agentd/orders";

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing is changed on this box. What follows the databases' masters goes on.
    Hold,
    /// This box takes no more visitors.
    Drain,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Hold, Self::Drain];

    const fn file(self) -> &'static str {
        match self {
            Self::Hold => "orders/hold.json",
            Self::Drain => "orders/drain.json",
        }
    }

    /// Where it stands while it does.
    pub fn path(self) -> PathBuf {
        state::path(self.file())
    }

    /// The order that stands now. One that is over, or cannot be understood, is none.
    pub fn standing(
        self,
        files: &Files,
        now: Timestamp,
    ) -> Result<Option<StandingOrder>, FileError> {
        let order = state::load::<StandingOrder>(files, self.file())?;
        Ok(order.filter(|order| order.stands(now)))
    }

    /// Gives it; one that stands is replaced.
    pub fn give(self, files: &Files, order: &StandingOrder) -> Result<(), FileError> {
        state::save(files, self.file(), order)
    }

    /// Ends it. Not an error where there is none.
    pub fn end(self, files: &Files) -> Result<(), FileError> {
        files.remove(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;

    #[test]
    fn an_order_stands_until_it_is_over_or_ended() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let order = StandingOrder {
            format: 1,
            since: at("2026-11-30T14:00:00Z"),
            until: at("2026-11-30T16:00:00Z"),
            by: "alice".into(),
            reason: "new disks".into(),
        };
        let standing = |order: Order, now: &str| order.standing(&files, at(now)).unwrap();
        assert_eq!(standing(Order::Hold, "2026-11-30T14:00:00Z"), None);
        Order::Hold.end(&files).unwrap();
        Order::Hold.give(&files, &order).unwrap();
        assert_eq!(
            standing(Order::Hold, "2026-11-30T15:59:59Z"),
            Some(order.clone())
        );
        assert_eq!(standing(Order::Drain, "2026-11-30T15:59:59Z"), None);
        assert_eq!(standing(Order::Hold, "2026-11-30T16:00:00Z"), None);
        Order::Hold.end(&files).unwrap();
        assert_eq!(standing(Order::Hold, "2026-11-30T15:00:00Z"), None);
        files.write(&Order::Hold.path(), b"{", 0o640).unwrap();
        assert_eq!(standing(Order::Hold, "2026-11-30T15:00:00Z"), None);
    }
}
