//! What the machine wants, done beside the loop.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Heard, Run};
use crate::database::driver::catchup::catch_up;
use crate::database::driver::letter::Reply;
use crate::database::driver::{friends, letter, surplus};
use crate::database::lease::LeaseState;
use crate::database::protocol::{Action, Beat, Event, Order, Proposal, Task};
use crate::fleet::Name;
use crate::system::clock;

impl Run {
    pub(super) fn act(&mut self, action: Action) {
        let tell = self.tell.clone();
        let timeout = self.seat.settings.times.timeout;
        match action {
            Action::Read => {
                let (store, known) = (Arc::clone(&self.store), self.versions.tag().cloned());
                tokio::spawn(async move {
                    let _ = tell.send(Heard::Reply(letter::read(store, known).await));
                });
            }
            Action::Write(proposal) => self.write(proposal),
            Action::Observe => self.look(),
            Action::Beat => {
                let body = Arc::clone(&self.body);
                let lease = self.versions.last();
                let (epoch, seq) = lease.map_or((0, 0), |lease| (lease.epoch, lease.seq));
                tokio::spawn(async move {
                    let beat = tokio::time::timeout(timeout, body.beat(epoch, seq)).await;
                    let _ = tell.send(Heard::Event(Event::Beat(beat.unwrap_or(Beat::Failed))));
                });
            }
            Action::Do(task) => self.work(task),
            Action::Ping(id) => {
                let friend = self.names.name(id).and_then(|name| self.friends.get(name));
                tokio::spawn(async move {
                    let held = match friend {
                        Some(friend) => friend.ping(timeout).await,
                        None => false,
                    };
                    let _ = tell.send(Heard::Event(Event::Peer(id, held)));
                });
            }
            Action::DropPeers => self.friends.drop_locks(),
            Action::TakeLock => {
                let (lock, timeout) = self.friends.own_lock();
                tokio::spawn(async move {
                    let lock = friends::take(&lock, timeout).await;
                    let _ = tell.send(Heard::Event(Event::OwnLock(lock)));
                });
            }
            Action::DropLock => {
                let (lock, _) = self.friends.own_lock();
                tokio::spawn(async move { lock.release().await });
            }
            Action::LookAtOld(id) | Action::FenceOld(id) => {
                let friend = self.names.name(id).and_then(|name| self.friends.get(name));
                let budget = self.seat.settings.times.fence_budget;
                let fence = matches!(action, Action::FenceOld(_));
                tokio::spawn(async move {
                    let old = match friend {
                        Some(friend) if fence => friend.fence(budget, timeout).await,
                        Some(friend) => friend.look(timeout).await,
                        None => crate::database::protocol::OldMaster::Unreachable,
                    };
                    let _ = tell.send(Heard::Event(Event::Old(old)));
                });
            }
            Action::Feed { until } => self.feed(until),
            Action::Disarm => {
                let body = Arc::clone(&self.body);
                tokio::spawn(async move { body.disarm().await });
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
                    self.names.name(to).map_or("another server", Name::as_str)
                ),
                "it did not take over in time, or this server could not be closed, or it is not the master any more"
                    .to_owned(),
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
            product = %self.seat.product,
            order = what,
            why,
            "a person's order was not carried out and is not waited for any longer"
        );
        self.picture.note(format!(
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
        let (body, tell) = (Arc::clone(&self.body), self.tell.clone());
        tokio::spawn(async move {
            let _ = tell.send(Heard::Fed(body.feed(until).await));
        });
    }

    fn write(&mut self, proposal: Proposal) {
        crate::system::crash::point("database: write the lease");
        let base = match proposal.over {
            Some(tag) => {
                let Some(stored) = self.versions.get(tag) else {
                    self.reply_later(Reply::NotSent);
                    return;
                };
                Some(stored.clone())
            }
            None => None,
        };
        let takes_over = base
            .as_ref()
            .is_some_and(|base| base.lease.owner != self.seat.me)
            // A person's word counts for more than a person's hold.
            && !proposal.planned;
        let made = letter::lease(
            &proposal,
            &self.seat,
            &self.names,
            base.as_ref(),
            &self.picture.position,
        );
        let Some(mut lease) = made else {
            self.reply_later(Reply::NotSent);
            return;
        };
        let over = base.map(|base| base.tag);
        let (store, bucket, seat, tell) = (
            Arc::clone(&self.store),
            Arc::clone(&self.bucket),
            Arc::clone(&self.seat),
            self.tell.clone(),
        );
        let body = Arc::clone(&self.body);
        let last = proposal.state == LeaseState::Switching;
        let patience = self.seat.settings.times.timeout;
        tokio::spawn(async move {
            if last {
                // Closed by now: this is all there will be, and the other one must have it.
                let Ok(position) = body.server().position(patience).await else {
                    let _ = tell.send(Heard::Reply(Reply::NotSent));
                    return;
                };
                lease.gtid = position.to_string();
            }
            let reply = letter::write(store, bucket, seat, lease, over, takes_over).await;
            let _ = tell.send(Heard::Reply(reply));
        });
    }

    /// Not at once: the machine is in the middle of a step.
    fn reply_later(&self, reply: Reply) {
        let _ = self.tell.send(Heard::Reply(reply));
    }

    pub(super) fn work(&mut self, task: Task) {
        if let Some((_, under_way)) = self.task.take() {
            under_way.abort();
        }
        self.tasks += 1;
        let number = self.tasks;
        let (body, tell, seat) = (
            Arc::clone(&self.body),
            self.tell.clone(),
            Arc::clone(&self.seat),
        );
        let drain = self.rules.timing.drain;
        let limit = match task {
            Task::Close => seat.settings.times.fence_budget,
            Task::Drain => Duration::from_millis(drain),
            // Each of their steps has a deadline of its own.
            Task::SaveSurplus => Duration::from_hours(1),
            Task::Follow(_) | Task::Rejoin(_) => Duration::from_hours(24 * 7),
            _ => Duration::from_secs(15),
        };
        let upstream = match task {
            Task::Follow(id) | Task::Rejoin(id) => self.names.name(id).cloned(),
            Task::Start => self.source_name(),
            Task::SaveSurplus => self.versions.last().map(|lease| lease.owner.clone()),
            _ => None,
        };
        let friend = upstream.as_ref().and_then(|name| self.friends.get(name));
        let source = upstream
            .as_ref()
            .and_then(|name| friends::source(&seat, name));
        let epoch = self.machine.known_epoch();
        let discard = self.discard && matches!(task, Task::Rejoin(_));
        // The old master has its own way of telling: it is closed, or dead.
        let old = self
            .versions
            .last()
            .and_then(|lease| lease.previous.as_ref());
        let others = self
            .friends
            .all()
            .filter(|(name, _)| old.is_none_or(|old| old.owner != **name))
            .map(|(name, friend)| (name.clone(), Arc::clone(friend)))
            .collect();
        let tell_too = tell.clone();
        let doing = async move {
            let nobody = || "its source is not known here".to_owned();
            match task {
                Task::Close => body.close().await,
                Task::Kill => Arc::clone(&body).kill().await,
                Task::StopReceiving => body.stop_receiving().await,
                Task::Drain => {
                    body.drain(drain).await?;
                    let fetched = catch_up(&body, &seat, others, drain).await?;
                    let _ = tell_too.send(Heard::Fetched(fetched));
                    Ok(())
                }
                Task::Arm { until } => body.arm(until).await,
                Task::Forget => body.forget().await,
                Task::Open { until } => body.open(until).await,
                Task::Follow(_) | Task::Rejoin(_) => {
                    let (friend, source) = (friend.ok_or_else(nobody)?, source.ok_or_else(nobody)?);
                    if discard {
                        return body.reseed(&friend.server, &source).await;
                    }
                    body.follow(&friend.server, &source).await
                }
                Task::Start => body.start(&friend.ok_or_else(nobody)?.server).await,
                Task::SaveSurplus => {
                    let friend = friend.ok_or_else(nobody)?;
                    surplus::keep(&body, &friend, &seat, epoch).await
                }
            }
        };
        let handle = tokio::spawn(async move {
            let result = timeout(limit, doing).await;
            let result = result.unwrap_or_else(|_| Err("it took too long".to_owned()));
            let _ = tell.send(Heard::Did(number, task, result));
        });
        self.task = Some((number, handle.abort_handle()));
    }

    /// The server that is configured as the local one's source.
    fn source_name(&self) -> Option<Name> {
        let Some(Ok(seen)) = &self.picture.observation else {
            return None;
        };
        let host: IpAddr = seen.replication.as_ref()?.host.parse().ok()?;
        let member = self.seat.members().find(|member| member.address == host)?;
        Some(member.name.clone())
    }
}
