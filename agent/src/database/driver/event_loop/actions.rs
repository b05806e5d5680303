//! The actions that the protocol's machine wants, carried out beside the loop.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{DriverLoop, WorkResult};
use crate::database::driver::catchup::catch_up;
use crate::database::driver::lease_requests::LeaseReply;
use crate::database::driver::{lease_requests, peers, surplus};
use crate::database::lease::LeaseState;
use crate::database::protocol::{Action, Beat, Event, Order, PeerAnswer, Proposal, Task};
use crate::fleet::Name;
use crate::system::clock;

impl DriverLoop {
    pub(super) fn act(&mut self, action: Action) {
        let tell = self.tell.clone();
        let timeout = self.context.settings.times.timeout;
        match action {
            Action::Read => {
                let (store, known) = (Arc::clone(&self.store), self.versions.tag().cloned());
                tokio::spawn(async move {
                    let _ = tell.send(WorkResult::Lease(lease_requests::read(store, known).await));
                });
            }
            Action::Write(proposal) => self.write(proposal),
            Action::Observe => self.observe(),
            Action::Beat => {
                let local = Arc::clone(&self.local);
                let lease = self.versions.last();
                let (epoch, seq) = lease.map_or((0, 0), |lease| (lease.epoch, lease.seq));
                tokio::spawn(async move {
                    let beat = tokio::time::timeout(timeout, local.heartbeat(epoch, seq)).await;
                    let _ = tell.send(WorkResult::Event(Event::Beat(beat.unwrap_or(Beat::Failed))));
                });
            }
            Action::Do(task) => self.start_task(task),
            Action::Ping(id) => {
                let peer = self.ids.name(id).and_then(|name| self.peers.get(name));
                tokio::spawn(async move {
                    let answer = match peer {
                        Some(peer) => peer.ping(timeout).await,
                        None => PeerAnswer::Silent,
                    };
                    let _ = tell.send(WorkResult::Event(Event::Peer(id, answer)));
                });
            }
            Action::DropPeers => self.peers.drop_locks(),
            Action::TakeLock => {
                let (lock, timeout) = self.peers.own_lock();
                tokio::spawn(async move {
                    let lock = peers::take(&lock, timeout).await;
                    let _ = tell.send(WorkResult::Event(Event::OwnLock(lock)));
                });
            }
            Action::DropLock => {
                let (lock, _) = self.peers.own_lock();
                tokio::spawn(async move { lock.release().await });
            }
            Action::LookAtOld(id) | Action::FenceOld(id) => {
                let peer = self.ids.name(id).and_then(|name| self.peers.get(name));
                let budget = self.context.settings.times.fence_budget;
                let fence = matches!(action, Action::FenceOld(_));
                tokio::spawn(async move {
                    let old = match peer {
                        Some(peer) if fence => peer.fence(budget, timeout).await,
                        Some(peer) => peer.look(timeout).await,
                        None => crate::database::protocol::OldMaster::Unreachable,
                    };
                    let _ = tell.send(WorkResult::Event(Event::Old(old)));
                });
            }
            Action::Feed { until } => self.feed(until),
            Action::Disarm => {
                let local = Arc::clone(&self.local);
                tokio::spawn(async move { local.disarm().await });
            }
            Action::Shut => {
                let local = Arc::clone(&self.local);
                tokio::spawn(async move {
                    let _ = tell.send(WorkResult::GateShut(local.shut().await));
                });
            }
            Action::Refuse(order) => self.refused(order),
        }
    }

    /// A person's order that was not carried out, and is not waited for any longer.
    fn refused(&mut self, order: Order) {
        let (what, why) = match order {
            Order::Switchover(to) => (
                format!(
                    "switchover to {}",
                    self.ids.name(to).map_or("another server", Name::as_str)
                ),
                self.report.unproven.take().unwrap_or_else(|| {
                    "it did not take over in time, or this server could not be closed, or it is not the master any more"
                        .to_owned()
                }),
            ),
            Order::TakeOver { .. } => ("takeover".to_owned(), {
                let reasons: Vec<_> = self.blockers().iter().map(ToString::to_string).collect();
                reasons.join("; ")
            }),
            Order::Rejoin => (
                "rejoin".to_owned(),
                "its master could not be followed in time".to_owned(),
            ),
        };
        tracing::warn!(
            event = "database-order-refused",
            product = %self.context.product,
            order = what,
            why,
            "{}: the {what} that a person ordered was not carried out and is not waited for any longer: {why}",
            self.context.product
        );
        self.report.note(format!(
            "{}: the {what} that was ordered was not carried out, and will not be unless it is ordered again: {why}",
            clock::now()
        ));
    }

    pub(super) fn feed(&mut self, until: u64) {
        if self.feeding.is_some() {
            self.feed_next = Some(until);
            return;
        }
        self.feeding = Some(until);
        let (local, tell) = (Arc::clone(&self.local), self.tell.clone());
        tokio::spawn(async move {
            let _ = tell.send(WorkResult::DeadmanFed(local.feed(until).await));
        });
    }

    fn write(&mut self, proposal: Proposal) {
        crate::system::crash::point("database: write the lease");
        let base = match proposal.over {
            Some(tag) => {
                let Some(stored) = self.versions.get(tag) else {
                    self.reply_later(LeaseReply::NotSent);
                    return;
                };
                Some(stored.clone())
            }
            None => None,
        };
        let takes_over = base
            .as_ref()
            .is_some_and(|base| base.lease.owner != self.context.me)
            // A person's word counts for more than a person's hold.
            && !proposal.planned;
        let made = lease_requests::lease(
            &proposal,
            &self.context,
            &self.ids,
            base.as_ref(),
            &self.report.position,
        );
        let Some(mut lease) = made else {
            self.reply_later(LeaseReply::NotSent);
            return;
        };
        let over = base.map(|base| base.tag);
        let (store, bucket, context, tell) = (
            Arc::clone(&self.store),
            Arc::clone(&self.bucket),
            Arc::clone(&self.context),
            self.tell.clone(),
        );
        let local = Arc::clone(&self.local);
        let last = proposal.state == LeaseState::Switching;
        let patience = self.context.settings.times.timeout;
        tokio::spawn(async move {
            if last {
                // Closed by now: this is all there will be, and the other one must have it.
                let Ok(position) = local.server().position(patience).await else {
                    let _ = tell.send(WorkResult::Lease(LeaseReply::NotSent));
                    return;
                };
                lease.gtid = position.to_string();
            }
            let reply =
                lease_requests::write(store, bucket, context, lease, over, takes_over).await;
            let _ = tell.send(WorkResult::Lease(reply));
        });
    }

    /// Not at once: the machine is in the middle of a step.
    fn reply_later(&self, reply: LeaseReply) {
        let _ = self.tell.send(WorkResult::Lease(reply));
    }

    pub(super) fn start_task(&mut self, task: Task) {
        if let Some((_, under_way)) = self.task.take() {
            under_way.abort();
        }
        self.tasks += 1;
        let number = self.tasks;
        let (local, tell, context) = (
            Arc::clone(&self.local),
            self.tell.clone(),
            Arc::clone(&self.context),
        );
        let drain = self.rules.timing.drain;
        let limit = match task {
            Task::Close => context.settings.times.fence_budget,
            Task::Drain => Duration::from_millis(drain),
            // Each of their steps has a deadline of its own.
            Task::SaveSurplus => Duration::from_hours(1),
            Task::Follow(_) | Task::Rejoin(_) => Duration::from_hours(24 * 7),
            _ => Duration::from_secs(15),
        };
        let upstream = match task {
            Task::Follow(id) | Task::Rejoin(id) | Task::Prove(id) => self.ids.name(id).cloned(),
            Task::Start => self.source_name(),
            Task::SaveSurplus => self.versions.last().map(|lease| lease.owner.clone()),
            _ => None,
        };
        let peer = upstream.as_ref().and_then(|name| self.peers.get(name));
        let source = upstream
            .as_ref()
            .and_then(|name| peers::source(&context, name));
        let epoch = self.machine.known_epoch();
        let discard = self.discard && matches!(task, Task::Rejoin(_));
        let accept = self.accept && matches!(task, Task::Rejoin(_));
        // The old master has its own way of telling: it is closed, or dead.
        let old = self
            .versions
            .last()
            .and_then(|lease| lease.previous.as_ref());
        let others = self
            .peers
            .iter()
            .filter(|(name, _)| old.is_none_or(|old| old.owner != **name))
            .map(|(name, peer)| (name.clone(), Arc::clone(peer)))
            .collect();
        let progress_tell = tell.clone();
        let doing = async move {
            let nobody = || "its source is not known here".to_owned();
            match task {
                Task::Close => local.close().await,
                Task::Kill => Arc::clone(&local).kill().await,
                Task::StopReceiving => local.stop_receiving().await,
                Task::Drain => {
                    local.drain(drain).await?;
                    let fetched = catch_up(&local, &context, others, drain).await?;
                    let _ = progress_tell.send(WorkResult::CaughtUp(fetched));
                    Ok(())
                }
                Task::Arm { until } => local.arm(until).await,
                Task::Forget => local.forget().await,
                Task::Open { until } => local.open(until).await,
                Task::Follow(_) | Task::Rejoin(_) => {
                    let (peer, source) = (peer.ok_or_else(nobody)?, source.ok_or_else(nobody)?);
                    if accept {
                        // Something may have been written since they were read.
                        if !surplus::keep(&local, &peer, &context, epoch).await? {
                            return Err("what it has and the master lacks changes rows by now: read it, then --discard".to_owned());
                        }
                        return local.forget_idle_writes(&peer.server).await;
                    }
                    if discard {
                        return local.reseed(&peer.server, &source).await;
                    }
                    local.follow(&peer.server, &source).await
                }
                Task::Prove(_) => local.prove(&peer.ok_or_else(nobody)?.server, epoch).await,
                Task::Start => local.start(&peer.ok_or_else(nobody)?.server).await,
                Task::SaveSurplus => {
                    let peer = peer.ok_or_else(nobody)?;
                    let idle = surplus::keep(&local, &peer, &context, epoch).await?;
                    let _ = progress_tell.send(WorkResult::SurplusSaved(idle));
                    Ok(())
                }
            }
        };
        let handle = tokio::spawn(async move {
            let result = timeout(limit, doing).await;
            let result = result.unwrap_or_else(|_| Err("it took too long".to_owned()));
            let _ = tell.send(WorkResult::Did(number, task, result));
        });
        self.task = Some((number, handle.abort_handle()));
    }

    /// The server that is configured as the local one's source.
    fn source_name(&self) -> Option<Name> {
        let Some(Ok(seen)) = &self.report.observation else {
            return None;
        };
        let host: IpAddr = seen.replication.as_ref()?.host.parse().ok()?;
        let member = self
            .context
            .members()
            .find(|member| member.address == host)?;
        Some(member.name.clone())
    }
}
