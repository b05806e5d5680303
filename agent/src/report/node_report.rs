//! What a machine says of itself in the bucket, for whoever looks at the whole fleet: `nodes/SERVER.json`.
//!
//! Less than the status: nothing that changes with each poll, no diffs, nothing quoted at length. Everybody who may look at the
//! fleet reads it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::database::Part;
use super::eviction::EvictionStatus;
use super::jobs::JobState;
use super::readiness::Ready;
use super::rollout::RolloutStatus;
use super::standing_order::{StandingOrder, UndoneStatus};
use super::status::{Health, Status, StepCounts};
use super::text::one_line;
use crate::fleet::names::{KeyName, ZoneName};
use crate::fleet::{DocumentId, Name};

/// The most alarms of a report.
const MOST_ALARMS: usize = 20;
/// The most characters of an alarm.
const LONGEST_ALARM: usize = 300;
/// The most characters of the part of a key that a machine without a name in the document is known by.
const LONGEST_KEY: usize = 100;

/// One machine's word on itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The format of this record: 1.
    pub format: u32,
    /// When it was written. A report that is older than twice the interval of reports is of a machine that is silent.
    pub written: Timestamp,
    /// The server that it is. `None`: no document names it.
    pub server: Option<Name>,
    /// How that was found, or what was tried in vain.
    pub found_by: String,
    /// The machine.
    pub machine: Machine,
    /// The zone that the document says it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneName>,
    /// The agent.
    pub agent: ReportingAgent,
    /// The document that it stands on.
    pub document: Option<ReportedDocument>,
    /// The newest document, where it was not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<ReportedRefusal>,
    /// Where it is in the rollout of the newest version, where that goes out in waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The version that its last run made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_on: Option<u64>,
    /// Since when it has been well on that version without a break, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_since: Option<Timestamp>,
    /// How it is.
    pub health: Health,
    /// Why it is not converged: at most 20 lines of 300 characters.
    pub alarms: Vec<String>,
    /// How many steps are in which trouble.
    pub steps: StepCounts,
    /// Services that should run and do not, by unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services_down: Vec<String>,
    /// The last run that did something.
    pub last_run: Option<ReportedRun>,
    /// Whether it serves its products as their smoke tests want, and from which release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readiness: Vec<ReportedReadiness>,
    /// Its own records in DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<ReportedName>,
    /// Servers of its products that others find dead, and whether they are left out: at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evictions: Vec<EvictionStatus>,
    /// A person holds it: nothing is changed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<StandingOrder>,
    /// A person has it drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<StandingOrder>,
    /// A person has taken the document's version back on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<UndoneStatus>,
    /// Its recorded cron jobs that failed, took too long or did not run: at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<ReportedJob>,
    /// The databases of its products.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<ReportedDatabase>,
}

/// What a machine is besides what a document says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The cloud's instance id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Its host name, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// When it booted, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<Timestamp>,
}

/// The agent that reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportingAgent {
    /// Its version: what it can read.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
}

/// The document that a machine stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedDocument {
    /// Which.
    #[serde(flatten)]
    pub id: DocumentId,
    /// Who must vouch for it: `none`, or so many keys: `1 of 3 keys`.
    pub trust: String,
    /// Who does: the names of the trusted keys that signed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<KeyName>,
}

/// A document that a machine did not accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedRefusal {
    /// Its version, where that could be read.
    pub version: Option<u64>,
    /// Since when.
    pub since: Timestamp,
    /// The first reason.
    pub error: String,
}

/// A run that did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedRun {
    /// Its number on the machine.
    pub id: u64,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The version that it applied.
    pub version: u64,
    /// How many steps it had to do with.
    pub steps: usize,
    /// How many of them failed.
    pub failed: usize,
}

/// Whether a machine is ready to serve a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedReadiness {
    /// The product.
    pub product: Name,
    /// Whether it is ready.
    pub ready: Ready,
    /// Why it is not, or why that is not known: a line of at most 300 characters.
    pub reason: String,
    /// The release that it is served from. `None`: from none.
    pub release: Option<String>,
}

/// A name at which a machine keeps its own records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedName {
    /// The name.
    pub name: String,
    /// Whether its addresses are there. `None`: not known.
    pub present: Option<bool>,
    /// Whether they should be.
    pub wanted: bool,
    /// Why they are not as they should be: a line of at most 300 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A recorded cron job that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedJob {
    /// Its name.
    pub job: String,
    /// How it is.
    pub state: JobState,
    /// When its last run began.
    pub started: Option<Timestamp>,
    /// The exit code of the last run that ended.
    pub code: Option<i32>,
    /// When one last ended well.
    pub succeeded: Option<Timestamp>,
}

/// A database of one of a machine's products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedDatabase {
    /// The product.
    pub product: Name,
    /// What the machine has to do with it.
    pub part: Part,
    /// The master, as far as the machine goes by it.
    pub master: Option<Name>,
    /// How many alarms there are about it.
    pub alarms: usize,
}

impl NodeReport {
    /// What `status` comes to.
    pub fn of(status: &Status, machine: Machine, zone: Option<ZoneName>) -> Self {
        Self {
            format: 1,
            written: status.written,
            server: status.node.name.clone(),
            found_by: line(&status.node.found_by),
            machine,
            zone,
            agent: ReportingAgent {
                version: status.agent.version.clone(),
                started: status.agent.started,
            },
            document: status.document.as_ref().map(|document| ReportedDocument {
                id: document.id.clone(),
                trust: document.trust.clone(),
                signers: document.signers.clone(),
            }),
            refused: status.refused.as_ref().map(|refused| ReportedRefusal {
                version: refused.version,
                since: refused.since,
                error: refused
                    .errors
                    .first()
                    .map(|error| line(error))
                    .unwrap_or_default(),
            }),
            // What is waited for counts down, and would be news each time.
            rollout: status.rollout.clone().map(|rollout| RolloutStatus {
                waits_for: None,
                ..rollout
            }),
            stands_on: status.stands_on,
            well_since: status.well_since,
            health: status.health,
            alarms: status
                .reasons
                .iter()
                .take(MOST_ALARMS)
                .map(|reason| line(reason))
                .collect(),
            steps: status.steps,
            services_down: status
                .services
                .iter()
                .map(|service| service.unit.clone())
                .collect(),
            last_run: status.last_run.as_ref().map(|run| ReportedRun {
                id: run.id,
                started: run.started,
                took_ms: run.took_ms,
                version: run.document.version,
                steps: run.steps.len(),
                failed: run
                    .steps
                    .iter()
                    .filter(|step| step.outcome.is_failure())
                    .count(),
            }),
            readiness: status
                .readiness
                .iter()
                .map(|known| ReportedReadiness {
                    product: known.product.clone(),
                    ready: known.ready,
                    reason: line(&known.reason),
                    release: known.release.clone(),
                })
                .collect(),
            dns: status
                .dns
                .iter()
                .map(|dns| ReportedName {
                    name: dns.name.clone(),
                    present: dns.present,
                    wanted: dns.wanted,
                    error: dns.error.as_deref().map(line),
                })
                .collect(),
            evictions: (status.evictions.iter())
                .take(MOST_ALARMS)
                .cloned()
                .collect(),
            hold: status.hold.clone(),
            drain: status.drain.clone(),
            undone: status.undone.clone(),
            jobs: status
                .jobs
                .iter()
                .filter(|job| job.state.is_trouble())
                .take(MOST_ALARMS)
                .map(|job| ReportedJob {
                    job: job.job.clone(),
                    state: job.state,
                    started: job.started,
                    code: job.code,
                    succeeded: job.succeeded,
                })
                .collect(),
            databases: status
                .databases
                .iter()
                .map(|database| ReportedDatabase {
                    product: database.product.clone(),
                    part: database.part,
                    master: database.master.clone(),
                    alarms: database.alarms.len(),
                })
                .collect(),
        }
    }

    /// Whether it says anything else than `other`, but when.
    pub fn is_news_after(&self, other: &Self) -> bool {
        let timeless = Self {
            written: other.written,
            ..self.clone()
        };
        timeless != *other
    }

    /// Its key in the bucket: `nodes/web-1.json`; of a machine that no document names, `nodes/unknown/i-0a11.json`, by its instance
    /// id or its host name.
    pub fn key(&self) -> String {
        if let Some(server) = &self.server {
            return format!("nodes/{server}.json");
        }
        let machine = &self.machine;
        let named = machine.instance.as_deref().or(machine.hostname.as_deref());
        let named = named.unwrap_or("nameless").trim_start_matches('.');
        let part: String = named
            .chars()
            .take(LONGEST_KEY)
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        format!(
            "nodes/unknown/{}.json",
            if part.is_empty() { "nameless" } else { &part }
        )
    }
}

fn line(text: &str) -> String {
    one_line(text, LONGEST_ALARM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(json: &str) -> NodeReport {
        serde_json::from_str(json).unwrap()
    }

    const WEB: &str = r#"{"format": 1, "written": "2026-11-22T20:00:00Z", "server": "web-1", "found_by": "the host name web-1",
        "machine": {}, "agent": {"version": "0.1.0", "started": "2026-11-22T19:00:00Z"}, "document": null,
        "health": "converged", "alarms": [], "steps": {}, "last_run": null}"#;

    #[test]
    fn only_what_it_says_is_news_not_when() {
        let before = report(WEB);
        let later = report(&WEB.replace("20:00:00", "20:15:00"));
        assert!(!later.is_news_after(&before));
        assert!(report(&WEB.replace("converged", "degraded")).is_news_after(&before));
    }

    #[test]
    fn a_machine_that_no_document_names_has_a_key_of_its_own() {
        assert_eq!(report(WEB).key(), "nodes/web-1.json");
        let unknown = |machine: &str| {
            let json = WEB
                .replace("\"web-1\",", "null,")
                .replace("\"machine\": {}", machine);
            report(&json).key()
        };
        assert_eq!(
            unknown(r#""machine": {"instance": "i-0a11", "hostname": "h"}"#),
            "nodes/unknown/i-0a11.json"
        );
        assert_eq!(
            unknown(r#""machine": {"hostname": "../x/Y_z"}"#),
            "nodes/unknown/-x-Y-z.json"
        );
        assert_eq!(
            unknown(r#""machine": {"hostname": "..."}"#),
            "nodes/unknown/nameless.json"
        );
        assert_eq!(unknown(r#""machine": {}"#), "nodes/unknown/nameless.json");
    }

    #[test]
    fn what_is_quoted_is_a_line_within_bounds() {
        assert_eq!(line("one\ntwo"), "one");
        assert_eq!(line("a\u{1b}[31mb"), "a [31mb");
        let long = line(&"é".repeat(1000));
        assert_eq!(long.chars().count(), LONGEST_ALARM);
        assert!(long.ends_with('…'));
    }
}
