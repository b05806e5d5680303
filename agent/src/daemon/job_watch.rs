//! Recorded cron jobs: looked at with each run, at least once a minute; the log hears of those that are in trouble, once.

use crate::report::JobStatus;
use crate::resource::look_at_jobs;
use crate::system::chain;
use crate::system::file::Files;

/// How they are now; `None`: that cannot be seen. `before`: how they were.
pub(super) fn look(files: &Files, before: &[JobStatus]) -> Option<Vec<JobStatus>> {
    let jobs = match look_at_jobs(files) {
        Ok(jobs) => jobs,
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(
                event = "jobs-not-seen",
                error,
                "how cron jobs went cannot be seen: {error}"
            );
            return None;
        }
    };
    for job in &jobs {
        let was = before.iter().find(|was| was.job == job.job);
        let was_in_trouble = was.is_some_and(|was| was.state.is_trouble());
        let name = job.job.as_str();
        if job.state.is_trouble() {
            // Each run that fails is news; that it still did not run is none.
            let is_news = was.is_none_or(|was| {
                (was.state, was.started, was.code) != (job.state, job.started, job.code)
            });
            if is_news {
                tracing::warn!(
                    event = "job-in-trouble",
                    job = name,
                    state = job.state.as_str(),
                    "the cron job {}: agentctl jobs {name} shows what it said",
                    job.line()
                );
            }
        } else if was_in_trouble && job.state == crate::report::JobState::Ok {
            tracing::info!(
                event = "job-well",
                job = name,
                "the cron job {name} ended well"
            );
        }
    }
    Some(jobs)
}
