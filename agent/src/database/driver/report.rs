//! The status of a product's database: everything that this server knows.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::audit::Audit;
use super::context::Context;
use super::ids::ServerIds;
use super::last_seen::LastSeen;
use super::local_server::now;
use crate::database::hold::Hold;
use crate::database::lease::Lease;
use crate::database::protocol::{
    Fenced, Machine, Ms, Order, Reason, Rules, Servers, State, Step, Task,
};
use crate::database::semantics::Semantics;
use crate::database::server::{Observation, ServerError, ThreadState};
use crate::fleet::Name;
use crate::report::{
    BucketVerdict, ChangeStatus, DatabaseServer, DatabaseStatus, FailoverStatus, HoldStatus,
    LeaseStatus, Part, Place, Trouble,
};
use crate::system::clock;

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
    /// What this server has and the master lacks changes nothing that people have.
    pub(super) surplus_is_idle: bool,
    /// Since when the lock is not held on all candidates.
    pub(super) unlocked_since: Option<Ms>,
    /// Why a server to which was to be handed over did not show that it applies.
    pub(super) unproven: Option<String>,
    /// Why no client reaches the server, though it takes writes.
    pub(super) unreached: Option<String>,
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
            Err(why) if matches!(task, Task::Prove(_)) => self.unproven = Some(why.clone()),
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
        let mut alarms = self.urgent(machine, rules, lease, context);
        let urgent = alarms.clone();
        let mut notes = Vec::new();
        self.alarms_and_notes(machine, lease, blockers, context, &mut alarms, &mut notes);
        self.locks(ids, rules, machine, &mut alarms, &mut notes);
        if quarantined && self.surplus_is_idle {
            alarms.push(format!(
                "{0} has transactions of its own that change nothing, such as FLUSH or ANALYZE typed here: as long as it has them it \
                 stops at its master's next one. agentctl db rejoin {1} --accept, here, forgets them; nothing is copied",
                context.me, context.product
            ));
        } else if quarantined {
            alarms.push(format!(
                "{} has transactions that the master lacks: it is kept out{}. They are saved under {} and in the bucket; \
                 read them, apply by hand what is wanted on the master, then agentctl db rejoin {} --discard",
                context.me,
                if machine.is_shut() {
                    ", and its port is shut to clients"
                } else {
                    ""
                },
                context.state_dir.join("surplus").display(),
                context.product
            ));
        }
        DatabaseStatus {
            product: context.product.clone(),
            products: context.products.clone(),
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
                maintenance_until: hold.maintenance_until,
            }),
            last_change: self.change.clone(),
            doing: doing(machine, ids, self.copying),
            urgent,
            snapshots: None,
            alarms,
            notes,
        }
    }

    /// What somebody must be woken for.
    fn urgent(
        &self,
        machine: &Machine,
        rules: &Rules,
        lease: Option<&Lease>,
        context: &Context,
    ) -> Vec<String> {
        let mut urgent = Vec::new();
        let mine = lease.is_some_and(|lease| lease.owner == context.me);
        let said = match &self.observation {
            Some(Ok(seen)) if !seen.read_only => None,
            Some(Ok(_)) => Some("refuses writes".to_owned()),
            Some(Err(error)) => Some(format!("does not answer ({error})")),
            None => None,
        };
        if let Some(said) = said.filter(|_| mine && machine.is_watched_only(rules)) {
            let why = match &self.hold {
                Some(hold) => format!("paused on {}", hold.by),
                None => "failover = \"manual\" in agentd.toml".to_owned(),
            };
            urgent.push(format!(
                "the master, {}, {said}, and nothing is done about it: {why}. To have it opened: agentctl db takeover {}, here or, \
                 for another master, there",
                context.me, context.product
            ));
        }
        if machine.is_namesakes() {
            urgent.push(format!(
                "the lease is that of another machine which goes by this server's name, {0}: a clone, or a machine with a wrong \
                 name. This server keeps out as long as that one renews. Stop agentd on the one that is not {0}, and give it \
                 another name (node in its agentd.toml). If all network cards of {0} were replaced, wait: it goes on when the \
                 lease has run out",
                context.me
            ));
        }
        if let Some(why) = &self.unreached {
            urgent.push(format!(
                "this master takes writes, and no client reaches it: {why}. See what stands in the way: nft list ruleset, \
                 iptables-save, bind_address"
            ));
        }
        urgent
    }

    /// What an absent bucket would do to this master.
    fn locks(
        &self,
        ids: &ServerIds,
        rules: &Rules,
        machine: &Machine,
        alarms: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) {
        if !matches!(machine.state(), State::Serving) {
            return;
        }
        let at = now();
        let names = |servers: Servers| {
            let named = ids.list(servers);
            named
                .iter()
                .map(Name::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let apart = machine.unlocked(rules, at);
        let locked = machine.locked_until(rules, at).is_some();
        if machine.goes_by_locks(rules, at) {
            let why = self.trouble.as_ref().map_or("", |trouble| &trouble.why);
            alarms.push(format!(
                "the bucket takes no renewal of the lease: {why}. This master goes on, for by its locks nobody can take over; \
                 nothing can change by itself meanwhile, and if another lock is lost it closes"
            ));
        }
        // A session that has to be made anew is no news.
        let patience = rules.timing.renew * 3 + rules.timing.timeout;
        let lasts = |since: Ms| at.saturating_sub(since) >= patience;
        if apart.is_empty() || !self.unlocked_since.is_some_and(lasts) {
            return;
        }
        let why: Vec<_> = ids
            .list(apart)
            .iter()
            .map(|name| {
                let seen = self.others.get(name).and_then(LastSeen::why_not);
                let why = seen.unwrap_or_else(|| "the lock could not be taken there".to_owned());
                format!("{name}: {why}")
            })
            .collect();
        let (list, why) = (names(apart), why.join("; "));
        if locked {
            notes.push(format!(
                "the lock is not held on {list} ({why}): an absent bucket would not close this master even so, but {list} cannot \
                 take over by itself until it is held there again"
            ));
        } else {
            alarms.push(format!(
                "the lock is not held on {list} ({why}): if the bucket were away now, or let nobody in, this master would close \
                 after {} s, for {list} could take over unseen",
                rules.timing.stop_serving.div_ceil(1_000)
            ));
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
        let lives = blockers
            .iter()
            .any(|reason| matches!(reason, Reason::Fresh { .. }));
        let stuck = blockers.iter().filter(|reason| {
            // A master that lives lists it again within seconds.
            let passes = lives && matches!(reason, Reason::Unknown);
            !passes
                && matches!(
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
        if let Some(Ok(seen)) = &self.observation
            && let Some(replication) = &seen.replication
            && let Some((code, text)) = &replication.io.error
            && replication.io.state != ThreadState::Running
            && lives
        {
            alarms.push(format!(
                "this replica receives nothing from {}: error {code}: {text}",
                replication.host
            ));
        }
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
                    Place::Replica if mine && !machine.state().owns() => {
                        Some(self.own_obstacles(blockers))
                    }
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

    /// What stands against a takeover by this server. That it receives nothing counts as long as there is a master to receive
    /// from: it would come to the takeover without what was written since.
    fn own_obstacles(&self, blockers: &[Reason]) -> Vec<String> {
        let obstacles = lasting(blockers);
        let lives = blockers
            .iter()
            .any(|reason| matches!(reason, Reason::Fresh { .. } | Reason::MastersLock));
        match self.own.as_ref().and_then(LastSeen::why_not) {
            Some(why) if obstacles.is_empty() && lives => vec![why],
            _ => obstacles,
        }
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
        if blockers.contains(&Reason::Observed) {
            obstacles.push(Reason::Observed.to_string());
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
                self.own_obstacles(blockers).is_empty()
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
        let other = matches!(
            reason,
            Reason::MastersLock | Reason::Held | Reason::Manual | Reason::Observed
        );
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
        Task::Prove(_) => "seeing the other server apply",
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
