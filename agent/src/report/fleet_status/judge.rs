//! How one server is: what the document wants of it, against what it last said.

use jiff::{SignedDuration, Timestamp};

use super::{MachineReport, ON_ITS_WAY, Reports, SILENT_AFTER, ServerHealth, ServerRow};
use crate::fleet::{DocumentId, Name, Server, ServerState};
use crate::report::status::Health;
use crate::report::text::{ago, count};
use crate::report::{EvictionStatus, NodeReport, Ready, RolloutStatus};

/// What all servers are judged by.
pub(super) struct Judge<'a> {
    pub document: &'a DocumentId,
    pub issued: Timestamp,
    pub reports: &'a Reports,
    pub now: Timestamp,
}

/// Whether somebody who was heard then is silent now.
pub(super) fn is_silent(heard: Timestamp, now: Timestamp) -> bool {
    is_older(heard, SILENT_AFTER, now)
}

fn is_older(then: Timestamp, time: std::time::Duration, now: Timestamp) -> bool {
    let age = now.duration_since(then);
    SignedDuration::try_from(time).is_ok_and(|time| age > time)
}

impl Judge<'_> {
    pub fn row(&self, name: &Name, server: &Server) -> ServerRow {
        let machine = self.reports.servers.get(name);
        let (mut health, mut reasons) = self.judge(name, server, machine);
        if let Some(out) = self
            .left_out(name)
            .filter(|_| server.state == ServerState::Active)
        {
            // Its last report may be young and say that all is well.
            let heard = machine.map(MachineReport::heard);
            if heard.is_none_or(|heard| heard <= out.since) {
                health = health.min(ServerHealth::Silent);
            } else if !health.is_problem() {
                health = ServerHealth::NotReady;
            }
            reasons.insert(0, out.line());
        }
        let report = machine.map(|machine| &machine.report);
        let document = report.and_then(|report| report.document.as_ref());
        ServerRow {
            server: name.clone(),
            health,
            reasons,
            state: server.state,
            zone: server.zone.clone(),
            roles: server.roles.clone(),
            products: server.products.clone(),
            address: server.address,
            version: report
                .and_then(|report| report.stands_on)
                .or(document.map(|document| document.id.version)),
            rollout: report.and_then(|report| self.rollout(report)).cloned(),
            heard: machine.map(MachineReport::heard),
            agent: report.map(|report| report.agent.version.clone()),
            services_down: report.map_or_else(Vec::new, |report| report.services_down.clone()),
            readiness: report.map_or_else(Vec::new, |report| report.readiness.clone()),
            databases: report.map_or_else(Vec::new, |report| report.databases.clone()),
        }
    }

    fn judge(
        &self,
        name: &Name,
        server: &Server,
        machine: Option<&MachineReport>,
    ) -> (ServerHealth, Vec<String>) {
        if server.state == ServerState::Retired {
            return (ServerHealth::Retired, Vec::new());
        }
        let Some(machine) = machine else {
            let unread = self.reports.unread.get(&format!("nodes/{name}.json"));
            let why = unread.map_or_else(
                || "there is no report of it: not started, or its agent may not put one".to_owned(),
                |why| format!("its report cannot be read: {why}"),
            );
            return (ServerHealth::Unheard, vec![why]);
        };
        let report = &machine.report;
        if is_silent(machine.heard(), self.now) {
            let mut reasons = vec![format!(
                "last heard {}, when it was {}",
                ago(machine.heard(), self.now),
                word(report.health)
            )];
            reasons.extend(report.alarms.iter().cloned());
            return (ServerHealth::Silent, reasons);
        }
        let version = self.version(report);
        let not_ready = not_ready(report);
        let mut reasons = report.alarms.clone();
        let waits = self.rollout(report).filter(|rollout| !rollout.taken);
        let health = match report.health {
            Health::Waiting => ServerHealth::Waiting,
            Health::Degraded => ServerHealth::Degraded,
            Health::Converged if version.is_some() => ServerHealth::Behind,
            Health::Converged if !not_ready.is_empty() => ServerHealth::NotReady,
            Health::Converged if waits.is_some() => ServerHealth::Following,
            Health::Converged if self.stands_on_it(report) => ServerHealth::Good,
            Health::Converged => ServerHealth::Following,
        };
        // A degraded machine has its unready products among its alarms already.
        if health == ServerHealth::NotReady || health == ServerHealth::Behind {
            reasons.extend(not_ready);
        }
        if let Some(version) = version {
            let at = if health == ServerHealth::Behind {
                0
            } else {
                reasons.len()
            };
            reasons.insert(at, version);
        }
        if health == ServerHealth::Following {
            reasons.extend(waits.map(RolloutStatus::line));
        }
        if health.is_problem() && reasons.is_empty() {
            reasons.push(format!("it says that it is {}", word(report.health)));
        }
        (health, reasons)
    }

    /// That others have taken it out, by what machines that are heard of say, unless it has said since then that it is back.
    fn left_out(&self, name: &Name) -> Option<&EvictionStatus> {
        let of_it = |machine: &'_ MachineReport| {
            let mut rows = machine.report.evictions.iter();
            rows.position(|row| row.out && row.server == *name)
        };
        let heard = self.reports.servers.values();
        let heard = heard.filter(|machine| !is_silent(machine.heard(), self.now));
        let told = heard.filter_map(|machine| {
            let row = machine.report.evictions.get(of_it(machine)?)?;
            Some((machine.heard(), row))
        });
        let (_, out) = told.max_by_key(|(told, _)| *told)?;
        let own = self.reports.servers.get(name);
        let is_back = own.is_some_and(|own| own.heard() > out.since && of_it(own).is_none());
        (!is_back).then_some(out)
    }

    /// Where it is in the rollout of the published version.
    fn rollout<'r>(&self, report: &'r NodeReport) -> Option<&'r RolloutStatus> {
        let rollout = report.rollout.as_ref();
        rollout.filter(|rollout| rollout.version == self.document.version)
    }

    fn stands_on_it(&self, report: &NodeReport) -> bool {
        let document = report.document.as_ref();
        document.is_some_and(|document| document.id == *self.document)
    }

    /// What is wrong with the version that it stands on, once the published one should be there.
    fn version(&self, report: &NodeReport) -> Option<String> {
        let published = self.document.version;
        let on = &report.document.as_ref()?.id;
        if on == self.document {
            return None;
        }
        if on.version == published {
            return Some(format!(
                "it stands on another document of version {published} than the published one"
            ));
        }
        if on.version > published {
            return Some(format!(
                "it stands on version {}, and version {published} is published",
                on.version
            ));
        }
        is_older(self.issued, ON_ITS_WAY, self.now).then(|| {
            format!(
                "it stands on version {}, {} behind the published one, which was issued {}",
                on.version,
                count(
                    usize::try_from(published - on.version).unwrap_or(usize::MAX),
                    "version"
                ),
                ago(self.issued, self.now)
            )
        })
    }
}

fn not_ready(report: &NodeReport) -> Vec<String> {
    let failing = report
        .readiness
        .iter()
        .filter(|product| product.ready == Ready::False);
    failing
        .map(|product| format!("{} is not ready: {}", product.product, product.reason))
        .collect()
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Converged => "converged",
        Health::Degraded => "degraded",
        Health::Waiting => "waiting",
    }
}
