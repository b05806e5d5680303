//! Requests for the lease: what is written to the bucket, and what an answer means to the protocol.

use std::sync::Arc;

use jiff::Timestamp;

use super::context::Context;
use super::ids::{LeaseVersions, ServerIds};
use crate::bucket::Bucket;
use crate::database::hold::{Hold, HoldError};
use crate::database::lease::{FORMAT, Lease, LeaseState, Nonce, Previous};
use crate::database::protocol::{BucketAnswer, Holding, Proposal};
use crate::database::store::{LeaseStore, Read, StoreError, Stored, Written};
use crate::system::clock;

/// What came of a request, with what must be remembered of it.
#[derive(Debug)]
pub(super) enum LeaseReply {
    Read(Result<Read, StoreError>),
    Written(Written, Box<Lease>),
    /// A person's hold was found before a takeover; nothing was written.
    Held(Holding),
    /// Whether there is a hold could not be read; nothing was written.
    HoldUnknown(HoldError),
    /// Nothing was sent: the lease is another by now, or none could be made.
    NotSent,
}

/// Reads it, unless it is as known.
pub(super) async fn read(store: Arc<LeaseStore>, known: Option<crate::bucket::Tag>) -> LeaseReply {
    LeaseReply::Read(store.read(known.as_ref()).await)
}

/// Writes it. A takeover asks first whether a person wants nothing to change.
pub(super) async fn write(
    store: Arc<LeaseStore>,
    bucket: Arc<Bucket>,
    context: Arc<Context>,
    lease: Lease,
    over: Option<crate::bucket::Tag>,
    ask_first: bool,
) -> LeaseReply {
    if ask_first {
        match Hold::read(&bucket, &context.product).await {
            Ok(Some(hold)) if hold.is_in_force() => return LeaseReply::Held(hold.holding()),
            Ok(_) => {}
            Err(error) => return LeaseReply::HoldUnknown(error),
        }
    }
    let written = store.write(&lease, over.as_ref()).await;
    LeaseReply::Written(written, Box::new(lease))
}

/// The lease that a proposal means. `position`: what the local server has.
pub(super) fn lease(
    proposal: &Proposal,
    context: &Context,
    ids: &ServerIds,
    base: Option<&Stored>,
    position: &str,
) -> Option<Lease> {
    let base = base.map(|stored| &stored.lease);
    let now: Timestamp = clock::now();
    let same = base.filter(|base| base.epoch == proposal.epoch);
    // Until it is open, a new owner's lease says what the last one had: others compare with that.
    let carried = same.or(base).map(|base| base.gtid.clone());
    let gtid = match (proposal.state, carried) {
        (LeaseState::Promoting | LeaseState::Released, Some(gtid)) if !gtid.is_empty() => gtid,
        _ => position.to_owned(),
    };
    let previous = match (same, base) {
        (Some(same), _) => same.previous.clone(),
        (None, Some(base)) => Some(Previous {
            owner: base.owner.clone(),
            epoch: base.epoch,
            gtid: base.gtid.clone(),
            complete: proposal.complete,
        }),
        // Made anew after somebody had deleted it.
        (None, None) if proposal.epoch > 1 => Some(Previous {
            owner: context.me.clone(),
            epoch: proposal.epoch - 1,
            gtid: position.to_owned(),
            complete: proposal.complete,
        }),
        (None, None) => None,
    };
    Some(Lease {
        format: FORMAT,
        product: context.product.clone(),
        epoch: proposal.epoch,
        owner: context.me.clone(),
        machine: context.machine.clone(),
        seq: same.map_or(1, |same| same.seq.saturating_add(1)),
        nonce: Nonce::fresh().ok()?,
        state: proposal.state,
        gtid,
        armed: proposal.armed,
        held: ids.list(proposal.held),
        to: proposal.to.and_then(|to| ids.name(to).cloned()),
        planned: proposal.planned,
        opening: proposal.opening,
        observed: proposal.observed,
        unopened: proposal.unopened,
        since: same.map_or(now, |same| same.since),
        renewed: now,
        ttl_ms: context.timing().ttl,
        previous,
    })
}

/// What a reply means to the protocol, and why the bucket is in trouble where it is.
pub(super) fn interpret(
    reply: LeaseReply,
    ids: &mut ServerIds,
    versions: &mut LeaseVersions,
) -> (BucketAnswer, Option<String>) {
    let mut view = |stored: Stored, ours: bool| {
        let tag = versions.note(stored.clone());
        ids.view(&stored.lease, tag, ours)
    };
    // Whatever the reason, a bucket that lets nobody in proves as little as one that does not answer.
    let trouble = |error: &StoreError| (BucketAnswer::Away, Some(crate::system::chain(error)));
    let fine = match reply {
        LeaseReply::Read(Ok(Read::Unchanged)) => BucketAnswer::Unchanged,
        LeaseReply::Read(Ok(Read::Absent)) => BucketAnswer::Absent,
        LeaseReply::Read(Ok(Read::Lease(stored))) => BucketAnswer::Lease(view(*stored, false)),
        LeaseReply::Read(Err(error)) => return trouble(&error),
        LeaseReply::Written(written, lease) => match written {
            Written::Done(tag) => BucketAnswer::Done(view(Stored { lease: *lease, tag }, true)),
            Written::Earlier(stored) => BucketAnswer::Lease(view(*stored, true)),
            Written::Lost(Some(stored)) => BucketAnswer::Lease(view(*stored, false)),
            Written::Lost(None) => BucketAnswer::Refused,
            Written::Contended => BucketAnswer::NotDone,
            Written::Gone => BucketAnswer::Absent,
            Written::Doubt(error) | Written::Failed(error) => return trouble(&error),
        },
        LeaseReply::Held(_) | LeaseReply::NotSent => BucketAnswer::NotDone,
        LeaseReply::HoldUnknown(error) => {
            return (BucketAnswer::NotDone, Some(crate::system::chain(&error)));
        }
    };
    (fine, None)
}
