//! How a recorded job is, from its schedule, its record and the clock. Pure but for [`look`], which gathers them.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::record::{JobDescription, JobRecord, JobRun, descriptions};
use crate::fleet::names::schedule::Times;
use crate::report::text::{age, moment, one_line, took};
use crate::report::{JobState, JobStatus};
use crate::system::file::{FileError, Files};
use crate::system::{clock, process};

/// The most characters of what an account says of its job.
const LONGEST: usize = 200;
/// cron starts a job within the minute; a busy machine may take a little longer.
const GRACE_SECS: i64 = 90;
/// cron reads a new table within a minute, and a machine that boots takes a while to start cron.
const SETTLING_SECS: i64 = 120;

/// What is known of a job besides its description.
#[derive(Debug, Clone)]
struct Facts {
    /// Its record; the error says why it cannot be read.
    record: Result<Option<JobRecord>, String>,
    /// Since when cron can know of its schedule.
    known_since: Timestamp,
    /// Whether the process that looks after the run that goes on is there.
    runs: bool,
    now: Timestamp,
}

/// How the recorded jobs of this box are, by name.
pub fn look(files: &Files) -> Result<Vec<JobStatus>, FileError> {
    let descriptions = descriptions(files)?;
    if descriptions.is_empty() {
        return Ok(Vec::new());
    }
    let now = clock::now();
    let up = i64::try_from(clock::boottime().as_secs()).unwrap_or(i64::MAX);
    let booted = Timestamp::from_second(now.as_second().saturating_sub(up)).unwrap_or(now);
    let judged = descriptions.iter().map(|job| {
        let path = Path::new(super::LOCKS).join(format!("{}{}", job.job, super::record::JOB));
        // When it was written last: for that long cron has known of this schedule.
        let written = files.look(&path).ok().flatten();
        let written = written.and_then(|stamp| Timestamp::from_second(stamp.modified()).ok());
        let written = written.unwrap_or(now);
        let record = JobRecord::read(files, &job.job);
        let running = record
            .as_ref()
            .ok()
            .and_then(|record| record.as_ref()?.running.as_ref());
        let facts = Facts {
            runs: running.is_some_and(|run| is_there(run, booted)),
            record,
            known_since: written.max(booted),
            now,
        };
        judge(job, &facts, zone_of(job))
    });
    Ok(judged.collect())
}

/// The zone that a job's hours are of; `None`: the machine does not know it.
fn zone_of(job: &JobDescription) -> Option<TimeZone> {
    match &job.timezone {
        None => TimeZone::try_system().ok(),
        Some(name) => TimeZone::get(name).ok(),
    }
}

fn is_there(run: &JobRun, booted: Timestamp) -> bool {
    run.started >= booted && process::identity(run.pid).is_some_and(|now| now.ticks() == run.ticks)
}

fn judge(job: &JobDescription, facts: &Facts, zone: Option<TimeZone>) -> JobStatus {
    let mut status = JobStatus {
        job: job.job.clone(),
        user: job.user.clone(),
        schedule: job.schedule.clone(),
        timezone: job.timezone.clone(),
        state: JobState::Waiting,
        says: String::new(),
        started: None,
        took_ms: None,
        code: None,
        succeeded: None,
    };
    let none = JobRecord::default();
    let record = match &facts.record {
        Ok(record) => record.as_ref().unwrap_or(&none),
        Err(why) => {
            status.state = JobState::Lost;
            status.says = one_line(why, LONGEST);
            return status;
        }
    };
    let times = Times::of(&job.schedule).zip(zone);
    let due = |until: Timestamp| {
        let (times, zone) = times.as_ref()?;
        times.last_due(zone, until)
    };
    let last = record.last.as_ref();
    let begun = (record.running.as_ref().map(|run| run.started)).or(last.map(|last| last.started));
    if begun.is_some_and(|begun| begun.as_second() > facts.now.as_second() + GRACE_SECS) {
        status.state = JobState::Lost;
        status.says =
            "its record is of the future: this machine's clock was set back, or its account wrote there"
                .into();
        return status;
    }
    status.succeeded = record.succeeded;
    status.code = last.and_then(|last| last.code);
    if let Some(run) = &record.running {
        let started = run.started;
        status.started = Some(started);
        let again = due(facts.now).filter(|due| due.as_second() > started.as_second() + 59);
        (status.state, status.says) = if !facts.runs {
            let says = format!(
                "begun at {} and ended without a word: killed, or the machine went down",
                moment(started)
            );
            (JobState::Lost, says)
        } else if let Some(again) = again {
            let says = format!(
                "runs since {}, and was due again at {}",
                moment(started),
                moment(again)
            );
            (JobState::Overran, says)
        } else {
            let secs = facts.now.as_second() - started.as_second();
            (JobState::Running, format!("for {}", age(secs)))
        };
        if status.state != JobState::Lost {
            return status;
        }
    } else if let Some(last) = last {
        status.started = Some(last.started);
        status.took_ms = Some(last.took_ms);
        (status.state, status.says) = ended(last, &due);
    }
    // Later than all that: it should have run since.
    let patience = facts.now.as_second().saturating_sub(GRACE_SECS);
    let missed = Timestamp::from_second(patience).ok().and_then(due);
    let is_missed = |due: &Timestamp| {
        let begun = last_sign(&status);
        due.as_second() > facts.known_since.as_second() + SETTLING_SECS
            && begun.is_none_or(|begun| begun < *due)
    };
    if let Some(due) = missed.filter(is_missed) {
        let before = status.started.map_or_else(
            || "it never ran".to_owned(),
            |at| format!("it ran last at {}", moment(at)),
        );
        status.state = JobState::Missed;
        status.says = format!("due at {}; {before}", moment(due));
    }
    status
}

/// Until when the last run is known to have gone on: what was due meanwhile was left out, and told as such.
fn last_sign(status: &JobStatus) -> Option<Timestamp> {
    let started = status.started?;
    let took = Duration::from_millis(status.took_ms.unwrap_or(0));
    started.checked_add(took).ok()
}

fn ended(
    last: &super::record::JobEnd,
    due: &impl Fn(Timestamp) -> Option<Timestamp>,
) -> (JobState, String) {
    let after = took(last.took_ms);
    if last.timed_out {
        return (
            JobState::Overran,
            format!("ended by its time limit after {after}"),
        );
    }
    if !last.success() {
        return (
            JobState::Failed,
            format!("{} after {after}", one_line(&last.ended, LONGEST)),
        );
    }
    let until = last
        .started
        .checked_add(Duration::from_millis(last.took_ms));
    let again = until.ok().and_then(due);
    match again.filter(|due| due.as_second() > last.started.as_second() + 59) {
        Some(again) => (
            JobState::Overran,
            format!(
                "took {after}, and was due again at {} meanwhile",
                moment(again)
            ),
        ),
        None => (JobState::Ok, format!("in {after}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::JobEnd;
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-30T{text}Z").parse().unwrap()
    }

    fn described(schedule: &str) -> JobDescription {
        JobDescription {
            format: 1,
            job: "shop_tick".into(),
            user: "shop".into(),
            schedule: schedule.into(),
            timezone: None,
            timeout_secs: None,
        }
    }

    fn ended_at(started: &str, secs: u64, code: i32) -> JobRecord {
        JobRecord {
            format: 1,
            running: None,
            last: Some(JobEnd {
                started: at(started),
                took_ms: secs * 1000,
                code: Some(code),
                ended: format!("exit code {code}"),
                timed_out: false,
                output: String::new(),
            }),
            succeeded: None,
        }
    }

    fn running_since(started: &str) -> JobRecord {
        JobRecord {
            running: Some(JobRun {
                started: at(started),
                pid: 1,
                ticks: 1,
            }),
            ..ended_at("13:00:00", 1, 0)
        }
    }

    /// A job of each five minutes, at 14:03:20, known since the morning.
    fn judged(record: Option<JobRecord>, change: impl FnOnce(&mut Facts)) -> (JobState, String) {
        let mut facts = Facts {
            record: Ok(record),
            known_since: at("08:00:00"),
            runs: true,
            now: at("14:03:20"),
        };
        change(&mut facts);
        let status = judge(&described("*/5 * * * *"), &facts, Some(TimeZone::UTC));
        (status.state, status.says)
    }

    #[test]
    fn what_ended_is_told_as_it_ended() {
        let same = |_: &mut Facts| ();
        assert_eq!(
            judged(Some(ended_at("14:00:01", 3, 0)), same),
            (JobState::Ok, "in 3.0 s".into())
        );
        assert_eq!(
            judged(Some(ended_at("14:00:01", 3, 2)), same),
            (JobState::Failed, "exit code 2 after 3.0 s".into())
        );
        let mut late = ended_at("14:00:01", 100, 143);
        late.last.as_mut().unwrap().timed_out = true;
        assert_eq!(
            judged(Some(late), same),
            (
                JobState::Overran,
                "ended by its time limit after 100.0 s".into()
            )
        );
        // It went on over its next time, when it was left out: that is no job that did not run.
        let (state, says) = judged(Some(ended_at("13:50:01", 700, 0)), same);
        assert_eq!(state, JobState::Overran, "{says}");
    }

    #[test]
    fn what_did_not_run_when_it_was_due_is_missed_and_nothing_else_is() {
        let missed = |record, change: fn(&mut Facts)| judged(record, change).0 == JobState::Missed;
        assert!(missed(Some(ended_at("13:55:01", 3, 0)), |_| ()));
        assert!(missed(None, |_| ()));
        // The failure of before is told no more once it does not even run.
        assert!(missed(Some(ended_at("13:55:01", 3, 1)), |_| ()));
        // Not due for long enough.
        assert!(!missed(Some(ended_at("13:55:01", 3, 0)), |facts| {
            facts.now = at("14:01:00");
        }));
        // cron did not know of it by then, or the machine was down.
        assert!(!missed(None, |facts| facts.known_since = at("13:58:30")));
        // What says that it ran in the future has no effect.
        assert!(!missed(Some(ended_at("14:00:00", 3, 0)), |_| ()));
        let mut liar = ended_at("13:55:01", 3, 0);
        liar.last.as_mut().unwrap().started = "2099-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(judged(Some(liar), |_| ()).0, JobState::Lost);
    }

    #[test]
    fn a_run_that_goes_on_may_take_too_long_or_be_gone() {
        assert_eq!(
            judged(Some(running_since("14:00:01")), |_| ()).0,
            JobState::Running
        );
        assert_eq!(
            judged(Some(running_since("13:50:01")), |_| ()).0,
            JobState::Overran
        );
        let gone = |facts: &mut Facts| facts.runs = false;
        assert_eq!(
            judged(Some(running_since("14:00:01")), gone).0,
            JobState::Lost
        );
        // And it did not run since.
        assert_eq!(
            judged(Some(running_since("13:50:01")), gone).0,
            JobState::Missed
        );
        let unread = |facts: &mut Facts| facts.record = Err("it is a fifo".into());
        assert_eq!(
            judged(None, unread),
            (JobState::Lost, "it is a fifo".into())
        );
    }

    #[test]
    fn one_that_is_never_due_waits() {
        let facts = Facts {
            record: Ok(None),
            known_since: at("08:00:00"),
            runs: false,
            now: at("14:03:20"),
        };
        let status = judge(&described("@reboot"), &facts, Some(TimeZone::UTC));
        assert_eq!(status.state, JobState::Waiting);
        // Nor is one whose time zone the machine does not know.
        let status = judge(&described("* * * * *"), &facts, None);
        assert_eq!(status.state, JobState::Waiting);
    }
}
