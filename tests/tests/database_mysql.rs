//! Promise: what holds of `MariaDB` servers holds of `MySQL` servers, 8.0 and later: they are fenced in time, lose nothing that
//! they received, mix no histories, and say truly how they are. On real servers, which `tests/run-mysql` gets and
//! `tests/run` does not have.
//!
//! Where `MySQL` does otherwise than `MariaDB`, the test says so.

#![cfg(test)]

#[path = "both/crash.rs"]
mod crash;
#[path = "both/log.rs"]
mod log;
#[path = "mysql/semi_sync.rs"]
mod semi_sync;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use node_agent::database::gtid::{Containment, Flavour};
use node_agent::database::server::credentials::Tls;
use node_agent::database::server::{
    HeartbeatResult, Lock, Log, Process, Server, ServerError, Statement, ThreadState, audit,
    surplus,
};
use node_agent_tests::database::{Alone, Brand, PEER, chain_of, insert, meanwhile, pause, settled};
use node_agent_tests::machine::{Trouble, run};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);
const FOR_EVER: Duration = Duration::from_hours(24 * 30);

async fn chain(count: u32) -> Vec<Alone> {
    chain_of(Brand::MySql, count).await.unwrap()
}

fn alone(id: u32, more: &[&str]) -> Alone {
    Alone::start_of(Brand::MySql, id, None, more).unwrap()
}

/// How many orders a server has.
async fn orders(server: &Alone) -> String {
    let count = server.value("SELECT COUNT(*) FROM shop.orders").await;
    count.unwrap()
}

async fn until_orders(server: &Alone, count: &str) {
    let start = Instant::now();
    while orders(server).await != count {
        assert!(start.elapsed() < SOON, "never {count} orders");
        pause(50).await;
    }
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn a_fresh_chain_replicates_and_tells_so() {
    let chain = chain(3).await;
    insert(&chain[0].app(), 1).await.unwrap();
    let master = chain[0].local();
    for seq in 1..4 {
        let beat = master.heartbeat("shop", 1, seq, true, SOON).await.unwrap();
        assert_eq!(beat, HeartbeatResult::Written);
    }
    let goal = settled(&chain).await.unwrap();
    assert_eq!(goal.flavour(), Flavour::MySql);

    let seen = master.observe(SOON).await.unwrap();
    eprintln!("{}", seen.version);
    assert!(!seen.read_only && seen.strict && seen.replication.is_none());
    assert_eq!((seen.server_id, seen.max_connections), (11, 151));
    assert!(seen.clients >= 2 && seen.executed == goal, "{seen:?}");
    assert!(!seen.local_writes.is_empty());
    for (at, server) in chain.iter().enumerate().skip(1) {
        assert_eq!(orders(server).await, "1");
        // Its peers see the same of it as it does itself.
        for view in [server.local(), server.remote()] {
            let seen = view.observe(SOON).await.unwrap();
            assert!(seen.read_only && seen.local_writes.is_empty(), "{seen:?}");
            assert_eq!(seen.executed, goal);
            assert_eq!(seen.reach().contains(&goal), Containment::Yes);
            let replication = seen.replication.unwrap();
            let upstream = chain[at - 1].address();
            assert!(replication.by_gtid && replication.follows(upstream.ip(), upstream.port()));
            assert_eq!(replication.io.state, ThreadState::Running);
            assert_eq!(replication.sql.state, ThreadState::Running);
            assert_eq!(replication.received, Some(goal.clone()));
            assert!(replication.lag_secs < Some(5));
            assert!(!replication.encrypted);
        }
        let beat = server.local().heartbeat("shop", 9, 9, true, SOON).await;
        assert_eq!(beat, Ok(HeartbeatResult::ReadOnly));
        let seq = "SELECT CONCAT(epoch, ' ', seq) FROM agentd.heartbeat";
        assert_eq!(server.value(seq).await.unwrap(), "1 3");
    }
    assert!(audit::running(&master, SOON).await.unwrap().is_empty());
    let privileged = audit::privileged(&master, &[PEER.0], SOON).await.unwrap();
    assert!(privileged.is_empty(), "{privileged:?}");
    // Following whom it follows already changes nothing.
    chain[1]
        .local()
        .follow(&chain[0].remote(), &chain[0].source(), SOON)
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn nothing_that_runs_delays_the_fence_or_is_acknowledged() {
    let chain = chain(1).await;
    insert(&chain[0].app(), 1).await.unwrap();
    let (agent, late) = (
        chain[0].local(),
        "UPDATE shop.orders SET note = 'late' WHERE id = 1 AND SLEEP(4) = 0",
    );
    let running = meanwhile(chain[0].app(), late);
    pause(300).await;
    // The trap: without killing, it waits for the statement.
    let naive = meanwhile(chain[0].admin(), "SET GLOBAL super_read_only = ON");
    pause(700).await;
    assert!(!naive.is_finished(), "it did not wait");
    naive.abort();
    let closed = agent.close(SOON).await.unwrap();
    assert!(closed.took < SECOND && closed.killed >= 1, "{closed:?}");
    assert!(running.await.unwrap().0.is_err(), "acknowledged after all");
    assert!(!agent.writable(SOON).await.unwrap());
    let refused = insert(&chain[0].app(), 2).await.unwrap_err();
    assert_eq!(refused.code(), Some(1290), "{refused}");

    agent.open(SOON).await.unwrap();
    let holder = chain[0].app();
    let lock = Statement::new("LOCK TABLES shop.orders WRITE");
    holder.tell(&lock, SOON).await.unwrap();
    let closed = agent.close(SOON).await.unwrap();
    assert!(closed.took < SECOND, "{closed:?}");

    agent.open(SOON).await.unwrap();
    let (app, admin) = (chain[0].app(), chain[0].admin());
    for (session, id) in [(&app, 3), (&admin, 4)] {
        session.tell(&Statement::new("BEGIN"), SOON).await.unwrap();
        insert(session, id).await.unwrap();
    }
    agent.close(SOON).await.unwrap();
    for session in [&app, &admin] {
        let commit = session.tell(&Statement::new("COMMIT"), SOON).await;
        assert!(commit.is_err(), "{commit:?}");
    }
    assert_eq!(orders(&chain[0]).await, "1");
    // Other than MariaDB's read_only: the administrator is refused as well.
    let hand = chain[0].sql(&["DELETE FROM shop.orders"]).await;
    assert!(hand.unwrap_err().to_string().contains("1290"));
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn a_peer_fences_an_abandoned_master_over_the_network() {
    let chain = chain(1).await;
    let peer = chain[0].remote();
    assert!(peer.writable(SOON).await.unwrap());
    // Of its own agent there are sessions too, and of an administrator.
    chain[0].local().observe(SOON).await.unwrap();
    let admin = chain[0].admin();
    admin.tell(&Statement::new("BEGIN"), SOON).await.unwrap();
    insert(&admin, 7).await.unwrap();
    let running = meanwhile(chain[0].app(), "INSERT INTO shop.orders SELECT 1, SLEEP(5)");
    pause(200).await;
    let closed = peer.close(SOON).await.unwrap();
    assert!(closed.took < SECOND, "{closed:?}");
    assert!(running.await.unwrap().0.is_err());
    assert!(admin.tell(&Statement::new("COMMIT"), SOON).await.is_err());
    assert!(!peer.writable(SOON).await.unwrap());
    // MySQL's SLEEP returns where it is ended, and the statement is committed all the same: its client is not told so, and
    // it is there before the server is closed.
    let open = chain[0].value("SELECT COUNT(*) FROM shop.orders WHERE id = 7");
    assert_eq!(open.await.unwrap(), "0");

    // Without this right it ends whom it may, and says that the fence is not whole: the local agent's own connections are a
    // system account's too.
    chain[0].local().open(SOON).await.unwrap();
    let revoke = "REVOKE SYSTEM_USER ON *.* FROM 'agentd'@'%'";
    let unlogged = "SET SESSION sql_log_bin = 0";
    chain[0].sql(&[unlogged, revoke]).await.unwrap();
    admin.tell(&Statement::new("DO 0"), SOON).await.unwrap();
    let running = meanwhile(chain[0].app(), "INSERT INTO shop.orders SELECT 2, SLEEP(5)");
    pause(200).await;
    let refused = chain[0].remote().close(SOON).await;
    assert!(
        matches!(refused, Err(ServerError::Denied { code: 1095, .. })),
        "{refused:?}"
    );
    assert!(running.await.unwrap().0.is_err());
    assert!(!peer.writable(SOON).await.unwrap());
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn a_server_without_a_connection_to_spare_lives_and_can_be_fenced() {
    let server = alone(1, &["--max-connections=10"]);
    let agent = server.local();
    agent.observe(SOON).await.unwrap();
    agent.open(SOON).await.unwrap();
    agent.heartbeat("shop", 1, 1, true, SOON).await.unwrap();
    agent.reserve(SOON).await.unwrap();
    let mut held = Vec::new();
    let full = loop {
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
    let beat = agent.heartbeat("shop", 1, 2, true, SOON).await;
    assert_eq!(beat, Ok(HeartbeatResult::Written));
    let closed = agent.close(SOON).await.unwrap();
    assert!(closed.took < SECOND && closed.killed >= 1, "{closed:?}");
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn a_stopped_server_is_told_from_a_dead_one_and_killed() {
    let mut chain = chain(1).await;
    let (agent, process) = (chain[0].local(), Process::of(&chain[0].socket()));
    agent.heartbeat("shop", 1, 1, true, SOON).await.unwrap();
    let pid_file = agent.observe(SOON).await.unwrap().pid_file.unwrap();
    let noted = std::fs::read_to_string(&pid_file).unwrap();
    assert_eq!(noted.trim(), chain[0].pid().to_string());
    chain[0].signal(Signal::SIGSTOP).unwrap();
    // Its threads stop one after another.
    pause(200).await;
    let deadline = Duration::from_millis(500);
    for server in [&agent, &chain[0].remote()] {
        let hangs = server.observe(deadline).await.unwrap_err();
        assert!(matches!(hangs, ServerError::Hangs { .. }), "{hangs}");
    }
    let beat = agent.heartbeat("shop", 1, 2, true, deadline).await;
    assert!(matches!(beat, Err(ServerError::Hangs { .. })), "{beat:?}");

    let victim = process.find().unwrap().unwrap();
    assert_eq!(victim.pid, chain[0].pid());
    let killed = process.kill(Some(&victim), SECOND).unwrap();
    assert_eq!(killed, Some(victim.pid));
    chain[0].reap();
    let gone = agent.observe(SECOND).await.unwrap_err();
    assert!(matches!(gone, ServerError::NoProcess { .. }), "{gone}");
    chain[0].restart().unwrap();
    assert!(!agent.writable(SOON).await.unwrap());
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn a_lock_is_a_session_and_survives_the_fence() {
    let chain = chain(1).await;
    let ttl = Duration::from_secs(2);
    let master = Lock::new(&chain[0].peer_place(), "shop", ttl);
    let candidate = Lock::new(&chain[0].local_place(), "shop", ttl);
    assert!(!master.ping(SOON).await.unwrap());
    assert_eq!(candidate.silence(SOON).await, Ok(None));
    assert!(master.take(SOON).await.unwrap() && master.take(SOON).await.unwrap());
    assert!(!candidate.take(SOON).await.unwrap());
    chain[0].local().close(SOON).await.unwrap();
    assert!(master.ping(SOON).await.unwrap());
    let silent = Instant::now();
    pause(1100).await;
    let silence = candidate.silence(SOON).await.unwrap();
    assert!(silence >= Some(SECOND), "{silence:?}");
    while !candidate.take(SOON).await.unwrap() {
        pause(100).await;
    }
    assert!(silent.elapsed() >= ttl && silent.elapsed() < ttl + SOON);
    assert!(!master.ping(SOON).await.unwrap());
    assert!(!master.take(SOON).await.unwrap());
    candidate.release().await;
    let start = Instant::now();
    while !master.take(SOON).await.unwrap() {
        assert!(start.elapsed() < SOON);
        pause(20).await;
    }
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn what_was_received_is_applied_before_anything_else_happens_to_it() {
    let mut chain = chain(2).await;
    let replica = chain[1].local();
    settled(&chain).await.unwrap();
    chain[1].sql(&["STOP REPLICA SQL_THREAD"]).await.unwrap();
    let app = chain[0].app();
    for id in 1..=20 {
        insert(&app, id).await.unwrap();
    }
    let goal = chain[0].local().position(SOON).await.unwrap();
    while replica.observe(SOON).await.unwrap().reach().contains(&goal) != Containment::Yes {
        pause(20).await;
    }
    drop(app);
    chain[0].end();

    let stands = replica.wait_applied(SOON).await.unwrap_err();
    assert!(
        stands.to_string().contains("applying thread stands"),
        "{stands}"
    );
    for refused in [
        replica.stop_receiving(SOON).await,
        replica.forget_source(SOON).await,
    ] {
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains("would be lost"), "{refused}");
    }
    let other = alone(7, &[]);
    let followed = replica.follow(&other.remote(), &other.source(), SOON).await;
    assert!(
        matches!(followed, Err(ServerError::Unsafe { .. })),
        "{followed:?}"
    );

    chain[1].sql(&["START REPLICA SQL_THREAD"]).await.unwrap();
    replica.stop_receiving(SOON).await.unwrap();
    let reached = replica.wait_applied(SOON).await.unwrap();
    assert_eq!(reached, goal);
    replica.forget_source(SOON).await.unwrap();
    replica.open(SOON).await.unwrap();
    assert_eq!(orders(&chain[1]).await, "20");
    assert!(replica.observe(SOON).await.unwrap().replication.is_none());
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn what_was_received_outlives_both_threads_and_a_crash() {
    let mut chain = chain(2).await;
    settled(&chain).await.unwrap();
    chain[1].sql(&["STOP REPLICA SQL_THREAD"]).await.unwrap();
    insert(&chain[0].app(), 1).await.unwrap();
    pause(500).await;
    chain[0].end();
    // Other than MariaDB, which throws it away at either.
    chain[1].sql(&["STOP REPLICA"]).await.unwrap();
    chain[1].end();
    chain[1].restart().unwrap();
    assert_eq!(orders(&chain[1]).await, "0");
    let replica = chain[1].local();
    let forgotten = replica.forget_source(SOON).await.unwrap_err();
    assert!(
        forgotten.to_string().contains("would be lost"),
        "{forgotten}"
    );
    chain[1].sql(&["START REPLICA"]).await.unwrap();
    replica.wait_applied(SOON).await.unwrap();
    assert_eq!(orders(&chain[1]).await, "1");
}

/// Makes an authority, `ca.pem`, and a certificate of it for 127.0.0.1, `cert.pem` with `key.pem`.
fn certify(dir: &Path) -> Result<(), Trouble> {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -days 2 -keyout ca.key -out ca.pem
        openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=db -days 2 -CA ca.pem -CAkey ca.key -keyout key.pem -out cert.pem \
            -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:false";
    let script = format!("set -e; cd {}\n{script}", dir.display());
    let made = run(&["sh", "-c", &script], b"", SOON)?;
    if made.success() {
        Ok(())
    } else {
        Err(Trouble::caused("no certificates", made.stderr))
    }
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn sessions_and_replication_are_encrypted_where_that_is_asked_for() {
    let dir = tempfile::TempDir::with_prefix("agentd-certificates-").unwrap();
    certify(dir.path()).unwrap();
    let at = |name: &str| dir.path().join(name);
    let options = [("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")];
    let options = options.map(|(what, name)| format!("--ssl-{what}={}", at(name).display()));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (master, replica) = (alone(1, &options), alone(2, &options));
    let seen_by = |server: &Alone, ca: PathBuf| {
        let mut place = server.peer_place();
        place.tls = Some(Tls { ca });
        Server::new(&place, PEER.0)
    };
    let upstream = seen_by(&master, at("ca.pem"));
    let mut source = master.source();
    source.tls = Some(Tls { ca: at("ca.pem") });
    let agent = replica.local();
    agent.follow(&upstream, &source, SOON).await.unwrap();
    master.local().open(SOON).await.unwrap();
    master.sql(&["CREATE DATABASE shop"]).await.unwrap();
    let goal = upstream.position(SOON).await.unwrap();
    agent.wait_has(&goal, SOON).await.unwrap();
    let replication = agent.observe(SOON).await.unwrap().replication.unwrap();
    assert!(replication.encrypted && replication.io.state == ThreadState::Running);

    // Of another authority. And the certificate that a server makes for itself, which names no address: if that ever
    // connects, the documentation asks for more than is needed.
    let other = alone(3, &[]);
    for ca in [at("ca.pem"), other.dir().join("data/ca.pem")] {
        let refused = seen_by(&other, ca).observe(SOON).await.unwrap_err();
        assert!(
            matches!(refused, ServerError::Unreachable { .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains("certificate"), "{refused}");
    }
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn events_are_left_alone() {
    let chain = chain(2).await;
    let event = "CREATE EVENT shop.tick ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.orders";
    chain[0].sql(&[event]).await.unwrap();
    settled(&chain).await.unwrap();
    let (master, replica) = (chain[0].local(), chain[1].local());
    master.note_events(SOON).await.unwrap();
    assert_eq!(master.disable_events(SOON).await, Ok(0));
    assert_eq!(replica.enable_events(SOON).await, Ok(0));
    // The trap for people: a replica marks it as MariaDB does, and a promotion changes nothing of that.
    let status = "SELECT STATUS FROM information_schema.EVENTS";
    assert_eq!(chain[0].value(status).await.unwrap(), "ENABLED");
    let marked = chain[1].value(status).await.unwrap();
    assert!(marked.ends_with("SIDE_DISABLED"), "{marked}");
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn after_a_crash_it_follows_again_only_while_its_source_answers() {
    crash::follows_only_while_its_source_answers(Brand::MySql).await;
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn a_replica_with_a_transaction_of_its_own_is_found_and_follows_nobody() {
    let chain = chain(2).await;
    insert(&chain[0].app(), 1).await.unwrap();
    settled(&chain).await.unwrap();
    let (replica, master) = (chain[1].local(), chain[0].remote());
    assert!(replica.observe(SOON).await.unwrap().local_writes.is_empty());
    // An administrator's hand, past read_only.
    chain[1]
        .sql(&["INSERT INTO shop.orders VALUES (100, 'errant')"])
        .await
        .unwrap();
    let seen = replica.observe(SOON).await.unwrap();
    assert!(!seen.local_writes.is_empty(), "{seen:?}");
    let other = master.observe(SOON).await.unwrap();
    assert_eq!(seen.executed.beyond(&other.executed), 1);

    replica.stop_receiving(SOON).await.unwrap();
    replica.forget_source(SOON).await.unwrap();
    let refused = replica.follow(&master, &chain[0].source(), SOON).await;
    let refused = refused.unwrap_err().to_string();
    let errant = seen.executed.minus(&other.executed).to_string();
    assert!(
        refused.contains("transactions that") && refused.contains(&errant),
        "{refused}"
    );

    // What is too much is saved as statements.
    let file = chain[1].dir().join("surplus.sql");
    let tool = chain[1].brand().log_reader(chain[1].dir()).unwrap();
    surplus::save(&replica, &other.executed, &tool, &file, SOON)
        .await
        .unwrap();
    let saved = std::fs::read_to_string(&file).unwrap();
    assert!(saved.contains("errant"), "{saved}");
    assert!(saved.contains(&format!("GTID_NEXT= '{errant}'")), "{saved}");
    // And the one that the tool adds at the end.
    assert_eq!(saved.matches("GTID_NEXT= '").count(), 2, "{saved}");
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn an_old_master_rejoins_only_without_a_surplus() {
    let mut chain = chain(3).await;
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
    let (old, master) = (chain[0].local(), chain[1].remote());
    old.follow(&master, &chain[1].source(), SOON).await.unwrap();
    let goal = candidate.position(SOON).await.unwrap();
    for server in &chain {
        server.local().wait_has(&goal, SOON).await.unwrap();
        assert_eq!(orders(server).await, "2");
    }
    // It has been a master, and nothing that it wrote then counts against it, whoever looks and whenever he came.
    for view in [&old, &chain[0].local(), &chain[0].remote()] {
        let seen = view.observe(SOON).await.unwrap();
        assert!(seen.local_writes.is_empty(), "{seen:?}");
    }
    // What it writes from now on does.
    chain[0].sql(&["DELETE FROM shop.orders"]).await.unwrap();
    assert!(!old.observe(SOON).await.unwrap().local_writes.is_empty());
    old.stop_receiving(SOON).await.unwrap();
    old.forget_source(SOON).await.unwrap();
    let refused = old.follow(&master, &chain[1].source(), SOON).await;
    assert!(
        matches!(refused, Err(ServerError::Unsafe { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn what_would_mix_histories_is_refused() {
    let chain = chain(1).await;
    let (master, source) = (chain[0].remote(), chain[0].source());
    let loose = alone(
        2,
        &[
            "--gtid-mode=OFF",
            "--enforce-gtid-consistency=OFF",
            "--sync-binlog=0",
        ],
    );
    let refused = loose.local().follow(&master, &source, SOON).await;
    assert!(refused.unwrap_err().to_string().contains("gtid_mode"));
    let found = audit::running(&loose.local(), SOON).await.unwrap();
    let told: Vec<(&str, bool)> = found
        .iter()
        .map(|it| (it.setting.as_str(), it.grave))
        .collect();
    assert_eq!(
        told,
        [
            ("gtid_mode", true),
            ("enforce_gtid_consistency", true),
            ("sync_binlog", false)
        ]
    );
    // What was there before the binary log knew of it is not brought by replication.
    let filled = alone(3, &[]);
    filled
        .sql(&["SET SESSION sql_log_bin = 0", "CREATE DATABASE old"])
        .await
        .unwrap();
    let refused = filled.local().follow(&master, &source, SOON).await;
    assert!(refused.unwrap_err().to_string().contains("databases"));
    let same = alone(11, &[]).local().follow(&master, &source, SOON).await;
    assert!(same.unwrap_err().to_string().contains("server_id"));
}

#[tokio::test]
#[ignore = "needs tests/run-mysql"]
async fn the_heartbeat_goes_on_in_the_strictest_mode() {
    let server = alone(
        1,
        &["--sql-mode=STRICT_ALL_TABLES,ANSI,NO_BACKSLASH_ESCAPES,NO_ZERO_DATE"],
    );
    let agent = server.local();
    agent.open(SOON).await.unwrap();
    for logged in [true, false] {
        let beat = agent.heartbeat("shop", 1, 1, logged, SOON).await;
        assert_eq!(beat, Ok(HeartbeatResult::Written));
    }
    server.install_semi_sync().await.unwrap();
    agent.semi_sync(true, false, FOR_EVER, SOON).await.unwrap();
    assert!(agent.observe(SOON).await.unwrap().semi_sync.source_active);
    // That one is not logged, or replicas would have to be waited for.
    let beat = agent.heartbeat("shop", 1, 2, false, SOON).await;
    assert_eq!(beat, Ok(HeartbeatResult::Written));
}
