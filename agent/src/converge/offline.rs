//! Planning any box of the fleet at a desk. Pure.

use std::sync::Arc;

use super::ledger::{Form, KnownStep, Ledger, Owned, digest_of, groups_of};
use super::pending::Pending;
use super::plan::{self, Plan};
use super::quarantine::Quarantine;
use super::situation::{AccountsSeen, Seen, Sight, Situation};
use super::{Intent, RunError};
use crate::fleet::{AtBoot, Document, ServerState};
use crate::node;
use crate::resource::{self, Desired, Facts, Thing, Want, Wish, block};
use crate::settings::GuardSettings;
use crate::system::account_files::{Accounts, Group, User};
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
    let accounts = Arc::new(assumed_accounts(&desired, old.as_ref(), platform));
    for want in all_wants(&desired, old.as_ref()).filter(|want| want.thing.is_account()) {
        sight.insert(want.thing.clone(), Ok(Seen::Account(Arc::clone(&accounts))));
    }
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
    let before = || Ok::<_, RunError>(before.map(|before| (*before.fleet).clone()));
    let sweeping = plan::sweeping(&desired, &ledger, GuardSettings::default(), before, fleet)?;
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
        sweeping,
    }))
}

fn wishes(document: &Document, intent: &Intent, platform: &Platform) -> Option<Desired> {
    let view = node::view(
        &document.fleet,
        &intent.node,
        intent.hosts,
        &intent.elections,
        &intent.evictions,
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
                Wish::Release(_) => Seen::Release(true),
                Wish::Private {
                    text,
                    mode,
                    uid,
                    gid,
                } => Seen::Path(Found::File {
                    bytes: text.exposed().into(),
                    attributes: Attributes {
                        mode: *mode,
                        uid: *uid,
                        gid: *gid,
                    },
                }),
                // All of them at once, when it is known which others are asked for.
                Wish::Group { .. } | Wish::User(_) | Wish::NoUser { .. } => {
                    Seen::Account(Arc::default())
                }
                Wish::Service { running, enabled } => Seen::Unit(UnitState {
                    loaded: *enabled != Some(AtBoot::Masked),
                    active: *running == Some(true),
                    enabled: *enabled == Some(AtBoot::Enabled),
                    masked: *enabled == Some(AtBoot::Masked),
                    ..UnitState::default()
                }),
                Wish::Running { .. } => Seen::Unit(UnitState {
                    loaded: true,
                    active: true,
                    enabled: true,
                    ..UnitState::default()
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
                attributes: want.wish.attributes(),
                original: None,
                groups: groups_of(want),
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

fn all_wants<'a>(desired: &'a Desired, old: Option<&'a Desired>) -> impl Iterator<Item = &'a Want> {
    let steps = desired.steps.iter();
    let steps = steps.chain(old.into_iter().flat_map(|old| &old.steps));
    steps.flat_map(|step| &step.wants)
}

/// The accounts of a box that stands on `old`, with the groups that it is taken to have besides.
fn assumed_accounts(desired: &Desired, old: Option<&Desired>, platform: &Platform) -> AccountsSeen {
    let mut accounts = Accounts::default();
    let is_made = |name: &String| {
        all_wants(desired, old)
            .any(|want| matches!(&want.thing, Thing::Group(made) if made == name))
    };
    for want in all_wants(desired, old) {
        if let Wish::User(wish) = &want.wish {
            let named = wish.groups.iter().chain([&wish.group]);
            for group in named.filter(|group| !is_made(group)) {
                accounts.insert_group(group, Group::default());
            }
        }
    }
    let of_old = || {
        old.into_iter()
            .flat_map(|old| old.steps.iter().flat_map(|step| &step.wants))
    };
    for want in of_old() {
        if let (Thing::Group(name), Wish::Group { gid }) = (&want.thing, &want.wish) {
            let gid = *gid;
            accounts.insert_group(
                name,
                Group {
                    gid,
                    ..Group::default()
                },
            );
        }
    }
    for want in of_old() {
        if let (Thing::User(name), Wish::User(wish)) = (&want.thing, &want.wish) {
            let gid = accounts.group(&wish.group).map_or(0, |group| group.gid);
            let user = User {
                uid: wish.uid,
                gid,
                groups: wish.groups.clone(),
                comment: wish.comment.clone().unwrap_or_default(),
                home: wish.home.clone(),
                shell: wish.shell.clone(),
                ..User::default()
            };
            accounts.insert_user(name, user);
        }
    }
    AccountsSeen {
        accounts,
        nologin: resource::nologin(platform),
        ..AccountsSeen::default()
    }
}
