//! What differs between the flavours: statements, and how answers read. Pure, so that each is shown by golden tests.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::gtid::{Flavour, GtidError, Gtids};
use super::credentials::{Account, Tls};
use super::observation::{Observation, Replication};
use super::session::{Row, Statement};

/// Whom to follow, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its address and port.
    pub address: SocketAddr,
    /// The account that replicates.
    pub account: Account,
    /// Encrypted, with servers of these authorities only.
    pub tls: Option<Tls>,
}

/// The rows that make an observation.
#[derive(Debug, Clone, Default)]
pub struct ObservationRows {
    /// Of [`Dialect::facts`]: one row.
    pub facts: Row,
    /// Of [`Dialect::status`]: name and value, made one row.
    pub status: Row,
    /// Of [`Dialect::replication`], where there is one.
    pub replication: Option<Row>,
}

/// An answer that is not understood: which column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A column is missing, or says what it never says.
    #[error("`{0}` is missing or says what it never says")]
    Column(&'static str),
    /// A position.
    #[error(transparent)]
    Gtid(#[from] GtidError),
}

/// The way of speaking of one flavour.
pub trait Dialect: std::fmt::Debug + Send + Sync {
    /// Whose.
    fn flavour(&self) -> Flavour;

    /// Asks for the variables, in one row.
    fn facts(&self) -> Statement;
    /// Asks for the counters: rows of name and value.
    fn status(&self) -> Statement;
    /// Asks how replication does: no row, or one.
    fn replication(&self) -> Statement;
    /// Reads the three answers.
    fn observation(&self, answers: &ObservationRows) -> Result<Observation, Unreadable>;
    /// Reads the answer to [`Dialect::replication`] alone.
    fn read_replication(&self, row: &Row) -> Result<Replication, Unreadable>;

    /// Refuses writes of everybody but replication (and, with `MariaDB`, of accounts with READ ONLY ADMIN).
    fn close(&self) -> Statement;
    /// Accepts writes.
    fn open(&self) -> Statement;
    /// Lists the connections: columns `ID`, `USER`, `COMMAND`.
    fn clients(&self) -> Statement {
        Statement::new("SELECT ID, USER, COMMAND FROM information_schema.PROCESSLIST")
    }
    /// Ends one connection, also in the middle of a statement.
    fn kill(&self, id: u64) -> Statement;
    /// Lets go of those who wait for a replica's word though their connections were ended. `None`: ending is enough.
    fn free_ended(&self) -> Option<Statement>;

    /// Stops receiving, and only that: what was received goes on being applied.
    fn stop_receiving(&self) -> Statement;
    /// Receives again, with the applying thread at work.
    fn start_receiving(&self) -> Statement;
    /// Stops both threads. Only once everything received is applied.
    fn stop(&self) -> Statement;
    /// Starts both threads.
    fn start(&self) -> Statement;
    /// Starts applying alone.
    fn start_applying(&self) -> Statement;
    /// Waits until `position` is applied: column `DONE` is 0 where it is, else it was not within `patience`.
    fn wait_applied(&self, position: &Gtids, patience: Duration) -> Statement;
    /// Forgets the source, so that a restart cannot follow it.
    fn forget(&self) -> Vec<Statement>;
    /// Follows `source` from `position` on, which is all that this server has. Both threads stand.
    fn follow(&self, source: &Source, position: &Gtids) -> Vec<Statement>;
    /// Asks for the end of the binary log: answered only by a server whose binary log takes writes.
    fn log_end(&self) -> Statement;
    /// Asks how many sessions wait for a replica's word: column `Value`; no row where semi-synchronous replication is unknown.
    fn waiting_for_replicas(&self) -> Statement;
    /// Lists who waits for a replica's word, and the replicas that are sent the log: columns `ID`, `HOST`, `STATE`, `TIME_MS`.
    /// `None`: this server never leaves anybody waiting for a word that was said.
    fn waiting(&self) -> Option<Statement>;
    /// Switches semi-synchronous replication, as a source and as a replica; `patience` before it falls back.
    fn semi_sync(&self, source: bool, replica: bool, patience: Duration) -> Vec<Statement>;

    /// Makes the heartbeat's place: only where this server is the master. Once more does no harm.
    ///
    /// A heartbeat that is not `logged` has a place of its own: a row that replicas lack must never be changed in a way
    /// that is.
    fn heartbeat_table(&self, logged: bool) -> Vec<Statement> {
        let place = place(logged);
        vec![
            Statement::new(format!("CREATE DATABASE IF NOT EXISTS {place}")),
            Statement::new(format!(
                "CREATE TABLE IF NOT EXISTS {place}.heartbeat (\
                 product VARCHAR(63) CHARACTER SET ascii NOT NULL PRIMARY KEY, \
                 epoch BIGINT UNSIGNED NOT NULL, seq BIGINT UNSIGNED NOT NULL, \
                 written TIMESTAMP(6) NOT NULL) ENGINE=InnoDB"
            )),
        ]
    }
    /// Writes a heartbeat, if the server accepts writes: two rows changed, or one the first time; none where it does not.
    ///
    /// The condition stands in the statement because our account may write where others may not, and a heartbeat on a
    /// replica would be a transaction that its master lacks.
    fn heartbeat(&self, product: &str, epoch: u64, seq: u64, logged: bool) -> Statement {
        Statement::new(format!(
            "INSERT INTO {}.heartbeat (product, epoch, seq, written) \
             SELECT '{}', {epoch}, {seq}, NOW(6) FROM DUAL WHERE @@global.read_only = 0 \
             ON DUPLICATE KEY UPDATE epoch = VALUES(epoch), seq = VALUES(seq), written = VALUES(written)",
            place(logged),
            quoted(product)
        ))
    }
    /// What a session that writes heartbeats is told first: `logged` for a heartbeat that replicates.
    fn heartbeat_setup(&self, logged: bool) -> Vec<String>;
}

/// The database of heartbeats.
fn place(logged: bool) -> &'static str {
    if logged { "agentd" } else { "agentd_local" }
}

/// Text inside single quotes, for either flavour in any of its modes: what a backslash means depends on the mode, so
/// none is let through, and neither is what no name, address or path has.
pub(super) fn quoted(text: &str) -> String {
    text.chars()
        .filter(|&c| c != '\\' && !c.is_control())
        .flat_map(|c| if c == '\'' { vec!['\'', '\''] } else { vec![c] })
        .collect()
}

/// A password inside single quotes. With a backslash it is refused earlier: see [`speakable`].
pub(super) fn speakable(account: &Account) -> bool {
    let plain = |text: &str| text.chars().all(|c| c != '\\' && !c.is_control());
    plain(&account.user) && plain(account.password.reveal())
}

/// Whole seconds, at least one: statements know no others.
pub(super) fn secs(patience: Duration) -> u64 {
    patience.as_secs().max(1)
}
