//! What a machine wants done. The driver does it, and answers each with the event named.

use super::event::{Order, Tag};
use super::servers::{ServerId, Servers};
use super::task::Task;
use crate::database::lease::LeaseState;
use crate::settings::Ms;

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
    /// Its owner is only watched.
    pub observed: bool,
    /// Released, and no write was taken in this epoch.
    pub unopened: bool,
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
    /// No dead-man: the server replicates, and whoever reads there is welcome. Not answered.
    Disarm,
    /// The gate put in place, and shut: whoever writes in spite of `read_only` is kept out. Not answered;
    /// [`super::Event::Armed`] where it cannot.
    Shut,
    /// A person's order was not carried out and will not be: tell why. Not answered.
    Refuse(Order),
}
