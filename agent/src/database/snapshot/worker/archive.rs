//! The binary log, shipped all the time; and the word that there is a gap, which a snapshot closes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::plan::{EpochNow, Plan};
use super::shared::{Shared, trouble};
use crate::bucket::Bucket;
use crate::database::archive::ship::{Shipper, Source, Turn};
use crate::report::ArchiveStatus;
use crate::system::{chain, clock};

/// Between two segments, where little is written. What is lost with all machines is so much, and what the upload takes.
const EVERY: Duration = Duration::from_secs(10);
/// After a failure: so often at first, then ever more rarely, up to a minute.
const AGAIN: Duration = Duration::from_secs(5);
/// Where no archive is wanted, that is looked at again.
const LOOK: Duration = Duration::from_secs(15);

/// For ever.
pub(super) async fn run(shared: &Arc<Shared>, epoch: &EpochNow) {
    let mut work: Option<(Plan, Bucket, Shipper)> = None;
    let mut last_epoch = 0;
    let mut failures: u32 = 0;
    loop {
        let plan = shared.plan();
        if !plan.archive {
            work = None;
            if shared.known().archive.is_some() {
                shared.note(|known| known.archive = None);
            }
            sleep(LOOK).await;
            continue;
        }
        if work.as_ref().is_none_or(|(held, ..)| *held != plan) {
            let source = Source {
                product: plan.product.clone(),
                server: plan.source.server.clone(),
                place: plan.source.place.clone(),
            };
            let bucket = shared.bucket().await;
            work = Some((plan.clone(), bucket, Shipper::new(source)));
        }
        // While the master changes, what is written goes on to be archived, under the epoch before.
        if let Ok(now) = (epoch.0)() {
            last_epoch = now;
        }
        let Some((_, bucket, shipper)) = &mut work else {
            continue;
        };
        let pause = match shipper.turn(bucket, last_epoch).await {
            Ok(turn) => {
                failures = 0;
                tell(shared, &plan, &turn);
                if turn.is_more { Duration::ZERO } else { EVERY }
            }
            Err(error) => {
                let why = chain(&error);
                failed(shared, &plan, why);
                failures = failures.saturating_add(1);
                AGAIN
                    .saturating_mul(1 << failures.min(4))
                    .min(Duration::from_mins(1))
            }
        };
        sleep(pause).await;
    }
}

fn status(shared: &Shared) -> ArchiveStatus {
    let held = shared.known().archive.clone();
    held.unwrap_or_else(|| ArchiveStatus {
        since: clock::now(),
        safe_until: None,
        gtid: String::new(),
        unbroken_since: None,
        failure: None,
    })
}

fn tell(shared: &Shared, plan: &Plan, turn: &Turn) {
    let product = &plan.product;
    let mut now = status(shared);
    if let Some(why) = &turn.gap {
        tracing::warn!(event = "archive-begun", %product, why, "{product}: the archive of the binary log begins anew, and a snapshot is taken at once: {why}");
    }
    if now.failure.take().is_some() {
        tracing::info!(event = "archive-goes-on", %product, gtid = %turn.tips, "{product}: the binary log is archived again, up to {}", turn.tips);
    }
    now.gtid = turn.tips.to_string();
    now.unbroken_since = Some(turn.unbroken_since);
    // What is safe stays so: a server that does not replicate now has what it had.
    now.safe_until = turn.safe_until.or(now.safe_until);
    shared.note(|known| known.archive = Some(now));
    if shared.known().has_gap() {
        shared.hurry();
    }
}

fn failed(shared: &Shared, plan: &Plan, why: String) {
    let product = &plan.product;
    let mut now = status(shared);
    let is_new = now.failure.as_ref().is_none_or(|before| before.why != why);
    if is_new {
        tracing::warn!(event = "archive-failed", %product, error = why, "{product}: the binary log is not archived: {why}");
    }
    now.failure = Some(trouble(now.failure.as_ref(), why));
    shared.note(|known| known.archive = Some(now));
}
