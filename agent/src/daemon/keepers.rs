//! Who keeps the databases of this machine: one driver a product, started, changed and ended as the document says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::messages::{Answer, DatabaseAnswer, DatabaseAsk, DatabaseOrder};
use crate::control::server::OrderRequest;
use crate::converge::Session;
use crate::database::driver::{Driver, Handle, Seat, Wish};
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
/// An order that takes longer than this is not waited for any more; it goes on.
const ORDER: Duration = Duration::from_mins(5);
/// Between two looks at how an order goes on.
const LOOK: Duration = Duration::from_millis(100);

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
                *database = status;
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

/// Says an order to the driver, and tells whoever waits how it goes on, until it is done.
async fn carry_out(request: OrderRequest, me: Name, handle: Handle) {
    let answer = match wish(&request.ask) {
        Err(message) => Answer::Failed { message },
        Ok(wish) if request.ask.noop => Answer::Database(DatabaseAnswer::said(steps(&wish, &me))),
        Ok(wish) => match handle.wish(wish.clone()).await {
            Err(message) => Answer::Failed { message },
            Ok(begun) => {
                let _ = request.progress.try_send(begun);
                match follow(&request, &wish, &me, &handle).await {
                    Ok(said) => Answer::Database(DatabaseAnswer::said(said)),
                    Err(message) => Answer::Failed { message },
                }
            }
        },
    };
    let _ = request.answer.send(answer);
}

fn wish(ask: &DatabaseAsk) -> Result<Wish, String> {
    match &ask.order {
        DatabaseOrder::Switchover { to } => Ok(Wish::Switchover(to.clone())),
        DatabaseOrder::TakeOver { old_master_is_off } => Ok(Wish::TakeOver {
            off: *old_master_is_off,
        }),
        DatabaseOrder::Rejoin { .. } => Ok(Wish::Rejoin),
        DatabaseOrder::Hold { .. } => Err("a hold is no driver's".to_owned()),
    }
}

/// What would be done, for `--noop`.
fn steps(wish: &Wish, me: &Name) -> String {
    match wish {
        Wish::Switchover(to) => format!(
            "{me} would announce {} in the lease; refuse writes and end its clients' connections; write its last position \
             into the lease; and wait until the other server has all of it, owns the lease and accepts writes. If that \
             does not come to pass within some seconds, {me} takes writes again",
            to.as_ref().map_or("the first that can", Name::as_str)
        ),
        Wish::TakeOver { off } => format!(
            "{me} would wait until the lease is stale, look at the old master and have it refuse writes{}; own the lease; \
             apply what it has received; and accept writes, whatever is known to be lost",
            if *off { ", if it can be reached," } else { "" }
        ),
        Wish::Rejoin => {
            format!("{me} would replicate from the master again, if that has all that {me} has")
        }
    }
}

async fn follow(
    request: &OrderRequest,
    wish: &Wish,
    me: &Name,
    handle: &Handle,
) -> Result<String, String> {
    let began = tokio::time::Instant::now();
    let mut last = String::new();
    // The order is in the machine by now; its first status is a tick away.
    let mut begun = false;
    while began.elapsed() < ORDER {
        tokio::time::sleep(LOOK).await;
        let Some(status) = handle.status() else {
            continue;
        };
        match &status.doing {
            Some(doing) => {
                begun = true;
                if *doing != last {
                    last.clone_from(doing);
                    let _ = request.progress.try_send(doing.clone());
                }
            }
            None if begun || began.elapsed() > Duration::from_secs(2) => {
                return ended(wish, me, &status);
            }
            None => {}
        }
    }
    Err("it takes long, and goes on: see agentctl db status".to_owned())
}

fn ended(wish: &Wish, me: &Name, status: &DatabaseStatus) -> Result<String, String> {
    let owner = status.lease.as_ref().map(|lease| &lease.owner);
    let epoch = status.lease.as_ref().map_or(0, |lease| lease.epoch);
    let product = &status.product;
    match (wish, owner) {
        (Wish::Switchover(_), Some(owner)) if owner != me => Ok(format!(
            "{owner} is the master of {product} now, in epoch {epoch}"
        )),
        (Wish::Switchover(_), _) => Err(format!(
            "the other server did not take over, and {me} is the master of {product} again: see agentctl db status"
        )),
        (Wish::TakeOver { .. }, Some(owner)) if owner == me && status.part == Part::Master => Ok(
            format!("{me} is the master of {product} now, in epoch {epoch}"),
        ),
        (Wish::TakeOver { .. }, _) => {
            Err(format!("{me} has not taken over: see agentctl db status"))
        }
        (Wish::Rejoin, _) if status.part == Part::Quarantined => Err(format!(
            "{me} is still kept out: {}",
            status.alarms.join("; ")
        )),
        (Wish::Rejoin, _) => Ok(format!("{me} replicates again")),
    }
}
