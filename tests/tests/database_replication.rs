//! Promise: replication is set up, stopped, started and left without losing what was received or mixing two histories, or
//! it is refused. On real `MariaDB` servers of the host's package.
//!
//! Each test is a trap that was measured first: where the plain statement does something else, the test shows that too.

#[cfg(test)]
#[path = "both/crash.rs"]
mod crash;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use node_agent::database::gtid::{Containment, Flavour};
use node_agent::database::server::{HeartbeatResult, ServerError, ThreadState, audit, surplus};
use node_agent_tests::database::{Alone, Brand, chain, insert, meanwhile, pause, settled};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_fresh_chain_replicates_and_tells_so() {
    let chain = chain(3).await.unwrap();
    insert(&chain[0].app(), 1).await.unwrap();
    let master = chain[0].local();
    assert_eq!(
        master.heartbeat("shop", 1, 1, true, SOON).await.unwrap(),
        HeartbeatResult::Written
    );
    let goal = settled(&chain).await.unwrap();
    assert_eq!(goal.flavour(), Flavour::MariaDb);

    let seen = master.observe(SOON).await.unwrap();
    assert!(!seen.read_only && seen.strict && seen.replication.is_none());
    for (at, server) in chain.iter().enumerate().skip(1) {
        assert_eq!(
            server
                .value("SELECT COUNT(*) FROM shop.orders")
                .await
                .unwrap(),
            "1"
        );
        let seen = server.local().observe(SOON).await.unwrap();
        assert!(seen.read_only && seen.local_writes.is_empty(), "{seen:?}");
        assert_eq!(seen.reach().contains(&goal), Containment::Yes);
        let replication = seen.replication.unwrap();
        assert!(replication.by_gtid);
        assert!(replication.follows(chain[at - 1].address().ip(), chain[at - 1].address().port()));
        assert_eq!(replication.io.state, ThreadState::Running);
        assert_eq!(replication.sql.state, ThreadState::Running);

        // A replica's heartbeat would be a transaction that its master lacks.
        let beat = server
            .local()
            .heartbeat("shop", 9, 9, true, SOON)
            .await
            .unwrap();
        assert_eq!(beat, HeartbeatResult::ReadOnly);
        assert_eq!(server.local().position(SOON).await.unwrap(), goal);
        assert_eq!(
            server
                .value("SELECT epoch FROM agentd.heartbeat")
                .await
                .unwrap(),
            "1"
        );
    }
    assert!(audit::running(&master, SOON).await.unwrap().is_empty());
    // Following whom it follows already changes nothing.
    let upstream = chain[0].remote();
    chain[1]
        .local()
        .follow(&upstream, &chain[0].source(), SOON)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_received_is_applied_before_anything_else_happens_to_it() {
    let chain = chain(2).await.unwrap();
    let replica = chain[1].local();
    settled(&chain).await.unwrap();
    chain[1].sql(&["STOP SLAVE SQL_THREAD"]).await.unwrap();
    let app = chain[0].app();
    for id in 1..=20 {
        insert(&app, id).await.unwrap();
    }
    let goal = chain[0].local().position(SOON).await.unwrap();
    let received = || async {
        let seen = replica.observe(SOON).await.unwrap();
        seen.replication.and_then(|it| it.received).unwrap()
    };
    while received().await.contains(&goal) != Containment::Yes {
        pause(20).await;
    }
    // The master is gone: the relay log is the only place where they are.
    drop(app);
    let mut chain = chain;
    chain[0].end();

    let stands = replica.wait_applied(SOON).await.unwrap_err();
    assert!(
        stands.to_string().contains("applying thread stands"),
        "{stands}"
    );
    let stopped = replica.stop_receiving(SOON).await.unwrap_err();
    assert!(stopped.to_string().contains("would be lost"), "{stopped}");
    let forgotten = replica.forget_source(SOON).await.unwrap_err();
    assert!(
        forgotten.to_string().contains("would be lost"),
        "{forgotten}"
    );
    let other = Alone::start(7, &[]).unwrap();
    let followed = replica.follow(&other.remote(), &other.source(), SOON).await;
    assert!(
        matches!(followed, Err(ServerError::Unsafe { .. })),
        "{followed:?}"
    );

    chain[1].sql(&["START SLAVE SQL_THREAD"]).await.unwrap();
    replica.stop_receiving(SOON).await.unwrap();
    let reached = replica.wait_applied(SOON).await.unwrap();
    assert_eq!(reached.contains(&goal), Containment::Yes);
    replica.forget_source(SOON).await.unwrap();
    replica.open(SOON).await.unwrap();
    assert_eq!(
        chain[1]
            .value("SELECT COUNT(*) FROM shop.orders")
            .await
            .unwrap(),
        "20"
    );
    assert!(replica.observe(SOON).await.unwrap().replication.is_none());
}

#[tokio::test]
async fn the_trap_stopping_both_threads_throws_away_what_was_received() {
    let mut chain = chain(2).await.unwrap();
    settled(&chain).await.unwrap();
    chain[1].sql(&["STOP SLAVE SQL_THREAD"]).await.unwrap();
    insert(&chain[0].app(), 1).await.unwrap();
    pause(500).await;
    chain[0].end();
    chain[1].sql(&["STOP SLAVE", "START SLAVE"]).await.unwrap();
    pause(1000).await;
    // If this ever holds the row, the server has learnt to keep it, and `stop_receiving` need not be so careful.
    assert_eq!(
        chain[1]
            .value("SELECT COUNT(*) FROM shop.orders")
            .await
            .unwrap(),
        "0"
    );
}

#[tokio::test]
async fn a_replica_with_a_transaction_of_its_own_is_found_and_follows_nobody() {
    let chain = chain(3).await.unwrap();
    insert(&chain[0].app(), 1).await.unwrap();
    settled(&chain).await.unwrap();
    // An administrator's hand, past read_only.
    chain[1]
        .sql(&["INSERT INTO shop.orders VALUES (100, 'errant')"])
        .await
        .unwrap();
    let (replica, master) = (chain[1].local(), chain[0].remote());
    let seen = replica.observe(SOON).await.unwrap();
    assert!(!seen.local_writes.is_empty(), "{seen:?}");
    let other = master.observe(SOON).await.unwrap();
    assert_eq!(
        other.executed.contains(&seen.executed.tip()),
        Containment::No
    );

    replica.stop_receiving(SOON).await.unwrap();
    replica.forget_source(SOON).await.unwrap();
    let refused = replica
        .follow(&master, &chain[0].source(), SOON)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("transactions that"),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("-12-"),
        "does not name them: {refused}"
    );

    // What is too much is saved as statements.
    let file = chain[1].dir().join("surplus.sql");
    let tool = std::path::Path::new("/usr/bin/mariadb-binlog");
    surplus::save(&replica, &other.executed, tool, &file, SOON)
        .await
        .unwrap();
    let saved = std::fs::read_to_string(&file).unwrap();
    assert!(saved.contains("GTID 0-12-"), "{saved}");
    assert!(
        !saved.contains("GTID 0-11-"),
        "more than the surplus: {saved}"
    );
}

#[tokio::test]
async fn without_strict_mode_nobody_follows() {
    let chain = chain(1).await.unwrap();
    let loose = Alone::start(2, &["--gtid-strict-mode=0", "--sync-binlog=0"]).unwrap();
    let refused = loose
        .local()
        .follow(&chain[0].remote(), &chain[0].source(), SOON)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("gtid_strict_mode"),
        "{refused}"
    );
    let found = audit::running(&loose.local(), SOON).await.unwrap();
    let told: Vec<(&str, bool)> = found
        .iter()
        .map(|it| (it.setting.as_str(), it.grave))
        .collect();
    assert_eq!(told, [("gtid_strict_mode", true), ("sync_binlog", false)]);
}

#[tokio::test]
async fn a_server_with_data_is_not_made_a_replica_by_wishing() {
    let chain = chain(1).await.unwrap();
    let empty = Alone::start(2, &[]).unwrap();
    let refused = empty
        .local()
        .follow(&chain[0].remote(), &chain[0].source(), SOON)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("snapshot"), "{refused}");
    let same = Alone::start(11, &[]).unwrap();
    let refused = same
        .local()
        .follow(&chain[0].remote(), &chain[0].source(), SOON)
        .await;
    assert!(refused.unwrap_err().to_string().contains("server_id"));
}

#[tokio::test]
async fn after_a_crash_it_follows_again_only_while_its_source_answers() {
    crash::follows_only_while_its_source_answers(Brand::MariaDb).await;
}

#[tokio::test]
async fn an_old_master_rejoins_only_without_a_surplus() {
    let mut chain = chain(3).await.unwrap();
    insert(&chain[0].app(), 1).await.unwrap();
    settled(&chain).await.unwrap();
    chain[0].end();
    let candidate = chain[1].local();
    candidate.stop_receiving(SOON).await.unwrap();
    candidate.wait_applied(SOON).await.unwrap();
    candidate.forget_source(SOON).await.unwrap();
    candidate.open(SOON).await.unwrap();
    candidate.heartbeat("shop", 2, 1, true, SOON).await.unwrap();
    insert(&chain[1].app(), 2).await.unwrap();

    chain[0].restart().unwrap();
    let old = chain[0].local();
    old.follow(&chain[1].remote(), &chain[1].source(), SOON)
        .await
        .unwrap();
    let goal = candidate.position(SOON).await.unwrap();
    for server in &chain {
        server.local().wait_has(&goal, SOON).await.unwrap();
        assert_eq!(
            server
                .value("SELECT COUNT(*) FROM shop.orders")
                .await
                .unwrap(),
            "2"
        );
    }
    // It has been a master, and nothing that it wrote then counts against it.
    assert!(old.observe(SOON).await.unwrap().local_writes.is_empty());
}

#[tokio::test]
async fn semi_synchronous_acknowledges_nothing_that_no_replica_has() {
    let chain = chain(2).await.unwrap();
    let (master, replica) = (chain[0].local(), chain[1].local());
    settled(&chain).await.unwrap();
    let for_ever = Duration::from_hours(24 * 30);
    replica
        .semi_sync(false, true, for_ever, SOON)
        .await
        .unwrap();
    // The receiving thread says so at its next start.
    replica.stop_receiving(SOON).await.unwrap();
    replica
        .start_replication(&chain[0].remote(), SOON)
        .await
        .unwrap();
    master.heartbeat_table(false, SOON).await.unwrap();
    master.semi_sync(true, false, for_ever, SOON).await.unwrap();
    let start = Instant::now();
    while master.observe(SOON).await.unwrap().semi_sync.replicas == 0 {
        assert!(
            start.elapsed() < SOON,
            "the replica never said that it gives its word"
        );
        pause(50).await;
    }
    insert(&chain[0].app(), 1).await.unwrap();
    let seen = master.observe(SOON).await.unwrap().semi_sync;
    assert!(
        seen.source_enabled && seen.source_active && seen.after_sync,
        "{seen:?}"
    );

    chain[1].signal(Signal::SIGSTOP).unwrap();
    let waiting = meanwhile(chain[0].app(), "INSERT INTO shop.orders VALUES (2, 'x')");
    // A master whose replicas are gone must not look dead by its heartbeat.
    pause(500).await;
    assert_eq!(
        master.heartbeat("shop", 1, 7, false, SOON).await.unwrap(),
        HeartbeatResult::Written
    );
    assert!(!waiting.is_finished(), "acknowledged without a replica");
    assert_eq!(
        chain[0]
            .value("SELECT COUNT(*) FROM shop.orders")
            .await
            .unwrap(),
        "1"
    );
    chain[1].signal(Signal::SIGCONT).unwrap();
    waiting.await.unwrap().0.unwrap();
    settled(&chain).await.unwrap();

    // A commit that waits for a replica for ever does not keep the server open, and is not acknowledged.
    chain[1].signal(Signal::SIGSTOP).unwrap();
    let waiting = meanwhile(chain[0].app(), "INSERT INTO shop.orders VALUES (3, 'x')");
    pause(500).await;
    let closed = master.close(Duration::from_secs(4)).await;
    eprintln!("with a commit that waits for a replica: {closed:?}");
    if closed.is_err() {
        chain[0].signal(Signal::SIGKILL).unwrap();
    }
    assert!(waiting.await.unwrap().0.is_err());
    chain[1].signal(Signal::SIGCONT).unwrap();
}

#[tokio::test]
async fn a_word_that_was_lost_holds_no_writer_for_ever() {
    let chain = chain(2).await.unwrap();
    let (master, replica) = (chain[0].local(), chain[1].local());
    settled(&chain).await.unwrap();
    let for_ever = Duration::from_hours(24 * 30);
    master.semi_sync(true, false, for_ever, SOON).await.unwrap();
    // The replica receives both, and says nothing: as if its words were lost with its connection.
    let insert = |id| format!("INSERT INTO shop.orders VALUES ({id}, 'x')");
    let waiting = [1, 2].map(|id| meanwhile(chain[0].app(), &insert(id)));
    let start = Instant::now();
    while chain[1]
        .value("SELECT COUNT(*) FROM shop.orders")
        .await
        .unwrap()
        != "2"
    {
        assert!(start.elapsed() < SOON, "the replica did not receive them");
        pause(50).await;
    }
    let givers = [chain[0].address().ip()];
    let free = async || {
        let freed = master.free_stranded(&givers, Duration::from_millis(500), SOON);
        freed.await.unwrap()
    };
    assert_eq!(free().await, 0, "it has not connected again yet");
    replica
        .semi_sync(false, true, for_ever, SOON)
        .await
        .unwrap();
    replica.receive_anew(SOON).await.unwrap();
    // The trap: it is back, has all, gives its word, and nobody writes any more.
    let third = meanwhile(chain[0].app(), &insert(3));
    pause(1000).await;
    assert_eq!(master.observe(SOON).await.unwrap().semi_sync.replicas, 1);
    assert!(waiting.iter().all(|writer| !writer.is_finished()) && !third.is_finished());

    // The first is told that its connection is gone; the second by the word on the third, which is now sent.
    let start = Instant::now();
    while free().await == 0 {
        assert!(start.elapsed() < SOON, "nobody was freed");
        pause(50).await;
    }
    third.await.unwrap().0.unwrap();
    let mut told = Vec::new();
    for writer in waiting {
        told.push(writer.await.unwrap().0.is_ok());
    }
    assert!(told.contains(&false), "acknowledged by nobody: {told:?}");
    settled(&chain).await.unwrap();
    for server in &chain {
        let rows = server.value("SELECT COUNT(*) FROM shop.orders").await;
        assert_eq!(rows.unwrap(), "3");
    }
    // One that waits for a replica that is slow is left alone.
    chain[1].signal(Signal::SIGSTOP).unwrap();
    let fourth = meanwhile(chain[0].app(), &insert(4));
    pause(1000).await;
    assert_eq!(free().await, 0);
    chain[1].signal(Signal::SIGCONT).unwrap();
    fourth.await.unwrap().0.unwrap();
}

#[tokio::test]
async fn a_replica_turns_to_another_source_in_the_middle_of_writes() {
    let chain = chain(3).await.unwrap();
    settled(&chain).await.unwrap();
    let app = chain[0].app();
    let writing = Arc::new(AtomicBool::new(true));
    let on = Arc::clone(&writing);
    let writer = tokio::spawn(async move {
        let mut id = 0;
        while on.load(Ordering::Relaxed) {
            id += 1;
            insert(&app, id).await.unwrap();
        }
        id
    });
    let last = chain[2].local();
    for turn in 0..30 {
        let source = &chain[turn % 2];
        let turned = last.follow(&source.remote(), &source.source(), SOON).await;
        // A source that is behind by a moment is refused, and asked again; stopped by an error it must never be.
        if let Err(error) = turned {
            assert!(matches!(error, ServerError::Unsafe { .. }), "{error}");
        }
        pause(30).await;
        let replication = last.observe(SOON).await.unwrap().replication.unwrap();
        assert_eq!(replication.sql.error, None, "turn {turn}");
    }
    writing.store(false, Ordering::Relaxed);
    let written = writer.await.unwrap();
    settled(&chain[..2]).await.unwrap();
    last.follow(&chain[1].remote(), &chain[1].source(), SOON)
        .await
        .unwrap();
    settled(&chain).await.unwrap();
    let rows = chain[2].value("SELECT COUNT(*) FROM shop.orders").await;
    assert_eq!(rows.unwrap(), written.to_string());
}

#[tokio::test]
async fn a_replica_that_gives_its_word_lets_go_of_a_silent_source_soon() {
    let chain = chain(2).await.unwrap();
    let replica = chain[1].local();
    settled(&chain).await.unwrap();
    let for_ever = Duration::from_hours(24 * 30);
    replica
        .semi_sync(false, true, for_ever, SOON)
        .await
        .unwrap();
    replica.receive_anew(SOON).await.unwrap();
    let mut took = Vec::new();
    // As it is set up, and the trap: as a server is by itself.
    for wait in [None, Some(5)] {
        if let Some(wait) = wait {
            let server = format!("SET GLOBAL rpl_semi_sync_slave_kill_conn_timeout = {wait}");
            chain[1].sql(&[&server]).await.unwrap();
        }
        let source = chain[0].remote();
        replica.start_replication(&source, SOON).await.unwrap();
        settled(&chain).await.unwrap();
        chain[0].signal(Signal::SIGSTOP).unwrap();
        let start = Instant::now();
        replica.stop_receiving(SOON).await.unwrap();
        took.push(start.elapsed());
        chain[0].signal(Signal::SIGCONT).unwrap();
    }
    eprintln!("{took:?}");
    assert!(took[0] * 3 < took[1] * 2, "{took:?}");
}
