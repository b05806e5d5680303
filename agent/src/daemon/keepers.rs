//! Who keeps the databases of this machine: one driver a product, started, changed and ended as the document says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::errands::carry_out;
use crate::control::server::OrderRequest;
use crate::converge::Session;
use crate::database::driver::{Driver, Seat};
use crate::database::server::credentials::{self, Credentials};
use crate::fleet::names::Port;
use crate::fleet::{Database, Fleet, Name};
use crate::node::databases;
use crate::report::{DatabaseStatus, Part};
use crate::settings::STATE_DIR;
use crate::system::chain;

/// Where servers have their sockets: `CentOS`, Debian.
const SOCKETS: [&str; 2] = ["/var/lib/mysql/mysql.sock", "/run/mysqld/mysqld.sock"];
/// Drivers that end have this long together: a master renews once more.
const PATIENCE: Duration = Duration::from_secs(3);

/// The drivers that run.
#[derive(Debug, Default)]
pub(super) struct Keepers {
    running: BTreeMap<Name, (Seat, Driver)>,
    /// Why none runs although it should.
    trouble: Option<String>,
}

impl Keepers {
    /// Starts what should run, tells what has changed, ends what should not run.
    pub(super) fn settle(&mut self, session: &Session) {
        let settings = &session.settings;
        let (Some(file), true) = (&settings.database.credentials, settings.root.is_machine())
        else {
            return;
        };
        let Ok((intent, _)) = session.intent() else {
            // A document that is not understood any more, a name that is not found: what runs goes on.
            return;
        };
        let fleet = &intent.document.fleet;
        let wanted: BTreeMap<&Name, &Database> = databases::of_server(fleet, &intent.node)
            .into_iter()
            .filter(|(_, database)| databases::names(database, &intent.node))
            .collect();
        self.end_others(&wanted);
        if wanted.is_empty() {
            self.trouble = None;
            return;
        }
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
                "this machine's database server belongs to several products ({}): none of them is kept. Give each its own servers",
                names.join(", ")
            ));
            return;
        }
        self.trouble = None;
        for (product, database) in wanted {
            let seat = seat(session, &intent.node, fleet, product, database, &accounts);
            self.keep(seat, session.follower.highest_epoch(product));
        }
    }

    fn fail(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::error!(event = "database-not-kept", "{why}");
        }
        self.trouble = Some(why);
    }

    fn keep(&mut self, seat: Seat, known_epoch: u64) {
        if let Some((sat, driver)) = self.running.get_mut(&seat.product) {
            if *sat != seat {
                driver.seat(seat.clone());
                *sat = seat;
            }
            return;
        }
        match Driver::start(seat.clone(), known_epoch) {
            Ok(driver) => {
                self.running.insert(seat.product.clone(), (seat, driver));
            }
            Err(error) => self.fail(format!(
                "the keeper of {} did not start: {error}",
                seat.product
            )),
        }
    }

    /// A document that does not name this server any more ends its driver; not that of a master, who first has to hand over.
    fn end_others(&mut self, wanted: &BTreeMap<&Name, &Database>) {
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
            if let Some((_, driver)) = self.running.remove(&product) {
                tokio::spawn(driver.stop(PATIENCE));
            }
        }
    }

    /// What is known of the databases: by those who keep them, where there is one.
    pub(super) fn tell(&self, databases: &mut [DatabaseStatus]) {
        for database in databases {
            let notes = std::mem::take(&mut database.notes);
            let kept = self.running.get(&database.product);
            if let Some(status) = kept.and_then(|(_, driver)| driver.status()) {
                let followed = std::mem::replace(database, status);
                if database.lease.is_none() {
                    // Why none could be read, most likely.
                    database.alarms.extend(followed.alarms);
                }
            } else if database.part == Part::Unmanaged {
                database.alarms.extend(self.trouble.clone());
            }
            database.notes.extend(notes);
        }
    }

    /// Passes an order on to who keeps the product's database; gives it back where nobody does.
    pub(super) fn order(&self, request: OrderRequest) -> Option<OrderRequest> {
        let Some((seat, driver)) = self.running.get(&request.ask.product) else {
            return Some(request);
        };
        let (me, handle) = (seat.me.clone(), driver.handle());
        tokio::spawn(carry_out(request, me, handle));
        None
    }

    /// Why nobody keeps a database that should be kept.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Ends all. Masters stay masters.
    pub(super) async fn stop(&mut self) {
        let ending: Vec<_> = std::mem::take(&mut self.running)
            .into_values()
            .map(|(_, driver)| tokio::spawn(driver.stop(PATIENCE)))
            .collect();
        for end in ending {
            let _ = end.await;
        }
    }
}

fn seat(
    session: &Session,
    me: &Name,
    fleet: &Fleet,
    product: &Name,
    database: &Database,
    accounts: &Credentials,
) -> Seat {
    let settings = &session.settings;
    let (chain, snapshots) = Seat::members_of(fleet, database);
    let usual = || {
        let there = SOCKETS.iter().find(|path| Path::new(path).exists());
        PathBuf::from(there.unwrap_or(&"/var/lib/mysql/mysql.sock"))
    };
    Seat {
        product: product.clone(),
        me: me.clone(),
        chain,
        snapshots,
        never: database.never.clone(),
        port: database.port.map_or(settings.database.port, Port::get),
        socket: settings.database.socket.clone().unwrap_or_else(usual),
        semi_sync: database.semi_sync,
        settings: settings.database.clone(),
        credentials: accounts.clone(),
        bucket: settings.bucket.clone(),
        s3: settings.s3.clone(),
        state_dir: PathBuf::from(STATE_DIR),
    }
}
