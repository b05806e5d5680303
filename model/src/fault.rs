//! What can happen next.

use node_agent::database::protocol::{Event, Machine, Order, ServerId};

use crate::world::{NOW, Setup, World};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Happening {
    /// Time passes.
    Tick,
    /// A request arrives, and so does its answer.
    Deliver(u8),
    /// A request arrives; its answer does not.
    LoseAnswer(u8),
    /// A request never arrives.
    Lose(u8),
    /// A request takes longer than anybody waits for it.
    Delay(u8),
    /// Work on a server is done.
    Run(u8),
    /// A database server dies.
    Crash(u8),
    /// A database server starts, as its configuration has it: refusing writes, replicating from nobody.
    Start(u8),
    /// An agent is killed.
    Kill(u8),
    /// An agent starts.
    StartAgent(u8),
    /// An agent is stopped, and knows nothing of it.
    Freeze(u8),
    /// It goes on.
    Thaw(u8),
    /// A host is off for good.
    Off(u8),
    /// A server loses the bucket.
    Cut(u8),
    /// It has it again.
    Mend(u8),
    /// All lose the bucket.
    Outage,
    /// All have it again.
    OutageOver,
    /// A server does not reach another one any more.
    Split(u8, u8),
    /// It does again.
    Join(u8, u8),
    /// A disk hangs.
    Hang(u8),
    /// It goes on.
    Unhang(u8),
    /// The master commits a transaction, which no replica has yet.
    Write(u8),
    /// A replica receives it.
    Receive(u8),
    /// An agent is started anew, in good order.
    Restart(u8),
    /// A person orders a switchover.
    Order(u8, u8),
    /// A person orders a takeover, and says that the old master is off.
    TakeOver(u8),
}

impl World {
    /// All that can happen next.
    pub fn happenings(&self, setup: &Setup, out: &mut Vec<Happening>) {
        if self.wrong.is_some() {
            return;
        }
        let busy = (0..setup.servers).any(|id| self.node(id).task.is_some() && self.can_run(id));
        let waits = self
            .net
            .iter()
            .any(|flight| !flight.orphan && flight.age == 0 && !self.node(flight.from).cut);
        // Work on a server takes less than a tick, and so does a request, unless something is wrong.
        if !busy && !waits {
            out.push(Happening::Tick);
        }
        let fault = self.budget.faults > 0;
        for (index, flight) in (0_u8..).zip(&self.net) {
            let dead = flight.write.is_none() && flight.age > 0;
            if self.node(flight.from).cut && !flight.orphan || dead {
                continue;
            }
            out.push(Happening::Deliver(index));
            if flight.orphan {
                out.push(Happening::Lose(index));
            } else if fault && self.budget.network && flight.age == 0 {
                if flight.write.is_some() {
                    out.push(Happening::LoseAnswer(index));
                }
                out.push(Happening::Delay(index));
            }
        }
        for id in 0..setup.servers {
            self.happenings_at(setup, id, fault, out);
        }
        if fault && self.budget.outage && self.nodes.iter().all(|node| !node.cut) {
            out.push(Happening::Outage);
        }
        if self.budget.outage && self.nodes.iter().all(|node| node.cut) {
            out.push(Happening::OutageOver);
        }
        for &(a, b) in &self.split {
            out.push(Happening::Join(a, b));
        }
        if self.budget.split && fault {
            for a in 0..setup.servers {
                for b in 0..setup.servers {
                    if a != b && self.linked(a, b) {
                        out.push(Happening::Split(a, b));
                    }
                }
            }
        }
    }

    fn can_run(&self, id: u8) -> bool {
        // A stopped agent sends nothing; a hung server does nothing, and is killed all the same.
        !self.node(id).frozen
    }

    fn happenings_at(&self, setup: &Setup, id: u8, fault: bool, out: &mut Vec<Happening>) {
        let node = self.node(id);
        let budget = &self.budget;
        if node.task.is_some() && self.can_run(id) {
            out.push(Happening::Run(id));
        }
        if node.off {
            return;
        }
        let mut when = |condition: bool, what: Happening| {
            if condition {
                out.push(what);
            }
        };
        when(!node.server.up, Happening::Start(id));
        when(node.agent.is_none(), Happening::StartAgent(id));
        when(node.frozen, Happening::Thaw(id));
        when(node.cut && budget.cut, Happening::Mend(id));
        when(node.server.hung, Happening::Unhang(id));
        when(
            fault && budget.crash && node.server.up,
            Happening::Crash(id),
        );
        when(
            fault && budget.kill && node.agent.is_some(),
            Happening::Kill(id),
        );
        when(
            fault && budget.freeze && node.agent.is_some() && !node.frozen,
            Happening::Freeze(id),
        );
        when(fault && budget.host, Happening::Off(id));
        when(fault && budget.cut && !node.cut, Happening::Cut(id));
        when(
            fault && budget.hang && node.server.up && !node.server.hung,
            Happening::Hang(id),
        );
        when(
            budget.writes > 0 && node.is_writable() && !node.server.hung,
            Happening::Write(id),
        );
        let source = node.server.source;
        when(
            node.server.behind
                && !node.server.relay
                && node.server.up
                && node.server.receives
                && source.is_some_and(|source| {
                    self.linked(id, source)
                        && self.node(source).server.up
                        && !self.node(source).server.behind
                }),
            Happening::Receive(id),
        );
        when(
            fault && budget.restart && node.agent.is_some(),
            Happening::Restart(id),
        );
        let owner = self.object.is_some_and(|object| object.owner.0 == id);
        when(
            budget.takeovers > 0 && self.runs(id) && !owner,
            Happening::TakeOver(id),
        );
        if budget.orders > 0 && self.runs(id) && node.is_writable() {
            for to in (0..setup.servers).filter(|&to| to != id) {
                out.push(Happening::Order(id, to));
            }
        }
    }

    /// Lets it happen.
    pub fn happen(&mut self, setup: &Setup, what: Happening) {
        let fault = matches!(
            what,
            Happening::LoseAnswer(_)
                | Happening::Delay(_)
                | Happening::Crash(_)
                | Happening::Kill(_)
                | Happening::Freeze(_)
                | Happening::Off(_)
                | Happening::Cut(_)
                | Happening::Outage
                | Happening::Split(..)
                | Happening::Hang(_)
                | Happening::Restart(_)
        );
        if fault {
            self.budget.faults -= 1;
        }
        match what {
            Happening::Tick => self.tick(setup),
            Happening::Deliver(index) => self.deliver(setup, usize::from(index), true),
            Happening::LoseAnswer(index) => self.deliver(setup, usize::from(index), false),
            Happening::Lose(index) => {
                self.net.remove(usize::from(index));
            }
            Happening::Delay(index) => self.net[usize::from(index)].age = 1,
            Happening::Run(id) => self.run(setup, id),
            Happening::Crash(id) => self.crash(id),
            Happening::Start(id) => {
                let server = &mut self.node_mut(id).server;
                server.up = true;
                server.read_only = true;
            }
            Happening::Kill(id) => self.kill(id),
            Happening::StartAgent(id) => self.start_agent(setup, id),
            Happening::Restart(id) => {
                self.kill(id);
                self.start_agent(setup, id);
            }
            Happening::Freeze(id) => self.node_mut(id).frozen = true,
            Happening::Thaw(id) => {
                let node = self.node_mut(id);
                node.frozen = false;
                if let Some(answer) = node.inbox.take() {
                    self.tell(setup, id, Event::Bucket(answer));
                }
            }
            Happening::Off(id) => {
                self.crash(id);
                // Nobody says goodbye: its sessions end by their silence.
                let locks: Vec<_> = self.nodes.iter().map(|node| node.server.lock).collect();
                self.kill(id);
                for (node, lock) in self.nodes.iter_mut().zip(locks) {
                    node.server.lock = lock;
                }
                let node = self.node_mut(id);
                node.off = true;
                node.server.lock = None;
                node.server.hung = false;
            }
            Happening::Cut(id) => self.cut(id, true),
            Happening::Mend(id) => self.cut(id, false),
            Happening::Outage => (0..setup.servers).for_each(|id| self.cut(id, true)),
            Happening::OutageOver => (0..setup.servers).for_each(|id| self.cut(id, false)),
            Happening::Split(a, b) => self.split.push((a, b)),
            Happening::Join(a, b) => self.split.retain(|pair| *pair != (a, b)),
            Happening::Hang(id) => self.node_mut(id).server.hung = true,
            Happening::Unhang(id) => self.node_mut(id).server.hung = false,
            Happening::Write(id) => {
                self.budget.writes -= 1;
                for (other, node) in (0_u8..).zip(&mut self.nodes) {
                    node.server.behind |= other != id;
                }
            }
            Happening::Receive(id) => self.node_mut(id).server.relay = true,
            Happening::Order(id, to) => {
                self.budget.orders -= 1;
                self.tell(setup, id, Event::Order(Order::Switchover(ServerId(to))));
            }
            Happening::TakeOver(id) => {
                self.budget.takeovers -= 1;
                self.tell(setup, id, Event::Order(Order::TakeOver { off: true }));
            }
        }
        self.tidy();
    }

    /// Equal worlds look equal.
    pub fn tidy(&mut self) {
        self.net
            .sort_by_key(|flight| (flight.from, flight.orphan, flight.age));
        self.split.sort_unstable();
        self.renumber();
    }

    fn start_agent(&mut self, setup: &Setup, id: u8) {
        let node = self.node_mut(id);
        node.agent = Some(Machine::new(NOW, node.known_epoch));
        let armed = node.gate.is_some();
        self.tell(setup, id, Event::Armed(armed));
        let health = self.health(id);
        self.tell(setup, id, Event::Health(health));
    }

    fn cut(&mut self, id: u8, cut: bool) {
        self.node_mut(id).cut = cut;
    }

    fn crash(&mut self, id: u8) {
        let server = &mut self.node_mut(id).server;
        server.up = false;
        server.hung = false;
        server.read_only = true;
        server.receives = false;
        server.applies = false;
        server.lock = None;
    }

    fn kill(&mut self, id: u8) {
        self.drop_sessions(id);
        let node = self.node_mut(id);
        node.agent = None;
        node.frozen = false;
        node.task = None;
        node.inbox = None;
        for flight in &mut self.net {
            if flight.from == id {
                flight.orphan = true;
            }
        }
        self.net
            .retain(|flight| !flight.orphan || flight.write.is_some());
    }
}
