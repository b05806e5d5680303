//! The loop of the daemon: waits for a reason, makes a run, says how it went.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::drift::Drift;
use super::fights::Fights;
use super::picture::Picture;
use super::systemd;
use crate::bucket::{backoff, phase};
use crate::control::messages::{Answer, Applied};
use crate::control::server::{ApplyRequest, Desk, Server};
use crate::converge::Session;
use crate::converge::intake::Polled;
use crate::identity::Clues;
use crate::report::{Cause, Health, Outcome, RunRecord, Status, Trigger};
use crate::settings::{RUN_DIR, Settings};
use crate::system::chain;
use crate::system::file::Files;
use crate::system::lock::Lock;

/// The first poll may take this long while there is a document to go by: a boot does not wait for a bucket.
const FIRST_POLL: Duration = Duration::from_secs(3);
/// However long the first run takes, the machine's boot goes on after this.
const READY_AT_LAST: Duration = Duration::from_secs(20);
/// How long somebody else's run is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// A box is looked at this often even if nothing was noticed: events can be lost.
const LOOK: Duration = Duration::from_mins(1);
/// What could not be finished for a passing reason is tried again this soon.
const SOON: Duration = Duration::from_secs(1);
/// A run that goes on when the daemon is to stop has this long; then it is dropped, and made good at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// The status file is written this often even if nothing changed: its age shows that the daemon lives.
const HEARTBEAT: Duration = Duration::from_mins(1);

/// Stays and keeps the machine, until SIGTERM. Returns the exit code.
pub(super) async fn stay(settings: Settings) -> Result<u8, Box<dyn Error>> {
    let root = settings.root.clone();
    let Some(_only) = Lock::try_take(&root, &Path::new(RUN_DIR).join("daemon.lock"))? else {
        return Err("agentd runs already on this machine: see agentctl status".into());
    };
    // Before anything else: a signal during the start must end or reload the daemon, not kill it.
    let mut signals = Signals::new()?;
    let (status, status_seen) = watch::channel(None);
    let (doing, doing_seen) = watch::channel(String::from("starting"));
    let (wishes, applies) = mpsc::channel(8);
    let desk = Desk {
        status: status_seen,
        doing: doing_seen,
        applies: wishes,
    };
    let server = Server::listen(&root)?;
    let serving = tokio::spawn(server.serve(desk));
    tracing::info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        "agentd is up"
    );

    systemd::status("finding out which server this is");
    let session = Session::open(settings).await?;
    session.converger.set_booting(true);
    let mut agent = Agent {
        files: Files::new(root.clone()),
        picture: Picture::new(&session),
        drift: Drift::new(&root),
        fights: Fights::default(),
        ready: Cell::new(false),
        started: Instant::now(),
        next_poll: Instant::now(),
        next_look: Instant::now() + LOOK,
        next_write: Instant::now() + HEARTBEAT,
        next_clues: Instant::now() + LOOK,
        applies,
        status,
        doing,
        session,
    };
    let (stop, stopped) = watch::channel(false);
    let turning = agent.turn(signals.hup, stopped);
    tokio::pin!(turning);
    tokio::select! {
        () = &mut turning => {}
        () = either(&mut signals.term, &mut signals.int) => {
            systemd::stopping();
            stop.send_replace(true);
            tokio::select! {
                () = &mut turning => {}
                () = either(&mut signals.term, &mut signals.int) => {}
                () = sleep(STOP_PATIENCE) => {
                    tracing::warn!(event = "run-cut-off", "the run did not end in time; the next start makes it good");
                }
            }
        }
    }
    serving.abort();
    let _ = serving.await;
    tracing::info!(event = "stopped", "agentd ends");
    Ok(0)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// The signals that the daemon minds.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }
}

/// Why a run is made.
#[derive(Debug, Clone, Copy)]
struct Reason {
    trigger: Trigger,
    /// Whether the bucket is asked first.
    poll: bool,
    /// Whether a quarantined version is tried again.
    retry: bool,
}

struct Agent {
    session: Session,
    files: Files,
    picture: Picture,
    drift: Drift,
    fights: Fights,
    /// Whether systemd was told that the daemon is up.
    ready: Cell<bool>,
    started: Instant,
    next_poll: Instant,
    next_look: Instant,
    next_write: Instant,
    next_clues: Instant,
    applies: mpsc::Receiver<ApplyRequest>,
    status: watch::Sender<Option<Arc<Status>>>,
    doing: watch::Sender<String>,
}

impl Agent {
    /// Turns until it is told to stop.
    async fn turn(&mut self, mut hup: Signal, mut stop: watch::Receiver<bool>) {
        let mut reason = Reason {
            trigger: Trigger::Start,
            poll: true,
            retry: false,
        };
        let mut waiting: Vec<ApplyRequest> = Vec::new();
        loop {
            let answer = self.cycle(reason).await;
            for asker in waiting.drain(..) {
                // Nobody waits any more: the run was made all the same.
                let _ = asker.answer.send(answer.clone());
            }
            self.become_ready();
            self.publish();
            reason = loop {
                systemd::alive();
                let pulse = Instant::now() + systemd::pulse();
                tokio::select! {
                    biased;
                    _ = stop.changed() => return,
                    Some(first) = self.applies.recv() => {
                        waiting.push(first);
                        // Who asked meanwhile is served by the same run.
                        while let Ok(more) = self.applies.try_recv() {
                            waiting.push(more);
                        }
                        let retry = waiting.iter().any(|asker| asker.retry_quarantined);
                        break Reason { trigger: Trigger::Person, poll: true, retry };
                    }
                    _ = hup.recv() => break Reason { trigger: Trigger::Signal, poll: true, retry: false },
                    touched = self.drift.touched() => {
                        if self.may_repair(&touched) {
                            break Reason { trigger: Trigger::Drift, poll: false, retry: false };
                        }
                    }
                    () = sleep_until(self.next_poll) => {
                        break Reason { trigger: Trigger::Poll, poll: true, retry: false };
                    }
                    () = sleep_until(self.next_look) => {
                        break Reason { trigger: Trigger::Poll, poll: false, retry: false };
                    }
                    () = sleep_until(pulse) => self.publish(),
                }
            };
        }
    }

    /// One turn: asks the bucket if that is due, makes a run if there is a reason. Fails at nothing: what went
    /// wrong is logged, shown in the status and returned for whoever asked.
    async fn cycle(&mut self, reason: Reason) -> Answer {
        let failed = |error: String| Answer::Failed { message: error };
        let polled = if reason.poll { self.poll().await } else { None };
        let fresh = matches!(polled, Some(Polled::New));
        let known = self.picture.node.name.is_some();
        if reason.trigger == Trigger::Poll && reason.poll && !fresh && known {
            tracing::debug!(event = "polled", "nothing new");
            return failed(String::new());
        }
        if reason.retry
            && let Err(error) = self.session.converger.release_quarantine()
        {
            return failed(chain(&error));
        }
        self.next_look = Instant::now() + LOOK;
        self.gather_again().await;
        let (intent, found_by) = match self.session.intent() {
            Ok(ready) => ready,
            Err(error) => {
                if self.picture.node.found_by != error.0 {
                    tracing::warn!(event = "waiting", "{error}");
                }
                self.picture.waiting(&error.0);
                return failed(error.0);
            }
        };
        if !known {
            tracing::info!(event = "identified", node = %intent.node, found_by, "this box is {}", intent.node);
        }
        let record = {
            let progress = |what: &str| self.progress(what);
            let lock = match self.session.lock(LOCK_PATIENCE, &progress).await {
                Ok(lock) => lock,
                Err(error) => return failed(chain(&error)),
            };
            if lock.is_none() {
                self.next_look = Instant::now() + SOON;
                return failed("another run goes on; try again when it has ended".into());
            }
            self.session
                .converger
                .run(&intent, reason.trigger, &progress)
                .await
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let error = chain(&error);
                tracing::error!(event = "run-failed", error, "no run could be made");
                self.next_look = Instant::now() + backoff(self.session.settings.poll, 1);
                return failed(error);
            }
        };
        self.picture.ran(&intent, &found_by, &record);
        self.after(&record);
        Answer::Applied(Box::new(Applied {
            run: record,
            refused: self.picture.refused.clone(),
            unreachable: match &polled {
                Some(Polled::Unreachable(error)) => Some(chain(error)),
                _ => None,
            },
        }))
    }

    /// Asks the bucket. `None`: it took too long for a start, or the answer could not be kept.
    async fn poll(&mut self) -> Option<Polled> {
        let first = !self.ready.get();
        let poll = self.session.settings.poll;
        let patience = if first && self.session.intake.accepted().is_some() {
            FIRST_POLL
        } else {
            Duration::MAX
        };
        self.progress("asking the bucket");
        let clock = Instant::now();
        let answer = timeout(patience.min(LOOK), self.session.poll()).await;
        let failures = self.picture.bucket_failures();
        let refused_before = self.picture.refused.as_ref().map(|refused| refused.since);
        let polled = match answer {
            Ok(Ok(polled)) => polled,
            Ok(Err(error)) => {
                tracing::error!(
                    event = "document-not-kept",
                    error = chain(&error),
                    "a new document could not be written to disk"
                );
                self.next_poll = Instant::now() + backoff(poll, 1);
                return None;
            }
            Err(_) => {
                self.next_poll = Instant::now() + SOON;
                return None;
            }
        };
        self.picture
            .polled(&self.session, &polled, Some(clock.elapsed()));
        match &polled {
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
                tracing::warn!(
                    event = "bucket-unreachable",
                    error = chain(error),
                    "the last good document is kept"
                );
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
        let wait = match self.picture.bucket_failures() {
            // The fleet's boxes booted together; from now on each asks in its own phase.
            0 if first => phase(&self.who(), poll),
            failures => backoff(poll, failures),
        };
        self.next_poll = clock + wait.max(Duration::from_millis(10));
        Some(polled)
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

    /// Asks who this box is once more, where the metadata service should have answered and did not.
    async fn gather_again(&mut self) {
        let due = Instant::now() >= self.next_clues && self.session.clues.metadata_failed;
        if due && self.session.intent().is_err() {
            self.session.clues = Clues::gather(&self.session.settings).await;
            self.next_clues = Instant::now() + LOOK;
        }
    }

    /// What a run means for what comes next.
    fn after(&mut self, record: &RunRecord) {
        let now = Instant::now();
        let first = self.started + READY_AT_LAST > now && !self.ready.get();
        for step in &record.steps {
            if step.cause == Cause::Drift && step.outcome == Outcome::Changed {
                for change in &step.changes {
                    self.fights.repaired(&change.path, now);
                }
            }
        }
        if record.changed() || first {
            match self.session.converger.owned() {
                Ok(owned) => self.drift.follow(&owned),
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

    /// Tells systemd and whoever waits what is being done: a sign of life.
    fn progress(&self, what: &str) {
        systemd::alive();
        if *self.doing.borrow() != what {
            self.doing.send_replace(what.to_owned());
            systemd::status(what);
        }
        if self.started.elapsed() > READY_AT_LAST && !self.ready.replace(true) {
            systemd::ready();
        }
    }

    /// After the first turn: the machine's boot goes on, and what had to wait for that can be done.
    fn become_ready(&mut self) {
        if !self.ready.replace(true) {
            systemd::ready();
        }
        self.session.converger.set_booting(false);
        if self.session.converger.has_pending().unwrap_or(false) {
            self.next_look = self.next_look.min(Instant::now() + SOON);
        }
    }

    /// Shows how the box is, to whoever asks and in the status file.
    fn publish(&mut self) {
        let due = Instant::now() >= self.next_write;
        match self.picture.publish(&self.files, &self.session, due) {
            Ok(status) => {
                if due {
                    self.next_write = Instant::now() + HEARTBEAT;
                }
                systemd::status(&headline(&status));
                self.doing.send_replace("waiting".into());
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
