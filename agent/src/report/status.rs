//! The state of a box, as `agentctl status`, `/run/agentd/status.json` and the monitors have it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::certificates::CertificateStatus;
use super::database::DatabaseStatus;
use super::dns::DnsStatus;
use super::eviction::EvictionStatus;
use super::jobs::JobStatus;
use super::readiness::ProductReadiness;
use super::rollout::RolloutStatus;
use super::row::{Kind, Problem};
use super::run::RunRecord;
use super::standing_order::{StandingOrder, UndoneStatus};
use crate::fleet::names::KeyName;
use crate::fleet::{DocumentId, Name};

/// How a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It is as the document says, and the document is fresh.
    Converged,
    /// Something is not as it should be: see the problems, the refusal, the bucket.
    Degraded,
    /// It does not know yet what to be: no document, or not in it.
    Waiting,
}

/// Everything that one box says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The format of this record: 1.
    pub format: u32,
    /// When this was written.
    pub written: Timestamp,
    /// How the box is.
    pub health: Health,
    /// One line for each reason why it is not converged, each saying what to do next.
    pub reasons: Vec<String>,
    /// The daemon.
    pub agent: AgentStatus,
    /// Which server this is.
    pub node: NodeStatus,
    /// Where it is in the rollout of the newest version, where that goes out in waves.
    #[serde(default)]
    pub rollout: Option<RolloutStatus>,
    /// The version that the last run made of this box, and since when it has been well on it without a break. `None`: no run
    /// was made since the daemon started; it is not well.
    #[serde(default)]
    pub stands_on: Option<u64>,
    /// See `stands_on`.
    #[serde(default)]
    pub well_since: Option<Timestamp>,
    /// The document that the box stands on.
    pub document: Option<DocumentStatus>,
    /// Who must vouch for a document. `None`: nobody.
    #[serde(default)]
    pub trust: Option<TrustStatus>,
    /// The newest document, where it was not accepted.
    pub refused: Option<Refusal>,
    /// The bucket.
    pub bucket: BucketStatus,
    /// Steps held by the guard, quarantined or failed, and warnings.
    pub problems: Vec<Problem>,
    /// How many steps are in which trouble, as of the latest run.
    #[serde(default)]
    pub steps: StepCounts,
    /// What the watch over edits has to say: fights, files that cannot be watched. Each says what to do.
    #[serde(default)]
    pub drift: Vec<String>,
    /// Services that serve what the document asks for, and do not run.
    #[serde(default)]
    pub services: Vec<ServiceDown>,
    /// Whether the products that are served here are served as their smoke tests want.
    #[serde(default)]
    pub readiness: Vec<ProductReadiness>,
    /// This box's own records in DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<DnsStatus>,
    /// Servers of its products that others find dead, and whether they are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evictions: Vec<EvictionStatus>,
    /// A person holds this box: nothing is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<StandingOrder>,
    /// A person has this box drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<StandingOrder>,
    /// A person has taken the document's version back on this box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<UndoneStatus>,
    /// The recorded cron jobs of this box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobStatus>,
    /// The certificates of this box's sites, the one that ends first first; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    /// Of a server that the document says is retired: how many things of the agent's are left on it. `None`: it is not.
    #[serde(default)]
    pub retired: Option<u64>,
    /// The latest run, also one that found nothing to do.
    pub latest_run: Option<LatestRun>,
    /// When the last run began that changed something on this box, as far back as the journal goes.
    pub changed: Option<Timestamp>,
    /// The last run that did something.
    pub last_run: Option<RunRecord>,
    /// The databases of this box's products.
    #[serde(default)]
    pub databases: Vec<DatabaseStatus>,
    /// How this machine's report in the bucket fares.
    #[serde(default)]
    pub report: ReportStatus,
    /// What was counted since the daemon started.
    pub counters: Counters,
}

/// The daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// The time between two polls of the bucket, in milliseconds.
    pub poll_ms: Option<u64>,
    /// What it holds in memory (resident), in bytes.
    pub memory_bytes: Option<u64>,
    /// Why it cannot do its own work: its state cannot be read, a document not be written to disk.
    pub trouble: Option<String>,
}

/// Which server this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name, once known.
    pub name: Option<Name>,
    /// How it was found: `the setting node`, `the instance id i-…`, `the host name web-1`; or what was tried in vain.
    pub found_by: String,
}

/// The document that the box stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentStatus {
    /// Which.
    #[serde(flatten)]
    pub id: DocumentId,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// When the bucket last said that this is the present one.
    pub confirmed: Timestamp,
    /// Who must vouch for it: `none` (unsigned documents are accepted), or so many keys: `1 of 3 keys`.
    pub trust: String,
    /// Who does: the names of the trusted keys that signed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<KeyName>,
}

/// How it came that those vouch for a document who must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustStatus {
    /// The number of the `trust/N.json` that says who signs; 0: agentd.toml does.
    pub generation: u64,
    /// Until when it should have been followed by another one.
    pub expires: Option<Timestamp>,
    /// Why the next one is not followed, where there is one that is not.
    pub refused: Option<String>,
}

/// A document that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its version, where that could be read.
    pub version: Option<u64>,
    /// Since when.
    pub since: Timestamp,
    /// Why: all reasons, each located.
    pub errors: Vec<String>,
}

impl Refusal {
    /// Which document it was, as part of a sentence: `version 43`, where that could be read.
    pub fn which(&self) -> String {
        self.version.map_or_else(
            || "the newest document".to_owned(),
            |version| format!("version {version}"),
        )
    }
}

/// The bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketStatus {
    /// Its URL.
    pub url: String,
    /// When it last answered as it should.
    pub last_answer: Option<Timestamp>,
    /// What is wrong, while it does not answer.
    pub error: Option<String>,
    /// How many requests in a row failed.
    pub failures: u32,
    /// How long the last good request took, in milliseconds.
    pub latency_ms: Option<u64>,
}

/// This machine's report in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportStatus {
    /// Its key. `None`: none was put since the daemon started.
    pub key: Option<String>,
    /// When it was put last.
    pub put: Option<Timestamp>,
    /// Why the newest could not be put.
    pub error: Option<String>,
}

/// How many steps are in which trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepCounts {
    /// Failed before anything was switched; tried again.
    pub failed: u64,
    /// Switched, did not work, put back.
    pub put_back: u64,
    /// Failed, and putting back failed too.
    pub broken: u64,
    /// Held by the guard.
    pub held: u64,
    /// Not tried again until the document changes or a person says so.
    pub quarantined: u64,
    /// Since when the oldest of those that failed or broke has been so.
    pub failing_since: Option<Timestamp>,
}

impl StepCounts {
    /// All of them.
    pub const fn all(self) -> u64 {
        self.failed + self.put_back + self.broken + self.held + self.quarantined
    }
}

/// A service that should run and does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDown {
    /// Its unit: `httpd.service`.
    pub unit: String,
    /// What it serves.
    pub serves: Kind,
    /// What that means, and what to do.
    pub message: String,
}

/// A run in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestRun {
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What was counted since the daemon started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Runs.
    pub runs: u64,
    /// How long they took in all, in milliseconds.
    pub run_ms: u64,
    /// Polls of the bucket.
    pub polls: u64,
    /// Those of them that had no good answer.
    pub failed_polls: u64,
    /// Steps changed because the document asked for it.
    pub changes: u64,
    /// Steps repaired because somebody else had changed them.
    pub repairs: u64,
    /// Steps that failed.
    pub failures: u64,
    /// Documents that were refused.
    pub refusals: u64,
}
