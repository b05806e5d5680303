//! When the next wave may take a version: what is heard of the servers that have it, and what follows. Pure, but for the moments
//! that it is given.
//!
//! Silence is not health. A server counts as well on a version while its reports go on to come and say that it is as that
//! version says, without a break, for the bake time; its own clock and the watcher's are never compared.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::fleet::Name;
use crate::report::{Health, NodeReport, Ready};

/// A server that is not well is given so long at least: its services start, a probe comes too early.
const LEAST_GRACE: Duration = Duration::from_secs(30);
/// So many servers are named in a line.
const FEW: usize = 3;

/// What follows from what was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Wait: for what.
    Wait(String),
    /// The next wave may take the version: what was seen.
    Open(String),
    /// The version goes no further: why.
    Halt(String),
    /// A newer version is out: nobody waits for this one.
    Superseded,
}

/// What was heard of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    /// The report's own moment, and when it was first seen here.
    written: Timestamp,
    seen: Instant,
    word: Word,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// It has not taken the version yet.
    Behind,
    /// It stands well on it, since a moment of its own clock; seen here since another.
    Well { since: Timestamp, seen: Instant },
    /// It has the version and is not well: since when that is known here, and why.
    Unwell { since: Instant, why: String },
    /// It cannot live with the version: why.
    Broken(String),
    /// A person has it held: nothing is changed on it, and nothing that it says speaks for or against the version. Until when, by the
    /// clock here.
    Held { until: Instant, order: String },
    /// It stands on a newer one.
    Newer,
}

/// The watch over one wave of a version.
#[derive(Debug, Clone)]
pub struct Gate {
    version: u64,
    servers: Vec<Name>,
    bake: Duration,
    patience: Duration,
    began: Instant,
    heard: BTreeMap<Name, Heard>,
}

impl Gate {
    /// For the servers that must stand well on `version` before the next wave.
    pub const fn new(
        version: u64,
        servers: Vec<Name>,
        bake: Duration,
        patience: Duration,
        now: Instant,
    ) -> Self {
        Self {
            version,
            servers,
            bake,
            patience,
            began: now,
            heard: BTreeMap::new(),
        }
    }

    /// How often a server that has the version reports while it goes out.
    pub fn heartbeat(bake: Duration) -> Duration {
        (bake / 2).clamp(Duration::from_secs(10), Duration::from_mins(15))
    }

    /// How old a report may be, since it was first seen here, before its server is silent.
    pub fn silence(bake: Duration) -> Duration {
        Self::heartbeat(bake) * 3
    }

    /// Takes in what a server says.
    pub fn take(&mut self, report: &NodeReport, now: Instant) {
        let Some(server) = &report.server else {
            return;
        };
        let before = self.heard.get(server);
        let seen = match before {
            Some(before) if before.written == report.written => before.seen,
            _ => now,
        };
        let word = self.word(report, before.map(|before| &before.word), (now, seen));
        let heard = Heard {
            written: report.written,
            seen,
            word,
        };
        self.heard.insert(server.clone(), heard);
    }

    fn word(
        &self,
        report: &NodeReport,
        before: Option<&Word>,
        (now, seen): (Instant, Instant),
    ) -> Word {
        let alarm = || report.alarms.first().cloned().unwrap_or_default();
        if let Some(refused) = &report.refused
            && refused.version == Some(self.version)
        {
            return Word::Broken(format!("refuses it: {}", refused.error));
        }
        let stands_on = report.stands_on.unwrap_or_default();
        if stands_on > self.version {
            return Word::Newer;
        }
        let steps = report.steps;
        // Also of one that is held since: that somebody looks into it does not make it go away.
        if stands_on == self.version && steps.quarantined + steps.put_back + steps.broken > 0 {
            return Word::Broken(format!("could not take it: {}", alarm()));
        }
        if let Some(hold) = (report.hold.as_ref()).filter(|hold| hold.stands(report.written)) {
            let left = hold.until.duration_since(report.written);
            return Word::Held {
                until: seen + Duration::try_from(left).unwrap_or_default(),
                order: hold.fixed(),
            };
        }
        if stands_on < self.version {
            return Word::Behind;
        }
        let not_ready = (report.readiness.iter()).find(|product| product.ready == Ready::False);
        let why = match (report.health, not_ready) {
            (Health::Converged, None) => None,
            (Health::Converged, Some(product)) => Some(format!(
                "{} is not ready: {}",
                product.product, product.reason
            )),
            _ => Some(alarm()),
        };
        match (why, report.well_since, before) {
            (None, Some(since), Some(Word::Well { since: was, seen })) if *was == since => {
                Word::Well { since, seen: *seen }
            }
            (None, Some(since), _) => Word::Well { since, seen: now },
            (None, None, _) => Word::Behind,
            (Some(why), _, Some(Word::Unwell { since, .. })) => Word::Unwell { since: *since, why },
            (Some(why), _, _) => Word::Unwell { since: now, why },
        }
    }

    /// What follows by now.
    pub fn decide(&self, now: Instant) -> Decision {
        let mut missing: Vec<&Name> = Vec::new();
        let mut waiting: Vec<String> = Vec::new();
        let mut held: Vec<String> = Vec::new();
        let grace = self.bake.max(LEAST_GRACE);
        for server in &self.servers {
            let Some(heard) = self.heard.get(server) else {
                missing.push(server);
                continue;
            };
            let silent = now.saturating_duration_since(heard.seen) > Self::silence(self.bake);
            match &heard.word {
                Word::Newer => return Decision::Superseded,
                Word::Broken(why) => return Decision::Halt(format!("{server} {why}")),
                Word::Unwell { since, why } if now.saturating_duration_since(*since) > grace => {
                    return Decision::Halt(format!("{server} is not well with it: {why}"));
                }
                // It may be silent, too: somebody works on it.
                Word::Held { until, order } if now < *until => {
                    held.push(format!("{server} (on hold {order})"));
                }
                _ if silent => missing.push(server),
                Word::Behind | Word::Held { .. } => missing.push(server),
                Word::Unwell { why, .. } => waiting.push(format!("{server} ({why})")),
                Word::Well { since, seen } => {
                    let stood = now.saturating_duration_since(*seen);
                    let said = SignedDuration::try_from(self.bake)
                        .is_ok_and(|bake| heard.written.duration_since(*since) >= bake);
                    if stood < self.bake && !said {
                        let left = self.bake.saturating_sub(stood).as_secs();
                        waiting.push(format!("{server} (well, {left} s to go)"));
                    }
                }
            }
        }
        if !missing.is_empty() && now.saturating_duration_since(self.began) > self.patience {
            return Decision::Halt(format!(
                "{} did not report version {} as taken within {} min",
                some(&missing),
                self.version,
                self.patience.as_secs() / 60
            ));
        }
        let looked_at: Vec<&Name> = (self.servers.iter())
            .filter(|server| {
                let heard = self.heard.get(*server);
                !heard.is_some_and(|heard| matches!(heard.word, Word::Held { .. }))
            })
            .collect();
        // Where all of them are held, nothing was seen of the version.
        if missing.is_empty() && waiting.is_empty() && !looked_at.is_empty() {
            let without = match held.as_slice() {
                [] => String::new(),
                held => format!("; nobody waited for {}", few(held)),
            };
            return Decision::Open(format!(
                "{} stood well on version {} for {} s{without}",
                some(&looked_at),
                self.version,
                self.bake.as_secs()
            ));
        }
        let mut parts = Vec::new();
        if !missing.is_empty() {
            parts.push(format!("word of {}", some(&missing)));
        }
        if looked_at.is_empty() {
            waiting = held;
        }
        if !waiting.is_empty() {
            parts.push(few(&waiting));
        }
        Decision::Wait(parts.join(", "))
    }
}

/// The first few of them, and how many more there are.
fn few(lines: &[String]) -> String {
    let mut shown: Vec<String> = lines.iter().take(FEW).cloned().collect();
    if lines.len() > FEW {
        shown.push(format!("{} more", lines.len() - FEW));
    }
    shown.join(", ")
}

/// `web-1, web-2, web-3 and 4 more`.
fn some(servers: &[&Name]) -> String {
    let named: Vec<String> = servers.iter().take(FEW).map(ToString::to_string).collect();
    match servers.len().saturating_sub(FEW) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests;
