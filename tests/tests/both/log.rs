//! A binary log that waits, and one that cannot be written: of servers of either brand.

use std::time::{Duration, Instant};

use node_agent::database::server::{HeartbeatResult, Log, ServerError};
use node_agent_tests::database::{Alone, Brand, Disk, meanwhile, pause};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);

/// A log that waits for a replica is told from one whose disk is full.
pub async fn told_from_one_whose_disk_is_full(brand: Brand) {
    let disk = Disk::new("16M").unwrap();
    let log = format!("--log-bin={}", disk.place().join("binlog").display());
    let mut server = Alone::start_of(brand, 1, None, &[&log]).unwrap();
    server.install_semi_sync().await.unwrap();
    let agent = server.local();
    agent.open(SOON).await.unwrap();
    let tables = "CREATE TABLE shop.orders (id INT PRIMARY KEY, note LONGTEXT)";
    server.sql(&["CREATE DATABASE shop", tables]).await.unwrap();
    assert_eq!(agent.log(false, SECOND).await, Ok(Log::Takes));
    let for_ever = Duration::from_hours(24 * 30);
    agent.semi_sync(true, false, for_ever, SOON).await.unwrap();
    assert_eq!(agent.log(true, SECOND).await, Ok(Log::Takes));

    // The first waits with its transaction in the log, the second for the log.
    let waiting: Vec<_> = (1..3)
        .map(|id| {
            let insert = format!("INSERT INTO shop.orders VALUES ({id}, 'x')");
            meanwhile(server.app(), &insert)
        })
        .collect();
    pause(500).await;
    let connected = || async { agent.observe(SOON).await.unwrap().clients };
    let before = connected().await;
    for _ in 0..10 {
        let said = agent.log(true, SECOND).await;
        assert_eq!(said, Ok(Log::WaitsForReplicas));
    }
    assert!(
        connected().await <= before + 1,
        "heartbeats leave connections behind"
    );
    // The trap: who does not ask what it waits for takes it for a dead disk. With MySQL it depends on who waits behind whom.
    let naive = agent.log(false, SECOND).await;
    assert!(
        brand == Brand::MySql || matches!(naive, Err(ServerError::Hangs { .. })),
        "{naive:?}"
    );
    server.end();
    for one in waiting {
        assert!(one.await.unwrap().0.is_err(), "acknowledged by nobody");
    }

    server.restart().unwrap();
    let agent = server.local();
    agent.semi_sync(true, false, for_ever, SOON).await.unwrap();
    agent.open(SOON).await.unwrap();
    agent.heartbeat("shop", 1, 1, false, SOON).await.unwrap();
    let long = meanwhile(
        server.app(),
        "INSERT INTO shop.orders VALUES (3, REPEAT('x', 15000000))",
    );
    // It takes its time until the disk is full.
    let start = Instant::now();
    let said = loop {
        let said = agent.log(true, SECOND).await;
        if said.is_err() || start.elapsed() > SOON {
            break said;
        }
        pause(200).await;
    };
    // The trap: a heartbeat that is not logged knows nothing of it.
    let beat = agent.heartbeat("shop", 1, 2, false, SECOND).await;
    server.end();
    assert!(matches!(said, Err(ServerError::Hangs { .. })), "{said:?}");
    assert_eq!(beat, Ok(HeartbeatResult::Written));
    assert!(long.await.unwrap().0.is_err());
}
