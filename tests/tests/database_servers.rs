//! Promise: what is done to a database server is done in time or not at all, loses nothing that it received, and mixes
//! nothing; whatever its clients are doing. On real `MariaDB` servers of the host's package.
//!
//! Each test is a trap that was measured first: where the plain statement does something else, the test shows that too.

#[cfg(test)]
#[path = "both/log.rs"]
mod log;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use node_agent::database::server::{
    HeartbeatResult, Lock, Process, Server, ServerError, Statement,
};
use node_agent_tests::database::{Alone, Brand, Disk, PEER, chain, insert, meanwhile, pause};
use node_agent_tests::machine::run;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_running_update_neither_delays_the_fence_nor_is_acknowledged() {
    let chain = chain(1).await.unwrap();
    insert(&chain[0].app(), 1).await.unwrap();
    let running = meanwhile(
        chain[0].app(),
        "UPDATE shop.orders SET note = 'late' WHERE id = 1 AND SLEEP(4) = 0",
    );
    pause(300).await;
    // The trap: without killing, it waits for the statement.
    let naive = meanwhile(
        chain[0].admin(),
        "SET STATEMENT lock_wait_timeout = 1 FOR SET GLOBAL read_only = 1",
    );
    pause(700).await;
    assert!(
        !naive.is_finished(),
        "read_only = 1 did not wait for the statement that runs"
    );

    let closed = chain[0].local().close(SOON).await.unwrap();
    assert!(closed.took < SECOND, "{closed:?}");
    assert!(closed.killed >= 1, "{closed:?}");
    let (ended, _) = running.await.unwrap();
    assert!(ended.is_err(), "it was acknowledged after all");
    assert_eq!(
        chain[0]
            .value("SELECT note FROM shop.orders")
            .await
            .unwrap(),
        "x"
    );
    let refused = insert(&chain[0].app(), 2).await.unwrap_err();
    assert_eq!(refused.code(), Some(1290), "{refused}");
}

#[tokio::test]
async fn lock_tables_does_not_keep_a_server_open() {
    let chain = chain(1).await.unwrap();
    let holder = chain[0].app();
    holder
        .tell(&Statement::new("LOCK TABLES shop.orders WRITE"), SOON)
        .await
        .unwrap();
    // The trap: it fails after the lock's timeout, and the server stays open.
    let naive = chain[0]
        .sql(&[
            "SET SESSION lock_wait_timeout = 1",
            "SET GLOBAL read_only = 1",
        ])
        .await;
    assert!(naive.unwrap_err().to_string().contains("1205"));
    assert!(chain[0].local().writable(SOON).await.unwrap());

    let closed = chain[0].local().close(SOON).await.unwrap();
    assert!(closed.took < SECOND, "{closed:?}");
    assert!(!chain[0].local().writable(SOON).await.unwrap());
}

#[tokio::test]
async fn an_open_transaction_ends_with_the_fence_even_of_those_who_may_write() {
    let chain = chain(1).await.unwrap();
    let (app, admin) = (chain[0].app(), chain[0].admin());
    for session in [&app, &admin] {
        session.tell(&Statement::new("BEGIN"), SOON).await.unwrap();
    }
    insert(&app, 1).await.unwrap();
    insert(&admin, 2).await.unwrap();
    chain[0].local().close(SOON).await.unwrap();
    for session in [&app, &admin] {
        let commit = session.tell(&Statement::new("COMMIT"), SOON).await;
        assert!(
            matches!(commit, Err(ServerError::Lost { .. })),
            "{commit:?}"
        );
    }
    assert_eq!(
        chain[0]
            .value("SELECT COUNT(*) FROM shop.orders")
            .await
            .unwrap(),
        "0"
    );
}

#[tokio::test]
async fn a_server_without_a_connection_to_spare_lives_and_can_be_fenced() {
    let server = Alone::start(1, &["--max-connections=10"]).unwrap();
    let agent = server.local();
    agent.observe(SOON).await.unwrap();
    agent.open(SOON).await.unwrap();
    agent.heartbeat("shop", 1, 1, true, SOON).await.unwrap();
    agent.reserve(SOON).await.unwrap();
    let mut held = Vec::new();
    let full = loop {
        // The administrator's: they take the one connection that is kept for administrators too.
        let session = server.admin();
        match session.tell(&Statement::new("DO 0"), SOON).await {
            Ok(_) => held.push(session),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(full, ServerError::Full { code: 1040, .. }),
        "{full}"
    );
    assert!(full.alive());

    let stranger = server.local().observe(SOON).await.unwrap_err();
    assert!(stranger.alive(), "full was taken for dead: {stranger}");
    assert_eq!(
        agent.heartbeat("shop", 1, 2, true, SOON).await.unwrap(),
        HeartbeatResult::Written
    );
    let seen = agent.observe(SOON).await.unwrap();
    assert!(seen.clients >= seen.max_connections);
    let closed = agent.close(SOON).await.unwrap();
    assert!(closed.took < SECOND && closed.killed >= 1, "{closed:?}");
}

#[tokio::test]
async fn a_stopped_server_is_told_from_a_dead_one_and_killed() {
    let mut chain = chain(1).await.unwrap();
    let (agent, process) = (chain[0].local(), Process::of(&chain[0].socket()));
    agent.heartbeat("shop", 1, 1, true, SOON).await.unwrap();
    chain[0].signal(Signal::SIGSTOP).unwrap();
    let start = Instant::now();
    for server in [&agent, &chain[0].remote()] {
        let hangs = server
            .observe(Duration::from_millis(500))
            .await
            .unwrap_err();
        assert!(matches!(hangs, ServerError::Hangs { .. }), "{hangs}");
        assert!(!hangs.alive());
    }
    let beat = agent
        .heartbeat("shop", 1, 2, true, Duration::from_millis(500))
        .await;
    assert!(matches!(beat, Err(ServerError::Hangs { .. })), "{beat:?}");
    let closed = agent.close(Duration::from_millis(500)).await;
    assert!(closed.is_err(), "{closed:?}");
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "deadlines do not hold: {:?}",
        start.elapsed()
    );

    let victim = process.find().unwrap().unwrap();
    assert_eq!(victim.pid, chain[0].pid());
    assert_eq!(
        process.kill(Some(&victim), SECOND).unwrap(),
        Some(victim.pid)
    );
    chain[0].reap();
    let gone = agent.observe(SECOND).await.unwrap_err();
    assert!(matches!(gone, ServerError::NoProcess { .. }), "{gone}");
    assert!(process.find().unwrap().is_none());
    assert_eq!(process.kill(Some(&victim), SECOND).unwrap(), None);

    // Its unit starts it again, and it comes up closed.
    chain[0].restart().unwrap();
    assert!(!agent.writable(SOON).await.unwrap());
}

#[tokio::test]
async fn a_lock_is_a_session_and_survives_the_fence() {
    let chain = chain(1).await.unwrap();
    let ttl = Duration::from_secs(2);
    let master = Lock::new(&chain[0].peer_place(), "shop", ttl);
    let candidate = Lock::new(&chain[0].local_place(), "shop", ttl);
    assert!(!master.ping(SOON).await.unwrap());
    assert!(master.take(SOON).await.unwrap());
    assert!(master.take(SOON).await.unwrap(), "it is ours");
    assert!(!candidate.take(SOON).await.unwrap());
    chain[0].local().close(SOON).await.unwrap();
    assert!(
        master.ping(SOON).await.unwrap(),
        "the fence ended a peer's session"
    );
    assert!(!candidate.take(SOON).await.unwrap());
    // Silence: the server ends the session by itself, not before the time to live is over.
    let silent = Instant::now();
    while !candidate.take(SOON).await.unwrap() {
        pause(100).await;
    }
    assert!(silent.elapsed() >= ttl, "{:?}", silent.elapsed());
    assert!(silent.elapsed() < ttl + SOON);
    assert!(!master.ping(SOON).await.unwrap());
    assert!(!master.take(SOON).await.unwrap());
    candidate.release().await;
    let mut tries = 0;
    while !master.take(SOON).await.unwrap() {
        tries += 1;
        assert!(tries < 100);
        pause(20).await;
    }
}

#[tokio::test]
async fn a_peer_fences_an_abandoned_master_over_the_network() {
    let chain = chain(1).await.unwrap();
    let peer = chain[0].remote();
    assert!(peer.writable(SOON).await.unwrap());
    let running = meanwhile(chain[0].app(), "INSERT INTO shop.orders SELECT 1, SLEEP(5)");
    pause(200).await;
    let closed = peer.close(SOON).await.unwrap();
    assert!(closed.took < SECOND, "{closed:?}");
    assert!(running.await.unwrap().0.is_err());
    assert!(!peer.writable(SOON).await.unwrap());
}

#[tokio::test]
async fn a_wrong_password_is_told_and_is_no_death() {
    let server = Alone::start(1, &[]).unwrap();
    let mut place = server.peer_place();
    place.account.password = node_agent::database::server::credentials::Secret::new("hush");
    let refused = Server::new(&place, PEER.0).observe(SOON).await.unwrap_err();
    assert!(
        matches!(refused, ServerError::Denied { code: 1045, .. }),
        "{refused}"
    );
    assert!(refused.alive() && !refused.to_string().contains("hush"));
}

#[tokio::test]
async fn a_disk_that_hangs_is_a_heartbeat_that_hangs() {
    let disk = Disk::new("200M").unwrap();
    let mut server = Alone::start_in(1, Some(&disk.place()), &[]).unwrap();
    let agent = server.local();
    agent.open(SOON).await.unwrap();
    assert_eq!(
        agent.heartbeat("shop", 1, 1, true, SOON).await.unwrap(),
        HeartbeatResult::Written
    );
    disk.freeze(true).unwrap();
    let beat = agent.heartbeat("shop", 1, 2, true, SECOND).await;
    assert!(matches!(beat, Err(ServerError::Hangs { .. })), "{beat:?}");
    // It answers questions: that is why they prove nothing.
    assert!(agent.writable(SECOND).await.unwrap());
    // The kill is delivered, and no thread of it answers anybody any more; gone it is when the disk comes back.
    let process = Process::of(&server.socket());
    let victim = process.find().unwrap().unwrap();
    let killed = process.kill(Some(&victim), SECOND);
    let said = agent.writable(SECOND).await;
    disk.freeze(false).unwrap();
    server.reap();
    assert!(!victim.runs());
    assert!(
        said.is_err(),
        "it answered after SIGKILL: {said:?} {killed:?}"
    );
    drop(server);
}

#[tokio::test]
async fn a_full_disk_is_no_heartbeat() {
    let disk = Disk::new("64M").unwrap();
    let server = Alone::start_in(1, Some(&disk.place()), &[]).unwrap();
    let agent = server.local();
    agent.open(SOON).await.unwrap();
    assert_eq!(
        agent.heartbeat("shop", 1, 1, true, SOON).await.unwrap(),
        HeartbeatResult::Written
    );
    let filler = disk.place().join("filler").display().to_string();
    // To the last block, root's reserve included.
    let filled = run(
        &["dd", "if=/dev/zero", &format!("of={filler}"), "bs=4096"],
        b"",
        SOON,
    )
    .unwrap();
    assert!(!filled.success());
    let mut beats = 0;
    loop {
        match agent.heartbeat("shop", 1, 2 + beats, true, SECOND).await {
            // A little room is left within the blocks that the logs have already.
            Ok(_) => beats += 1,
            Err(error) => {
                assert!(
                    matches!(error, ServerError::Hangs { .. } | ServerError::Said { .. }),
                    "{error}"
                );
                break;
            }
        }
        assert!(beats < 2000, "heartbeats go on without a disk");
    }
}

#[tokio::test]
async fn a_log_that_waits_for_a_replica_is_told_from_one_whose_disk_is_full() {
    log::told_from_one_whose_disk_is_full(Brand::MariaDb).await;
}
