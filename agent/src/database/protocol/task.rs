//! Work on the local server that a machine wants done.

use super::servers::ServerId;
use crate::settings::Ms;

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
    /// See that this server applies what is written here now. Done: it has applied a transaction that was written for that.
    Prove(ServerId),
    /// Replicate from this server. Done only if its history contains this server's.
    Follow(ServerId),
    /// Start replication: first apply what was received before a crash, then receive.
    Start,
    /// Save the transactions that the master lacks, into the bucket.
    SaveSurplus,
    /// Give up what the master lacks, and follow it.
    Rejoin(ServerId),
}
