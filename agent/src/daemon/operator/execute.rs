//! An operator's order to a database whose driver runs here: handed to the driver, its progress told until it is done.

use std::time::Duration;

use crate::control::messages::{DatabaseOrder, DatabaseReply, DatabaseRequest, Reply};
use crate::control::server::OrderRequest;
use crate::database::driver::{Handle, OperatorOrder};
use crate::database::protocol::Reason;
use crate::fleet::Name;
use crate::report::{DatabaseStatus, Part, Place};

/// An order that takes longer than this is not waited for any more; it goes on.
const PATIENCE: Duration = Duration::from_mins(5);
/// For so long a server that was let in may still be reported as kept out: until it was looked at once more.
const QUARANTINE_LAG: Duration = Duration::from_secs(3);
/// Between two looks at the progress of an order.
const POLL: Duration = Duration::from_millis(100);

/// Hands an order to the driver, and tells whoever waits of its progress, until it is done.
pub(in crate::daemon) async fn execute(request: OrderRequest, me: Name, handle: Handle) {
    let answer = match order(&request.ask) {
        Err(message) => Reply::Failed { message },
        Ok(order) if request.ask.noop => match steps(&order, &me, handle.status().as_ref()) {
            Ok(steps) => Reply::Database(DatabaseReply {
                steps,
                said: Vec::new(),
            }),
            Err(message) => Reply::Failed { message },
        },
        Ok(order) => match handle.order(order.clone()).await {
            Err(message) => Reply::Failed { message },
            Ok(begun) => {
                let _ = request.progress.try_send(begun);
                match follow_progress(&request, &order, &me, &handle).await {
                    Ok(said) => Reply::Database(DatabaseReply::said(said)),
                    Err(message) => Reply::Failed { message },
                }
            }
        },
    };
    let _ = request.answer.send(answer);
}

fn order(ask: &DatabaseRequest) -> Result<OperatorOrder, String> {
    match &ask.order {
        DatabaseOrder::Switchover { to } => Ok(OperatorOrder::Switchover(to.clone())),
        DatabaseOrder::TakeOver { old_master_is_off } => Ok(OperatorOrder::TakeOver {
            off: *old_master_is_off,
        }),
        DatabaseOrder::Rejoin { discard, accept } => Ok(OperatorOrder::Rejoin {
            discard: *discard,
            accept: *accept,
        }),
        DatabaseOrder::Hold { .. } | DatabaseOrder::Snapshot => {
            Err("this is no driver's to do".to_owned())
        }
    }
}

/// What would be done, in order, for `--noop`; or why it could not be.
fn steps(
    order: &OperatorOrder,
    me: &Name,
    status: Option<&DatabaseStatus>,
) -> Result<Vec<String>, String> {
    let status = status.ok_or("the database's driver has just started: ask again in a moment")?;
    let product = &status.product;
    match order {
        OperatorOrder::Switchover(to) => {
            if status.part != Part::Master {
                let master = (status.lease.as_ref()).map(|lease| &lease.owner);
                return Err(match master {
                    Some(master) if master != me => format!(
                        "{me} is not the master of {product}: type this on {master}, who is"
                    ),
                    _ => format!("nobody is the master of {product} now: see agentctl db status"),
                });
            }
            let to = match to {
                Some(to) => check_successor(to, status)?,
                None => status.failover.successor.as_ref().ok_or_else(|| {
                    format!("nobody could take {product} over now: agentctl db status says why")
                })?,
            };
            Ok(vec![
                format!(
                    "{me} announces {to} in the lease, for about two seconds: machines that follow it look more often"
                ),
                format!("{me} refuses writes, and ends its clients' connections"),
                format!("{me} writes its last position into the lease"),
                format!("{to} applies everything up to there, owns the lease, and takes writes"),
                format!(
                    "the product's machines lead the master's names to {to}; {me} replicates from it"
                ),
                format!("if {to} is not there within some seconds, {me} takes writes again"),
            ])
        }
        OperatorOrder::TakeOver { off } => {
            if status.part == Part::Master {
                return Err(format!("{me} is the master of {product} already"));
            }
            let reached = if *off { ", if it can be reached" } else { "" };
            Ok(vec![
                format!("{me} waits until the lease has run out"),
                format!("{me} looks at the old master and has it refuse writes{reached}"),
                format!("{me} owns the lease, and applies all that it has received"),
                format!("{me} takes writes; what it never received is lost"),
            ])
        }
        OperatorOrder::Rejoin { discard, accept } => {
            let anew = receives_nothing(me, status) || is_unfit(me, status);
            if status.part != Part::Quarantined && !(*discard && anew) {
                return Err(format!("{me} is not kept out of {product}"));
            }
            if *accept {
                return Ok(vec![
                    format!("{me} stops replicating, and empties its binary log"),
                    format!("{me} goes on where it was; nothing is copied"),
                ]);
            }
            if *discard {
                return Ok(vec![
                    format!("{me} saves what it has and the master lacks"),
                    format!(
                        "{me} throws away its databases, its binary log and its accounts, but the system's and agentd's"
                    ),
                    format!("{me} copies the master's over the network, as of one moment"),
                    format!("{me} replicates from there on; until then nobody can fall back on it"),
                ]);
            }
            Ok(vec![format!(
                "{me} replicates from the master again, if that has all that {me} has"
            )])
        }
    }
}

/// Whether this server is no master and replicates from nobody: a fresh copy could be all that helps it.
fn receives_nothing(me: &Name, status: &DatabaseStatus) -> bool {
    let own = status.servers.iter().find(|server| server.name == *me);
    let seen = own.and_then(|server| server.seen.as_ref());
    status.part != Part::Master && seen.is_some_and(|seen| seen.error.is_none() && !seen.receiving)
}

/// Whether this server leaves things out, or is not set up as a master must be.
fn is_unfit(me: &Name, status: &DatabaseStatus) -> bool {
    let own = status.servers.iter().find(|server| server.name == *me);
    let obstacles = own.and_then(|server| server.obstacles.as_ref());
    let unfit = Reason::Unfit.to_string();
    obstacles.is_some_and(|obstacles| obstacles.contains(&unfit))
}

/// The server of that name, if it could be handed over to.
fn check_successor<'s>(to: &Name, status: &'s DatabaseStatus) -> Result<&'s Name, String> {
    let servers = &status.servers;
    let Some(server) = servers.iter().find(|server| server.name == *to) else {
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        return Err(format!(
            "{to} is no server of {}: those are {}",
            status.product,
            names.join(", ")
        ));
    };
    match (server.place, &server.obstacles) {
        (Place::Master, _) => Err(format!("{to} is the master already")),
        (Place::Snapshots, _) => Err(format!(
            "{to} takes the snapshots, and is never made the master: add it to the chain first"
        )),
        (Place::Replica, Some(obstacles)) if !obstacles.is_empty() => Err(format!(
            "{to} could not take over now: {}",
            obstacles.join("; ")
        )),
        (Place::Replica, _) => Ok(&server.name),
    }
}

async fn follow_progress(
    request: &OrderRequest,
    order: &OperatorOrder,
    me: &Name,
    handle: &Handle,
) -> Result<String, String> {
    let began = tokio::time::Instant::now();
    let mut last = String::new();
    // The order is in the machine by now; its first status is a tick away.
    let mut begun = false;
    let mut over = None;
    while began.elapsed() < PATIENCE {
        tokio::time::sleep(POLL).await;
        let Some(status) = handle.status() else {
            continue;
        };
        match &status.doing {
            Some(doing) => {
                begun = true;
                if *doing != last {
                    last.clone_from(doing);
                    let _ = request.progress.try_send(doing.clone());
                }
            }
            None if begun || began.elapsed() > Duration::from_secs(2) => {
                // After the work it is looked at what the server has now: a status of before says nothing.
                let over = *over.get_or_insert_with(tokio::time::Instant::now);
                let rejoins = matches!(order, OperatorOrder::Rejoin { .. });
                if !rejoins || status.part != Part::Quarantined || over.elapsed() > QUARANTINE_LAG {
                    return outcome(order, me, &status);
                }
            }
            None => {}
        }
    }
    Err("it takes long, and goes on: see agentctl db status".to_owned())
}

fn outcome(order: &OperatorOrder, me: &Name, status: &DatabaseStatus) -> Result<String, String> {
    let owner = status.lease.as_ref().map(|lease| &lease.owner);
    let epoch = status.lease.as_ref().map_or(0, |lease| lease.epoch);
    let product = &status.product;
    match (order, owner) {
        (OperatorOrder::Switchover(_), Some(owner)) if owner != me => Ok(format!(
            "{owner} is the master of {product} now, in epoch {epoch}"
        )),
        (OperatorOrder::Switchover(_), _) => {
            // The last note says why.
            let why = status.notes.last().map(String::as_str).unwrap_or_default();
            let why = why.split_once("ordered again: ").map_or("", |(_, why)| why);
            let why = if why.is_empty() {
                "see agentctl db status"
            } else {
                why
            };
            Err(format!(
                "the other server did not take over, and {me} is the master of {product} still or again: {why}"
            ))
        }
        (OperatorOrder::TakeOver { .. }, Some(owner))
            if owner == me && status.part == Part::Master =>
        {
            Ok(format!(
                "{me} is the master of {product} now, in epoch {epoch}"
            ))
        }
        (OperatorOrder::TakeOver { .. }, _) => {
            Err(format!("{me} has not taken over: see agentctl db status"))
        }
        (OperatorOrder::Rejoin { .. }, _)
            if status.part == Part::Quarantined
                || (status.alarms.iter()).any(|alarm| alarm.starts_with("rejoining: ")) =>
        {
            Err(format!(
                "{me} is still kept out: {}",
                status.alarms.join("; ")
            ))
        }
        (OperatorOrder::Rejoin { .. }, _) => Ok(format!("{me} replicates again")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// What db-1 knows, the master of a chain of three of which the third has stopped applying.
    fn status(part: &str) -> DatabaseStatus {
        let server = |name: &str, place: &str, obstacles| json!({"name": name, "address": "", "place": place, "obstacles": obstacles});
        serde_json::from_value(json!({
            "product": "shop", "part": part, "master": "db-1",
            "lease": {"epoch": 3, "owner": "db-1", "state": "serving", "gtid": "", "armed": true,
                "since": "2026-11-22T20:00:00Z", "renewed": "2026-11-22T20:00:00Z", "confirmed": "2026-11-22T20:00:00Z"},
            "servers": [server("db-1", "master", json!(null)), server("db-2", "replica", json!([])),
                server("db-3", "replica", json!(["it does not apply"])), server("db-4", "snapshots", json!(null))],
            "failover": {"automatic": true, "obstacles": [], "successor": "db-2"},
            "alarms": [], "notes": [],
        }))
        .unwrap()
    }

    fn switchover(me: &str, part: &str, to: Option<&str>) -> Result<Vec<String>, String> {
        let order = OperatorOrder::Switchover(to.map(name));
        steps(&order, &name(me), Some(&status(part)))
    }

    #[test]
    fn the_steps_of_a_switchover_name_the_servers() {
        let steps = switchover("db-1", "master", None).unwrap();
        assert!(steps.len() > 3);
        assert!(steps[0].starts_with("db-1 announces db-2"), "{steps:?}");
        let steps = switchover("db-1", "master", Some("db-2")).unwrap();
        assert!(steps[3].starts_with("db-2 applies"), "{steps:?}");
    }

    #[test]
    fn what_could_not_be_done_is_said_with_what_to_do() {
        let no = |me: &str, part: &str, to: Option<&str>| switchover(me, part, to).unwrap_err();
        let said = no("db-2", "candidate", None);
        assert_eq!(
            said,
            "db-2 is not the master of shop: type this on db-1, who is"
        );
        let said = no("db-1", "master", Some("db-3"));
        assert_eq!(said, "db-3 could not take over now: it does not apply");
        let said = no("db-1", "master", Some("db-4"));
        assert!(said.contains("takes the snapshots"), "{said}");
        let said = no("db-1", "master", Some("db-9"));
        assert!(said.contains("db-1, db-2, db-3"), "{said}");
        let said = no("db-1", "master", Some("db-1"));
        assert_eq!(said, "db-1 is the master already");
        let status = status("candidate");
        let rejoin = steps(
            &OperatorOrder::Rejoin {
                discard: false,
                accept: false,
            },
            &name("db-2"),
            Some(&status),
        );
        assert_eq!(rejoin.unwrap_err(), "db-2 is not kept out of shop");
        assert!(
            steps(
                &OperatorOrder::Rejoin {
                    discard: true,
                    accept: false,
                },
                &name("db-2"),
                None
            )
            .is_err()
        );
        let off = OperatorOrder::TakeOver { off: true };
        assert!(steps(&off, &name("db-2"), Some(&status)).is_ok());
    }
}
