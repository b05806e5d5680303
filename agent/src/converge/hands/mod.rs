//! The hands: how each kind of thing is looked at, compared with what is wished of it, changed, and changed back.
//!
//! A kind of thing has a module here with the same verbs: many are looked at in one call; the difference is pure; a
//! change is carried out after another look; and each change says how it is undone.

pub(super) mod path;
pub(super) mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::ledger::Owned;
use super::plan::{Change, Situation};
use crate::resource::{Step, Thing, Want};
use crate::system::chain;
use crate::system::file::{Files, Found};
use crate::system::platform::Platform;
use crate::system::systemd::{self, UnitState};

/// What was found of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Path(Found),
    Unit(UnitState),
}

/// What was found of each; an error where that cannot be told. Things that are left alone (units under a root) are
/// not in it.
pub(super) type Sight = BTreeMap<Thing, Result<Seen, String>>;

/// How a change is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inverse {
    /// What was there before is put back.
    Restored,
    /// It is removed, for nothing was there.
    Removed,
    /// It cannot be, or need not: why.
    Never(&'static str),
}

/// Looks at things, all of a kind in one call.
pub(super) async fn look(files: &Files, platform: &Platform, things: BTreeSet<Thing>) -> Sight {
    let mut paths: BTreeSet<PathBuf> = BTreeSet::new();
    let mut units: Vec<String> = Vec::new();
    for thing in things {
        match thing {
            Thing::Path(path) => drop(paths.insert(path)),
            Thing::Unit(unit) => units.push(unit),
        }
    }
    let mut sight: Sight = files
        .read_all(paths)
        .map(|(path, found)| {
            let found = found.map(Seen::Path).map_err(|error| chain(&error));
            (Thing::Path(path), found)
        })
        .collect();
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
    sight
}

/// What must change for a want of `step` to be true; nothing, where it is. The error says what is in the way.
///
/// `touched`: whether a path changes in the same step. Pure.
pub(super) fn difference(
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
    touched: &dyn Fn(&std::path::Path) -> bool,
) -> Result<Option<Change>, String> {
    match &want.thing {
        Thing::Path(path) => path::difference(path, want, step, situation),
        Thing::Unit(unit) => unit::difference(unit, want, step, situation, touched),
    }
}

/// What must change for an owned thing to be gone that nothing wants; nothing, where it is or was not the agent's work.
/// Pure.
pub(super) fn removal(thing: &Thing, owned: &Owned, situation: &Situation<'_>) -> Option<Change> {
    match thing {
        Thing::Path(path) => path::removal(path, owned, situation),
        Thing::Unit(unit) => unit::removal(unit, owned, situation),
    }
}
