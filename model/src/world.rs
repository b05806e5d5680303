//! The state of everything.

use node_agent::database::lease::LeaseState;
use node_agent::database::protocol::{
    BucketAnswer, Event, Health, History, Life, Machine, Ms, Omissions, Proposal, Replica, Rules,
    ServerId, Servers, Tag, Task, Timing, View,
};

/// It is always this moment, by every clock.
pub const NOW: Ms = 1_000;

/// How a model is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What it is for.
    pub name: &'static str,
    /// How many servers.
    pub servers: u8,
    /// The times, in ticks.
    pub timing: Timing,
    /// What is left out of the protocol.
    pub omit: Omissions,
    /// Whether the servers have dead-men.
    pub deadman: bool,
    /// What may happen, and how often.
    pub budget: Budget,
    /// By how much each server's clock is wrong: ticks gained in each four.
    pub drift: Vec<i8>,
    /// The last server of the chain is new: the first one's document does not have it yet.
    pub stranger: bool,
    /// There must be a master in every moment: nothing that may happen here is a reason for less.
    pub steady: bool,
    /// From one state in so many it is looked whether there is a master again if nothing else happens.
    pub look: u64,
}

/// How often each kind of thing may happen in one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// Faults altogether, of the kinds allowed below.
    pub faults: u8,
    /// A database server dies.
    pub crash: bool,
    /// An agent is killed.
    pub kill: bool,
    /// An agent is stopped, and goes on later.
    pub freeze: bool,
    /// A host dies.
    pub host: bool,
    /// A server loses the bucket.
    pub cut: bool,
    /// All lose the bucket.
    pub outage: bool,
    /// A server does not reach another one any more; the other way may still work.
    pub split: bool,
    /// A server's disk hangs.
    pub hang: bool,
    /// An answer of the bucket is lost, or comes late, or a request arrives late.
    pub network: bool,
    /// Transactions that are written.
    pub writes: u8,
    /// An agent is started anew, in good order.
    pub restart: bool,
    /// Switchovers that are ordered.
    pub orders: u8,
    /// Takeovers that are ordered, with the word that the old master is off; whether he is, is not asked.
    pub takeovers: u8,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The lease.
    pub object: Option<View>,
    /// How many ticks ago the lease was written, up to a little more than a master may go on.
    pub object_age: u8,
    /// Requests under way.
    pub net: Vec<Flight>,
    /// The servers.
    pub nodes: Vec<Node>,
    /// What may still happen.
    pub budget: Budget,
    /// Who does not reach whom: sessions that the first opens with the second.
    pub split: Vec<(u8, u8)>,
    /// What must not be, and was.
    pub wrong: Option<Wrong>,
    /// The first master went on for longer than L without the bucket, by its locks.
    pub by_locks: bool,
    /// Masters that changed by themselves.
    pub failovers: u8,
    /// The phase of the wrong clocks.
    pub phase: u8,
}

/// What must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// An epoch was given twice, or went back.
    Epoch,
    /// A lease was taken over that was renewed less than L + F ago.
    Fresh,
    /// What was received was thrown away.
    Relay,
    /// A planned change lost something.
    Switchover,
    /// A server became master that has what its masters lacked.
    Errant,
}

/// A request to the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight {
    /// Whose.
    pub from: u8,
    /// What is to be written; `None`: a read.
    pub write: Option<Proposal>,
    /// Nobody waits for its answer.
    pub orphan: bool,
    /// For how many ticks it is under way.
    pub age: u8,
}

/// A server with its agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// The agent's machine, where it runs.
    pub agent: Option<Machine>,
    /// The agent is stopped.
    pub frozen: bool,
    /// The highest epoch that it knew when it ended.
    pub known_epoch: u64,
    /// The work on the database server that was not done yet.
    pub task: Option<Task>,
    /// An answer that a stopped agent has not read.
    pub inbox: Option<BucketAnswer>,
    /// The database server.
    pub server: Server,
    /// When the dead-man closes it, if it is armed.
    pub gate: Option<Ms>,
    /// It does not reach the bucket.
    pub cut: bool,
    /// The host is off: nothing starts there again.
    pub off: bool,
    /// For how many ticks it has gone on being writable after a write of the lease was refused.
    pub refused: Option<u8>,
}

/// A database server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// The process runs.
    pub up: bool,
    /// It refuses writes.
    pub read_only: bool,
    /// Its disk hangs.
    pub hung: bool,
    /// From whom it replicates.
    pub source: Option<u8>,
    /// Its threads run.
    pub receives: bool,
    /// Its threads run.
    pub applies: bool,
    /// It has received something and not applied it.
    pub relay: bool,
    /// It lacks the last transaction that was written.
    pub behind: bool,
    /// It has a transaction that the master's history lacks.
    pub errant: bool,
    /// It was a master, and has followed nobody since: there are clients who write to it whatever it says.
    pub reigned: bool,
    /// Who holds the product's lock on it, and since when he is silent.
    pub lock: Option<(u8, Ms)>,
}

impl Setup {
    /// So many ticks back memories are told apart; what is older is all the same.
    fn memory(&self) -> Ms {
        let timing = &self.timing;
        let turns = timing.ttl + timing.second_wait * Ms::from(self.servers - 1);
        turns
            .max(timing.drain)
            .max(timing.handover)
            .max(timing.order)
            + 2
    }

    /// A lease that is so old is as old as any.
    fn stale(&self) -> u8 {
        let stops = self.timing.stop_serving + self.timing.fence_budget;
        u8::try_from(stops + 2).unwrap_or(u8::MAX)
    }
}

impl World {
    /// Everything in order: the first server is the master, the others replicate.
    pub fn settled(setup: &Setup) -> Self {
        let server = |id: u8| Server {
            up: true,
            read_only: true,
            hung: false,
            source: (id > 0).then(|| id - 1),
            receives: id > 0,
            applies: id > 0,
            relay: false,
            behind: false,
            errant: false,
            reigned: false,
            lock: None,
        };
        let node = |id: u8| Node {
            agent: Some(Machine::new(NOW, 0)),
            frozen: false,
            known_epoch: 0,
            task: None,
            inbox: None,
            server: server(id),
            gate: None,
            cut: false,
            off: false,
            refused: None,
        };
        let mut world = Self {
            object: None,
            object_age: 0,
            net: Vec::new(),
            nodes: (0..setup.servers).map(node).collect(),
            budget: Budget::default(),
            split: Vec::new(),
            wrong: None,
            by_locks: false,
            failovers: 0,
            phase: 0,
        };
        for _ in 0..16 {
            world.tick(setup);
            while world.settle(setup, false) {}
        }
        world.object_age = 0;
        world.budget = setup.budget;
        world
    }

    /// Does the next thing that does no harm; `last`: of requests under way, the last one first. Whether there was one.
    pub fn settle(&mut self, setup: &Setup, last: bool) -> bool {
        let work = |node: &Node| node.task.is_some() && !node.frozen;
        if let Some(id) = (0..setup.servers).find(|&id| work(self.node(id))) {
            self.run(setup, id);
            return true;
        }
        let arrives = |flight: &Flight| flight.orphan || !self.node(flight.from).cut;
        let arrives =
            |flight: &Flight| arrives(flight) && (flight.write.is_some() || flight.age == 0);
        let mut waits = self
            .net
            .iter()
            .enumerate()
            .filter(|(_, flight)| arrives(flight));
        let next = if last {
            waits.next_back()
        } else {
            waits.next()
        };
        let Some((index, _)) = next else {
            return false;
        };
        self.deliver(setup, index, true);
        true
    }

    /// What the servers of the model go by.
    pub fn rules(setup: &Setup, me: u8) -> Rules {
        Rules {
            me: ServerId(me),
            chain: (0..setup.servers)
                .filter(|&id| me != 0 || !setup.stranger || id + 1 != setup.servers)
                .map(ServerId)
                .collect(),
            never: Servers::default(),
            automatic: true,
            bucket: true,
            other_lease: false,
            abreast: false,
            timing: setup.timing.clone(),
            omit: setup.omit.clone(),
        }
    }

    /// The server and its agent.
    pub fn node(&self, id: u8) -> &Node {
        &self.nodes[usize::from(id)]
    }

    /// The server and its agent.
    pub fn node_mut(&mut self, id: u8) -> &mut Node {
        &mut self.nodes[usize::from(id)]
    }

    /// The servers on which a client's write would be acknowledged.
    pub fn writable(&self) -> Vec<u8> {
        (0_u8..)
            .zip(&self.nodes)
            .filter(|(_, node)| node.is_writable())
            .map(|(id, _)| id)
            .collect()
    }

    /// Whether one server reaches another.
    pub fn linked(&self, from: u8, to: u8) -> bool {
        !self.split.contains(&(from, to))
    }

    /// Tells an agent something, and does what it wants.
    pub fn tell(&mut self, setup: &Setup, id: u8, event: Event) {
        let rules = Self::rules(setup, id);
        let node = self.node_mut(id);
        if let Some(machine) = &mut node.agent {
            let wants = machine.step(&rules, NOW, event);
            node.known_epoch = machine.known_epoch();
            for want in wants {
                self.perform(setup, id, want);
            }
        }
    }

    /// Time passes: everything grows older, and whoever runs looks around.
    pub fn tick(&mut self, setup: &Setup) {
        self.phase = (self.phase + 1) % 4;
        let floor = NOW - setup.memory();
        let phase = self.phase;
        for (node, drift) in self.nodes.iter_mut().zip(&setup.drift) {
            let by = match (drift, phase) {
                (1, 0) => 2,
                (-1, 0) => 0,
                _ => 1,
            };
            if let Some(machine) = &mut node.agent {
                machine.age(by, floor);
            }
            if let Some(Task::Arm { until } | Task::Open { until }) = &mut node.task {
                *until = until.saturating_sub(by).max(floor);
            }
            if let Some(until) = &mut node.gate {
                *until = until.saturating_sub(by).max(floor);
            }
            // A session's silence is counted by the server on which it is held.
            if let Some((holder, since)) = &mut node.server.lock {
                *since = since.saturating_sub(by).max(floor);
                let _ = holder;
            }
        }
        for id in 0..setup.servers {
            let node = self.node_mut(id);
            // wait_timeout of the owner's sessions; the agent's own session on its own server is pinged.
            if let Some((holder, since)) = node.server.lock
                && holder != id
                && NOW - since > setup.timing.ttl
            {
                node.server.lock = None;
            }
        }
        self.object_age = self.object_age.saturating_add(1).min(setup.stale());
        for flight in &mut self.net {
            flight.age = flight.age.saturating_add(1).min(3);
        }
        self.time_out(setup);
        for id in 0..setup.servers {
            if self.runs(id) {
                let health = self.health(id);
                self.tell(setup, id, Event::Health(health));
                self.tell(setup, id, Event::Tick);
            }
        }
        self.watch(setup);
    }

    /// Whether an agent runs at this moment.
    pub fn runs(&self, id: u8) -> bool {
        let node = self.node(id);
        node.agent.is_some() && !node.frozen
    }

    /// Requests that took too long are answered by nobody. They may still arrive.
    fn time_out(&mut self, setup: &Setup) {
        for index in 0..self.net.len() {
            let Some(flight) = self.net.get(index) else {
                break;
            };
            let from = flight.from;
            let late = !flight.orphan && (flight.age >= 2 || self.node(from).cut);
            if late && self.runs(from) {
                if self.node(from).cut {
                    // It never left.
                    self.net[index].write = None;
                }
                self.net[index].orphan = true;
                self.tell(setup, from, Event::Bucket(BucketAnswer::Away));
            }
        }
        // A read that nobody waits for does nothing.
        self.net
            .retain(|flight| !flight.orphan || flight.write.is_some());
    }

    /// How a database server looks to its agent.
    pub fn health(&self, id: u8) -> Health {
        let server = &self.node(id).server;
        Health {
            life: match (server.up, server.hung) {
                (false, _) => Life::Gone,
                (true, true) => Life::Hangs,
                (true, false) => Life::Answers,
            },
            read_only: server.read_only,
            replica: server.source.map(|source| Replica {
                source: Some(ServerId(source)),
                receives: server.receives && self.linked(id, source) && self.node(source).server.up,
                stopped: !server.receives,
                applies: server.applies,
                broken: false,
                locked_out: false,
            }),
            missing: u64::from(server.behind && !server.relay),
            applied: !server.relay,
            errant: u64::from(server.errant && self.compares(id)),
            sane: true,
            // Of an epoch that did not begin with everything a position proves nothing.
            history: if server.errant && self.object.is_some_and(|object| object.complete) {
                History::Unknown
            } else {
                History::Contained
            },
        }
    }

    /// Whether an agent can see that its server has what its master lacks: replication tells, or the master itself.
    fn compares(&self, id: u8) -> bool {
        let master = self
            .object
            .filter(|object| object.state == LeaseState::Serving && object.owner.0 != id)
            .is_some_and(|object| {
                self.linked(id, object.owner.0) && self.node(object.owner.0).server.up
            });
        self.node(id).server.source.is_some() || master
    }

    /// Whether a server's source answers it.
    pub fn reaches_source(&self, id: u8) -> bool {
        self.node(id)
            .server
            .source
            .is_some_and(|source| self.linked(id, source) && self.node(source).server.up)
    }

    /// Notes what has come to pass.
    fn watch(&mut self, setup: &Setup) {
        let masters = self.writable();
        let late = u64::from(self.object_age) > setup.timing.stop_serving;
        self.by_locks |= late && masters.iter().any(|&id| self.node(id).cut);
        for node in &mut self.nodes {
            node.refused = node
                .refused
                .filter(|_| node.is_writable())
                .map(|ticks| ticks.saturating_add(1).min(2));
        }
    }

    /// Gives the versions of the lease the lowest numbers, so that equal worlds look equal.
    pub fn renumber(&mut self) {
        let mut order: Vec<Tag> = Vec::new();
        let mut number = |tag: Tag| {
            let place = order
                .iter()
                .position(|&known| known == tag)
                .unwrap_or_else(|| {
                    order.push(tag);
                    order.len() - 1
                });
            Tag(place as u64)
        };
        if let Some(object) = &mut self.object {
            object.tag = number(object.tag);
        }
        for flight in &mut self.net {
            if let Some(Proposal {
                over: Some(tag), ..
            }) = &mut flight.write
            {
                *tag = number(*tag);
            }
        }
        for node in &mut self.nodes {
            if let Some(BucketAnswer::Lease(view) | BucketAnswer::Done(view)) = &mut node.inbox {
                view.tag = number(view.tag);
            }
            if let Some(machine) = &mut node.agent {
                machine.renumber(&mut number);
            }
        }
    }
}

impl Node {
    /// Whether a client's write would be acknowledged.
    pub fn is_writable(&self) -> bool {
        self.server.up && !self.server.read_only && self.is_reached()
    }

    /// Whether the write of a client who may write to a server that refuses writes would be acknowledged on an old master.
    pub fn is_abused(&self) -> bool {
        self.server.up && self.server.reigned && self.server.read_only && self.is_reached()
    }

    fn is_reached(&self) -> bool {
        self.gate.is_none_or(|until| NOW < until)
    }
}
