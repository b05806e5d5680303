//! Promise: a server that replication alone cannot bring back is made anew from the master, all of it or visibly not, and
//! events of the server's scheduler run on the master and nowhere else. On real `MariaDB` servers of the host's package.

#![cfg(test)]

use std::time::Duration;

use node_agent::database::server::{Progress, ReseedError, Statement};
use node_agent_tests::database::{Alone, chain};

const SOON: Duration = Duration::from_secs(10);

async fn settled(master: &Alone, replica: &Alone) {
    let goal = master.local().position(SOON).await.unwrap();
    replica.local().wait_has(&goal, SOON).await.unwrap();
}

/// Everything that must be equal: rows, definitions, accounts. Not the states of events.
async fn content(server: &Alone) -> Vec<String> {
    let mut all = Vec::new();
    for question in [
        "SELECT CONCAT(id, HEX(note)) AS x FROM shop.orders ORDER BY id",
        "SELECT HEX(bytes) AS x FROM `odd``name`.b",
        "SELECT CONCAT(ROUTINE_NAME, DEFINER, HEX(ROUTINE_DEFINITION)) AS x FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA = 'shop' ORDER BY 1",
        "SELECT CONCAT(TRIGGER_NAME, DEFINER, ACTION_STATEMENT) AS x FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = 'shop'",
        "SELECT CONCAT(TABLE_NAME, DEFINER, VIEW_DEFINITION) AS x FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'shop'",
        "SELECT CONCAT(EVENT_NAME, DEFINER, TIME_ZONE, SQL_MODE, STARTS, EVENT_DEFINITION, CHARACTER_SET_CLIENT) AS x \
         FROM information_schema.EVENTS ORDER BY 1",
        "SELECT CONCAT(User, '@', Host, is_role, default_role, authentication_string) AS x FROM mysql.user ORDER BY 1",
        "SELECT CONCAT(Host, User, Role, Admin_option) AS x FROM mysql.roles_mapping WHERE User <> 'root' ORDER BY 1",
        "SELECT CONCAT(GRANTEE, PRIVILEGE_TYPE, TABLE_SCHEMA) AS x FROM information_schema.SCHEMA_PRIVILEGES ORDER BY 1",
    ] {
        let rows = server.sql(&[question]).await.unwrap();
        all.extend(rows.iter().map(|row| format!("{row:?}")));
        all.push(format!("{} rows", rows.len()));
    }
    all
}

const WORLD: [&str; 15] = [
    "INSERT INTO shop.orders VALUES (1, 'one'), (2, 'zw\u{00f6}lf')",
    "CREATE DATABASE `odd``name`",
    "CREATE TABLE `odd``name`.b (bytes VARBINARY(20)) ENGINE=InnoDB",
    "INSERT INTO `odd``name`.b VALUES (X'000A0D5C27FF1A')",
    "CREATE TABLE shop.lines (o BIGINT UNSIGNED, FOREIGN KEY (o) REFERENCES shop.orders (id)) ENGINE=InnoDB",
    "INSERT INTO shop.lines VALUES (1)",
    "CREATE ROLE clerk",
    "GRANT SELECT ON shop.* TO clerk",
    "CREATE USER late@'10.%' IDENTIFIED BY 'hush'",
    "GRANT clerk TO late@'10.%'",
    "SET DEFAULT ROLE clerk FOR late@'10.%'",
    "CREATE DEFINER = app@'%' TRIGGER shop.t BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.note = NEW.note",
    "CREATE VIEW shop.v AS SELECT id FROM shop.orders",
    "CREATE PROCEDURE shop.p()\r\nBEGIN\r\n SELECT 1;\r\nEND",
    "CREATE DEFINER = app@'%' EVENT shop.hourly ON SCHEDULE EVERY 1 HOUR DO SELECT 1",
];

#[tokio::test]
async fn an_errant_server_is_made_anew_with_everything_that_the_master_has() {
    let chain = chain(2).await.unwrap();
    let (master, old) = (&chain[0], &chain[1]);
    for statement in WORLD {
        master.sql(&[statement]).await.unwrap();
    }
    settled(master, old).await;
    // What it has and the master lacks: rows, a database, an account.
    old.sql(&[
        "INSERT INTO shop.orders VALUES (100, 'errant')",
        "CREATE DATABASE errant",
        "CREATE USER errant@'%' IDENTIFIED BY 'x'",
    ])
    .await
    .unwrap();
    old.sql(&["SET GLOBAL event_scheduler = 1"]).await.unwrap();
    let refused = old
        .local()
        .follow(&master.remote(), &master.source(), SOON)
        .await;
    let refused = match refused {
        Err(error) => error.to_string(),
        Ok(()) => String::new(),
    };
    assert!(refused.contains("--discard"), "{refused}");

    let progress = Progress::default();
    old.local()
        .reseed(&master.remote(), &master.source(), &progress)
        .await
        .unwrap();
    assert_eq!(progress.get(), None);
    master
        .sql(&["INSERT INTO shop.orders VALUES (3, 'after')"])
        .await
        .unwrap();
    settled(master, old).await;
    assert_eq!(content(old).await, content(master).await);
    assert_eq!(
        old.value("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'errant'")
            .await
            .unwrap(),
        "0"
    );
    let seen = old.local().observe(SOON).await.unwrap();
    assert!(seen.read_only && seen.local_writes.is_empty(), "{seen:?}");
    // It runs no event, and its scheduler is as it was.
    assert_eq!(
        old.value("SELECT STATUS FROM information_schema.EVENTS")
            .await
            .unwrap(),
        "SLAVESIDE_DISABLED"
    );
    assert_eq!(old.value("@@global.event_scheduler").await.unwrap(), "ON");
    // And it may become the master: its history is the master's.
    assert_eq!(
        old.local().position(SOON).await.unwrap(),
        master.local().position(SOON).await.unwrap()
    );
}

#[tokio::test]
async fn what_is_written_during_the_copy_is_neither_lost_nor_doubled() {
    let chain = chain(1).await.unwrap();
    let master = &chain[0];
    let fill = "INSERT INTO shop.orders SELECT seq, REPEAT('x', 90) FROM shop.seq_1_to_200000";
    master.sql(&[fill]).await.unwrap();
    let fresh = Alone::start(9, &[]).unwrap();
    let (agent, upstream) = (fresh.local(), master.remote());
    assert!(agent.wants_copy(&upstream, SOON).await.unwrap());
    let app = master.app();
    let writes = tokio::spawn(async move {
        let mut id = 1_000_000;
        loop {
            let sql = format!("INSERT INTO shop.orders VALUES ({id}, 'y')");
            if app.tell(&Statement::new(sql), SOON).await.is_err() {
                return;
            }
            id += 1;
        }
    });
    agent
        .reseed(&upstream, &master.source(), &Progress::default())
        .await
        .unwrap();
    assert!(!agent.wants_copy(&upstream, SOON).await.unwrap());
    writes.abort();
    let _ = writes.await;
    settled(master, &fresh).await;
    let sum = "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT(id, note)))) FROM shop.orders";
    let (there, here) = (
        master.value(sum).await.unwrap(),
        fresh.value(sum).await.unwrap(),
    );
    assert_eq!(here, there);
    assert!(
        master
            .value("SELECT COUNT(*) FROM shop.orders WHERE note = 'y'")
            .await
            .unwrap()
            != "0",
        "nothing was written meanwhile"
    );
}

#[tokio::test]
async fn a_copy_that_cannot_be_whole_is_refused_before_anything_is_thrown_away() {
    let chain = chain(1).await.unwrap();
    let master = &chain[0];
    let old = Alone::start(9, &[]).unwrap();
    old.sql(&["CREATE DATABASE precious"]).await.unwrap();
    let refused = |result: Result<(), ReseedError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, ReseedError::Refused(_)), "{error:?}");
        error.to_string()
    };
    let progress = Progress::default();
    let reseed = || async {
        old.local()
            .reseed(&master.remote(), &master.source(), &progress)
            .await
    };

    master
        .sql(&["CREATE TABLE shop.m (id INT) ENGINE=MyISAM"])
        .await
        .unwrap();
    let why = refused(reseed().await);
    assert!(why.contains("shop.m"), "{why}");
    master.sql(&["DROP TABLE shop.m"]).await.unwrap();

    master
        .sql(&[
            "SET SESSION sql_log_bin = 0",
            "REVOKE SELECT, TRIGGER ON *.* FROM agentd@'%'",
        ])
        .await
        .unwrap();
    let why = refused(reseed().await);
    assert!(why.contains("GRANT SELECT, TRIGGER ON *.*"), "{why}");
    master
        .sql(&[
            "SET SESSION sql_log_bin = 0",
            "GRANT SELECT, TRIGGER ON *.* TO agentd@'%'",
        ])
        .await
        .unwrap();

    master.sql(&["SET GLOBAL read_only = 1"]).await.unwrap();
    let why = refused(reseed().await);
    assert!(why.contains("neither takes writes nor replicates"), "{why}");
    master.sql(&["SET GLOBAL read_only = 0"]).await.unwrap();

    old.sql(&["SET GLOBAL read_only = 0"]).await.unwrap();
    let why = refused(reseed().await);
    assert!(why.contains("accepts writes"), "{why}");
    old.sql(&["SET GLOBAL read_only = 1"]).await.unwrap();

    let there = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'precious'";
    assert_eq!(old.value(there).await.unwrap(), "1");
    reseed().await.unwrap();
    assert_eq!(old.value(there).await.unwrap(), "0");
}

#[tokio::test]
async fn a_copy_that_breaks_off_leaves_a_server_that_follows_nobody_and_can_be_copied_again() {
    let mut chain = chain(1).await.unwrap();
    let fill = "INSERT INTO shop.orders SELECT seq, REPEAT('x', 90) FROM shop.seq_1_to_400000";
    chain[0].sql(&[fill]).await.unwrap();
    let fresh = Alone::start(9, &[]).unwrap();
    let (upstream, source) = (chain[0].remote(), chain[0].source());
    let agent = fresh.local();
    let progress = Progress::default();
    {
        let copy = agent.reseed(&upstream, &source, &progress);
        tokio::pin!(copy);
        loop {
            tokio::select! {
                done = &mut copy => panic!("too fast for this test: {done:?}"),
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
            if progress.get().is_some_and(|(done, _)| done > 1_000_000) {
                break;
            }
        }
        chain[0].end();
        let broken = copy.await.unwrap_err();
        assert!(matches!(broken, ReseedError::Copy(_)), "{broken:?}");
    }
    let seen = agent.observe(SOON).await.unwrap();
    assert!(
        seen.executed.is_empty() && seen.replication.is_none(),
        "{seen:?}"
    );
    chain[0].restart().unwrap();
    chain[0].local().open(SOON).await.unwrap();
    let refused = agent.follow(&upstream, &source, SOON).await;
    assert!(refused.is_err(), "half a copy follows");
    agent.reseed(&upstream, &source, &progress).await.unwrap();
    assert_eq!(
        fresh
            .value("SELECT COUNT(*) FROM shop.orders")
            .await
            .unwrap(),
        "400000"
    );
}

async fn states(server: &Alone) -> String {
    server
        .value("SELECT GROUP_CONCAT(EVENT_NAME, ' ', STATUS, ' ', DEFINER ORDER BY 1) FROM information_schema.EVENTS")
        .await
        .unwrap()
}

#[tokio::test]
async fn events_run_on_the_master_and_nowhere_else() {
    let chain = chain(2).await.unwrap();
    let (one, two) = (&chain[0], &chain[1]);
    one.sql(&[
        "CREATE DEFINER = app@'%' EVENT shop.a ON SCHEDULE EVERY 1 HOUR DO SELECT 1",
        "CREATE EVENT shop.b ON SCHEDULE EVERY 1 HOUR DISABLE DO SELECT 1",
        "CREATE EVENT shop.c ON SCHEDULE EVERY 1 HOUR DO SELECT 1",
    ])
    .await
    .unwrap();
    one.local().note_events(SOON).await.unwrap();
    settled(one, two).await;
    // The trap: a replica does not know which of them run.
    assert_eq!(
        states(two).await,
        "a SLAVESIDE_DISABLED app@%,b SLAVESIDE_DISABLED root@localhost,c SLAVESIDE_DISABLED root@localhost"
    );
    one.sql(&["ALTER EVENT shop.c DISABLE"]).await.unwrap();
    one.local().note_events(SOON).await.unwrap();
    settled(one, two).await;
    let before = two.local().position(SOON).await.unwrap();
    // Nothing that changed, nothing that is written.
    one.local().note_events(SOON).await.unwrap();
    assert_eq!(one.local().position(SOON).await.unwrap(), before);
    // A replica notes nothing.
    two.local().note_events(SOON).await.unwrap();
    assert_eq!(two.local().position(SOON).await.unwrap(), before);

    // They change places.
    one.local().close(SOON).await.unwrap();
    assert_eq!(one.local().disable_events(SOON).await.unwrap(), 1);
    two.local().forget_source(SOON).await.unwrap();
    two.local().open(SOON).await.unwrap();
    assert_eq!(two.local().enable_events(SOON).await.unwrap(), 1);
    assert_eq!(
        states(two).await,
        "a ENABLED app@%,b SLAVESIDE_DISABLED root@localhost,c SLAVESIDE_DISABLED root@localhost"
    );
    assert_eq!(
        states(one).await,
        "a SLAVESIDE_DISABLED app@%,b DISABLED root@localhost,c DISABLED root@localhost"
    );
    two.local().note_events(SOON).await.unwrap();
    assert_eq!(
        two.local().position(SOON).await.unwrap(),
        before,
        "a transaction of its own"
    );
    one.local()
        .follow(&two.remote(), &two.source(), SOON)
        .await
        .unwrap();
    settled(two, one).await;
}
