//! Runs: one in full, one in a line, many in a table.

use std::fmt::Write;

use jiff::Timestamp;

use super::step::{did, problems};
use super::{Detail, Paint, Tense, ago, count, moment, step, took};
use crate::fleet::names::KeyName;
use crate::report::{Outcome, RunRecord, Severity, Trigger};

/// One run, as far as it is to be told.
pub fn run(record: &RunRecord, detail: Detail, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    if record.id == 0 {
        let idle = record.steps.is_empty() && record.problems.is_empty();
        let _ = writeln!(
            out,
            "{}: {}, for {} version {}",
            record.node,
            if idle {
                paint.green("nothing to do")
            } else {
                paint.alarm("nothing new: as in the run before")
            },
            record.document.fleet,
            record.document.version
        );
    } else {
        let _ = writeln!(
            out,
            "{} on {}: {}, {} ({}), in {}",
            paint.bold(&format!("run {}", record.id)),
            record.node,
            trigger(record.trigger),
            moment(record.started),
            ago(record.started, now),
            took(record.took_ms),
        );
        let _ = writeln!(
            out,
            "for {} version {} {}",
            record.document.fleet,
            record.document.version,
            paint.dim(&format!("(sha256 {})", record.document.digest))
        );
        if let Some(signed) = signed_by(&record.signers) {
            let _ = writeln!(out, "{signed}");
        }
    }
    for each in &record.steps {
        out.push('\n');
        out.push_str(&step(each, Tense::Did, detail, paint));
    }
    if !record.problems.is_empty() {
        out.push('\n');
        problems(&mut out, &record.problems, paint);
    }
    out
}

/// Who signed a document: `signed by alice, bob`; `None`: nobody that was asked to.
pub fn signed_by(signers: &[KeyName]) -> Option<String> {
    (!signers.is_empty()).then(|| format!("signed by {}", key_names(signers)))
}

/// Names of keys in one line: `alice, bob`.
pub fn key_names(names: &[KeyName]) -> String {
    let names: Vec<&str> = names.iter().map(KeyName::as_str).collect();
    names.join(", ")
}

/// What started a run, as part of a sentence.
const fn trigger(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Start => "the first run of the agent",
        Trigger::Poll => "started by a poll",
        Trigger::Lease => "started by a change of master",
        Trigger::Eviction => "started by a server that died or came back",
        Trigger::Drift => "started by drift",
        Trigger::Signal => "started by SIGHUP",
        Trigger::Person => "started by a person",
    }
}

const fn trigger_word(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Start => "start",
        Trigger::Poll => "poll",
        Trigger::Lease => "lease",
        Trigger::Eviction => "eviction",
        Trigger::Drift => "drift",
        Trigger::Signal => "signal",
        Trigger::Person => "person",
    }
}

/// A run in a line: `run 17 (drift), 3 min ago, in 12 ms: repaired hosts`.
pub fn run_line(record: &RunRecord, now: Timestamp) -> String {
    format!(
        "run {} ({}), {}, in {}: {}",
        record.id,
        trigger_word(record.trigger),
        ago(record.started, now),
        took(record.took_ms),
        summary(record)
    )
}

/// Steps of one outcome that a summary names; the others are counted.
const NAMED: usize = 5;

/// What a run did, in a few words: `changed cache/shop, hosts; FAILED sites; 1 problem`.
pub fn summary(record: &RunRecord) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for step in &record.steps {
        let word = match step.outcome {
            Outcome::Changed => did(step.cause),
            Outcome::Failed => "FAILED",
            Outcome::PutBack => "PUT BACK",
            Outcome::Broken => "BROKEN",
            Outcome::Held => "HELD",
            Outcome::Quarantined => "QUARANTINED",
        };
        match groups.iter_mut().find(|(known, _)| *known == word) {
            Some((_, steps)) => steps.push(&step.step.0),
            None => groups.push((word, vec![&step.step.0])),
        }
    }
    let mut parts: Vec<String> = groups
        .iter()
        .map(|(word, steps)| {
            let named = steps.iter().take(NAMED).copied().collect::<Vec<_>>();
            let more = match steps.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{word} {}{more}", named.join(", "))
        })
        .collect();
    for (severity, noun) in [
        (Severity::Failure, "problem"),
        (Severity::Warning, "warning"),
    ] {
        let number = record
            .problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count();
        if number > 0 {
            parts.push(count(number, noun));
        }
    }
    if parts.is_empty() {
        "nothing to do".into()
    } else {
        super::shown(&parts.join("; ")).into_owned()
    }
}

/// The width of tables, in characters: that of a terminal that nobody has widened.
const WIDTH: usize = 80;
/// Where the last column of the table of runs begins.
const WHAT_AT: usize = 54;

/// The last runs as a table of 80 columns, in the order given.
pub fn history(records: &[RunRecord], paint: Paint) -> String {
    let mut out = String::new();
    let heading = format!(
        "{:>5}  {:<20}  {:<6}  {:>7}  {:<7} {}",
        "RUN", "WHEN", "BY", "VERSION", "RESULT", "WHAT"
    );
    let _ = writeln!(out, "{}", paint.bold(&heading));
    for record in records {
        let failed = record.failed();
        let result = format!(
            "{:<7}",
            match (record.changed(), failed) {
                (_, true) => "FAILED",
                (true, false) => "changed",
                (false, false) => "ok",
            }
        );
        let result = if failed {
            paint.alarm(&result)
        } else {
            paint.green(&result)
        };
        let when = moment(record.started);
        let mut what = summary(record);
        if let Some(signed) = signed_by(&record.signers) {
            what.push_str("; ");
            what.push_str(&signed);
        }
        let what = wrapped(&what, WIDTH - WHAT_AT);
        let _ = writeln!(
            out,
            "{:>5}  {when:<20}  {:<6}  {:>7}  {result} {}",
            record.id,
            trigger_word(record.trigger),
            record.document.version,
            what.join(&format!("\n{:WHAT_AT$}", ""))
        );
    }
    out
}

/// Lines of at most so many characters, broken between words; a longer word stands alone.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(word);
    }
    lines
}
