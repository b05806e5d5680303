//! Planning any box of the fleet at a desk. Pure.

use super::ledger::{Form, KnownStep, Ledger, Owned, digest_of};
use super::pending::Pending;
use super::plan::{self, Plan};
use super::quarantine::Quarantine;
use super::situation::{Seen, Sight, Situation};
use super::{Intent, RunError};
use crate::fleet::{Document, ServerState};
use crate::node;
use crate::resource::{self, Desired, Facts, Wish, block};
use crate::settings::GuardSettings;
use crate::system::clock;
use crate::system::file::{Attributes, Found};
use crate::system::package_manager::PackageState;
use crate::system::platform::Platform;
use crate::system::systemd::UnitState;

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
    let (ledger, mut sight) = old
        .as_ref()
        .map(|old| standing_on(old, before))
        .unwrap_or_default();
    // Units that nobody has asked for yet are there, and neither run nor start at boot; packages are not there.
    for want in desired.steps.iter().flat_map(|step| &step.wants) {
        if want.thing.package().is_some() {
            let none = Ok(Seen::Package(PackageState::Absent));
            sight.entry(want.thing.clone()).or_insert(none);
        }
        if want.thing.unit().is_some() {
            sight
                .entry(want.thing.clone())
                .or_insert(Ok(Seen::Unit(UnitState {
                    loaded: true,
                    ..UnitState::default()
                })));
        }
    }
    let fleet = &intent.document.fleet;
    let retired = fleet
        .servers
        .get(&intent.node)
        .is_some_and(|server| server.state == ServerState::Retired);
    Ok(plan::plan(&Situation {
        document: intent.document.id.clone(),
        desired: &desired,
        fallback: old.as_ref(),
        ledger: &ledger,
        pending: &Pending::default(),
        quarantine: &Quarantine::empty(&intent.document.id.digest),
        sight: &sight,
        family: platform.family,
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
    let mut desired = resource::desired_all(&view, platform, &facts);
    for unfit in std::mem::take(&mut desired.unfit) {
        desired.hold(unfit.kind, unfit.step, unfit.message, unfit.origin);
    }
    Some(desired)
}

/// A box that is exactly as `desired` says.
fn standing_on(desired: &Desired, document: Option<&Document>) -> (Ledger, Sight) {
    let mut ledger = Ledger::default();
    let mut sight = Sight::new();
    for step in &desired.steps {
        let known = KnownStep {
            kind: step.kind,
            activate: step.activate.clone(),
            fast: step.fast,
        };
        ledger.steps.insert(step.name.clone(), known);
        if let Some(list) = &step.list {
            ledger.lists.insert(step.name.clone(), list.entries.clone());
        }
        for want in &step.wants {
            let at = match &want.wish {
                Wish::File { text, mode } => Seen::Path(Found::File {
                    bytes: text.bytes().into(),
                    attributes: Attributes::own(*mode),
                }),
                Wish::Placed { text, attributes } => Seen::Path(Found::File {
                    bytes: text.bytes().into(),
                    attributes: *attributes,
                }),
                Wish::Directory { attributes } => Seen::Path(Found::Directory(*attributes)),
                Wish::Block { text } => Seen::Path(Found::File {
                    bytes: block::splice(b"", text).unwrap_or_default(),
                    attributes: Attributes::own(0o644),
                }),
                Wish::Link { target } => Seen::Path(Found::Link(target.clone())),
                Wish::Installed { version, .. } => Seen::Package(PackageState::Installed {
                    version: version.clone().unwrap_or_default(),
                }),
                Wish::NotInstalled => Seen::Package(PackageState::Absent),
                Wish::Running { .. } => Seen::Unit(UnitState {
                    loaded: true,
                    active: true,
                    enabled: true,
                }),
            };
            let owned = Owned {
                kind: step.kind,
                step: step.name.clone(),
                form: Form::of(&want.wish),
                digest: digest_of(want, step),
                shown_as: want.shown_as.clone(),
                origins: want.origins.clone(),
                adopted: false,
                secret: want.wish.is_secret(),
                original: None,
                run: 0,
                written: clock::now(),
                version: document.map_or(0, |document| document.id.version),
            };
            ledger.things.insert(want.thing.clone(), owned);
            sight.insert(want.thing.clone(), Ok(at));
        }
    }
    (ledger, sight)
}
