//! Promise: when nobody says any more that the master may serve, the kernel cuts its clients, to the moment, and
//! replicas still reach it. On a real `MariaDB` server and the kernel's own packet filter, in a network namespace.

use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node_agent::database::deadman::{Armed, DeadMan, DeadManError, Gate, NftGate};
use node_agent::database::server::{ServerError, Statement};
use node_agent::system::clock::boottime;
use node_agent_tests::database::Alone;
use node_agent_tests::machine::{Trouble, run};

const SOON: Duration = Duration::from_secs(10);
/// Where clients come from, and where peers do.
const CLIENT: &str = "10.77.0.11";
const PEER_AT: &str = "10.77.0.32";

/// Gives this thread, and what it starts, a network of its own with both addresses.
fn own_network() -> Result<(), Trouble> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|e| Trouble::caused("cannot make a network namespace (root is needed)", e))?;
    for line in [
        "ip link set lo up".to_owned(),
        format!("ip addr add {CLIENT}/32 dev lo"),
        format!("ip addr add {PEER_AT}/32 dev lo"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let done = run(&words, b"", SOON)?;
        if !done.success() {
            return Err(Trouble::caused(line, done.stderr));
        }
    }
    Ok(())
}

/// In a thread of its own, for the network is the thread's.
#[expect(clippy::unwrap_used, reason = "the frame of each test here")]
fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let body = move || {
        own_network().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    };
    std::thread::Builder::new()
        .name("own network".to_owned())
        .spawn(body)
        .unwrap()
        .join()
        .unwrap();
}

fn gate(server: &Alone) -> NftGate {
    NftGate::new(Gate {
        product: "shop".to_owned(),
        port: server.address().port(),
        peers: [PEER_AT, "fd00::32"]
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect(),
    })
}

fn server() -> Result<Alone, Trouble> {
    Alone::start(31, &["--bind-address=0.0.0.0"])
}

fn ruleset() -> String {
    run(&["nft", "list", "ruleset"], b"", SOON)
        .map_or_else(|e| e.to_string(), |output| output.stdout)
}

fn one() -> Statement {
    Statement::new("DO 1")
}

#[test]
fn clients_are_cut_at_the_deadline_and_not_before() {
    alone(|| async {
        let server = server().unwrap();
        server.local().open(SOON).await.unwrap();
        server
            .sql(&[
                "CREATE DATABASE shop",
                "CREATE TABLE shop.t (id INT PRIMARY KEY)",
            ])
            .await
            .unwrap();
        let gate = gate(&server);
        let (client, peer) = (server.app_at(CLIENT), server.remote_at(PEER_AT));
        client.tell(&one(), SOON).await.unwrap();
        peer.observe(SOON).await.unwrap();

        let until = boottime() + Duration::from_millis(2500);
        gate.arm(until).await.unwrap();
        assert!(matches!(gate.check().await.unwrap(), Armed::Open(_)));
        client.tell(&one(), SOON).await.unwrap();
        // Under way at the deadline: it is done, and must not be acknowledged.
        let late = server.app_at(CLIENT);
        late.tell(&one(), SOON).await.unwrap();
        let under_way = tokio::spawn(async move {
            let slow = Statement::new("INSERT INTO shop.t SELECT SLEEP(4)");
            late.tell(&slow, Duration::from_secs(7)).await
        });
        // Nobody feeds it: the agent was killed, or stopped. Its client asks on, over an established connection.
        let mut last = Duration::ZERO;
        while client
            .tell(&one(), Duration::from_millis(200))
            .await
            .is_ok()
        {
            last = boottime();
            assert!(last < until + SOON, "it never closes");
        }
        // This thread may see an answer a moment after it came.
        assert!(
            last < until + Duration::from_millis(50),
            "answered after the deadline"
        );
        let early = until.saturating_sub(last);
        eprintln!("cut {early:?} before the deadline at most");
        assert!(
            early < Duration::from_secs(1),
            "cut {early:?} before the deadline"
        );
        assert_eq!(gate.check().await.unwrap(), Armed::Closed);

        // A new connection is refused at once, and does not have to wait for a timeout.
        let start = Instant::now();
        let refused = server.app_at(CLIENT).tell(&one(), SOON).await.unwrap_err();
        assert!(
            matches!(refused, ServerError::NoProcess { .. }),
            "{refused}"
        );
        assert!(start.elapsed() < Duration::from_secs(1));
        // Loopback is a client's way too.
        assert!(server.app().tell(&one(), SOON).await.is_err());
        // Whoever has to drain and to fence gets through.
        peer.observe(SOON).await.unwrap();
        server.local().observe(SOON).await.unwrap();
        let acknowledged = under_way.await.unwrap();
        assert!(acknowledged.is_err(), "acknowledged after the deadline");

        // Nothing but the port is touched.
        let other = Alone::start(32, &[]).unwrap();
        other.app().tell(&one(), SOON).await.unwrap();

        gate.disarm().await.unwrap();
        assert_eq!(ruleset(), "", "left behind");
        server.app_at(CLIENT).tell(&one(), SOON).await.unwrap();
        gate.disarm().await.unwrap();
        assert_eq!(gate.check().await.unwrap(), Armed::Absent);
    });
}

#[test]
fn fed_it_stays_open_and_closed_it_is_closed_at_once() {
    alone(|| async {
        let server = server().unwrap();
        let gate = gate(&server);
        let client = server.app_at(CLIENT);
        gate.arm(boottime() + Duration::from_secs(1)).await.unwrap();
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            gate.feed(boottime() + Duration::from_secs(1))
                .await
                .unwrap();
            client.tell(&one(), SOON).await.unwrap();
        }
        gate.close().await.unwrap();
        assert_eq!(gate.check().await.unwrap(), Armed::Closed);
        assert!(
            client
                .tell(&one(), Duration::from_millis(500))
                .await
                .is_err()
        );
        // Armed anew, without a gap, and open again.
        gate.arm(boottime() + Duration::from_secs(2)).await.unwrap();
        server.app_at(CLIENT).tell(&one(), SOON).await.unwrap();
        gate.disarm().await.unwrap();
    });
}

#[test]
fn whoever_removes_it_is_noticed() {
    alone(|| async {
        let server = server().unwrap();
        let gate = gate(&server);
        let soon = || boottime() + Duration::from_secs(5);
        gate.arm(soon()).await.unwrap();
        let flush = |words: &str| run(&["nft", words], b"", SOON).unwrap();
        assert!(flush("flush ruleset").success());
        assert_eq!(gate.check().await.unwrap(), Armed::Absent);
        assert!(matches!(
            gate.feed(soon()).await,
            Err(DeadManError::Gone { .. })
        ));

        // The table stands, and gates nothing: feeding it succeeds, and looking at it tells.
        gate.arm(soon()).await.unwrap();
        assert!(flush(&format!("flush table inet {}", gate.table())).success());
        gate.feed(soon()).await.unwrap();
        assert_eq!(gate.check().await.unwrap(), Armed::Absent);
        // A rule before ours lets everybody through.
        gate.arm(soon()).await.unwrap();
        let insert = format!("insert rule inet {} received accept", gate.table());
        assert!(flush(&insert).success());
        assert_eq!(gate.check().await.unwrap(), Armed::Absent);
        gate.arm(soon()).await.unwrap();
        assert!(matches!(gate.check().await.unwrap(), Armed::Open(_)));
        gate.disarm().await.unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn a_feeder_that_is_stopped_or_killed_feeds_no_more() {
    alone(|| async {
        let server = server().unwrap();
        let gate = gate(&server);
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            gate.arm(boottime() + Duration::from_millis(1500))
                .await
                .unwrap();
            // As the agent does: each 0.2 s up to 1.5 s from now.
            let feeding = format!(
                "while :; do nft 'flush set inet {0} open; add element inet {0} open {{ {1} timeout 1500ms }}'; sleep 0.2; done",
                gate.table(),
                server.address().port()
            );
            let mut feeder = std::process::Command::new("sh")
                .args(["-c", &feeding])
                .spawn()
                .unwrap();
            let client = server.app_at(CLIENT);
            tokio::time::sleep(Duration::from_secs(2)).await;
            client.tell(&one(), SOON).await.unwrap();
            kill(Pid::from_raw(i32::try_from(feeder.id()).unwrap()), signal).unwrap();
            let stopped = boottime();
            while client
                .tell(&one(), Duration::from_millis(200))
                .await
                .is_ok()
            {
                assert!(
                    boottime().saturating_sub(stopped) < SOON,
                    "it goes on serving"
                );
            }
            let cut = boottime().saturating_sub(stopped);
            feeder.kill().unwrap();
            feeder.wait().unwrap();
            assert!(cut < Duration::from_secs(2), "{signal}: cut after {cut:?}");
        }
        gate.disarm().await.unwrap();
    });
}
