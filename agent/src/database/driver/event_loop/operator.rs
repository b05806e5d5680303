//! Operators' orders: carried out, or refused with what to do.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{DriverLoop, WorkResult};
use crate::database::driver::OperatorOrder;
use crate::database::driver::last_seen::LastSeen;
use crate::database::protocol::{Event, Order, Reason, State};
use crate::database::server::ThreadState;
use crate::fleet::Name;

impl DriverLoop {
    /// An operator's order. The server it is about is observed first: what was wrong some seconds ago may be cured.
    pub(super) fn take_order(
        &self,
        order: OperatorOrder,
        answer: oneshot::Sender<Result<String, String>>,
    ) {
        let about = match &order {
            OperatorOrder::Switchover(to) => to.clone().or_else(|| self.successor()),
            OperatorOrder::TakeOver { .. } | OperatorOrder::Rejoin { .. } => None,
        };
        let about = about.and_then(|name| Some((self.peers.get(&name)?, name)));
        let (tell, patience, had) = (self.tell.clone(), self.patience(), self.position_before());
        tokio::spawn(async move {
            if let Some((peer, name)) = about {
                let seen = peer.server.observe(patience).await;
                let _ = tell.send(WorkResult::Peer(name, had, seen));
            }
            let _ = tell.send(WorkResult::Order(order, answer));
        });
    }

    /// How long an observation of another server may take.
    pub(super) fn patience(&self) -> Duration {
        self.context.settings.times.timeout * 2
    }

    pub(super) fn check_and_order(&mut self, order: &OperatorOrder) -> Result<String, String> {
        if !self.trusted() {
            return Err(
                "the bucket's conditional writes are not known to be right: see agentctl db status"
                    .into(),
            );
        }
        let product = self.context.product.clone();
        let owner = self.versions.last().map(|lease| lease.owner.clone());
        match order {
            OperatorOrder::Switchover(to) => {
                if !matches!(self.machine.state(), State::Serving) {
                    let whose = owner.map_or_else(
                        || "nobody is the master yet".to_owned(),
                        |owner| format!("the master is {owner}: order it there"),
                    );
                    return Err(format!(
                        "{} is not the master of {product}; {whose}",
                        self.context.me
                    ));
                }
                let to = match to {
                    Some(to) => to.clone(),
                    None => self
                        .successor()
                        .ok_or("there is no other server in the chain")?,
                };
                self.may_switch(&to)?;
                let id = self.ids.id(&to);
                self.step(Event::Order(Order::Switchover(id)));
                Ok(format!("{} hands over to {to}", self.context.me))
            }
            OperatorOrder::TakeOver { off } => {
                // One that is only watched may have been closed by a person, or by a start of its server.
                let closed = matches!(&self.report.observation, Some(Ok(seen)) if seen.read_only);
                if owner.as_ref() == Some(&self.context.me)
                    && matches!(self.machine.state(), State::Serving)
                    && !closed
                {
                    return Err(format!("{} is the master of {product}", self.context.me));
                }
                self.step(Event::Order(Order::TakeOver { off: *off }));
                Ok(format!(
                    "{} takes over as soon as it is safe, within {} s or not at all",
                    self.context.me,
                    self.rules.timing.order.div_ceil(1_000)
                ))
            }
            OperatorOrder::Rejoin { discard, accept } => {
                let me = &self.context.me;
                if owner.is_none() || owner.as_ref() == Some(me) {
                    return Err(format!("{me} has no other master of {product} to follow"));
                }
                // Also a new server, and one whose copy broke off: it has nothing that the master lacks.
                let empty = *discard && !self.replicates();
                // One that left things out lacks them for good.
                let unfit = *discard && self.blockers().contains(&Reason::Unfit);
                if !self.machine.is_quarantined(&self.rules) && !empty && !unfit {
                    return Err(format!("{me} is not kept out of {product}"));
                }
                if *accept && !self.report.surplus_is_idle {
                    return Err(format!(
                        "what {me} has and the master lacks changes rows, or was not looked at yet: read it under {}, then --discard",
                        self.context.state_dir.join("surplus").display()
                    ));
                }
                let said = if *accept {
                    format!("{me} forgets what it wrote itself")
                } else if *discard {
                    format!("{me} is made anew from the master")
                } else {
                    format!("{me} joins if the master has all that it has")
                };
                self.discard = *discard;
                self.accept = *accept;
                self.step(Event::Order(Order::Rejoin));
                Ok(said)
            }
        }
    }

    /// Whether the local server receives from anybody, as far as is known.
    pub(super) fn replicates(&self) -> bool {
        let Some(Ok(seen)) = &self.report.observation else {
            return false;
        };
        let state = seen.replication.as_ref().map(|it| it.io.state);
        state == Some(ThreadState::Running)
    }

    pub(super) fn successor(&self) -> Option<Name> {
        let id = self.rules.candidates(self.rules.me).next()?;
        self.ids.name(id).cloned()
    }

    /// Whether that server could take over now, as far as can be seen from here.
    fn may_switch(&self, to: &Name) -> Result<(), String> {
        if !self.context.chain.iter().any(|member| member.name == *to) {
            return Err(format!("{to} is not in the chain"));
        }
        if *to == self.context.me {
            return Err(format!("{to} is the master"));
        }
        let seen = self.report.others.get(to);
        match seen.and_then(LastSeen::why_not) {
            Some(why) => Err(format!("{to} cannot take over now: {why}")),
            None if seen.is_none() => {
                Err(format!("{to} was not seen yet: try again in some seconds"))
            }
            None => Ok(()),
        }
    }
}
