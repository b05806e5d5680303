//! Everything that a plan is worked out from: what is wanted, what was found, what is known of earlier runs. Data only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ledger::Ledger;
use super::pending::Pending;
use super::quarantine::Quarantine;
use crate::report::{DocumentId, StepName};
use crate::resource::{Desired, Thing};
use crate::settings::GuardSettings;
use crate::system::account_files::Accounts;
use crate::system::file::Found;
use crate::system::package_manager::PackageState;
use crate::system::platform::Family;
use crate::system::systemd::UnitState;

/// Everything that a plan is worked out from.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub(super) document: DocumentId,
    /// What the document wants of this box.
    pub(super) desired: &'a Desired,
    /// What the last good document wanted of it, for steps that this one's version may not touch.
    pub(super) fallback: Option<&'a Desired>,
    /// With the interrupted steps merged into it.
    pub(super) ledger: &'a Ledger,
    pub(super) pending: &'a Pending,
    pub(super) quarantine: &'a Quarantine,
    /// What was found of everything that is wanted or owned.
    pub(super) sight: &'a Sight,
    /// How versions of packages compare here.
    pub(super) family: Family,
    /// `None`: the document confirms the shrinkage, or the server is retired.
    pub(super) guard: Option<GuardSettings>,
    /// Why nothing is removed: the document would take most of what it is from most of the fleet.
    pub(super) sweeping: Option<String>,
}

impl Situation<'_> {
    /// Whether an interrupted run may have left a unit running with what it had read before.
    pub(super) fn owes(&self, step: &StepName, thing: &Thing) -> bool {
        let interrupted = self.pending.unfinished(step);
        interrupted.is_some_and(|interrupted| interrupted.owes(thing))
    }
}

/// All accounts as they were found, and which of the homes that matter are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AccountsSeen {
    pub(super) accounts: Accounts,
    /// Homes of users that were asked for, as their accounts have them, where nothing is.
    pub(super) missing_homes: BTreeSet<String>,
    /// The shell of those who never log in.
    pub(super) nologin: &'static str,
}

/// What was found of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Path(Found),
    Unit(UnitState),
    Package(PackageState),
    /// Whether a release is there and whole.
    Release(bool),
    /// All accounts of the machine.
    Account(Arc<AccountsSeen>),
}

/// What was found of each; an error where that cannot be told. Things that are left alone (units under a root) are
/// not in it.
pub(super) type Sight = BTreeMap<Thing, Result<Seen, String>>;
