//! Operators' orders to databases (`agentctl db switchover`, `takeover`, `rejoin`, `pause`, `resume`): checked, and passed to
//! who carries them out.
//!
//! A hold is an object in the bucket, and any of the product's database servers may write it: that needs no more than
//! the bucket. Everything else is done by the driver of the product's database on this machine: `execute`.

pub(super) mod execute;

use std::sync::Arc;
use std::time::Duration;

use super::database_drivers::DatabaseDrivers;
use crate::control::messages::{DatabaseOrder, DatabaseReply, Reply};
use crate::control::server::OrderRequest;
use crate::converge::Session;
use crate::database::hold::Hold;
use crate::fleet::{Clusters, Name};
use crate::node::databases;
use crate::system::chain;

/// Within this time the drivers of all servers have read a hold: they look each five seconds.
const HOLD_SEEN: Duration = Duration::from_secs(6);

/// Passes an order to who carries it out. What is refused is answered at once; a hold is written in the background.
pub(super) fn dispatch(session: &Session, drivers: &DatabaseDrivers, mut request: OrderRequest) {
    match lease_meant(session, &request) {
        Ok(lease) => request.ask.product = lease,
        Err(message) => {
            let _ = request.answer.send(Reply::Failed { message });
            return;
        }
    }
    match &request.ask.order {
        DatabaseOrder::Hold { .. } => write_hold(session, request),
        DatabaseOrder::Snapshot => {
            if let Some(request) = drivers.take_snapshot(request) {
                let message = no_snapshots(session, drivers, &request);
                let _ = request.answer.send(Reply::Failed { message });
            }
        }
        DatabaseOrder::Switchover { .. }
        | DatabaseOrder::TakeOver { .. }
        | DatabaseOrder::Rejoin { .. } => {
            let Some(request) = drivers.pass_on(request) else {
                return;
            };
            let message = drivers.trouble().unwrap_or(
                "the agent does not keep this machine's database: set `credentials` in [database] of agentd.toml, \
                 then systemctl restart agentd",
            );
            let message = message.to_owned();
            let _ = request.answer.send(Reply::Failed { message });
        }
    }
}

/// Why no snapshot is taken here, and where one is.
fn no_snapshots(session: &Session, drivers: &DatabaseDrivers, request: &OrderRequest) -> String {
    if let Some(trouble) = drivers.trouble() {
        return trouble.to_owned();
    }
    let product = &request.ask.product;
    let intent = session.intent().ok();
    let snapshots = intent.as_ref().and_then(|(intent, _)| {
        let clusters = Clusters::of(&intent.document.fleet);
        clusters.called(product)?.snapshots
    });
    match (snapshots, &intent) {
        (None, _) => format!(
            "no server takes snapshots of {product}: the document's database has no `snapshots`"
        ),
        (Some(snapshots), Some((intent, _))) if snapshots.server != intent.node => {
            format!("{} takes the snapshots of {product}: say this there", snapshots.server)
        }
        _ => "the agent does not keep this machine's database: set `credentials` in [database] of agentd.toml, \
              then systemctl restart agentd"
            .to_owned(),
    }
}

/// The lease of the cluster that is meant: a person says the cluster's name, its lease's, or a product's. An error where this machine
/// is none of its servers; it says which are.
fn lease_meant(session: &Session, request: &OrderRequest) -> Result<Name, String> {
    let (intent, _) = session.intent().map_err(|error| error.message)?;
    let fleet = &intent.document.fleet;
    let named = &request.ask.product;
    let clusters = Clusters::of(fleet);
    let cluster = clusters.called(named).ok_or_else(|| {
        if fleet.products.contains_key(named) {
            format!("the product {named} has no database")
        } else {
            format!("the document has no product or cluster {named}")
        }
    })?;
    if cluster.has(&intent.node) {
        return Ok(databases::lease(cluster, &intent.elections).clone());
    }
    let chain: Vec<&str> = cluster.chain.iter().map(Name::as_str).collect();
    if let (DatabaseOrder::Snapshot, Some(snapshots)) = (&request.ask.order, cluster.snapshots) {
        return Err(format!(
            "{} takes the snapshots of {named}: say this there",
            snapshots.server
        ));
    }
    Err(format!(
        "{} is no database server of {named}: say this on one of {}",
        intent.node,
        chain.join(", ")
    ))
}

fn write_hold(session: &Session, request: OrderRequest) {
    let bucket = Arc::clone(&session.bucket);
    let node = session.intent().map(|(intent, _)| intent.node);
    tokio::spawn(async move {
        let DatabaseOrder::Hold {
            held,
            reason,
            maintenance_secs,
        } = &request.ask.order
        else {
            return;
        };
        let maintenance = maintenance_secs.map(Duration::from_secs);
        let product = &request.ask.product;
        let answer = match node {
            Err(error) => Reply::Failed {
                message: error.message,
            },
            Ok(node) => match Hold::set(
                &bucket,
                product,
                *held,
                &node,
                reason.as_deref(),
                maintenance,
            )
            .await
            {
                Ok(hold) => {
                    tracing::warn!(event = "hold", %product, held = hold.held, reason = hold.reason, "a person has {} changes of the master of {product}: {}", if hold.held { "paused" } else { "resumed" }, hold.reason.as_deref().unwrap_or("no reason given"));
                    // Until all of them have looked: what is begun before may still be answered by a failover.
                    if hold.is_in_force() {
                        let _ = request
                            .progress
                            .try_send("waiting until all servers have seen it".to_owned());
                        tokio::time::sleep(HOLD_SEEN).await;
                    }
                    Reply::Database(DatabaseReply::said(
                        if let Some(until) = hold.maintenance_until {
                            format!(
                                "the master of {product} stays the master whatever is done to it, until {until}, or until: agentctl db \
                             resume {product}. A server that is started again goes on by itself"
                            )
                        } else if hold.held {
                            format!(
                                "nothing is done to the database of {product} by itself any more, until: agentctl db resume {product}"
                            )
                        } else {
                            format!("the master of {product} may be changed by itself again")
                        },
                    ))
                }
                Err(error) => Reply::Failed {
                    message: chain(&error),
                },
            },
        };
        let _ = request.answer.send(answer);
    });
}
