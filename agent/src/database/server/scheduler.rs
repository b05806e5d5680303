//! The server's own timetable, its EVENTs: run by the master, and by nobody else.
//!
//! What was measured with `MariaDB` 10.11: a replica marks each event that it receives `SLAVESIDE_DISABLED`, also those
//! that are disabled on the master, and promotion changes nothing of that; so the new master would run none, and could not
//! even tell which ones the old one ran. An old master that becomes a replica goes on running its own, past `read_only` if
//! whoever defined them may write there: transactions that its master lacks. So the master keeps a list of those that run
//! in a replicated table; a new master enables those; whoever is no master any more disables its own.
//!
//! Nothing of it is done to `MySQL` servers.

use std::time::Duration;

use super::super::gtid::Flavour;
use super::dialect::quoted;
use super::dump::ticked;
use super::error::ServerError;
use super::instance::Server;
use super::session::{Row, Statement};

/// The list. A row each, so that only what changes is logged.
const TABLE: [&str; 2] = [
    "CREATE DATABASE IF NOT EXISTS agentd",
    "CREATE TABLE IF NOT EXISTS agentd.events (db VARCHAR(64) NOT NULL, name VARCHAR(64) NOT NULL, \
     PRIMARY KEY (db, name)) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE=InnoDB",
];

/// Only on a server that accepts writes: elsewhere it would be a transaction that its master lacks.
const NOTE: [&str; 2] = [
    "INSERT IGNORE INTO agentd.events (db, name) \
     SELECT db, name FROM mysql.event WHERE status = 'ENABLED' AND @@global.read_only = 0",
    "DELETE FROM agentd.events WHERE @@global.read_only = 0 AND NOT EXISTS (SELECT 1 FROM mysql.event it \
     WHERE it.db = events.db AND it.name = events.name AND it.status = 'ENABLED')",
];

impl Server {
    /// Notes, on the master, which events run, for whoever comes after it. Nothing is written where nothing changed, nor
    /// where nobody ever made an event.
    pub async fn note_events(&self, deadline: Duration) -> Result<(), ServerError> {
        let dialect = self.dialect(deadline).await?;
        if dialect.flavour() != Flavour::MariaDb {
            return Ok(());
        }
        let events = self.events(dialect);
        let any = Statement::new("SELECT COUNT(*) AS n FROM mysql.event");
        let rows = self.observer().ask(&any, deadline).await?;
        if rows.first().and_then(|row| row.number("n")) == Some(0_u64) {
            // A list that there may be is emptied when the next one is made.
            return Ok(());
        }
        for statement in NOTE {
            match events.tell(&Statement::new(statement), deadline).await {
                Err(ServerError::Said {
                    code: 1146 | 1049, ..
                }) if self.writable(deadline).await? => {
                    for make in TABLE {
                        events.tell(&Statement::new(make), deadline).await?;
                    }
                    events.tell(&Statement::new(statement), deadline).await?;
                }
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Enables, on a new master, the events that ran on the one before. How many.
    pub async fn enable_events(&self, deadline: Duration) -> Result<usize, ServerError> {
        let noted = Statement::new(
            "SELECT it.db, it.name, it.definer FROM mysql.event it JOIN agentd.events noted \
             ON noted.db = it.db AND noted.name = it.name WHERE it.status = 'SLAVESIDE_DISABLED'",
        );
        self.switch_events(&noted, "ENABLE", deadline).await
    }

    /// Disables the events that run here, until this server is a master again. How many.
    pub async fn disable_events(&self, deadline: Duration) -> Result<usize, ServerError> {
        let running =
            Statement::new("SELECT db, name, definer FROM mysql.event WHERE status = 'ENABLED'");
        self.switch_events(&running, "DISABLE ON SLAVE", deadline)
            .await
    }

    async fn switch_events(
        &self,
        which: &Statement,
        to: &str,
        deadline: Duration,
    ) -> Result<usize, ServerError> {
        if self.dialect(deadline).await?.flavour() != Flavour::MariaDb {
            return Ok(0);
        }
        let rows = match self.observer().ask(which, deadline).await {
            // No master has noted any.
            Err(ServerError::Said {
                code: 1146 | 1049, ..
            }) => return Ok(0),
            other => other?,
        };
        let mut done = 0;
        let mut failed = None;
        for statement in rows.iter().filter_map(|row| switch(row, to)) {
            // Each by itself: one whose day is over cannot be enabled.
            match self.own().tell(&statement, deadline).await {
                Ok(_) => done += 1,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(done), Err)
    }
}

/// Whoever alters an event becomes its definer, unless the statement names another.
fn switch(row: &Row, to: &str) -> Option<Statement> {
    let (db, name, definer) = (row.get("db")?, row.get("name")?, row.get("definer")?);
    let (user, host) = definer.rsplit_once('@')?;
    Some(Statement::new(format!(
        "ALTER DEFINER = '{}'@'{}' EVENT {}.{} {to}",
        quoted(user),
        quoted(host),
        ticked(db),
        ticked(name)
    )))
}
