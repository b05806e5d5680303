//! What is somebody else's and not to be taken from them: it is left out of what is wished for, and told.

use std::collections::BTreeMap;
use std::path::Path;

use super::hands::path::has_text;
use super::ledger::Ledger;
use super::situation::{Seen, Sight};
use crate::report::{Kind, StepName};
use crate::resource::{Desired, LeftOut, MemberName, Step, Thing, Want, Wish, reads_as_list};
use crate::system::file::Found;

/// Takes out of `desired` what its steps do not want over what others have there. A step of one such thing is held; others
/// come true without it.
pub(super) fn leave_to_others(desired: &mut Desired, ledger: &Ledger, sight: &Sight) {
    let mut steps = std::mem::take(&mut desired.steps);
    for step in &mut steps {
        let theirs: Vec<Want> = step
            .wants
            .iter()
            .filter(|want| is_others(want, step, ledger, sight))
            .cloned()
            .collect();
        for want in theirs {
            let message = format!(
                "{} is there already, is not the agent's, and differs from what the document asks for: it stays as it is. Say \"replace\": true in the document to have it replaced (it comes back when the document lets go of the path), or move it away",
                want.thing.as_path().display()
            );
            give_up(step, &want, message, desired);
        }
    }
    // One that only has a list to guard never wanted anything.
    steps.retain(|step| !step.wants.is_empty() || !desired.keep.contains(&step.name));
    desired.steps = steps;
}

/// Takes out of `desired` what two steps want differently of one path: carried out both, they would undo each other in every run. A
/// file that the document names by its path alone gives way to what is made of another part of it; else the step that comes later does.
pub(super) fn leave_to_one(desired: &mut Desired) {
    let mut steps = std::mem::take(&mut desired.steps);
    let mut order: Vec<(usize, &Step)> = steps.iter().enumerate().collect();
    order.sort_by_key(|(_, step)| (step.kind == Kind::Files, step.wave, step.kind));
    let mut owners: BTreeMap<&Thing, (&Step, &Wish)> = BTreeMap::new();
    let mut odd: Vec<(usize, Want, StepName)> = Vec::new();
    for (index, step) in order {
        for want in step.wants.iter().filter(|want| want.thing.path().is_some()) {
            let (owner, wish) = *owners.entry(&want.thing).or_insert((step, &want.wish));
            if owner.name != step.name && *wish != want.wish {
                odd.push((index, want.clone(), owner.name.clone()));
            }
        }
    }
    for (index, want, owner) in odd {
        let message = format!(
            "{} is wanted differently by {owner}: of two that want one path this one is left out",
            want.thing.as_path().display()
        );
        if let Some(step) = steps.get_mut(index) {
            give_up(step, &want, message, desired);
        }
    }
    steps.retain(|step| !step.wants.is_empty() || !desired.keep.contains(&step.name));
    desired.steps = steps;
}

fn is_others(want: &Want, step: &Step, ledger: &Ledger, sight: &Sight) -> bool {
    if !step.not_over_others.contains(&want.thing) || ledger.things.contains_key(&want.thing) {
        return false;
    }
    let Some(Ok(Seen::Path(found))) = sight.get(&want.thing) else {
        return false;
    };
    match (&want.wish, found) {
        // What says the same is what was asked for, whoever wrote it.
        (Wish::Placed { text, .. }, Found::File { .. } | Found::Large { .. }) => {
            !has_text(found, text)
        }
        (Wish::File { text, .. }, Found::File { bytes, .. }) => {
            let is_list = |format| reads_as_list(format, bytes);
            !has_text(found, text) && !step.takes_over.is_some_and(is_list)
        }
        (Wish::File { text, .. }, Found::Large { .. }) => !has_text(found, text),
        (Wish::Link { target }, Found::Link(present)) => target != present,
        (Wish::Link { .. }, Found::File { .. } | Found::Large { .. }) => true,
        _ => false,
    }
}

fn give_up(step: &mut Step, want: &Want, message: String, desired: &mut Desired) {
    let path = want.thing.as_path();
    let origin = want.origins.first().map(|origin| origin.pointer.clone());
    let member = member_of(step, &path);
    step.wants.retain(|one| one.thing != want.thing);
    step.file_checks.retain(|check| check.path != path);
    if step.wants.is_empty() {
        desired.claims.push(want.thing.clone());
        return desired.hold(step.kind, step.name.clone(), message, origin);
    }
    desired.left_out.push(LeftOut {
        kind: step.kind,
        step: step.name.clone(),
        member,
        why: message,
        quarantined: false,
    });
}

fn member_of(step: &Step, path: &Path) -> MemberName {
    let mut named = step.members.iter().map(|member| &member.name);
    let of_path = named.rfind(|name| path.ends_with(&name.0));
    of_path
        .cloned()
        .unwrap_or_else(|| MemberName(path.display().to_string()))
}
