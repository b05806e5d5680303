//! A diagnosis as people read it.

use std::fmt::Write as _;

use super::finding::{Diagnosis, Severity, Skipped};
use crate::report::text::{Paint, count, shown};

/// The verdict first, then each finding with how to mend it.
pub fn text(diagnosis: &Diagnosis, paint: Paint) -> String {
    let number = |severity| {
        let of_it = diagnosis
            .findings
            .iter()
            .filter(|finding| finding.severity == severity);
        of_it.count()
    };
    let (broken, warnings) = (number(Severity::Broken), number(Severity::Warning));
    let looked = count(diagnosis.checks.len(), "check");
    let mut out = match (broken, warnings) {
        (0, 0) => format!(
            "{}: nothing keeps the agent from working ({looked})\n",
            paint.green("healthy")
        ),
        (0, _) => format!(
            "{}: the agent can work; {} ({looked})\n",
            paint.yellow("to look at"),
            count(warnings, "thing")
        ),
        _ => format!(
            "{}: {} the agent from working, {} to look at ({looked})\n",
            paint.alarm("BROKEN"),
            match broken {
                1 => "1 thing keeps".to_owned(),
                many => format!("{many} things keep"),
            },
            warnings,
        ),
    };
    match diagnosis.retired {
        Some(0) => {
            let _ = writeln!(
                out,
                "  {}: nothing of the agent's is left, may be switched off",
                paint.green("retired")
            );
        }
        Some(left) => {
            let _ = writeln!(
                out,
                "  {}: {} of the agent's still here; agentctl apply removes what is left, agentctl why NAME tells of each",
                paint.alarm("retired"),
                count(left, "thing")
            );
        }
        None => {}
    }
    for finding in &diagnosis.findings {
        let label = match finding.severity {
            Severity::Broken => paint.alarm("BROKEN "),
            Severity::Warning => paint.yellow("warning"),
        };
        let _ = writeln!(
            out,
            "  {label}  {}: {}",
            paint.bold(finding.check),
            one_line(&finding.message)
        );
        let _ = writeln!(out, "           {}", one_line(&finding.hint));
    }
    for (why, checks) in by_reason(&diagnosis.skipped) {
        let line = format!("  not seen {}: {}", checks.join(", "), one_line(why));
        let _ = writeln!(out, "{}", paint.dim(&line));
    }
    out
}

/// What could not be looked at, once for each reason, in order.
fn by_reason(skipped: &[Skipped]) -> Vec<(&str, Vec<&str>)> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for each in skipped {
        match reasons.iter_mut().find(|(why, _)| *why == each.why) {
            Some((_, checks)) => checks.push(each.check),
            None => reasons.push((&each.why, vec![each.check])),
        }
    }
    reasons
}

/// What commands and libraries say may have many lines.
fn one_line(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    shown(&lines.join("; ")).into_owned()
}
