//! Readings of products' databases: the lease, the replicas, who could take over.

use super::{Area, Graph, Kind, Range, Reading, Seen, Unit, Value, What};
use crate::fleet::Name;
use crate::report::{ARCHIVE_LATE_SECS, DatabaseStatus, Part, SnapshotSeen, SnapshotStatus};

static LEASE_GRAPH: Graph = Graph {
    name: "agentd_db_lease",
    title: "node-agent: age of the databases' leases",
    axis: "seconds",
    info: "How long ago the master of each product renewed its lease, by its own clock.",
};

static EPOCH_GRAPH: Graph = Graph {
    name: "agentd_db_epoch",
    title: "node-agent: epochs of the databases",
    axis: "epoch",
    info: "Each change of master begins a new epoch.",
};

static LAG_GRAPH: Graph = Graph {
    name: "agentd_db_lag",
    title: "node-agent: replication lag",
    axis: "seconds",
    info: "How far this machine's replica, or on a master the slowest one, is behind.",
};

static SERVERS_GRAPH: Graph = Graph {
    name: "agentd_db_servers",
    title: "node-agent: servers of the databases",
    axis: "number",
    info: "How many servers take writes (one, except during a change), could take over now, and are kept out until a person has looked.",
};

static CHANGE_GRAPH: Graph = Graph {
    name: "agentd_db_change",
    title: "node-agent: the last change of master",
    axis: "seconds ago",
    info: "How long ago another server became the master.",
};

static SNAPSHOT_GRAPH: Graph = Graph {
    name: "agentd_db_snapshot",
    title: "node-agent: age of the databases' snapshots",
    axis: "seconds ago",
    info: "How old the newest snapshot of each product is, and the newest that a drill has restored and compared.",
};

static STORED_GRAPH: Graph = Graph {
    name: "agentd_db_stored",
    title: "node-agent: size of the databases' snapshots",
    axis: "bytes",
    info: "What all snapshots of each product take of the bucket, and the newest one.",
};

/// Renewed each second; but the status that says so may be ten seconds old, clocks differ, and a machine's death that
/// the others make good takes some fifteen seconds: that wakes nobody.
const LEASE_WARNING: f64 = 60.0;
const LEASE_CRITICAL: f64 = 180.0;
/// A replica so far behind would lose so much, or take so long, if it had to take over.
const LAG_WARNING: f64 = 60.0;
const LAG_CRITICAL: f64 = 600.0;
/// A hold is for an afternoon's work: one that is older was forgotten, and no failover happens.
const HOLD_WARNING: f64 = 24.0 * 3600.0;

/// What this says of a product, or of the only one.
macro_rules! of_product {
    ($it:expr, $text:literal $(, $more:expr)*) => {{
        let product = $it.of.unwrap_or("the database");
        format!(concat!("{}: ", $text), product $(, $more)*)
    }};
}

static ALARMS: What = What {
    area: Area::Database,
    name: "db_alarms",
    metric: "database_alarms",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &super::run::TROUBLES,
    label: "alarms of the database",
    help: "What a person should do something about at this product's database",
    says: |it| of_product!(it, "{}", it.first("the database needs a person")),
    todo: "agentctl db status",
    covered_by: &[],
};

static URGENT: What = What {
    area: Area::Database,
    name: "db_urgent",
    metric: "database_urgent_alarms",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &super::run::TROUBLES,
    label: "urgent alarms of the database",
    help: "What somebody is to be woken for at this product's database",
    says: |it| of_product!(it, "{}", it.first("the database needs a person now")),
    todo: "agentctl db status, now",
    covered_by: &[],
};

static WRITABLE: What = What {
    area: Area::Database,
    name: "db_writable",
    metric: "database_writable_servers",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &SERVERS_GRAPH,
    label: "take writes",
    help: "How many servers of this product's database took writes when this machine last asked them",
    says: |it| of_product!(it, "{} servers take writes", it.number),
    todo: "agentctl db status, now",
    covered_by: &[],
};

static READY: What = What {
    area: Area::Database,
    name: "db_ready",
    metric: "database_candidates_ready",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &SERVERS_GRAPH,
    label: "could take over",
    help: "How many servers could take over this product's database now",
    says: |it| of_product!(it, "nobody could take over"),
    todo: "agentctl db status",
    covered_by: &[],
};

static QUARANTINED: What = What {
    area: Area::Database,
    name: "db_quarantined",
    metric: "database_quarantined_servers",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &SERVERS_GRAPH,
    label: "kept out",
    help: "How many servers of this product's database are kept out until a person has looked",
    says: |it| of_product!(it, "kept out: {}", it.first("a server")),
    todo: "agentctl db status",
    covered_by: &[],
};

static LEASE: What = What {
    area: Area::Database,
    name: "db_lease_age",
    metric: "database_lease_renewed_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &LEASE_GRAPH,
    label: "lease renewed",
    help: "When the master of this product's database last renewed its lease, by its own clock",
    says: |it| of_product!(it, "no master for {}", it.age()),
    todo: "agentctl db status",
    covered_by: &["up", "status_age", "bucket_silence"],
};

static EPOCH: What = What {
    area: Area::Database,
    name: "db_epoch",
    metric: "database_epoch",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &EPOCH_GRAPH,
    label: "epoch",
    help: "The epoch of this product's database: each change of master begins a new one",
    says: |it| of_product!(it, "epoch {}", it.number),
    todo: "agentctl db status",
    covered_by: &[],
};

static LAG: What = What {
    area: Area::Database,
    name: "db_lag",
    metric: "database_replication_lag",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    graph: &LAG_GRAPH,
    label: "lag",
    help: "How far this machine's replica of this product's database is behind; on the master, the slowest one",
    says: |it| of_product!(it, "replication is {} behind", it.age()),
    todo: "agentctl db status",
    covered_by: &[],
};

static CHANGED: What = What {
    area: Area::Database,
    name: "db_change_age",
    metric: "database_change_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &CHANGE_GRAPH,
    label: "last change",
    help: "When another server last became the master of this product's database",
    says: |it| of_product!(it, "the master changed {} ago", it.age()),
    todo: "agentctl db status",
    covered_by: &[],
};

static HELD: What = What {
    area: Area::Database,
    name: "db_hold_age",
    metric: "database_hold_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &CHANGE_GRAPH,
    label: "held",
    help: "Since when a person has kept this product's database from any failover",
    says: |it| of_product!(it, "held for {}, no failover happens", it.age()),
    todo: "agentctl db resume PRODUCT",
    covered_by: &[],
};

static SNAPSHOT: What = What {
    area: Area::Database,
    name: "db_snapshot_age",
    metric: "database_snapshot_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &SNAPSHOT_GRAPH,
    label: "newest snapshot",
    help: "When the newest snapshot of this product's database was begun; where there is none, since when this machine should take them",
    says: |it| of_product!(it, "no snapshot for {}", it.age()),
    todo: "agentctl db status",
    covered_by: &["up", "status_age"],
};

static RESTORABLE: What = What {
    area: Area::Database,
    name: "db_restorable_age",
    metric: "database_restorable_snapshot_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &SNAPSHOT_GRAPH,
    label: "newest restored by a drill",
    help: "When the newest snapshot was begun that a drill has restored and compared; where there is none, since when this machine should",
    says: |it| of_product!(it, "nothing restorable for {}", it.age()),
    todo: "agentctl db status",
    covered_by: &["up", "status_age", "db_snapshot_age"],
};

static LOSS: What = What {
    area: Area::Database,
    name: "db_loss",
    metric: "database_safe_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &SNAPSHOT_GRAPH,
    label: "would be lost now",
    help: "What this product's master committed after then would be lost with all of its servers: it is in no snapshot, and not archived",
    says: |it| of_product!(it, "the last {} would be lost with all servers", it.age()),
    todo: "agentctl db status",
    covered_by: &["up", "status_age"],
};

static STORED: What = What {
    area: Area::Database,
    name: "db_snapshots_size",
    metric: "database_snapshots_stored",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    graph: &STORED_GRAPH,
    label: "all snapshots",
    help: "What this product's snapshots take of the bucket",
    says: |it| {
        of_product!(
            it,
            "snapshots take {:.0} MiB",
            it.number / (1024.0 * 1024.0)
        )
    },
    todo: "agentctl db prune PRODUCT --noop",
    covered_by: &[],
};

static SNAPSHOT_SIZE: What = What {
    area: Area::Database,
    name: "db_snapshot_size",
    metric: "database_snapshot_size",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    graph: &STORED_GRAPH,
    label: "newest snapshot",
    help: "What the newest snapshot of this product takes of the bucket",
    says: |it| {
        of_product!(
            it,
            "the newest snapshot has {:.0} MiB",
            it.number / (1024.0 * 1024.0)
        )
    },
    todo: "agentctl db snapshots",
    covered_by: &[],
};

/// Without an archive it is what the snapshots' own age says.
#[expect(clippy::cast_precision_loss, reason = "seconds")]
fn loss(snapshots: &SnapshotStatus) -> Reading {
    let reading = Reading::moment(&LOSS, Some(snapshots.safe_until()));
    if snapshots.archive.is_none() {
        return reading;
    }
    let late = ARCHIVE_LATE_SECS as f64;
    reading
        .warns(Range::at_most(late))
        .alarms(Range::at_most(3.0 * late))
}

/// Late is told at the same age as in `agentctl status`; twice and three times that is no accident.
#[expect(clippy::cast_precision_loss, reason = "seconds of an interval")]
fn of_snapshots(snapshots: &SnapshotStatus) -> Vec<Reading> {
    let at = |seen: Option<&SnapshotSeen>| seen.map_or(snapshots.since, |seen| seen.at);
    let late = snapshots.late_secs() as f64;
    let restorable_late = snapshots.restorable_late_secs() as f64;
    vec![
        Reading::moment(&SNAPSHOT, Some(at(snapshots.newest.as_ref())))
            .warns(Range::at_most(late))
            .alarms(Range::at_most(2.0 * late)),
        Reading::moment(&RESTORABLE, Some(at(snapshots.restorable.as_ref())))
            .warns(Range::at_most(restorable_late))
            .alarms(Range::at_most(3.0 * restorable_late)),
        loss(snapshots),
        Reading::count(&STORED, Some(snapshots.bytes)),
        Reading::count(
            &SNAPSHOT_SIZE,
            snapshots.newest.as_ref().map(|newest| newest.bytes),
        ),
    ]
}

pub(super) fn readings(seen: Seen<'_>) -> Vec<Reading> {
    let Some(status) = seen.status else {
        return Vec::new();
    };
    let own = status.node.name.as_ref();
    let all = status.databases.iter();
    all.flat_map(|database| of(database, own)).collect()
}

/// What this machine knows of one product's: a web server only what the lease says.
fn of(database: &DatabaseStatus, own: Option<&Name>) -> Vec<Reading> {
    let lease = database.lease.as_ref();
    let kept_out: Vec<_> = database
        .quarantined()
        .map(|(server, why)| format!("{}: {why}", server.name))
        .collect();
    let alarms = database.alarms.iter();
    let alarms: Vec<_> = alarms
        .filter(|alarm| !database.urgent.contains(alarm))
        .cloned()
        .collect();
    let mut readings = vec![
        Reading::count(&URGENT, Some(database.urgent.len() as u64))
            .alarms(Range::at_most(0.0))
            .because(database.urgent.clone()),
        Reading::count(&ALARMS, Some(alarms.len() as u64))
            .warns(Range::at_most(0.0))
            .because(alarms),
        Reading::moment(&LEASE, lease.map(|lease| lease.renewed))
            .warns(Range::at_most(LEASE_WARNING))
            .alarms(Range::at_most(LEASE_CRITICAL)),
        Reading::count(&EPOCH, lease.map(|lease| lease.epoch)),
        Reading::moment(
            &CHANGED,
            // A machine that has not seen the change itself knows since when the lease has its epoch.
            (database.last_change.as_ref().map(|change| change.at))
                .or_else(|| lease.map(|lease| lease.since)),
        ),
        Reading::moment(&HELD, database.hold.as_ref().map(|hold| hold.since))
            .warns(Range::at_most(HOLD_WARNING)),
    ];
    if !matches!(database.part, Part::Follower | Part::Unmanaged) {
        let seen = || {
            database
                .servers
                .iter()
                .filter_map(|server| server.seen.as_ref())
        };
        let writable = seen()
            .filter(|seen| seen.writable && seen.error.is_none())
            .count();
        let judged = || {
            database
                .servers
                .iter()
                .filter_map(|server| server.obstacles.as_ref())
        };
        let ready = judged().filter(|obstacles| obstacles.is_empty()).count();
        readings.extend([
            Reading::count(&WRITABLE, (seen().count() > 0).then_some(writable as u64))
                // Two masters: the one thing that must never be.
                .alarms(Range::at_most(1.0)),
            Reading::count(&READY, (judged().count() > 0).then_some(ready as u64))
                .warns(Range::at_least(1.0)),
            Reading::count(&QUARANTINED, Some(kept_out.len() as u64))
                .warns(Range::at_most(0.0))
                .because(kept_out),
            Reading::new(&LAG, lag(database, own))
                .warns(Range::at_most(LAG_WARNING))
                .alarms(Range::at_most(LAG_CRITICAL)),
        ]);
    }
    readings.extend(database.snapshots.iter().flat_map(of_snapshots));
    for reading in &mut readings {
        reading.of = Some(database.product.to_string());
    }
    readings
}

/// The own server's, else the largest that is known.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of lag")]
fn lag(database: &DatabaseStatus, own: Option<&Name>) -> Option<Value> {
    let of = |name: Option<&Name>| {
        let servers = database.servers.iter();
        let servers = servers.filter(|server| name.is_none_or(|name| server.name == *name));
        servers
            .filter_map(|server| server.seen.as_ref()?.lag_ms)
            .max()
    };
    let ms = own.and_then(|own| of(Some(own))).or_else(|| of(None))?;
    Some(Value::Number(ms as f64 / 1000.0))
}
