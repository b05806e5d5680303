//! Snapshots in the daemon: a thread of its own, beside the drivers, that nobody waits for.
//!
//! Three things go on in it, each one at a time: snapshots, on their slots, drills, on theirs, and the archive, all the time. What there is stands in the
//! bucket and is read from there, so that a restart, or another machine, goes on where the last one was.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | `plan` | what is to be done, as document and settings say |
//! | `shared` | what both loops know, and what is told of it |
//! | `snapshots` | the loop that takes them, and lets old ones go |
//! | `drills` | the loop that restores them |
//! | `archive` | the loop that ships the binary log |

mod archive;
mod drills;
mod plan;
mod shared;
mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::report::SnapshotStatus;
use crate::system::own_thread::OwnThread;

pub use plan::{EpochNow, Plan, times};
use shared::Shared;

/// Somebody wants a snapshot now; what came of it.
type Order = oneshot::Sender<Result<String, String>>;

/// A thread that keeps a product's snapshots.
#[derive(Debug)]
pub struct Worker {
    plan: watch::Sender<Plan>,
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Option<SnapshotStatus>>,
    thread: OwnThread,
}

impl Worker {
    /// Starts one. `epoch` says in which epoch the chain is, or why this is no time for a snapshot.
    pub fn start(plan: Plan, epoch: EpochNow) -> std::io::Result<Self> {
        let name = format!("snap-{}", plan.product);
        let (plan_in, plan) = watch::channel(plan);
        let (orders_in, orders) = mpsc::channel(4);
        let (status_in, status) = watch::channel(None);
        let thread = OwnThread::start(&name, move || run(plan, orders, status_in, epoch))?;
        Ok(Self {
            plan: plan_in,
            orders: orders_in,
            status,
            thread,
        })
    }

    /// The document or the settings have changed.
    pub fn set_plan(&self, plan: Plan) {
        self.plan.send_if_modified(|held| {
            let is_new = *held != plan;
            *held = plan;
            is_new
        });
    }

    /// What is known now; `None`: nothing yet.
    pub fn status(&self) -> Option<SnapshotStatus> {
        self.status.borrow().clone()
    }

    /// For whoever orders a snapshot.
    pub fn handle(&self) -> Handle {
        Handle {
            orders: self.orders.clone(),
            status: self.status.clone(),
        }
    }

    /// Ends it: what is under way is broken off, and cleared away by the next one. Returns when it has ended, or after `patience`.
    pub async fn stop(self, patience: Duration) {
        // The thread notices that nobody tells it of plans any more.
        drop(self.plan);
        self.thread.ended(patience).await;
    }
}

/// A way to a running worker.
#[derive(Debug, Clone)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Option<SnapshotStatus>>,
}

impl Handle {
    /// What is being done now.
    pub fn doing(&self) -> Option<String> {
        let status = self.status.borrow();
        status.as_ref()?.doing.first().cloned()
    }

    /// Orders a snapshot now. Returns when it is taken, or why it is not.
    pub async fn take_now(&self) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "the agent takes no snapshots any more: see its log".to_owned();
        match self.orders.try_send(answer) {
            Ok(()) => answered.await.map_err(|_| gone())?,
            Err(mpsc::error::TrySendError::Full(_)) => Err(
                "others wait for a snapshot already: agentctl db snapshots shows when it is there"
                    .to_owned(),
            ),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(gone()),
        }
    }
}

/// All loops, until whoever started them is gone.
async fn run(
    plan: watch::Receiver<Plan>,
    orders: mpsc::Receiver<Order>,
    status: watch::Sender<Option<SnapshotStatus>>,
    epoch: EpochNow,
) {
    let mut end = plan.clone();
    let shared = Arc::new(Shared::new(plan, status));
    let over = async {
        // Changes are seen by the loops themselves; only the end is of interest here.
        while end.changed().await.is_ok() {}
    };
    tokio::select! {
        () = over => {}
        () = snapshots::run(&shared, orders, &epoch) => {}
        () = drills::run(&shared) => {}
        () = archive::run(&shared, &epoch) => {}
    }
}
