//! One server, on this machine or another: what is asked of it and done to it.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::super::gtid::{Flavour, Gtids};
use super::dialect::{Dialect, ObservationRows, Unreadable, speakable};
use super::error::ServerError;
use super::mariadb::MariaDb;
use super::mysql::MySql;
use super::observation::Observation;
use super::session::{Place, Row, Session, Statement};

/// Between two rounds of killing, while writes are being refused.
const KILL_PAUSE: Duration = Duration::from_millis(20);
/// One try of refusing writes: it waits for running statements no longer than `lock_wait_timeout`, a second.
const CLOSE_TRY: Duration = Duration::from_millis(1500);
/// After so long, and many rounds of killing, whoever still keeps a server open is one who does not notice that he was killed.
const FREE_AFTER: Duration = Duration::from_millis(300);

/// A server and our sessions with it.
///
/// Each kind of work has a session of its own, so that a fence never waits behind a question, and all are kept open:
/// a server without a connection to spare can still be fenced.
#[derive(Debug)]
pub struct Server {
    name: String,
    peer_user: String,
    dialect: OnceLock<&'static dyn Dialect>,
    /// Asks.
    observer: Session,
    /// Changes replication.
    admin: Session,
    /// Opens and closes the server to writes.
    gatekeeper: Session,
    /// Ends others' connections.
    killer: Session,
    /// Its statements are not logged.
    own: Session,
    writers: OnceLock<Writers>,
    /// What it had numbered itself, as long as it is a replica: see [`Server::since_it_follows`].
    former: Mutex<Option<Gtids>>,
}

/// The sessions that write what is a master's to write. Made once it is known how to speak to it.
#[derive(Debug)]
struct Writers {
    heartbeat: Session,
    unlogged_heartbeat: Session,
    /// Of the event scheduler.
    events: Session,
}

/// A session with the server at `place`, set up so.
fn session(place: &Place, setup: Vec<String>) -> Session {
    let steady = ["SET SESSION wait_timeout = 86400".to_owned()];
    Session::new(place.clone(), steady.into_iter().chain(setup).collect())
}

/// What became of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatResult {
    /// It is on the disk.
    Written,
    /// The server refuses writes, so there was nothing to write.
    ReadOnly,
}

/// How a server was closed to writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// How long it took.
    pub took: Duration,
    /// How many connections were ended.
    pub killed: u32,
}

impl Server {
    /// A server at `place`. `peer_user` is the account by which servers of the chain know each other: its sessions hold
    /// locks, and are left alone. Nothing is asked yet.
    pub fn new(place: &Place, peer_user: &str) -> Self {
        let patient = || vec!["SET SESSION lock_wait_timeout = 1".to_owned()];
        let unlogged = || vec!["SET SESSION sql_log_bin = 0".to_owned()];
        let session = |setup| session(place, setup);
        Self {
            name: place.target.to_string(),
            peer_user: peer_user.to_owned(),
            dialect: OnceLock::new(),
            observer: session(patient()),
            own: session([unlogged(), patient()].concat()),
            admin: session(patient()),
            gatekeeper: session(patient()),
            killer: session(patient()),
            writers: OnceLock::new(),
            former: Mutex::default(),
        }
    }

    /// Which, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How this server is spoken to. Asked for once; another version behind the same address is noticed at the next
    /// connection only, which is fine within a flavour.
    pub async fn dialect(&self, deadline: Duration) -> Result<&'static dyn Dialect, ServerError> {
        if let Some(dialect) = self.dialect.get() {
            return Ok(*dialect);
        }
        let version = Statement::new("SELECT VERSION() AS version");
        let rows = self.observer.ask(&version, deadline).await?;
        let text = rows.first().and_then(|row| row.get("version"));
        let dialect = dialect_of(text.unwrap_or_default()).map_err(|what| ServerError::Odd {
            place: self.name.clone(),
            what,
        })?;
        Ok(*self.dialect.get_or_init(|| dialect))
    }

    /// Opens the sessions that a fence needs, so that they are there when the server is full.
    pub async fn reserve(&self, deadline: Duration) -> Result<(), ServerError> {
        let nothing = Statement::new("DO 0");
        let (gate, killer) = tokio::join!(
            self.gatekeeper.ask(&nothing, deadline),
            self.killer.ask(&nothing, deadline)
        );
        gate.and(killer).map(drop)
    }

    /// All that it says of itself.
    pub async fn observe(&self, deadline: Duration) -> Result<Observation, ServerError> {
        let look = async {
            let dialect = self.dialect(deadline).await?;
            let facts = self.observer.ask(&dialect.facts(), deadline).await?;
            let status = self.observer.ask(&dialect.status(), deadline).await?;
            let mut replication = self.observer.ask(&dialect.replication(), deadline).await?;
            if replication.len() > 1 {
                return Err(ServerError::Unsafe {
                    place: self.name.clone(),
                    why: "it has several sources, and no chain has: RESET SLAVE ALL for those that do not belong"
                        .to_owned(),
                });
            }
            let answers = ObservationRows {
                facts: facts.into_iter().next().unwrap_or_default(),
                status: pairs(&status),
                replication: replication.pop(),
            };
            dialect
                .observation(&answers)
                .map(|seen| self.since_it_follows(seen))
                .map_err(|unreadable| self.odd(&unreadable))
        };
        within(deadline, &self.name, "an observation", look).await
    }

    /// What a replica wrote itself, without what it wrote when it was a master.
    ///
    /// `MySQL` does not tell the two apart: so what it has when it is first seen as a replica, and what it receives, does
    /// not count. Whether its master has all of that is seen when it begins to follow, and from comparing their sets, which
    /// are whole.
    pub(super) fn since_it_follows(&self, mut seen: Observation) -> Observation {
        if seen.flavour == Flavour::MariaDb {
            return seen;
        }
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(replication) = &seen.replication else {
            *former = None;
            return seen;
        };
        let mut known = former.take().unwrap_or_else(|| seen.local_writes.clone());
        if let Some(received) = &replication.received {
            known = known.union(&seen.local_writes.common(received));
        }
        seen.local_writes = seen.local_writes.minus(&known);
        *former = Some(known);
        seen
    }

    pub(super) fn odd(&self, unreadable: &Unreadable) -> ServerError {
        ServerError::Odd {
            place: self.name.clone(),
            what: unreadable.to_string(),
        }
    }

    /// The session that changes replication: one thing at a time.
    pub(super) fn admin(&self) -> &Session {
        &self.admin
    }

    /// The session that asks.
    pub(super) fn observer(&self) -> &Session {
        &self.observer
    }

    /// The session that ends others.
    pub(super) fn killer(&self) -> &Session {
        &self.killer
    }

    /// The session that writes what is replicated and is no heartbeat: it may wait for a replica.
    pub(super) fn events(&self, dialect: &dyn Dialect) -> &Session {
        &self.writers(dialect).events
    }

    /// The session whose statements are this server's own: they are not logged.
    pub(super) fn own(&self) -> &Session {
        &self.own
    }

    /// Whether it accepts writes of ordinary accounts.
    pub async fn writable(&self, deadline: Duration) -> Result<bool, ServerError> {
        let read_only = Statement::new("SELECT @@global.read_only AS read_only");
        let rows = self.observer.ask(&read_only, deadline).await?;
        let switch = rows.first().and_then(|row| row.switch("read_only"));
        switch
            .map(|read_only| !read_only)
            .ok_or_else(|| self.odd(&Unreadable::Column("read_only")))
    }

    /// Makes the heartbeat's table. On the master only: it is a transaction like any other. Where semi-synchronous
    /// replication waits for ever, before it is switched on.
    pub async fn heartbeat_table(
        &self,
        logged: bool,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let dialect = self.dialect(deadline).await?;
        for statement in dialect.heartbeat_table(logged) {
            let heartbeat = self.heartbeat_session(dialect, logged);
            heartbeat.tell(&statement, deadline).await?;
        }
        Ok(())
    }

    /// The session that writes heartbeats.
    pub(super) fn heartbeat_session(&self, dialect: &dyn Dialect, logged: bool) -> &Session {
        let writers = self.writers(dialect);
        if logged {
            &writers.heartbeat
        } else {
            &writers.unlogged_heartbeat
        }
    }

    fn writers(&self, dialect: &dyn Dialect) -> &Writers {
        self.writers.get_or_init(|| {
            let writer = |logged| session(self.observer.place(), dialect.heartbeat_setup(logged));
            Writers {
                heartbeat: writer(true),
                unlogged_heartbeat: writer(false),
                events: writer(true),
            }
        })
    }

    /// Commits a heartbeat: proof that the server takes, logs and keeps writes. Where it refuses writes nothing is
    /// written, so that no replica ever gets a transaction of its own by this.
    ///
    /// `logged` is false where semi-synchronous replication waits for ever: then a master whose replicas are gone must
    /// not look dead, and the heartbeat goes to a table of this server alone.
    pub async fn heartbeat(
        &self,
        product: &str,
        epoch: u64,
        seq: u64,
        logged: bool,
        deadline: Duration,
    ) -> Result<HeartbeatResult, ServerError> {
        let dialect = self.dialect(deadline).await?;
        let statement = dialect.heartbeat(product, epoch, seq, logged);
        let session = self.heartbeat_session(dialect, logged);
        let changed = match session.tell(&statement, deadline).await {
            // 1146 and 1049: a master that has just become one.
            Err(ServerError::Said {
                code: 1146 | 1049, ..
            }) if self.writable(deadline).await? => {
                self.heartbeat_table(logged, deadline).await?;
                session.tell(&statement, deadline).await?
            }
            // A session's id may have been killed by somebody; a broken one is made anew by the next beat.
            other => other?,
        };
        Ok(if changed == 0 {
            HeartbeatResult::ReadOnly
        } else {
            HeartbeatResult::Written
        })
    }

    /// Accepts writes.
    pub async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        let dialect = self.dialect(deadline).await?;
        self.gatekeeper
            .tell(&dialect.open(), deadline)
            .await
            .map(drop)
    }

    /// Refuses writes, whatever runs: while the statement waits for those that run, connections are ended again and
    /// again. `read_only` alone would wait for a running UPDATE (which is then acknowledged), and fails behind LOCK
    /// TABLES. Returns once the server says itself that it refuses them and no client is left that was there before.
    ///
    /// On failure it may or may not be closed; the next step is to kill the process.
    pub async fn close(&self, deadline: Duration) -> Result<Closed, ServerError> {
        let start = Instant::now();
        let fence = async {
            let dialect = self.dialect(deadline).await?;
            let close = dialect.close();
            let mut killed = 0;
            loop {
                let (mut kills, began, mut freed) = (0, Instant::now(), false);
                let refused = {
                    let refuse = self.gatekeeper.tell(&close, CLOSE_TRY);
                    tokio::pin!(refuse);
                    loop {
                        tokio::select! {
                            refused = &mut refuse => break refused,
                            () = sleep(KILL_PAUSE) => {
                                // A connection that is being made has no number yet by which it could be spared.
                                if self.gatekeeper.last_id().is_none() {
                                    continue;
                                }
                                // A killer session that is full or broken must not stop the other.
                                let round = self.kill_round(dialect, deadline).await;
                                // While ours waits nobody begins to write, and those who had begun have lost their clients.
                                if round.is_ok() && began.elapsed() >= FREE_AFTER && !freed {
                                    freed = true;
                                    self.free_ended(dialect).await;
                                }
                                kills += round.unwrap_or(0);
                            }
                        }
                    }
                };
                killed += kills;
                match refused {
                    Ok(_) => break,
                    // 1205: somebody held a lock the whole second. The next round has killed him.
                    Err(
                        ServerError::Said { code: 1205, .. }
                        | ServerError::Hangs { .. }
                        | ServerError::Lost { .. },
                    ) => {}
                    Err(error) => return Err(error),
                }
            }
            // Open transactions of those who may write in spite of it, and connections that would go on believing.
            killed += self.kill_round(dialect, deadline).await?;
            if self.writable(deadline).await? {
                return Err(ServerError::Unsafe {
                    place: self.name.clone(),
                    why:
                        "it still accepts writes after it was told not to: somebody opened it again"
                            .to_owned(),
                });
            }
            Ok(Closed {
                took: start.elapsed(),
                killed,
            })
        };
        within(deadline, &self.name, "closing it to writers", fence).await
    }

    /// Ends every connection but ours, those of peers, replication's and the server's own.
    pub async fn kill_clients(&self, deadline: Duration) -> Result<u32, ServerError> {
        let dialect = self.dialect(deadline).await?;
        self.kill_round(dialect, deadline).await
    }

    async fn kill_round(
        &self,
        dialect: &'static dyn Dialect,
        deadline: Duration,
    ) -> Result<u32, ServerError> {
        let rows = self.killer.ask(&dialect.clients(), deadline).await?;
        // After the question: one of ours may have connected meanwhile.
        let ours = self.own_ids();
        let (mut killed, mut denied) = (0, None);
        for id in rows.iter().filter_map(|row| self.victim(row)) {
            if ours.contains(&id) {
                continue;
            }
            match self.killer.tell(&dialect.kill(id), deadline).await {
                Ok(_) => killed += 1,
                // 1094: it has gone by itself.
                Err(ServerError::Said { code: 1094, .. }) => {}
                // Not this one, but the others all the same.
                Err(error @ ServerError::Denied { .. }) => denied = Some(error),
                Err(error) => return Err(error),
            }
        }
        denied.map_or(Ok(killed), Err)
    }

    /// Lets those end who wait for a replica's word, and whose connections were ended already: nothing is acknowledged by it.
    async fn free_ended(&self, dialect: &'static dyn Dialect) {
        if let Some(statement) = dialect.free_ended() {
            // Where there is no semi-synchronous replication it is refused, and nobody waits.
            let _ = self.killer.tell(&statement, CLOSE_TRY).await;
        }
    }

    /// The connection of a row, unless it is replication's, a peer's or the server's own.
    fn victim(&self, row: &Row) -> Option<u64> {
        let (user, command) = (row.get("USER")?, row.get("COMMAND")?);
        let own = matches!(user, "system user" | "event_scheduler") || command == "Daemon";
        let dump = command.starts_with("Binlog Dump");
        (!own && !dump && user != self.peer_user).then(|| row.number("ID"))?
    }

    fn own_ids(&self) -> Vec<u64> {
        let ours = [
            &self.observer,
            &self.admin,
            &self.gatekeeper,
            &self.killer,
            &self.own,
        ];
        let writers = self.writers.get();
        let writers = writers.map(|it| [&it.heartbeat, &it.unlogged_heartbeat, &it.events]);
        let all = ours.into_iter().chain(writers.into_iter().flatten());
        let ids = all.filter_map(Session::last_id);
        ids.map(u64::from).collect()
    }

    /// Says whether both accounts can be spoken of in statements.
    pub(super) fn check_account(
        &self,
        account: &super::credentials::Account,
    ) -> Result<(), ServerError> {
        if speakable(account) {
            return Ok(());
        }
        Err(ServerError::Unsafe {
            place: self.name.clone(),
            why: format!(
                "the name or password of account `{}` has a backslash or a control character: give it others",
                account.user
            ),
        })
    }

    /// The position to write into the lease: all that it has, as short as it can be said.
    pub async fn position(&self, deadline: Duration) -> Result<Gtids, ServerError> {
        Ok(self.observe(deadline).await?.executed.tip())
    }
}

/// Name and value, a row each, as one row.
fn pairs(rows: &[Row]) -> Row {
    rows.iter()
        .filter_map(|row| {
            let name = row.any(&["Variable_name", "VARIABLE_NAME"])?;
            Some((
                name,
                row.any(&["Value", "VARIABLE_VALUE", "Variable_value"])?,
            ))
        })
        .collect()
}

/// The dialect of a version, if it is one that we know.
fn dialect_of(version: &str) -> Result<&'static dyn Dialect, String> {
    let numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.filter_map(|word| word.parse::<u32>().ok());
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let maria = version.contains("MariaDB");
    match number {
        (10, 6..) | (11.., _) if maria => Ok(&MariaDb),
        (8, 0 | 4) | (9.., _) if !maria => Ok(&MySql),
        _ => Err(format!(
            "version `{version}`: MariaDB 10.6 or later and MySQL 8.0 or later are known"
        )),
    }
}

/// A deadline over several statements.
pub(super) async fn within<T>(
    deadline: Duration,
    place: &str,
    what: &str,
    work: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    timeout(deadline, work).await.unwrap_or_else(|_| {
        Err(ServerError::Hangs {
            place: place.to_owned(),
            statement: what.to_owned(),
            millis: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        })
    })
}
