//! A plan: what would change, and what speaks against it.

use std::fmt::Write;

use super::step::problems;
use super::{Paint, Tense, count, shown, step};
use crate::fleet::Name;
use crate::report::{DocumentId, Outcome, Problem, StepRecord};

/// What a plan is for.
#[derive(Debug, Clone, Copy)]
pub struct PlanFor<'a> {
    /// The server.
    pub node: &'a Name,
    /// The document.
    pub document: &'a DocumentId,
    /// Where the document came from, and what it is compared with, as part of a sentence.
    pub basis: &'a str,
}

/// A plan in full, diffs included. The first line says it all.
pub fn plan(what: PlanFor<'_>, steps: &[StepRecord], found: &[Problem], paint: Paint) -> String {
    let mut out = String::new();
    let changes = steps
        .iter()
        .filter(|step| step.outcome == Outcome::Changed)
        .count();
    let stopped = steps.len() - changes;
    let mut parts = Vec::new();
    if changes > 0 {
        parts.push(paint.yellow(&format!("{} would change", count(changes, "step"))));
    }
    if stopped > 0 {
        parts.push(paint.alarm(&format!("{} would not come true", count(stopped, "step"))));
    }
    if !found.is_empty() {
        parts.push(paint.alarm(&count(found.len(), "problem")));
    }
    if parts.is_empty() {
        parts.push(paint.green("nothing to do"));
    }
    let _ = writeln!(
        out,
        "{}: {}, for {} version {} ({})",
        what.node,
        parts.join(", "),
        what.document.fleet,
        what.document.version,
        shown(what.basis)
    );
    for each in steps {
        out.push('\n');
        out.push_str(&step(each, Tense::Would, paint));
    }
    if !found.is_empty() {
        out.push('\n');
        problems(&mut out, found, paint);
    }
    out
}
