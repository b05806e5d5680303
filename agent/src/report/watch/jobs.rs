//! The reading of recorded cron jobs.

use super::run::TROUBLES;
use super::{Area, Kind, Range, Reading, Seen, Unit, What};
use crate::report::JobStatus;

static JOBS: What = What {
    area: Area::Jobs,
    name: "jobs",
    metric: "jobs_in_trouble",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &TROUBLES,
    label: "jobs in trouble",
    help: "Recorded cron jobs that failed, took too long or did not run when they were due",
    says: |it| format!("job in trouble: {}", it.first("one")),
    todo: "agentctl jobs",
    // Then none runs, and it says so.
    covered_by: &["cron_down"],
};

pub(super) fn readings(seen: Seen<'_>) -> Vec<Reading> {
    let lines = seen.status.map(|status| {
        let troubled = status.jobs.iter().filter(|job| job.state.is_trouble());
        troubled.map(JobStatus::line).collect::<Vec<_>>()
    });
    vec![
        Reading::count(&JOBS, lines.as_ref().map(|lines| lines.len() as u64))
            .warns(Range::at_most(0.0))
            .because(lines.unwrap_or_default()),
    ]
}
