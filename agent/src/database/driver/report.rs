//! The status of a product's database: everything that this server knows.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::audit::Audit;
use super::context::Context;
use super::ids::ServerIds;
use crate::database::hold::Hold;
use crate::database::lease::Lease;
use crate::database::protocol::{Fenced, Machine, Order, Reason, Rules, State, Step, Task};
use crate::database::semantics::Semantics;
use crate::database::server::{Observation, ServerError, Thread, ThreadState};
use crate::fleet::Name;
use crate::report::{
    BucketVerdict, ChangeStatus, DatabaseServer, DatabaseStatus, FailoverStatus, HoldStatus,
    LeaseStatus, Part, Place, ServerSeen, Trouble,
};
use crate::system::clock;

/// The last observation of a server, or why there is none.
#[derive(Debug, Clone)]
pub(super) struct LastSeen {
    at: Timestamp,
    observation: Result<Box<Observation>, String>,
}

impl LastSeen {
    pub(super) fn of(seen: &Result<Observation, ServerError>) -> Self {
        Self {
            at: clock::now(),
            observation: match seen {
                Ok(seen) => Ok(Box::new(seen.clone())),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// For the record of a change.
    pub(super) fn sentence(&self, server: &str) -> String {
        match &self.observation {
            Ok(seen) => format!(
                "{server} at {} {}, at {}",
                self.at,
                if seen.read_only {
                    "refused writes"
                } else {
                    "accepted writes"
                },
                seen.executed.tip()
            ),
            Err(error) => format!("{server} at {}: {error}", self.at),
        }
    }

    /// Why it could not be handed over to now.
    pub(super) fn why_not(&self) -> Option<String> {
        let seen = match &self.observation {
            Ok(seen) => seen,
            Err(error) => return Some(error.clone()),
        };
        let Some(replication) = &seen.replication else {
            return Some("it does not replicate".to_owned());
        };
        if replication.sql.state != ThreadState::Running {
            return Some(thread_trouble("it does not apply", &replication.sql));
        }
        if replication.io.state != ThreadState::Running {
            return Some(thread_trouble("it does not receive", &replication.io));
        }
        if !seen.strict {
            return Some("it does not keep GTIDs strictly".to_owned());
        }
        replication
            .lag_secs
            .filter(|&lag| lag > 5)
            .map(|lag| format!("it is {lag} s behind: wait until it has caught up"))
    }

    fn row(&self, source: impl Fn(&str) -> Option<String>) -> ServerSeen {
        match &self.observation {
            Ok(seen) => {
                let replication = seen.replication.as_ref();
                let running = |thread: Option<&Thread>| {
                    thread.is_some_and(|thread| thread.state == ThreadState::Running)
                };
                let error = replication.and_then(|it| {
                    let error = it.sql.error.as_ref().or(it.io.error.as_ref());
                    error.map(|(code, text)| format!("error {code}: {text}"))
                });
                ServerSeen {
                    at: self.at,
                    error: None,
                    version: seen.version.clone(),
                    writable: !seen.read_only,
                    gtid: seen.executed.tip().to_string(),
                    source: replication
                        .map(|it| source(&it.host).unwrap_or_else(|| it.host.clone())),
                    receiving: running(replication.map(|it| &it.io)),
                    applying: running(replication.map(|it| &it.sql)),
                    lag_ms: replication
                        .and_then(|it| it.lag_secs)
                        .map(|secs| secs.saturating_mul(1000)),
                    replication_error: error,
                    clients: Some(u64::from(seen.clients)),
                    semi_sync: Some(if replication.is_some() {
                        seen.semi_sync.replica_enabled
                    } else {
                        seen.semi_sync.source_active
                    }),
                }
            }
            Err(error) => ServerSeen {
                at: self.at,
                error: Some(error.clone()),
                version: String::new(),
                writable: false,
                gtid: String::new(),
                source: None,
                receiving: false,
                applying: false,
                lag_ms: None,
                replication_error: None,
                clients: None,
                semi_sync: None,
            },
        }
    }
}

fn thread_trouble(what: &str, thread: &Thread) -> String {
    match &thread.error {
        Some((code, text)) => format!("{what} (error {code}: {text})"),
        None => what.to_owned(),
    }
}

/// What is remembered for telling.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) state: Option<State>,
    pub(super) own: Option<LastSeen>,
    pub(super) observation: Option<Result<Observation, ServerError>>,
    pub(super) others: BTreeMap<Name, LastSeen>,
    /// What the local server had when it was last asked.
    pub(super) position: String,
    pub(super) hold: Option<Hold>,
    pub(super) semantics: Option<Semantics>,
    pub(super) confirmed: Option<Timestamp>,
    pub(super) fenced: Option<(Timestamp, Fenced)>,
    pub(super) change: Option<ChangeStatus>,
    pub(super) deadman: Option<String>,
    /// `None`: not looked at yet.
    pub(super) audit: Option<Audit>,
    /// Bytes of a copy of the master that were copied, and about how many there are.
    pub(super) copying: Option<(u64, u64)>,
    trouble: Option<Trouble>,
    failed: BTreeMap<&'static str, String>,
    note: Option<String>,
}

impl Report {
    /// The bucket answered, or did not.
    pub(super) fn bucket_answered(&mut self, trouble: Option<String>) {
        self.trouble = trouble.map(|why| Trouble {
            since: self
                .trouble
                .as_ref()
                .map_or_else(clock::now, |trouble| trouble.since),
            why,
        });
    }

    /// A task was done, or not.
    pub(super) fn task_ended(&mut self, task: Task, result: &Result<(), String>) {
        let what = task_name(task);
        match result {
            Ok(()) => {
                self.failed.remove(what);
                if matches!(task, Task::Follow(_) | Task::Rejoin(_)) {
                    // The one does what the other could not.
                    self.failed.remove(FOLLOWING);
                    self.failed.remove(REJOINING);
                }
                if matches!(task, Task::Arm { .. }) {
                    self.deadman = None;
                }
            }
            Err(why) if matches!(task, Task::Arm { .. }) => self.deadman = Some(why.clone()),
            Err(why) => {
                self.failed.insert(what, why.clone());
            }
        }
    }

    pub(super) fn note(&mut self, text: String) {
        self.note = Some(text);
    }

    pub(super) fn status(
        &self,
        context: &Context,
        ids: &ServerIds,
        rules: &Rules,
        machine: &Machine,
        lease: Option<&Lease>,
        blockers: &[Reason],
    ) -> DatabaseStatus {
        let master = lease.map(|lease| lease.owner.clone());
        let first = context.chain.first().map(|member| member.name.clone());
        let quarantined = machine.is_quarantined(rules);
        let in_chain = context.chain.iter().any(|member| member.name == context.me);
        let part = if quarantined {
            Part::Quarantined
        } else if machine.state().owns() {
            Part::Master
        } else if in_chain {
            Part::Candidate
        } else {
            Part::Snapshots
        };
        let master = master.or(first);
        let mut alarms = Vec::new();
        let mut notes = Vec::new();
        self.alarms_and_notes(machine, lease, blockers, context, &mut alarms, &mut notes);
        if quarantined {
            alarms.push(format!(
                "{} has transactions that the master lacks: it is kept out. They are saved under {} and in the bucket; \
                 read them, apply by hand what is wanted on the master, then agentctl db rejoin {} --discard",
                context.me,
                context.state_dir.join("surplus").display(),
                context.product
            ));
        }
        DatabaseStatus {
            product: context.product.clone(),
            part,
            servers: self.servers(context, master.as_ref(), machine, blockers, quarantined),
            failover: self.failover(context, ids, rules, machine, lease, blockers),
            master,
            lease: lease.map(|lease| LeaseStatus {
                epoch: lease.epoch,
                owner: lease.owner.clone(),
                state: lease.state.to_string(),
                gtid: lease.gtid.clone(),
                armed: lease.armed,
                since: lease.since,
                renewed: lease.renewed,
                confirmed: self.confirmed.unwrap_or(lease.renewed),
                trouble: self.trouble.clone(),
            }),
            hold: self.hold.as_ref().map(|hold| HoldStatus {
                by: hold.by.clone(),
                reason: hold.reason.clone(),
                since: hold.since,
            }),
            last_change: self.change.clone(),
            doing: doing(machine, ids, self.copying),
            alarms,
            notes,
        }
    }

    fn alarms_and_notes(
        &self,
        machine: &Machine,
        lease: Option<&Lease>,
        blockers: &[Reason],
        context: &Context,
        alarms: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) {
        if let Some(Semantics::Wrong(findings)) = &self.semantics {
            alarms.push(format!(
                "this bucket's conditional writes are not what leases need, so no master is elected by it: {}",
                findings.join("; ")
            ));
        }
        let mine = lease.is_some_and(|lease| lease.owner == context.me);
        if mine && !machine.state().owns() && !matches!(machine.state(), State::Handed { .. }) {
            alarms.push(format!(
                "{} owns the lease and does not serve: {}",
                context.me,
                reasons(blockers).unwrap_or_else(|| state(machine).to_owned())
            ));
        }
        if machine.state().owns() && !machine.armed() {
            let why = self.deadman.as_deref().unwrap_or("it is being armed");
            let text = format!(
                "nothing closes this master if its agent dies: {why}. While it is so, nobody takes over from a machine \
                 that cannot be reached"
            );
            if self.deadman.is_some() {
                alarms.push(text);
            }
        }
        if lease.is_none() && machine.known_epoch() == 0 && !blockers.is_empty() {
            notes.push(format!(
                "there is no lease yet, and this server does not make it: {}",
                reasons(blockers).unwrap_or_default()
            ));
        }
        let stuck = blockers.iter().filter(|reason| {
            matches!(
                reason,
                Reason::OldOpen
                    | Reason::OldUnreachable
                    | Reason::LeaseGone
                    | Reason::Regressed
                    | Reason::DrainFailed
                    | Reason::Unknown
            )
        });
        alarms.extend(stuck.map(|reason| format!("no takeover by {}: {reason}", context.me)));
        if let Some(audit) = &self.audit {
            let (grave, other) = audit.alarms_and_notes();
            alarms.extend(grave);
            notes.extend(other);
        }
        for (what, why) in &self.failed {
            alarms.push(format!("{what}: {why}"));
        }
        if let Some((done, total)) = self.copying {
            notes.push(format!(
                "this server is being filled with a copy of the other's data: {} of about {} MB",
                done / 1_000_000,
                total / 1_000_000
            ));
        }
        if let Some((at, why)) = &self.fenced {
            notes.push(format!("this server was closed at {at}: {why}"));
        }
        notes.extend(self.note.clone());
    }

    fn servers(
        &self,
        context: &Context,
        master: Option<&Name>,
        machine: &Machine,
        blockers: &[Reason],
        quarantined: bool,
    ) -> Vec<DatabaseServer> {
        let source = |host: &str| {
            let address: std::net::IpAddr = host.parse().ok()?;
            let member = context.members().find(|member| member.address == address)?;
            Some(member.name.to_string())
        };
        let row = |name: &Name| {
            let mine = *name == context.me;
            let seen = if mine {
                self.own.as_ref()
            } else {
                self.others.get(name)
            };
            let in_chain = context.chain.iter().any(|member| member.name == *name);
            let place = match (Some(name) == master, in_chain) {
                (true, _) => Place::Master,
                (false, true) => Place::Replica,
                (false, false) => Place::Snapshots,
            };
            DatabaseServer {
                name: name.clone(),
                address: context
                    .address(name)
                    .map_or_else(String::new, |address| address.to_string()),
                place,
                seen: seen.map(|seen| seen.row(source)),
                obstacles: match place {
                    Place::Replica if mine && !machine.state().owns() => Some(lasting(blockers)),
                    Place::Replica if !mine => {
                        seen.map(|seen| seen.why_not().into_iter().collect())
                    }
                    _ => None,
                },
                quarantined: (mine && quarantined)
                    .then(|| "it has transactions that the master lacks".to_owned()),
            }
        };
        context.members().map(|member| row(&member.name)).collect()
    }

    fn failover(
        &self,
        context: &Context,
        ids: &ServerIds,
        rules: &Rules,
        machine: &Machine,
        lease: Option<&Lease>,
        blockers: &[Reason],
    ) -> FailoverStatus {
        let mut obstacles = Vec::new();
        if !context.automatic() {
            obstacles.push(Reason::Manual.to_string());
        }
        if self.hold.is_some() {
            obstacles.push(Reason::Held.to_string());
        }
        let right = match &self.semantics {
            Some(Semantics::Right) => Some(true),
            Some(Semantics::Wrong(_)) => Some(false),
            Some(Semantics::Unknown(_)) | None => None,
        };
        if right == Some(false) {
            obstacles.push("the bucket's conditional writes are wrong".to_owned());
        }
        let owner = machine.lease().map(|(view, _)| view.owner);
        let fit = |name: &Name| {
            if *name == context.me {
                lasting(blockers).is_empty()
            } else {
                let seen = self.others.get(name);
                seen.is_some_and(|seen| seen.why_not().is_none())
            }
        };
        let successor = owner.and_then(|owner| {
            let mut candidates = rules.candidates(owner).filter_map(|id| ids.name(id));
            candidates.find(|name| fit(name)).cloned()
        });
        if successor.is_none() && lease.is_some() && rules.chain.len() > 1 {
            obstacles.push("nobody in the chain could take over now".to_owned());
        }
        if let Some(Reason::Cooldown { left }) = blockers
            .iter()
            .find(|reason| matches!(reason, Reason::Cooldown { .. }))
        {
            obstacles.push(Reason::Cooldown { left: *left }.to_string());
        }
        FailoverStatus {
            automatic: Some(obstacles.is_empty() && rules.automatic && rules.chain.len() > 1),
            obstacles,
            successor,
            bucket: self.semantics.as_ref().map(|verdict| BucketVerdict {
                right,
                findings: match verdict {
                    Semantics::Right => Vec::new(),
                    Semantics::Wrong(findings) => findings.clone(),
                    Semantics::Unknown(why) => vec![why.clone()],
                },
            }),
        }
    }
}

/// What stands against a takeover beside that the master lives, and beside what people want: that is told of the
/// failover as a whole, and says nothing of this server.
fn lasting(blockers: &[Reason]) -> Vec<String> {
    let waits = |reason: &&Reason| {
        let other = matches!(reason, Reason::MastersLock | Reason::Held | Reason::Manual);
        reason.passes() || other
    };
    let lasting = blockers.iter().filter(|reason| !waits(reason));
    lasting.map(ToString::to_string).collect()
}

fn reasons(blockers: &[Reason]) -> Option<String> {
    let words: Vec<_> = blockers.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

const FOLLOWING: &str = "following the source";
const REJOINING: &str = "rejoining";

/// What people call a task.
fn task_name(task: Task) -> &'static str {
    match task {
        Task::Close => "closing the server",
        Task::Kill => "killing the server",
        Task::StopReceiving => "stopping to receive",
        Task::Drain => "applying what was received",
        Task::Arm { .. } => "arming the dead-man",
        Task::Forget => "forgetting the source",
        Task::Open { .. } => "opening the server",
        Task::Follow(_) => FOLLOWING,
        Task::Start => "starting replication",
        Task::SaveSurplus => "saving what the master lacks",
        Task::Rejoin(_) => REJOINING,
    }
}

fn state(machine: &Machine) -> &'static str {
    match machine.state() {
        State::Starting { .. } => "it has just started",
        State::Following => "it waits",
        State::Claiming { .. } => "it asks the bucket to confirm the lease",
        State::Bidding => "it takes the lease over",
        State::Promoting { step, .. } => match step {
            Step::StopReceiving => "it stops receiving",
            Step::Drain => "it applies what it received",
            Step::Arm => "it arms the dead-man",
            Step::Recheck { .. } => "it has the lease confirmed once more",
            Step::Forget => "it forgets its source",
            Step::Open => "it opens",
        },
        State::Serving => "it serves",
        State::Announcing { .. } => "it has announced to whom it hands over",
        State::Closing { .. } => "it closes",
        State::Handed { .. } => "it waits for the other server to take over",
        State::Fencing { .. } => "it is being closed",
    }
}

fn doing(machine: &Machine, ids: &ServerIds, copying: Option<(u64, u64)>) -> Option<String> {
    let to = match machine.state() {
        State::Announcing { to, .. } | State::Closing { to, .. } | State::Handed { to, .. } => {
            Some(to)
        }
        _ => None,
    };
    let name = to.and_then(|to| ids.name(to));
    match (machine.state(), machine.order()) {
        (_, Some(Order::Switchover(_))) | (State::Closing { .. }, _) => Some(format!(
            "switchover to {}: {}",
            name.map_or("another server", Name::as_str),
            state(machine)
        )),
        (_, Some(Order::TakeOver { .. })) => {
            Some(format!("takeover by a person's order: {}", state(machine)))
        }
        (_, Some(Order::Rejoin)) => Some(match copying {
            Some((done, total)) => format!(
                "rejoining: {} % of about {} MB copied",
                // In tens: who waits sees a line for each.
                done.saturating_mul(10) / total.max(1) * 10,
                total / 1_000_000
            ),
            None => "rejoining".to_owned(),
        }),
        (State::Promoting { .. } | State::Bidding | State::Fencing { .. }, None) => {
            Some(state(machine).to_owned())
        }
        _ => None,
    }
}
