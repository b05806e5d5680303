//! People's wishes: granted, or refused with what to do.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Heard, Run};
use crate::database::driver::Wish;
use crate::database::driver::told::Seen;
use crate::database::protocol::{Event, Order, State};
use crate::database::server::ThreadState;
use crate::fleet::Name;

impl Run {
    /// A person's wish. Whom it is about is looked at first: what was seen some seconds ago may be cured.
    pub(super) fn wish(&self, wish: Wish, answer: oneshot::Sender<Result<String, String>>) {
        let about = match &wish {
            Wish::Switchover(to) => to.clone().or_else(|| self.heir()),
            Wish::TakeOver { .. } | Wish::Rejoin { .. } => None,
        };
        let about = about.and_then(|name| Some((self.friends.get(&name)?, name)));
        let (tell, patience, had) = (self.tell.clone(), self.patience(), self.has());
        tokio::spawn(async move {
            if let Some((friend, name)) = about {
                let seen = friend.server.observe(patience).await;
                let _ = tell.send(Heard::Other(name, had, seen));
            }
            let _ = tell.send(Heard::Wish(wish, answer));
        });
    }

    /// How long an observation of another server may take.
    pub(super) fn patience(&self) -> Duration {
        self.seat.settings.times.timeout * 2
    }

    pub(super) fn grant(&mut self, wish: &Wish) -> Result<String, String> {
        if !self.trusted() {
            return Err(
                "the bucket's conditional writes are not known to be right: see agentctl db status"
                    .into(),
            );
        }
        let product = self.seat.product.clone();
        let owner = self.versions.last().map(|lease| lease.owner.clone());
        match wish {
            Wish::Switchover(to) => {
                if !matches!(self.machine.state(), State::Serving) {
                    let whose = owner.map_or_else(
                        || "nobody is the master yet".to_owned(),
                        |owner| format!("the master is {owner}: order it there"),
                    );
                    return Err(format!(
                        "{} is not the master of {product}; {whose}",
                        self.seat.me
                    ));
                }
                let to = match to {
                    Some(to) => to.clone(),
                    None => self.heir().ok_or("there is no other server in the chain")?,
                };
                self.may_switch(&to)?;
                let id = self.names.id(&to);
                self.step(Event::Order(Order::Switchover(id)));
                Ok(format!("{} hands over to {to}", self.seat.me))
            }
            Wish::TakeOver { off } => {
                if owner.as_ref() == Some(&self.seat.me)
                    && matches!(self.machine.state(), State::Serving)
                {
                    return Err(format!("{} is the master of {product}", self.seat.me));
                }
                self.step(Event::Order(Order::TakeOver { off: *off }));
                Ok(format!(
                    "{} takes over as soon as it is safe, within {} s or not at all",
                    self.seat.me,
                    self.rules.timing.order.div_ceil(1_000)
                ))
            }
            Wish::Rejoin { discard } => {
                let me = &self.seat.me;
                if owner.is_none() || owner.as_ref() == Some(me) {
                    return Err(format!("{me} has no other master of {product} to follow"));
                }
                // Also a new server, and one whose copy broke off: it has nothing that the master lacks.
                let empty = *discard && !self.replicates();
                if !self.machine.is_quarantined(&self.rules) && !empty {
                    return Err(format!("{me} is not kept out of {product}"));
                }
                let said = if *discard {
                    format!("{me} is made anew from the master")
                } else {
                    format!("{me} joins if the master has all that it has")
                };
                self.discard = *discard;
                self.step(Event::Order(Order::Rejoin));
                Ok(said)
            }
        }
    }

    /// Whether the local server receives from anybody, as far as is known.
    pub(super) fn replicates(&self) -> bool {
        let Some(Ok(seen)) = &self.picture.observation else {
            return false;
        };
        let state = seen.replication.as_ref().map(|it| it.io.state);
        state == Some(ThreadState::Running)
    }

    pub(super) fn heir(&self) -> Option<Name> {
        let id = self.rules.candidates(self.rules.me).next()?;
        self.names.name(id).cloned()
    }

    /// Whether that server could take over now, as far as can be seen from here.
    fn may_switch(&self, to: &Name) -> Result<(), String> {
        if !self.seat.chain.iter().any(|member| member.name == *to) {
            return Err(format!("{to} is not in the chain"));
        }
        if *to == self.seat.me {
            return Err(format!("{to} is the master"));
        }
        let seen = self.picture.others.get(to);
        match seen.and_then(Seen::why_not) {
            Some(why) => Err(format!("{to} cannot take over now: {why}")),
            None if seen.is_none() => {
                Err(format!("{to} was not seen yet: try again in some seconds"))
            }
            None => Ok(()),
        }
    }
}
