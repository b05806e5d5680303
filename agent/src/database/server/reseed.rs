//! A server made anew from another one: emptied, filled with a dump of that one, led to it.
//!
//! For servers that replication alone cannot bring back: new ones before a source that has data, and those whose surplus a
//! person has given up. A logical copy, table after table over one connection: right for small and medium databases, slow
//! for large ones. [`MariaDB`](super::MariaDb) only.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::gtid::{Containment, Flavour, Gtids};
use super::credentials::Account;
use super::dialect::{Source, quoted};
use super::error::ServerError;
use super::instance::Server;
use super::observation::{Observation, ThreadState};
use super::session::{Place, Session, Statement, Target};
use crate::system::command::{CommandError, CommandLine, End, Running};
use crate::system::disk;

/// One statement, where nothing large is done.
const SHORT: Duration = Duration::from_secs(10);
/// One statement that may be long, and one step of a copy without any progress.
const LONG: Duration = Duration::from_mins(10);
/// So much of a dump is looked through for its position.
const HEAD: usize = 64 * 1024;
/// Room that is left beside the data: logs.
const SPARE: u64 = 256 * 1024 * 1024;

/// What a source's account needs for a copy, beside what it has for replication.
const RIGHTS: [&str; 4] = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"];

/// What is each server's own, and no part of a copy.
pub(super) const OWN_SCHEMAS: &str =
    "'mysql', 'information_schema', 'performance_schema', 'sys', 'agentd_local'";

/// The tools, by their new names and the old ones.
const DUMP: [&str; 2] = ["/usr/bin/mariadb-dump", "/usr/bin/mysqldump"];
const CLIENT: [&str; 2] = ["/usr/bin/mariadb", "/usr/bin/mysql"];

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
        let others = names(
            session,
            "CONCAT(TABLE_SCHEMA, '.', TABLE_NAME)",
            "TABLES",
            "TABLE_TYPE = 'BASE TABLE' AND COALESCE(ENGINE, '') <> 'InnoDB'",
        )
        .await?;
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
        let line = dump(upstream.admin().place(), &databases)?;
        let secret = secret(&upstream.admin().place().account);
        let mut dump = Running::start(line, End::Output, secret).map_err(ReseedError::Dump)?;
        let head = head(&mut dump).await?;
        let position = position(upstream, &head).await?;
        // It reads; from here on this server is changed.
        let quiet = self.quiet();
        let scheduler = self.empty(&quiet).await?;
        let place = self.admin().place();
        let line = client(place)?;
        let secret = self::secret(&place.account);
        let mut client = Running::start(line, End::Input, secret).map_err(ReseedError::Copy)?;
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

/// The names in a table of `information_schema`, without what is each server's own.
async fn names(
    session: &Session,
    column: &str,
    table: &str,
    condition: &str,
) -> Result<Vec<String>, ServerError> {
    let schema = if table == "SCHEMATA" {
        "SCHEMA_NAME"
    } else {
        "TABLE_SCHEMA"
    };
    let question = Statement::new(format!(
        "SELECT {column} AS name FROM information_schema.{table} WHERE {schema} NOT IN ({OWN_SCHEMAS}) AND {condition} \
         ORDER BY 1"
    ));
    let rows = session.ask(&question, LONG).await?;
    let names = rows.iter().filter_map(|row| row.get("name"));
    Ok(names.map(str::to_owned).collect())
}

/// A name as statements have it.
pub(super) fn ticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn tool(names: [&str; 2]) -> Result<String, ReseedError> {
    let found = names.into_iter().find(|path| Path::new(path).exists());
    found
        .map(str::to_owned)
        .ok_or_else(|| ReseedError::Refused(format!("neither {} is there", names.join(" nor "))))
}

fn secret(account: &Account) -> Option<(&str, &str)> {
    let password = account.password.reveal();
    (!password.is_empty()).then_some(("MYSQL_PWD", password))
}

/// How a tool reaches a server. No option file of the machine has a say.
fn reach(place: &Place) -> Vec<String> {
    let mut words = vec!["--no-defaults".to_owned()];
    match &place.target {
        Target::Socket(path) => {
            words.push("--protocol=socket".to_owned());
            words.push(format!("--socket={}", path.display()));
        }
        Target::Tcp(address) => {
            words.push("--protocol=tcp".to_owned());
            words.push(format!("--host={}", address.ip()));
            words.push(format!("--port={}", address.port()));
            if let Some(tls) = &place.tls {
                // Servers are known by address, which database certificates rarely name.
                words.push(format!("--ssl-ca={}", tls.ca.display()));
                words.push("--ssl".to_owned());
                words.push("--skip-ssl-verify-server-cert".to_owned());
            }
        }
    }
    words.push(format!("--user={}", place.account.user));
    words.push("--default-character-set=utf8mb4".to_owned());
    words.push("--max-allowed-packet=1G".to_owned());
    words
}

fn dump(place: &Place, databases: &[String]) -> Result<CommandLine, ReseedError> {
    if databases.is_empty() {
        return Err(ReseedError::Refused(
            "the master has no databases: there is nothing to copy".to_owned(),
        ));
    }
    let mut words = vec![tool(DUMP)?];
    words.extend(reach(place));
    let how = [
        "--single-transaction",
        "--quick",
        "--master-data=2",
        "--routines",
        "--triggers",
        "--events",
        "--hex-blob",
        "--databases",
        "--",
    ];
    words.extend(how.map(str::to_owned));
    words.extend(databases.iter().cloned());
    Ok(CommandLine::new(words, LONG))
}

fn client(place: &Place) -> Result<CommandLine, ReseedError> {
    let mut words = vec![tool(CLIENT)?];
    words.extend(reach(place));
    let how = [
        "--batch",
        // Or it would change line ends within routines.
        "--binary-mode",
        "--init-command=SET SESSION sql_log_bin = 0",
    ];
    words.extend(how.map(str::to_owned));
    Ok(CommandLine::new(words, LONG))
}

/// The beginning of a dump, up to the place in the binary log at which it was made.
async fn head(dump: &mut Running) -> Result<Vec<u8>, ReseedError> {
    let mut head = Vec::new();
    let mut chunk = vec![0; HEAD];
    loop {
        let count = dump.read(&mut chunk).await.map_err(ReseedError::Dump)?;
        head.extend(chunk.iter().take(count));
        if count == 0 || head.len() > HEAD || coordinates(&head).is_some() {
            return Ok(head);
        }
    }
}

/// The binary log's file and offset at which a dump was made, from its beginning.
fn coordinates(head: &[u8]) -> Option<(String, u64)> {
    let text = String::from_utf8_lossy(head);
    let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest.to_owned());
    let rest = after("\n-- CHANGE MASTER TO MASTER_LOG_FILE='")?;
    let (file, rest) = rest.split_once("', MASTER_LOG_POS=")?;
    let (offset, _) = rest.split_once(';')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = !file.is_empty() && file.chars().all(plain);
    is_name
        .then(|| offset.parse().ok())?
        .map(|offset| (file.to_owned(), offset))
}

/// The position at which a dump was made.
async fn position(upstream: &Server, head: &[u8]) -> Result<Gtids, ReseedError> {
    let Some((file, offset)) = coordinates(head) else {
        return Err(ReseedError::Refused(
            "the dump does not say at which place of the binary log it was made".to_owned(),
        ));
    };
    let question = Statement::new(format!(
        "SELECT BINLOG_GTID_POS('{file}', {offset}) AS position"
    ));
    let rows = upstream.observer().ask(&question, SHORT).await?;
    let text = rows.first().and_then(|row| row.get("position"));
    let position = text.and_then(|text| Gtids::parse(Flavour::MariaDb, text).ok());
    position
        .filter(|position| !position.is_empty())
        .ok_or_else(|| {
            ReseedError::Refused(format!(
                "{} does not tell its position at {file}:{offset}",
                upstream.name()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_says_where_it_was_made() {
        let head = b"-- MariaDB dump\n-- CHANGE MASTER TO MASTER_USE_GTID=slave_pos;\n\n--\n\
            \n-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000003', MASTER_LOG_POS=3491;\n\nCREATE";
        assert_eq!(coordinates(head), Some(("binlog.000003".to_owned(), 3491)));
        let cut = b"\n-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000003', MASTER_LOG_POS=34";
        assert_eq!(coordinates(cut), None);
        let evil = b"\n-- CHANGE MASTER TO MASTER_LOG_FILE='b', 1); DROP', MASTER_LOG_POS=34;";
        assert_eq!(coordinates(evil), None);
        assert_eq!(ticked("a`b"), "`a``b`");
    }
}
