//! A convergence run as the daemon makes it: the lock, what is served meanwhile, what the record means for the timers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::event_loop::EventLoop;
use super::eviction_watch;
use super::flapping::Flapping;
use super::job_watch;
use super::lease_watch;
use super::operator;
use super::readiness::{self, Round};
use super::service_health::INTERVAL_WHILE_DOWN;
use super::watchdog::Watchdog;
use crate::bucket::backoff;
use crate::control::messages::{Applied, Reply};
use crate::converge::{Intent, fetch_releases, lock_runs};
use crate::fleet::{EvictPart, Name};
use crate::identity::Clues;
use crate::node::eviction::Evictions;
use crate::report::{Cause, Kind, Outcome, RunRecord, Trigger, text};
use crate::system::chain;
use crate::system::lock::Lock;

/// How long somebody else's run is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// A run is made this often even if nothing was noticed: events can be lost.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_mins(1);
/// What could not be finished for a passing reason is tried again this soon.
const RETRY_SOON: Duration = Duration::from_secs(1);

impl EventLoop {
    /// Makes a run and publishes the status after it. Fails at nothing: what went wrong is logged, shown in the
    /// status and returned for whoever asked. `trouble`: why the newest document could not be had.
    pub(super) async fn run(
        &mut self,
        trigger: Trigger,
        retry: bool,
        trouble: Option<String>,
    ) -> Reply {
        self.next_check = Instant::now() + CHECK_INTERVAL;
        let answer = self.try_run(trigger, retry, trouble).await;
        let answer = answer.unwrap_or_else(|message| Reply::Failed { message });
        if let Err(error) = self.session.intake.settle() {
            // Not fatal: at worst a later death is laid at this document's door.
            tracing::warn!(
                event = "state-not-read",
                error = chain(&error),
                "that a document was taken well could not be noted: {}",
                chain(&error)
            );
        }
        self.check_services(trigger).await;
        self.look_at_jobs();
        self.finish_booting();
        let evictions_changed = std::mem::take(&mut self.evictions_changed);
        if std::mem::take(&mut self.master_changed) || evictions_changed {
            // That run still knew the former master, or listed a dead server.
            self.next_check = Instant::now();
        }
        self.publish();
        answer
    }

    /// How the recorded cron jobs went. Not fatal where that cannot be seen: what was known stays.
    fn look_at_jobs(&mut self) {
        if let Some(jobs) = job_watch::look(&self.files, &self.state.jobs) {
            self.state.jobs = jobs;
        }
    }

    async fn check_services(&mut self, trigger: Trigger) {
        let settings = &self.session.settings;
        // What starts after the agent starts within a moment of its being ready.
        let while_down = if self.booting {
            RETRY_SOON
        } else {
            INTERVAL_WHILE_DOWN
        };
        let were_down = !self.state.services.is_empty();
        if let Some(down) = self
            .service_health
            .check(settings, &self.files, trigger, were_down)
            .await
        {
            if !down.is_empty() {
                self.next_check = self.next_check.min(Instant::now() + while_down);
            }
            self.state.services = down;
        }
    }

    async fn try_run(
        &mut self,
        trigger: Trigger,
        retry: bool,
        trouble: Option<String>,
    ) -> Result<Reply, String> {
        self.identify_again().await;
        if trouble.is_none() {
            self.lease_watch.before_run(&mut self.session).await;
        }
        let _lock = self.lock().await?;
        // Another process of the agent may have gone on meanwhile: what it did must not be undone.
        self.catch_up();
        self.stage();
        if retry {
            let released = self.session.converger.release_quarantine();
            released.map_err(|error| chain(&error))?;
        }
        let (intent, found_by) = self.session.intent_of_runs().map_err(|error| {
            if self.state.waits_for() != Some(&error.message) {
                tracing::warn!(event = "waiting", "{error}");
            }
            self.state.waiting(&error.message);
            chain(&error)
        })?;
        if !self.state.knows_itself() {
            tracing::info!(event = "identified", node = %intent.node, found_by, "this box is {}, by {found_by}", intent.node);
        }
        let watchdog = Rc::clone(&self.watchdog);
        self.fetch_objects(&intent).await;
        self.fetch_releases(&intent).await;
        let converger = Arc::clone(&self.session.converger);
        let progress = |what: &str, may_take| watchdog.progress_for(what, may_take);
        let running = Box::pin(converger.run(&intent, trigger, &progress));
        let record = self.serve_during(running).await;
        let record = record.map_err(|error| {
            let error = chain(&error);
            tracing::error!(event = "run-failed", error, "no run could be made: {error}");
            self.state.failed_to_run(&error);
            self.next_check =
                Instant::now() + backoff(self.session.settings.poll.max(RETRY_SOON), 1);
            error
        })?;
        self.state.ran(&intent, &found_by, &record);
        self.state.readiness = self.readiness.of(&self.session.converger.served());
        if record.changed() {
            self.readiness.soon();
        }
        if let Some(certificates) =
            self.certificates
                .look(&intent, &self.session.settings.root, record.changed())
        {
            self.state.certificates = certificates;
        }
        self.plan_ahead(&record);
        self.lease_watch.after_run(&self.session);
        // Else clients that were cut off would come to the old address again.
        let names_lead = !self.master_changed
            && !record
                .steps
                .iter()
                .any(|step| step.kind == Kind::Hosts && step.outcome.is_failure());
        if names_lead {
            self.lease_watch.names_lead(&self.session).await;
        }
        Ok(Reply::Applied(Box::new(Applied {
            run: record,
            refused: self.state.refused.clone(),
            unreachable: trouble,
        })))
    }

    /// Has what files are made of fetched. Not fatal where that cannot be kept: the files' steps tell.
    async fn fetch_objects(&mut self, intent: &Intent) {
        let watchdog = Rc::clone(&self.watchdog);
        let progress = |what: &str| watchdog.progress(what);
        if let Err(error) = self.session.fetch_objects(intent, &progress).await {
            tracing::warn!(
                event = "objects-not-kept",
                error = chain(&error),
                "{}",
                chain(&error)
            );
        }
    }

    /// Has the archives of releases fetched, which may take long: all else is served meanwhile. Not fatal: the releases' steps
    /// tell.
    async fn fetch_releases(&mut self, intent: &Intent) {
        let watchdog = Rc::clone(&self.watchdog);
        let progress = |what: &str| watchdog.progress(what);
        let bucket = Arc::clone(&self.session.bucket);
        let files = self.session.converger.files().clone();
        let platform = self.session.settings.platform.clone();
        let fetching = fetch_releases(bucket, files, platform, intent.clone(), &progress);
        let fetched = self.serve_during(Box::pin(fetching)).await;
        if let Err(error) = fetched {
            let error = chain(&error);
            tracing::warn!(event = "release-not-kept", error, "{error}");
        }
    }

    /// Takes the lock that every run holds. The error says why it cannot be had.
    async fn lock(&mut self) -> Result<Lock, String> {
        let watchdog = Rc::clone(&self.watchdog);
        let progress = |what: &str| watchdog.progress(what);
        let root = self.session.settings.root.clone();
        let mut stopped = self.stopped.clone();
        let locking = async {
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => None,
                lock = lock_runs(&root, LOCK_PATIENCE, &progress) => Some(lock),
            }
        };
        match self.serve_during(locking).await {
            Some(Ok(Some(lock))) => Ok(lock),
            Some(Ok(None)) => {
                self.next_check = Instant::now() + RETRY_SOON;
                Err("another run goes on (agentd --once, agentctl apply?); try again when it has ended".into())
            }
            Some(Err(error)) => Err(chain(&error)),
            None => Err("agentd is stopping and made no run".into()),
        }
    }

    /// Takes over what another process of the agent has accepted: a document, leases. Only with the lock.
    fn catch_up(&mut self) {
        match self.session.catch_up() {
            Ok(false) => {}
            Ok(true) => {
                if let Some(accepted) = self.session.intake.accepted() {
                    let id = &accepted.document.id;
                    tracing::info!(
                        event = "document-accepted",
                        fleet = %id.fleet,
                        version = id.version,
                        signers = text::key_names(&accepted.document.signers),
                        "another process of the agent has accepted a new document: {} version {}",
                        id.fleet,
                        id.version
                    );
                }
            }
            // Not fatal: this process goes by what it knows, and the next run looks again.
            Err(error) => tracing::warn!(
                event = "state-not-read",
                error = chain(&error),
                "what another process of the agent has accepted is not known: {}",
                chain(&error)
            ),
        }
    }

    /// While a run goes on: follows leases, takes operators' orders, publishes the status and feeds the watchdog. None of
    /// these waits for a package or a service.
    async fn serve_during<T>(&mut self, running: impl Future<Output = T>) -> T {
        tokio::pin!(running);
        let mut watchdog_due = Watchdog::next();
        loop {
            let due = self.lease_watch.due();
            let readiness_due = self.readiness.due();
            tokio::select! {
                biased;
                done = &mut running => return done,
                () = sleep_until(watchdog_due) => {
                    watchdog_due = Watchdog::next();
                    self.watchdog.alive_unless_stuck();
                    self.publish_while_running();
                }
                event = lease_watch::next_event(&mut self.lease_watch) => {
                    self.master_changed |= self.follow_leases(event).await;
                }
                round = readiness::answers(&mut self.readiness) => {
                    if self.take_readiness(round) {
                        self.publish_while_running();
                    }
                }
                () = eviction_watch::news(&mut self.eviction_watch) => {
                    self.evictions_changed |= self.take_evictions();
                    self.publish_while_running();
                }
                () = sleep_until(readiness_due) => self.ask_readiness(),
                () = sleep_until(due) => self.lease_watch.do_due(&self.session).await,
                Some(answer) = self.acknowledgements.recv() => self.acknowledge(answer),
                Some(order) = self.orders.recv() => operator::dispatch(&self.session, &self.drivers, order),
            }
        }
    }

    /// Takes in which servers are left out. Returns whether a run has something to do with that: a node list of this box.
    pub(super) fn take_evictions(&mut self) -> bool {
        let Some(watch) = &self.eviction_watch else {
            return false;
        };
        let told = watch.told();
        self.state.evictions = told.rows;
        self.state.evictions_error = told.error;
        if *self.session.evictions() == told.evictions {
            return false;
        }
        let dead_caches = |evictions: &Evictions| -> BTreeSet<(Name, Name)> {
            let all = evictions.iter().flat_map(|(product, left)| {
                let dead = left.of(EvictPart::Cache).keys();
                dead.map(|server| (product.clone(), server.clone()))
            });
            all.collect()
        };
        let before = dead_caches(self.session.evictions());
        let is_listed = before != dead_caches(&told.evictions);
        if let Err(error) = self.session.leave_out(told.evictions) {
            // Not fatal: it is heard again after a restart.
            tracing::warn!(
                event = "state-not-written",
                error = chain(&error),
                "who is left out would not be known after a restart: {}",
                chain(&error)
            );
        }
        is_listed
    }

    /// Takes answers to smoke tests in. Returns whether they say anything new.
    pub(super) fn take_readiness(&mut self, round: Round) -> bool {
        let is_news = self.readiness.take(round);
        self.state.readiness = self.readiness.of(&self.session.converger.served());
        is_news
    }

    /// Has the smoke tests asked of what is served here.
    pub(super) fn ask_readiness(&mut self) {
        let name = self
            .state
            .node
            .name
            .as_ref()
            .map_or("", |name| name.as_str());
        self.readiness.begin(self.session.converger.served(), name);
    }

    /// Asks once a minute who this box is, while no server of the document is it.
    async fn identify_again(&mut self) {
        // Whatever failed: a host name or a tag can be set long after the agent has started.
        let due =
            Instant::now() >= self.next_identity_check && self.session.intake.accepted().is_some();
        if due && self.session.intent().is_err() {
            self.session.clues = Clues::gather(&self.session.settings).await;
            self.next_identity_check = Instant::now() + CHECK_INTERVAL;
        }
    }

    /// Notes what a run repaired, watches what it owns now, and sets when the next run is due.
    fn plan_ahead(&mut self, record: &RunRecord) {
        let now = Instant::now();
        for step in &record.steps {
            if step.cause == Cause::Drift && step.outcome == Outcome::Changed {
                for change in &step.changes {
                    if self.flapping.repaired(&change.path, now, record.started) {
                        tracing::warn!(
                            event = "fight",
                            path = %change.path.display(),
                            "somebody rewrites {} again and again; it is repaired more slowly now",
                            change.path.display()
                        );
                    }
                }
            }
        }
        if record.changed() || !self.drift.is_current() {
            match self.session.converger.owned() {
                Ok(mut owned) => {
                    owned.extend(self.session.files_read());
                    self.drift.follow(&owned);
                    let keep: BTreeSet<PathBuf> = owned.into_iter().collect();
                    let files = self.session.converger.files();
                    files.forget_sightings_but(|path| keep.contains(path));
                    if self.booting {
                        // What was edited after the run had looked and before this watched.
                        self.next_check = now + RETRY_SOON;
                    }
                }
                Err(error) => tracing::warn!(
                    event = "drift-unwatched",
                    error = chain(&error),
                    "edits are noticed late: {}",
                    chain(&error)
                ),
            }
        }
        self.state.flapping = self.flapping.warnings(now);
        let again = record
            .steps
            .iter()
            .any(|step| matches!(step.outcome, Outcome::Failed | Outcome::Broken));
        if again {
            self.next_check = now
                + backoff(
                    self.session.settings.poll.max(RETRY_SOON),
                    self.state.failing(),
                )
                .min(CHECK_INTERVAL * 5);
        }
    }

    /// A person knows of the fights over files: they are forgotten. One that goes on is told again.
    pub(super) fn acknowledge(&mut self, answer: oneshot::Sender<Reply>) {
        self.flapping = Flapping::default();
        self.state.flapping.clear();
        self.publish_while_running();
        let status = Box::new(self.state.status(&self.session));
        // Nobody waits any more: it is forgotten all the same.
        let _ = answer.send(Reply::Status { status });
    }

    /// Whether what was touched is repaired now; where all of it flaps, later.
    pub(super) fn may_repair(&mut self, touched: &BTreeSet<PathBuf>) -> bool {
        let now = Instant::now();
        let soonest = touched
            .iter()
            .map(|path| self.flapping.repair_at(path, now))
            .min();
        match soonest {
            Some(at) if at > now => {
                self.next_check = self.next_check.min(at);
                false
            }
            _ => true,
        }
    }

    /// After the first run: the machine's boot goes on, and what had to wait for that can be done.
    fn finish_booting(&mut self) {
        self.watchdog.ready();
        if std::mem::take(&mut self.booting) {
            self.session.converger.set_booting(false);
            if self.session.converger.has_pending().unwrap_or(true) {
                self.next_check = self.next_check.min(Instant::now() + RETRY_SOON);
            }
        }
    }
}
