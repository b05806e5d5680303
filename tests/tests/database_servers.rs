//! Promise: what is done to a database server is done in time or not at all, loses nothing that it received, and mixes
//! nothing; whatever its clients are doing. On real `MariaDB` servers of the host's package.
//!
//! Each test is a trap that was measured first: where the plain statement does something else, the test shows that too.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use node_agent::database::gtid::{Containment, Flavour, Gtids};
use node_agent::database::server::{
    Beat, Lock, Process, Server, ServerError, Session, Statement, ThreadState, audit, surplus,
};
use node_agent_tests::database::{Alone, PEER, chain};
use node_agent_tests::machine::{Trouble, run};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);

/// Runs a client's statement beside the test; what became of it.
fn meanwhile(
    session: Session,
    sql: &str,
) -> tokio::task::JoinHandle<(Result<u64, ServerError>, Session)> {
    let statement = Statement::new(sql);
    tokio::spawn(async move {
        let done = session.tell(&statement, Duration::from_secs(20)).await;
        (done, session)
    })
}

async fn insert(session: &Session, id: u32) -> Result<u64, ServerError> {
    let sql = format!("INSERT INTO shop.orders VALUES ({id}, 'x')");
    session.tell(&Statement::new(sql), SOON).await
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Waits until all of the chain has what the first one has.
async fn settled(chain: &[Alone]) -> Result<Gtids, ServerError> {
    let mut goal = Gtids::none(Flavour::MariaDb);
    for (at, server) in chain.iter().enumerate() {
        if at == 0 {
            goal = server.local().position(SOON).await?;
        }
        server.local().wait_has(&goal, SOON).await?;
    }
    Ok(goal)
}

#[tokio::test]
async fn a_fresh_chain_replicates_and_tells_so() {
    let chain = chain(3).await.unwrap();
    insert(&chain[0].app(), 1).await.unwrap();
    let master = chain[0].local();
    assert_eq!(
        master.heartbeat("shop", 1, 1, true, SOON).await.unwrap(),
        Beat::Written
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
        assert_eq!(beat, Beat::ReadOnly);
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
        Beat::Written
    );
    let seen = agent.observe(SOON).await.unwrap();
    assert!(seen.clients >= seen.max_connections);
    let closed = agent.close(SOON).await.unwrap();
    assert!(closed.took < SECOND && closed.killed >= 1, "{closed:?}");
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
async fn after_a_crash_it_follows_again_only_while_its_source_answers() {
    let mut chain = chain(2).await.unwrap();
    settled(&chain).await.unwrap();
    chain[1].end();
    chain[1].restart().unwrap();
    let (replica, source) = (chain[1].local(), chain[0].remote());
    let seen = replica.observe(SOON).await.unwrap();
    assert!(seen.read_only);
    assert_eq!(seen.replication.unwrap().io.state, ThreadState::Stopped);
    insert(&chain[0].app(), 1).await.unwrap();

    chain[0].signal(Signal::SIGSTOP).unwrap();
    let refused = replica.start_replication(&source, SECOND).await;
    assert!(
        matches!(refused, Err(ServerError::Hangs { .. })),
        "{refused:?}"
    );
    chain[0].signal(Signal::SIGCONT).unwrap();
    replica.start_replication(&source, SOON).await.unwrap();
    settled(&chain).await.unwrap();
    assert_eq!(
        chain[1]
            .value("SELECT COUNT(*) FROM shop.orders")
            .await
            .unwrap(),
        "1"
    );
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
        Beat::Written
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

/// A small file system of its own in a file, for disks that hang or are full. Unmounted on drop.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new(size: &str) -> Result<Self, Trouble> {
        let dir = tempfile::TempDir::with_prefix("agentd-disk-")
            .map_err(|e| Trouble::caused("cannot make a disk", e))?;
        let disk = Self { dir };
        let image = disk.dir.path().join("image").display().to_string();
        std::fs::create_dir(disk.place()).map_err(|e| Trouble::caused("cannot make a disk", e))?;
        let place = disk.place().display().to_string();
        for argv in [
            &["truncate", "-s", size, &image][..],
            &["mkfs.ext4", "-q", "-F", &image],
            &["mount", "-o", "loop", &image, &place],
        ] {
            let made = run(argv, b"", SOON)?;
            if !made.success() {
                return Err(Trouble::caused(argv.join(" "), made.stderr));
            }
        }
        Ok(disk)
    }

    fn place(&self) -> std::path::PathBuf {
        self.dir.path().join("place")
    }

    fn freeze(&self, on: bool) -> Result<(), Trouble> {
        let place = self.place().display().to_string();
        let option = if on { "-f" } else { "-u" };
        run(&["fsfreeze", option, &place], b"", SOON).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Thawed already, in the good case.
        let _ = self.freeze(false);
        let place = self.place().display().to_string();
        let _ = run(&["umount", "--lazy", &place], b"", SOON);
    }
}

#[tokio::test]
async fn a_disk_that_hangs_is_a_heartbeat_that_hangs() {
    let disk = Disk::new("200M").unwrap();
    let mut server = Alone::start_in(1, Some(&disk.place()), &[]).unwrap();
    let agent = server.local();
    agent.open(SOON).await.unwrap();
    assert_eq!(
        agent.heartbeat("shop", 1, 1, true, SOON).await.unwrap(),
        Beat::Written
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
        Beat::Written
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
