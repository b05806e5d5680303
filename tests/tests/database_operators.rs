//! Promise: what people type on the wrong server, and passwords that they change, cost no copy of the data; what makes a replica lack
//! something is found. On real `MariaDB` servers of the host's package.

#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use node_agent::database::server::credentials::{Account, Secret};
use node_agent::database::server::{Source, ThreadState, idle_writes, omissions, surplus};
use node_agent_tests::database::{Alone, PEER, chain, insert, pause, settled};
use node_agent_tests::machine::Trouble;

const SOON: Duration = Duration::from_secs(10);
const TOOL: &str = "/usr/bin/mariadb-binlog";

/// Whether what `replica` has and `master` lacks changes nothing, as the agent finds it out.
async fn is_idle(replica: &Alone, master: &Alone) -> bool {
    let file = replica.dir().join("surplus.sql");
    let other = master.local().observe(SOON).await.unwrap();
    surplus::save(
        &replica.local(),
        &other.executed,
        Path::new(TOOL),
        &file,
        SOON,
    )
    .await
    .unwrap();
    idle_writes::change_nothing(&file).unwrap()
}

/// Waits until a replica has stopped at what its master wrote.
async fn stopped(replica: &Alone) -> Result<u16, Trouble> {
    for _ in 0..100 {
        let seen = replica.local().observe(SOON).await;
        let sql = seen.ok().and_then(|seen| seen.replication).map(|it| it.sql);
        if let Some(sql) = sql.filter(|sql| sql.state == ThreadState::Stopped) {
            return Ok(sql.error.map_or(0, |(code, _)| code));
        }
        pause(50).await;
    }
    Err(Trouble::new("it never stopped"))
}

#[tokio::test]
async fn transactions_that_change_nothing_are_forgotten_without_a_copy() {
    let chain = chain(3).await.unwrap();
    let (master, replica, second) = (&chain[0], &chain[1], &chain[2]);
    insert(&master.app(), 1).await.unwrap();
    settled(&chain).await.unwrap();
    // By root, on the wrong server.
    replica
        .sql(&["FLUSH TABLES", "ANALYZE TABLE shop.orders"])
        .await
        .unwrap();
    assert!(is_idle(replica, master).await);
    // The trap: a strict replica stops at the next transaction of its master.
    insert(&master.app(), 2).await.unwrap();
    assert_eq!(stopped(replica).await.unwrap(), 1950);

    // The one that hangs on it has them as well.
    for server in [replica, second] {
        let forgotten = server
            .local()
            .forget_idle_writes(&master.remote(), SOON)
            .await;
        forgotten.unwrap();
    }
    insert(&master.app(), 3).await.unwrap();
    settled(&chain).await.unwrap();
    for server in [replica, second] {
        let count = server
            .value("SELECT COUNT(*) FROM shop.orders")
            .await
            .unwrap();
        assert_eq!(count, "3");
        let seen = server.local().observe(SOON).await.unwrap();
        assert!(seen.local_writes.is_empty(), "{seen:?}");
    }
}

#[tokio::test]
async fn what_changes_a_row_or_a_table_is_no_idle_write() {
    for statement in [
        "INSERT INTO shop.orders VALUES (100, 'mine')",
        "CREATE TABLE shop.mine (id INT)",
        "CREATE USER mine@localhost",
    ] {
        let chain = chain(2).await.unwrap();
        settled(&chain).await.unwrap();
        chain[1].sql(&["FLUSH TABLES", statement]).await.unwrap();
        assert!(!is_idle(&chain[1], &chain[0]).await, "{statement}");
    }
}

#[tokio::test]
async fn a_changed_password_reaches_a_replica_that_was_refused() {
    let chain = chain(2).await.unwrap();
    let (master, replica) = (&chain[0], &chain[1]);
    settled(&chain).await.unwrap();
    let accounts = master
        .sql(&["SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) AS account FROM mysql.user WHERE User = 'agentd'"])
        .await
        .unwrap();
    for account in accounts.iter().filter_map(|row| row.get("account")) {
        let change = format!("ALTER USER {account} IDENTIFIED BY 'another-one'");
        master.sql(&[&change]).await.unwrap();
    }
    settled_replica(replica, master).await;
    replica
        .sql(&["STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"])
        .await
        .unwrap();
    let mut refused = false;
    for _ in 0..100 {
        let seen = replica.local().observe(SOON).await.unwrap();
        refused |= seen.replication.is_some_and(|it| it.is_locked_out(PEER.0));
        if refused {
            break;
        }
        pause(50).await;
    }
    assert!(refused, "the trap: it asks with the old password for ever");

    let source = Source {
        account: Account {
            user: PEER.0.to_owned(),
            password: Secret::new("another-one"),
        },
        ..master.source()
    };
    // The master's own administrator stands for the peer that has the new password.
    replica
        .local()
        .follow(&master.local(), &source, SOON)
        .await
        .unwrap();
    insert(&master.app(), 1).await.unwrap();
    settled(&chain).await.unwrap();
    let seen = replica.local().observe(SOON).await.unwrap();
    assert!(!seen.replication.unwrap().is_locked_out(PEER.0));
}

/// Waits until a replica has all that its master has.
async fn settled_replica(replica: &Alone, master: &Alone) {
    let goal = master.local().position(SOON).await.unwrap();
    replica.local().wait_has(&goal, SOON).await.unwrap();
}

#[tokio::test]
async fn what_makes_a_replica_lack_something_is_found() {
    let whole = Alone::start(41, &[]).unwrap();
    assert_eq!(omissions::filters(&whole.local(), SOON).await.unwrap(), []);
    assert_eq!(omissions::engines(&whole.local(), SOON).await.unwrap(), []);
    let server = Alone::start(
        42,
        &[
            "--replicate-wild-ignore-table=shop.cache%",
            "--slave-skip-errors=1062",
            "--slave-exec-mode=IDEMPOTENT",
            "--binlog-ignore-db=logs",
        ],
    )
    .unwrap();
    let found = omissions::filters(&server.local(), SOON).await.unwrap();
    let names: Vec<_> = found.iter().map(|it| it.setting.as_str()).collect();
    for name in [
        "replicate_wild_ignore_table",
        "slave_skip_errors",
        "slave_exec_mode",
        "Binlog_Ignore_DB",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    // On a replica that runs: set by hand.
    let chain = chain(2).await.unwrap();
    chain[1]
        .sql(&[
            "STOP SLAVE",
            "SET GLOBAL replicate_do_db = 'shop'",
            "START SLAVE",
        ])
        .await
        .unwrap();
    let found = omissions::filters(&chain[1].local(), SOON).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].grave && found[0].is == "shop");
    chain[0]
        .sql(&["CREATE TABLE shop.sessions (id INT) ENGINE=MEMORY"])
        .await
        .unwrap();
    let found = omissions::engines(&chain[0].local(), SOON).await.unwrap();
    assert_eq!(found[0].setting, "engine of shop.sessions");
    assert!(!found[0].grave);
}
