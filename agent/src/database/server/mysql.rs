//! `MySQL` 8.0, 8.4 and 9: one set of statements that all of them know.
//!
//! `tests/run-mysql` runs them on real servers, single ones and chains of them; `tests/run`, which has none, compares them
//! with goldens. No agent has had such a server in its care yet.

use std::time::Duration;

use super::super::gtid::{Flavour, Gtids};
use super::dialect::{Dialect, ObservationRows, Source, Unreadable, quoted, secs};
use super::observation::{Observation, Replication, SemiSync, Thread, ThreadState};
use super::session::{Row, Statement};

/// `MySQL`'s way of speaking.
#[derive(Debug, Clone, Copy)]
pub struct MySql;

const FACTS: &str = "SELECT VERSION() AS version, @@global.server_id AS server_id, \
    @@global.server_uuid AS uuid, @@global.read_only AS read_only, \
    @@global.gtid_executed AS executed, @@global.gtid_mode AS gtid_mode, \
    @@global.enforce_gtid_consistency AS consistency, \
    @@global.max_connections AS max_connections, @@global.pid_file AS pid_file";

/// The variables of semi-synchronous replication exist only where its plugins are loaded, and have other names from 8.0.26
/// on: they are asked for among the counters and variables of `performance_schema`, where a missing one is no error. Without
/// a backslash in the patterns: it means nothing in some modes, and nothing would be found.
const STATUS: &str = "SELECT VARIABLE_NAME AS Variable_name, VARIABLE_VALUE AS Value \
    FROM performance_schema.global_status WHERE VARIABLE_NAME IN ('Uptime', 'Threads_connected') \
    OR VARIABLE_NAME LIKE 'Rpl_semi_sync_%' UNION ALL \
    SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_variables \
    WHERE VARIABLE_NAME LIKE 'rpl_semi_sync_%'";

fn gtids(text: &str) -> Result<Gtids, Unreadable> {
    Ok(Gtids::parse(Flavour::MySql, text)?)
}

fn thread(row: &Row, running: &'static str, code: &str, text: &str) -> Result<Thread, Unreadable> {
    let state = ThreadState::parse(row.get(running)).ok_or(Unreadable::Column(running))?;
    let error = row
        .number(code)
        .filter(|&code: &u16| code != 0)
        .map(|code| (code, row.get(text).unwrap_or_default().to_owned()));
    Ok(Thread { state, error })
}

impl Dialect for MySql {
    fn flavour(&self) -> Flavour {
        Flavour::MySql
    }

    fn facts(&self) -> Statement {
        Statement::new(FACTS)
    }

    fn status(&self) -> Statement {
        Statement::new(STATUS)
    }

    fn replication(&self) -> Statement {
        Statement::new("SHOW REPLICA STATUS")
    }

    fn observation(&self, answers: &ObservationRows) -> Result<Observation, Unreadable> {
        let (facts, status) = (&answers.facts, &answers.status);
        let text = |column| facts.get(column).ok_or(Unreadable::Column(column));
        let executed = gtids(text("executed")?)?;
        let replication = answers
            .replication
            .as_ref()
            .map(|row| self.read_replication(row))
            .transpose()?;
        let semi = |new: &str, old: &str| {
            status
                .switch(new)
                .or_else(|| status.switch(old))
                .unwrap_or(false)
        };
        let own = gtids(&format!("{}:1-{}", text("uuid")?, (1_u64 << 63) - 2))?;
        // Those that it numbered itself. A former master has old ones, which its peers have as well.
        let local_writes = executed.minus(&executed.minus(&own));
        Ok(Observation {
            flavour: Flavour::MySql,
            version: text("version")?.to_owned(),
            server_id: facts
                .number("server_id")
                .ok_or(Unreadable::Column("server_id"))?,
            uptime_secs: status
                .number("Uptime")
                .ok_or(Unreadable::Column("Uptime"))?,
            read_only: facts
                .switch("read_only")
                .ok_or(Unreadable::Column("read_only"))?,
            executed,
            local_writes,
            replication,
            semi_sync: SemiSync {
                source_enabled: semi(
                    "rpl_semi_sync_source_enabled",
                    "rpl_semi_sync_master_enabled",
                ),
                source_active: semi("Rpl_semi_sync_source_status", "Rpl_semi_sync_master_status"),
                replicas: status
                    .number("Rpl_semi_sync_source_clients")
                    .or_else(|| status.number("Rpl_semi_sync_master_clients"))
                    .unwrap_or(0),
                replica_enabled: semi(
                    "rpl_semi_sync_replica_enabled",
                    "rpl_semi_sync_slave_enabled",
                ),
                after_sync: status.any(&[
                    "rpl_semi_sync_source_wait_point",
                    "rpl_semi_sync_master_wait_point",
                ]) == Some("AFTER_SYNC"),
            },
            clients: status.number("Threads_connected").unwrap_or(0),
            max_connections: facts.number("max_connections").unwrap_or(0),
            pid_file: facts.get("pid_file").map(Into::into),
            strict: text("gtid_mode")? == "ON" && text("consistency")? == "ON",
        })
    }

    fn read_replication(&self, row: &Row) -> Result<Replication, Unreadable> {
        let received = row.get("Retrieved_Gtid_Set").map(gtids).transpose()?;
        Ok(Replication {
            host: row
                .get("Source_Host")
                .ok_or(Unreadable::Column("Source_Host"))?
                .to_owned(),
            port: row
                .number("Source_Port")
                .ok_or(Unreadable::Column("Source_Port"))?,
            io: thread(row, "Replica_IO_Running", "Last_IO_Errno", "Last_IO_Error")?,
            sql: thread(
                row,
                "Replica_SQL_Running",
                "Last_SQL_Errno",
                "Last_SQL_Error",
            )?,
            lag_secs: row.number("Seconds_Behind_Source"),
            received: received.filter(|received| !received.is_empty()),
            by_gtid: row.switch("Auto_Position").unwrap_or(false),
            encrypted: row.switch("Source_SSL_Allowed").unwrap_or(false),
            user: row.get("Source_User").unwrap_or_default().to_owned(),
        })
    }

    fn close(&self) -> Statement {
        // Accounts with SUPER included. It takes read_only with it.
        Statement::new("SET GLOBAL super_read_only = ON")
    }

    fn open(&self) -> Statement {
        // It takes super_read_only with it.
        Statement::new("SET GLOBAL read_only = OFF")
    }

    fn kill(&self, id: u64) -> Statement {
        Statement::new(format!("KILL CONNECTION {id}"))
    }

    fn free_ended(&self) -> Option<Statement> {
        // KILL closes the connection, and the session goes on waiting, with a lock that closing the server needs. Whoever
        // makes it a master again switches it on before.
        Some(Statement::new(
            "SET GLOBAL rpl_semi_sync_source_enabled = OFF",
        ))
    }

    fn log_end(&self) -> Statement {
        // The same lock, under a name that 8.0 and 8.4 have in common.
        Statement::new("SELECT LOCAL FROM performance_schema.log_status")
    }

    fn waiting_for_replicas(&self) -> Statement {
        // Of the `source` plugin or of the `master` plugin: either may be loaded.
        Statement::new(
            "SELECT VARIABLE_VALUE AS Value FROM performance_schema.global_status \
             WHERE VARIABLE_NAME LIKE 'Rpl_semi_sync_%_wait_sessions'",
        )
    }

    fn waiting(&self) -> Option<Statement> {
        // A replica that connects says what it has, and writers who wait for its word on that go on: see
        // `a_word_that_was_lost_holds_no_writer_for_ever` in tests/tests/database_mysql.rs.
        None
    }

    fn stop_receiving(&self) -> Statement {
        Statement::new("STOP REPLICA IO_THREAD")
    }

    fn start_receiving(&self) -> Statement {
        Statement::new("START REPLICA IO_THREAD")
    }

    fn stop(&self) -> Statement {
        Statement::new("STOP REPLICA")
    }

    fn start(&self) -> Statement {
        Statement::new("START REPLICA")
    }

    fn start_applying(&self) -> Statement {
        Statement::new("START REPLICA SQL_THREAD")
    }

    fn wait_applied(&self, position: &Gtids, patience: Duration) -> Statement {
        Statement::new(format!(
            "SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {}) AS DONE",
            secs(patience)
        ))
    }

    fn forget(&self) -> Vec<Statement> {
        vec![
            Statement::new("STOP REPLICA"),
            Statement::new("RESET REPLICA ALL"),
        ]
    }

    fn follow(&self, source: &Source, _: &Gtids) -> Vec<Statement> {
        let change = |password: &str| {
            let tls = match &source.tls {
                Some(tls) => format!(
                    "SOURCE_SSL = 1, SOURCE_SSL_CA = '{}'",
                    quoted(&tls.ca.display().to_string())
                ),
                // Without encryption the default plugin, caching_sha2_password, sends its password under this key only.
                None => "SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1".to_owned(),
            };
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{}', SOURCE_PORT = {}, \
                 SOURCE_USER = '{}', SOURCE_PASSWORD = '{password}', SOURCE_AUTO_POSITION = 1, \
                 SOURCE_CONNECT_RETRY = 1, SOURCE_HEARTBEAT_PERIOD = 1, {tls}",
                source.address.ip(),
                source.address.port(),
                quoted(&source.account.user),
            )
        };
        vec![
            Statement::new("SET GLOBAL replica_net_timeout = 4"),
            Statement::secret(
                change(&quoted(source.account.password.reveal())),
                change("…"),
            ),
            self.start(),
        ]
    }

    fn semi_sync(&self, source: bool, replica: bool, patience: Duration) -> Vec<Statement> {
        let switch = |on: bool| if on { "ON" } else { "OFF" };
        vec![
            Statement::new("SET GLOBAL rpl_semi_sync_source_wait_point = AFTER_SYNC"),
            Statement::new(format!(
                "SET GLOBAL rpl_semi_sync_source_timeout = {}",
                patience.as_millis()
            )),
            Statement::new(format!(
                "SET GLOBAL rpl_semi_sync_replica_enabled = {}",
                switch(replica)
            )),
            Statement::new(format!(
                "SET GLOBAL rpl_semi_sync_source_enabled = {}",
                switch(source)
            )),
        ]
    }

    fn heartbeat_setup(&self, logged: bool) -> Vec<String> {
        vec![
            format!("SET SESSION sql_log_bin = {}", u8::from(logged)),
            "SET SESSION lock_wait_timeout = 1, SESSION innodb_lock_wait_timeout = 1".to_owned(),
        ]
    }
}
