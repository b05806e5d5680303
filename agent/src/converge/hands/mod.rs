//! The hands: how each kind of thing is looked at, compared with what is wished of it, changed, and changed back.
//!
//! A kind of thing has a module here with the same verbs: many are looked at in one call; the difference is pure; a
//! change is carried out after another look; and each change says how it is undone.

pub(super) mod account;
pub(super) mod package;
pub(super) mod path;
mod release;
mod service;
pub(super) mod unit;

pub use account::as_it_stands as account_as_it_stands;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::change::Change;
use super::ledger::{Form, Owned};
use super::situation::{Seen, Sight, Situation};
use crate::resource::{Step, Thing, Want, Wish};
use crate::system::chain;
use crate::system::file::Files;
use crate::system::platform::Platform;
use crate::system::systemd;

/// Looks at things, all of a kind in one call. Of files of which `is_whole` does not hold, and that are large, only the digest is kept.
pub(super) async fn look(
    files: &Files,
    platform: &Platform,
    things: BTreeSet<Thing>,
    is_whole: impl Fn(&Path) -> bool,
) -> Sight {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut units: Vec<String> = Vec::new();
    let mut packages: BTreeSet<String> = BTreeSet::new();
    let mut accounts: Vec<Thing> = Vec::new();
    let mut releases: Vec<Thing> = Vec::new();
    for thing in things {
        match thing {
            Thing::Path(path) => paths.push(path),
            Thing::Unit(unit) => units.push(unit),
            Thing::Package(package) => drop(packages.insert(package)),
            Thing::Group(_) | Thing::User(_) => accounts.push(thing),
            Thing::Release(_) => releases.push(thing),
        }
    }
    let mut sight: Sight = files
        .read_all(paths, is_whole)
        .map(|(path, found)| {
            let found = found.map(Seen::Path).map_err(|error| chain(&error));
            (Thing::Path(path), found)
        })
        .collect();
    for thing in releases {
        let seen = release::look(files, release::name(&thing).unwrap_or_default());
        sight.insert(thing, seen);
    }
    if files.root().is_machine() && !accounts.is_empty() {
        let users = accounts.iter().filter_map(|thing| match thing {
            Thing::User(name) => Some(name.as_str()),
            _ => None,
        });
        let seen = account::look(files, platform, users);
        sight.extend(
            accounts
                .into_iter()
                .map(|thing| (thing, seen.clone().map(Seen::Account))),
        );
    }
    if files.root().is_machine() && !units.is_empty() {
        let states = systemd::unit_states(platform, &units).await;
        let states = states
            .map_err(|error| format!("systemd does not say which units run: {}", chain(&error)));
        for unit in units {
            let state = match &states {
                Ok(states) => Ok(states.get(&unit).copied().unwrap_or_default()),
                Err(error) => Err(error.clone()),
            };
            sight.insert(Thing::Unit(unit), state.map(Seen::Unit));
        }
    }
    if files.root().is_machine() && !packages.is_empty() {
        sight.extend(package::look(files, platform, packages).await);
    }
    sight
}

/// What must change for a want of `step` to be true; nothing, where it is. The error says what is in the way.
///
/// `touched`: whether a path changes in the same step. Pure.
pub(super) fn difference(
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
    touched: &dyn Fn(&Path) -> bool,
) -> Result<Option<Change>, String> {
    match &want.thing {
        Thing::Path(path) => path::difference(path, want, step, situation),
        Thing::Unit(_) if matches!(want.wish, Wish::Service { .. }) => {
            service::difference(want, step, situation)
        }
        Thing::Unit(unit) => unit::difference(unit, want, step, situation, touched),
        Thing::Package(package) => package::difference(package, want, step, situation),
        Thing::Group(_) | Thing::User(_) => account::difference(want, step, situation),
        Thing::Release(_) => release::difference(want, step, situation),
    }
}

/// What must change for an owned thing to be gone that nothing wants; nothing, where it is or was not the agent's work.
/// Pure.
pub(super) fn removal(thing: &Thing, owned: &Owned, situation: &Situation<'_>) -> Option<Change> {
    match thing {
        Thing::Path(path) => path::removal(path, owned, situation),
        // A service that the document speaks of no more is somebody else's again, as it is.
        Thing::Unit(_) if owned.form == Form::Service => None,
        Thing::Unit(unit) => unit::removal(unit, owned, situation),
        // What came stays: nobody knows who has come to need it. Only `absent` removes. A release is pruned when it is not in use
        // any more.
        Thing::Package(_) | Thing::Release(_) => None,
        Thing::Group(_) | Thing::User(_) => account::removal(thing, owned, situation),
    }
}
