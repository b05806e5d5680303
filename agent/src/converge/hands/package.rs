//! Packages: there, in the version that is asked for, or not there. All of a step's change in one transaction.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::super::change::{After, Change, Inverse, When};
use super::super::ledger::{Form, digest_of};
use super::super::saved::Saved;
use super::super::situation::{Seen, Situation};
use crate::report::Action;
use crate::resource::{PACKAGES_KEPT, Step, Thing, Want, Wish};
use crate::system::file::Files;
use crate::system::package_manager::{self, Order, PackageState, Version, Wanted};
use crate::system::platform::Platform;

/// Looks at packages, all in one call, and at what was answered last where the package database has not changed since.
pub(super) async fn look(
    files: &Files,
    platform: &Platform,
    packages: BTreeSet<String>,
) -> Vec<(Thing, Result<Seen, String>)> {
    let kept = PACKAGES_KEPT.as_ref();
    let states = package_manager::look(files, platform.family, kept, &packages).await;
    let of = |name: String| {
        let seen = match &states {
            Ok(states) => Ok(Seen::Package(
                states.get(&name).cloned().unwrap_or(PackageState::Absent),
            )),
            Err(error) => Err(error.clone()),
        };
        (Thing::Package(name), seen)
    };
    packages.into_iter().map(of).collect()
}

/// See [`super::difference`].
pub(super) fn difference(
    name: &str,
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
) -> Result<Option<Change>, String> {
    let state = match situation.sight.get(&want.thing) {
        Some(Ok(Seen::Package(state))) => state,
        Some(Err(error)) => return Err(error.clone()),
        // Under a root nobody has looked.
        Some(Ok(_)) | None => return Ok(None),
    };
    let Some((action, wanted)) = order(name, &want.wish, state, situation)? else {
        return Ok(None);
    };
    let owned = situation.ledger.things.get(&want.thing);
    let wished = digest_of(want, step);
    Ok(Some(Change {
        thing: want.thing.clone(),
        action,
        when: When::Together,
        before: Saved::Package(state.version().map(str::to_owned)),
        inverse: Inverse::Never("who has come to need a package, nobody knows"),
        after: Some(After::Package(wanted)),
        form: Form::Package,
        drift: owned.is_some_and(|owned| owned.digest == wished),
        digest: wished,
        adopts: false,
        backup: false,
        diff_base: None,
        hidden: false,
        shown_as: None,
        origins: want.origins.clone(),
    }))
}

/// What is to be done; nothing, where all is as wished.
fn order(
    name: &str,
    wish: &Wish,
    state: &PackageState,
    situation: &Situation<'_>,
) -> Result<Option<(Action, Wanted)>, String> {
    let (version, downgrade) = match wish {
        Wish::NotInstalled => {
            let gone = (Action::Remove, Wanted::Gone);
            return Ok((*state != PackageState::Absent).then_some(gone));
        }
        Wish::Installed { version, downgrade } => (version, *downgrade),
        _ => return Err(format!("{name} is a package")),
    };
    let action = match (state, version) {
        (PackageState::Installed { version: found }, Some(wanted)) => {
            let wanted = Version::of(wanted);
            if wanted.fits(found) {
                return Ok(None);
            }
            match wanted.compared_with(found, situation.family) {
                Ordering::Greater if !downgrade => {
                    return Err(format!("{name} is there in a newer version, {found}"));
                }
                Ordering::Greater => Action::Downgrade,
                Ordering::Less | Ordering::Equal => Action::Upgrade,
            }
        }
        (PackageState::Installed { .. }, None) => return Ok(None),
        (PackageState::Absent | PackageState::Broken { .. }, _) => Action::Install,
    };
    let wanted = Wanted::There {
        version: version.clone(),
        downgrade: action == Action::Downgrade,
    };
    Ok(Some((action, wanted)))
}

/// The orders of a step's changes of packages.
pub(in super::super) fn orders<'c>(changes: impl IntoIterator<Item = &'c Change>) -> Vec<Order> {
    let orders = changes.into_iter().filter_map(|change| {
        let Some(After::Package(wanted)) = &change.after else {
            return None;
        };
        Some(Order {
            name: change.thing.package()?.to_owned(),
            wanted: wanted.clone(),
        })
    });
    orders.collect()
}

/// Keeps what the package database says of what is wanted, for the next look.
pub(in super::super) async fn remember<'s>(
    files: &Files,
    platform: &Platform,
    steps: impl Iterator<Item = &'s Step>,
) {
    let names: BTreeSet<String> = steps
        .flat_map(|step| step.wants.iter().filter_map(|want| want.thing.package()))
        .map(str::to_owned)
        .collect();
    if files.root().is_machine() {
        package_manager::refresh(files, platform.family, PACKAGES_KEPT.as_ref(), &names).await;
    }
}
