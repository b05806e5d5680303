//! What both loops know, and what is told of it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::super::SnapshotId;
use super::super::catalog::{self, Found};
use super::super::schedule::Slots;
use super::plan::Plan;
use crate::bucket::Bucket;
use crate::report::{ArchiveStatus, SnapshotSeen, SnapshotStatus, Trouble};
use crate::system::clock;

/// What both loops know.
pub(super) struct Shared {
    plan: watch::Receiver<Plan>,
    status: watch::Sender<Option<SnapshotStatus>>,
    since: Timestamp,
    known: Mutex<Known>,
    /// Something is known that was not.
    news: Notify,
    /// A snapshot is wanted at once.
    hurry: Notify,
}

/// What was found and done.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What the bucket has; `None`: it was not heard of yet.
    pub(super) found: Option<Vec<Found>>,
    /// What is being done about a snapshot.
    pub(super) taking: Option<String>,
    /// What is being done about a drill.
    pub(super) proving: Option<String>,
    /// Why the last try took none.
    pub(super) failure: Option<Trouble>,
    /// Why the last drill showed nothing.
    pub(super) drill_failure: Option<Trouble>,
    /// Why old ones are not deleted.
    pub(super) not_deleted: Option<String>,
    /// Why one is of no use, until one that is newer than all of those was restored.
    pub(super) damage: Option<Trouble>,
    /// How the archive is; `None`: none is kept.
    pub(super) archive: Option<ArchiveStatus>,
    /// Those that a drill showed to be of no use.
    pub(super) damaged: BTreeSet<SnapshotId>,
}

impl Known {
    /// The snapshots that there are, the newest first.
    pub(super) fn newest_first(&self) -> Vec<&Found> {
        catalog::newest_first(self.found.as_deref().unwrap_or_default(), clock::now())
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<&Found> {
        self.newest_first().into_iter().next()
    }

    /// The newest that was restored.
    pub(super) fn proven(&self) -> Option<&Found> {
        let mut all = self.newest_first().into_iter();
        all.find(|found| found.is_proven)
    }

    /// Whether the archive has nothing to go on from: no snapshot is as new as its beginning.
    pub(super) fn has_gap(&self) -> bool {
        let begun = self
            .archive
            .as_ref()
            .and_then(|archive| archive.unbroken_since);
        let newest = self.newest().map(|found| found.id.time);
        // Snapshots have whole seconds.
        begun.is_some_and(|begun| {
            newest.is_none_or(|newest| newest.as_second() <= begun.as_second())
        })
    }

    /// A drill has shown that this one can be restored. What is older and was damaged is nobody's last hope any more.
    pub(super) fn shown_good(&mut self, id: &SnapshotId) {
        self.proving = None;
        self.drill_failure = None;
        let now = clock::now();
        let is_newer = |bad: &SnapshotId| bad.recency(now) > id.recency(now);
        if !self.damaged.iter().any(is_newer) {
            self.damage = None;
        }
        let all = self.found.iter_mut().flatten();
        for found in all.filter(|found| found.id == *id) {
            found.is_proven = true;
        }
    }
}

/// A trouble that begins, or goes on with other words.
pub(super) fn trouble(before: Option<&Trouble>, why: String) -> Trouble {
    Trouble {
        since: before.map_or_else(clock::now, |trouble| trouble.since),
        why,
    }
}

impl Shared {
    pub(super) fn new(
        plan: watch::Receiver<Plan>,
        status: watch::Sender<Option<SnapshotStatus>>,
    ) -> Self {
        Self {
            plan,
            status,
            since: clock::now(),
            known: Mutex::default(),
            news: Notify::new(),
            hurry: Notify::new(),
        }
    }

    /// What is to be done now.
    pub(super) fn plan(&self) -> Plan {
        self.plan.borrow().clone()
    }

    /// For whoever waits for another plan.
    pub(super) fn plans(&self) -> watch::Receiver<Plan> {
        self.plan.clone()
    }

    /// The bucket, as the plan says.
    pub(super) async fn bucket(&self) -> Bucket {
        let plan = self.plan();
        Bucket::open(&plan.bucket, &plan.s3).await
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is known that was not, or for so long. For one loop.
    pub(super) async fn news(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.news.notified()).await;
    }

    /// A snapshot is wanted at once.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Waits until one is.
    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Changes what is known, and tells it.
    pub(super) fn note(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known());
        let status = self.status_now();
        self.status.send_replace(Some(status));
        self.news.notify_one();
    }

    fn status_now(&self) -> SnapshotStatus {
        let plan = self.plan();
        let known = self.known();
        let seen = |found: &Found| SnapshotSeen {
            id: found.id.to_string(),
            at: found.id.time,
            bytes: found.bytes,
        };
        let whole = || {
            let found = known.found.iter().flatten();
            found.filter(|found| found.has_manifest)
        };
        let newest = known.newest();
        let slots = Slots::new(&plan.product, plan.every);
        let now = clock::now();
        let next = if slots.is_due(newest.map(|found| found.id.time), now) {
            now
        } else {
            now.saturating_add(slots.until_next(now)).unwrap_or(now)
        };
        SnapshotStatus {
            since: self.since,
            every_secs: plan.every.as_secs(),
            prove_secs: plan.prove.as_secs(),
            newest: newest.map(seen),
            restorable: known.proven().map(seen),
            count: whole().count() as u64,
            bytes: whole().map(|found| found.bytes).sum(),
            next: known.found.is_some().then_some(next),
            doing: [&known.taking, &known.proving]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            failure: known.failure.clone(),
            drill_failure: known.drill_failure.clone(),
            damaged: known.damage.clone(),
            not_deleted: known.not_deleted.clone(),
            archive: known.archive.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_snapshot_s_drill_does_not_clear_the_alarm_about_a_newer_one() {
        let id =
            |hour: u32| -> SnapshotId { format!("20261124T{hour}0000Z-e7-db-4").parse().unwrap() };
        let found = |hour| Found {
            id: id(hour),
            has_manifest: true,
            is_proven: false,
            bytes: 1,
        };
        let mut known = Known {
            found: Some(vec![found(13), found(14)]),
            damage: Some(trouble(None, "other rows".to_owned())),
            damaged: [id(14)].into(),
            ..Known::default()
        };
        known.shown_good(&id(13));
        assert!(known.damage.is_some());
        assert_eq!(known.proven().map(|found| &found.id), Some(&id(13)));
        known.found.as_mut().unwrap().push(found(15));
        known.shown_good(&id(15));
        assert_eq!(known.damage, None);
    }
}
