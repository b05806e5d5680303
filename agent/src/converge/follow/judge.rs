//! Whether a lease is believed, and what follows from it. Pure.

use super::persisted::PersistedLease;
use crate::database::lease::{Lease, LeaseState};
use crate::node::Elected;

/// What is to be made of a lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeaseJudgement {
    /// It is followed: what to keep from now on.
    Believed(PersistedLease),
    /// It is not: why, and what to do.
    Refused(String),
}

/// Judges `lease` by what is kept of its product.
pub(super) fn judge(kept: Option<&PersistedLease>, lease: &Lease) -> LeaseJudgement {
    let highest = Elected {
        epoch: lease.epoch,
        owner: lease.owner.clone(),
    };
    if let Some(PersistedLease { highest: known, .. }) = kept {
        if lease.epoch < known.epoch {
            return LeaseJudgement::Refused(format!(
                "the lease in the bucket is of epoch {}, and this machine has seen epoch {} already: it is an old copy and is not followed. \
                 Put the newest version of the object back",
                lease.epoch, known.epoch
            ));
        }
        if lease.epoch == known.epoch && lease.owner != known.owner {
            return LeaseJudgement::Refused(format!(
                "the lease in the bucket says that {} owns epoch {}, and it was {}: an epoch has one owner. \
                 Somebody has written it by hand; see the object's versions",
                lease.owner, lease.epoch, known.owner
            ));
        }
    }
    let elected = match lease.state {
        // Who released it was the last one who could serve; nobody else can yet.
        LeaseState::Serving | LeaseState::Switching | LeaseState::Released => Some(highest.clone()),
        // He takes no writes yet: whoever leads to him now would only be refused.
        LeaseState::Promoting => {
            let before = kept.and_then(|kept| kept.elected.clone());
            before.or_else(|| {
                lease.previous.as_ref().map(|previous| Elected {
                    epoch: previous.epoch,
                    owner: previous.owner.clone(),
                })
            })
        }
    };
    LeaseJudgement::Believed(PersistedLease { highest, elected })
}
