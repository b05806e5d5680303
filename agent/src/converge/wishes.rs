//! What a document wants of a box, less the members of steps that cannot be or that did not work: those stay as the
//! last good document has them or, where they are new, away.

use std::collections::{BTreeMap, BTreeSet};

use super::quarantine::Quarantine;
use crate::node::View;
use crate::report::{Kind, StepName};
use crate::resource::{self, Desired, LeftOut, MemberName, Unfit};

/// Members by step.
type Members = BTreeMap<StepName, BTreeSet<MemberName>>;

/// Works out the wishes without what cannot be and what is quarantined. `first`: the wishes with all of it. `applied`:
/// the members that are there now, by step. `again`: works the wishes out for another view.
pub(super) async fn without(
    first: Desired,
    mut view: View,
    quarantine: &Quarantine,
    old: Option<&View>,
    applied: &BTreeMap<StepName, Vec<String>>,
    again: impl AsyncFn(&View) -> Desired,
) -> Desired {
    let mut left_out: Vec<LeftOut> = Vec::new();
    let mut members = Members::new();
    for (step, failed) in &quarantine.members {
        let kind = kind_of(&first, step);
        for (member, failure) in failed {
            members
                .entry(step.clone())
                .or_default()
                .insert(member.clone());
            left_out.push(LeftOut {
                kind,
                step: step.clone(),
                member: member.clone(),
                why: failure.error.clone(),
                quarantined: true,
            });
        }
    }
    note(&first.unfit, &mut members, &mut left_out);
    leave_out(&members, &mut view, old);
    let mut desired = again(&view).await;
    if !desired.unfit.is_empty() {
        // As the last good document has them they cannot be either: away with them.
        let mut worse = Members::new();
        note(
            &std::mem::take(&mut desired.unfit),
            &mut worse,
            &mut left_out,
        );
        leave_out(&worse, &mut view, None);
        members.extend(worse);
        desired = again(&view).await;
    }
    for unfit in std::mem::take(&mut desired.unfit) {
        desired.hold(unfit.kind, unfit.step, unfit.message, unfit.origin);
    }
    hold_what_would_go(&mut desired, &mut left_out, applied);
    // Without all of its members a step would be one that nothing asks for any more, and all of it removed.
    for step in members.into_keys() {
        let is_there = desired.steps.iter().any(|wanted| wanted.name == step);
        if !is_there && !desired.keep.contains(&step) {
            desired.keep.push(step);
        }
    }
    desired.left_out = left_out;
    desired
}

/// Leaving out is for what is new, or was otherwise. What is there now and could not be made again (its template is gone)
/// stays, and with it the whole step as it is.
fn hold_what_would_go(
    desired: &mut Desired,
    left_out: &mut Vec<LeftOut>,
    applied: &BTreeMap<StepName, Vec<String>>,
) {
    let would_go = |one: &LeftOut| {
        let is_there = applied
            .get(&one.step)
            .is_some_and(|members| members.contains(&one.member.0));
        let stays = desired.steps.iter().any(|step| {
            step.name == one.step && step.members.iter().any(|member| member.name == one.member)
        });
        is_there && !stays
    };
    let (held, others): (Vec<_>, Vec<_>) = left_out.drain(..).partition(would_go);
    *left_out = others;
    for one in held {
        desired.steps.retain(|step| step.name != one.step);
        desired.hold(one.kind, one.step, one.why, None);
    }
}

/// Notes members that cannot be, each once.
fn note(unfit: &[Unfit], members: &mut Members, left_out: &mut Vec<LeftOut>) {
    for one in unfit {
        let of_step = members.entry(one.step.clone()).or_default();
        let known = left_out
            .iter()
            .any(|known| (&known.step, &known.member) == (&one.step, &one.member));
        if of_step.insert(one.member.clone()) && !known {
            left_out.push(LeftOut {
                kind: one.kind,
                step: one.step.clone(),
                member: one.member.clone(),
                why: one.message.clone(),
                quarantined: false,
            });
        }
    }
}

fn leave_out(members: &Members, view: &mut View, old: Option<&View>) {
    for (step, members) in members {
        resource::leave_out(step, members, view, old);
    }
}

fn kind_of(desired: &Desired, step: &StepName) -> Kind {
    let steps = desired.steps.iter();
    let unfit = desired.unfit.iter();
    steps
        .filter(|wanted| wanted.name == *step)
        .map(|wanted| wanted.kind)
        .chain(unfit.filter(|one| one.step == *step).map(|one| one.kind))
        .next()
        .unwrap_or(Kind::Sites)
}
