//! The watch over the rollout of the accepted version: a task of its own, so that a bucket that does not answer holds up nothing.
//!
//! One server watches at a time: the first of a few, canaries before others, that is heard of. It looks at the reports of all that
//! must stand well, opens the next wave or halts, by compare-and-swap: should two watch at once, one of them finds the work
//! done. The others look now and then whether the first ones are still heard of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::bucket::{Bucket, BucketError};
use crate::converge::rollout::{self, Decision, Gate, Progress, Read, Written};
use crate::fleet::{Document, DocumentId, Name};
use crate::node::Waves;
use crate::overview::ReportReader;
use crate::report::NodeReport;
use crate::system::{chain, clock};

/// Who does not watch over a rollout looks so often how far it is.
const LOOK_EVERY: Duration = Duration::from_mins(5);
/// Two looks are never closer than this.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
/// Nor further apart, for who watches.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How a rollout goes, as this server knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Course {
    /// The last open wave, counted from 0. `None`: the bucket has not said yet.
    pub(super) open: Option<u32>,
    /// Why it goes no further.
    pub(super) halted: Option<String>,
    /// What the next wave waits for; only where this server watches.
    pub(super) waits_for: Option<String>,
    /// This server watches over it.
    pub(super) watches: bool,
}

/// The rollout of one document.
#[derive(Debug)]
pub(super) struct Rollout {
    pub(super) id: DocumentId,
    pub(super) waves: Waves,
    pub(super) bake: Duration,
    patience: Duration,
    node: Name,
}

/// The side of the event loop.
pub(super) struct RolloutWatch {
    wanted: watch::Sender<Option<Arc<Rollout>>>,
    course: watch::Receiver<Course>,
    /// The document that was looked at last, and who this box was then.
    seen: Option<(DocumentId, Name)>,
    task: tokio::task::JoinHandle<()>,
}

impl RolloutWatch {
    pub(super) fn start(bucket: Arc<Bucket>) -> Self {
        let (wanted, of) = watch::channel(None);
        let (told, course) = watch::channel(Course::default());
        Self {
            wanted,
            course,
            seen: None,
            task: tokio::spawn(watch_over(bucket, of, told)),
        }
    }

    /// Watches over the rollout of this document from now on, where it has one.
    pub(super) fn follow(&mut self, document: &Document, node: &Name) {
        let is_seen = (self.seen.as_ref()).is_some_and(|(id, of)| *id == document.id && of == node);
        if is_seen {
            return;
        }
        self.seen = Some((document.id.clone(), node.clone()));
        let rollout = document.fleet.rollout.as_ref();
        let rollout = rollout
            .zip(Waves::of(&document.fleet))
            .map(|(rollout, waves)| {
                Arc::new(Rollout {
                    id: document.id.clone(),
                    waves,
                    bake: rollout.bake.duration(),
                    patience: rollout.patience(),
                    node: node.clone(),
                })
            });
        self.wanted.send_if_modified(|wanted| {
            let is_news = wanted.is_some() || rollout.is_some();
            *wanted = rollout;
            is_news
        });
    }

    /// The rollout that is followed, and how it goes.
    pub(super) fn course(&self) -> Option<(Arc<Rollout>, Course)> {
        let rollout = self.wanted.borrow().clone()?;
        Some((rollout, self.course.borrow().clone()))
    }
}

impl Drop for RolloutWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch_over(
    bucket: Arc<Bucket>,
    mut wanted: watch::Receiver<Option<Arc<Rollout>>>,
    told: watch::Sender<Course>,
) {
    loop {
        let rollout = wanted.borrow_and_update().clone();
        told.send_replace(Course::default());
        let Some(rollout) = rollout else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let mut watcher = Watcher::new(Arc::clone(&bucket), rollout);
        tokio::select! {
            // Whatever it was doing is about a version that nobody waits for: it may be given up at any point, for what it
            // writes is one conditional put.
            changed = wanted.changed() => if changed.is_err() { return },
            () = watcher.run(&told) => {
                // It is complete: nothing more to do until there is another one.
                if wanted.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The watch over one rollout.
struct Watcher {
    bucket: Arc<Bucket>,
    rollout: Arc<Rollout>,
    reports: ReportReader,
    /// Since when the present wave is watched, and how often the rollout had been resumed then.
    gate: Option<(u32, u32, Gate)>,
    /// When the watchers before this one were last heard of.
    heard_before: BTreeMap<Name, (NodeReport, Instant)>,
    began: Instant,
}

impl Watcher {
    fn new(bucket: Arc<Bucket>, rollout: Arc<Rollout>) -> Self {
        Self {
            reports: ReportReader::new((*bucket).clone()),
            bucket,
            rollout,
            gate: None,
            heard_before: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    /// Until the last wave is open.
    async fn run(&mut self, told: &watch::Sender<Course>) {
        let mut failed = false;
        loop {
            let next = match self.look(told).await {
                Ok(Some(next)) => {
                    failed = false;
                    next
                }
                Ok(None) => return,
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(
                            event = "rollout-unreachable",
                            version = self.rollout.id.version,
                            error = chain(&error),
                            "how far version {} is cannot be read, or written: {}",
                            self.rollout.id.version,
                            chain(&error)
                        );
                    }
                    LONGEST_PAUSE
                }
            };
            sleep_until(Instant::now() + next).await;
        }
    }

    /// One look. Returns when the next is due; `None`: the rollout is complete.
    async fn look(
        &mut self,
        told: &watch::Sender<Course>,
    ) -> Result<Option<Duration>, BucketError> {
        let id = self.rollout.id.clone();
        let progress = match rollout::read(&self.bucket, id.version, None).await? {
            Read::Object { bytes, .. } => match rollout::parse(&bytes, &id.fleet, id.version) {
                Ok(progress) => progress,
                Err(wrong) => {
                    told.send_modify(|course| course.halted = Some(wrong.to_string()));
                    return Ok(Some(LOOK_EVERY));
                }
            },
            Read::Absent | Read::Unchanged => Progress::new(id.fleet.clone(), id.version),
        };
        let watches = self.is_first().await?;
        let mut course = Course {
            open: Some(progress.open),
            halted: progress.halted.as_ref().map(|halt| halt.reason.clone()),
            waits_for: None,
            watches,
        };
        let is_complete = progress.open >= self.rollout.waves.last();
        if is_complete || course.halted.is_some() || !watches {
            self.gate = None;
            let next = if watches {
                LONGEST_PAUSE
            } else {
                self.pause_of_others(progress.open)
            };
            told.send_replace(course);
            return Ok((!is_complete).then_some(next));
        }
        match self.decide(&progress).await? {
            Decision::Wait(what) => course.waits_for = Some(what),
            Decision::Superseded => {}
            Decision::Open(evidence) => {
                let after = self.open(progress.open + 1, &evidence).await?;
                course.open = Some(after.open);
            }
            Decision::Halt(reason) => {
                let after = self.halt(&reason).await?;
                course.halted = after.halted.map(|halt| halt.reason);
            }
        }
        told.send_replace(course);
        let pause = Gate::heartbeat(self.rollout.bake) / 2;
        Ok(Some(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)))
    }

    fn pause_of_others(&self, open: u32) -> Duration {
        let (waves, node) = (&self.rollout.waves, &self.rollout.node);
        let is_waited_for = waves.of_server(node).is_some_and(|wave| wave <= open);
        if is_waited_for || waves.watchers().contains(node) {
            LONGEST_PAUSE
        } else {
            LOOK_EVERY
        }
    }

    /// Whether this server is the first of the watchers that is heard of.
    async fn is_first(&mut self) -> Result<bool, BucketError> {
        let watchers = self.rollout.waves.watchers();
        let Some(rank) = watchers.iter().position(|one| *one == self.rollout.node) else {
            return Ok(false);
        };
        let before: Vec<Name> = watchers.iter().take(rank).cloned().collect();
        let now = Instant::now();
        let silence = Gate::silence(self.rollout.bake);
        for watcher in before {
            let report = self
                .reports
                .read_of(std::slice::from_ref(&watcher))
                .await?
                .pop();
            if let Some(report) = report {
                let known = self.heard_before.get(&watcher);
                let is_same = known.is_some_and(|(known, _)| known.written == report.written);
                if !is_same {
                    self.heard_before.insert(watcher.clone(), (report, now));
                }
            }
            // Who has not had the time to be silent is not.
            let heard = self.heard_before.get(&watcher).map(|(_, at)| *at);
            let last = heard.unwrap_or(self.began);
            if now.saturating_duration_since(last) <= silence {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn decide(&mut self, progress: &Progress) -> Result<Decision, BucketError> {
        let servers = self.rollout.waves.until(progress.open).to_vec();
        let is_current = self.gate.as_ref().is_some_and(|(wave, resumed, _)| {
            (*wave, *resumed) == (progress.open, progress.resumed)
        });
        if !is_current {
            let gate = Gate::new(
                self.rollout.id.version,
                servers.clone(),
                self.rollout.bake,
                self.rollout.patience,
                Instant::now(),
            );
            self.gate = Some((progress.open, progress.resumed, gate));
        }
        let reports = self.reports.read_of(&servers).await?;
        let now = Instant::now();
        let Some((_, _, gate)) = &mut self.gate else {
            return Ok(Decision::Superseded);
        };
        for report in &reports {
            gate.take(report, now);
        }
        Ok(gate.decide(now))
    }

    async fn open(&self, wave: u32, evidence: &str) -> Result<Progress, BucketError> {
        let (id, by) = (&self.rollout.id, self.rollout.node.as_str());
        let written = rollout::change(&self.bucket, &id.fleet, id.version, |before| {
            let may = before.halted.is_none() && before.open < wave;
            may.then(|| {
                let mut after = before.clone();
                after.open(wave, clock::now(), by, evidence);
                after
            })
        });
        let written = written.await?;
        if let Written::Done(_) = &written {
            tracing::info!(
                event = "wave-opened",
                version = id.version,
                wave = wave + 1,
                "wave {} of {} may take version {}: {evidence}",
                wave + 1,
                self.rollout.waves.count(),
                id.version
            );
        }
        Ok(written.progress())
    }

    async fn halt(&self, reason: &str) -> Result<Progress, BucketError> {
        let (id, by) = (&self.rollout.id, self.rollout.node.as_str());
        let written = rollout::change(&self.bucket, &id.fleet, id.version, |before| {
            before.halted.is_none().then(|| {
                let mut after = before.clone();
                after.halt(clock::now(), by, reason);
                after
            })
        });
        let written = written.await?;
        if let Written::Done(_) = &written {
            tracing::error!(
                event = "rollout-halted",
                version = id.version,
                "version {} goes no further: {reason}",
                id.version
            );
        }
        Ok(written.progress())
    }
}
