//! A replica that crashed: of either brand.

use std::time::Duration;

use nix::sys::signal::Signal;
use node_agent::database::server::{ServerError, ThreadState};
use node_agent_tests::database::{Brand, chain_of, insert, settled};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);

/// It follows again only while its source answers.
pub async fn follows_only_while_its_source_answers(brand: Brand) {
    let mut chain = chain_of(brand, 2).await.unwrap();
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
