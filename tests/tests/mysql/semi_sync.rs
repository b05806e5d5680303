//! Commits of `MySQL` servers that wait for a replica.

use super::*;

/// As docs/database-servers.md has it: the plugins are not there by themselves.
async fn install_semi_sync(servers: &[Alone]) {
    for server in servers {
        server.install_semi_sync().await.unwrap();
    }
}

async fn until_word_is_given(master: &Server) {
    let start = Instant::now();
    while master.observe(SOON).await.unwrap().semi_sync.replicas == 0 {
        assert!(start.elapsed() < SOON, "no replica gives its word");
        pause(50).await;
    }
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn a_log_that_waits_for_a_replica_is_told_from_one_whose_disk_is_full() {
    log::told_from_one_whose_disk_is_full(Brand::MySql).await;
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn semi_synchronous_acknowledges_nothing_that_no_replica_has() {
    let chain = chain(2).await;
    let (master, replica) = (chain[0].local(), chain[1].local());
    // Without its plugins it is told as what it is.
    let without = replica.semi_sync(false, true, FOR_EVER, SOON).await;
    assert!(without.is_err(), "{without:?}");
    install_semi_sync(&chain).await;
    settled(&chain).await.unwrap();
    assert!(replica.observe(SOON).await.unwrap().local_writes.is_empty());
    replica
        .semi_sync(false, true, FOR_EVER, SOON)
        .await
        .unwrap();
    replica.receive_anew(SOON).await.unwrap();
    master.heartbeat_table(false, SOON).await.unwrap();
    master.semi_sync(true, false, FOR_EVER, SOON).await.unwrap();
    until_word_is_given(&master).await;
    insert(&chain[0].app(), 1).await.unwrap();
    let seen = master.observe(SOON).await.unwrap().semi_sync;
    assert!(
        seen.source_enabled && seen.source_active && seen.after_sync,
        "{seen:?}"
    );
    assert!(
        replica
            .observe(SOON)
            .await
            .unwrap()
            .semi_sync
            .replica_enabled
    );

    chain[1].signal(Signal::SIGSTOP).unwrap();
    let waiting = meanwhile(chain[0].app(), "INSERT INTO shop.orders VALUES (2, 'x')");
    pause(500).await;
    let beat = master.heartbeat("shop", 1, 7, false, SOON).await;
    assert_eq!(beat, Ok(HeartbeatResult::Written));
    assert_eq!(master.log(true, SECOND).await, Ok(Log::WaitsForReplicas));
    assert!(!waiting.is_finished(), "acknowledged without a replica");
    assert_eq!(orders(&chain[0]).await, "1");
    chain[1].signal(Signal::SIGCONT).unwrap();
    waiting.await.unwrap().0.unwrap();
    settled(&chain).await.unwrap();

    chain[1].signal(Signal::SIGSTOP).unwrap();
    let waiting = meanwhile(chain[0].app(), "INSERT INTO shop.orders VALUES (3, 'x')");
    pause(500).await;
    // The trap: ending the connection is not noticed by who waits, and the server stays open.
    assert!(master.kill_clients(SOON).await.unwrap() >= 1);
    assert!(waiting.await.unwrap().0.is_err());
    let naive = [
        "SET SESSION lock_wait_timeout = 1",
        "SET GLOBAL super_read_only = ON",
    ];
    let naive = chain[0].sql(&naive).await.unwrap_err().to_string();
    assert!(naive.contains("1205"), "{naive}");

    let waiting = meanwhile(chain[0].app(), "INSERT INTO shop.orders VALUES (4, 'x')");
    pause(500).await;
    let closed = master.close(Duration::from_secs(4)).await.unwrap();
    assert!(closed.took < SECOND, "{closed:?}");
    assert!(waiting.await.unwrap().0.is_err(), "acknowledged by nobody");
    chain[1].signal(Signal::SIGCONT).unwrap();
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn a_word_that_was_lost_holds_no_writer_for_ever() {
    let chain = chain(2).await;
    install_semi_sync(&chain).await;
    let (master, replica) = (chain[0].local(), chain[1].local());
    settled(&chain).await.unwrap();
    master.semi_sync(true, false, FOR_EVER, SOON).await.unwrap();
    // The replica receives both, and says nothing: as if its words were lost with its connection.
    let insert = |id| format!("INSERT INTO shop.orders VALUES ({id}, 'x')");
    let waiting = [1, 2].map(|id| meanwhile(chain[0].app(), &insert(id)));
    until_orders(&chain[1], "2").await;
    pause(500).await;
    assert!(waiting.iter().all(|writer| !writer.is_finished()));
    replica
        .semi_sync(false, true, FOR_EVER, SOON)
        .await
        .unwrap();
    replica.receive_anew(SOON).await.unwrap();
    let third = meanwhile(chain[0].app(), &insert(3));
    // Other than MariaDB, which has to be helped: whoever connects says what it has.
    for writer in waiting {
        writer.await.unwrap().0.unwrap();
    }
    third.await.unwrap().0.unwrap();
    assert_eq!(master.free_stranded(&[], SECOND, SOON).await, Ok(0));
    settled(&chain).await.unwrap();
    assert_eq!(orders(&chain[1]).await, "3");
}
