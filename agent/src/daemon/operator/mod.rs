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
use crate::fleet::Name;
use crate::node::databases;
use crate::system::chain;

/// Within this time the drivers of all servers have read a hold: they look each five seconds.
const HOLD_SEEN: Duration = Duration::from_secs(6);

/// Passes an order to who carries it out. What is refused is answered at once; a hold is written in the background.
pub(super) fn dispatch(session: &Session, drivers: &DatabaseDrivers, request: OrderRequest) {
    if let Err(message) = check_member(session, &request) {
        let _ = request.answer.send(Reply::Failed { message });
        return;
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
        let product = intent.document.fleet.products.get(product)?;
        product.database.as_ref()?.snapshots.as_ref()
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

/// Whether this machine is one of the product's database servers. The error says which are.
fn check_member(session: &Session, request: &OrderRequest) -> Result<(), String> {
    let (intent, _) = session.intent().map_err(|error| error.message)?;
    let fleet = &intent.document.fleet;
    let product = &request.ask.product;
    let database = fleet
        .products
        .get(product)
        .ok_or_else(|| format!("the document has no product {product}"))?
        .database
        .as_ref()
        .ok_or_else(|| format!("the product {product} has no database"))?;
    if databases::names(database, &intent.node) {
        return Ok(());
    }
    let chain: Vec<&str> = database.chain.iter().map(Name::as_str).collect();
    if let (DatabaseOrder::Snapshot, Some(snapshots)) = (&request.ask.order, &database.snapshots) {
        return Err(format!(
            "{} takes the snapshots of {product}: say this there",
            snapshots.server
        ));
    }
    Err(format!(
        "{} is no database server of {product}: say this on one of {}",
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
