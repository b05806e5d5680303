//! Why a server is being closed, and why a candidate does not take over: for decisions and for people alike.

use std::fmt;

use crate::settings::Ms;

/// Why a server is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fenced {
    /// No renewal was confirmed in time.
    Expired,
    /// Another server owns the lease.
    Taken,
    /// A write of the lease was refused: somebody else has written it.
    Refused,
    /// The server's process is gone.
    Gone,
    /// The agent has started and could not confirm that this server is the master.
    Unconfirmed,
    /// The server accepts writes, and is not the master.
    NotOwner,
    /// What it had received could not be applied in time.
    DrainFailed,
    /// What it had received was not applied within seconds, and somebody else may have.
    Yields,
}

impl fmt::Display for Fenced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Expired => "no renewal of the lease was confirmed in time",
            Self::Taken => "another server owns the lease",
            Self::Refused => "the bucket refused a renewal: another server has written the lease",
            Self::Gone => "the server's process is gone",
            Self::Unconfirmed => "the agent started, and the bucket did not confirm the lease",
            Self::NotOwner => "it accepted writes without being the master",
            Self::DrainFailed => "what it had received could not be applied",
            Self::Yields => {
                "what it had received was not applied within seconds: the lease is given back for a server that has"
            }
        })
    }
}

/// Why a candidate does not take over now. All of them are told, not the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No lease was read yet.
    NoLease,
    /// The bucket does not answer.
    Away,
    /// The lease is gone, though there was one.
    LeaseGone,
    /// A lease of a lower epoch than one that was seen stands in the bucket.
    Regressed,
    /// It does not stand in the document's chain.
    NotInChain,
    /// The document says that it is never promoted.
    Never,
    /// These servers may have a lease of another name.
    OtherLease,
    /// The bucket's conditional writes are not known to be what leases need.
    Bucket,
    /// A person wants nothing to change by itself.
    Held,
    /// The master is only watched, and nothing has closed it.
    Observed,
    /// The settings say that masters change by a person's order only.
    Manual,
    /// The lease has changed less than its time to live ago.
    Fresh {
        /// So much is left.
        left: Ms,
    },
    /// The lock on its own server is not held for long enough.
    Lock,
    /// The master holds the lock on this server: it lives, though it does not reach the bucket.
    MastersLock,
    /// The master held locks, and not here: this server was down or out of his reach, or he does not know it as a candidate.
    Unknown,
    /// Its own server does not answer.
    Dead,
    /// Its own server accepts writes.
    Open,
    /// Its own server is nobody's replica.
    NoReplica,
    /// It does not apply what it receives.
    NotApplying,
    /// It lacks more of the last known position than may be lost.
    Behind {
        /// So many transactions.
        missing: u64,
    },
    /// It has transactions that its master never had.
    Errant {
        /// So many.
        errant: u64,
    },
    /// It lacks a setting that a master must have.
    Unfit,
    /// The last change of master is too recent.
    Cooldown {
        /// So much is left.
        left: Ms,
    },
    /// Candidates before it have their turn.
    Turn {
        /// So much is left.
        left: Ms,
    },
    /// The old master was not looked at yet.
    Looking,
    /// The old master accepts writes, and could not be made to refuse them, and nothing closes it by itself.
    OldOpen,
    /// The old master cannot be reached, and nothing closes it by itself.
    OldUnreachable,
    /// Its last promotion failed: a person must look.
    DrainFailed,
    /// Other work on its server is under way.
    Busy,
    /// It has not applied all that it received.
    Unapplied,
    /// Its position was not compared with the lease as it is now.
    Unjudged,
}

impl Reason {
    /// Whether time alone cures it, without anybody's help.
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Self::Fresh { .. }
                | Self::Lock
                | Self::Turn { .. }
                | Self::Looking
                | Self::Busy
                | Self::Unapplied
                | Self::Unjudged
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |left: &Ms| left.div_ceil(1_000);
        match self {
            Self::Away => out.write_str("the bucket does not answer this server"),
            Self::NoLease => out.write_str("no lease could be read yet"),
            Self::LeaseGone => out.write_str(
                "the lease is gone from the bucket: somebody deleted it; put its last version back",
            ),
            Self::Regressed => out.write_str(
                "the lease in the bucket is older than one that was seen: put the newest version back",
            ),
            Self::NotInChain => out.write_str("it is not in the chain"),
            Self::Never => out.write_str("the document says that it is never promoted"),
            Self::Bucket => out.write_str(
                "the bucket's conditional writes are not known to be what leases need",
            ),
            Self::OtherLease => out.write_str(
                "the bucket was not heard yet of a lease that these servers may have under another name of the document (the cluster's, \
                 or that of one of its products), or has one",
            ),
            Self::Held => out.write_str("failover is paused, until agentctl db resume PRODUCT"),
            Self::Observed => out.write_str(
                "the master was only watched (a pause, or failover = \"manual\" there), so that nothing has closed it: order it, if it must be",
            ),
            Self::Manual => out.write_str("failover is manual by agentd.toml"),
            Self::Fresh { left } => write!(out, "the lease is fresh ({} s left)", secs(left)),
            Self::Lock => out.write_str("it waits for the product's lock on its own server"),
            Self::MastersLock => {
                out.write_str("the master lives: it holds the product's lock on this server")
            }
            Self::Unknown => out.write_str(
                "the master's last lease does not list it: it was down or not reached then, or is new; wait for the master, or \
                 order it with --old-master-is-off, if the master is surely dead",
            ),
            Self::Dead => out.write_str("its server does not answer"),
            Self::Open => out.write_str("its server accepts writes"),
            Self::NoReplica => out.write_str("it does not replicate"),
            Self::NotApplying => out.write_str("its SQL thread is stopped"),
            Self::Behind { missing } => {
                write!(out, "it lacks {missing} transactions of the master's last known position")
            }
            Self::Errant { errant } => {
                write!(out, "it has {errant} transactions that its master never had")
            }
            Self::Unfit => out.write_str(
                "its settings, filters or tables are not those of a master: the alarms name them",
            ),
            Self::Cooldown { left } => write!(
                out,
                "the last change of master is too recent ({} s left): order it, if it must be",
                secs(left)
            ),
            Self::Turn { left } => {
                write!(out, "candidates before it have their turn ({} s left)", secs(left))
            }
            Self::Looking => out.write_str("it looks whether the old master still accepts writes"),
            Self::OldOpen => out.write_str(
                "the old master accepts writes and could not be stopped: stop mysqld there",
            ),
            Self::OldUnreachable => out.write_str(
                "the old master cannot be reached and nothing closes it by itself: make sure that it is off, then order it",
            ),
            Self::DrainFailed => {
                out.write_str("what it had received could not be applied: see its SQL thread's error")
            }
            Self::Busy => out.write_str("other work on its server is under way"),
            Self::Unapplied => out.write_str("it has not applied all that it received yet"),
            Self::Unjudged => out.write_str("its position is being compared with the lease"),
        }
    }
}
