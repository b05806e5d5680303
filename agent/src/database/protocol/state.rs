//! The states of a machine, and which may follow which.

use super::reason::Fenced;
use super::servers::ServerId;
use crate::settings::Ms;

/// Where a server stands in its product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was heard of the bucket yet; the server is left as it is.
    Starting {
        /// Since when.
        since: Ms,
    },
    /// It is not the master. The server is closed as soon as a lease says whose it is.
    Following,
    /// The lease names this server, and nothing is known of how fresh that is: a write shall show it.
    Claiming {
        /// Since when.
        since: Ms,
    },
    /// The lease is being taken over, or made: a write is under way.
    Bidding,
    /// It owns the lease, and makes its server ready.
    Promoting {
        /// Since when.
        since: Ms,
        /// How far.
        step: Step,
    },
    /// It is the master.
    Serving,
    /// It is the master, and has announced to whom it will hand over.
    Announcing {
        /// To whom.
        to: ServerId,
        /// Since when.
        since: Ms,
    },
    /// It is closing its server to hand over; the lease is still its own.
    Closing {
        /// To whom.
        to: ServerId,
        /// Since when.
        since: Ms,
    },
    /// Its server is closed and everything is written; the other one shall take over.
    Handed {
        /// To whom.
        to: ServerId,
        /// Since when.
        since: Ms,
    },
    /// The server is being closed, and nothing else counts.
    Fencing {
        /// Since when.
        since: Ms,
        /// Why.
        why: Fenced,
    },
}

/// How far a promotion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// It stops receiving.
    StopReceiving,
    /// It applies what it received.
    Drain,
    /// The dead-man is armed.
    Arm,
    /// It waits for a confirmation that is younger than all this.
    Recheck {
        /// Younger than this moment.
        than: Ms,
    },
    /// It forgets its source.
    Forget,
    /// It begins to accept writes.
    Open,
}

impl State {
    /// Whether it writes the lease as its owner.
    pub const fn owns(&self) -> bool {
        matches!(
            self,
            Self::Promoting { .. } | Self::Serving | Self::Announcing { .. } | Self::Closing { .. }
        )
    }

    /// Whether `next` may follow. Anything may turn into fencing; nothing becomes a master but by a promotion.
    pub const fn may_become(&self, next: &Self) -> bool {
        match (self, next) {
            (_, Self::Fencing { .. })
            | (Self::Starting { .. } | Self::Fencing { .. }, Self::Following)
            | (Self::Following, Self::Claiming { .. } | Self::Bidding | Self::Handed { .. })
            | (Self::Claiming { .. } | Self::Bidding, Self::Following | Self::Promoting { .. })
            // The latter two without any work, where people want that it is only watched.
            | (Self::Promoting { .. } | Self::Claiming { .. } | Self::Bidding, Self::Serving)
            | (
                Self::Serving,
                Self::Announcing { .. } | Self::Promoting { .. } | Self::Claiming { .. },
            )
            | (
                Self::Announcing { .. },
                Self::Closing { .. } | Self::Serving | Self::Promoting { .. },
            )
            | (Self::Closing { .. }, Self::Handed { .. } | Self::Claiming { .. })
            | (Self::Handed { .. }, Self::Following | Self::Claiming { .. }) => true,
            (Self::Promoting { step: a, .. }, Self::Promoting { step: b, .. }) => {
                a.rank() <= b.rank()
            }
            _ => false,
        }
    }

    /// The moments in it.
    pub(super) const fn moments(&mut self) -> (Option<&mut Ms>, Option<&mut Ms>) {
        match self {
            Self::Following | Self::Bidding | Self::Serving => (None, None),
            Self::Promoting {
                since,
                step: Step::Recheck { than },
            } => (Some(since), Some(than)),
            Self::Starting { since }
            | Self::Claiming { since }
            | Self::Promoting { since, .. }
            | Self::Announcing { since, .. }
            | Self::Closing { since, .. }
            | Self::Handed { since, .. }
            | Self::Fencing { since, .. } => (Some(since), None),
        }
    }
}

impl Step {
    const fn rank(self) -> u8 {
        match self {
            Self::StopReceiving => 0,
            Self::Drain => 1,
            Self::Arm => 2,
            Self::Recheck { .. } => 3,
            Self::Forget => 4,
            Self::Open => 5,
        }
    }
}
