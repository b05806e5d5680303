//! A plan: what would change, and what speaks against it.

use std::fmt::Write;

use serde::Serialize;

use super::run::wrapped;
use super::step::{consequence, problems};
use super::{Detail, Paint, Tense, count, shown, step};
use crate::fleet::Name;
use crate::report::{ChangeRecord, DocumentId, Outcome, Problem, Severity, StepRecord, is_failed};

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

/// A plan, as far as it is to be told. The first line says it all.
pub fn plan(
    what: PlanFor<'_>,
    steps: &[StepRecord],
    found: &[Problem],
    detail: Detail,
    paint: Paint,
) -> String {
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
        out.push_str(&step(each, Tense::Would, detail, paint));
    }
    if !found.is_empty() {
        out.push('\n');
        problems(&mut out, found, paint);
    }
    out
}

/// What a plan comes to for one server of many: a row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The server.
    pub node: Name,
    /// Something would change.
    pub changes: bool,
    /// Something asked for would not be there.
    pub failures: bool,
    /// The steps that would change.
    pub steps: Vec<String>,
    /// How many files would be written or removed.
    pub files: usize,
    /// What would be done to services: `reload httpd.service`.
    pub services: Vec<String>,
    /// What would not come true: steps and problems.
    pub not: Vec<String>,
}

impl Row {
    /// What this plan comes to.
    pub fn of(node: &Name, steps: &[StepRecord], found: &[Problem]) -> Self {
        let changing = || steps.iter().filter(|step| step.outcome == Outcome::Changed);
        let changes = || changing().flat_map(|step| &step.changes);
        let units = changing().flat_map(|step| {
            let units = step.changes.iter().filter(|change| is_named(change));
            units.map(|change| (step.kind, change))
        });
        let mut services: Vec<String> = units
            .map(|(kind, change)| {
                let what = format!("{} {}", change.action.verb(), change.path.display());
                match consequence(kind, change.action).strip_prefix(": ") {
                    Some(consequence) => format!("{what} ({consequence})"),
                    None => what,
                }
            })
            .chain(changing().flat_map(|step| step.activated.iter().cloned()))
            .collect();
        services.sort();
        services.dedup();
        let failing = steps.iter().filter(|step| step.outcome.is_failure());
        let problems = found
            .iter()
            .filter(|problem| problem.severity == Severity::Failure)
            .map(|problem| match &problem.step {
                Some(step) => step.0.clone(),
                None => problem.kind.to_string(),
            });
        Self {
            node: node.clone(),
            changes: changing().next().is_some(),
            failures: is_failed(steps, found),
            steps: changing().map(|step| step.step.0.clone()).collect(),
            files: changes()
                .filter(|change| !is_named(change) && !change.internal)
                .count(),
            services,
            not: failing
                .map(|step| step.step.0.clone())
                .chain(problems)
                .collect(),
        }
    }
}

/// Whether it is a unit, a package or an account: what has no path.
fn is_named(change: &ChangeRecord) -> bool {
    !change.path.is_absolute()
}

/// The width of the table of servers, and of its first column: as wide as the longest name, within these bounds. A name that is
/// longer has a line of its own.
const WIDTH: usize = 80;
const NAMES: std::ops::RangeInclusive<usize> = 18..=30;
/// The two columns of numbers, with the blanks around them.
const NUMBERS: usize = 15;

/// Many servers in a table of 80 columns; those for which there is nothing to do are counted.
pub fn table(rows: &[Row], document: &DocumentId, basis: &str, paint: Paint) -> String {
    let told: Vec<&Row> = rows
        .iter()
        .filter(|row| row.changes || row.failures)
        .collect();
    let failing = rows.iter().filter(|row| row.failures).count();
    let mut parts = vec![match told.iter().filter(|row| row.changes).count() {
        0 => paint.green("nothing to do"),
        some => paint.yellow(&format!(
            "{} of {} would change",
            some,
            count(rows.len(), "server")
        )),
    }];
    if failing > 0 {
        parts.push(paint.alarm(&format!(
            "{} would not be as it says",
            count(failing, "server")
        )));
    }
    let mut out = format!(
        "{} version {}: {} ({})\n",
        document.fleet,
        document.version,
        parts.join(", "),
        shown(basis)
    );
    if told.is_empty() {
        return out;
    }
    let longest = told.iter().map(|row| row.node.as_str().len()).max();
    let name = longest
        .unwrap_or_default()
        .clamp(*NAMES.start(), *NAMES.end());
    let services_at = name + NUMBERS;
    let heading = format!(
        "{:<name$} {:>5} {:>6} {}",
        "SERVER", "STEPS", "FILES", "SERVICES"
    );
    let _ = writeln!(out, "\n{}", paint.bold(&heading));
    for row in &told {
        let mut what = row.services.join(", ");
        if !row.not.is_empty() {
            let separator = if what.is_empty() { "" } else { "; " };
            let _ = write!(what, "{separator}NOT: {}", row.not.join(", "));
        }
        let lines = wrapped(&shown(&what), WIDTH - services_at);
        let server = row.node.as_str();
        let server = if server.len() > name {
            let _ = writeln!(out, "{server}");
            ""
        } else {
            server
        };
        let line = format!(
            "{server:<name$} {:>5} {:>6} {}",
            row.steps.len(),
            row.files,
            lines.join(&format!("\n{:services_at$}", ""))
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let idle = rows.len() - told.len();
    if idle > 0 {
        let _ = writeln!(out, "{}: nothing to do", count(idle, "other server"));
    }
    let _ = writeln!(
        out,
        "one in full: agentctl plan --as SERVER --document FILE"
    );
    out
}
