//! What semi-synchronous replication costs: COMMITs on real servers on loopback, alone, with a replica, and with one whose
//! word is waited for.

use std::time::{Duration, Instant};

use node_agent_tests::database::{Alone, chain, insert, settled};

use crate::Result;
use crate::table::{table, time};

/// Each figure is of so many COMMITs.
const COMMITS: u32 = 2000;
const SOON: Duration = Duration::from_secs(10);
/// Of the longest wait for a word, in the servers' own terms: for ever.
const FOR_EVER: Duration = Duration::from_hours(24 * 30);

pub fn report() -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut rows = Vec::new();
        for clients in [1, 8] {
            let alone = chain(1).await?;
            rows.push(row("no replica", &alone, clients).await?);
            let pair = chain(2).await?;
            settled(&pair).await?;
            rows.push(row("a replica", &pair, clients).await?);
            let (master, replica) = (pair_of(&pair, 0)?.local(), pair_of(&pair, 1)?.local());
            replica.semi_sync(false, true, FOR_EVER, SOON).await?;
            replica.receive_anew(SOON).await?;
            master.semi_sync(true, false, FOR_EVER, SOON).await?;
            let name = "a replica whose word is waited for";
            rows.push(row(name, &pair, clients).await?);
        }
        let head = [
            "one row a COMMIT",
            "clients",
            "COMMITs a second",
            "median",
            "p99",
        ];
        Ok(table(
            "COMMITs with and without semi-synchronous replication, MariaDB on loopback",
            &head,
            &rows,
        ))
    })
}

fn pair_of(servers: &[Alone], at: usize) -> Result<&Alone> {
    Ok(servers.get(at).ok_or("a server is missing")?)
}

/// Some clients commit rows on the first of the servers, each one after the other.
async fn row(name: &str, servers: &[Alone], clients: u32) -> Result<Vec<String>> {
    let master = pair_of(servers, 0)?;
    master.sql(&["TRUNCATE TABLE shop.orders"]).await?;
    let started = Instant::now();
    let each = COMMITS / clients;
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let session = master.app();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for number in 0..each {
                    let clock = Instant::now();
                    insert(&session, client * COMMITS + number).await?;
                    took.push(clock.elapsed());
                }
                Ok::<_, node_agent::database::server::ServerError>(took)
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    let all = started.elapsed();
    took.sort_unstable();
    let share = |percent: usize| {
        let rank = (took.len() * percent).div_ceil(100).max(1);
        took.get(rank - 1).copied().unwrap_or_default()
    };
    Ok(vec![
        name.to_owned(),
        clients.to_string(),
        format!("{:.0}", f64::from(each * clients) / all.as_secs_f64()),
        time(share(50)),
        time(share(99)),
    ])
}
