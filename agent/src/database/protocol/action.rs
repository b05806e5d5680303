//! What a machine wants done. The driver does it, and answers each with the event named.

use super::event::{Ms, Order, ServerId, Servers, Tag};
use crate::database::lease::LeaseState;

/// What is to be written into the lease. The driver adds what decisions do not depend on: nonce, position, wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The version that it replaces; `None`: only if there is no lease.
    pub over: Option<Tag>,
    /// The epoch. One more than the replaced one's exactly where the owner changes.
    pub epoch: u64,
    /// What the owner, always this server, does.
    pub state: LeaseState,
    /// Whether something outside the agent closes the server.
    pub armed: bool,
    /// On which servers the lock is held.
    pub held: Servers,
    /// To whom is handed over.
    pub to: Option<ServerId>,
    /// The epoch began by a person's order.
    pub planned: bool,
    /// While promoting: from now on the server may be opened.
    pub opening: bool,
    /// The epoch began with all that its last owner had.
    pub complete: bool,
}

/// Work on the local server. One at a time, except that [`Task::Close`] and [`Task::Kill`] end whatever is under way:
/// the driver makes sure that nothing of it takes effect any more, and does not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Close it: the gate at once, then read-only, while clients are cut in a loop. Done: it refuses writes.
    Close,
    /// Kill the process. Done: it is gone, or what runs now is another process and refuses writes.
    Kill,
    /// Receive nothing more; go on applying. Done as well where nothing was received.
    StopReceiving,
    /// Apply all that was received, starting to apply where that stands. Done: nothing is left.
    Drain,
    /// Have the dead-man close the server at `until` unless it is fed. Done: it will. Not done: there is none.
    Arm {
        /// When it closes.
        until: Ms,
    },
    /// Forget the source.
    Forget,
    /// Accept writes, unless it is `until` by then.
    Open {
        /// When it must not be done any more.
        until: Ms,
    },
    /// Replicate from this server. Done only if its history contains this server's.
    Follow(ServerId),
    /// Start replication: first apply what was received before a crash, then receive.
    Start,
    /// Save the transactions that the master lacks, into the bucket.
    SaveSurplus,
    /// Give up what the master lacks, and follow it.
    Rejoin(ServerId),
}

/// What a machine wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the lease: [`super::Event::Bucket`].
    Read,
    /// Write the lease: [`super::Event::Bucket`].
    Write(Proposal),
    /// See at once how the local server is, against the lease as it is now known: [`super::Event::Health`].
    Observe,
    /// Commit a heartbeat on the local server: [`super::Event::Beat`].
    Beat,
    /// Work on the local server: [`super::Event::Did`].
    Do(Task),
    /// Hold the lock on this peer's server, and show that it is held: [`super::Event::Peer`].
    Ping(ServerId),
    /// Let go of all locks on peers' servers.
    DropPeers,
    /// Take the lock on the own server, or show that it is still held: [`super::Event::OwnLock`].
    TakeLock,
    /// Let go of the lock on the own server.
    DropLock,
    /// See whether the lease's owner accepts writes: [`super::Event::Old`].
    LookAtOld(ServerId),
    /// Have the lease's owner refuse writes, over SQL; then look: [`super::Event::Old`].
    FenceOld(ServerId),
    /// The dead-man closes the server at this moment, no earlier. Not answered; [`super::Event::Armed`] where it cannot.
    Feed {
        /// When it closes.
        until: Ms,
    },
    /// No dead-man: the server is closed by itself, or is nobody's master. Not answered.
    Disarm,
    /// A person's order was not carried out and will not be: tell why. Not answered.
    Refuse(Order),
}
