//! What changes in one go: all packages of a step, in one transaction of the package manager.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::change::{Change, When};
use super::super::hands::package;
use super::super::plan::PlannedStep;
use super::Applier;
use super::fault::Fault;
use super::transaction::Switched;
use crate::report::{Cause, Kind, StepRecord};
use crate::resource::{Member, MemberName, PACKAGES_LOG};
use crate::system::crash;
use crate::system::package_manager::{self, Done, Refusal, Terms};

impl Applier<'_> {
    /// Carries out the changes of a step that are made together. What came true stays, also where others failed: none of it is
    /// ever put back.
    pub(super) async fn together(
        &mut self,
        step: &PlannedStep,
        row: &mut StepRecord,
        switched: &mut Switched,
    ) -> Result<(), Fault> {
        let changes: Vec<&Change> = step.at(When::Together).collect();
        let again = step.cause == Cause::Pending;
        let goes_on = again
            && step.kind() == Kind::Packages
            && package_manager::is_under_way(self.platform).await;
        if changes.is_empty() && !goes_on {
            return Ok(());
        }
        let orders = package::orders(changes.iter().copied());
        let keep = step.keep_packages.as_slice();
        let terms = Terms {
            platform: self.platform,
            patience: self.packages,
            kept: Path::new(PACKAGES_LOG),
            keep,
            again,
        };
        switched.touched |= !changes.is_empty();
        crash::point("packages begin");
        let say = |what: &str| self.say(what, step);
        let done = package_manager::carry_out(&terms, &orders, &say).await;
        crash::point("packages done");
        let Done {
            came,
            failed,
            notes,
        } = match done {
            Ok(done) => done,
            Err(Refusal(why)) => return Err(Fault::Box(why)),
        };
        row.notes.extend(notes);
        if failed.is_empty() {
            return Ok(());
        }
        for change in changes {
            let name = change.thing.package().unwrap_or_default();
            if !came.contains(name) {
                continue;
            }
            row.activated
                .push(format!("{} {name}", change.action.verb()));
            if let Some(owned) = self.owned(step, change) {
                self.ledger.things.insert(change.thing.clone(), owned);
            }
        }
        let members = members(step, &failed);
        let errors = failed.iter().map(|(name, why)| format!("{name}: {why}"));
        Err(Fault::Change {
            error: errors.collect::<Vec<_>>().join("\n"),
            members,
        })
    }
}

/// The members of a step that failed, by the package that each is.
fn members(step: &PlannedStep, failed: &BTreeMap<String, String>) -> BTreeMap<MemberName, String> {
    let of = |member: &Member| {
        let why = failed.get(&member.file)?;
        Some((member.name.clone(), why.clone()))
    };
    step.members.iter().filter_map(of).collect()
}
