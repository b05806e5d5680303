//! A server made anew from another one: emptied, filled with a dump of that one, led to it.
//!
//! For servers that replication alone cannot bring back: new ones before a source that has data, and those whose surplus a
//! person has given up. A logical copy, table after table over one connection: right for small and medium databases, slow
//! for large ones. [`MariaDB`](super::MariaDb) only.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::gtid::{Containment, Flavour, Gtids};
use super::dialect::{Source, quoted};
use super::dump::{
    HEAD, LONG, OWN_SCHEMAS, client, coordinates, dump, head, names, not_of_one_moment, secret,
    ticked,
};
use super::error::ServerError;
use super::instance::Server;
use super::observation::{Observation, ThreadState};
use super::session::{Session, Statement};
use crate::system::command::{CommandError, End, Running};
use crate::system::disk;

/// One statement, where nothing large is done.
const SHORT: Duration = Duration::from_secs(10);
/// Room that is left beside the data: logs.
const SPARE: u64 = 256 * 1024 * 1024;

/// What a source's account needs for a copy, beside what it has for replication.
const RIGHTS: [&str; 4] = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"];

/// How far a copy is, for whoever looks.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes of the dump so far, and about how many there will be; `None` while nothing is copied.
    pub fn get(&self) -> Option<(u64, u64)> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.done.load(Ordering::Relaxed), total))
    }

    fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

/// A server could not be made anew.
#[derive(Debug, thiserror::Error)]
pub enum ReseedError {
    /// A server did not do what it was asked.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The dump, or the client that reads it.
    #[error("the copy broke off, and this server has a part of it: order it again")]
    Copy(#[source] CommandError),
    /// The dump could not be begun: nothing was changed.
    #[error("nothing was changed: no dump of the source could be made")]
    Dump(#[source] CommandError),
    /// Not done; nothing was changed.
    #[error("nothing was changed: {0}")]
    Refused(String),
}

impl Server {
    /// Makes this server a copy of `upstream`, and has it follow `source`, which is that very server. **All that this
    /// server has is thrown away**: its databases, its binary log, its accounts but the system's and ours.
    ///
    /// Refused, with nothing changed, unless this server is read-only, the other one takes writes or replicates, both are strict,
    /// all of its tables can be copied as of one moment, there is room, and a dump has been begun. From then on a failure
    /// leaves a server without a position, which follows nobody: the only way on is to do it again.
    pub async fn reseed(
        &self,
        upstream: &Self,
        source: &Source,
        progress: &Progress,
    ) -> Result<(), ReseedError> {
        self.check_account(&source.account)?;
        let own = self.observe(SHORT).await?;
        // Rights that were granted just now are those of new sessions only.
        let there = Session::new(upstream.admin().place().clone(), Vec::new());
        self.may_be_copied(&own, upstream, &there).await?;
        let total = self.room(&there).await?;
        progress.set(0, total);
        let copied = self.copy(upstream, &there, source, progress).await;
        progress.set(0, 0);
        copied
    }

    async fn may_be_copied(
        &self,
        own: &Observation,
        upstream: &Self,
        session: &Session,
    ) -> Result<(), ReseedError> {
        let refuse = |why: String| Err(ReseedError::Refused(why));
        let there = upstream.name();
        if !own.read_only {
            return refuse("this server accepts writes".to_owned());
        }
        let other = upstream.observe(SHORT).await?;
        let works = other.replication.as_ref().is_some_and(|it| {
            it.io.state == ThreadState::Running && it.sql.state == ThreadState::Running
        });
        if other.read_only && !works {
            return refuse(format!("{there} neither takes writes nor replicates"));
        }
        if own.flavour != Flavour::MariaDb || other.flavour != Flavour::MariaDb {
            return refuse(
                "only MariaDB is copied by the agent; with MySQL use the clone plugin, on this server: \
                 CLONE INSTANCE FROM 'user'@'master':3306 IDENTIFIED BY '…'"
                    .to_owned(),
            );
        }
        if !own.strict || !other.strict {
            return refuse("gtid_strict_mode = 1 is not set on both servers".to_owned());
        }
        if own.server_id == other.server_id {
            return refuse(format!(
                "its server_id {} is that of {there}",
                own.server_id
            ));
        }
        let question = Statement::new(
            "SELECT PRIVILEGE_TYPE AS privilege FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = \
             CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')",
        );
        let rows = session.ask(&question, SHORT).await?;
        let has = |right: &&&str| rows.iter().any(|row| row.get("privilege") == Some(**right));
        let lacks: Vec<&str> = RIGHTS.iter().filter(|right| !has(right)).copied().collect();
        if !lacks.is_empty() {
            let user = quoted(&upstream.admin().place().account.user);
            return refuse(format!(
                "our account may not read {there}; there, as root: SET SESSION sql_log_bin = 0; GRANT {} ON *.* TO \
                 '{user}'@'…' (the host as it stands in SELECT User, Host FROM mysql.user)",
                lacks.join(", ")
            ));
        }
        let others = not_of_one_moment(session).await?;
        if !others.is_empty() {
            return refuse(format!(
                "what is not in InnoDB cannot be copied as of one moment while it is written: {}; copy it with \
                 mariabackup, or ALTER TABLE … ENGINE = InnoDB on the master",
                others.join(", ")
            ));
        }
        Ok(())
    }

    /// About how much there is to copy, in bytes, if this server has room for it.
    async fn room(&self, there: &Session) -> Result<u64, ReseedError> {
        let size = Statement::new(format!(
            "SELECT CAST(COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) AS UNSIGNED) AS bytes, @@datadir AS place \
             FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ({OWN_SCHEMAS})"
        ));
        let there = there.ask(&size, LONG).await?;
        let here = self.observer().ask(&size, LONG).await?;
        let bytes = |rows: &[super::Row]| {
            let row = rows.first();
            row.and_then(|row| row.number::<u64>("bytes")).unwrap_or(0)
        };
        let place = here.first().and_then(|row| row.get("place"));
        let place = place.unwrap_or("/var/lib/mysql");
        let room = disk::room(Path::new(place)).map_err(|error| {
            ReseedError::Refused(format!("the room under {place} cannot be told: {error}"))
        })?;
        let wanted = bytes(&there);
        let wants = wanted.saturating_add(wanted / 5).saturating_add(SPARE);
        let have = room.free.saturating_add(bytes(&here));
        if have < wants {
            return Err(ReseedError::Refused(format!(
                "{place} has room for {have} bytes, and the copy wants {wants}"
            )));
        }
        Ok(wanted.max(1))
    }

    async fn copy(
        &self,
        upstream: &Self,
        there: &Session,
        source: &Source,
        progress: &Progress,
    ) -> Result<(), ReseedError> {
        let databases = names(there, "SCHEMA_NAME", "SCHEMATA", "TRUE").await?;
        let line =
            dump(upstream.admin().place(), &databases, true).map_err(ReseedError::Refused)?;
        let of_upstream = secret(&upstream.admin().place().account);
        let mut dump = Running::start(line, End::Output, of_upstream).map_err(ReseedError::Dump)?;
        let head = head(&mut dump).await.map_err(ReseedError::Dump)?;
        let position = position(upstream, &head).await?;
        // It reads; from here on this server is changed.
        let quiet = self.quiet();
        let scheduler = self.empty(&quiet).await?;
        let place = self.admin().place();
        let line = client(place).map_err(ReseedError::Refused)?;
        let own = secret(&place.account);
        let mut client = Running::start(line, End::Input, own).map_err(ReseedError::Copy)?;
        let total = progress.get().map_or(1, |(_, total)| total);
        let mut done = 0;
        let mut chunk = head;
        while !chunk.is_empty() {
            client.write(&chunk).await.map_err(ReseedError::Copy)?;
            done += chunk.len() as u64;
            progress.set(done, total.max(done));
            chunk.resize(HEAD, 0);
            let count = dump.read(&mut chunk).await.map_err(ReseedError::Copy)?;
            chunk.truncate(count);
        }
        dump.finish().await.map_err(ReseedError::Copy)?;
        client.finish().await.map_err(ReseedError::Copy)?;
        let ours = [
            upstream.admin().place().account.user.as_str(),
            place.account.user.as_str(),
            source.account.user.as_str(),
        ];
        super::accounts::copy(there, &quiet, &ours, SHORT).await?;
        self.disable_events(SHORT).await?;
        if scheduler {
            let on = Statement::new("SET GLOBAL event_scheduler = 1");
            quiet.tell(&on, SHORT).await?;
        }
        // The position last: a server without one follows nobody.
        let dialect = self.dialect(SHORT).await?;
        for statement in dialect.follow(source, &position) {
            self.admin().tell(&statement, SHORT).await?;
        }
        Ok(())
    }

    /// A session whose statements are this server's own.
    fn quiet(&self) -> Session {
        let setup = [
            "SET SESSION sql_log_bin = 0",
            "SET SESSION wait_timeout = 86400, SESSION foreign_key_checks = 0, SESSION lock_wait_timeout = 5",
        ];
        let setup = setup.map(str::to_owned).to_vec();
        Session::new(self.admin().place().clone(), setup)
    }

    /// Empties it. Whether events had been run.
    async fn empty(&self, quiet: &Session) -> Result<bool, ReseedError> {
        let mine = names(quiet, "SCHEMA_NAME", "SCHEMATA", "TRUE").await?;
        // Readers hold what is to go.
        self.kill_clients(SHORT).await?;
        let rows = quiet
            .ask(
                &Statement::new("SELECT @@global.event_scheduler AS runs"),
                SHORT,
            )
            .await?;
        let scheduler = rows.first().and_then(|row| row.switch("runs")) == Some(true);
        let mut statements = Vec::new();
        if scheduler {
            statements.push("SET GLOBAL event_scheduler = 0".to_owned());
        }
        let first = [
            "STOP SLAVE",
            "RESET SLAVE ALL",
            "RESET MASTER",
            "SET GLOBAL gtid_slave_pos = ''",
        ];
        statements.extend(first.map(str::to_owned));
        let drop = |name: &String| format!("DROP DATABASE {}", ticked(name));
        statements.extend(mine.iter().map(drop));
        for statement in statements {
            quiet.tell(&Statement::new(statement), LONG).await?;
        }
        let left = self.observe(SHORT).await?;
        if left.executed.contains(&Gtids::none(Flavour::MariaDb)) != Containment::Yes
            || !left.executed.is_empty()
        {
            return Err(ReseedError::Refused(format!(
                "it was emptied, and still says that it has {}",
                left.executed.tip()
            )));
        }
        Ok(scheduler)
    }
}

/// The position at which a dump was made.
async fn position(upstream: &Server, head: &[u8]) -> Result<Gtids, ReseedError> {
    let Some(place) = coordinates(head) else {
        return Err(ReseedError::Refused(
            "the dump does not say at which place of the binary log it was made".to_owned(),
        ));
    };
    let position = upstream.position_at(&place).await?;
    position
        .filter(|position| !position.is_empty())
        .ok_or_else(|| {
            ReseedError::Refused(format!(
                "{} does not tell its position at {}:{}",
                upstream.name(),
                place.file,
                place.offset
            ))
        })
}
