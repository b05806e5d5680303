//! What the daemon knows of its box, and the status that is made of it.

mod standing;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::order_watch::Orders;
use crate::converge::intake::{Accepted, Polled};
use crate::converge::ledger::Ledger;
use crate::converge::{Intent, Session, journal};
use crate::fleet::{Pointer, ServerState};
use crate::report::{
    AgentStatus, BucketStatus, Cause, CertificateStatus, Counters, DatabaseStatus, DnsStatus,
    DocumentStatus, EvictionStatus, Health, JobStatus, Kind, LatestRun, NodeStatus, ON_HOLD,
    Outcome, Problem, ProductReadiness, Ready, Refusal, ReportStatus, RunRecord, ServiceDown,
    Severity, Status, StepCounts, StepName,
};
use crate::report::{StepRecord, text};
use crate::settings::RUN_DIR;
use crate::system::file::{FileError, Files, Found};
use crate::system::{chain, clock, memory};
use standing::Standing;

/// The status file.
const FILE: &str = "status.json";
/// So many requests in a row must fail before the box calls itself degraded: one lost packet wakes nobody.
const TOLERATED_FAILURES: u32 = 2;

/// So many runs of the journal are searched for the last that changed something.
const JOURNAL_SEARCH: usize = 20;

/// What is known: of the node, the bucket, the document, the last runs.
#[derive(Debug)]
pub(super) struct BoxState {
    started: Timestamp,
    pub(super) node: NodeStatus,
    bucket: BucketStatus,
    pub(super) refused: Option<Refusal>,
    waiting: Option<String>,
    /// Why the agent itself could not do its work: its own state, its own disk.
    broken: Option<String>,
    not_kept: Option<String>,
    last_run: Option<RunRecord>,
    latest_run: Option<LatestRun>,
    /// On which version it stands, and how the rollout of the newest one goes.
    pub(super) standing: Standing,
    changed: Option<Timestamp>,
    problems: Vec<Problem>,
    /// Steps that are written and have not taken effect yet.
    outstanding: Vec<StepName>,
    steps: StepCounts,
    /// Failing steps, since when and how often they were tried.
    failing: BTreeMap<StepName, (Timestamp, u32)>,
    /// Files that flap: their drift is repaired slowly.
    pub(super) flapping: Vec<String>,
    /// Why drift is noticed only after seconds. No reason to call the box degraded: it is repaired all the same.
    pub(super) unwatched: Option<String>,
    /// Services that should run and do not.
    pub(super) services: Vec<ServiceDown>,
    /// What the smoke tests say.
    pub(super) readiness: Vec<ProductReadiness>,
    /// What persons have ordered for a while.
    pub(super) orders: Orders,
    /// This box's own records in DNS.
    pub(super) dns: Vec<DnsStatus>,
    /// Servers of its products that were found dead, and why none would be taken out.
    pub(super) evictions: Vec<EvictionStatus>,
    pub(super) evictions_error: Option<String>,
    /// The recorded cron jobs.
    pub(super) jobs: Vec<JobStatus>,
    /// The certificates of this box's sites.
    pub(super) certificates: Vec<CertificateStatus>,
    pub(super) counters: Counters,
    /// The databases of this box's products, in the order of the products.
    pub(super) databases: Vec<DatabaseStatus>,
    /// How this machine's report in the bucket fares.
    pub(super) report: ReportStatus,
    /// What the status file says, whoever wrote it.
    written: Option<Status>,
}

impl BoxState {
    pub(super) fn new(session: &Session) -> Self {
        let files = Files::new(session.settings.root.clone());
        let written = read(&files);
        let (last_run, changed) = last_run(&files, written.as_ref());
        Self {
            started: clock::now(),
            node: NodeStatus {
                name: None,
                found_by: "looking".into(),
            },
            bucket: BucketStatus {
                url: session.bucket.url(""),
                last_answer: None,
                error: None,
                failures: 0,
                latency_ms: None,
            },
            refused: None,
            waiting: None,
            broken: None,
            not_kept: None,
            last_run,
            latest_run: None,
            standing: Standing::default(),
            changed,
            problems: Vec::new(),
            outstanding: Vec::new(),
            steps: StepCounts::default(),
            failing: BTreeMap::new(),
            flapping: Vec::new(),
            unwatched: None,
            services: Vec::new(),
            readiness: Vec::new(),
            dns: Vec::new(),
            evictions: Vec::new(),
            evictions_error: None,
            orders: Orders::default(),
            jobs: Vec::new(),
            certificates: Vec::new(),
            counters: Counters::default(),
            databases: Vec::new(),
            report: ReportStatus::default(),
            written,
        }
    }

    /// The bucket was asked.
    pub(super) fn polled(&mut self, session: &Session, polled: &Polled, took: Option<Duration>) {
        self.counters.polls += 1;
        self.not_kept = None;
        self.bucket.url = session.bucket.url("");
        if let Polled::Unreachable(error) = polled {
            self.counters.failed_polls += 1;
            self.bucket.error = Some(chain(error));
            self.bucket.failures = self.bucket.failures.saturating_add(1);
            return;
        }
        self.bucket.error = None;
        self.bucket.failures = 0;
        self.bucket.last_answer = Some(clock::now());
        self.bucket.latency_ms =
            took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let refused = match polled {
            Polled::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        };
        let since = |refusal: &Option<Refusal>| refusal.as_ref().map(|refusal| refusal.since);
        // The same refusal comes with each poll.
        if refused.is_some() && since(&refused) != since(&self.refused) {
            self.counters.refusals += 1;
        }
        self.refused = refused;
    }

    /// How often in a row the bucket did not answer.
    pub(super) const fn bucket_failures(&self) -> u32 {
        self.bucket.failures
    }

    /// There is a new document, and no room for it.
    pub(super) fn not_kept(&mut self, why: &str) {
        self.counters.polls += 1;
        self.not_kept = Some(why.into());
    }

    /// The box does not know what to be.
    pub(super) fn waiting(&mut self, why: &str) {
        self.waiting = Some(why.into());
        why.clone_into(&mut self.node.found_by);
        self.node.name = None;
        // What was wrong with the server that it was is no news of this box.
        self.problems.clear();
        self.outstanding.clear();
        self.steps = StepCounts::default();
        self.failing.clear();
    }

    /// What the box waits for.
    pub(super) fn waits_for(&self) -> Option<&String> {
        self.waiting.as_ref()
    }

    /// Whether it is known which server this is.
    pub(super) const fn knows_itself(&self) -> bool {
        self.node.name.is_some()
    }

    /// No run could be made at all.
    pub(super) fn failed_to_run(&mut self, why: &str) {
        self.broken = Some(format!("no run could be made: {why}"));
    }

    /// A run was made.
    pub(super) fn ran(&mut self, intent: &Intent, found_by: &str, record: &RunRecord) {
        self.waiting = None;
        self.broken = None;
        self.node = NodeStatus {
            name: Some(intent.node.clone()),
            found_by: found_by.into(),
        };
        self.counters.runs += 1;
        self.counters.run_ms = self.counters.run_ms.saturating_add(record.took_ms);
        self.latest_run = Some(LatestRun {
            started: record.started,
            took_ms: record.took_ms,
        });
        if record.changed() {
            self.changed = Some(record.started);
        }
        self.standing.ran(intent.document.id.version);
        let now = clock::now();
        let mut failing = BTreeMap::new();
        self.steps = StepCounts::default();
        self.problems.clone_from(&record.problems);
        self.outstanding.clone_from(&record.outstanding);
        for step in &record.steps {
            match (step.outcome, step.cause) {
                (Outcome::Changed, Cause::Drift) => self.counters.repairs += 1,
                (Outcome::Changed, _) => self.counters.changes += 1,
                (Outcome::Held | Outcome::Quarantined, _) => {}
                _ => self.counters.failures += 1,
            }
            if !step.outcome.is_failure() {
                continue;
            }
            let (since, tried) = self.failing.get(&step.step).copied().unwrap_or((now, 0));
            failing.insert(step.step.clone(), (since, tried + 1));
            count(&mut self.steps, step.outcome, since);
            self.problems.push(Problem {
                kind: step.kind,
                step: Some(step.step.clone()),
                severity: Severity::Failure,
                message: step.public_error().unwrap_or_default().to_owned()
                    + &outlook(step.outcome, tried + 1, since, now),
                origin: only_origin(step),
            });
        }
        self.failing = failing;
        if record.id != 0 {
            self.last_run = Some(record.without_contents());
        }
    }

    /// The names of `/etc/hosts` were led to another master, outside of any run.
    pub(super) fn names_led(&mut self, record: &RunRecord) {
        self.counters.changes += 1;
        self.changed = Some(record.started);
        self.last_run = Some(record.without_contents());
    }

    /// Whether sites of this box fail, or Apache does not run.
    pub(super) fn sites_fail(&self) -> bool {
        let is_of_sites = |step: &StepName| step.0 == "sites" || step.0.starts_with("sites/");
        self.failing.keys().any(is_of_sites)
            || self.services.iter().any(|down| down.serves == Kind::Sites)
    }

    /// How many runs in a row the most stubborn step has failed that another try may help; 0: none.
    pub(super) fn failing(&self) -> u32 {
        self.failing
            .values()
            .map(|(_, tried)| *tried)
            .max()
            .unwrap_or(0)
    }

    /// The status, as of now.
    pub(super) fn status(&self, session: &Session) -> Status {
        let accepted = session.intake.accepted();
        let now = clock::now();
        let mut reasons = Vec::new();
        if !self.knows_itself() {
            let starting = || "agentd has just started: ask again in a moment".into();
            reasons.push(self.waiting.clone().unwrap_or_else(starting));
        }
        reasons.extend(self.broken.clone());
        reasons.extend(self.not_kept.clone());
        reasons.extend(self.refused.as_ref().map(refusal_reason));
        if let Some(trust) = session.intake.trust_status() {
            reasons.extend(trust.refused.map(|why| {
                format!(
                    "a change of who signs was refused, and those of before go on to count: {why}"
                )
            }));
            let expired = trust.expires.filter(|expires| *expires <= now);
            reasons.extend(expired.map(|expires| {
                format!("who signs was said until {expires}: it goes on to count, but renew it: agentctl fleet key renew")
            }));
        }
        if let Some(Accepted {
            document,
            confirmed,
        }) = accepted
        {
            reasons.extend(self.standing.halted_reason());
            if self.bucket.failures > TOLERATED_FAILURES {
                let error = self.bucket.error.as_deref().unwrap_or_default();
                reasons.push(format!(
                    "no good answer from the bucket since {confirmed}; the box keeps the last good document: {error}"
                ));
            }
            if document.fleet.expires.0 <= now {
                reasons.push(format!(
                    "the document expired on {}: it is kept, but publish a new version",
                    document.fleet.expires
                ));
            }
        }
        if let Some(hold) = &self.orders.hold {
            reasons.push(format!(
                "nothing is changed on this box {}; agentctl hold --end",
                hold.fixed()
            ));
        }
        if let Some(undone) = session.taken_back() {
            reasons.push(format!("{}; agentctl undo --end", undone.status.line()));
        }
        // What waits for the end of a hold is told by the hold.
        let waits =
            |problem: &Problem| self.orders.hold.is_some() && problem.message.starts_with(ON_HOLD);
        for problem in self
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Failure && !waits(problem))
        {
            let step = problem
                .step
                .as_ref()
                .map_or_else(|| problem.kind.to_string(), ToString::to_string);
            reasons.push(format!("{step}: {}", text::headline(&problem.message)));
        }
        let failing = |step: &StepName| self.failing.contains_key(step);
        let waiting = self.outstanding.iter().filter(|step| !failing(step));
        reasons.extend(waiting.map(|step| {
            format!("{step}: written, and not in effect yet: its service has not taken it on; that is tried again")
        }));
        reasons.extend(self.flapping.iter().cloned());
        reasons.extend(self.services.iter().map(|down| down.message.clone()));
        let not_ready = self
            .readiness
            .iter()
            .filter(|one| one.ready == Ready::False);
        reasons
            .extend(not_ready.map(|one| format!("{} is not ready: {}", one.product, one.reason)));
        for dns in &self.dns {
            if let Some(error) = &dns.error {
                reasons.push(format!("DNS: {}: {error}", dns.name));
            }
        }
        if let Some(error) = (self.evictions_error.as_ref()).filter(|_| self.bucket.failures == 0) {
            reasons.push(format!("dead servers would not be taken out: {error}"));
        }
        for database in &self.databases {
            let alarms = database.alarms.iter();
            reasons.extend(alarms.map(|alarm| format!("database {}: {alarm}", database.product)));
        }
        let health = match (accepted, &self.node.name) {
            (Some(_), Some(_)) if reasons.is_empty() => Health::Converged,
            (Some(_), Some(_)) => Health::Degraded,
            _ => Health::Waiting,
        };
        Status {
            format: 1,
            written: now,
            health,
            reasons,
            agent: AgentStatus {
                version: env!("CARGO_PKG_VERSION").into(),
                pid: std::process::id(),
                started: self.started,
                poll_ms: u64::try_from(session.settings.poll.as_millis()).ok(),
                memory_bytes: memory::resident(),
                trouble: self.broken.clone().or_else(|| self.not_kept.clone()),
            },
            node: self.node.clone(),
            rollout: self.standing.rollout(session, self.node.name.as_ref()),
            stands_on: self.standing.version,
            well_since: self.standing.well_since,
            document: accepted.map(|accepted| DocumentStatus {
                id: accepted.document.id.clone(),
                issued: accepted.document.fleet.issued.0,
                expires: accepted.document.fleet.expires.0,
                confirmed: accepted.confirmed,
                trust: session.intake.trust().in_short(),
                signers: accepted.document.signers.clone(),
            }),
            trust: session.intake.trust_status(),
            refused: self.refused.clone(),
            bucket: self.bucket.clone(),
            problems: self.problems.clone(),
            steps: self.steps,
            drift: self
                .flapping
                .iter()
                .chain(&self.unwatched)
                .cloned()
                .collect(),
            services: self.services.clone(),
            readiness: self.readiness.clone(),
            dns: self.dns.clone(),
            evictions: self.evictions.clone(),
            hold: self.orders.hold.clone(),
            drain: self.orders.drain.clone(),
            undone: session.taken_back().map(|undone| undone.status.clone()),
            jobs: self.jobs.clone(),
            certificates: self.certificates.clone(),
            retired: accepted.and_then(|accepted| self.retired(session, accepted)),
            latest_run: self.latest_run,
            changed: self.changed,
            last_run: self.last_run.clone(),
            databases: self.databases.clone(),
            report: self.report.clone(),
            counters: self.counters,
        }
    }

    /// How many things of the agent's are left on a box that is retired.
    fn retired(&self, session: &Session, accepted: &Accepted) -> Option<u64> {
        let servers = &accepted.document.fleet.servers;
        let server = servers.get(self.node.name.as_ref()?)?;
        if server.state != ServerState::Retired {
            return None;
        }
        let ledger = Ledger::load(session.converger.files()).ok()?;
        // Visitors may still be sent here.
        let in_dns = self.dns.iter().filter(|name| name.present != Some(false));
        u64::try_from(ledger.things.len() + in_dns.count()).ok()
    }

    /// Writes the status file where facts changed, or where it is `due` again. Returns the status.
    pub(super) fn publish(
        &mut self,
        files: &Files,
        session: &Session,
        due: bool,
    ) -> Result<Arc<Status>, FileError> {
        let mut status = self.status(session);
        status.well_since = self.standing.note_wellness(&status);
        let news = self
            .written
            .as_ref()
            .is_none_or(|written| facts(written) != facts(&status));
        if news || due {
            write(files, &status)?;
            self.written = Some(status.clone());
        }
        Ok(Arc::new(status))
    }

    /// Writes the status file unless it says the same already, whoever wrote it.
    pub(super) fn write_if_news(
        &mut self,
        files: &Files,
        session: &Session,
    ) -> Result<(), FileError> {
        let status = self.status(session);
        if let Some(mut kept) = self.written.take() {
            let mut said = status.clone();
            for status in [&mut kept, &mut said] {
                reduce(status);
                status.report = ReportStatus::default();
                (status.agent.pid, status.agent.started, status.counters) =
                    (0, Timestamp::UNIX_EPOCH, Counters::default());
            }
            if kept == said {
                self.written = Some(status);
                return Ok(());
            }
        }
        write(files, &status)?;
        self.written = Some(status);
        Ok(())
    }
}

/// The status file, if there is one that can be read.
fn read(files: &Files) -> Option<Status> {
    match files.read(&Path::new(RUN_DIR).join(FILE)) {
        Ok(Found::File { bytes, .. }) => serde_json::from_slice(&bytes).ok(),
        _ => None,
    }
}

/// The last run that did something, and when one last changed something. Not fatal where the journal cannot be read: it
/// tells of the past only.
fn last_run(files: &Files, written: Option<&Status>) -> (Option<RunRecord>, Option<Timestamp>) {
    // The journal has all diffs, and is long. Mostly the status file knows its last run already.
    if let Some(status) = written
        && let Some(run) = &status.last_run
        && journal::newest(files).is_ok_and(|newest| newest == Some(run.id))
    {
        return (Some(run.clone()), status.changed);
    }
    let kept = journal::last(files, JOURNAL_SEARCH).unwrap_or_default();
    let changed = kept.iter().find(|run| run.changed()).map(|run| run.started);
    (kept.first().map(RunRecord::without_contents), changed)
}

fn write(files: &Files, status: &Status) -> Result<(), FileError> {
    let path = Path::new(RUN_DIR).join(FILE);
    let bytes = serde_json::to_vec(status).map_err(|error| FileError::Io {
        operation: "write",
        path: path.clone(),
        source: error.into(),
    })?;
    // Readable by all: monitors do not run as root, and there is no secret in it.
    files.write(&path, &bytes, 0o644).map(drop)
}

/// A status without what changes with each poll.
fn facts(status: &Status) -> Status {
    let mut status = status.clone();
    reduce(&mut status);
    status
}

/// Leaves only what does not change with each poll.
fn reduce(status: &mut Status) {
    status.written = Timestamp::UNIX_EPOCH;
    status.bucket.last_answer = None;
    status.bucket.latency_ms = None;
    status.counters.polls = 0;
    for database in &mut status.databases {
        *database = database.facts();
    }
    status.counters.runs = 0;
    status.counters.run_ms = 0;
    status.latest_run = None;
    status.report.put = None;
    if let Some(rollout) = &mut status.rollout {
        rollout.waits_for = None;
    }
    for product in &mut status.readiness {
        product.checked = None;
    }
    status.agent.memory_bytes = None;
    if let Some(document) = &mut status.document {
        document.confirmed = Timestamp::UNIX_EPOCH;
    }
}

/// Who asked for a step, where that is one place: of many, an innocent one would be named.
fn only_origin(step: &StepRecord) -> Option<Pointer> {
    let mut origins = step.changes.iter().flat_map(|change| &change.origins);
    let first = origins.next()?;
    origins.all(|other| other == first).then(|| first.clone())
}

/// Counts a step that is not as it should be.
fn count(steps: &mut StepCounts, outcome: Outcome, since: Timestamp) {
    match outcome {
        Outcome::Changed => return,
        Outcome::Failed => steps.failed += 1,
        Outcome::Broken => steps.broken += 1,
        Outcome::PutBack => steps.put_back += 1,
        Outcome::Held => steps.held += 1,
        Outcome::Quarantined => steps.quarantined += 1,
    }
    if matches!(outcome, Outcome::Failed | Outcome::Broken) {
        steps.failing_since = Some(steps.failing_since.map_or(since, |older| older.min(since)));
    }
}

fn outlook(outcome: Outcome, tried: u32, since: Timestamp, now: Timestamp) -> String {
    match outcome {
        Outcome::Held => String::new(),
        Outcome::Quarantined | Outcome::PutBack => {
            "\nThis version is not tried again here: publish a mended one, or mend the box and run agentctl apply --retry".into()
        }
        Outcome::Broken => "\nA person must look at this box now: see agentctl show failed, mend it by hand, then run agentctl apply --retry".into(),
        _ if tried > 1 => format!(
            "\nTried {tried} times, first {}; it is tried again by itself",
            text::ago(since, now)
        ),
        _ => "\nIt is tried again by itself".into(),
    }
}

fn refusal_reason(refused: &Refusal) -> String {
    let version = refused.version.map_or_else(
        || "the newest document".into(),
        |version| format!("version {version}"),
    );
    let first = refused
        .errors
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let more = match refused.errors.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    format!("{version} in the bucket was refused; publish a mended one: {first}{more}")
}

#[cfg(test)]
mod tests;
