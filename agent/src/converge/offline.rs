//! Planning any box of the fleet at a desk. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ledger::{Form, KnownStep, Ledger, Owned, digest_of};
use super::pending::Pending;
use super::plan::{self, Plan, Situation};
use super::quarantine::Quarantine;
use super::{Intent, RunError};
use crate::fleet::{Document, ServerState};
use crate::node;
use crate::resource::{self, Content, Desired, Facts, block};
use crate::settings::GuardSettings;
use crate::system::clock;
use crate::system::file::{Attributes, Found};
use crate::system::platform::Platform;

/// The plan for a server on a machine that has nothing yet or, with `before`, that stands on that document.
///
/// Pure but for the date in rows that are not shown: for planning any box of the fleet at a desk.
/// Accounts and Apache's own configuration are taken as fitting.
pub fn plan_offline(
    intent: &Intent,
    before: Option<&Document>,
    platform: &Platform,
) -> Result<Plan, RunError> {
    let desired = wishes(&intent.document, intent, platform)
        .ok_or_else(|| RunError::NotInDocument(intent.node.clone()))?;
    let old = before.and_then(|before| wishes(before, intent, platform));
    let (ledger, found) = old
        .as_ref()
        .map(|old| standing_on(old, before))
        .unwrap_or_default();
    let fleet = &intent.document.fleet;
    let retired = fleet
        .servers
        .get(&intent.node)
        .is_some_and(|server| server.state == ServerState::Retired);
    Ok(plan::plan(&Situation {
        document: intent.document.id.clone(),
        desired,
        fallback: old,
        ledger: &ledger,
        pending: &Pending::default(),
        quarantine: &Quarantine {
            digest: intent.document.id.digest.clone(),
            steps: BTreeMap::new(),
        },
        found: &found,
        units: None,
        guard: (!fleet.confirm && !retired).then(GuardSettings::default),
    }))
}

fn wishes(document: &Document, intent: &Intent, platform: &Platform) -> Option<Desired> {
    let view = node::view(
        &document.fleet,
        &intent.node,
        intent.hosts,
        &intent.elections,
    )?;
    let facts = Facts::assumed();
    Some(resource::desired_all(&view, platform, &facts))
}

/// A box that is exactly as `desired` says.
fn standing_on(
    desired: &Desired,
    document: Option<&Document>,
) -> (Ledger, BTreeMap<PathBuf, Result<Found, String>>) {
    let mut ledger = Ledger::default();
    let mut found = BTreeMap::new();
    for step in &desired.steps {
        let known = KnownStep {
            kind: step.kind,
            activate: step.activate.clone(),
        };
        ledger.steps.insert(step.name.clone(), known);
        if let Some(list) = &step.list {
            ledger.lists.insert(step.name.clone(), list.entries.clone());
        }
        for entry in &step.entries {
            let owned = Owned {
                kind: step.kind,
                step: step.name.clone(),
                form: Form::of(&entry.content),
                digest: digest_of(&entry.content),
                shown_as: entry.shown_as.clone(),
                origins: entry.origins.clone(),
                adopted: false,
                run: 0,
                written: clock::now(),
                version: document.map_or(0, |document| document.id.version),
            };
            ledger.paths.insert(entry.path.clone(), owned);
            let at = match &entry.content {
                Content::File { text, mode } => Found::File {
                    bytes: text.clone().into_bytes(),
                    attributes: Attributes::own(*mode),
                },
                Content::Block { text } => {
                    let whole = block::splice("", text).unwrap_or_default();
                    Found::File {
                        bytes: whole.into_bytes(),
                        attributes: Attributes::own(0o644),
                    }
                }
                Content::Link { target } => Found::Link(target.clone()),
            };
            found.insert(entry.path.clone(), Ok(at));
        }
    }
    (ledger, found)
}
