//! What a machine is told: answers of the bucket, the server, the peers, and people's orders.

use super::servers::{ServerId, Servers};
use super::task::Task;
use crate::database::lease::LeaseState;
use crate::settings::Ms;

/// A version of the lease in the bucket, by the driver's number: another one whenever the object's tag is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// What a lease says, as far as decisions depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// Its version.
    pub tag: Tag,
    /// The epoch.
    pub epoch: u64,
    /// Whose it is.
    pub owner: ServerId,
    /// What he does.
    pub state: LeaseState,
    /// Whether something outside his agent closes his server.
    pub armed: bool,
    /// On which servers he held the product's lock. All of those on which he must, or none at all.
    pub held: Servers,
    /// To whom he hands over.
    pub to: Option<ServerId>,
    /// His time to live.
    pub ttl: Ms,
    /// How long ago the epoch began, by the wall clocks, when this was read: for the pause between failovers only.
    pub age: Ms,
    /// The epoch began by a person's order.
    pub planned: bool,
    /// While promoting: the server may be opened at any moment, or be open.
    pub opening: bool,
    /// The epoch began with all that its last owner had, who had closed his server before: nothing was lost.
    pub complete: bool,
    /// Its owner is only watched: nothing closes it when renewals stop, and nobody takes over by himself.
    pub observed: bool,
    /// Released by an owner who took no writes in this epoch: nothing has changed since the one before.
    pub unopened: bool,
}

impl View {
    /// Whether its owner himself has said that his server takes no writes, and will take none before he has written
    /// something else: a promoting one opens only by a lease that says `opening`.
    pub const fn is_closed(&self) -> bool {
        match self.state {
            LeaseState::Released | LeaseState::Switching => true,
            LeaseState::Promoting => !self.opening,
            LeaseState::Serving => false,
        }
    }
}

/// What came of a request to the bucket. Each request gets exactly one answer, within its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketAnswer {
    /// A read: it is still as it was.
    Unchanged,
    /// A read: there is no lease.
    Absent,
    /// A read: this is it. A write whose condition did not hold: this stands there in its place.
    Lease(View),
    /// A write: done, and this stands there now.
    Done(View),
    /// A write: refused for its condition, and what stands there could not be read.
    Refused,
    /// A write: surely not done, and what it was to replace still stands there.
    NotDone,
    /// No answer, or one that says nothing of the lease: the bucket is away, lets nobody in, or holds something else under
    /// that name. A write may have been done, or be done later.
    Away,
}

/// Whether a database server lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// It answers.
    Answers,
    /// It answers that it has no connection left: it lives, and no more is known.
    Full,
    /// It does not answer in time.
    Hangs,
    /// There is no process.
    Gone,
    /// It does not let the agent in: it lives, and no more is known.
    Denied,
}

/// How the local server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Health {
    /// Whether it lives. Only where it answers does the rest say something.
    pub life: Life,
    /// It refuses writes.
    pub read_only: bool,
    /// Its replication, where a source is configured.
    pub replica: Option<Replica>,
    /// Transactions of the lease's position that it neither has nor has received.
    pub missing: u64,
    /// It has applied all that it received.
    pub applied: bool,
    /// Transactions that it has and its master never had.
    pub errant: u64,
    /// It is set up as a server must be that may become master: binary log, strict GTIDs.
    pub sane: bool,
    /// What the lease's last owner has to do with what it has.
    pub history: History,
}

/// How what a server has compares with what the lease's last owner had at the end, as the lease says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum History {
    /// It has no transactions at all, or cannot be asked.
    Blank,
    /// It has some, and nothing says that the last owner had them all.
    Unknown,
    /// The last owner had all that it has.
    Contained,
}

/// How a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Replica {
    /// Its source; `None`: a server that is not of the product.
    pub source: Option<ServerId>,
    /// It receives. Trying to reach its source is not that.
    pub receives: bool,
    /// Its receiving stands, so that it would have to be started.
    pub stopped: bool,
    /// It applies what it receives.
    pub applies: bool,
    /// One of the two stopped by an error that starting again does not cure.
    pub broken: bool,
    /// Its source does not let it in, or it is configured with other credentials than it should be.
    pub locked_out: bool,
}

/// What became of the old master, as far as a candidate can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OldMaster {
    /// It refuses writes, or there is no process.
    Closed,
    /// It accepts writes.
    Open,
    /// It cannot be asked.
    Unreachable,
}

/// What came of a ping to a peer's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAnswer {
    /// The lock is held there.
    Held,
    /// Its machine says that no database server listens there.
    Down,
    /// No answer, or none that shows that the lock is held.
    Silent,
}

/// The lock on this server's own database, tried from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnLock {
    /// This agent holds it.
    Held,
    /// Somebody else does, and has said nothing for so long.
    Taken {
        /// How long his session has been silent, at least.
        silent: Ms,
    },
    /// The server could not be asked: if it was held, it is not any more.
    Unknown,
}

/// Whether people want nothing to change by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Holding {
    /// They have not said so.
    #[default]
    Free,
    /// Nobody else takes over while somebody works on the servers; the master goes on by itself as soon as it can.
    Maintenance,
    /// Nothing is done by itself at all: it is only watched.
    Paused,
}

/// A person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The master hands over to this server.
    Switchover(ServerId),
    /// This server takes over from a master that is dead: the pause between failovers, `manual`, a hold and known losses
    /// do not stand in the way. What keeps two masters from being does.
    TakeOver {
        /// The person says that the old master is off: that it cannot be asked does not stand in the way either.
        off: bool,
    },
    /// This server joins its master's history again, whatever it has that the master lacks: that was saved.
    Rejoin,
}

/// What a machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The answer to the request under way.
    Bucket(BucketAnswer),
    /// How the local server is.
    Health(Health),
    /// The answer to [`super::Action::Beat`]: whether it was committed.
    Beat(Beat),
    /// The task under way has ended: whether it was done.
    Did(Task, bool),
    /// The answer to [`super::Action::Ping`]: whether the lock is held on that peer's server.
    Peer(ServerId, PeerAnswer),
    /// The answer to [`super::Action::TakeLock`].
    OwnLock(OwnLock),
    /// The answer to [`super::Action::LookAtOld`].
    Old(OldMaster),
    /// Whether something outside the agent closes the server. True is said of what an earlier agent left behind, and taken
    /// for shut.
    Armed(bool),
    /// Whether people want nothing to change by itself.
    Hold(Holding),
    /// A person's word.
    Order(Order),
}

/// What came of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Beat {
    /// It was committed.
    Done,
    /// It lives and had no connection left for it: as good as done.
    Full,
    /// The server refuses writes.
    ReadOnly,
    /// There is no process.
    Gone,
    /// No answer, or an error.
    Failed,
}
