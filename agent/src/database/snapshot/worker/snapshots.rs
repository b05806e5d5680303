//! Snapshots on their slots, and at a person's word; and old ones let go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::super::SnapshotId;
use super::super::catalog::{self, CatalogError};
use super::super::manifest::Manifest;
use super::super::schedule::Slots;
use super::super::take::{TakeError, age, take};
use super::Order;
use super::plan::{EpochNow, Plan};
use super::shared::{Shared, trouble};
use crate::bucket::{Bucket, BucketErrorKind};
use crate::database::archive::retention;
use crate::fleet::Name;
use crate::system::{chain, clock};

/// What could not be copied now is looked at again after so long.
const AGAIN: Duration = Duration::from_mins(1);
/// The list of the bucket is read anew at least this often: a person may have pruned it.
const LOOK: Duration = Duration::from_mins(10);
/// So many are deleted at a time; the others after the next snapshot.
const DELETED: usize = 50;

/// For ever.
pub(super) async fn run(shared: &Arc<Shared>, mut orders: mpsc::Receiver<Order>, epoch: &EpochNow) {
    let mut plans = shared.plans();
    let mut failures: u32 = 0;
    loop {
        let pause = turn(shared, epoch, &mut failures).await;
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return };
                let done = once(shared, epoch).await;
                let answer = match &done {
                    Ok(manifest) => Ok(said(manifest)),
                    Err(error) => Err(chain(error)),
                };
                let _ = order.send(answer);
            }
            _ = plans.changed() => {}
            () = shared.hurried(), if failures == 0 => {}
            () = sleep(pause) => {}
        }
    }
}

/// Takes a snapshot if one is due; how long to wait.
async fn turn(shared: &Arc<Shared>, epoch: &EpochNow, failures: &mut u32) -> Duration {
    let plan = shared.plan();
    let bucket = shared.bucket().await;
    match catalog::list(&bucket, &plan.product).await {
        Ok(found) => shared.note(|known| known.found = Some(found)),
        Err(error) => {
            let why = chain(&error);
            shared.note(|known| known.failure = Some(trouble(known.failure.as_ref(), why)));
            return AGAIN;
        }
    }
    let slots = Slots::new(&plan.product, plan.every);
    let newest = shared.known().newest().map(|found| found.id.time);
    let now = clock::now();
    // What is archived since then has nothing to go on from but a snapshot that is newer.
    let has_gap = shared.known().has_gap();
    if !slots.is_due(newest, now) && !has_gap {
        *failures = 0;
        return slots.until_next(now).min(LOOK);
    }
    match once(shared, epoch).await {
        Ok(_) => {
            *failures = 0;
            prune(shared, &plan, &bucket).await;
            if plan.archive {
                prune_archive(shared, &plan, &bucket).await;
            }
            slots.until_next(clock::now()).min(LOOK)
        }
        Err(error) if error.is_passing() => {
            *failures = failures.saturating_add(1);
            let pause = Duration::from_secs(10).saturating_mul(1 << (*failures).min(5));
            pause.min(plan.every)
        }
        Err(_) => AGAIN.min(plan.every),
    }
}

/// One snapshot; what came of it is told.
async fn once(shared: &Arc<Shared>, epoch: &EpochNow) -> Result<Manifest, TakeError> {
    let plan = shared.plan();
    let product = &plan.product;
    let bucket = shared.bucket().await;
    shared.note(|known| known.taking = Some("taking a snapshot".to_owned()));
    let began = tokio::time::Instant::now();
    let progress = |done: u64, total: u64| {
        let text = format!(
            "taking a snapshot: {} of about {} MiB",
            done >> 20,
            total >> 20
        );
        if shared.known().taking.as_ref() != Some(&text) {
            shared.note(|known| known.taking = Some(text));
        }
    };
    let done = take(&plan.source, &bucket, &*epoch.0, &progress).await;
    match &done {
        Ok(manifest) => {
            let (tables, rows) = manifest.content.size();
            let seconds = began.elapsed().as_secs();
            tracing::info!(
                event = "snapshot-taken",
                %product,
                snapshot = %manifest.id(),
                gtid = manifest.gtid,
                bytes = manifest.stored(),
                seconds,
                tables,
                rows,
                "{}",
                said(manifest)
            );
            if let Ok(found) = catalog::list(&bucket, product).await {
                shared.known().found = Some(found);
            }
            shared.note(|known| {
                known.taking = None;
                known.failure = None;
            });
        }
        Err(error) => {
            let why = chain(error);
            let before = shared.known().failure.clone();
            if before.as_ref().map(|trouble| trouble.why.as_str()) != Some(why.as_str()) {
                if matches!(error, TakeError::Skipped(_)) {
                    tracing::warn!(event = "snapshot-skipped", %product, error = why, "{product}: {why}");
                } else {
                    tracing::warn!(event = "snapshot-failed", %product, error = why, "{product}: {why}");
                }
            }
            shared.note(|known| {
                known.taking = None;
                known.failure = Some(trouble(before.as_ref(), why));
            });
        }
    }
    done
}

fn said(manifest: &Manifest) -> String {
    let (tables, rows) = manifest.content.size();
    format!(
        "{}: snapshot {} at {}, {tables} tables with {rows} rows, {} MiB in {} s",
        manifest.product,
        manifest.id(),
        manifest.gtid,
        manifest.stored() >> 20,
        age(manifest.time, manifest.ended).as_secs()
    )
}

/// Lets go what no tier wants any more.
async fn prune(shared: &Arc<Shared>, plan: &Plan, bucket: &Bucket) {
    let found = shared.known().found.clone().unwrap_or_default();
    let doomed: Vec<_> = catalog::verdicts(&found, &plan.tiers)
        .into_iter()
        .filter(|verdict| verdict.kept.is_none())
        .map(|verdict| verdict.found.id)
        .take(DELETED)
        .collect();
    let product = &plan.product;
    let deleted = catalog::delete_all(bucket, product, &doomed, &|_| ()).await;
    for id in &deleted.gone {
        tracing::info!(event = "snapshot-deleted", %product, snapshot = %id, "{product}: snapshot {id} is not wanted any more");
    }
    let why = why_left(product, &deleted.left);
    if let Some(why) = &why
        && shared.known().not_deleted.as_ref() != Some(why)
    {
        tracing::warn!(event = "snapshot-not-deleted", %product, error = why, "{product}: {why}");
    }
    shared.note(|known| {
        known.not_deleted = why;
        if let Some(found) = &mut known.found {
            found.retain(|one| !deleted.gone.contains(&one.id));
        }
    });
}

/// Lets go what of the archive no snapshot needs any more.
async fn prune_archive(shared: &Arc<Shared>, plan: &Plan, bucket: &Bucket) {
    let since = {
        let known = shared.known();
        let all: Vec<_> = known
            .newest_first()
            .iter()
            .map(|found| found.id.time)
            .collect();
        let restorable = known.proven().map(|found| found.id.time);
        retention::needed_since(&all, restorable, &plan.tiers, clock::now())
    };
    let Some(since) = since else {
        return;
    };
    let product = &plan.product;
    if let Err(error) = retention::delete(bucket, product, since).await {
        let why = format!("the archive before {since}: {}", chain(&error));
        if shared.known().not_deleted.as_ref() != Some(&why) {
            tracing::warn!(event = "archive-not-deleted", %product, error = why, "{product}: {why}");
        }
        shared.note(|known| known.not_deleted = Some(known.not_deleted.take().unwrap_or(why)));
    }
}

/// Why some are not deleted.
fn why_left(product: &Name, left: &[(SnapshotId, CatalogError)]) -> Option<String> {
    let (id, error) = left.first()?;
    let is_denied = matches!(error, CatalogError::Bucket(it) if it.kind == BucketErrorKind::Denied);
    if is_denied {
        return Some(format!(
            "this machine's key may not delete: agentctl db prune {product} at a desk does it"
        ));
    }
    let more = match left.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    Some(format!("snapshot {id}{more}: {}", chain(error)))
}

#[cfg(test)]
mod tests;
