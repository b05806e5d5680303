//! `MariaDB` 10.6 and later.

use std::time::Duration;

use super::super::gtid::{Flavour, Gtids};
use super::dialect::{Dialect, ObservationRows, Source, Unreadable, quoted, secs};
use super::observation::{Observation, Replication, SemiSync, Thread, ThreadState};
use super::session::{Row, Statement};

/// `MariaDB`'s way of speaking.
#[derive(Debug, Clone, Copy)]
pub struct MariaDb;

const FACTS: &str = "SELECT VERSION() AS version, @@global.server_id AS server_id, \
    @@global.read_only AS read_only, @@global.gtid_slave_pos AS slave_pos, \
    @@global.gtid_binlog_pos AS binlog_pos, @@global.gtid_binlog_state AS binlog_state, \
    @@global.gtid_strict_mode AS strict, @@global.max_connections AS max_connections, \
    @@global.pid_file AS pid_file, \
    @@global.rpl_semi_sync_master_enabled AS semi_source, \
    @@global.rpl_semi_sync_slave_enabled AS semi_replica, \
    @@global.rpl_semi_sync_master_wait_point AS semi_point";

const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime', 'Threads_connected', \
    'Rpl_semi_sync_master_status', 'Rpl_semi_sync_master_clients')";

fn gtids(text: &str) -> Result<Gtids, Unreadable> {
    Ok(Gtids::parse(Flavour::MariaDb, text)?)
}

fn thread(row: &Row, running: &'static str, code: &str, text: &str) -> Result<Thread, Unreadable> {
    let state = ThreadState::parse(row.get(running)).ok_or(Unreadable::Column(running))?;
    let error = row
        .number(code)
        .filter(|&code: &u16| code != 0)
        .map(|code| (code, row.get(text).unwrap_or_default().to_owned()));
    Ok(Thread { state, error })
}

impl Dialect for MariaDb {
    fn flavour(&self) -> Flavour {
        Flavour::MariaDb
    }

    fn facts(&self) -> Statement {
        Statement::new(FACTS)
    }

    fn status(&self) -> Statement {
        Statement::new(STATUS)
    }

    fn replication(&self) -> Statement {
        Statement::new("SHOW SLAVE STATUS")
    }

    fn observation(&self, answers: &ObservationRows) -> Result<Observation, Unreadable> {
        let (facts, status) = (&answers.facts, &answers.status);
        let text = |column| facts.get(column).ok_or(Unreadable::Column(column));
        let switch = |column| facts.switch(column).ok_or(Unreadable::Column(column));
        let slave = gtids(text("slave_pos")?)?;
        let written = gtids(text("binlog_pos")?)?.union(&gtids(text("binlog_state")?)?);
        let server_id = facts
            .number("server_id")
            .ok_or(Unreadable::Column("server_id"))?;
        Ok(Observation {
            flavour: Flavour::MariaDb,
            version: text("version")?.to_owned(),
            server_id,
            uptime_secs: status
                .number("Uptime")
                .ok_or(Unreadable::Column("Uptime"))?,
            read_only: switch("read_only")?,
            // What it applies is written here too, an instant before `gtid_slave_pos` says so; that is not moved by what
            // it writes itself.
            local_writes: gtids(text("binlog_pos")?)?
                .written_by(server_id)
                .minus(&slave),
            executed: written.union(&slave),
            replication: answers
                .replication
                .as_ref()
                .map(|row| self.read_replication(row))
                .transpose()?,
            semi_sync: SemiSync {
                source_enabled: switch("semi_source")?,
                source_active: status
                    .switch("Rpl_semi_sync_master_status")
                    .unwrap_or(false),
                replicas: status.number("Rpl_semi_sync_master_clients").unwrap_or(0),
                replica_enabled: switch("semi_replica")?,
                after_sync: text("semi_point")? == "AFTER_SYNC",
            },
            clients: status.number("Threads_connected").unwrap_or(0),
            max_connections: facts.number("max_connections").unwrap_or(0),
            pid_file: facts.get("pid_file").map(Into::into),
            strict: switch("strict")?,
        })
    }

    fn read_replication(&self, row: &Row) -> Result<Replication, Unreadable> {
        let received = row.get("Gtid_IO_Pos").map(gtids).transpose()?;
        Ok(Replication {
            host: row
                .get("Master_Host")
                .ok_or(Unreadable::Column("Master_Host"))?
                .to_owned(),
            port: row
                .number("Master_Port")
                .ok_or(Unreadable::Column("Master_Port"))?,
            io: thread(row, "Slave_IO_Running", "Last_IO_Errno", "Last_IO_Error")?,
            sql: thread(row, "Slave_SQL_Running", "Last_SQL_Errno", "Last_SQL_Error")?,
            lag_secs: row.number("Seconds_Behind_Master"),
            received: received.filter(|received| !received.is_empty()),
            by_gtid: row.get("Using_Gtid").is_some_and(|using| using != "No"),
            encrypted: row.switch("Master_SSL_Allowed").unwrap_or(false),
            user: row.get("Master_User").unwrap_or_default().to_owned(),
        })
    }

    fn close(&self) -> Statement {
        Statement::new("SET GLOBAL read_only = 1")
    }

    fn open(&self) -> Statement {
        Statement::new("SET GLOBAL read_only = 0")
    }

    fn kill(&self, id: u64) -> Statement {
        Statement::new(format!("KILL HARD CONNECTION {id}"))
    }

    fn free_ended(&self) -> Option<Statement> {
        None
    }

    fn log_end(&self) -> Statement {
        Statement::new("SHOW BINLOG STATUS")
    }

    fn waiting_for_replicas(&self) -> Statement {
        Statement::new("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'")
    }

    fn waiting(&self) -> Option<Statement> {
        Some(Statement::new(
            "SELECT ID, HOST, STATE, TIME_MS FROM information_schema.PROCESSLIST \
             WHERE STATE LIKE 'Waiting for semi-sync ACK%' OR COMMAND LIKE 'Binlog Dump%'",
        ))
    }

    fn stop_receiving(&self) -> Statement {
        Statement::new("STOP SLAVE IO_THREAD")
    }

    fn start_receiving(&self) -> Statement {
        Statement::new("START SLAVE IO_THREAD")
    }

    fn stop(&self) -> Statement {
        Statement::new("STOP SLAVE")
    }

    fn start(&self) -> Statement {
        Statement::new("START SLAVE")
    }

    fn start_applying(&self) -> Statement {
        Statement::new("START SLAVE SQL_THREAD")
    }

    fn wait_applied(&self, position: &Gtids, patience: Duration) -> Statement {
        Statement::new(format!(
            "SELECT MASTER_GTID_WAIT('{}', {}) AS DONE",
            position.tip(),
            secs(patience)
        ))
    }

    fn forget(&self) -> Vec<Statement> {
        vec![
            Statement::new("STOP SLAVE"),
            Statement::new("RESET SLAVE ALL"),
        ]
    }

    fn follow(&self, source: &Source, position: &Gtids) -> Vec<Statement> {
        let change = |password: &str| {
            let tls = match &source.tls {
                Some(tls) => format!(
                    "MASTER_SSL = 1, MASTER_SSL_CA = '{}', MASTER_SSL_VERIFY_SERVER_CERT = 0",
                    quoted(&tls.ca.display().to_string())
                ),
                None => "MASTER_SSL = 0".to_owned(),
            };
            format!(
                "CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {}, MASTER_USER = '{}', \
                 MASTER_PASSWORD = '{password}', MASTER_USE_GTID = slave_pos, \
                 MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1, {tls}",
                source.address.ip(),
                source.address.port(),
                quoted(&source.account.user),
            )
        };
        vec![
            // A silent source is noticed after so many seconds, and asked anew.
            Statement::new("SET GLOBAL slave_net_timeout = 4"),
            // What it wrote itself while it was master counts as received, or it would ask for it again.
            Statement::new(format!("SET GLOBAL gtid_slave_pos = '{}'", position.tip())),
            Statement::secret(
                change(&quoted(source.account.password.reveal())),
                change("…"),
            ),
            self.start(),
        ]
    }

    fn semi_sync(&self, source: bool, replica: bool, patience: Duration) -> Vec<Statement> {
        vec![
            Statement::new("SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC"),
            Statement::new(format!(
                "SET GLOBAL rpl_semi_sync_master_timeout = {}",
                patience.as_millis()
            )),
            // A replica that gives its word and stops receiving looks for its source first, to end its connection there too: two
            // seconds where that one is dead, if nobody says less. 0 is for ever.
            Statement::new("SET GLOBAL rpl_semi_sync_slave_kill_conn_timeout = 1"),
            Statement::new(format!(
                "SET GLOBAL rpl_semi_sync_slave_enabled = {}",
                u8::from(replica)
            )),
            Statement::new(format!(
                "SET GLOBAL rpl_semi_sync_master_enabled = {}",
                u8::from(source)
            )),
        ]
    }

    fn heartbeat_setup(&self, logged: bool) -> Vec<String> {
        vec![
            // As a row: a statement that depends on a variable would not replicate as it was meant.
            "SET SESSION binlog_format = ROW".to_owned(),
            format!("SET SESSION sql_log_bin = {}", u8::from(logged)),
            // At once: that somebody holds a lock must be told from a disk that hangs.
            "SET SESSION lock_wait_timeout = 0, SESSION innodb_lock_wait_timeout = 1".to_owned(),
        ]
    }
}
