//! What a machine wants done, done: at once where nothing can come in between that matters, else when its turn comes.

use node_agent::database::lease::LeaseState;
use node_agent::database::protocol::{
    Action, Beat, BucketAnswer, Event, OldMaster, OwnLock, PeerAnswer, Proposal, ServerId, Tag,
    Task, View,
};

use crate::world::{Flight, NOW, Setup, World, Wrong};

impl World {
    /// Does what an agent wants.
    pub fn perform(&mut self, setup: &Setup, id: u8, want: Action) {
        match want {
            Action::Read => self.send(id, None),
            Action::Write(proposal) => self.send(id, Some(proposal)),
            Action::Beat => {
                let server = &self.node(id).server;
                let beat = match (server.up, server.hung, server.read_only) {
                    (false, ..) => Beat::Gone,
                    (_, true, _) => Beat::Failed,
                    (.., true) => Beat::ReadOnly,
                    _ => Beat::Done,
                };
                self.tell(setup, id, Event::Beat(beat));
            }
            Action::Observe => {
                let health = self.health(id);
                self.tell(setup, id, Event::Health(health));
            }
            Action::Do(task) => {
                self.node_mut(id).task = Some(task);
                // Between these a crash changes nothing that a crash before or after them would not.
                if !matches!(task, Task::Close | Task::Kill | Task::Open { .. }) {
                    self.run(setup, id);
                }
            }
            Action::Ping(peer) => {
                let answer = self.ping(id, peer.0);
                self.tell(setup, id, Event::Peer(peer, answer));
            }
            Action::DropPeers => self.drop_sessions(id),
            Action::TakeLock => {
                let lock = self.take_lock(id);
                self.tell(setup, id, Event::OwnLock(lock));
            }
            Action::DropLock => {
                let server = &mut self.node_mut(id).server;
                if server.lock.is_some_and(|(holder, _)| holder == id) {
                    server.lock = None;
                }
            }
            Action::LookAtOld(owner) | Action::FenceOld(owner) => {
                let old = self.look(id, owner.0, matches!(want, Action::FenceOld(_)));
                self.tell(setup, id, Event::Old(old));
            }
            Action::Feed { until } => {
                let node = self.node_mut(id);
                if node.gate.is_some() {
                    node.gate = Some(until);
                }
            }
            Action::Disarm => self.node_mut(id).gate = None,
            Action::Shut => {
                self.node_mut(id).gate = setup.deadman.then_some(NOW);
                if !setup.deadman {
                    self.tell(setup, id, Event::Armed(false));
                }
            }
            Action::Refuse(_) => {}
        }
    }

    fn send(&mut self, id: u8, write: Option<Proposal>) {
        self.net.push(Flight {
            from: id,
            write,
            orphan: false,
            age: 0,
        });
    }

    /// A ping over the owner's session, which is opened where there is none.
    fn ping(&mut self, id: u8, peer: u8) -> PeerAnswer {
        let reached = self.linked(id, peer) && !self.node(peer).off;
        let server = &mut self.node_mut(peer).server;
        match server.lock {
            _ if !reached => PeerAnswer::Silent,
            _ if !server.up => PeerAnswer::Down,
            _ if server.hung => PeerAnswer::Silent,
            Some((holder, _)) if holder != id => PeerAnswer::Silent,
            _ => {
                server.lock = Some((id, NOW));
                PeerAnswer::Held
            }
        }
    }

    /// The sessions of an agent end, and its locks with them.
    pub fn drop_sessions(&mut self, id: u8) {
        for peer in 0..self.nodes.len() {
            // A session over a broken way ends only by its silence.
            let linked = self.linked(id, u8::try_from(peer).unwrap_or(u8::MAX));
            let server = &mut self.nodes[peer].server;
            if linked && server.lock.is_some_and(|(holder, _)| holder == id) {
                server.lock = None;
            }
        }
    }

    fn take_lock(&mut self, id: u8) -> OwnLock {
        let server = &mut self.node_mut(id).server;
        if !server.up || server.hung {
            return OwnLock::Unknown;
        }
        match server.lock {
            Some((holder, since)) if holder != id => OwnLock::Taken {
                silent: NOW - since,
            },
            _ => {
                server.lock = Some((id, NOW));
                OwnLock::Held
            }
        }
    }

    fn look(&mut self, id: u8, owner: u8, fence: bool) -> OldMaster {
        if !self.linked(id, owner) || self.node(owner).off {
            return OldMaster::Unreachable;
        }
        let server = &mut self.node_mut(owner).server;
        if server.up && server.hung {
            return OldMaster::Unreachable;
        }
        if fence {
            server.read_only = true;
        }
        if server.up && !server.read_only {
            OldMaster::Open
        } else {
            OldMaster::Closed
        }
    }

    /// The work on a database server is done, as far as that can be.
    pub fn run(&mut self, setup: &Setup, id: u8) {
        let deadman = setup.deadman;
        let upstream = self.reaches_source(id);
        let reached: Vec<u8> = (0..setup.servers)
            .filter(|&other| self.linked(id, other) && self.node(other).server.up)
            .collect();
        let applying: Vec<u8> = reached
            .iter()
            .copied()
            .filter(|&other| self.node(other).server.applies && !self.node(other).server.hung)
            .collect();
        let node = self.node_mut(id);
        let Some(task) = node.task else {
            return;
        };
        let works = node.server.up && !node.server.hung;
        let mut wrong = None;
        let done = match task {
            Task::Close => {
                // The gate first: it needs no server.
                if node.gate.is_some() {
                    node.gate = Some(NOW);
                }
                if works {
                    node.server.read_only = true;
                }
                works
            }
            Task::Kill => {
                if node.gate.is_some() {
                    node.gate = Some(NOW);
                }
                node.server.up = false;
                node.server.hung = false;
                node.server.read_only = true;
                node.server.receives = false;
                node.server.applies = false;
                node.server.lock = None;
                true
            }
            Task::StopReceiving => {
                node.server.receives &= !works;
                works
            }
            Task::Drain => {
                if works {
                    node.server.applies = true;
                    if node.server.relay {
                        node.server.relay = false;
                        node.server.behind = false;
                    }
                }
                works
            }
            Task::Arm { until } => {
                if deadman {
                    node.gate = Some(until);
                }
                deadman
            }
            Task::Forget => {
                if works {
                    if node.server.relay {
                        node.server.relay = false;
                        wrong = Some(Wrong::Relay);
                    }
                    node.server.source = None;
                    node.server.receives = false;
                }
                works
            }
            Task::Open { until } => {
                let may = works && NOW < until;
                if may {
                    if node.server.relay {
                        wrong = Some(Wrong::Relay);
                    }
                    if node.server.errant {
                        wrong = Some(Wrong::Errant);
                    }
                    node.server.read_only = false;
                    node.server.reigned = true;
                }
                may
            }
            Task::Follow(ServerId(source)) => {
                // The source is asked first whether it has all that this server has.
                let suits = works && reached.contains(&source) && !node.server.errant;
                if suits {
                    node.server.source = Some(source);
                    node.server.reigned = false;
                    node.server.receives = true;
                    node.server.applies = true;
                }
                suits
            }
            Task::Start => {
                // Where both threads stand, what was received is thrown away and fetched again.
                let starts = works && (node.server.receives || upstream && !node.server.errant);
                if starts {
                    node.server.relay &= node.server.receives;
                    node.server.receives = true;
                    node.server.applies = true;
                }
                starts
            }
            Task::SaveSurplus => works,
            Task::Prove(ServerId(to)) => works && applying.contains(&to),
            Task::Rejoin(_) => false,
        };
        node.task = None;
        if done && matches!(task, Task::Open { .. }) {
            self.new_history(id, &mut wrong);
        }
        self.wrong = self.wrong.or(wrong);
        // A stopped agent's statement goes its way; what it says of it when it goes on is the same as if it took long.
        self.tell(setup, id, Event::Did(task, done));
    }

    /// A server has begun to accept writes: what it has is the history, what others have more is not.
    fn new_history(&mut self, id: u8, wrong: &mut Option<Wrong>) {
        if !self.node(id).server.behind {
            return;
        }
        if self.object.is_some_and(|object| object.planned) {
            *wrong = wrong.or(Some(Wrong::Switchover));
        }
        for (other, node) in (0_u8..).zip(&mut self.nodes) {
            if other != id {
                node.server.errant |= !node.server.behind || node.server.relay;
            }
            node.server.behind = false;
        }
    }

    /// A request arrives at the bucket. `answered`: its answer arrives, too.
    pub fn deliver(&mut self, setup: &Setup, index: usize, answered: bool) {
        let flight = self.net[index].clone();
        let answer = match flight.write {
            None => self.read(),
            Some(proposal) => self.replace(setup, flight.from, proposal),
        };
        if flight.orphan {
            self.net.remove(index);
        } else if !answered {
            // What was done is done; what remains is the waiting.
            self.net[index].write = None;
            self.net[index].age = 1;
        } else {
            self.net.remove(index);
            let node = self.node_mut(flight.from);
            let other = matches!(answer, BucketAnswer::Lease(view) if view.owner.0 != flight.from);
            if flight.write.is_some() && other && !node.frozen && node.is_writable() {
                // From the first one on.
                node.refused = node.refused.or(Some(0));
            }
            if node.frozen {
                node.inbox = Some(answer);
            } else {
                self.tell(setup, flight.from, Event::Bucket(answer));
            }
        }
    }

    fn read(&self) -> BucketAnswer {
        self.object
            .map_or(BucketAnswer::Absent, BucketAnswer::Lease)
    }

    /// Compare and swap.
    fn replace(&mut self, setup: &Setup, from: u8, proposal: Proposal) -> BucketAnswer {
        if proposal.over != self.object.map(|object| object.tag) {
            return self.read();
        }
        let owner = ServerId(from);
        if let Some(object) = self.object {
            let change = object.owner != owner;
            let right = if change {
                proposal.epoch == object.epoch + 1
            } else {
                proposal.epoch == object.epoch
            };
            if !right {
                self.wrong = self.wrong.or(Some(Wrong::Epoch));
            }
            let given = matches!(object.state, LeaseState::Released | LeaseState::Switching);
            let stops = setup.timing.stop_serving + setup.timing.fence_budget;
            if change && !given && u64::from(self.object_age) < stops {
                self.wrong = self.wrong.or(Some(Wrong::Fresh));
            }
            // In an epoch that was given back nobody was the master.
            if change && !proposal.planned && !object.unopened {
                self.failovers = self.failovers.saturating_add(1);
            }
        }
        let view = View {
            tag: Tag(self.fresh_tag()),
            epoch: proposal.epoch,
            owner,
            state: proposal.state,
            armed: proposal.armed,
            held: proposal.held,
            to: proposal.to,
            ttl: setup.timing.ttl,
            age: 0,
            planned: proposal.planned,
            opening: proposal.opening,
            complete: proposal.complete,
            observed: proposal.observed,
            unopened: proposal.unopened,
        };
        self.object = Some(view);
        self.object_age = 0;
        BucketAnswer::Done(view)
    }

    /// A number that no version of the lease has that anybody remembers.
    fn fresh_tag(&mut self) -> u64 {
        self.renumber();
        1_000
    }
}
