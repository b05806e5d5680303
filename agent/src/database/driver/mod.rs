//! The driver of one product on one server: tells the protocol's machine what happens, and does what it wants.
//!
//! A thread of its own with a runtime of its own, one a product: a run of the converger that takes minutes, or a disk
//! that hangs under the journal, must never stall a renewal.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | [`context`] | what a driver is started with: the product's servers, as the document has them, and the settings |
//! | `ids` | numbers for servers' names, and for versions of the lease |
//! | `event_loop` | one event after the other, to the protocol's machine; in it `actions`, what the machine wants, `results`, what comes back from that, `operator`, people's orders |
//! | `lease_requests` | requests to the bucket: what is written, what an answer means |
//! | `local_server` | the server on this machine: observations, heartbeats, tasks; in `semi_sync` semi-synchronous replication, in `event_scheduler` the server's EVENTs |
//! | `health` | an observation of it, as the protocol wants it |
//! | `audit` | the server's settings and accounts |
//! | `catchup` | before it opens: what another replica received and this one did not |
//! | `peers` | the product's other servers: locks, looks at an old master |
//! | `reach` | whether clients reach the server |
//! | `failover_record` | the record of a change of master |
//! | `surplus` | what the master lacks, kept for people |
//! | `last_seen` | what was last seen of a server |
//! | `report` | the status of it all: [`crate::report::DatabaseStatus`] |

mod audit;
mod catchup;
pub mod context;
mod event_loop;
mod event_scheduler;
mod failover_record;
mod health;
mod ids;
mod last_seen;
mod lease_requests;
mod local_server;
mod peers;
mod reach;
mod report;
mod semi_sync;
mod surplus;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::fleet::Name;
use crate::report::DatabaseStatus;
use crate::system::own_thread::OwnThread;

pub use context::Context;

/// What an operator orders of a product's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorOrder {
    /// This server, the master, hands over to that one, or to the first that can.
    Switchover(Option<Name>),
    /// This server takes over from a master that is dead; `off`: the person says that he is surely off.
    TakeOver {
        /// He is surely off.
        off: bool,
    },
    /// This server joins its master's history again.
    Rejoin {
        /// It is made anew from the master: what it has and the master lacks is given up.
        discard: bool,
        /// It forgets what it wrote itself, which changes nothing; nothing is copied.
        accept: bool,
    },
}

/// What the daemon sends to a driver's thread.
enum Message {
    Context(Box<Context>),
    Order(OperatorOrder, oneshot::Sender<Result<String, String>>),
    Stop,
}

/// A driver that runs.
#[derive(Debug)]
pub struct Driver {
    messages: mpsc::UnboundedSender<Message>,
    status: watch::Receiver<Option<DatabaseStatus>>,
    thread: OwnThread,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Context(_) => "Context",
            Self::Order(..) => "Order",
            Self::Stop => "Stop",
        })
    }
}

impl Driver {
    /// Starts one. `known_epoch`: the highest epoch of this product that was ever seen here; 0: none.
    pub fn start(context: Context, known_epoch: u64) -> std::io::Result<Self> {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (status_in, status) = watch::channel(None);
        let thread = OwnThread::start(&format!("db-{}", context.product), move || {
            event_loop::run(context, known_epoch, inbox, status_in)
        })?;
        Ok(Self {
            messages,
            status,
            thread,
        })
    }

    /// The document has changed: the product's servers are these now.
    pub fn set_context(&self, context: Context) {
        let _ = self.messages.send(Message::Context(Box::new(context)));
    }

    /// What is known now; `None`: nothing yet.
    pub fn status(&self) -> Option<DatabaseStatus> {
        self.status.borrow().clone()
    }

    /// What is known, at each moment.
    pub fn watch_status(&self) -> watch::Receiver<Option<DatabaseStatus>> {
        self.status.clone()
    }

    /// For whoever passes orders on.
    pub fn handle(&self) -> Handle {
        Handle {
            messages: self.messages.clone(),
            status: self.status.clone(),
        }
    }

    /// Ends it. A master stays a master: the lease is renewed once more, so that the next start of the agent has time;
    /// what happens if there is none is the dead-man's. Returns when it has ended, or after `patience`.
    pub async fn stop(self, patience: Duration) {
        let _ = self.messages.send(Message::Stop);
        self.thread.ended(patience).await;
    }
}

/// A way to a running driver, for those who pass orders on.
#[derive(Debug, Clone)]
pub struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    status: watch::Receiver<Option<DatabaseStatus>>,
}

impl Handle {
    /// What is known now; `None`: nothing yet.
    pub fn status(&self) -> Option<DatabaseStatus> {
        self.status.borrow().clone()
    }

    /// Passes an operator's order on. The answer says that it was begun, or why not and what to do; how it goes on is in the
    /// status.
    pub async fn order(&self, order: OperatorOrder) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "the database's driver has ended: see the log of agentd".to_owned();
        self.messages
            .send(Message::Order(order, answer))
            .map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
