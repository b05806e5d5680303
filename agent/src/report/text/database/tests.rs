use super::*;
use crate::report::database::tests::healthy_snapshots;
use crate::report::{BucketVerdict, FailoverStatus, HoldStatus, ServerSeen, Trouble};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-23T03:00:00Z")
}

fn server(name_: &str, address: &str, place: Place, seen: Option<ServerSeen>) -> DatabaseServer {
    DatabaseServer {
        name: name(name_),
        address: format!("{address}:3306"),
        place,
        seen,
        obstacles: None,
        quarantined: None,
    }
}

fn seen(gtid: &str, source: Option<&str>) -> ServerSeen {
    ServerSeen {
        at: now(),
        error: None,
        version: "10.11.19-MariaDB".into(),
        writable: source.is_none(),
        gtid: gtid.into(),
        source: source.map(str::to_owned),
        receiving: true,
        applying: true,
        lag_ms: source.map(|_| 200),
        replication_error: None,
        clients: source.is_none().then_some(12),
        semi_sync: None,
    }
}

fn lease() -> LeaseStatus {
    LeaseStatus {
        epoch: 7,
        owner: name("db-2"),
        state: "serving".into(),
        gtid: "0-2-4242".into(),
        armed: true,
        since: at("2026-11-22T20:00:00Z"),
        renewed: at("2026-11-23T02:59:59Z"),
        confirmed: now(),
        trouble: None,
    }
}

/// As a database server knows it.
fn healthy() -> DatabaseStatus {
    let mut third = server(
        "db-3",
        "10.77.0.33",
        Place::Replica,
        Some(seen("0-2-4240", Some("db-1"))),
    );
    third.obstacles = Some(vec![]);
    let mut first = server(
        "db-1",
        "10.77.0.31",
        Place::Replica,
        Some(seen("0-2-4241", Some("db-2"))),
    );
    first.obstacles = Some(vec![]);
    DatabaseStatus {
        product: name("shop"),
        products: vec![name("shop")],
        part: Part::Candidate,
        master: Some(name("db-2")),
        lease: Some(lease()),
        servers: vec![
            first,
            server(
                "db-2",
                "10.77.0.32",
                Place::Master,
                Some(seen("0-2-4242", None)),
            ),
            third,
            server(
                "db-4",
                "10.77.0.34",
                Place::Snapshots,
                Some(seen("0-2-4242", Some("db-2"))),
            ),
        ],
        failover: FailoverStatus {
            automatic: Some(true),
            obstacles: vec![],
            successor: Some(name("db-1")),
            bucket: Some(BucketVerdict {
                right: Some(true),
                findings: vec![],
            }),
        },
        hold: None,
        last_change: Some(ChangeStatus {
            epoch: 7,
            at: at("2026-11-22T20:00:03Z"),
            from: Some(name("db-1")),
            to: name("db-2"),
            cause: "expired".into(),
            lost_at_least: Some(3),
            lost_none: false,
        }),
        doing: None,
        urgent: vec![],
        snapshots: None,
        alarms: vec![],
        notes: vec![],
    }
}

/// As a web server knows it.
fn followed() -> DatabaseStatus {
    let mut status = healthy();
    status.part = Part::Follower;
    for server in &mut status.servers {
        server.seen = None;
        server.obstacles = None;
    }
    status.failover = FailoverStatus {
        automatic: None,
        obstacles: vec![],
        successor: None,
        bucket: None,
    };
    status.last_change = None;
    status
}

fn text(status: &DatabaseStatus) -> String {
    database(status, now(), Paint::PLAIN)
}

#[test]
fn a_healthy_chain() {
    insta::assert_snapshot!(text(&healthy()));
}

#[test]
fn what_a_web_server_knows() {
    let mut away = followed();
    away.lease.as_mut().unwrap().trouble = Some(Trouble {
        since: at("2026-11-23T02:46:00Z"),
        why: "cannot get s3://fleet/leases/shop.json: the bucket does not answer as it should"
            .into(),
    });
    insta::assert_snapshot!(format!("{}\n{}", text(&followed()), text(&away)));
}

#[test]
fn before_any_lease() {
    let mut status = followed();
    status.lease = None;
    status.servers[0].place = Place::Master;
    status.servers[1].place = Place::Replica;
    status.master = Some(name("db-1"));
    insta::assert_snapshot!(text(&status));
}

#[test]
fn a_snapshot_server() {
    let mut status = healthy();
    status.part = Part::Snapshots;
    status.snapshots = Some(healthy_snapshots());
    let well = text(&status);
    let late = status.snapshots.as_mut().unwrap();
    late.newest = late.restorable.clone();
    late.next = Some(now());
    late.doing = vec!["taking a snapshot: 12 of about 800 MiB".into()];
    late.failure = Some(Trouble {
        since: at("2026-11-23T02:17:00Z"),
        why: "no snapshot now: replication has stopped, this server does not apply".into(),
    });
    late.drill_failure = Some(Trouble {
        since: at("2026-11-23T02:30:00Z"),
        why: "no drill now: 100 MiB are free under /var/lib/agentd-drills/shop, and the drill wants 2300".into(),
    });
    late.not_deleted = Some("this machine's key may not delete".into());
    status.alarms = late.alarms(now());
    insta::assert_snapshot!(format!("{well}\n{}", text(&status)));
}

#[test]
fn what_is_older_than_two_intervals_is_an_alarm() {
    let told = |change: fn(&mut SnapshotStatus)| {
        let mut snapshots = healthy_snapshots();
        change(&mut snapshots);
        snapshots.alarms(now())
    };
    assert!(told(|_| ()).is_empty());
    let old = |it: &mut SnapshotStatus| it.newest.as_mut().unwrap().at = at("2026-11-23T02:30:00Z");
    assert!(told(old).is_empty());
    let older =
        |it: &mut SnapshotStatus| it.newest.as_mut().unwrap().at = at("2026-11-23T02:29:59Z");
    assert_eq!(told(older), ["the newest snapshot is 30 min old"]);
    assert_eq!(told(|it| it.newest = None), ["there is no snapshot"]);
    // An agent that has just begun has had no time yet.
    let young = |it: &mut SnapshotStatus| {
        it.newest = None;
        it.restorable = None;
        it.since = at("2026-11-23T02:50:00Z");
    };
    assert!(told(young).is_empty());
    let unproven =
        |it: &mut SnapshotStatus| it.restorable.as_mut().unwrap().at = at("2026-11-23T00:40:00Z");
    assert_eq!(
        told(unproven),
        ["the newest snapshot that a drill has restored is 140 min old"]
    );
    let damaged = |it: &mut SnapshotStatus| {
        it.damaged = Some(Trouble {
            since: now(),
            why: "20261123T024700Z-e7-db-4: shop.orders has other rows".into(),
        });
    };
    assert_eq!(told(damaged).len(), 1);
}

/// Everything wrong at once: hostile text, nobody who could take over, two that take writes.
#[test]
fn a_bad_night() {
    let mut status = healthy();
    status.part = Part::Master;
    status.alarms = vec![
        "db-1 takes writes and is not the master: close it now: mariadb -e 'SET GLOBAL read_only=1'".into(),
    ];
    status.hold = Some(HoldStatus {
        by: name("db-1"),
        reason: Some("new disks \x1b[31m".into()),
        since: at("2026-11-23T02:57:00Z"),
        maintenance_until: None,
    });
    status.servers[0].quarantined = Some("it has 2 transactions that db-2 lacks".into());
    let first = status.servers[0].seen.as_mut().unwrap();
    first.source = None;
    first.writable = true;
    let third = &mut status.servers[2];
    third.obstacles = Some(vec!["its applying thread does not run".into()]);
    let seen = third.seen.as_mut().unwrap();
    seen.applying = false;
    seen.replication_error = Some("Error 'Duplicate entry' on \x1b[2J query".into());
    let fourth = status.servers[3].seen.as_mut().unwrap();
    fourth.error = Some("no answer within 1 s".into());
    status.failover = FailoverStatus {
        automatic: Some(false),
        obstacles: vec!["a person has paused it: agentctl db resume shop".into()],
        successor: None,
        bucket: Some(BucketVerdict {
            right: Some(false),
            findings: vec!["a write with If-Match on a missing object created it".into()],
        }),
    };
    status.doing = Some("switchover to db-3: waiting for db-3 to catch up".into());
    status.notes = vec!["the last master is down".into()];
    insta::assert_snapshot!(text(&status));
    assert!(!database(&status, now(), Paint::COLOR).contains("\x1b[2J"));
}

#[test]
fn one_line_each() {
    let mut paused = healthy();
    paused.hold = Some(HoldStatus {
        by: name("db-1"),
        reason: None,
        since: now(),
        maintenance_until: None,
    });
    let mut none = followed();
    none.master = None;
    let lines = [healthy(), followed(), paused, none].map(|status| database_line(&status, now()));
    insta::assert_snapshot!(lines.join("\n"));
}

/// A ring, a server under itself, everybody under nobody: each is drawn once, and nothing hangs.
#[test]
fn no_topology_hangs_or_loses_a_server() {
    for sources in [
        ["db-2", "db-1", "db-4", "db-3"],
        ["db-1", "db-2", "db-3", "db-4"],
        ["x"; 4],
    ] {
        let mut status = healthy();
        for (server, source) in status.servers.iter_mut().zip(sources) {
            server.place = Place::Replica;
            server.seen.as_mut().unwrap().source = Some(source.into());
        }
        let text = text(&status);
        for server in &status.servers {
            assert_eq!(
                text.matches(&format!("{}  10.", server.name)).count(),
                1,
                "{text}"
            );
        }
    }
}
