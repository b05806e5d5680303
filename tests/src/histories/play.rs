//! One history: writers begin, faults strike and are healed, the fleet settles, writers end, everything is looked at.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::plan::{Plan, Strike};
use super::stage::Stage;
use super::sum::Outcome;
use crate::database::{Became, Record};
use crate::machine::{Trouble, wait_until};

/// Writers on each web machine.
const WRITERS: u64 = 2;
/// What each writer may number.
const RANGE: u64 = 1_000_000;
/// Writers write for so long before the first fault, and after the fleet has settled.
const CALM: Duration = Duration::from_millis(800);
/// The longest history; writers end by themselves then.
const LONGEST_SECS: u64 = 300;
/// How long the fleet may take to become whole, beside six TTLs. A server whose disk was full tries again each minute.
const PATIENCE: Duration = Duration::from_secs(65);
/// Lines of the clients' records that are shown around each outage.
const SHOWN: usize = 12;

static HISTORIES: AtomicU64 = AtomicU64::new(1);

/// A history that was played.
#[derive(Debug)]
pub struct Played {
    /// What came of it.
    pub outcome: Outcome,
    /// For people: plan, timeline, records.
    pub story: String,
    /// The fleet is not as it was: it must be put back to the beginning before the next history.
    pub spoiled: bool,
}

/// As journals count. The agent's own clock, for people, has whole seconds.
#[expect(clippy::disallowed_methods, reason = "journals have the wall clock")]
pub(super) fn wall_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(0))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Plays a history on a fleet that is whole. Trouble is of the test itself: nothing was shown then.
pub fn play(stage: &mut Stage<'_>, plan: &Plan) -> Result<Played, Trouble> {
    let started = Instant::now();
    stage.prepare(plan.semi_sync)?;
    let before = stage
        .lease()?
        .ok_or_else(|| Trouble::new("no lease at the beginning"))?;
    let stage = &*stage;
    let since = wall_micros();
    let done = Mutex::new(Vec::new());
    let say = |what: String| {
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push((wall_micros(), format!("---- {what}")));
    };
    let units = stage.start_writers()?;
    std::thread::sleep(CALM);
    std::thread::scope(|scope| {
        let begun = Instant::now();
        for (number, strike) in plan.strikes.iter().enumerate() {
            let say = &say;
            scope.spawn(move || one(stage, number, strike, begun, say));
        }
    });
    say("healing".into());
    stage.heal()?;
    let patience = Duration::from_millis(stage.times.ttl * 6) + PATIENCE;
    let settled = stage.settle(patience);
    say(match &settled {
        Ok(_) => "whole".into(),
        Err(why) => why.clone(),
    });
    std::thread::sleep(CALM);
    let record = stage.stop_writers(&units)?;
    let (settled, unsettled) = match settled {
        Ok(time) => (millis(time), None),
        Err(why) => (millis(patience), Some(why)),
    };
    let evidence = stage.look(record, before, plan.semi_sync, unsettled)?;
    let outcome = Outcome::of(plan.clone(), &evidence, settled, millis(started.elapsed()));
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let spoiled = !outcome.violations.is_empty() || !outcome.quarantined.is_empty();
    let mut story = format!("{plan}\n");
    for violation in &outcome.violations {
        let _ = writeln!(story, "  {violation}");
    }
    let timeline = stage.timeline(since, &done);
    let _ = writeln!(story, "\ntimeline (milliseconds)\n{timeline}");
    for event in evidence.events.values() {
        let event = serde_json::to_string(event).unwrap_or_default();
        let _ = writeln!(story, "{event}");
    }
    let clients = around_outages(&evidence.record);
    let _ = writeln!(story, "\nclients (boot milliseconds)\n{clients}");
    for server in &evidence.servers {
        let _ = writeln!(
            story,
            "{}: writable {}, kept out {}, level {}, rows {:?}, checksum {:?}",
            server.name,
            server.writable,
            server.quarantined,
            server.level,
            server.rows.as_ref().map(std::collections::BTreeSet::len),
            server.checksum
        );
    }
    Ok(Played {
        outcome,
        story,
        spoiled,
    })
}

/// One fault from its moment to its end.
fn one(
    stage: &Stage<'_>,
    number: usize,
    strike: &Strike,
    begun: Instant,
    say: &(impl Fn(String) + Sync),
) {
    let until = |at: u64| {
        let at = Duration::from_millis(at);
        std::thread::sleep(at.saturating_sub(begun.elapsed()));
    };
    until(strike.at);
    match stage.strike(number, strike) {
        // With several at once one may stand in the way of another.
        Err(trouble) => say(format!("{} could not strike: {trouble}", strike.fault)),
        Ok((struck, what)) => {
            say(what);
            if strike.lasts > 0 {
                until(strike.at + strike.lasts);
                let undone = stage.undo(&struck);
                say(match undone {
                    Ok(()) => format!("{} is over", strike.fault),
                    Err(trouble) => format!("{} is not undone yet: {trouble}", strike.fault),
                });
            }
        }
    }
}

/// What clients saw before and after each time without an acknowledgement that is not usual.
fn around_outages(record: &Record) -> String {
    let mut out = String::new();
    let mut last = None;
    let mut left = SHOWN;
    for (at, write) in record.writes.iter().enumerate() {
        let gap = last.is_some_and(|last| write.ended.saturating_sub(last) > 300);
        if write.became == Became::Ok {
            if gap {
                for before in record.writes.iter().take(at).rev().take(SHOWN).rev() {
                    let _ = writeln!(out, "  {before:?}");
                }
                left = SHOWN;
            }
            last = Some(write.ended);
        }
        if left > 0 {
            left -= 1;
            let _ = writeln!(out, "  {write:?}");
            if left == 0 {
                out.push_str("  …\n");
            }
        }
    }
    out
}

impl Stage<'_> {
    /// Starts writers on the web machines. No number is ever given out twice.
    fn start_writers(&self) -> Result<Vec<(usize, String)>, Trouble> {
        let history = HISTORIES.fetch_add(1, Ordering::Relaxed);
        let mut units = Vec::new();
        let mut first = history * 100 * RANGE;
        for (at, web) in self.webs().into_iter().enumerate() {
            for writer in 0..WRITERS {
                let name = format!("writer-{history}-{writer}");
                let (unit, number) = (format!("--unit={name}"), first.to_string());
                let output = format!("--property=StandardOutput=file:/run/{name}.log");
                let seconds = LONGEST_SECS.to_string();
                let program = ["/usr/local/bin/writer", "--for", &seconds];
                let run = ["systemd-run", "--quiet", "--collect", &unit, &output];
                web.must(&[&run[..], &program, &["--first", &number]].concat())?;
                units.push((at, name));
                first += RANGE;
            }
        }
        Ok(units)
    }

    /// Ends them, each after its last write: what they recorded.
    fn stop_writers(&self, units: &[(usize, String)]) -> Result<Record, Trouble> {
        let webs = self.webs();
        let mut texts = Vec::new();
        for (at, name) in units {
            let web = webs
                .get(*at)
                .ok_or_else(|| Trouble::new("no such web machine"))?;
            // Without waiting, so that all end together.
            web.run(&["systemctl", "stop", "--no-block", name])?;
        }
        for (at, name) in units {
            let Some(web) = webs.get(*at) else { continue };
            let unit = format!("{name}.service");
            wait_until("a writer to end", Duration::from_secs(10), || {
                !web.is_active(&unit) && {
                    let state = web.property(&unit, "ActiveState");
                    state.is_ok_and(|state| state != "deactivating")
                }
            })?;
            texts.push(web.read(&format!("/run/{name}.log"))?);
            web.must(&["rm", "-f", &format!("/run/{name}.log")])?;
        }
        Record::read(&texts)
    }
}
