//! What tests of single servers have in common: a client's statements, and waiting for a chain.

use std::time::Duration;

use node_agent::database::gtid::{Flavour, Gtids};
use node_agent::database::server::{ServerError, Session, Statement};
use tokio::task::JoinHandle;

use super::Alone;

const SOON: Duration = Duration::from_secs(10);

/// Runs a client's statement beside the test; what became of it.
pub fn meanwhile(session: Session, sql: &str) -> JoinHandle<(Result<u64, ServerError>, Session)> {
    let statement = Statement::new(sql);
    tokio::spawn(async move {
        let done = session.tell(&statement, Duration::from_secs(20)).await;
        (done, session)
    })
}

/// Inserts a row of this number as a client does.
pub async fn insert(session: &Session, id: u32) -> Result<u64, ServerError> {
    let sql = format!("INSERT INTO shop.orders VALUES ({id}, 'x')");
    session.tell(&Statement::new(sql), SOON).await
}

/// Lets so much time pass.
pub async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Waits until all of the chain has what the first one has.
pub async fn settled(chain: &[Alone]) -> Result<Gtids, ServerError> {
    let mut goal = Gtids::none(Flavour::MariaDb);
    for (at, server) in chain.iter().enumerate() {
        if at == 0 {
            goal = server.local().position(SOON).await?;
        }
        server.local().wait_has(&goal, SOON).await?;
    }
    Ok(goal)
}
