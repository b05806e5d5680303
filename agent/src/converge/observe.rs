//! Looking at the box: everything that a plan is worked out from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ledger::{Ledger, Part};
use super::pending::Pending;
use super::plan::{self, Plan, Situation};
use super::quarantine::Quarantine;
use super::{Converger, Intent, RunError, good};
use crate::fleet::{Fleet, ServerState};
use crate::node;
use crate::report::{DocumentId, Problem, Severity, StepName};
use crate::resource::{self, Desired, Facts, HOSTS_STEP, Hosts, Resource, Step};
use crate::settings::GuardSettings;
use crate::system::chain;
use crate::system::file::{Files, Found};
use crate::system::systemd::{self, UnitState};

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
    /// What the ledger on disk had of `/etc/hosts`.
    pub(super) hosts: Part,
    pub(super) found: BTreeMap<PathBuf, Result<Found, String>>,
    units: Option<BTreeMap<String, UnitState>>,
    guard: Option<GuardSettings>,
}

impl Observed {
    /// What differs.
    pub(super) fn plan(&self) -> Plan {
        plan::plan(&Situation {
            document: self.document.clone(),
            desired: self.desired.clone(),
            fallback: self.fallback.clone(),
            ledger: &self.ledger,
            pending: &self.pending,
            quarantine: &self.quarantine,
            found: &self.found,
            units: self.units.as_ref(),
            guard: self.guard,
        })
    }
}

/// How much of the box is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// The agent's lines of `/etc/hosts`: files only, no command is run.
    Hosts,
}

impl Converger {
    /// Looks at the box for `intent`. Writes nothing.
    pub(super) async fn observe(
        &self,
        intent: &Intent,
        scope: Scope,
    ) -> Result<Observed, RunError> {
        let fleet = &intent.document.fleet;
        let files = &self.files;
        let step = StepName(HOSTS_STEP.into());
        let pending = Pending::load(files)?;
        let ledger = Ledger::load(files)?;
        let hosts = ledger.part(&step);
        let ledger = match scope {
            Scope::All => pending.merged_into(ledger),
            Scope::Hosts => hosts.clone().alone(&step),
        };
        let quarantine = Quarantine::load(files, &intent.document.id.digest)?;
        let mut desired = self
            .wishes(fleet, intent, scope)
            .await
            .ok_or_else(|| RunError::NotInDocument(intent.node.clone()))?;

        let retired = fleet
            .servers
            .get(&intent.node)
            .is_some_and(|server| server.state == ServerState::Retired);
        let guard = (!fleet.confirm && !retired).then_some(self.guard);
        let troubled = !plan::verdicts(&desired, &ledger, &quarantine, guard).is_empty();
        let fallback = match troubled.then(|| good::load(files)).transpose()?.flatten() {
            Some(good) => self.wishes(&good.fleet, intent, scope).await,
            None => None,
        };

        let steps: Vec<&Step> = desired
            .steps
            .iter()
            .chain(fallback.iter().flat_map(|fallback| &fallback.steps))
            .collect();
        let paths = steps
            .iter()
            .flat_map(|step| step.entries.iter().map(|entry| entry.path.clone()))
            .chain(ledger.paths.keys().cloned());
        let found = look(files, paths);
        let wishes = steps
            .iter()
            .flat_map(|step| step.units.iter().map(|wish| wish.unit.clone()));
        let names: Vec<String> = wishes.chain(ledger.units.keys().cloned()).collect();
        let units = match self.unit_states(names).await {
            Ok(units) => units,
            Err(problem) => {
                desired.problems.push(problem);
                None
            }
        };
        Ok(Observed {
            document: intent.document.id.clone(),
            desired,
            fallback,
            ledger,
            pending,
            quarantine,
            hosts,
            found,
            units,
            guard,
        })
    }

    async fn wishes(&self, fleet: &Fleet, intent: &Intent, scope: Scope) -> Option<Desired> {
        let view = node::view(fleet, &intent.node, intent.hosts, &intent.elections)?;
        if scope == Scope::Hosts {
            let mut facts = Facts::default();
            // What stands outside the block only makes warnings, and the next whole run looks for those.
            let observed = Hosts.observe(&view, &self.platform, &self.files, &mut facts);
            let _ = observed.await;
            return Some(Hosts.desired(&view, &self.platform, &facts));
        }
        let (facts, problems) = resource::observe_all(&view, &self.platform, &self.files).await;
        let mut desired = resource::desired_all(&view, &self.platform, &facts);
        desired.problems.extend(problems);
        Some(desired)
    }

    /// The states of these units; `None` under a root, where there is no systemd to ask.
    async fn unit_states(
        &self,
        mut names: Vec<String>,
    ) -> Result<Option<BTreeMap<String, UnitState>>, Problem> {
        names.sort_unstable();
        names.dedup();
        if !self.files.root().is_machine() {
            return Ok(None);
        }
        if names.is_empty() {
            return Ok(Some(BTreeMap::new()));
        }
        systemd::unit_states(&self.platform, &names)
            .await
            .map(Some)
            .map_err(|error| Problem {
                kind: crate::report::Kind::Cache,
                step: None,
                severity: Severity::Failure,
                message: format!("systemd does not say which units run: {}", chain(&error)),
                origin: None,
            })
    }
}

fn look(
    files: &Files,
    paths: impl Iterator<Item = PathBuf>,
) -> BTreeMap<PathBuf, Result<Found, String>> {
    files
        .read_all(paths.collect())
        .map(|(path, found)| (path, found.map_err(|error| chain(&error))))
        .collect()
}
