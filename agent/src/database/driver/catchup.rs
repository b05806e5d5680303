//! What another replica received of a dead master and this one did not: fetched before this one opens.
//!
//! The first candidate is not always the one that received the most: a snapshot server hangs on the master as well, and
//! which of the two had the last transaction is chance. Without this, that transaction would be lost although it is
//! there, and the server that has it would be left with a history of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::context::Context;
use super::local_server::LocalServer;
use super::peers::{self, Peer};
use crate::database::gtid::{Containment, Gtids};
use crate::database::server::Observation;
use crate::fleet::Name;

/// All of it takes no longer; what was not fetched by then is the loss of any failover.
const LIMIT: Duration = Duration::from_secs(10);
/// A replica that still applies is looked at again, so often and so far apart.
const LOOKS: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// From whom, and how many transactions.
    pub(super) from: Option<(Name, u64)>,
    /// Those that could not be asked, or not be fetched from, and why.
    pub(super) missed: Vec<(Name, String)>,
}

/// Fetches what the reachable ones of `others` have and this server has not. Everything that it received before is
/// applied; afterwards it receives nothing and has applied everything again, or an error says that it has not.
pub(super) async fn catch_up(
    local: &LocalServer,
    context: &Context,
    others: Vec<(Name, Arc<Peer>)>,
    drain: u64,
) -> Result<Fetched, String> {
    let mut fetched = Fetched::default();
    let own = local.observe().await.map_err(|error| error.to_string())?;
    let mut looks = JoinSet::new();
    for (name, peer) in others {
        let patience = context.settings.times.timeout;
        let own = own.executed.clone();
        looks.spawn(async move {
            let ahead = ahead(&peer, &own, patience).await;
            (name, peer, ahead)
        });
    }
    let mut best: Option<(Name, Arc<Peer>, Gtids, u64)> = None;
    while let Some(look) = looks.join_next().await {
        let Ok((name, peer, ahead)) = look else {
            continue;
        };
        match ahead {
            Err(why) => fetched.missed.push((name, why)),
            Ok(Some((goal, count))) if best.as_ref().is_none_or(|best| best.3 < count) => {
                best = Some((name, peer, goal, count));
            }
            Ok(_) => {}
        }
    }
    let Some((name, peer, goal, count)) = best else {
        return Ok(fetched);
    };
    let fetching = async {
        let source = peers::source(context, &name).ok_or("it has no address")?;
        // Only that: a server that is about to open is not filled with a copy, and its events are left alone.
        let followed = local.server().follow(&peer.server, &source, LIMIT).await;
        followed.map_err(|error| error.to_string())?;
        let arrived = local.server().wait_has(&goal, LIMIT).await;
        arrived.map_err(|error| error.to_string())
    };
    let done = timeout(LIMIT, fetching)
        .await
        .unwrap_or_else(|_| Err("it took too long".to_owned()));
    // Whatever came of it: nothing more is received, and what was is applied.
    local.stop_receiving().await?;
    local.drain(drain).await?;
    match done {
        Ok(()) => fetched.from = Some((name, count)),
        Err(why) => fetched.missed.push((name, why)),
    }
    Ok(fetched)
}

/// What it has beyond `own`, and how many transactions that are. An error: it cannot be said, or must not be taken.
async fn ahead(
    peer: &Peer,
    own: &Gtids,
    patience: Duration,
) -> Result<Option<(Gtids, u64)>, String> {
    let mut seen = peer.server.observe(patience).await;
    for _ in 1..LOOKS {
        // Until it has applied what it received, part of that looks as if it were its own.
        match &seen {
            Ok(now) if now.replication.is_some() && !is_still(now) => {}
            _ => break,
        }
        sleep(PAUSE).await;
        seen = peer.server.observe(patience).await;
    }
    let seen = seen.map_err(|error| error.to_string())?;
    let count = seen.executed.beyond(own);
    if count == 0 {
        return Ok(None);
    }
    // Its own writes would become everybody's.
    if !seen.local_writes.is_empty() {
        return Err(format!(
            "it has transactions of its own ({})",
            seen.local_writes.tip()
        ));
    }
    if !seen.read_only {
        return Err("it accepts writes".to_owned());
    }
    if seen.executed.contains(own) != Containment::Yes {
        return Err(format!(
            "its history is another one ({})",
            seen.executed.tip()
        ));
    }
    Ok(Some((seen.executed, count)))
}

fn is_still(seen: &Observation) -> bool {
    seen.local_writes.is_empty() && seen.executed.contains(&seen.reach()) == Containment::Yes
}
