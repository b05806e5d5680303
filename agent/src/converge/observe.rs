//! Looking at the box: everything that a plan is worked out from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::hands;
use super::ledger::Ledger;
use super::orders::Order;
use super::pending::Pending;
use super::plan::{self, Plan};
use super::quarantine::Quarantine;
use super::situation::{Sight, Situation};
use super::wishes;
use super::{Converger, Intent, RunError, fast_part, last_good, others, releases};
use crate::fleet::names::ReleaseVersion;
use crate::fleet::{Fleet, Name, ServerState};
use crate::node::{self, View};
use crate::report::{DocumentId, ON_HOLD, Problem, Severity, StandingOrder, StepName};
use crate::resource::{self, Desired, Facts, Thing, Wave, Wish};
use crate::settings::GuardSettings;
use crate::system::clock;
use crate::system::platform::{Family, Platform};

/// So many files that are not the agent's are named in one warning.
const NAMED: usize = 3;

/// The box as it was found, and what is wanted of it.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) document: DocumentId,
    desired: Desired,
    fallback: Option<Desired>,
    /// With the interrupted steps merged into it.
    pub(super) ledger: Ledger,
    pub(super) pending: Pending,
    pub(super) quarantine: Quarantine,
    /// What the ledger on disk had of the fast lane.
    pub(super) fast: fast_part::OnDisk,
    pub(super) sight: Sight,
    family: Family,
    guard: Option<GuardSettings>,
    sweeping: Option<String>,
    /// A person holds this box.
    pub(super) hold: Option<StandingOrder>,
}

/// What the agent knows of its own work.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) ledger: Ledger,
    pub(super) pending: Pending,
    pub(super) quarantine: Quarantine,
    pub(super) fast: fast_part::OnDisk,
}

impl Observed {
    /// What differs, and what of that is done.
    pub(super) fn plan(&self) -> Plan {
        let mut plan = self.difference();
        if let Some(hold) = &self.hold {
            plan.hold_back(&format!(
                "{ON_HOLD} {}; agentctl hold --end lets it be done at once",
                hold.fixed()
            ));
        }
        plan
    }

    fn difference(&self) -> Plan {
        plan::plan(&Situation {
            document: self.document.clone(),
            desired: &self.desired,
            fallback: self.fallback.as_ref(),
            ledger: &self.ledger,
            pending: &self.pending,
            quarantine: &self.quarantine,
            sight: &self.sight,
            family: self.family,
            guard: self.guard,
            sweeping: self.sweeping.clone(),
        })
    }

    /// Whether anything is wanted in a later wave than this one, or could be once this one has changed something: what waits
    /// for packages, accounts, releases or sites.
    pub(super) fn has_later(&self, wave: Wave) -> bool {
        // What could not be worked out may wait for what this wave brings.
        let waits = !self.desired.keep.is_empty() || !self.desired.left_out.is_empty();
        if waits && wave < Wave::Proof {
            return true;
        }
        let all = self.desired.steps.iter();
        let all = all.chain(self.fallback.iter().flat_map(|fallback| &fallback.steps));
        all.into_iter().any(|step| step.wave > wave)
    }
}

/// How much of the box is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// What the fast lane owns: files only, no command is run.
    Fast,
}

/// Which document's wishes are worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Present,
    LastGood,
}

impl Converger {
    /// Looks at the box for `intent`. Writes nothing. `memory`: of the run that goes on; without it, what is on disk.
    pub(super) async fn observe(
        &self,
        intent: &Intent,
        scope: Scope,
        memory: Option<Memory>,
    ) -> Result<Observed, RunError> {
        let fleet = &intent.document.fleet;
        let files = &self.files;
        let Memory {
            ledger,
            pending,
            quarantine,
            fast,
        } = match memory {
            Some(memory) => memory,
            None => self.remember(intent, scope)?,
        };
        let good = GoodDocument::new(self, intent);
        // A package may have brought what a name depends on.
        let platform = self.platform.with_what_came(files);
        let platform = &*platform;
        let looked = (platform, scope, Which::Present);
        let wishes = self.wishes(fleet, intent, looked, &quarantine, &ledger.lists, &good);
        let wishes = wishes.await?;
        let mut desired = wishes.ok_or_else(|| RunError::NotInDocument(intent.node.clone()))?;

        let retired = fleet
            .servers
            .get(&intent.node)
            .is_some_and(|server| server.state == ServerState::Retired);
        let guard = (!fleet.confirm && !retired).then_some(self.guard);
        let sweeping = plan::sweeping(&desired, &ledger, self.guard, || good.fleet(), fleet)?;
        let held = sweeping.as_deref();
        let troubled = !plan::decisions(&desired, &ledger, &quarantine, guard, held).is_empty();
        let mut fallback = match troubled.then(|| good.fleet()).transpose()?.flatten() {
            Some(fleet) => {
                let none = Quarantine::empty("");
                let looked = (platform, scope, Which::LastGood);
                let wishes = self.wishes(&fleet, intent, looked, &none, &ledger.lists, &good);
                wishes.await?
            }
            None => None,
        };

        let steps = desired.steps.iter();
        let steps = steps.chain(fallback.iter().flat_map(|fallback| &fallback.steps));
        let things: BTreeSet<Thing> = steps
            .flat_map(|step| step.wants.iter().map(|want| want.thing.clone()))
            .chain(ledger.things.keys().cloned())
            .chain(self.kept_running(&desired, scope))
            .collect();
        // Where only some lines are the agent's, the others are needed too.
        let blocks: BTreeSet<&Path> = (desired.steps.iter())
            .chain(fallback.iter().flat_map(|fallback| &fallback.steps))
            .flat_map(|step| &step.wants)
            .filter(|want| matches!(want.wish, Wish::Block { .. }))
            .filter_map(|want| want.thing.path())
            .chain(ledger.blocks())
            // What has a secret in it is put back from memory alone.
            .chain(ledger.secrets())
            .collect();
        let is_whole = |path: &Path| blocks.contains(path);
        let sight = hands::look(files, platform, things, is_whole).await;
        for desired in std::iter::once(&mut desired).chain(&mut fallback) {
            others::leave_to_one(desired);
            others::leave_to_others(desired, &ledger, &sight);
        }
        if scope == Scope::All {
            self.tell_foreign(&ledger, &pending, &mut desired);
        }
        Ok(Observed {
            document: intent.document.id.clone(),
            desired,
            fallback,
            ledger,
            pending,
            quarantine,
            fast,
            sight,
            family: self.platform.family,
            guard,
            sweeping,
            // The fast lane follows the databases' masters all the same.
            hold: match scope {
                Scope::All => Order::Hold.standing(files, clock::now())?,
                Scope::Fast => None,
            },
        })
    }

    /// Units that are somebody else's, and that must run for what is wanted to be served. While the machine starts they are
    /// systemd's business.
    fn kept_running(&self, desired: &Desired, scope: Scope) -> Vec<Thing> {
        if scope == Scope::Fast || self.booting.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let steps = desired.steps.iter();
        let units = steps.flat_map(plan::kept_running);
        units.map(|unit| Thing::Unit(unit.to_owned())).collect()
    }

    /// What is on disk of the agent's own work.
    fn remember(&self, intent: &Intent, scope: Scope) -> Result<Memory, RunError> {
        let files = &self.files;
        let pending = Pending::load(files)?;
        let file = files.look(&fast_part::ledger_file())?;
        let ledger = Ledger::load(files)?;
        let fast = fast_part::OnDisk::of(&ledger, file);
        let ledger = match scope {
            Scope::All => pending.merged_into(ledger),
            Scope::Fast => fast.part().clone().alone(),
        };
        Ok(Memory {
            ledger,
            pending,
            quarantine: Quarantine::load(files, &intent.document.id.digest)?,
            fast,
        })
    }

    /// What a fleet wants of this box. `None`: it has no such server.
    async fn wishes(
        &self,
        fleet: &Fleet,
        intent: &Intent,
        (platform, scope, which): (&Platform, Scope, Which),
        quarantine: &Quarantine,
        applied: &BTreeMap<StepName, Vec<String>>,
        good: &GoodDocument<'_>,
    ) -> Result<Option<Desired>, RunError> {
        let Some(mut view) = node::view(
            fleet,
            &intent.node,
            intent.hosts,
            &intent.elections,
            &intent.evictions,
        ) else {
            return Ok(None);
        };
        view.withhold(&self.needed_names);
        if !view.releases.is_empty() {
            view.pin_releases(&good.pins(which)?);
        }
        if scope == Scope::Fast {
            let desired = resource::desired_fast(&view, platform, &self.files).await;
            return Ok(Some(desired));
        }
        let (facts, problems) = self.facts(&view, platform).await;
        let first = resource::desired_all(&view, platform, &facts);
        let mut desired = if first.unfit.is_empty() && quarantine.members.is_empty() {
            first
        } else {
            let old = good.view()?;
            let again = async |view: &View| {
                let (facts, _) = self.facts(view, platform).await;
                resource::desired_all(view, platform, &facts)
            };
            {
                let old = old.as_ref();
                Box::pin(wishes::without(
                    first, view, quarantine, old, applied, again,
                ))
                .await
            }
        };
        desired.problems.extend(problems);
        Ok(Some(desired))
    }

    async fn facts(&self, view: &View, platform: &Platform) -> (Facts, Vec<Problem>) {
        resource::observe_all(view, platform, &self.files).await
    }

    /// Has the report tell of what is not this agent's where it might be taken for it.
    fn tell_foreign(&self, ledger: &Ledger, pending: &Pending, desired: &mut Desired) {
        let Some(kind) = ledger.things.values().map(|owned| owned.kind).next() else {
            return;
        };
        let mut warn = |kind, step: Option<StepName>, message| {
            desired.problems.push(Problem {
                kind,
                step,
                severity: Severity::Warning,
                message,
                origin: None,
            });
        };
        if let Some(message) = ledger.foreign() {
            warn(kind, None, message);
        }
        if pending.foreign > 0 {
            let message = format!(
                "{} interrupted steps of a newer node-agent wait for that version; this one leaves them alone",
                pending.foreign
            );
            warn(kind, None, message);
        }
        // Directories of which all is the agent's: people know what is in them under another name.
        let mut dirs: BTreeMap<&Path, &super::ledger::Owned> = BTreeMap::new();
        for (path, owned) in ledger.paths().filter(|(_, owned)| owned.shown_as.is_some()) {
            if let Some(dir) = path.parent() {
                dirs.insert(dir, owned);
            }
        }
        for (dir, owned) in dirs {
            let names = self.files.list(dir).unwrap_or_default();
            let foreign: Vec<PathBuf> = (names.iter().map(|name| dir.join(name)))
                .filter(|path| ledger.path(path).is_none())
                .collect();
            if !foreign.is_empty() {
                warn(
                    owned.kind,
                    Some(owned.step.clone()),
                    foreign_sentence(dir, &foreign),
                );
            }
        }
    }
}

fn foreign_sentence(dir: &Path, foreign: &[PathBuf]) -> String {
    let shown = foreign
        .iter()
        .take(NAMED)
        .map(|path| path.display().to_string());
    let mut names = shown.collect::<Vec<_>>().join(", ");
    if foreign.len() > NAMED {
        names.push_str(", …");
    }
    format!(
        "somebody else (certbot?) has written into {}, which is the agent's own and is replaced with each change: {names}. It counts only until then; move it to where the service's own configuration is",
        dir.display()
    )
}

/// The last good document, read at the first need.
struct GoodDocument<'a> {
    converger: &'a Converger,
    intent: &'a Intent,
}

impl<'a> GoodDocument<'a> {
    const fn new(converger: &'a Converger, intent: &'a Intent) -> Self {
        Self { converger, intent }
    }

    fn fleet(&self) -> Result<Option<Fleet>, RunError> {
        let good = last_good::load(&self.converger.files)?;
        Ok(good.map(|good| good.fleet))
    }

    fn view(&self) -> Result<Option<View>, RunError> {
        let intent = self.intent;
        let view = |fleet: Fleet| {
            node::view(
                &fleet,
                &intent.node,
                intent.hosts,
                &intent.elections,
                &intent.evictions,
            )
        };
        let mut view = self.fleet()?.and_then(view);
        if let Some(view) = &mut view {
            view.withhold(&self.converger.needed_names);
        }
        if let Some(view) = view.as_mut().filter(|view| !view.releases.is_empty()) {
            view.pin_releases(&self.pins(Which::LastGood)?);
        }
        Ok(view)
    }

    /// The releases that products are at, where that is not what the document says. Of the last good document's, what is in
    /// use counts: it may have worked long before all else of a later document did.
    fn pins(&self, which: Which) -> Result<BTreeMap<Name, ReleaseVersion>, RunError> {
        let files = &self.converger.files;
        Ok(match which {
            Which::Present => releases::pins(files, &self.intent.document.fleet)?,
            Which::LastGood => releases::in_use(files, &self.converger.platform),
        })
    }
}
