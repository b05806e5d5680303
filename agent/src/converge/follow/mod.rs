//! Following leases: what is asked of the bucket, what is believed of the answers, what is kept over a restart.
//!
//! The highest epoch that this box ever saw of a product stands in `/var/lib/agentd/epochs.json`. A lease of a lower
//! one is an old copy, or somebody's mistake: it is refused and reported, never followed. A bucket that does not
//! answer changes nothing: the last known lease is kept, and its age is told.

mod judge;
mod persisted;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bucket::{Bucket, BucketErrorKind, Tag};
use crate::database::lease::{Lease, LeaseState};
use crate::database::store::{LeaseStore, Read, StoreError};
use crate::fleet::Name;
use crate::node::Elections;
use crate::report::Trouble;
use crate::system::file::{FileError, Files};
use crate::system::{chain, clock};

use judge::{LeaseJudgement, judge};
use persisted::PersistedEpochs;

/// A lease that was not renewed for this part of its time to live is overdue: it is renewed some ten times in it.
const OVERDUE: f32 = 0.3;

/// What this box knows of the leases of its products.
#[derive(Debug)]
pub struct Follower {
    files: Files,
    writes: bool,
    persisted: PersistedEpochs,
    /// The leases that were asked for since the start.
    readings: BTreeMap<Name, LeaseReadings>,
    /// Rounds in a row in which some lease did not come.
    failures: u32,
}

/// What the bucket has said of one lease since the start.
#[derive(Debug, Clone, Default)]
struct LeaseReadings {
    tag: Option<Tag>,
    /// The lease as it was last read, followed or not.
    lease: Option<Lease>,
    /// When the bucket last said that this is the present one.
    confirmed: Option<Timestamp>,
    /// When a version of it was first seen that is not the one before.
    renewed: Option<Instant>,
    /// Why what the bucket has is not followed.
    refused: Option<Trouble>,
    /// Why the bucket did not answer.
    unanswered: Option<Trouble>,
    /// It is nothing that passes by itself: no right to read it, no such bucket.
    forbidden: bool,
}

/// How near a change of master is, as far as leases tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unrest {
    /// Not near.
    None,
    /// A lease is not renewed any more.
    Overdue,
    /// One is announced or under way.
    Changing,
}

/// One question for each lease, asked at once.
#[derive(Debug)]
pub struct Round(Vec<(Name, Option<Tag>)>);

/// The answers to one round.
#[derive(Debug)]
pub struct Answers(Vec<(Name, Result<Read, StoreError>)>);

impl Round {
    /// Whether there is nothing to ask.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks. One request a product, all at once, each with the bucket's deadline. Needs a tokio runtime.
    pub async fn ask(self, bucket: Arc<Bucket>) -> Answers {
        let mut requests = JoinSet::new();
        for (product, tag) in self.0 {
            let store = LeaseStore::new(Arc::clone(&bucket), &product);
            requests.spawn(async move {
                let answer = store.read(tag.as_ref()).await;
                (product, answer)
            });
        }
        Answers(requests.join_all().await)
    }
}

impl Follower {
    /// Reads what was kept. Asks nothing; writes nothing.
    pub fn open(files: &Files) -> Result<Self, FileError> {
        Ok(Self {
            files: files.clone(),
            writes: true,
            persisted: PersistedEpochs::load(files)?,
            readings: BTreeMap::new(),
            failures: 0,
        })
    }

    /// Keeps what it hears in memory only: for runs that must not write.
    #[must_use]
    pub fn without_writing(mut self) -> Self {
        self.writes = false;
        self
    }

    /// Takes over the leases of higher epochs that another process of the agent has followed and persisted.
    pub fn catch_up(&mut self) -> Result<(), FileError> {
        self.persisted
            .take_higher(PersistedEpochs::load(&self.files)?);
        Ok(())
    }

    /// The leases that this box goes by.
    pub fn elections(&self) -> Elections {
        self.persisted.elections()
    }

    /// The highest epoch of a product that was ever seen here; 0: none.
    pub fn highest_epoch(&self, product: &Name) -> u64 {
        let kept = self.persisted.of(product);
        kept.map_or(0, |kept| kept.highest.epoch)
    }

    /// Whether there may be a lease of this name that one of `chain` owns: the bucket was not heard of it since the start, has one,
    /// or one that cannot be understood.
    pub fn may_be_owned(&self, lease: &Name, chain: &[Name]) -> bool {
        let Some(readings) = self.readings.get(lease) else {
            return true;
        };
        let owned = (readings.lease.as_ref()).is_some_and(|lease| chain.contains(&lease.owner));
        let absent = readings.confirmed.is_some() && readings.lease.is_none();
        let understood = absent && readings.refused.is_none() || readings.lease.is_some();
        owned || !understood
    }

    /// What to ask now for these leases.
    pub fn round<'n>(&self, products: impl IntoIterator<Item = &'n Name>) -> Round {
        let question = |product: &Name| {
            let readings = self.readings.get(product);
            (
                product.clone(),
                readings.and_then(|readings| readings.tag.clone()),
            )
        };
        Round(products.into_iter().map(question).collect())
    }

    /// What to ask now for those of these leases that were never asked for since the start. Asked once.
    pub fn first_round<'n>(&mut self, products: impl IntoIterator<Item = &'n Name>) -> Round {
        let mut round = Vec::new();
        for product in products {
            if !self.readings.contains_key(product) {
                self.readings
                    .insert(product.clone(), LeaseReadings::default());
                round.push((product.clone(), None));
            }
        }
        Round(round)
    }

    /// Whether nobody has made a lease of any of these products yet, as far as the bucket says: there is no hurry.
    pub fn has_none(&self) -> bool {
        (self.readings.iter()).all(|(product, readings)| {
            let absent = readings.confirmed.is_some() && readings.lease.is_none();
            absent && readings.refused.is_none() && self.persisted.of(product).is_none()
        })
    }

    /// Whether a change of master is under way, as far as the leases tell, or near.
    pub fn unrest(&self, now: Instant) -> Unrest {
        let each = (self.readings.values())
            .filter(|readings| readings.refused.is_none() && readings.unanswered.is_none())
            .filter_map(|readings| Some((readings.lease.as_ref()?, readings.renewed?)))
            .map(|(lease, renewed)| {
                let usual = Duration::from_millis(lease.ttl_ms).mul_f32(OVERDUE);
                if lease.state != LeaseState::Serving || lease.to.is_some() {
                    Unrest::Changing
                } else if now.saturating_duration_since(renewed) > usual {
                    Unrest::Overdue
                } else {
                    Unrest::None
                }
            });
        each.max().unwrap_or(Unrest::None)
    }

    /// Forgets what was read of leases that are not asked for any more; what is kept over a restart stays.
    pub fn forget_others(&mut self, asked: &Round) {
        self.readings
            .retain(|lease, _| asked.0.iter().any(|(name, _)| name == lease));
    }

    /// Rounds in a row in which some lease did not come: for waiting longer.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes answers in. Returns whether this box goes by another lease than before.
    ///
    /// The error is the disk's: what was heard holds all the same, but would not survive a restart.
    pub fn take_answers(&mut self, answers: Answers) -> Result<bool, FileError> {
        let now = clock::now();
        let (before, kept_before) = (self.elections(), self.persisted.clone());
        let mut failed = false;
        for (product, answer) in answers.0 {
            failed |= self.take_answer(&product, answer, now);
        }
        self.failures = if failed {
            self.failures.saturating_add(1)
        } else {
            0
        };
        let changed = before != self.elections();
        if self.persisted != kept_before && self.writes {
            self.persisted.save(&self.files)?;
        }
        Ok(changed)
    }

    /// Returns whether the bucket did not answer.
    fn take_answer(
        &mut self,
        product: &Name,
        answer: Result<Read, StoreError>,
        now: Timestamp,
    ) -> bool {
        let readings = self.readings.entry(product.clone()).or_default();
        let error = match answer {
            Ok(Read::Unchanged) => {
                answered(readings, product);
                readings.confirmed = Some(now);
                return false;
            }
            Ok(Read::Lease(stored)) => {
                answered(readings, product);
                readings.tag = Some(stored.tag);
                readings.confirmed = Some(now);
                readings.renewed = Some(Instant::now());
                take(&mut self.persisted, readings, product, stored.lease, now);
                return false;
            }
            Ok(Read::Absent) => {
                answered(readings, product);
                (readings.tag, readings.lease, readings.confirmed) = (None, None, Some(now));
                let lost = self.persisted.of(product).map(|kept| {
                    format!(
                        "there is no lease any more, though this machine has seen epoch {}: somebody has deleted it. \
                         A lease is never deleted; put the last version of the object back",
                        kept.highest.epoch
                    )
                });
                refuse(readings, product, lost, now);
                return false;
            }
            Err(error @ StoreError::Bucket(_)) => error,
            Err(wrong) => {
                answered(readings, product);
                readings.tag = match &wrong {
                    StoreError::Wrong { tag, .. } => Some(tag.clone()),
                    _ => None,
                };
                readings.lease = None;
                refuse(readings, product, Some(chain(&wrong)), now);
                return false;
            }
        };
        readings.forbidden = matches!(
            &error,
            StoreError::Bucket(error) if !matches!(error.error.kind, BucketErrorKind::Unavailable)
        );
        let why = chain(&error);
        if let Some(trouble) = &mut readings.unanswered {
            trouble.why = why;
        } else {
            tracing::warn!(event = "lease-unreachable", %product, error = why, "{product}: the lease cannot be read, and the last known one is kept: {why}");
            readings.unanswered = Some(Trouble { since: now, why });
        }
        true
    }
}

/// Believes a lease, or refuses it.
fn take(
    kept: &mut PersistedEpochs,
    readings: &mut LeaseReadings,
    product: &Name,
    lease: Lease,
    now: Timestamp,
) {
    match judge(kept.of(product), &lease) {
        LeaseJudgement::Refused(why) => refuse(readings, product, Some(why), now),
        LeaseJudgement::Believed(judged) => {
            let news =
                kept.of(product).and_then(|kept| kept.elected.as_ref()) != judged.elected.as_ref();
            if news && let Some(elected) = &judged.elected {
                tracing::info!(
                    event = "lease-followed",
                    %product,
                    epoch = elected.epoch,
                    owner = %elected.owner,
                    "the master of {product} is {}, epoch {}",
                    elected.owner,
                    elected.epoch
                );
            }
            kept.keep(product, judged);
            refuse(readings, product, None, now);
        }
    }
    readings.lease = Some(lease);
}

fn answered(readings: &mut LeaseReadings, product: &Name) {
    if readings.unanswered.take().is_some() {
        tracing::info!(event = "lease-answers", %product, "{product}: the bucket answers again for the lease");
    }
}

fn refuse(readings: &mut LeaseReadings, product: &Name, why: Option<String>, now: Timestamp) {
    let Some(why) = why else {
        readings.refused = None;
        return;
    };
    match &readings.refused {
        Some(refused) if refused.why == why => {}
        _ => {
            tracing::error!(event = "lease-refused", %product, "{product}: {why}");
            readings.refused = Some(Trouble { since: now, why });
        }
    }
}

#[cfg(test)]
mod tests;
