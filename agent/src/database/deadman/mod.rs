//! The dead-man: what closes a server to its clients when the agent no longer says that it may serve.
//!
//! A fence must not depend on the process that may be the one that died. So the permission to serve lies outside of it,
//! in the kernel, and runs out by itself: each confirmed renewal of the lease prolongs it up to the stop-serving deadline
//! and no further. An agent that was killed, stopped or starved prolongs nothing.
//!
//! It closes the way to the server, not the server: replicas and peers still reach it, so that it can drain, and the
//! agent on this machine does over the unix socket. **Programs on this machine that use the unix socket are not cut.**

mod nft;

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

pub use nft::{NftGate, left_behind, take_down};

/// What is gated, and who passes all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Whose database.
    pub product: String,
    /// The server's TCP port.
    pub port: u16,
    /// Addresses of the chain's servers and of the snapshot server: replicas are told from clients by where they are.
    pub peers: Vec<IpAddr>,
}

/// How things stand with a dead-man.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Armed {
    /// It holds the server open for clients, for so long yet.
    Open(Duration),
    /// It has closed the server: clients are cut.
    Closed,
    /// It is not there: never armed, disarmed, or removed by somebody. Clients pass, and nothing would cut them.
    Absent,
}

/// A dead-man could not do what it was asked. Whoever is told so is not armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadManError {
    /// There is none on this machine.
    #[error("there is no dead-man here: {0}")]
    Unsupported(String),
    /// It was removed since it was armed: a firewall that was reloaded, `nft flush ruleset`.
    #[error(
        "the dead-man is gone: somebody removed the nftables table {table}, or changed it (a firewall that is reloaded \
         with `flush ruleset` does)"
    )]
    Gone {
        /// The table.
        table: String,
    },
    /// The time to which it should have been prolonged was over before it was: it was closed instead.
    #[error("the deadline passed while the dead-man was being told of it; it was closed")]
    Late,
    /// Its tool failed.
    #[error("the dead-man's tool failed: {0}")]
    Failed(String),
}

/// What an operation of a dead-man comes to.
pub type Told<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeadManError>> + Send + 'a>>;

/// A dead-man. `until` is a moment by [`crate::system::clock::boottime`]: the stop-serving deadline.
///
/// Each operation has a deadline of its own, of less than a second.
pub trait DeadMan: fmt::Debug + Send + Sync {
    /// Puts it in place, open until then. Whatever stood there before is replaced at once, without a gap.
    fn arm(&self, until: Duration) -> Told<'_, ()>;
    /// Prolongs it. An error means that it may close any moment, or that it is not there: see [`DeadManError`].
    fn feed(&self, until: Duration) -> Told<'_, ()>;
    /// Closes it now.
    fn close(&self) -> Told<'_, ()>;
    /// Puts it in place, closed, whatever stood there before.
    fn shut(&self) -> Told<'_, ()>;
    /// Takes over whatever an earlier agent of this machine left in place, also for a product of another name: it stays as it
    /// is until this one is armed, shut or taken away. Whether there was something.
    fn adopt(&self) -> Told<'_, bool>;
    /// Takes it away, and what was taken over: clients pass. Only where the server refuses writes by itself. Nothing is
    /// left behind; once more does no harm.
    fn disarm(&self) -> Told<'_, ()>;
    /// How things stand, asked of the kernel. An error where it does not say.
    fn check(&self) -> Told<'_, Armed>;
}
