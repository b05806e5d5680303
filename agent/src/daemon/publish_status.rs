//! Publishing the status of the box: to the status file, the control socket, `systemctl status`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dns_keeper::{Aims, Known, aims};
use super::event_loop::EventLoop;
use super::eviction_watch::{EvictionWatch, Watched};
use super::order_watch;
use crate::converge::rollout::Gate;
use crate::dns::{addresses_of_dead, addresses_of_others, wanted};
use crate::fleet::{EvictPart, Name, ServerState};
use crate::report::{
    DatabaseStatus, Health, Kind, NodeReport, Ready, RolloutStatus, StandingOrder, Status, Trigger,
};
use crate::system::{chain, clock};

/// The status file is written this often even if nothing changed: its age shows that the daemon lives.
pub(super) const HEARTBEAT: Duration = Duration::from_mins(1);
/// The same where a product has a database: monitors read lag and the lease's age in the file.
const DATABASE_HEARTBEAT: Duration = Duration::from_secs(10);

impl EventLoop {
    /// Publishes the status, when no run goes on.
    pub(super) fn publish(&mut self) {
        let Some(status) = self.publish_while_running() else {
            return;
        };
        self.report(&status);
        let urgent = self
            .request
            .as_ref()
            .is_some_and(|request| request.trigger != Trigger::Poll);
        let doing = if urgent {
            "asking the bucket"
        } else {
            "waiting"
        };
        self.watchdog.idle(&headline(&status), doing);
    }

    /// Publishes the status to the socket and the status file, also while a run goes on. `None`: the file could not be
    /// written.
    pub(super) fn publish_while_running(&mut self) -> Option<Arc<Status>> {
        self.state.databases = self.databases();
        self.follow_rollout();
        if let Some(upload) = &self.report_upload {
            self.state.report = upload.status();
        }
        self.state.orders = self.state.orders.look(&self.files);
        order_watch::show(
            &self.files,
            self.state.orders.drain.as_ref(),
            self.server_state(),
        );
        self.follow_evictions();
        self.keep_dns();
        self.state.unwatched = self.drift.trouble().map(str::to_owned);
        let due = Instant::now() >= self.next_write;
        match self.state.publish(&self.files, &self.session, due) {
            Ok(status) => {
                if due {
                    let next = if status.databases.is_empty() {
                        HEARTBEAT
                    } else {
                        DATABASE_HEARTBEAT
                    };
                    self.next_write = Instant::now() + next;
                }
                self.status.send_replace(Some(Arc::clone(&status)));
                Some(status)
            }
            Err(error) => {
                // A full disk must not keep the socket from telling.
                tracing::warn!(
                    event = "status-not-written",
                    error = chain(&error),
                    "the status file is old: {}",
                    chain(&error)
                );
                self.status
                    .send_replace(Some(Arc::new(self.state.status(&self.session))));
                None
            }
        }
    }

    /// Watches over the rollout of the accepted document, and notes how it goes.
    fn follow_rollout(&mut self) {
        let (Some(watch), Some(accepted), Some(node)) = (
            &mut self.rollout_watch,
            self.session.intake.accepted(),
            &self.state.node.name,
        ) else {
            return;
        };
        watch.follow(&accepted.document, node);
        let Some((rollout, course)) = watch.course() else {
            (self.state.standing.rollout, self.state.standing.halted) = (None, None);
            if let Some(upload) = &self.report_upload {
                upload.hurry(None);
            }
            return;
        };
        let waits = self.session.intake.waits_in(node).is_some();
        self.state.standing.halted = course.halted.clone().filter(|_| course.watches);
        self.state.standing.rollout = rollout.waves.of_server(node).map(|wave| RolloutStatus {
            version: rollout.id.version,
            wave: wave + 1,
            waves: rollout.waves.count(),
            open: course.open.map(|open| open + 1),
            taken: !waits,
            halted: course.halted,
            waits_for: course.waits_for,
        });
        let goes_on = (self.state.standing.rollout.as_ref())
            .is_some_and(|status| status.taken && status.halted.is_none() && !status.is_complete());
        if let Some(upload) = &self.report_upload {
            upload.hurry(goes_on.then(|| Gate::heartbeat(rollout.bake)));
        }
    }

    /// Has the records in DNS be as what is known by now wants them.
    fn keep_dns(&mut self) {
        let Some(keeper) = &self.dns_keeper else {
            return;
        };
        let (Some(document), Some(name)) = (self.session.document_of_runs(), &self.state.node.name)
        else {
            // What it was is no reason to go on putting addresses there.
            keeper.rest("it is not known which server this machine is");
            self.state.dns = keeper.status();
            return;
        };
        let drained = self.state.orders.drain.as_ref().map(StandingOrder::fixed);
        let unknown = match self.eviction_watch.as_ref().map(EvictionWatch::told) {
            None => BTreeSet::new(),
            Some(told) if told.asked => told.unknown,
            Some(_) => document.fleet.products.keys().cloned().collect(),
        };
        let known = Known {
            node: name,
            served: &self.session.converger.served(),
            readiness: &self.state.readiness,
            sites_fail: self.state.sites_fail(),
            drained: drained.as_deref(),
            evictions: self.session.evictions(),
            unknown: &unknown,
            now: clock::now(),
        };
        keeper.aim(Aims {
            names: aims(wanted(&document.fleet, name), &known),
            of_others: addresses_of_others(&document.fleet, name),
            of_dead: addresses_of_dead(&document.fleet, name, self.session.evictions()),
        });
        self.state.dns = keeper.status();
    }

    /// Has the other servers of this box's products watched over, and says how this box itself is.
    fn follow_evictions(&self) {
        let (Some(watch), Some(document), Some(name)) = (
            &self.eviction_watch,
            self.session.document_of_runs(),
            &self.state.node.name,
        ) else {
            return;
        };
        let served = self.session.converger.served();
        let web = |product: &Name| {
            let known = self
                .state
                .readiness
                .iter()
                .find(|one| one.product == *product);
            match known {
                Some(known) if known.ready == Ready::False => Err(known.reason.clone()),
                _ if self.state.sites_fail() => {
                    Err("its sites fail, or Apache does not run".into())
                }
                _ if !served.iter().any(|one| one.product == *product) => {
                    Err("it does not serve the product yet".into())
                }
                _ => Ok(()),
            }
        };
        let cache_down = (self.state.services.iter())
            .find(|down| down.serves == Kind::Cache)
            .map(|down| down.unit.clone());
        let cache = || {
            cache_down
                .clone()
                .map_or(Ok(()), |unit| Err(format!("{unit} does not run")))
        };
        let products = document.fleet.servers.get(name);
        let products = products.into_iter().flat_map(|server| &server.products);
        let words = products.map(|product| {
            let words = [(EvictPart::Web, web(product)), (EvictPart::Cache, cache())];
            (product.clone(), words.into())
        });
        watch.follow(Watched {
            fleet: Arc::clone(&document.fleet),
            node: name.clone(),
            words: words.collect(),
        });
    }

    /// What the document says of this server. `None`: it is not known yet which that is.
    fn server_state(&self) -> Option<ServerState> {
        let name = self.state.node.name.as_ref()?;
        let servers = &self.session.document_of_runs()?.fleet.servers;
        Some(servers.get(name)?.state)
    }

    /// Has the bucket know of it, once this machine has found out what it is.
    fn report(&mut self, status: &Status) {
        let Some(upload) = &self.report_upload else {
            return;
        };
        // What it has to say of itself before the first run and the first answer is no news of the machine.
        if self.booting || !self.answered_once {
            return;
        }
        let machine = upload.machine(&self.session.clues);
        let accepted = self.session.intake.accepted();
        let server = status.node.name.as_ref().and_then(|name| {
            let servers = &accepted?.document.fleet.servers;
            servers.get(name)
        });
        let zone = server.and_then(|server| server.zone.clone());
        if let Some(name) = &status.node.name {
            let bucket = &self.session.bucket;
            self.fleet_summary.keep(bucket, name, server);
        }
        upload.offer(NodeReport::of(status, machine, zone));
    }

    /// What is known of the databases of this box's products.
    fn databases(&self) -> Vec<DatabaseStatus> {
        let mut databases = self.session.databases();
        let notes = databases.iter_mut().map(|database| &mut database.notes);
        for notes in notes {
            notes.extend(self.lease_watch.cut_failure.clone());
            notes.extend(self.lease_watch.untold(self.session.settings.lease_poll));
        }
        self.drivers.fill_status(&mut databases);
        databases
    }
}

/// One line for `systemctl status`.
fn headline(status: &Status) -> String {
    let name = status
        .node
        .name
        .as_ref()
        .map_or("this box", |name| name.as_str());
    let on = status
        .document
        .as_ref()
        .map_or_else(String::new, |document| {
            format!(" on {} version {}", document.id.fleet, document.id.version)
        });
    match status.health {
        Health::Converged => format!("{name}: converged{on}"),
        Health::Degraded | Health::Waiting => {
            let reason = status
                .reasons
                .first()
                .map(String::as_str)
                .unwrap_or_default();
            format!("{name}: not converged{on}: {reason}")
        }
    }
}
