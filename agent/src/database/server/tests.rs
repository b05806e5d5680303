//! What the dialects say, and how they read what servers say. The tests on real servers stand in the tests' crate.

use std::time::Duration;

use insta::assert_snapshot;

use super::super::gtid::{Flavour, Gtids};
use super::credentials::{Account, Secret, Tls};
use super::*;

fn source(tls: bool) -> Source {
    Source {
        address: "10.77.0.31:3306".parse().unwrap(),
        account: Account {
            user: "agentd".to_owned(),
            password: Secret::new("it's hush"),
        },
        tls: tls.then(|| Tls {
            ca: "/etc/agentd/ca.pem".into(),
        }),
    }
}

/// All statements of a dialect, as people see them.
fn statements(dialect: &dyn Dialect, position: &str) -> String {
    let position = Gtids::parse(dialect.flavour(), position).unwrap();
    let second = Duration::from_secs(1);
    let mut all = vec![
        dialect.facts(),
        dialect.status(),
        dialect.replication(),
        dialect.close(),
        dialect.open(),
        dialect.clients(),
        dialect.kill(7),
        dialect.stop_receiving(),
        dialect.stop(),
        dialect.start(),
        dialect.start_applying(),
        dialect.start_receiving(),
        dialect.log_end(),
        dialect.waiting_for_replicas(),
        dialect.wait_applied(&position, second),
    ];
    all.extend(dialect.free_ended());
    all.extend(dialect.waiting());
    all.extend(dialect.forget());
    all.extend(dialect.follow(&source(false), &position));
    all.extend(dialect.follow(&source(true), &position));
    all.extend(dialect.semi_sync(true, false, second));
    all.extend(dialect.heartbeat_table(true));
    all.push(dialect.heartbeat("shop", 3, 41, true));
    all.push(dialect.heartbeat("shop", 3, 41, false));
    let lines = all.iter().map(|statement| format!("{statement};\n"));
    lines
        .chain(
            dialect
                .heartbeat_setup(true)
                .iter()
                .map(|sql| format!("{sql};\n")),
        )
        .collect()
}

#[test]
fn what_mariadb_is_told() {
    let said = statements(&MariaDb, "0-1-5,0-2-9");
    assert!(!said.contains("hush"), "a secret is shown");
    assert_snapshot!(said);
}

#[test]
fn what_mysql_is_told() {
    let said = statements(&MySql, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5");
    assert!(!said.contains("hush"), "a secret is shown");
    assert_snapshot!(said);
}

#[test]
fn a_secret_reaches_the_server_and_nobody_else() {
    for dialect in [&MariaDb as &dyn Dialect, &MySql] {
        let follow = dialect.follow(&source(false), &Gtids::none(dialect.flavour()));
        let sent: String = follow.iter().map(Statement::sql).collect();
        // As the server reads it.
        assert!(sent.contains("= 'it''s hush'"), "{}", dialect.flavour());
        assert!(!format!("{follow:?}").contains("hush"));
        assert!(!format!("{:?}", source(false)).contains("hush"));
    }
}

/// `SHOW REPLICA STATUS` of MySQL 8.4, as its manual has it, less what is not read.
const REPLICA: &str = "Replica_IO_State: Waiting for source to send event
Source_Host: 10.77.0.31
Source_User: agentd
Source_Port: 3306
Connect_Retry: 1
Replica_IO_Running: Yes
Replica_SQL_Running: No
Last_IO_Errno: 0
Last_IO_Error:
Last_SQL_Errno: 1062
Last_SQL_Error: Could not execute Write_rows event on table shop.orders; Duplicate entry
Seconds_Behind_Source: NULL
Source_SSL_Allowed: Yes
Retrieved_Gtid_Set: 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7
Executed_Gtid_Set: 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5
Auto_Position: 1";

fn row(text: &str) -> Row {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(_, value)| *value != "NULL")
        .collect()
}

/// A server with five transactions of another's and these.
fn mysql_with(own: &str, replica: Option<&str>) -> Observation {
    let facts = row(&format!(
        "version: 8.4.3
server_id: 172818464
uuid: 84415efb-59ff-4a47-9d60-b3174105a93c
read_only: 1
executed: 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,{own}
gtid_mode: ON
consistency: ON
max_connections: 151"
    ));
    let status = row("Uptime: 77
Threads_connected: 4
Rpl_semi_sync_replica_status: ON
rpl_semi_sync_replica_enabled: ON
rpl_semi_sync_source_enabled: OFF
rpl_semi_sync_source_wait_point: AFTER_SYNC");
    let answers = ObservationRows {
        facts,
        status,
        replication: replica.map(row),
    };
    MySql.observation(&answers).unwrap()
}

#[test]
fn what_mysql_says_reads() {
    let seen = mysql_with("84415efb-59ff-4a47-9d60-b3174105a93c:1", Some(REPLICA));
    insta::assert_debug_snapshot!(seen);
}

#[test]
fn what_a_master_wrote_does_not_count_against_the_replica_that_it_becomes() {
    let place = Place {
        target: Target::Tcp("10.77.0.31:3306".parse().unwrap()),
        account: source(false).account,
        tls: None,
    };
    let server = Server::new(&place, "agentd");
    let wrote = |to: u32, replica: Option<&str>| {
        let own = format!("84415efb-59ff-4a47-9d60-b3174105a93c:1-{to}");
        let seen = server.since_it_follows(mysql_with(&own, replica));
        match seen.local_writes {
            Gtids::MySql(sets) => sets.count(),
            Gtids::MariaDb(_) => 0,
        }
    };
    assert_eq!(wrote(3, None), 3);
    assert_eq!(wrote(4, Some(REPLICA)), 0);
    assert_eq!(wrote(5, Some(REPLICA)), 1);
    // What it had lost in a crash, and is brought again by those who have it.
    let back = REPLICA.replace(
        "Retrieved_Gtid_Set: ",
        "Retrieved_Gtid_Set: 84415efb-59ff-4a47-9d60-b3174105a93c:6-7,",
    );
    assert_eq!(wrote(7, Some(&back)), 1);
    assert_eq!(wrote(7, None), 7);
    assert_eq!(wrote(7, Some(REPLICA)), 0);
}

#[test]
fn an_answer_that_lacks_something_is_an_error_and_no_guess() {
    let error = MariaDb
        .observation(&ObservationRows::default())
        .unwrap_err();
    assert!(error.to_string().contains("slave_pos"), "{error}");
    let text = REPLICA.replace("Replica_SQL_Running: No", "Replica_SQL_Running: Perhaps");
    let error = MySql.read_replication(&row(&text)).unwrap_err();
    assert_eq!(error, Unreadable::Column("Replica_SQL_Running"));
}

#[test]
fn accounts_that_statements_cannot_say_are_refused() {
    let mut account = source(false).account;
    assert!(dialect::speakable(&account));
    account.password = Secret::new("back\\slash");
    assert!(!dialect::speakable(&account));
    assert_eq!(dialect::quoted("a'b\\c\nd"), "a''bcd");
}

#[test]
fn errors_tell_death_from_fullness() {
    let place = "the database".to_owned();
    let full = ServerError::Full {
        place: place.clone(),
        code: 1040,
    };
    let gone = ServerError::NoProcess {
        place,
        cause: "refused".to_owned(),
    };
    assert!(full.alive() && !gone.alive());
    assert_eq!(full.code(), Some(1040));
    assert_eq!(Flavour::MySql.to_string(), "MySQL");
}
