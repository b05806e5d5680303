//! The loop of the daemon: waits for a reason, makes a run, says how it went.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::drift::Drift;
use super::fights::Fights;
use super::keepers::Keepers;
use super::leases::{self, Leases};
use super::orders;
use super::picture::Picture;
use super::poll::{Asking, Heard, heard};
use super::services::{AGAIN, Services};
use super::signals::{StopSignals, hup};
use super::systemd;
use crate::bucket::{backoff, phase};
use crate::control::messages::{Answer, Applied};
use crate::control::server::{ApplyRequest, Desk, OrderRequest, Server};
use crate::converge::Session;
use crate::converge::intake::Polled;
use crate::identity::Clues;
use crate::report::{Cause, DatabaseStatus, Health, Outcome, RunRecord, Status, Trigger};
use crate::settings::{RUN_DIR, Settings};
use crate::system::chain;
use crate::system::file::Files;
use crate::system::lock::Lock;

/// The first run waits so long for the bucket, then it goes by the kept document: a boot does not wait for a bucket.
const FIRST_POLL: Duration = Duration::from_secs(3);
/// However long the first run takes, the machine's boot goes on after this.
const READY_AT_LAST: Duration = Duration::from_secs(20);
/// How long somebody else's run is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// A box is looked at this often even if nothing was noticed: events can be lost.
const LOOK: Duration = Duration::from_mins(1);
/// What could not be finished for a passing reason is tried again this soon.
const SOON: Duration = Duration::from_secs(1);
/// Who waits for a run hears of it this often.
const SIGN: Duration = Duration::from_secs(5);
/// No step takes longer, with all its commands at their deadlines: a run that does is stuck.
const LONGEST_STEP: Duration = Duration::from_mins(6);
/// A run that goes on when the daemon is to stop has this long; then it is dropped, and made good at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long those who wait at the socket may take to hear that the daemon stops.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// The status file is written this often even if nothing changed: its age shows that the daemon lives.
const HEARTBEAT: Duration = Duration::from_mins(1);
/// Two polls are never closer than this, however slow the bucket is.
const BREATH: Duration = Duration::from_millis(10);

/// Stays and keeps the machine, until SIGTERM. Returns the exit code.
pub(super) async fn stay(settings: Settings) -> Result<u8, Box<dyn Error>> {
    let root = settings.root.clone();
    let Some(_only) = Lock::try_take(&root, &Path::new(RUN_DIR).join("daemon.lock"))? else {
        let ask = if root.is_machine() {
            "agentctl status".into()
        } else {
            format!("agentctl --root {} status", root.dir().display())
        };
        return Err(format!("agentd runs already on this machine: see {ask}").into());
    };
    // Before anything else: a signal during the start must end or reload the daemon, not kill it.
    let (mut stop_signals, hup) = (StopSignals::new()?, hup()?);
    let (status, status_seen) = watch::channel(None);
    let (doing, doing_seen) = watch::channel(String::from("starting"));
    let (wishes, applies) = mpsc::channel(8);
    let (ordering, orders) = mpsc::channel(4);
    let desk = Desk {
        status: status_seen,
        doing: doing_seen,
        applies: wishes,
        orders: ordering,
    };
    let serving = tokio::spawn(Server::listen(&root)?.serve(desk));
    tracing::info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        "agentd is up"
    );

    systemd::status("finding out which server this is");
    let session = tokio::select! {
        session = Session::open(settings) => session?,
        () = stop_signals.next() => {
            systemd::stopping();
            return Ok(0);
        }
    };
    session.converger.set_booting(true);
    let (stop, stopped) = watch::channel(false);
    let now = Instant::now();
    let mut agent = Agent {
        files: Files::new(root.clone()),
        picture: Picture::new(&session),
        drift: Drift::new(&root),
        fights: Fights::default(),
        services: Services::default(),
        ready: Cell::new(false),
        step_began: Cell::new(now),
        booting: true,
        heard_once: false,
        started: now,
        asking: None,
        leases: Leases::new(),
        keepers: Keepers::default(),
        next_poll: now,
        next_look: now + FIRST_POLL,
        next_write: now + HEARTBEAT,
        next_clues: now + LOOK,
        applies,
        orders,
        status,
        doing,
        stopped: stopped.clone(),
        session,
    };
    {
        let turning = agent.turn(hup, stopped);
        tokio::pin!(turning);
        tokio::select! {
            () = &mut turning => {}
            () = stop_signals.next() => {
                systemd::stopping();
                stop.send_replace(true);
                tokio::select! {
                    () = &mut turning => {}
                    () = stop_signals.next() => {}
                    () = sleep(STOP_PATIENCE) => {
                        tracing::warn!(event = "run-cut-off", "the run did not end in time; the next start makes it good");
                    }
                }
            }
        }
    }
    agent.keepers.stop().await;
    // Closes the desk: the server ends by itself, once who waits has been told.
    drop(agent);
    let _ = timeout(LAST_WORDS, serving).await;
    tracing::info!(event = "stopped", "agentd ends");
    Ok(0)
}

struct Agent {
    session: Session,
    files: Files,
    picture: Picture,
    drift: Drift,
    fights: Fights,
    services: Services,
    /// Whether systemd was told that the daemon is up.
    ready: Cell<bool>,
    /// When the run last said what it is doing.
    step_began: Cell<Instant>,
    /// Until the first run has ended.
    booting: bool,
    /// Whether the bucket has answered, or failed to, since the start.
    heard_once: bool,
    started: Instant,
    asking: Option<Asking>,
    leases: Leases,
    keepers: Keepers,
    next_poll: Instant,
    next_look: Instant,
    next_write: Instant,
    next_clues: Instant,
    applies: mpsc::Receiver<ApplyRequest>,
    orders: mpsc::Receiver<OrderRequest>,
    status: watch::Sender<Option<Arc<Status>>>,
    doing: watch::Sender<String>,
    stopped: watch::Receiver<bool>,
}

impl Agent {
    /// Turns until it is told to stop.
    async fn turn(&mut self, mut hup: Signal, mut stop: watch::Receiver<bool>) {
        // Only for those who ask: what a monitor reads in the file is not older than the last run.
        self.status
            .send_replace(Some(Arc::new(self.picture.status(&self.session))));
        self.ask(Trigger::Start);
        let mut waiting = Vec::new();
        // Who asks while the bucket is being asked for others is served by the next answer: only that is surely
        // as new as the question.
        let mut later: Vec<ApplyRequest> = Vec::new();
        let mut again: Option<Trigger> = None;
        loop {
            systemd::alive();
            self.keepers.settle(&self.session);
            let pulse = Instant::now() + systemd::pulse();
            let leases_due = self.leases.due();
            tokio::select! {
                biased;
                _ = stop.changed() => return,
                Some(first) = self.applies.recv() => {
                    let queue = if self.ask(Trigger::Person) { &mut waiting } else {
                        again = Some(Trigger::Person);
                        &mut later
                    };
                    queue.push(first);
                    // Who asked meanwhile is served by the same run.
                    while let Ok(more) = self.applies.try_recv() {
                        queue.push(more);
                    }
                }
                Some(order) = self.orders.recv() => orders::take(&self.session, &self.keepers, order),
                _ = hup.recv() => {
                    if !self.ask(Trigger::Signal) {
                        again = again.or(Some(Trigger::Signal));
                    }
                }
                heard = heard(&mut self.asking) => {
                    self.hear_and_run(heard, &mut waiting).await;
                    if let Some(trigger) = again.take() {
                        waiting.append(&mut later);
                        self.ask(trigger);
                    }
                }
                touched = self.drift.touched() => {
                    if self.may_repair(&touched) {
                        self.run(Trigger::Drift, false, None).await;
                    }
                }
                answers = leases::heard(&mut self.leases) => {
                    let who = self.who();
                    if self.leases.hear(&mut self.session, answers, &who) {
                        self.run(Trigger::Lease, false, None).await;
                    } else {
                        self.publish();
                    }
                }
                () = sleep_until(leases_due) => self.leases.turn(&self.session).await,
                () = sleep_until(self.next_poll), if self.asking.is_none() => {
                    self.ask(Trigger::Poll);
                }
                () = sleep_until(self.next_look) => {
                    let trigger = if self.booting { Trigger::Start } else { Trigger::Poll };
                    self.run(trigger, false, None).await;
                }
                () = sleep_until(pulse) => self.publish(),
            }
        }
    }

    /// Begins to ask the bucket. Whether it does: a routine poll under way is begun again, for its answer
    /// may be older than the wish; another wish's is not.
    fn ask(&mut self, trigger: Trigger) -> bool {
        let busy = self
            .asking
            .as_ref()
            .is_some_and(|asking| asking.trigger != Trigger::Poll);
        if !busy {
            self.asking = Some(Asking::start(
                &mut self.session.intake,
                &self.session.bucket,
                trigger,
            ));
            if trigger != Trigger::Poll {
                self.progress("asking the bucket");
            }
        }
        !busy
    }

    /// Takes the bucket's answer in, makes a run if that or somebody's wish is a reason, and tells who waits.
    async fn hear_and_run(&mut self, heard: Heard, waiting: &mut Vec<ApplyRequest>) {
        let asked_for = match heard.trigger {
            // The kept document was applied already, for the bucket took its time.
            Trigger::Start => self.booting,
            Trigger::Poll => false,
            _ => true,
        };
        let trigger = match heard.trigger {
            Trigger::Start if !self.booting => Trigger::Poll,
            trigger => trigger,
        };
        let (fresh, trouble) = self.hear(heard);
        if fresh || asked_for || !self.picture.knows_itself() {
            let retry = waiting.iter().any(|asker| asker.retry_quarantined);
            let answer = self.run(trigger, retry, trouble).await;
            for asker in waiting.drain(..) {
                // Nobody waits any more: the run was made all the same.
                let _ = asker.answer.send(answer.clone());
            }
        } else {
            tracing::debug!(event = "polled", "nothing new");
            self.publish();
        }
    }

    /// Takes the bucket's answer in. Returns whether there is a new document, and why the newest could not be had.
    fn hear(&mut self, heard: Heard) -> (bool, Option<String>) {
        let poll = self.session.settings.poll;
        let now = Instant::now();
        let first = !std::mem::replace(&mut self.heard_once, true);
        let polled = match self.session.intake.hear(heard.question, heard.answer) {
            Ok(polled) => polled,
            Err(error) => {
                let error = format!(
                    "a new document could not be written to disk: {}",
                    chain(&error)
                );
                tracing::error!(event = "document-not-kept", "{error}");
                self.picture.not_kept(&error);
                self.next_poll = now + backoff(poll, 1);
                return (false, Some(error));
            }
        };
        self.tell(&polled, now.duration_since(heard.asked));
        self.next_poll = match self.picture.bucket_failures() {
            // The fleet's boxes booted together; from now on each asks in its own phase.
            0 if first => heard.asked + phase(&self.who(), poll),
            0 => heard.asked + poll,
            failures => now + backoff(poll, failures),
        }
        .max(now + BREATH);
        match polled {
            Polled::New => (true, None),
            Polled::Unreachable(error) => (false, Some(chain(&error))),
            Polled::Unchanged | Polled::Refused(_) => (false, None),
        }
    }

    /// Notes and logs what the bucket's answer means, where that is news.
    fn tell(&mut self, polled: &Polled, took: Duration) {
        let failures = self.picture.bucket_failures();
        let refused_before = self.picture.refused.as_ref().map(|refused| refused.since);
        self.picture.polled(&self.session, polled, Some(took));
        match polled {
            Polled::New => {
                if let Some(accepted) = self.session.intake.accepted() {
                    let id = &accepted.document.id;
                    tracing::info!(event = "document-accepted", fleet = %id.fleet, version = id.version, "a new document");
                }
            }
            Polled::Refused(refusal) if refused_before != Some(refusal.since) => {
                for error in &refusal.errors {
                    tracing::error!(
                        event = "document-refused",
                        version = refusal.version,
                        "{error}"
                    );
                }
            }
            Polled::Unreachable(error) if failures == 0 => {
                let so = if self.session.intake.accepted().is_some() {
                    "the last good document is kept"
                } else {
                    "there is no document yet"
                };
                tracing::warn!(event = "bucket-unreachable", error = chain(error), "{so}");
            }
            _ => {}
        }
        if failures > 0 && self.picture.bucket_failures() == 0 {
            tracing::info!(
                event = "bucket-answers",
                failures,
                "the bucket answers again"
            );
        }
    }

    /// Makes a run and shows how the box is after it. Fails at nothing: what went wrong is logged, shown in the
    /// status and returned for whoever asked. `trouble`: why the newest document could not be had.
    async fn run(&mut self, trigger: Trigger, retry: bool, trouble: Option<String>) -> Answer {
        self.next_look = Instant::now() + LOOK;
        let answer = self.try_run(trigger, retry, trouble).await;
        let answer = answer.unwrap_or_else(|message| Answer::Failed { message });
        if !self.booting {
            self.look_at_services(trigger).await;
        }
        self.become_ready();
        self.publish();
        answer
    }

    async fn look_at_services(&mut self, trigger: Trigger) {
        let settings = &self.session.settings;
        if let Some(still) = self.services.look(settings, &self.files, trigger).await {
            if !still.is_empty() {
                self.next_look = self.next_look.min(Instant::now() + AGAIN);
            }
            self.picture.services = still;
        }
    }

    async fn try_run(
        &mut self,
        trigger: Trigger,
        retry: bool,
        trouble: Option<String>,
    ) -> Result<Answer, String> {
        if retry {
            let released = self.session.converger.release_quarantine();
            released.map_err(|error| chain(&error))?;
        }
        self.gather_again().await;
        if trouble.is_none() {
            self.leases.before_run(&mut self.session).await;
        }
        let (intent, found_by) = self.session.intent().map_err(|error| {
            if self.picture.waits_for() != Some(&error.0) {
                tracing::warn!(event = "waiting", "{error}");
            }
            self.picture.waiting(&error.0);
            match &trouble {
                Some(trouble) => format!("{error}; {trouble}"),
                None => error.0,
            }
        })?;
        if !self.picture.knows_itself() {
            tracing::info!(event = "identified", node = %intent.node, found_by, "this box is {}", intent.node);
        }
        let record = {
            let progress = |what: &str| self.progress(what);
            let mut stopped = self.stopped.clone();
            let lock = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return Err("agentd is stopping and made no run".into()),
                lock = self.session.lock(LOCK_PATIENCE, &progress) => lock.map_err(|error| chain(&error))?,
            };
            if lock.is_none() {
                self.next_look = Instant::now() + SOON;
                return Err(
                    "another run goes on (agentd --once, agentctl apply?); try again when it has ended"
                        .into(),
                );
            }
            let converger = &self.session.converger;
            let running = converger.run(&intent, trigger, &progress);
            self.with_signs_of_life(running).await
        };
        let record = record.map_err(|error| {
            let error = chain(&error);
            tracing::error!(event = "run-failed", error, "no run could be made");
            self.picture.failed_to_run(&error);
            self.next_look = Instant::now() + backoff(self.session.settings.poll.max(SOON), 1);
            error
        })?;
        self.picture.ran(&intent, &found_by, &record);
        self.after(&record);
        self.leases.after_run(&self.session).await;
        Ok(Answer::Applied(Box::new(Applied {
            run: record,
            refused: self.picture.refused.clone(),
            unreachable: trouble,
        })))
    }

    /// Who this box is, or may be, for spreading its polls.
    fn who(&self) -> String {
        let clues = &self.session.clues;
        let named = clues.setting.as_ref().map(ToString::to_string);
        named
            .or_else(|| clues.instance_id.clone())
            .or_else(|| clues.hostnames.first().cloned())
            .unwrap_or_default()
    }

    /// Asks once a minute who this box is, while no server of the document is it.
    async fn gather_again(&mut self) {
        // Whatever failed: a host name or a tag can be set long after the agent has started.
        let due = Instant::now() >= self.next_clues && self.session.intake.accepted().is_some();
        if due && self.session.intent().is_err() {
            self.session.clues = Clues::gather(&self.session.settings).await;
            self.next_clues = Instant::now() + LOOK;
        }
    }

    /// What a run means for what comes next.
    fn after(&mut self, record: &RunRecord) {
        let now = Instant::now();
        for step in &record.steps {
            if step.cause == Cause::Drift && step.outcome == Outcome::Changed {
                for change in &step.changes {
                    if self.fights.repaired(&change.path, now) {
                        tracing::warn!(
                            event = "fight",
                            path = %change.path.display(),
                            "somebody rewrites it again and again; it is repaired more slowly now"
                        );
                    }
                }
            }
        }
        if record.changed() || !self.drift.is_current() {
            match self.session.converger.owned() {
                Ok(owned) => {
                    self.drift.follow(&owned);
                    if self.booting {
                        // What was edited after the run had looked and before this watched.
                        self.next_look = now + SOON;
                    }
                }
                Err(error) => tracing::warn!(
                    event = "drift-unwatched",
                    error = chain(&error),
                    "edits are noticed late"
                ),
            }
        }
        self.picture.drift = self.fights.told(now);
        self.picture
            .drift
            .extend(self.drift.trouble().map(str::to_owned));
        let again = record
            .steps
            .iter()
            .any(|step| matches!(step.outcome, Outcome::Failed | Outcome::Broken));
        if again {
            self.next_look = now
                + backoff(self.session.settings.poll.max(SOON), self.picture.failing())
                    .min(LOOK * 5);
        }
    }

    /// Whether what was touched is repaired now. Where somebody fights the agent for all of it, later.
    fn may_repair(&mut self, touched: &BTreeSet<PathBuf>) -> bool {
        let now = Instant::now();
        let soonest = touched
            .iter()
            .map(|path| self.fights.repair_at(path, now))
            .min();
        match soonest {
            Some(at) if at > now => {
                self.next_look = self.next_look.min(at);
                false
            }
            _ => true,
        }
    }

    /// What is known of the databases of this box's products.
    fn databases(&self) -> Vec<DatabaseStatus> {
        let mut databases = self.session.databases();
        let notes = databases.iter_mut().map(|database| &mut database.notes);
        for notes in notes {
            notes.extend(self.leases.uncut.clone());
        }
        self.keepers.tell(&mut databases);
        databases
    }

    /// Tells systemd and whoever waits what is being done: a sign of life.
    fn progress(&self, what: &str) {
        self.step_began.set(Instant::now());
        if *self.doing.borrow() != what {
            self.doing.send_replace(what.to_owned());
            systemd::status(what);
        }
        self.sign_of_life();
    }

    /// A run that waits for a command, which may rightly take its time, is not stuck: that is seen only when one
    /// step takes longer than all its commands may.
    async fn with_signs_of_life<T>(&self, run: impl Future<Output = T>) -> T {
        tokio::pin!(run);
        loop {
            match timeout(systemd::pulse().min(SIGN), &mut run).await {
                Ok(done) => return done,
                Err(_) if self.step_began.get().elapsed() < LONGEST_STEP => self.sign_of_life(),
                Err(_) => {}
            }
        }
    }

    fn sign_of_life(&self) {
        systemd::alive();
        // Who waits at the socket hears it too.
        self.doing.send_modify(|_| ());
        if self.started.elapsed() > READY_AT_LAST && !self.ready.replace(true) {
            systemd::ready();
        }
    }

    /// After the first run: the machine's boot goes on, and what had to wait for that can be done.
    fn become_ready(&mut self) {
        if !self.ready.replace(true) {
            systemd::ready();
        }
        if std::mem::take(&mut self.booting) {
            self.session.converger.set_booting(false);
            if self.session.converger.has_pending().unwrap_or(true) {
                self.next_look = self.next_look.min(Instant::now() + SOON);
            }
        }
    }

    /// Shows how the box is, to whoever asks and in the status file.
    fn publish(&mut self) {
        self.picture.databases = self.databases();
        let due = Instant::now() >= self.next_write;
        match self.picture.publish(&self.files, &self.session, due) {
            Ok(status) => {
                if due {
                    self.next_write = Instant::now() + HEARTBEAT;
                }
                systemd::status(&headline(&status));
                let urgent = self
                    .asking
                    .as_ref()
                    .is_some_and(|asking| asking.trigger != Trigger::Poll);
                let doing = if urgent {
                    "asking the bucket"
                } else {
                    "waiting"
                };
                self.doing.send_replace(doing.into());
                self.status.send_replace(Some(status));
            }
            Err(error) => {
                // A full disk must not keep the socket from telling.
                tracing::warn!(
                    event = "status-not-written",
                    error = chain(&error),
                    "the status file is old"
                );
                self.status
                    .send_replace(Some(Arc::new(self.picture.status(&self.session))));
            }
        }
    }
}

/// One line for `systemctl status`.
fn headline(status: &Status) -> String {
    let name = status
        .node
        .name
        .as_ref()
        .map_or("this box", |name| name.as_str());
    let on = status
        .document
        .as_ref()
        .map_or_else(String::new, |document| {
            format!(" on {} version {}", document.id.fleet, document.id.version)
        });
    match status.health {
        Health::Converged => format!("{name}: converged{on}"),
        Health::Degraded | Health::Waiting => {
            let reason = status
                .reasons
                .first()
                .map(String::as_str)
                .unwrap_or_default();
            format!("{name}: not converged{on}: {reason}")
        }
    }
}
