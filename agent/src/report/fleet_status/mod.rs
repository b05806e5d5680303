//! The whole fleet at a glance: what the document wants, beside what each machine last said of itself. Pure; the text, the JSON, the
//! page and the panel are voices of this one model.
//!
//! What a machine says is believed for [`SILENT_AFTER`]. What nobody said is never good.

mod balance;
mod judge;
mod selection;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::node_report::{NodeReport, ReportedDatabase, ReportedReadiness};
use super::rollout::RolloutStatus;
use crate::fleet::names::ZoneName;
use crate::fleet::{DocumentId, Fleet, Name, ServerState};

pub use balance::{Balance, ZoneShare};
pub use selection::Selection;

/// A machine that has said nothing for so long is silent: twice the interval of its reports.
pub const SILENT_AFTER: Duration = Duration::from_mins(30);
/// So long after it was issued a version may be on its way to a machine.
pub const ON_ITS_WAY: Duration = Duration::from_mins(5);

/// A report, and when the bucket took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineReport {
    /// When it was put, by the bucket's clock; `None`: it does not say, and the machine's own word counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<Timestamp>,
    /// What the machine says.
    pub report: NodeReport,
}

impl MachineReport {
    /// When the machine was last heard.
    pub fn heard(&self) -> Timestamp {
        self.put.unwrap_or(self.report.written)
    }
}

/// All reports that lie in the bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// Of machines that know which server they are.
    pub servers: BTreeMap<Name, MachineReport>,
    /// Of machines that no document names, by what the bucket calls them: an instance id or a host name.
    pub unknown: BTreeMap<String, MachineReport>,
    /// Keys of reports that could not be read or believed, each with the reason.
    pub unread: BTreeMap<String, String>,
}

/// How a server is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerHealth {
    /// It has not said anything for [`SILENT_AFTER`]: it may be dead, and nobody knows.
    Silent,
    /// It never said anything, or what it said cannot be read.
    Unheard,
    /// It says that something is not as it should be.
    Degraded,
    /// It does not know yet what to be.
    Waiting,
    /// It stands on another version than the published one, for longer than [`ON_ITS_WAY`].
    Behind,
    /// A product's smoke tests fail on it.
    NotReady,
    /// The published version is on its way to it, or it waits for its wave.
    Following,
    /// It is as the document says.
    Good,
    /// The document says that it is gone.
    Retired,
}

impl ServerHealth {
    /// All, the worst first.
    pub const ALL: [Self; 9] = [
        Self::Silent,
        Self::Unheard,
        Self::Degraded,
        Self::Waiting,
        Self::Behind,
        Self::NotReady,
        Self::Following,
        Self::Good,
        Self::Retired,
    ];

    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Unheard => "never heard",
            Self::Degraded => "degraded",
            Self::Waiting => "waiting",
            Self::Behind => "behind",
            Self::NotReady => "not ready",
            Self::Following => "following",
            Self::Good => "good",
            Self::Retired => "retired",
        }
    }

    /// Whether a person should look.
    pub const fn is_problem(self) -> bool {
        !matches!(self, Self::Following | Self::Good | Self::Retired)
    }

    /// Whether the machine was heard of lately, and knows what to be.
    const fn works(self) -> bool {
        matches!(
            self,
            Self::Degraded | Self::Behind | Self::NotReady | Self::Following | Self::Good
        )
    }
}

/// One server of the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerRow {
    /// Its name.
    pub server: Name,
    /// How it is.
    pub health: ServerHealth,
    /// Why, where a person should look: the most important reason first, a line each.
    pub reasons: Vec<String>,
    /// Whether the document has it take part.
    pub state: ServerState,
    /// Where it stands.
    pub zone: Option<ZoneName>,
    /// What its image was built for.
    pub roles: Vec<Name>,
    /// What it carries.
    pub products: Vec<Name>,
    /// Its address.
    pub address: std::net::IpAddr,
    /// The version that its last run made of it, or that it goes by. `None`: not known.
    pub version: Option<u64>,
    /// Where it is in the rollout of the published version, where that goes out in waves.
    pub rollout: Option<RolloutStatus>,
    /// When it was last heard. `None`: never.
    pub heard: Option<Timestamp>,
    /// The version of its agent.
    pub agent: Option<String>,
    /// Services that should run on it and do not, by unit.
    pub services_down: Vec<String>,
    /// Whether its products are ready, and from which release they are served.
    pub readiness: Vec<ReportedReadiness>,
    /// The databases of its products.
    pub databases: Vec<ReportedDatabase>,
}

/// A machine that no document names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnknownMachine {
    /// What the bucket calls it.
    pub id: String,
    /// The cloud's instance id.
    pub instance: Option<String>,
    /// Its host name.
    pub hostname: Option<String>,
    /// What was tried to find out which server it is.
    pub found_by: String,
    /// When it was last heard.
    pub heard: Timestamp,
    /// Whether it has been silent for [`SILENT_AFTER`].
    pub silent: bool,
    /// The version of its agent.
    pub agent: String,
}

/// A report of a server that the document does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stray {
    /// What it calls itself.
    pub server: Name,
    /// When it was last heard.
    pub heard: Timestamp,
    /// Whether it has been silent for [`SILENT_AFTER`]: then it is most likely gone.
    pub silent: bool,
}

/// How many servers are how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// All servers of the document, retired ones not counted.
    pub servers: usize,
    /// Those that a person should look at.
    pub problems: usize,
    /// Those on the way out.
    pub draining: usize,
}

/// Where the reports came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Source {
    /// The reports themselves.
    Reports,
    /// What a monitor machine has put together.
    Summary {
        /// Which machine.
        by: Name,
        /// When, by the bucket's clock where that is known.
        at: Timestamp,
    },
}

/// The fleet at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FleetStatus {
    /// The format of this record: 1.
    pub format: u32,
    /// The moment it is of: by the bucket's clock, where that is known.
    pub at: Timestamp,
    /// The document that is published.
    pub document: DocumentId,
    /// When that was issued.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// Where the reports came from.
    pub source: Source,
    /// Why the published version goes to no more servers, where its rollout was halted.
    pub halted: Option<String>,
    /// How many servers are how.
    pub tally: Tally,
    /// How many servers are in which state of health.
    pub health: BTreeMap<ServerHealth, usize>,
    /// All servers: problems first, the worst of them first, then by product, role, zone and name.
    pub servers: Vec<ServerRow>,
    /// For each product and role: what remains if a zone is lost. Where least remains first.
    pub balance: Vec<Balance>,
    /// Machines that no document names, the latest heard first.
    pub unknown: Vec<UnknownMachine>,
    /// Reports of servers that the document does not have.
    pub strays: Vec<Stray>,
    /// Reports that could not be read, by key.
    pub unread: BTreeMap<String, String>,
}

impl FleetStatus {
    /// What a published document and the reports come to.
    pub fn of(
        fleet: &Fleet,
        document: &DocumentId,
        reports: &Reports,
        source: Source,
        now: Timestamp,
    ) -> Self {
        let judge = judge::Judge {
            document,
            issued: fleet.issued.0,
            reports,
            now,
        };
        let mut servers: Vec<ServerRow> = fleet
            .servers
            .iter()
            .map(|(name, server)| judge.row(name, server))
            .collect();
        servers.sort_by(|one, other| order(one).cmp(&order(other)));
        let silent = |heard: Timestamp| judge::is_silent(heard, now);
        let mut unknown: Vec<UnknownMachine> = reports
            .unknown
            .iter()
            .map(|(id, machine)| UnknownMachine {
                id: id.clone(),
                instance: machine.report.machine.instance.clone(),
                hostname: machine.report.machine.hostname.clone(),
                found_by: machine.report.found_by.clone(),
                heard: machine.heard(),
                silent: silent(machine.heard()),
                agent: machine.report.agent.version.clone(),
            })
            .collect();
        unknown.sort_by_key(|machine| std::cmp::Reverse(machine.heard));
        let strays = reports
            .servers
            .iter()
            .filter(|(name, _)| !fleet.servers.contains_key(name.as_str()))
            .map(|(name, machine)| Stray {
                server: name.clone(),
                heard: machine.heard(),
                silent: silent(machine.heard()),
            })
            .collect();
        let halted = servers
            .iter()
            .find_map(|row| row.rollout.as_ref()?.halted.clone());
        let mut status = Self {
            format: 1,
            halted,
            at: now,
            document: document.clone(),
            issued: fleet.issued.0,
            expires: fleet.expires.0,
            source,
            tally: Tally::default(),
            health: BTreeMap::new(),
            balance: balance::of(&servers),
            servers,
            unknown,
            strays,
            unread: reports.unread.clone(),
        };
        status.count();
        status
    }

    /// The part of it that is about these servers. The balance stays that of the whole fleet.
    #[must_use]
    pub fn only(mut self, selection: &Selection) -> Self {
        self.servers.retain(|row| selection.takes(row));
        self.balance
            .retain(|balance| selection.takes_balance(balance));
        self.count();
        self
    }

    /// Whether a person should look: at one of the servers, or at a rollout that was halted.
    pub fn has_problems(&self) -> bool {
        self.tally.problems > 0 || self.halted.is_some()
    }

    fn count(&mut self) {
        let mut tally = Tally::default();
        self.health.clear();
        for row in &self.servers {
            *self.health.entry(row.health).or_default() += 1;
            if row.health == ServerHealth::Retired {
                continue;
            }
            tally.servers += 1;
            tally.problems += usize::from(row.health.is_problem());
            tally.draining += usize::from(row.state == ServerState::Draining);
        }
        self.tally = tally;
    }
}

/// Problems by how bad they are; what is well, by product.
fn order(
    row: &ServerRow,
) -> (
    ServerHealth,
    Option<&Name>,
    Option<&Name>,
    Option<&ZoneName>,
    &Name,
) {
    // What follows a version and what is there already stand together: a table must not jump with each publication.
    let health = match row.health {
        ServerHealth::Following => ServerHealth::Good,
        other => other,
    };
    (
        health,
        row.products.first(),
        row.roles.first(),
        row.zone.as_ref(),
        &row.server,
    )
}
