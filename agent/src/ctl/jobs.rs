//! `agentctl jobs`: how the recorded cron jobs of this box went.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::local_status::last_written;
use super::place;
use crate::report::text::{Paint, ago, count, shown};
use crate::report::{JobState, JobStatus};
use crate::resource::{JobRecord, look_at_jobs};
use crate::system::clock;
use crate::system::file::{Attributes, Files};

/// So many lines of what a job printed are shown in the list; all of them where one job is asked for.
const LINES: usize = 3;
/// The widest column of names; a longer name has a line of its own.
const WIDEST_NAME: usize = 28;

#[derive(Serialize)]
struct Jobs {
    format: u32,
    jobs: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    status: JobStatus,
    /// The end of what its last run printed. `None`: none ended, or this account may not read it.
    output: Option<String>,
}

/// Lists them, or one. Exits with 1 where one of those listed is in trouble.
pub fn jobs(global: &Global, only: Option<&str>, console: Console) -> Result<u8, Failure> {
    let files = place::files(global)?;
    let mut jobs = seen(&files, console)?;
    if let Some(only) = only {
        jobs.retain(|job| job.job == only);
        if jobs.is_empty() {
            return Err(Failure::new(format!("no job {only} is recorded on this box"))
                .hint("agentctl jobs lists those that are; a job is recorded where the document says \"record\": true"));
        }
    }
    if jobs.is_empty() {
        console.note(
            "no cron job of this box is recorded; say \"record\": true of one in the document",
        );
    }
    let is_bad = jobs.iter().any(|job| job.state.is_trouble());
    let rows = jobs.into_iter().map(|status| {
        let record = JobRecord::read(&files, &status.job).ok().flatten();
        Row {
            output: record.and_then(|record| Some(record.last?.output)),
            status,
        }
    });
    let said = Jobs {
        format: 1,
        jobs: rows.collect(),
    };
    let now = clock::now();
    let lines = if only.is_some() { usize::MAX } else { LINES };
    console.print(&said, |paint| text(&said, lines, now, paint))?;
    Ok(u8::from(is_bad))
}

/// How they are. Who may not read the records gets what the agent last said of them.
fn seen(files: &Files, console: Console) -> Result<Vec<JobStatus>, Failure> {
    let is_root = Attributes::own(0).uid == 0;
    if is_root || !files.root().is_machine() {
        return Ok(look_at_jobs(files)?);
    }
    console
        .note("records of jobs are root's and their accounts': this is what the agent last said");
    let status = last_written(files).map_err(Failure::new)?;
    Ok(status.map(|status| status.jobs).unwrap_or_default())
}

fn text(said: &Jobs, lines: usize, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    let names = said.jobs.iter().map(|row| row.status.job.chars().count());
    let name = names.max().unwrap_or_default().min(WIDEST_NAME);
    for row in &said.jobs {
        let status = &row.status;
        let state = format!("{:<8}", status.state.as_str());
        let state = match status.state {
            JobState::Ok => paint.green(&state),
            JobState::Running | JobState::Waiting => state,
            _ => paint.alarm(&state),
        };
        let zone = status
            .timezone
            .as_ref()
            .map_or_else(String::new, |zone| format!(" ({zone})"));
        let job = shown(&status.job);
        // A name that is longer has a line of its own.
        let job = if job.chars().count() > name {
            let _ = writeln!(out, "{job}");
            std::borrow::Cow::default()
        } else {
            job
        };
        let line = format!(
            "{job:<name$} {state} {}{}",
            shown(&status.says),
            began(status, now)
        );
        let _ = writeln!(out, "{}", line.trim_end());
        let dim = format!(
            "{}{zone}, as {}{}",
            status.schedule,
            status.user,
            succeeded(status, now)
        );
        let _ = writeln!(out, "    {}", paint.dim(&shown(&dim)));
        let printed = row.output.as_deref().unwrap_or_default();
        // What a good run printed is nobody's business at night.
        if lines == usize::MAX || status.state.is_trouble() {
            let all: Vec<&str> = printed.lines().collect();
            let from = all.len().saturating_sub(lines);
            if from > 0 {
                let more = format!(
                    "… {} before; agentctl jobs {}",
                    count(from, "line"),
                    status.job
                );
                let _ = writeln!(out, "    {}", paint.dim(&shown(&more)));
            }
            for line in all.iter().skip(from) {
                let _ = writeln!(out, "    | {}", shown(line));
            }
        }
    }
    out
}

fn began(status: &JobStatus, now: Timestamp) -> String {
    match (status.state, status.started) {
        (JobState::Ok | JobState::Failed | JobState::Overran, Some(at)) => {
            format!(", {}", ago(at, now))
        }
        _ => String::new(),
    }
}

fn succeeded(status: &JobStatus, now: Timestamp) -> String {
    match (status.state, status.succeeded) {
        (JobState::Ok | JobState::Waiting, _) => String::new(),
        (_, Some(at)) => format!("; last ended well: {}", ago(at, now)),
        (_, None) => "; never seen to end well".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(job: &str, state: JobState, says: &str, output: &str) -> Row {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        Row {
            status: JobStatus {
                job: job.into(),
                user: "shop".into(),
                schedule: "*/5 * * * *".into(),
                timezone: (job == "shop_digest").then(|| "Europe/Berlin".into()),
                state,
                says: says.into(),
                started: Some(at("2026-11-30T14:00:00Z")),
                took_ms: Some(3200),
                code: Some(1),
                succeeded: (state == JobState::Failed).then(|| at("2026-11-30T12:00:00Z")),
            },
            output: Some(output.into()),
        }
    }

    #[test]
    fn what_went_wrong_is_told_with_what_it_said() {
        let said = Jobs {
            format: 1,
            jobs: vec![
                row("shop_digest", JobState::Ok, "in 3.2 s", "sent 12\n"),
                row(
                    "shop_tick",
                    JobState::Failed,
                    "exit code 1 after 3.2 s",
                    "one\ntwo\nthree\nno \x1b[2Jdatabase\n",
                ),
                row(
                    "role_web_sweep",
                    JobState::Missed,
                    "due at …; it never ran",
                    "",
                ),
            ],
        };
        let now = "2026-11-30T14:03:00Z".parse().unwrap();
        insta::assert_snapshot!(text(&said, LINES, now, Paint::PLAIN), @r"
        shop_digest    ok       in 3.2 s, 3 min ago
            */5 * * * * (Europe/Berlin), as shop
        shop_tick      failed   exit code 1 after 3.2 s, 3 min ago
            */5 * * * *, as shop; last ended well: 2 h ago
            … 1 line before; agentctl jobs shop_tick
            | two
            | three
            | no \x1b[2Jdatabase
        role_web_sweep missed   due at …; it never ran
            */5 * * * *, as shop; never seen to end well
        ");
        let all = text(&said, usize::MAX, now, Paint::PLAIN);
        assert!(
            all.contains("| sent 12\n") && all.contains("| one\n"),
            "{all}"
        );
    }
}
