//! `agentctl job`: runs a cron job and keeps a record of it. Needs no agent, no bucket, no configuration, and no root.

use std::io;
use std::time::Duration;

use super::args::{Global, JobArgs};
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::fleet::names::Span;
use crate::resource::{Held, HeldRecord, JobEnd, OUTPUT};
use crate::system::clock;
use crate::system::command::{Supervised, Supervision, supervise};

/// How long a command that was told to end has before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// What is exited with where the run before still goes on: `EX_TEMPFAIL` of sysexits.h.
const BUSY: u8 = 75;
/// What is exited with where the time limit ended it, as timeout(1) does.
const TIMED_OUT: u8 = 124;
/// The same where it could not be started, as shells do.
const NOT_STARTED: u8 = 127;
/// What shells add to the number of a signal.
const SIGNALLED: u8 = 128;

/// Runs the command, and exits as it does.
pub fn job(global: &Global, wanted: &JobArgs, console: Console) -> Result<u8, Failure> {
    let root = place::root(global)?;
    let mut held = match HeldRecord::hold(&root, &wanted.name) {
        Held::Ours(held) => Some(held),
        Held::Busy => {
            if wanted.print {
                console.note(&format!(
                    "{} still runs: this time it is left out; see agentctl jobs",
                    wanted.name
                ));
            }
            return Ok(BUSY);
        }
        Held::None(why) => {
            unrecorded(wanted, console, &why);
            None
        }
    };
    let started = clock::now();
    if let Some(record) = &mut held
        && let Err(why) = record.begin(started)
    {
        unrecorded(wanted, console, &why);
    }
    let how = Supervision {
        limit: wanted.timeout.map(Span::duration),
        grace: GRACE,
        kept: OUTPUT,
        // With no record the mail of cron is all that is left.
        pass_on: wanted.print || held.is_none(),
    };
    let done = place::block_on(supervise(&wanted.command, how))?;
    let (end, code) = match &done {
        Ok(done) => (ended(started, done), exit_code(done)),
        Err(why) => {
            let program = wanted.command.first().map_or("", String::as_str);
            let end = JobEnd {
                started,
                took_ms: 0,
                code: None,
                ended: format!("cannot start {program}: {why}"),
                timed_out: false,
                output: String::new(),
            };
            (end, NOT_STARTED)
        }
    };
    match &mut held {
        Some(record) => {
            if let Err(why) = record.end(end) {
                unrecorded(wanted, console, &why);
            }
        }
        None if done.is_err() => console.note(&end.ended),
        None => {}
    }
    Ok(code)
}

/// The command runs all the same: that it did is worth more than that it was seen.
fn unrecorded(wanted: &JobArgs, console: Console, why: &io::Error) {
    console.note(&format!(
        "this run of {} is not recorded: {why}. agentd makes the file for it within a minute, where the document says \"record\": true",
        wanted.name
    ));
}

fn ended(started: jiff::Timestamp, done: &Supervised) -> JobEnd {
    let mut ended = done.ended();
    if done.told_to_stop {
        ended.push_str(", for it was told to stop");
    }
    JobEnd {
        started,
        took_ms: u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX),
        code: done.code(),
        ended,
        timed_out: done.timed_out,
        output: done.output.clone(),
    }
}

fn exit_code(done: &Supervised) -> u8 {
    if done.timed_out {
        return TIMED_OUT;
    }
    let status = done.status.map(|status| {
        use std::os::unix::process::ExitStatusExt as _;
        (status.code(), status.signal())
    });
    let number = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match status {
        Some((Some(code), _)) => number(code),
        Some((None, Some(signal))) => SIGNALLED.saturating_add(number(signal)),
        _ => TIMED_OUT,
    }
}
