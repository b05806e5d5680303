//! What is out of range, worst first, in a few words each, with what to do.

use serde::Serialize;

use super::{Alarmed, Area, Reading, Told, Watch};
use crate::report::Health;

/// How bad it is. The order is that of the worst that wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A person should look when there is time.
    Warning,
    /// It cannot be told.
    Unknown,
    /// A person should look now.
    Critical,
}

/// Something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Where.
    pub area: Area,
    /// The reading that it is about, where it is about one.
    pub reading: Option<String>,
    /// How bad it is.
    pub level: Level,
    /// What is wrong, in a few words.
    pub says: String,
    /// What to do, in a few words: often a command.
    pub todo: String,
    /// More about it.
    pub details: Vec<String>,
}

impl Watch<'_> {
    /// What is wrong in these parts, worst first, then in the order of the readings.
    pub fn alarms(&self, areas: &[Area]) -> Vec<Alarm> {
        let Some(status) = self.seen.status else {
            return vec![self.no_status(areas)];
        };
        let mut found: Vec<(&Reading, Level, f64)> = Vec::new();
        for reading in &self.readings {
            if !areas.contains(&reading.what.area) {
                continue;
            }
            if let Some((level, number)) = self.judge(reading) {
                found.push((reading, level, number));
            }
        }
        let explained = |reading: &Reading, level: Level| {
            let covers = |other: &str| {
                found
                    .iter()
                    .any(|(cause, theirs, _)| cause.what.name == other && *theirs >= level)
            };
            reading.what.covered_by.iter().any(|other| covers(other))
        };
        let mut alarms: Vec<Alarm> = found
            .iter()
            .filter(|(reading, level, _)| !explained(reading, *level))
            .map(|(reading, level, number)| alarm(reading, *level, *number))
            .collect();
        // Whatever else makes a box degraded is told too, also what no reading knows of.
        if alarms.is_empty() && status.health != Health::Converged && areas.contains(&Area::Run) {
            alarms.extend(self.not_converged(areas));
        }
        alarms.sort_by_key(|alarm| std::cmp::Reverse(alarm.level));
        alarms
    }

    /// The readings of these parts, for programs.
    pub fn told(&self, areas: &[Area]) -> Vec<Told> {
        let chosen = |reading: &&Reading| areas.contains(&reading.what.area);
        self.readings
            .iter()
            .filter(chosen)
            .map(|reading| Told {
                name: reading.key(),
                value: reading.number(self.now),
                warning: reading.warning,
                critical: reading.critical,
            })
            .collect()
    }

    fn judge(&self, reading: &Reading) -> Option<(Level, f64)> {
        let number = reading.number(self.now)?;
        let alerts = |range: Option<super::Range>| range.is_some_and(|range| range.alerts(number));
        if alerts(reading.critical) {
            Some((Level::Critical, number))
        } else if alerts(reading.warning) {
            Some((Level::Warning, number))
        } else {
            None
        }
    }

    /// A box whose reasons no reading knows: one that has just started is only waiting.
    fn not_converged(&self, areas: &[Area]) -> Option<Alarm> {
        let status = self.seen.status?;
        let known = self.readings.iter().any(|reading| {
            // Another part's alarm tells of it, where it was asked for.
            !areas.contains(&reading.what.area) && self.judge(reading).is_some()
        });
        let waits = status.health == Health::Waiting;
        // The bucket's last few requests failed: that is its silence's to tell, in its time.
        let bucket = status.bucket.failures > 0;
        let reason = status.reasons.first()?;
        (!known && !waits && !bucket).then(|| Alarm {
            area: Area::Run,
            reading: None,
            level: Level::Warning,
            says: reason.clone(),
            todo: "agentctl status".into(),
            details: status.reasons.clone(),
        })
    }

    fn no_status(&self, areas: &[Area]) -> Alarm {
        let alarm = |area, level, says: &str, todo: &str| Alarm {
            area,
            reading: None,
            level,
            says: says.into(),
            todo: todo.into(),
            details: self.seen.trouble.map(str::to_owned).into_iter().collect(),
        };
        match (self.seen.trouble, areas.contains(&Area::Agent)) {
            (Some(_), _) => alarm(
                Area::Agent,
                Level::Unknown,
                "agentd's status cannot be read",
                "agentctl status",
            ),
            (None, true) => alarm(
                Area::Agent,
                Level::Critical,
                "agentd has left no status since boot",
                "systemctl status agentd",
            ),
            (None, false) => alarm(
                areas.first().copied().unwrap_or(Area::Agent),
                Level::Unknown,
                "nothing is known: agentd has left no status",
                "systemctl status agentd",
            ),
        }
    }
}

fn alarm(reading: &Reading, level: Level, number: f64) -> Alarm {
    let says = (reading.what.says)(&Alarmed {
        number,
        of: reading.of.as_deref(),
        details: &reading.details,
    });
    Alarm {
        area: reading.what.area,
        reading: Some(reading.key()),
        level,
        says,
        todo: reading.what.todo.into(),
        details: reading.details.clone(),
    }
}
