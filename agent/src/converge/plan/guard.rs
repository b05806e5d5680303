//! The shrink guard: a change that would take too much of a list at once is held until the document confirms it.

use std::collections::BTreeSet;

use super::super::ledger::Ledger;
use crate::report::{Kind, StepName};
use crate::resource::{Accounts, Desired};
use crate::settings::GuardSettings;

/// Whether a box would lose more than this share of its steps: those that nothing asks for any more, of all that it has.
pub(super) fn loses_most(desired: &Desired, ledger: &Ledger, guard: GuardSettings) -> bool {
    let all = ledger.steps.len();
    exceeds(gone(desired, ledger).count(), all, guard.share)
}

/// The steps that nothing asks for any more.
pub(super) fn gone<'a>(
    desired: &Desired,
    ledger: &'a Ledger,
) -> impl Iterator<Item = &'a StepName> {
    let named: BTreeSet<&StepName> = desired.steps.iter().map(|step| &step.name).collect();
    let kept: BTreeSet<&StepName> = desired.keep.iter().collect();
    let named = named
        .into_iter()
        .chain(kept)
        .cloned()
        .collect::<BTreeSet<_>>();
    ledger
        .steps
        .keys()
        .filter(move |name| !named.contains(*name))
}

/// The steps that would shrink their list past the guard, each with the sentence that says so.
pub(super) fn shrinkages(
    desired: &Desired,
    ledger: &Ledger,
    guard: GuardSettings,
) -> Vec<(StepName, String)> {
    let mut held = Vec::new();
    for (name, before) in &ledger.lists {
        let step = desired.steps.iter().find(|step| step.name == *name);
        let (what, after) = match step.map(|step| &step.list) {
            Some(Some(list)) => (list.what.as_str(), list.entries.as_slice()),
            Some(None) => continue,
            // A product that left this box takes its node list along: that was decided server by server.
            None if kind_of(ledger, name) == Some(Kind::Cache) || desired.keep.contains(name) => {
                continue;
            }
            None => ("entries", [].as_slice()),
        };
        let after: BTreeSet<&String> = after.iter().collect();
        let gone: Vec<&str> = before
            .iter()
            .filter(|entry| !after.contains(entry))
            .map(String::as_str)
            .collect();
        if gone.len() >= guard.from && exceeds(gone.len(), before.len(), guard.share) {
            let why = sentence(what, &gone, before.len());
            if Accounts::is_list(name) {
                // Each has steps of its own.
                let steps = gone.iter().flat_map(|user| Accounts::steps_of(user));
                held.extend(steps.map(|step| (step, why.clone())));
            }
            held.push((name.clone(), why));
        }
    }
    held
}

fn kind_of(ledger: &Ledger, name: &StepName) -> Option<Kind> {
    ledger.steps.get(name).map(|known| known.kind)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "lists are far shorter than 2^52"
)]
fn exceeds(gone: usize, before: usize, share: f64) -> bool {
    gone as f64 > before as f64 * share
}

fn sentence(what: &str, gone: &[&str], before: usize) -> String {
    const NAMED: usize = 5;
    let mut names = gone
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if gone.len() > NAMED {
        names.push_str(", …");
    }
    format!(
        "held: it would remove {} of {before} {what} ({names}); if that is meant, publish the next version with \"confirm\": true",
        gone.len()
    )
}
