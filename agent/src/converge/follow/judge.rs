//! Whether a lease is believed, and what follows from it. Pure.

use super::persisted::PersistedLease;
use crate::database::lease::{Lease, LeaseState};
use crate::node::Elected;

/// An epoch is a change of master: a machine that was away for years has missed fewer. One that is further ahead was written by
/// mistake or with bad intent: followed, it would keep all true ones from being believed ever again.
const MOST_MISSED: u64 = 10_000;

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
    let seen = kept.map_or(0, |kept| kept.highest.epoch);
    if lease.epoch.saturating_sub(seen) > MOST_MISSED {
        return LeaseJudgement::Refused(format!(
            "the lease in the bucket is of epoch {}, and {}: no cluster has changed its master that often since. It is not followed, for then no \
             later one could be, and the names stay where they lead. Somebody has written it by hand: put the last version of the object \
             back whose epoch follows from the ones before",
            lease.epoch,
            match seen {
                0 => "this machine has seen none before".to_owned(),
                seen => format!("this machine has seen epoch {seen} last"),
            }
        ));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(epoch: u64) -> Lease {
        crate::database::lease::tests::successor("shop", "db-2", epoch)
    }

    fn is_believed(kept: Option<&PersistedLease>, epoch: u64) -> bool {
        matches!(judge(kept, &lease(epoch)), LeaseJudgement::Believed(_))
    }

    #[test]
    fn an_epoch_that_none_could_follow_is_not_followed() {
        assert!(is_believed(None, 7) && is_believed(None, MOST_MISSED));
        assert!(!is_believed(None, 1 << 53));
        let LeaseJudgement::Believed(kept) = judge(None, &lease(20)) else {
            panic!("not believed");
        };
        assert!(is_believed(Some(&kept), 21) && is_believed(Some(&kept), 20 + MOST_MISSED));
        let LeaseJudgement::Refused(why) = judge(Some(&kept), &lease(21 + MOST_MISSED)) else {
            panic!("believed");
        };
        assert!(why.contains("has seen epoch 20 last"), "{why}");
        // Once the object is put back, the next one is followed.
        assert!(is_believed(Some(&kept), 21));
    }
}
