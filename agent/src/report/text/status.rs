//! The state of a box: the verdict first, then why, then what is known.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::words::split_headline;
use super::{
    Paint, age, ago, count, database_line, moment, problem, push_indented, run_line, shown,
    signed_by,
};
use crate::report::{
    BucketStatus, DocumentStatus, Health, JobStatus, Problem, ProductReadiness, Ready, Refusal,
    Severity, Status, TrustStatus,
};

/// Mistakes of a refused document that are shown; the rest is counted.
const ERRORS_SHOWN: usize = 10;

/// How a status came to whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Heard {
    /// The agent said it now.
    Live,
    /// From the status file: the agent runs, but its socket could not be asked.
    File,
    /// From the status file: the agent is there, but does not answer.
    Hung,
    /// From the status file: the agent does not run.
    Gone,
}

/// The state of a box in full.
pub fn status(status: &Status, heard: Heard, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    verdict(&mut out, status, heard, now, paint);
    let mut told = Vec::new();
    for reason in &status.reasons {
        out.push_str("  - ");
        push_indented(&mut out, reason, 4);
        // The same reason stands once: the rest of it follows here, and not again among the problems.
        if let Some((index, rest)) = behind(reason, &status.problems) {
            for line in rest {
                let _ = writeln!(out, "    {}", paint.dim(&shown(line)));
            }
            if let Some(origin) = status
                .problems
                .get(index)
                .and_then(|each| each.origin.as_ref())
            {
                let asked = format!("asked for by {}", shown(&origin.0));
                let _ = writeln!(out, "    {}", paint.dim(&asked));
            }
            told.push(index);
        }
    }
    out.push('\n');
    let found_by = &status.node.found_by;
    let server = match &status.node.name {
        Some(name) => format!("{name}, by {found_by}"),
        None => format!("not known: {found_by}"),
    };
    row(&mut out, paint, "server", &server);
    match &status.document {
        Some(document) => document_rows(&mut out, document, status.trust.as_ref(), now, paint),
        None => row(&mut out, paint, "document", "none yet"),
    }
    if let Some(rollout) = &status.rollout
        && !(rollout.taken && rollout.is_complete())
    {
        row(&mut out, paint, "rollout", &rollout.line());
    }
    if let Some(refused) = &status.refused {
        refusal(&mut out, refused, now, paint);
    }
    row(&mut out, paint, "bucket", &bucket(&status.bucket, now));
    if let Some(error) = &status.bucket.error {
        more(&mut out, error);
    }
    if let Some(error) = &status.report.error {
        let put = status.report.put.map_or_else(
            || "this machine's report was never put there".to_owned(),
            |put| format!("this machine's report there is of {}", ago(put, now)),
        );
        more(&mut out, &format!("{put}: {error}"));
    }
    row(
        &mut out,
        paint,
        "agent",
        &match heard {
            Heard::Gone => format!(
                "agentd {} was process {}, last heard of {}",
                status.agent.version,
                status.agent.pid,
                ago(status.written, now)
            ),
            _ => format!(
                "agentd {}, process {}, up {}",
                status.agent.version,
                status.agent.pid,
                age(now.as_second() - status.agent.started.as_second())
            ),
        },
    );
    for (index, database) in status.databases.iter().enumerate() {
        let label = if index == 0 { "database" } else { "" };
        row(&mut out, paint, label, &database_line(database, now));
    }
    // Of what has neither a release nor tests there is nothing to say.
    let is_told =
        |product: &&ProductReadiness| product.ready != Ready::Unknown || product.release.is_some();
    for (index, product) in status.readiness.iter().filter(is_told).enumerate() {
        let label = if index == 0 { "ready" } else { "" };
        row(&mut out, paint, label, &readiness(product, now));
    }
    for (index, dns) in status.dns.iter().enumerate() {
        row(
            &mut out,
            paint,
            if index == 0 { "dns" } else { "" },
            &dns.line(),
        );
    }
    for (index, server) in status.evictions.iter().enumerate() {
        let label = if index == 0 { "dead" } else { "" };
        row(&mut out, paint, label, &server.line());
    }
    jobs(&mut out, status, paint);
    certificates(&mut out, status, now, paint);
    if let Some(undone) = &status.undone {
        row(&mut out, paint, "undone", &undone.line());
    }
    for (label, order) in [("hold", &status.hold), ("drain", &status.drain)] {
        if let Some(order) = order {
            row(&mut out, paint, label, &order.line(now));
        }
    }
    if let Some(last) = &status.last_run {
        row(&mut out, paint, "last run", &run_line(last, now));
        if last.failed() {
            more(&mut out, &format!("see `agentctl show {}`", last.id));
        } else if status.steps.all() > 0 {
            more(&mut out, "see `agentctl show failed` for what has failed");
        }
    }
    let counters = status.counters;
    row(
        &mut out,
        paint,
        "counted",
        &format!(
            "{}, {}, {}, {}, {} since the agent started",
            counted(counters.polls, "poll"),
            counted(counters.runs, "run"),
            counted(counters.changes, "change"),
            counted(counters.repairs, "repair"),
            counted(counters.failures, "failure"),
        ),
    );
    // Those that make the box degraded stand among the reasons already.
    let drift = status
        .drift
        .iter()
        .filter(|each| !status.reasons.contains(each));
    for (index, each) in drift.enumerate() {
        row(&mut out, paint, if index == 0 { "drift" } else { "" }, each);
    }
    let problems = status.problems.iter().enumerate();
    let others = problems.filter(|(index, _)| !told.contains(index));
    for (index, (_, each)) in others.enumerate() {
        let label = if index == 0 { "problems" } else { "" };
        let text = problem(each, paint).replace("\n         ", "\n                    ");
        let _ = write!(out, "{}  {text}", paint.bold(&format!("{label:<9}")));
    }
    out
}

/// The certificate of this box's sites that ends first, and how many others there are.
fn certificates(out: &mut String, status: &Status, now: Timestamp, paint: Paint) {
    let Some(first) = status.certificates.first() else {
        return;
    };
    let left = first.until.as_second() - now.as_second();
    let when = match left / 86_400 {
        _ if left <= 0 => paint.alarm("ended"),
        0..14 => paint.alarm(&format!("{} left", count_days(left))),
        _ => format!("{} left", count_days(left)),
    };
    let others = match status.certificates.len() - 1 {
        0 => String::new(),
        others => format!("; {others} more end later"),
    };
    row(
        out,
        paint,
        "tls",
        &format!("{when}: {}{others}", first.line()),
    );
}

fn count_days(secs: i64) -> String {
    let days = usize::try_from(secs / 86_400).unwrap_or_default();
    count(days, "day")
}

/// Recorded jobs: those in trouble by name, the others by their number.
fn jobs(out: &mut String, status: &Status, paint: Paint) {
    let troubled = status.jobs.iter().filter(|job| job.state.is_trouble());
    let mut rows: Vec<String> = troubled.map(JobStatus::line).collect();
    let well = status.jobs.len() - rows.len();
    if rows.is_empty() && well == 0 {
        return;
    }
    if rows.is_empty() {
        rows.push(format!("{}, all well", count(well, "recorded job")));
    } else {
        rows.push(format!("{well} more, all well; see `agentctl jobs`"));
    }
    for (index, text) in rows.iter().enumerate() {
        row(out, paint, if index == 0 { "jobs" } else { "" }, text);
    }
}

fn readiness(product: &ProductReadiness, now: Timestamp) -> String {
    let release = product
        .release
        .as_ref()
        .map_or_else(String::new, |release| format!(", release {release}"));
    let (name, ready) = (&product.product, product.ready.as_str());
    match product.ready {
        Ready::True => format!(
            "{name}: {ready}{release}, since {}",
            ago(product.since, now)
        ),
        Ready::False => format!(
            "{name}: {ready}{release}, since {}: {}",
            ago(product.since, now),
            product.reason
        ),
        Ready::Unknown => format!("{name}: {ready}{release}: {}", product.reason),
    }
}

/// The problem that a reason is the headline of: which, and what else it says.
fn behind<'a>(reason: &str, problems: &'a [Problem]) -> Option<(usize, Vec<&'a str>)> {
    problems.iter().enumerate().find_map(|(index, problem)| {
        let whose = problem
            .step
            .as_ref()
            .map_or_else(|| problem.kind.to_string(), ToString::to_string);
        let (headline, rest) = split_headline(&problem.message);
        (problem.severity == Severity::Failure && reason == format!("{whose}: {headline}"))
            .then_some((index, rest))
    })
}

/// The first line: all that somebody needs who only glances.
fn verdict(out: &mut String, status: &Status, heard: Heard, now: Timestamp, paint: Paint) {
    let name = status
        .node
        .name
        .as_ref()
        .map_or("this box", |name| name.as_str());
    let on = status.document.as_ref().map_or_else(
        || "no document".to_owned(),
        |document| format!("{} version {}", document.id.fleet, document.id.version),
    );
    let confirmed = status
        .document
        .as_ref()
        .map_or_else(String::new, |document| {
            format!(", confirmed {}", ago(document.confirmed, now))
        });
    let written = ago(status.written, now);
    let _ = match heard {
        Heard::Live | Heard::File => {
            let _ = match status.health {
                Health::Converged if status.retired.is_some() => {
                    let left = status.retired.unwrap_or_default();
                    let left = usize::try_from(left).unwrap_or(usize::MAX);
                    if left == 0 {
                        write!(
                            out,
                            "{name}: {} by {on}: nothing of the agent's is left, may be switched off",
                            paint.green("retired")
                        )
                    } else {
                        write!(
                            out,
                            "{name}: {} by {on}, and {} of the agent's still here",
                            paint.alarm("retired"),
                            count(left, "thing")
                        )
                    }
                }
                Health::Converged => {
                    write!(
                        out,
                        "{name}: {} on {on}{confirmed}",
                        paint.green("converged")
                    )
                }
                Health::Degraded => write!(
                    out,
                    "{name}: {}: {}, on {on}{confirmed}",
                    paint.alarm("DEGRADED"),
                    count(status.reasons.len().max(1), "problem")
                ),
                Health::Waiting => write!(
                    out,
                    "{name}: {}: it does not know yet what to be",
                    paint.alarm("WAITING")
                ),
            };
            if heard == Heard::File {
                write!(out, " (from the status file, written {written})")
            } else {
                Ok(())
            }
        }
        Heard::Hung => write!(
            out,
            "{name}: {}; this is what it said {written}, when it was {} on {on}",
            paint.alarm("AGENT DOES NOT ANSWER"),
            health(status.health)
        ),
        Heard::Gone => write!(
            out,
            "{name}: {}; this is what it said {written}, when it was {} on {on}",
            paint.alarm("AGENT NOT RUNNING"),
            health(status.health)
        ),
    };
    out.push('\n');
    match heard {
        Heard::Gone => out.push_str(
            "  - nothing keeps this box as the document says; start it: systemctl start agentd; why it stopped: journalctl -u agentd\n",
        ),
        Heard::Hung => out.push_str(
            "  - see what it is doing: systemctl status agentd, journalctl -u agentd; then systemctl restart agentd\n",
        ),
        Heard::Live | Heard::File => {}
    }
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::Converged => "converged",
        Health::Degraded => "degraded",
        Health::Waiting => "waiting",
    }
}

fn document_rows(
    out: &mut String,
    document: &DocumentStatus,
    trust: Option<&TrustStatus>,
    now: Timestamp,
    paint: Paint,
) {
    let expiry = if document.expires > now {
        format!("expires {}", ago(document.expires, now))
    } else {
        paint.alarm(&format!("EXPIRED {}", ago(document.expires, now)))
    };
    let _ = writeln!(
        out,
        "{}  {} version {}, issued {} ({}), {expiry}",
        paint.bold(&format!("{:<9}", "document")),
        document.id.fleet,
        document.id.version,
        moment(document.issued),
        ago(document.issued, now),
    );
    if let Some(expires) = trust.and_then(|trust| trust.expires) {
        more(
            out,
            &format!(
                "who signs is said until {} ({})",
                moment(expires),
                ago(expires, now)
            ),
        );
    }
    more(
        out,
        &format!(
            "the bucket said {} that it is the present one",
            ago(document.confirmed, now)
        ),
    );
    if document.trust == "none" {
        more(out, "trust none: unsigned documents are accepted");
    } else {
        let signed = signed_by(&document.signers).unwrap_or_else(|| "signed by nobody".into());
        let generation = match trust.map_or(0, |trust| trust.generation) {
            0 => String::new(),
            number => format!(", by trust {number}"),
        };
        more(
            out,
            &format!("{signed} (needed: {}{generation})", document.trust),
        );
    }
}

fn refusal(out: &mut String, refused: &Refusal, now: Timestamp, paint: Paint) {
    let what = refused.version.map_or_else(
        || "the newest document".to_owned(),
        |version| format!("version {version}"),
    );
    let _ = writeln!(
        out,
        "{}  {what}, {}, for {}:",
        paint.alarm(&format!("{:<9}", "REFUSED")),
        ago(refused.since, now),
        count(refused.errors.len(), "reason"),
    );
    for error in refused.errors.iter().take(ERRORS_SHOWN) {
        more(out, error);
    }
    let left = refused.errors.len().saturating_sub(ERRORS_SHOWN);
    if left > 0 {
        more(
            out,
            &format!("and {left} more: `agentctl validate` lists all"),
        );
    }
}

fn bucket(bucket: &BucketStatus, now: Timestamp) -> String {
    let answered = bucket.last_answer.map_or_else(
        || "has not answered yet".to_owned(),
        |at| format!("last good answer {}", ago(at, now)),
    );
    let latency = bucket
        .latency_ms
        .map_or_else(String::new, |ms| format!(" in {}", super::took(ms)));
    let failures = match bucket.failures {
        0 => String::new(),
        1 => "; the last request failed".to_owned(),
        number => format!("; the last {number} requests failed"),
    };
    format!("{}: {answered}{latency}{failures}", bucket.url)
}

fn counted(number: u64, noun: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), noun)
}

fn row(out: &mut String, paint: Paint, label: &str, text: &str) {
    let _ = writeln!(
        out,
        "{}  {}",
        paint.bold(&format!("{label:<9}")),
        shown(text)
    );
}

fn more(out: &mut String, text: &str) {
    out.push_str("           ");
    push_indented(out, text, 11);
}
