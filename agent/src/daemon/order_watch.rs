//! Standing orders of persons, as the daemon goes by them: what the status says of them, what the log hears, and the file by
//! which programs on this box see that it takes no more visitors.

use std::path::{Path, PathBuf};

use crate::converge::Order;
use crate::fleet::ServerState;
use crate::report::StandingOrder;
use crate::settings::RUN_DIR;
use crate::system::chain;
use crate::system::clock;
use crate::system::file::{FileError, Files};

/// It is there while this box drains: a health page that looks for it can have load balancers send nobody more.
const DRAINING: &str = "draining";
/// All accounts may see it.
const MODE: u32 = 0o644;

/// The orders that stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// Nothing is changed.
    pub(super) hold: Option<StandingOrder>,
    /// No more visitors are taken.
    pub(super) drain: Option<StandingOrder>,
}

impl Orders {
    /// Those that stand now. One that cannot be read goes on as it was known.
    pub(super) fn look(&self, files: &Files) -> Self {
        Self {
            hold: seen(files, Order::Hold, self.hold.as_ref()),
            drain: seen(files, Order::Drain, self.drain.as_ref()),
        }
    }
}

fn seen(files: &Files, order: Order, before: Option<&StandingOrder>) -> Option<StandingOrder> {
    let standing = match order.standing(files, clock::now()) {
        Ok(standing) => standing,
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(event = "state-not-read", error, "{error}");
            return before.filter(|order| order.stands(clock::now())).cloned();
        }
    };
    if standing.as_ref() != before {
        let (begun, ended) = match order {
            Order::Hold => ("nothing is changed on this box", "changes go on"),
            Order::Drain => (
                "this box drains: it takes no more visitors where it has a say in that",
                "this box takes visitors again",
            ),
        };
        if let Some(order) = &standing {
            tracing::warn!(
                event = "order-given",
                by = order.by,
                until = %order.until,
                reason = order.reason,
                "{begun} {}",
                order.fixed()
            );
        } else {
            tracing::info!(event = "order-ended", "{ended}: an order is over");
        }
    }
    standing
}

/// Lets programs on this box see whether it drains, by a person's order or by the document's. Not fatal where that cannot be
/// written: it is tried again with the next status.
pub(super) fn show(files: &Files, drain: Option<&StandingOrder>, state: Option<ServerState>) {
    let by_document = state.is_some_and(|state| state != ServerState::Active);
    let path = draining();
    let done = (|| -> Result<(), FileError> {
        let is_there = files.look(&path)?.is_some();
        match (drain.is_some() || by_document, is_there) {
            (true, false) => files.write(&path, b"", MODE).map(drop),
            (false, true) => files.remove(&path),
            _ => Ok(()),
        }
    })();
    if let Err(error) = done {
        let error = chain(&error);
        tracing::warn!(event = "draining-not-shown", error, "{error}");
    }
}

fn draining() -> PathBuf {
    Path::new(RUN_DIR).join(DRAINING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;

    #[test]
    fn programs_see_that_the_box_drains_whoever_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let is_shown = || dir.path().join("run/agentd/draining").exists();
        let now = clock::now();
        let order = StandingOrder {
            format: 1,
            since: now,
            until: now.checked_add(std::time::Duration::from_hours(1)).unwrap(),
            by: "alice".into(),
            reason: "new disks".into(),
        };
        show(&files, None, Some(ServerState::Active));
        assert!(!is_shown());
        show(&files, None, Some(ServerState::Draining));
        assert!(is_shown());
        show(&files, None, Some(ServerState::Active));
        assert!(!is_shown());
        Order::Drain.give(&files, &order).unwrap();
        let orders = Orders::default().look(&files);
        assert_eq!(orders.drain, Some(order));
        show(&files, orders.drain.as_ref(), None);
        assert!(is_shown());
        Order::Drain.end(&files).unwrap();
        let orders = orders.look(&files);
        assert_eq!(orders, Orders::default());
        show(&files, orders.drain.as_ref(), None);
        assert!(!is_shown());
    }
}
