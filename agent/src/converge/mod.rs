//! A run: trigger → fetch → verify → view → plan → stage → check → commit → activate → probe → record.
//!
//! [`intake`] brings documents in. [`Converger`] looks at the box, works out the [`Plan`] (pure) and
//! carries it out, each step as a transaction. The [`ledger`] knows what the agent owns, the
//! [`journal`] what it did.

mod apply;
mod change;
pub mod eviction;
mod fast_lane;
mod fast_part;
pub mod follow;
mod hands;
pub mod intake;
mod job_records;
pub mod journal;
mod last_good;
pub mod ledger;
mod liveness;
mod objects;
mod observe;
mod offline;
mod orders;
mod original;
mod others;
mod pending;
mod plan;
mod quarantine;
mod releases;
pub mod rollout;
mod saved;
mod seal;
mod session;
mod set_aside;
mod situation;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod undo;
mod wishes;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

pub use apply::Progress;
pub use fast_lane::Followed;
pub use hands::account_as_it_stands;
pub use liveness::{LivenessQuestion, is_alive, questions as liveness_questions};
pub use offline::plan_offline;
pub use orders::{ORDERS, Order};
pub use plan::Plan;
pub use releases::{RolledBack, Verdict, ask_smoke, fetch_releases, roll_back};
pub use seal::{Sealed, seal};
pub use session::{NotReady, Session, lock_runs};
pub use set_aside::set_aside_damaged;
pub use undo::{TakenBack, Undone, end_undo, take_back};

use apply::Applier;
use ledger::Ledger;
use observe::{Memory, Observed, Scope};
use pending::Pending;
use plan::PlannedStep;

use crate::fleet::{Document, Fleet, Name, bundles};
use crate::node::eviction::Evictions;
use crate::node::{self, Elections};
use crate::report::{
    self, Cause, ChangeRecord, Kind, Outcome, Problem, RunRecord, StepName, StepRecord, Trigger,
};
use crate::resource::secrets::SecretKey;
use crate::resource::{ServedProduct, Thing, USUAL_STEP, Wave};
use crate::settings::{GuardSettings, HostsScope, JournalSettings, Settings};
use crate::system::account_files;
use crate::system::clock;
use crate::system::crash;
use crate::system::file::{FileError, Files};
use crate::system::package_manager::Patience;
use crate::system::platform::Platform;

/// So many times a step is tried without some more of its members in one run.
const LONGEST_SEARCH: usize = 5;

/// What a box should converge to.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The document.
    pub document: Document,
    /// The server that this box is.
    pub node: Name,
    /// Which servers stand in `/etc/hosts`.
    pub hosts: HostsScope,
    /// The leases that the box goes by.
    pub elections: Elections,
    /// Servers that were found dead and that the box leaves out.
    pub evictions: Evictions,
}

/// A run could not be made at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The agent's own state cannot be read or written.
    #[error("the agent's own state is out of reach")]
    State(#[from] FileError),
    /// The document does not have this server.
    #[error("the document has no server {0}")]
    NotInDocument(Name),
}

/// Makes a box what the document says. One run at a time: the caller holds the run lock.
#[derive(Debug)]
pub struct Converger {
    files: Files,
    platform: Platform,
    guard: GuardSettings,
    packages: Patience,
    journal: JournalSettings,
    /// Names by which the agent reaches the bucket.
    needed_names: BTreeSet<String>,
    booting: AtomicBool,
    /// Leftovers of processes before this one were swept.
    swept: AtomicBool,
    /// What the last run left served.
    served: Mutex<Vec<ServedProduct>>,
}

impl Converger {
    /// For the box of these settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            files: Files::new(settings.root.clone()).remembering(),
            platform: settings.platform.clone(),
            guard: settings.guard,
            packages: settings.packages,
            journal: settings.journal,
            needed_names: settings.names_needed(),
            booting: AtomicBool::new(false),
            swept: AtomicBool::new(false),
            served: Mutex::default(),
        }
    }

    /// While the machine starts, services that are ordered after the agent are not started by it: it
    /// would wait for itself. What that leaves undone stays pending: see [`Converger::has_pending`].
    pub fn set_booting(&self, booting: bool) {
        self.booting.store(booting, Ordering::Relaxed);
    }

    /// Whether an activation is outstanding, so that a run is due though nothing changed.
    pub fn has_pending(&self) -> Result<bool, FileError> {
        Ok(!Pending::load(&self.files)?.steps.is_empty())
    }

    /// What a run would do now. Writes nothing, runs no command but queries.
    pub async fn plan(&self, intent: &Intent) -> Result<Plan, RunError> {
        Ok(self.observe(intent, Scope::All, None).await?.plan())
    }

    /// One run. Failures of steps are rows of the record, not errors.
    ///
    /// `progress` is called with what is being done, at least every few seconds: it feeds the watchdog.
    /// A run that had nothing to do, or only the same failures as the run before, wrote nothing to the
    /// journal: its record has the id 0.
    pub async fn run(
        &self,
        intent: &Intent,
        trigger: Trigger,
        progress: Progress<'_>,
    ) -> Result<RunRecord, RunError> {
        let (started, clock) = (clock::now(), std::time::Instant::now());
        progress("looking at the box", USUAL_STEP);
        if has_secrets(&intent.document.fleet, &intent.node) {
            SecretKey::make(&self.files)?;
        }
        let first = self.names_first(intent, started, progress).await?;
        let observed = self.observe(intent, Scope::All, None).await?;
        let plan = observed.plan();
        let is_held = observed.hold.is_some();
        let has_work = !plan.is_empty() || !first.rows.is_empty();
        self.sweep(&observed, has_work);
        let was_clear = observed.pending.is_clear();
        let run = match (&first.rows[..], plan.is_empty()) {
            ([], true) => 0,
            ([], false) => journal::next_id(&self.files)?,
            _ => first.run,
        };
        // With nothing to carry out, settling alone can change the ledger, and says whether it did.
        let recorded = (!plan.is_empty() || !was_clear).then(|| observed.ledger.clone());
        let quarantined = observed.quarantine.clone();
        let later = Wave::ALL.map(|wave| observed.has_later(wave));
        let mut applier = self.applier(observed, run, started, progress);
        // In a box of its own: it is large, and most runs have nothing to carry out.
        let carried_out = Box::pin(self.carry_out(intent, &mut applier, plan, later));
        let (plan, mut steps) = carried_out.await?;
        // Done first, told in the order of the plan.
        let comes_later = |row: &StepRecord| {
            let is_served = row.kind > Kind::Hosts || row.step.0.ends_with("/instance");
            row.cause != Cause::Unwanted && is_served
        };
        let place = steps.iter().position(comes_later).unwrap_or(steps.len());
        drop(steps.splice(place..place, first.rows));
        self.note_served(&plan, is_held);
        // Where nobody lets go of it: a crash could not do more harm than going on.
        let fast_lane = fast_lane::lock_patiently(&self.files).await?;
        applier.take_over_fast_lane()?;
        let mut settled = applier.settle_all(&plan);
        let Applier {
            mut ledger,
            mut pending,
            quarantine,
            overtaken,
            document,
            ..
        } = applier;

        // Warnings are no obstacle: all that is asked for is there.
        let outstanding: Vec<StepName> = outstanding(&pending);
        // A problem of a step that is as the document says is about something beside it (a site's directory is not there):
        // what is applied is good to go back to all the same.
        let is_beside = |problem: &Problem| {
            let step = problem.step.as_ref();
            step.is_some_and(|step| plan.wanted.iter().any(|wanted| wanted.name == *step))
        };
        let mut speak_against = plan.problems.clone();
        speak_against.retain(|problem| !is_beside(problem));
        let all_true =
            !overtaken && outstanding.is_empty() && !report::is_failed(&steps, &speak_against);
        if all_true && ledger.good.as_ref() != Some(&document.digest) {
            last_good::save(&self.files, &document, &intent.document.fleet)?;
            ledger.good = Some(document.digest.clone());
            settled = true;
        }
        crash::point("before the ledger");
        // Interrupted steps were merged into it in memory only: they must reach the disk before they are forgotten.
        let is_other = recorded.map_or(settled, |recorded| ledger != recorded);
        if is_other || !was_clear {
            ledger.save(&self.files)?;
            if run != 0 {
                self.sweep_originals(&ledger);
            }
        }
        drop(fast_lane);
        hands::package::remember(&self.files, &self.platform, plan.wanted.iter()).await;
        if quarantine != quarantined {
            quarantine.save(&self.files)?;
        }
        crash::point("ledger saved");
        let mut record = RunRecord {
            format: 1,
            id: run,
            node: intent.node.clone(),
            document,
            signers: intent.document.signers.clone(),
            trigger,
            started,
            took_ms: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            steps,
            problems: plan.problems,
            outstanding,
        };
        if run != 0 {
            if self.is_news(&record)? {
                journal::keep(&self.files, &record, self.journal)?;
            } else {
                record.id = 0;
            }
        }
        crash::point("journal kept");
        // Last: until here a crash makes the next run activate again, which does no harm.
        if !was_clear || !pending.is_clear() {
            pending.settle(&self.files)?;
        }
        if run != 0 && !is_held {
            self.tidy_releases(intent, &record, progress).await?;
        }
        job_records::tend(&self.files).await;
        Ok(record)
    }

    /// Prunes releases, and sets aside those that failed.
    async fn tidy_releases(
        &self,
        intent: &Intent,
        record: &RunRecord,
        progress: Progress<'_>,
    ) -> Result<(), RunError> {
        let fleet = &intent.document.fleet;
        let view = node::view(
            fleet,
            &intent.node,
            intent.hosts,
            &intent.elections,
            &intent.evictions,
        );
        let Some(mut view) = view.filter(|view| !view.releases.is_empty()) else {
            return Ok(());
        };
        view.pin_releases(&releases::pins(&self.files, fleet)?);
        progress("tidying up releases", USUAL_STEP);
        let are_proven = !record.outstanding.iter().any(|step| step.0 == "sites");
        let (files, platform) = (self.files.clone(), self.platform.clone());
        let tidying = tokio::task::spawn_blocking(move || {
            releases::tidy(&files, &platform, &view, are_proven);
        });
        // Its failures are told; one that was cut off is made good after the next run.
        let _ = tidying.await;
        Ok(())
    }

    /// Remembers what is served. What a held document wants to be served is not what is.
    fn note_served(&self, plan: &Plan, is_held: bool) {
        let steps = plan.wanted.iter();
        let served = steps.flat_map(|step| step.serves.iter().cloned());
        let mut known = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_held || known.is_empty() {
            *known = served.collect();
        }
    }

    /// The products that this box serves, as the last run left them, with what shows that they work.
    pub fn served(&self) -> Vec<ServedProduct> {
        let served = self.served.lock();
        served.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The files of the box. They remember what runs last saw: see [`Files::sighting`].
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// Carries the plan out, wave by wave. What a wave has changed, the later ones see; what a step could not do with
    /// some of its members, it tries without them. Returns the last plan, and the rows.
    async fn carry_out(
        &self,
        intent: &Intent,
        applier: &mut Applier<'_>,
        mut plan: Plan,
        later: [bool; Wave::ALL.len()],
    ) -> Result<(Plan, Vec<StepRecord>), RunError> {
        let mut rows = applier.remove(&plan).await;
        for (wave, later) in Wave::ALL.into_iter().zip(later) {
            let mut done = applier.wave(wave, &plan).await;
            for _ in 0..LONGEST_SEARCH {
                let blamed = applier.quarantine.members.clone();
                let isolated: Vec<StepName> = done
                    .iter()
                    .filter(|row| applier.is_isolated(row))
                    .map(|row| row.step.clone())
                    .collect();
                if isolated.is_empty() {
                    break;
                }
                plan = self.look_again(intent, applier).await?;
                done = tried_again(done, applier.wave(wave, &plan).await, &isolated);
                if applier.quarantine.members == blamed {
                    break;
                }
            }
            let changed = done.iter().any(|row| row.outcome == Outcome::Changed);
            rows.append(&mut done);
            if changed && later {
                plan = self.look_again(intent, applier).await?;
                self.forget_what_came_too_late(&plan, wave, &rows);
            }
        }
        // What was kept for those that used it until now.
        let switched =
            |row: &StepRecord| row.kind == Kind::Sites && row.outcome == Outcome::Changed;
        let has_pools = applier
            .ledger
            .paths()
            .any(|(_, owned)| owned.kind == Kind::Php);
        if has_pools && rows.iter().any(switched) {
            plan = self.look_again(intent, applier).await?;
            self.forget_what_came_too_late(&plan, Wave::Proof, &rows);
            rows.extend(applier.of_kind(Kind::Php, &plan).await);
        }
        // What failed in this run has told why already.
        let is_told = |row: &StepRecord| rows.iter().any(|told| told.step == row.step);
        let left: Vec<StepRecord> = Applier::left(&plan).filter(|row| !is_told(row)).collect();
        rows.extend(left);
        Ok((plan, rows))
    }

    /// What somebody has changed since its step was done in this run, or since there was nothing to do for it when its wave
    /// had its turn, this run does not mend. It has seen it, though, and would pass for having dealt with it: the watch
    /// over edits must know better.
    fn forget_what_came_too_late(&self, plan: &Plan, wave: Wave, done: &[StepRecord]) {
        let is_past = |step: &&PlannedStep| {
            let row = done.iter().find(|row| row.step == step.name);
            // What failed is not mended by trying again at once.
            row.map_or(step.wave <= wave, |row| row.outcome == Outcome::Changed)
        };
        let late = plan
            .steps
            .iter()
            .filter(|step| step.touches())
            .filter(is_past);
        for change in late.flat_map(|step| &step.changes) {
            match change.thing.path() {
                Some(path) => self.files.forget_sighting(path),
                None if change.thing.is_account() => {
                    account_files::paths().for_each(|path| self.files.forget_sighting(&path));
                }
                None => {}
            }
        }
    }

    /// The plan as it is by now, in the middle of a run.
    async fn look_again(
        &self,
        intent: &Intent,
        applier: &mut Applier<'_>,
    ) -> Result<Plan, RunError> {
        let memory = Memory {
            ledger: applier.ledger.clone(),
            pending: applier.pending.clone(),
            quarantine: applier.quarantine.clone(),
            fast: applier.fast.clone(),
        };
        let observed = self.observe(intent, Scope::All, Some(memory)).await?;
        Ok(observed.plan())
    }

    fn applier<'a>(
        &'a self,
        observed: Observed,
        run: u64,
        started: jiff::Timestamp,
        progress: Progress<'a>,
    ) -> Applier<'a> {
        Applier {
            files: &self.files,
            platform: &self.platform,
            packages: self.packages,
            document: observed.document,
            run,
            started,
            booting: self.booting.load(Ordering::Relaxed),
            sweeps: true,
            fast: observed.fast,
            overtaken: false,
            progress,
            ledger: observed.ledger,
            pending: observed.pending,
            quarantine: observed.quarantine,
            untrue: BTreeSet::new(),
        }
    }

    /// Paths that the agent owns now, for the watcher of drift: files, the links among them, and the system's files of
    /// accounts where some are the agent's.
    pub fn owned(&self) -> Result<Vec<PathBuf>, FileError> {
        let ledger = Ledger::load(&self.files)?;
        let paths = ledger.paths().map(|(path, _)| path.to_path_buf());
        let mut owned: Vec<PathBuf> = paths.collect();
        if ledger.things.keys().any(Thing::is_account) {
            owned.extend(account_files::paths());
        }
        Ok(owned)
    }

    /// Forgets the quarantine, so that the next run tries the document again: a person said so.
    pub fn release_quarantine(&self) -> Result<(), FileError> {
        releases::forgive(&self.files)?;
        quarantine::release(&self.files)
    }

    /// Whether a record says more than the last kept one: the same failures again are no news.
    fn is_news(&self, record: &RunRecord) -> Result<bool, FileError> {
        if record
            .steps
            .iter()
            .any(|step| step.outcome == Outcome::Changed)
        {
            return Ok(true);
        }
        let last = journal::last(&self.files, 1)?;
        let (digest, failures) = essence(record);
        // All of it was said before: the run that failed first must not be hidden by those that only say so again.
        let was_said = last.first().is_some_and(|last| {
            let (before, said) = essence(last);
            before == digest && failures.iter().all(|failure| said.contains(failure))
        });
        Ok(!was_said)
    }
}

/// Whether a box has files with secrets in them.
fn has_secrets(fleet: &Fleet, node: &Name) -> bool {
    fleet.servers.get(node).is_some_and(|server| {
        let mut bundles = bundles(fleet, server).into_iter();
        bundles.any(|bundle| bundle.files().values().any(|file| !file.secrets.is_empty()))
    })
}

/// What a run that changed nothing had to say: which steps failed of which document, how, and with which words.
/// Figures in them (times, process ids, names of generations) are no news.
fn essence(run: &RunRecord) -> (&str, Vec<(&StepName, Outcome, String)>) {
    let failed = run.steps.iter().filter(|step| step.outcome.is_failure());
    let words = |step: &StepRecord| {
        let error = step.error.as_deref().unwrap_or_default();
        let words = error.split(|c: char| !c.is_alphabetic());
        let words = words.filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    };
    // That it is not tried again is no news to whoever was told how it failed.
    let outcome = |step: &StepRecord| match step.outcome {
        Outcome::PutBack | Outcome::Quarantined => Outcome::Failed,
        other => other,
    };
    let failed = failed.map(|step| (&step.step, outcome(step), words(step)));
    (&run.document.digest, failed.collect())
}

/// Steps that are written and whose activation is still to come.
fn outstanding(pending: &Pending) -> Vec<StepName> {
    let steps = pending.steps.iter();
    let begun = steps.filter(|(_, step)| step.stage == pending::Stage::Begun);
    begun.map(|(name, _)| name.clone()).collect()
}

/// What came true of a step that failed and is never put back, as a row of its own.
fn came_all_the_same(mut row: StepRecord) -> Option<StepRecord> {
    let did = std::mem::take(&mut row.activated);
    let came = |change: &ChangeRecord| {
        let what = format!("{} {}", change.action.verb(), change.path.display());
        did.contains(&what)
    };
    row.changes.retain(came);
    row.outcome = Outcome::Changed;
    row.error = None;
    (row.kind == Kind::Packages && !row.changes.is_empty()).then_some(row)
}

/// The rows of a wave, those of a second try in place of the first ones. `isolated`: steps that failed because of members
/// that they can do without. Where nothing was left to do without them, the rows of those members tell all.
fn tried_again(
    first: Vec<StepRecord>,
    second: Vec<StepRecord>,
    isolated: &[StepName],
) -> Vec<StepRecord> {
    let mut rows = Vec::new();
    let mut second: Vec<_> = second.into_iter().map(Some).collect();
    for row in first {
        let again = second
            .iter_mut()
            .find(|again| again.as_ref().is_some_and(|again| again.step == row.step));
        match again.and_then(Option::take) {
            Some(mut again) => {
                let came = came_all_the_same(row);
                if let Some(mut came) = came {
                    came.changes.append(&mut again.changes);
                    again.changes = came.changes;
                }
                // Why stands in the rows of what did not work.
                again
                    .notes
                    .push("tried again without what did not work".into());
                rows.push(again);
            }
            // What was switched and put back is a thing of its own to know.
            None if isolated.contains(&row.step) && row.outcome == Outcome::Failed => {
                rows.extend(came_all_the_same(row));
            }
            None => rows.push(row),
        }
    }
    rows.extend(second.into_iter().flatten());
    rows
}
