//! Drills on their slots: the newest snapshot restored and compared.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::super::SnapshotId;
use super::super::catalog::{self, CatalogError};
use super::super::prove::prove;
use super::super::schedule::Slots;
use super::shared::{Known, Shared, trouble};
use crate::system::{chain, clock};

/// Between two looks whether there is something to restore.
const LOOK: Duration = Duration::from_secs(15);
/// A drill that could not be made is tried again after so long.
const AGAIN: Duration = Duration::from_mins(5);

/// For ever.
pub(super) async fn run(shared: &Arc<Shared>) {
    // When the last drill of this product ended, as far as it is known.
    let mut last: Option<Timestamp> = None;
    let mut asked = false;
    let mut failures: u32 = 0;
    loop {
        let plan = shared.plan();
        if !asked {
            // A restart is no reason for another drill.
            let proven = shared.known().proven().map(|found| found.id.clone());
            let is_listed = shared.known().found.is_some();
            if let Some(id) = proven {
                let bucket = shared.bucket().await;
                match catalog::proof(&bucket, &plan.product, &id).await {
                    Ok(proof) => {
                        last = proof.map(|proof| proof.time);
                        asked = true;
                    }
                    // When that was is not known: the next slot's drill will say.
                    Err(CatalogError::Wrong { url, .. }) => {
                        tracing::warn!(event = "proof-unreadable", product = %plan.product, %url, "{}: {url} cannot be read, drills go on", plan.product);
                        asked = true;
                    }
                    Err(CatalogError::Bucket(_)) => {}
                }
            } else {
                asked = is_listed;
            }
        }
        let slots = Slots::new(&plan.product, plan.prove);
        let is_due = asked && slots.is_due(last, clock::now());
        let next = is_due.then(|| next(&shared.known())).flatten();
        let Some(id) = next else {
            shared.news(LOOK).await;
            continue;
        };
        if drill(shared, &id).await {
            last = Some(clock::now());
            failures = 0;
        } else {
            // Each takes the machine's disk: what fails again and again is tried ever more rarely.
            sleep(pause_after(failures, plan.prove)).await;
            failures = failures.saturating_add(1);
        }
    }
}

/// The newest one, if none has restored it and none has shown it to be of no use.
fn next(known: &Known) -> Option<SnapshotId> {
    let mut all = known.newest_first().into_iter();
    let newest = all.find(|found| !known.damaged.contains(&found.id))?;
    (!newest.is_proven).then(|| newest.id.clone())
}

/// How long to wait after so many failed drills and one more: five minutes, then twice as long each time, up to the time between two.
fn pause_after(failures: u32, prove: Duration) -> Duration {
    AGAIN.saturating_mul(1 << failures.min(10)).min(prove)
}

/// Whether it was restored, and is as it should be.
async fn drill(shared: &Arc<Shared>, id: &SnapshotId) -> bool {
    let plan = shared.plan();
    let product = &plan.product;
    let bucket = shared.bucket().await;
    shared.note(|known| known.proving = Some(format!("restoring {id} to see that it can be")));
    let done = prove(&bucket, product, id, &plan.ground).await;
    match done {
        Ok(proof) => {
            tracing::info!(
                event = "snapshot-proven",
                %product,
                snapshot = %id,
                seconds = proof.seconds,
                tables = proof.tables,
                rows = proof.rows,
                "{product}: snapshot {id} was restored in {} s and compared: {} tables with {} rows",
                proof.seconds,
                proof.tables,
                proof.rows
            );
            shared.note(|known| known.shown_good(id));
            true
        }
        Err(error) => {
            let is_damaged = error.is_of_the_snapshot();
            let why = format!("{id}: {}", chain(&error));
            let before = shared.known().drill_failure.clone();
            if before.as_ref().map(|trouble| trouble.why.as_str()) != Some(why.as_str()) {
                if is_damaged {
                    tracing::error!(event = "snapshot-damaged", %product, snapshot = %id, error = why, "{product}: {why}");
                } else {
                    tracing::warn!(event = "drill-failed", %product, snapshot = %id, error = why, "{product}: {why}");
                }
            }
            shared.note(|known| {
                known.proving = None;
                known.drill_failure = Some(trouble(before.as_ref(), why.clone()));
                if is_damaged {
                    known.damage = Some(trouble(None, why));
                    known.damaged.insert(id.clone());
                }
            });
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_drills_are_made_ever_more_rarely() {
        let minutes = |failures| pause_after(failures, Duration::from_hours(1)).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 4, 99].map(minutes), [5, 10, 20, 40, 60, 60]);
        assert_eq!(
            pause_after(0, Duration::from_mins(1)),
            Duration::from_mins(1)
        );
    }
}
