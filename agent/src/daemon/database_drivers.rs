//! The database drivers of this machine, one a cluster: started, reconfigured and stopped as the document says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lease_notices::{NoticeListener, Plan};
use super::operator::execute::execute;
use super::snapshot_workers::SnapshotWorkers;
use crate::control::server::OrderRequest;
use crate::converge::{Intent, Session};
use crate::database::deadman::{self, DeadManError};
use crate::database::driver::{Context, Driver};
use crate::database::server::credentials::{self, Credentials};
use crate::database::server::{Place, Server, Target};
use crate::fleet::{DatabaseCluster, Fleet, Name};
use crate::node::databases;
use crate::report::{DatabaseStatus, DocumentId, Part};
use crate::settings::{AddressUse, STATE_DIR};
use crate::system::routes::own_address_towards;
use crate::system::{chain, clock, machine_marks};

/// Where servers have their sockets: `CentOS`, Debian.
const SOCKETS: [&str; 2] = ["/var/lib/mysql/mysql.sock", "/run/mysqld/mysqld.sock"];
/// Drivers that are stopped have this long together: a master renews once more.
const PATIENCE: Duration = Duration::from_secs(3);
/// A server is given so long to say whether it takes writes.
const LOOK: Duration = Duration::from_secs(10);

/// The drivers that run.
#[derive(Debug, Default)]
pub(super) struct DatabaseDrivers {
    running: BTreeMap<Name, (Context, Driver)>,
    snapshots: SnapshotWorkers,
    /// Who tells other machines of new masters, by the lease.
    notices: BTreeMap<Name, NoticeListener>,
    /// What the listeners were told of the fleet, and by which version.
    fleet_addresses: Option<(DocumentId, BTreeSet<IpAddr>)>,
    /// Why none runs although one should.
    trouble: Option<String>,
    /// The lease that is kept under another name than the document's, and what to do about it.
    misnamed: Option<(Name, String)>,
    /// Gates that no driver owns were taken away since the last one ended.
    cleared: bool,
}

impl DatabaseDrivers {
    /// Starts the drivers that should run, hands changed contexts to those that run, stops those that should not.
    pub(super) fn reconcile(&mut self, session: &Session) {
        let settings = &session.settings;
        let (Some(file), true) = (&settings.database.credentials, settings.root.is_machine())
        else {
            if settings.root.is_machine() {
                self.take_down_gates(session);
            }
            return;
        };
        let Ok((intent, _)) = session.intent() else {
            // A document that is not understood any more, a name that is not found: what runs goes on.
            return;
        };
        let fleet = &intent.document.fleet;
        let wanted: BTreeMap<&Name, DatabaseCluster<'_>> =
            databases::of_server(fleet, &intent.node)
                .into_iter()
                .filter(|cluster| cluster.has(&intent.node))
                .map(|cluster| (databases::lease(&cluster, &intent.elections), cluster))
                .collect();
        self.stop_unwanted(&wanted);
        if wanted.is_empty() {
            self.trouble = None;
            self.take_down_gates(session);
            return;
        }
        self.cleared = false;
        let accounts = match credentials::read(file) {
            Ok(accounts) => accounts,
            Err(error) => {
                self.fail(format!("no database is kept here: {}", chain(&error)));
                return;
            }
        };
        if wanted.len() > 1 {
            // One server process cannot have two masters' leases: which of them would close it?
            let names: Vec<_> = wanted.keys().map(|name| name.as_str()).collect();
            self.fail(format!(
                "this machine's database server belongs to several clusters ({}): none of them is kept. Give each its own servers",
                names.join(", ")
            ));
            return;
        }
        let before = self.running.keys().find(|name| !wanted.contains_key(name));
        if let Some(before) = before {
            // It is a master's, or it would have ended.
            let names: Vec<_> = wanted.keys().map(|name| name.as_str()).collect();
            self.fail(format!(
                "this server is the master of {before}, and the document has it as one of {} now. A lease does not move to another \
                 name: write \"lease\": \"{before}\" beside the chain in the document",
                names.join(", ")
            ));
            return;
        }
        if let Some(why) = self.has_another_address(fleet, session, &intent.node) {
            self.fail(why);
            return;
        }
        self.trouble = None;
        self.misnamed = None;
        for (product, cluster) in wanted {
            self.misnamed =
                databases::misnamed(&cluster, product).map(|why| (product.clone(), why));
            let context = context(session, &intent.node, fleet, product, &cluster, &accounts);
            self.ensure_running(context, session.follower.highest_epoch(product));
            if let Some((context, driver)) = self.running.get(product) {
                let mine = (cluster.snapshots).filter(|it| it.server == intent.node);
                self.snapshots.reconcile(context, mine, driver.handle());
            }
            self.tell_of_masters(session, &intent, product);
        }
    }

    /// Why this machine is not the server whose name it goes by: the document has another address for that. A driver that runs
    /// goes on: it was the right machine when it began, and a document can be wrong.
    fn has_another_address(&self, fleet: &Fleet, session: &Session, me: &Name) -> Option<String> {
        let address = fleet.servers.get(me)?.address;
        let own = session.settings.database.address == AddressUse::Own;
        if !own || !self.running.is_empty() || own_address_towards(address) == Some(address) {
            return None;
        }
        Some(format!(
            "this machine goes by the name {me} and does not have that server's address, {address}: it is another machine with a \
             wrong name, or a clone, and keeps no database. Give it its own name (node in agentd.toml); if it is {me}, correct the \
             address in the document, or, where that is translated on the way here, set address = \"translated\" in [database]"
        ))
    }

    /// No driver runs here: what an earlier agent has put in the way of clients goes, where the server takes no writes. Once.
    fn take_down_gates(&mut self, session: &Session) {
        if std::mem::replace(&mut self.cleared, true) || !self.running.is_empty() {
            self.cleared &= self.running.is_empty();
            return;
        }
        let settings = &session.settings.database;
        let accounts =
            (settings.credentials.as_ref()).and_then(|file| credentials::read(file).ok());
        let server = accounts.map(|accounts| {
            let place = Place {
                target: Target::Socket(socket(session)),
                account: accounts.local,
                tls: None,
            };
            Server::new(&place, &accounts.peer.user)
        });
        tokio::spawn(async move {
            if let Err(error) = remove_gates(server).await {
                tracing::warn!(
                    event = "database-gate-left",
                    error = %error,
                    "whether an earlier agent left a gate before this machine's database could not be seen: {error}"
                );
            }
        });
    }

    fn fail(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::error!(event = "database-not-kept", "{why}");
        }
        self.trouble = Some(why);
    }

    fn ensure_running(&mut self, context: Context, known_epoch: u64) {
        if let Some((sat, driver)) = self.running.get_mut(&context.product) {
            if *sat != context {
                driver.set_context(context.clone());
                *sat = context;
            }
            return;
        }
        match Driver::start(context.clone(), known_epoch) {
            Ok(driver) => {
                self.running
                    .insert(context.product.clone(), (context, driver));
            }
            Err(error) => self.fail(format!(
                "the database driver of {} did not start: {error}",
                context.product
            )),
        }
    }

    /// Lets the fleet's machines wait for a new master of this cluster.
    fn tell_of_masters(&mut self, session: &Session, intent: &Intent, lease: &Name) {
        let settings = &session.settings.database;
        let (Some((_, driver)), port @ 1..) = (self.running.get(lease), settings.notice_port)
        else {
            self.notices.remove(lease);
            return;
        };
        let document = &intent.document;
        let Some(own) = document.fleet.servers.get(&intent.node) else {
            return;
        };
        let is_known = |known: &&(DocumentId, BTreeSet<IpAddr>)| known.0 == document.id;
        if self.notices.contains_key(lease)
            && self
                .fleet_addresses
                .as_ref()
                .is_some_and(|it| is_known(&it))
        {
            return;
        }
        let servers = document.fleet.servers.values();
        let may: BTreeSet<IpAddr> = servers.map(|server| server.address).collect();
        self.fleet_addresses = Some((document.id.clone(), may.clone()));
        let address = match (settings.address, own.address) {
            (AddressUse::Own, address) => address,
            (AddressUse::Translated, IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (AddressUse::Translated, IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let plan = Plan {
            address: SocketAddr::new(address, port),
            may,
        };
        if let Some(listener) = self.notices.get(lease) {
            listener.set_plan(plan);
            return;
        }
        match NoticeListener::start(plan, driver.watch_status()) {
            Ok(listener) => {
                self.notices.insert(lease.clone(), listener);
            }
            Err(error) => self.fail(format!(
                "machines are not told of new masters of {lease}: {error}"
            )),
        }
    }

    /// A document that no longer names this server stops its driver; not that of a master, which first has to hand over.
    fn stop_unwanted(&mut self, wanted: &BTreeMap<&Name, DatabaseCluster<'_>>) {
        let gone: Vec<Name> = self
            .running
            .iter()
            .filter(|(product, (_, driver))| {
                let master = driver.status().is_some_and(|it| it.part == Part::Master);
                !wanted.contains_key(product) && !master
            })
            .map(|(product, _)| product.clone())
            .collect();
        for product in gone {
            self.snapshots.forget(&product);
            self.notices.remove(&product);
            if let Some((_, driver)) = self.running.remove(&product) {
                tokio::spawn(driver.stop(PATIENCE));
            }
        }
    }

    /// Replaces what leases tell of each database by what its driver knows, where one runs.
    pub(super) fn fill_status(&self, databases: &mut [DatabaseStatus]) {
        for database in databases {
            let notes = std::mem::take(&mut database.notes);
            let kept = self.running.get(&database.product);
            if let Some(status) = kept.and_then(|(_, driver)| driver.status()) {
                let followed = std::mem::replace(database, status);
                if let Some(snapshots) = self.snapshots.status(&database.product) {
                    database.alarms.extend(snapshots.alarms(clock::now()));
                    database.snapshots = Some(snapshots);
                }
                if let Some((_, why)) =
                    (self.misnamed.as_ref()).filter(|(lease, _)| *lease == database.product)
                {
                    database.alarms.push(why.clone());
                }
                if database.lease.is_none() {
                    // Why none could be read, most likely.
                    database.alarms.extend(followed.alarms);
                }
            } else if database.part == Part::Unmanaged {
                database.urgent.extend(self.trouble.clone());
                database.alarms.extend(self.trouble.clone());
            }
            database.notes.extend(notes);
        }
    }

    /// Passes an operator's order on to the cluster's driver; returns it where none runs.
    pub(super) fn pass_on(&self, request: OrderRequest) -> Option<OrderRequest> {
        let Some((context, driver)) = self.running.get(&request.ask.product) else {
            return Some(request);
        };
        let (me, handle) = (context.me.clone(), driver.handle());
        tokio::spawn(execute(request, me, handle));
        None
    }

    /// Has a snapshot taken; returns the order where none are taken here.
    pub(super) fn take_snapshot(&self, request: OrderRequest) -> Option<OrderRequest> {
        self.snapshots.take_now(request)
    }

    /// Why no driver runs although one should.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Stops all drivers. Masters stay masters.
    pub(super) async fn stop(&mut self) {
        self.snapshots.stop(PATIENCE).await;
        self.notices.clear();
        let stopping: Vec<_> = std::mem::take(&mut self.running)
            .into_values()
            .map(|(_, driver)| tokio::spawn(driver.stop(PATIENCE)))
            .collect();
        for stopped in stopping {
            let _ = stopped.await;
        }
    }
}

/// Removes gates that no driver owns. What keeps an old master from being a second one stays: whoever took its lease has relied on it.
async fn remove_gates(server: Option<Server>) -> Result<(), DeadManError> {
    let tables = deadman::left_behind().await?;
    if tables.is_empty() {
        return Ok(());
    }
    let seen = match &server {
        Some(server) => server.observe(LOOK).await.ok(),
        None => None,
    };
    let names = tables.join(", ");
    if seen.is_some_and(|seen| seen.read_only) {
        deadman::take_down(&tables).await?;
        tracing::warn!(
            event = "database-gate-removed",
            tables = names,
            "no database is kept on this machine any more, and its port was still gated: taken away ({names}), for the server takes no writes"
        );
    } else {
        tracing::error!(
            event = "database-gate-left",
            error = "not known to be read-only",
            "an earlier agent has gated this machine's database port, and no driver keeps that server any more. It is left so: the server may \
             take writes, and another one may be the master by now. Where it is the only one, or read-only: nft delete table inet {names}"
        );
    }
    Ok(())
}

/// Where the server of this machine has its socket.
fn socket(session: &Session) -> PathBuf {
    let there = || {
        let there = SOCKETS.iter().find(|path| Path::new(path).exists());
        PathBuf::from(there.unwrap_or(&"/var/lib/mysql/mysql.sock"))
    };
    let set = session.settings.database.socket.clone();
    set.unwrap_or_else(there)
}

fn context(
    session: &Session,
    me: &Name,
    fleet: &Fleet,
    product: &Name,
    cluster: &DatabaseCluster<'_>,
    accounts: &Credentials,
) -> Context {
    let settings = &session.settings;
    let (chain, snapshots) = Context::members_of(fleet, cluster);
    Context {
        product: product.clone(),
        products: cluster.products.iter().copied().cloned().collect(),
        other_lease: !session.follower.elections().contains_key(product)
            && (cluster.names().into_iter())
                .any(|name| name != product && session.follower.may_be_owned(name, cluster.chain)),
        me: me.clone(),
        machine: machine_marks::marks(),
        chain,
        snapshots,
        never: cluster.never.iter().copied().cloned().collect(),
        port: databases::port(cluster, settings.database.port),
        socket: socket(session),
        semi_sync: cluster.semi_sync,
        settings: settings.database.clone(),
        credentials: accounts.clone(),
        bucket: settings.bucket.clone(),
        s3: settings.s3.clone(),
        state_dir: PathBuf::from(STATE_DIR),
    }
}
