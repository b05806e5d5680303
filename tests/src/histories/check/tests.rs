//! Each invariant against a history that keeps all of them, and against one that breaks it alone.

use std::collections::BTreeSet;

use node_agent::database::event::Event;
use node_agent::database::lease::Lease;
use serde_json::json;

use super::*;
use crate::database::Record;

const NONCE: [&str; 2] = [
    "00000000000000000000000000000001",
    "00000000000000000000000000000002",
];

fn lease(epoch: u64, owner: &str) -> Lease {
    let mut lease = json!({
        "format": 1, "product": "shop", "epoch": epoch, "owner": owner, "seq": 5, "nonce": NONCE[0], "state": "serving",
        "gtid": "0-31-9", "armed": true, "held": [], "since": "2026-01-01T00:00:00Z", "renewed": "2026-01-01T00:00:00Z",
        "ttl_ms": 2500,
    });
    if epoch > 1 {
        lease["previous"] = json!({"owner": "db-1", "epoch": epoch - 1, "gtid": "0-31-9"});
    }
    serde_json::from_value(lease).unwrap()
}

fn event(epoch: u64, owner: &str, from: &str, at_least: u64, none: bool) -> Event {
    let nonce = NONCE[usize::try_from(epoch % 2).unwrap()];
    serde_json::from_value(json!({
        "format": 1, "product": "shop", "epoch": epoch, "nonce": nonce, "owner": owner, "from": from,
        "at": "2026-01-01T00:00:00Z", "cause": "expired", "seen": [], "steps": [],
        "loss": {"had": "0-31-9", "promoted": "0-31-8", "at_least": at_least, "none": none},
    }))
    .unwrap()
}

fn write(id: u64, sent: u64, became: Became, server: u32, why: &str) -> Write {
    Write {
        id,
        sent,
        ended: sent + 5,
        became,
        server,
        why: why.into(),
    }
}

fn server(name: &str, number: u32, rows: &[u64]) -> AtEnd {
    AtEnd {
        name: name.into(),
        number,
        address: format!("10.77.0.{number}"),
        writable: false,
        quarantined: false,
        level: true,
        rows: Some(rows.iter().copied().collect()),
        checksum: "sum".into(),
    }
}

/// db-1 was the master until it died, db-2 is; one write was refused, two are unknown, of which one was done.
fn fine() -> Evidence {
    let rows = [1, 2, 3, 6, 7];
    let mut servers: Vec<_> = ["db-1", "db-2", "db-3", "db-4"]
        .into_iter()
        .zip(31..)
        .map(|(name, number)| server(name, number, &rows))
        .collect();
    servers[1].writable = true;
    Evidence {
        record: Record {
            writes: vec![
                write(1, 0, Became::Ok, 31, ""),
                write(2, 3000, Became::Ok, 31, ""),
                write(3, 3010, Became::Unknown, 31, "broke"),
                write(4, 3010, Became::Unknown, 31, "broke"),
                write(5, 5000, Became::Failed, 31, "ERROR 1290 read-only"),
                write(6, 9000, Became::Ok, 32, ""),
                write(7, 9010, Became::Ok, 32, ""),
            ],
        },
        servers,
        before: lease(1, "db-1"),
        lease: Some(lease(2, "db-2")),
        events: [(2, event(2, "db-2", "db-1", 0, false))].into(),
        leads: vec![("web-1".into(), Some("10.77.0.32".into()))],
        semi_sync: false,
        unknown_window: 1000,
        unsettled: None,
    }
}

/// What does not hold once `damage` was done to a history in which all does.
fn after(damage: impl Fn(&mut Evidence)) -> Vec<String> {
    let mut evidence = fine();
    assert_eq!(violations(&evidence), Vec::<String>::new());
    damage(&mut evidence);
    let mut found = violations(&evidence);
    for sentence in &mut found {
        sentence.truncate(2);
    }
    found.dedup();
    found
}

/// The row is nowhere.
fn lose(evidence: &mut Evidence, id: u64) {
    for server in &mut evidence.servers {
        server.rows.as_mut().unwrap().remove(&id);
    }
}

#[test]
fn i0_a_fleet_that_does_not_become_whole() {
    assert_eq!(after(|it| it.unsettled = Some("no master".into())), ["I0"]);
}

#[test]
fn i1_a_master_that_acknowledges_after_the_next_one_did() {
    let late = |it: &mut Evidence| {
        it.record.writes.push(write(8, 9020, Became::Ok, 31, ""));
        for server in &mut it.servers {
            server.rows.as_mut().unwrap().insert(8);
        }
    };
    assert_eq!(after(late), ["I1"]);
    // It is its turn again where there was a third epoch, and it was the owner.
    let third = |it: &mut Evidence| {
        late(it);
        it.events.insert(3, event(3, "db-1", "db-2", 0, false));
        it.lease = Some(lease(3, "db-1"));
        it.servers[0].writable = true;
        it.servers[1].writable = false;
        it.leads = vec![("web-1".into(), Some("10.77.0.31".into()))];
    };
    assert_eq!(after(third), Vec::<String>::new());
    // Somebody who never was the owner.
    let stranger = |it: &mut Evidence| it.record.writes[1].server = 33;
    assert_eq!(after(stranger), ["I1"]);
}

#[test]
fn i2_a_loss_that_no_event_admits() {
    // Acknowledged a moment before the end: nobody could know.
    assert_eq!(after(|it| lose(it, 2)), Vec::<String>::new());
    // Acknowledged long before it.
    assert_eq!(after(|it| lose(it, 1)), ["I2"]);
    let counted = |it: &mut Evidence| {
        lose(it, 1);
        it.events.insert(2, event(2, "db-2", "db-1", 1, false));
    };
    assert_eq!(after(counted), Vec::<String>::new());
    let denied = |it: &mut Evidence| {
        lose(it, 2);
        it.events.insert(2, event(2, "db-2", "db-1", 0, true));
    };
    assert_eq!(after(denied), ["I2"]);
    // The present master, which nobody has replaced.
    assert_eq!(after(|it| lose(it, 6)), ["I2"]);
}

#[test]
fn i3_a_loss_with_semi_synchronous_replication() {
    let lossy = |it: &mut Evidence| {
        lose(it, 2);
        it.semi_sync = true;
    };
    assert_eq!(after(lossy), ["I3"]);
}

#[test]
fn i4_epochs_without_events_going_back_or_not_continued() {
    // Without the event nobody knows who the owner was, either.
    assert!(after(|it| it.events.clear()).contains(&"I4".to_owned()));
    assert!(after(|it| it.before = lease(3, "db-1")).contains(&"I4".to_owned()));
    let other = |it: &mut Evidence| {
        it.events.insert(2, event(2, "db-2", "db-3", 0, false));
    };
    assert_eq!(after(other), ["I4"]);
    assert!(after(|it| it.lease = None).contains(&"I4".to_owned()));
    let mine = |it: &mut Evidence| {
        it.events.insert(2, event(2, "db-3", "db-1", 0, false));
        it.record.writes.truncate(5);
        lose(it, 6);
        lose(it, 7);
    };
    assert_eq!(after(mine), ["I4"]);
    let twice = |it: &mut Evidence| {
        let mut again = event(3, "db-2", "db-2", 0, false);
        again.nonce = it.events[&2].nonce;
        it.events.insert(3, again);
        it.lease = Some(lease(3, "db-2"));
    };
    assert_eq!(after(twice), ["I4"]);
}

#[test]
fn i5_a_server_that_differs_and_is_not_kept_out() {
    let differs = |it: &mut Evidence| it.servers[2].checksum = "other".into();
    assert_eq!(after(differs), ["I5"]);
    let behind = |it: &mut Evidence| it.servers[3].level = false;
    assert_eq!(after(behind), ["I5"]);
    let extra = |it: &mut Evidence| {
        it.servers[0].rows.as_mut().unwrap().insert(99);
    };
    assert_eq!(after(extra), ["I5"]);
    assert_eq!(after(|it| it.servers[2].rows = None), ["I5"]);
    let kept_out = |it: &mut Evidence| {
        differs(it);
        it.servers[2].quarantined = true;
    };
    assert_eq!(after(kept_out), Vec::<String>::new());
    // It is equal: there is no reason.
    assert_eq!(after(|it| it.servers[2].quarantined = true), ["I5"]);
}

#[test]
fn i6_an_unknown_write_on_some_servers() {
    let split = |it: &mut Evidence| {
        it.servers[2].rows.as_mut().unwrap().remove(&3);
    };
    assert_eq!(after(split), ["I5", "I6"]);
}

#[test]
fn i7_a_refused_write_that_is_there() {
    let there = |it: &mut Evidence| {
        for server in &mut it.servers {
            server.rows.as_mut().unwrap().insert(5);
        }
    };
    assert_eq!(after(there), ["I7"]);
    let cut = |it: &mut Evidence| {
        there(it);
        it.record.writes[4].why = "ERROR 70100 (1927): Connection was killed".into();
    };
    assert_eq!(after(cut), Vec::<String>::new());
}

#[test]
fn i8_two_writable_servers_none_or_web_machines_astray() {
    assert_eq!(after(|it| it.servers[0].writable = true), ["I8"]);
    assert_eq!(after(|it| it.servers[1].writable = false), ["I8"]);
    assert_eq!(
        after(|it| it.leads[0].1 = Some("10.77.0.31".into())),
        ["I8"]
    );
    assert_eq!(after(|it| it.leads[0].1 = None), ["I8"]);
}

#[test]
fn what_is_lost_is_what_was_acknowledged_and_is_not_there() {
    let mut evidence = fine();
    lose(&mut evidence, 2);
    lose(&mut evidence, 3);
    assert_eq!(lost(&evidence), BTreeSet::from([2]));
}
