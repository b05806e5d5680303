//! What is watched on a box: one list of readings, each with its value, unit, thresholds and help.
//!
//! Nagios, Munin and OpenMetrics are three voices of this one list: what is added here is heard in all of them.
//! To add a reading: a [`What`] and its value, in the module of its area. Pure.

mod agent;
mod alarm;
mod bucket;
mod certificates;
mod database;
mod dns;
mod document;
mod eviction;
mod jobs;
#[cfg(test)]
mod page;
mod range;
mod run;
#[cfg(test)]
pub(super) mod tests;
mod what;

use jiff::Timestamp;
use serde::Serialize;

use super::Status;
pub use alarm::{Alarm, Level};
pub use range::Range;
pub use what::{Alarmed, Area, Graph, Kind, Unit, What};

/// What is known of a box.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// What its agent last wrote of it.
    pub status: Option<&'a Status>,
    /// Why there is no status though there may be one: it cannot be read.
    pub trouble: Option<&'a str>,
    /// Whether the agent that wrote it runs; `None`: this cannot be seen.
    pub running: Option<bool>,
}

/// A value, as it is kept: moments stay moments, so that who reads late can still tell how long ago they were.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A moment.
    Moment(Timestamp),
}

/// One number that is watched.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What it is.
    pub what: &'static What,
    /// Whose, where there are several: a product.
    pub of: Option<String>,
    /// Its value, where it is known.
    pub value: Option<Value>,
    /// When it is a reason to warn.
    pub warning: Option<Range>,
    /// When it is a reason to wake somebody.
    pub critical: Option<Range>,
    /// More about it when it is out of range.
    pub details: Vec<String>,
}

impl Reading {
    fn new(what: &'static What, value: Option<Value>) -> Self {
        Self {
            what,
            of: None,
            value,
            warning: None,
            critical: None,
            details: Vec::new(),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of people and monitors: nobody counts to 2^53"
    )]
    fn count(what: &'static What, number: Option<u64>) -> Self {
        Self::new(what, number.map(|number| Value::Number(number as f64)))
    }

    /// Milliseconds, said in seconds.
    #[expect(clippy::cast_precision_loss, reason = "durations of runs and requests")]
    fn millis(what: &'static What, ms: Option<u64>) -> Self {
        Self::new(what, ms.map(|ms| Value::Number(ms as f64 / 1000.0)))
    }

    fn flag(what: &'static What, set: Option<bool>) -> Self {
        Self::count(what, set.map(u64::from))
    }

    fn moment(what: &'static What, at: Option<Timestamp>) -> Self {
        Self::new(what, at.map(Value::Moment))
    }

    fn warns(mut self, range: Range) -> Self {
        self.warning = Some(range);
        self
    }

    fn alarms(mut self, range: Range) -> Self {
        self.critical = Some(range);
        self
    }

    fn because(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// Its name among all readings: `document_age`, `replication_lag_shop`.
    pub fn key(&self) -> String {
        match &self.of {
            None => self.what.name.into(),
            Some(of) => format!("{}_{of}", self.what.name),
        }
    }

    /// Its number now: of a moment, the seconds since or until then.
    #[expect(clippy::cast_precision_loss, reason = "seconds since a moment")]
    pub fn number(&self, now: Timestamp) -> Option<f64> {
        let since = |at: Timestamp| now.as_second().saturating_sub(at.as_second()) as f64;
        Some(match (self.value?, self.what.kind) {
            (Value::Number(number), _) => number,
            (Value::Moment(at), Kind::Left) => -since(at),
            // A clock that was set back makes nothing younger than new.
            (Value::Moment(at), _) => since(at).max(0.0),
        })
    }
}

/// A box, as monitors see it.
#[derive(Debug, Clone)]
pub struct Watch<'a> {
    /// What is known.
    pub seen: Seen<'a>,
    /// When it was looked at.
    pub now: Timestamp,
    /// All readings, in the order in which they are told.
    pub readings: Vec<Reading>,
}

impl<'a> Watch<'a> {
    /// Looks.
    pub fn new(seen: Seen<'a>, now: Timestamp) -> Self {
        let mut readings = Vec::with_capacity(32);
        readings.extend(agent::readings(seen, now));
        readings.extend(bucket::readings(seen));
        readings.extend(document::readings(seen));
        readings.extend(run::readings(seen, now));
        readings.extend(dns::readings(seen));
        readings.extend(certificates::readings(seen));
        readings.extend(eviction::readings(seen));
        readings.extend(jobs::readings(seen));
        readings.extend(database::readings(seen));
        Self {
            seen,
            now,
            readings,
        }
    }

    /// Sets the range of a reading by its name, with or without whose it is.
    pub fn limit(&mut self, level: Level, name: &str, range: Range) -> Result<(), String> {
        let mut found = false;
        for reading in &mut self.readings {
            if reading.what.name == name || reading.key() == name {
                found = true;
                match level {
                    Level::Warning => reading.warning = Some(range),
                    _ => reading.critical = Some(range),
                }
            }
        }
        if found {
            Ok(())
        } else {
            let names: Vec<_> = self.readings.iter().map(Reading::key).collect();
            Err(format!(
                "there is no reading `{name}`; there are {}",
                names.join(", ")
            ))
        }
    }

    /// Whether what the status says is the present: not where its agent is gone, nor where there is none.
    pub fn is_live(&self) -> bool {
        self.seen.status.is_some() && self.seen.running != Some(false)
    }

    /// The readings with a value only where it is of the present: for graphs, in which a dead agent's numbers
    /// would look like life.
    pub fn present(&self) -> impl Iterator<Item = Reading> + '_ {
        self.readings.iter().map(|reading| {
            let mut reading = reading.clone();
            if !self.is_live() && reading.what.area != Area::Agent {
                reading.value = None;
            }
            reading
        })
    }
}

/// A threshold that grows with the time between two polls: a box that polls once an hour is not late after a minute.
fn patience(seen: Seen<'_>, secs: u32, polls: u32) -> f64 {
    // The status file itself may be a minute old.
    const FILE_SECS: f64 = 60.0;
    let poll_ms = seen.status.and_then(|status| status.agent.poll_ms);
    let poll = poll_ms.map_or(0.0, |ms| {
        f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0
    });
    f64::from(secs)
        .max(poll * f64::from(polls) + FILE_SECS)
        .ceil()
}

/// What is told of an alarm, for programs.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The reading's name.
    pub name: String,
    /// Its number now.
    pub value: Option<f64>,
    /// When it is a reason to warn.
    pub warning: Option<Range>,
    /// When it is a reason to wake somebody.
    pub critical: Option<Range>,
}
