//! The driver of one product on one server: tells the protocol's machine what happens, and does what it wants.
//!
//! A thread of its own with a runtime of its own, one a product: a run of the converger that takes minutes, or a disk
//! that hangs under the journal, must never stall a renewal.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | [`seat`] | what a driver is started with: the product's servers, as the document has them, and the settings |
//! | `names` | numbers for names, and for versions of the lease |
//! | `run` | the loop: one event after the other; in it `heard`, what comes back, `deeds`, the work that is called for, `wishes` of people |
//! | `letter` | requests to the bucket: what is written, what an answer means |
//! | `body` | the server on this machine: looks, heartbeats, tasks; in `word` semi-synchronous replication, in `events` the scheduler's |
//! | `health` | what was seen of it, as the protocol wants it |
//! | `audit` | the server's settings and accounts |
//! | `catchup` | before it opens: what another replica received and this one did not |
//! | `friends` | the other servers: locks, looks at an old master |
//! | `story` | the event of a change of master |
//! | `surplus` | what the master lacks, kept for people |
//! | `told` | what is told of it all: [`crate::report::DatabaseStatus`] |

mod audit;
mod body;
mod catchup;
mod events;
mod friends;
mod health;
mod letter;
mod names;
mod run;
pub mod seat;
mod story;
mod surplus;
mod told;
mod word;

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::fleet::Name;
use crate::report::DatabaseStatus;

pub use seat::Seat;

/// A person's wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
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
    },
}

/// What a driver is told.
enum Told {
    Seat(Box<Seat>),
    Wish(Wish, oneshot::Sender<Result<String, String>>),
    Stop,
}

/// A driver that runs.
#[derive(Debug)]
pub struct Driver {
    tell: mpsc::UnboundedSender<Told>,
    status: watch::Receiver<Option<DatabaseStatus>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Seat(_) => "Seat",
            Self::Wish(..) => "Wish",
            Self::Stop => "Stop",
        })
    }
}

impl Driver {
    /// Starts one. `known_epoch`: the highest epoch of this product that was ever seen here; 0: none.
    pub fn start(seat: Seat, known_epoch: u64) -> std::io::Result<Self> {
        let (tell, told) = mpsc::unbounded_channel();
        let (status, seen) = watch::channel(None);
        let name = format!("db-{}", seat.product);
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(4)
                    .build();
                match runtime {
                    Ok(runtime) => {
                        runtime.block_on(run::run(seat, known_epoch, told, status));
                        // Whatever hangs on a dead disk is not waited for.
                        runtime.shutdown_timeout(Duration::from_millis(100));
                    }
                    Err(error) => tracing::error!(
                        event = "database-driver-failed",
                        error = %error,
                        "no runtime for a database's driver"
                    ),
                }
            })?;
        Ok(Self {
            tell,
            status: seen,
            thread: Some(thread),
        })
    }

    /// The document has changed: the product's servers are these now.
    pub fn seat(&self, seat: Seat) {
        let _ = self.tell.send(Told::Seat(Box::new(seat)));
    }

    /// What is known now; `None`: nothing yet.
    pub fn status(&self) -> Option<DatabaseStatus> {
        self.status.borrow().clone()
    }

    /// For whoever passes wishes on.
    pub fn handle(&self) -> Handle {
        Handle {
            tell: self.tell.clone(),
            status: self.status.clone(),
        }
    }

    /// Ends it. A master stays a master: the lease is renewed once more, so that the next start of the agent has time;
    /// what happens if there is none is the dead-man's. Returns when it has ended, or after `patience`.
    pub async fn stop(mut self, patience: Duration) {
        let _ = self.tell.send(Told::Stop);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let ended = tokio::time::Instant::now() + patience;
        while !thread.is_finished() && tokio::time::Instant::now() < ended {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What is passed around of a driver.
#[derive(Debug, Clone)]
pub struct Handle {
    tell: mpsc::UnboundedSender<Told>,
    status: watch::Receiver<Option<DatabaseStatus>>,
}

impl Handle {
    /// What is known now; `None`: nothing yet.
    pub fn status(&self) -> Option<DatabaseStatus> {
        self.status.borrow().clone()
    }

    /// Passes a person's wish on. The answer says that it was begun, or why not and what to do; how it goes on is in the
    /// status.
    pub async fn wish(&self, wish: Wish) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "the database's driver has ended: see the log of agentd".to_owned();
        self.tell
            .send(Told::Wish(wish, answer))
            .map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
