//! Putting back what was there before a step, and making that take effect.

use super::super::change::{After, Change, Inverse, When};
use super::super::hands::{account, path, unit};
use super::super::plan::PlannedStep;
use super::super::saved::Saved;
use super::transaction::Switched;
use super::{Applier, activate};
use crate::system::crash;

impl Applier<'_> {
    /// Puts back what was there before the step, newest change first, and makes that take effect.
    pub(super) async fn put_back(
        &mut self,
        step: &PlannedStep,
        switched: &Switched,
    ) -> Result<(), String> {
        let mut errors = Vec::new();
        for undo in switched.undo.iter().rev() {
            if undo.thing.is_account() && self.files.root().is_machine() {
                errors.extend(
                    account::put_back(self.files, &undo.thing, &undo.before)
                        .await
                        .err(),
                );
            }
            let Some(path) = undo.thing.path() else {
                continue;
            };
            errors.extend(path::put_back(self.files, path, &undo.before).err());
            if undo.before == Saved::Absent && !self.ledger.things.contains_key(&undo.thing) {
                self.remove_made_dirs(path);
            }
            crash::point("put back");
        }
        if self.files.root().is_machine() && switched.live {
            self.undo_units(step, switched, &mut errors).await;
            for activation in &step.known.activate {
                let again = activate::activation(self.platform, activation, self.booting).await;
                errors.extend(again.err());
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join("; "))
        }
    }

    async fn undo_units(&self, step: &PlannedStep, switched: &Switched, errors: &mut Vec<String>) {
        let undone = |change: &&Change| !matches!(change.inverse, Inverse::Never(_));
        for change in step.at(When::Activate).filter(undone) {
            let changed = switched.undo.iter().find(|undo| undo.thing == change.thing);
            if let (Some(name), Some(After::Unit(order)), Some(Saved::Unit(state))) = (
                change.thing.unit(),
                &change.after,
                changed.map(|undo| &undo.before),
            ) {
                let undo = unit::undo(*state, change.inverse, *order);
                errors.extend(unit::commit(self.platform, name, undo, false).await.err());
            }
        }
    }
}
