//! One step, one problem, one diff.

use std::fmt::Write;

use super::{Paint, count, headline, push_indented, shown, took};
use crate::fleet::Pointer;
use crate::report::{Action, Cause, ChangeRecord, Kind, Outcome, Problem, Severity, StepRecord};

/// Origins named for one change; the rest is counted.
const ORIGINS_SHOWN: usize = 3;

/// Whether rows are told as what would be done or as what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tense {
    /// A plan.
    Would,
    /// A run.
    Did,
}

/// How much of a step is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// A line for each file and service.
    Summary,
    /// Diffs too, but not how the agent does it.
    Usual,
    /// Everything.
    All,
}

/// A step as far as it is to be told.
pub fn step(record: &StepRecord, tense: Tense, detail: Detail, paint: Paint) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "{}: {}",
        paint.bold(&shown(&record.step.0)),
        ending(record, tense, paint)
    );
    if tense == Tense::Did {
        let _ = write!(
            out,
            " {}",
            paint.dim(&format!("({})", took(record.took_ms)))
        );
    }
    out.push('\n');
    if let Some(error) = &record.error {
        let _ = write!(out, "  {} ", paint.alarm("error:"));
        push_indented(&mut out, error, 9);
    }
    if record.outcome == Outcome::PutBack {
        out.push_str("  what was there before is back; this version is not tried here again until the document changes or `agentctl apply --retry`\n");
    }
    for note in &record.notes {
        let _ = write!(out, "  {} ", paint.yellow("note:"));
        push_indented(&mut out, note, 8);
    }
    let told = |change: &&ChangeRecord| detail == Detail::All || !change.internal;
    for each in record.changes.iter().filter(told) {
        change(&mut out, each, record, detail, paint);
    }
    let left_out = record.changes.iter().filter(|change| !told(change)).count();
    if left_out > 0 && left_out == record.changes.len() {
        let _ = writeln!(
            out,
            "  only {} of the agent's own: -v shows them",
            count(left_out, "change")
        );
    }
    for activated in &record.activated {
        let verb = match tense {
            Tense::Would => "then",
            Tense::Did => "did",
        };
        let _ = writeln!(out, "  {verb} {}", shown(activated));
    }
    out
}

/// What it means for others that a unit is treated so; nothing, where that is plain.
pub(super) fn consequence(kind: Kind, action: Action) -> &'static str {
    match (kind, action) {
        (Kind::Cache, Action::Restart) => ": the cache is emptied",
        (Kind::Cache, Action::Stop) => ": what is in the cache is lost",
        _ => "",
    }
}

/// Changes that a step's line names; the others are counted.
const CHANGES_NAMED: usize = 3;

/// A step in a line of a log, with all that whoever reads it needs: `hosts: repaired: update /etc/hosts (somebody else
/// changed it); agentctl show 7`. `run`: the run's number.
pub fn step_line(record: &StepRecord, run: u64) -> String {
    let mut out = format!("{}: ", record.step);
    match record.outcome {
        Outcome::Changed => {
            let told = || record.changes.iter().filter(|change| !change.internal);
            let named = told().take(CHANGES_NAMED).map(|change| {
                let path = change.shown_as.as_ref().unwrap_or(&change.path);
                format!("{} {}", change.action.verb(), path.display())
            });
            let mut what: Vec<String> = named.collect();
            let more = told().count().saturating_sub(CHANGES_NAMED);
            if more > 0 {
                what.push(format!("{more} more"));
            }
            let units = |did: &&String| !what.contains(did);
            let activated: Vec<_> = record.activated.iter().filter(units).cloned().collect();
            what.extend(activated);
            out.push_str(did(record.cause));
            if !what.is_empty() {
                let _ = write!(out, ": {}", what.join(", "));
            }
            match record.cause {
                Cause::Intended => {}
                Cause::Drift if record.changes.is_empty() => {
                    out.push_str(" (its service did not run)");
                }
                cause => {
                    let _ = write!(out, " ({})", because(cause));
                }
            }
            let _ = write!(out, "; agentctl show {run}");
        }
        failure => {
            let why = headline(record.error.as_deref().unwrap_or("no reason is known"));
            // Not its number: a run that only fails as the one before is not kept.
            let _ = write!(out, "{}: {why}; agentctl show failed", failed(failure));
        }
    }
    shown(&out).into_owned()
}

/// How a step failed, in a few words.
const fn failed(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Changed => "changed",
        Outcome::Failed => "FAILED",
        Outcome::PutBack => "FAILED and put back",
        Outcome::Broken => "BROKEN, and could not be put back",
        Outcome::Held => "HELD",
        Outcome::Quarantined => "QUARANTINED",
    }
}

/// Why a step had something to do.
const fn because(cause: Cause) -> &'static str {
    match cause {
        Cause::Intended => "the document asks for it",
        Cause::Drift => "somebody else changed it",
        Cause::Pending => "an earlier run was interrupted before activating it",
        Cause::Unwanted => "nothing asks for it any more",
    }
}

fn ending(record: &StepRecord, tense: Tense, paint: Paint) -> String {
    // That the document asks for what is done goes without saying.
    let why = match record.cause {
        Cause::Intended => String::new(),
        Cause::Drift if record.changes.is_empty() => ": its service does not run".to_owned(),
        cause => format!(": {}", because(cause)),
    };
    match (record.outcome, tense) {
        (Outcome::Changed, Tense::Would) => {
            let verb = match record.cause {
                Cause::Intended => "would change",
                Cause::Drift => "would be repaired",
                Cause::Pending => "would be activated",
                Cause::Unwanted => "would be removed",
            };
            format!("{verb}{why}")
        }
        (Outcome::Changed, Tense::Did) => {
            format!("{}{why}", paint.green(did(record.cause)))
        }
        (Outcome::Failed, _) => format!("{}; what was there still is{why}", paint.alarm("FAILED")),
        (Outcome::PutBack, _) => format!("{}{why}", paint.alarm("FAILED and put back")),
        (Outcome::Broken, _) => format!(
            "{}: it failed, and putting back failed too; look at it now",
            paint.alarm("BROKEN")
        ),
        (Outcome::Held, _) => format!(
            "{} until the document says \"confirm\": true: it would remove too much at once",
            paint.alarm("HELD")
        ),
        (Outcome::Quarantined, _) => format!(
            "{}: this version failed here before; mend the document, or `agentctl apply --retry`",
            paint.alarm("QUARANTINED")
        ),
    }
}

/// What was done, in one word.
pub(super) const fn did(cause: Cause) -> &'static str {
    match cause {
        Cause::Intended => "changed",
        Cause::Drift => "repaired",
        Cause::Pending => "activated",
        Cause::Unwanted => "removed",
    }
}

fn change(
    out: &mut String,
    change: &ChangeRecord,
    step: &StepRecord,
    detail: Detail,
    paint: Paint,
) {
    let verb = match change.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Remove => "remove",
        Action::Enable => "enable",
        Action::Start | Action::Stop if step.kind == Kind::Services => change.action.verb(),
        Action::Start => "enable and start",
        Action::Restart => "restart",
        Action::Stop => "stop and disable",
        Action::Disable
        | Action::Mask
        | Action::Unmask
        | Action::Install
        | Action::Upgrade
        | Action::Downgrade => change.action.verb(),
        Action::Lock => "lock",
    };
    let path = change.path.to_string_lossy();
    let known = change
        .shown_as
        .as_ref()
        .map_or(path.clone(), |path| path.to_string_lossy());
    let _ = write!(
        out,
        "  {verb} {}{}",
        paint.bold(&shown(&known)),
        consequence(step.kind, change.action)
    );
    // Of what nothing asks for any more, who once asked is no reason.
    if step.cause != Cause::Unwanted && change.action != Action::Remove {
        out.push_str(&paint.dim(&asked(&change.origins)));
    }
    out.push('\n');
    if let Some(backup) = &change.backup {
        let _ = writeln!(
            out,
            "  what somebody else had written there is kept in {}",
            shown(&backup.to_string_lossy())
        );
    }
    if !change.diff.is_empty() && detail != Detail::Summary {
        let (old, new) = match change.action {
            Action::Create => ("/dev/null", &*known),
            Action::Remove => (&*known, "/dev/null"),
            _ => (&*known, &*known),
        };
        let _ = writeln!(out, "{}", paint.bold(&format!("--- {}", shown(old))));
        let _ = writeln!(out, "{}", paint.bold(&format!("+++ {}", shown(new))));
        out.push_str(&diff(&change.diff, paint));
    }
}

fn asked(origins: &[Pointer]) -> String {
    let Some(_) = origins.first() else {
        return String::new();
    };
    let named: Vec<_> = origins
        .iter()
        .take(ORIGINS_SHOWN)
        .map(|pointer| shown(&pointer.0))
        .collect();
    let more = origins.len().saturating_sub(named.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(", asked for by {}{more}", named.join(", "))
}

/// A unified diff: added lines green, removed ones red, hunk headers cyan. Control characters are shown escaped.
pub fn diff(text: &str, paint: Paint) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for line in text.split_terminator('\n') {
        let safe = shown(line);
        out.push_str(&match line.chars().next() {
            Some('+') => paint.green(&safe),
            Some('-') => paint.red(&safe),
            Some('@') => paint.cyan(&safe),
            Some('\\') => paint.dim(&safe),
            _ => safe.into_owned(),
        });
        out.push('\n');
    }
    out
}

/// A problem, in one line or as many as its message has.
pub fn problem(problem: &Problem, paint: Paint) -> String {
    let mut out = match problem.severity {
        Severity::Warning => paint.yellow("warning"),
        Severity::Failure => paint.alarm("FAILURE"),
    };
    let whose = problem
        .step
        .as_ref()
        .map_or_else(|| problem.kind.as_str().into(), |step| shown(&step.0));
    let _ = write!(out, "  {whose}: ");
    push_indented(&mut out, &problem.message, 9);
    if let Some(origin) = &problem.origin {
        let _ = writeln!(
            out,
            "         {}",
            paint.dim(&format!("asked for by {}", shown(&origin.0)))
        );
    }
    out
}

/// The heading of a plan or run's problems: `2 problems:`; nothing where there is none.
pub(super) fn problems(out: &mut String, problems: &[Problem], paint: Paint) {
    if problems.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}:", paint.bold(&count(problems.len(), "problem")));
    for each in problems {
        out.push_str("  ");
        out.push_str(&problem(each, paint).replace("\n         ", "\n           "));
    }
}
