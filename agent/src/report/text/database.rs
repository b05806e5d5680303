//! Databases: who is the master, who replicates from whom, who would take over and why not.

use std::collections::BTreeSet;
use std::fmt::Write;

use jiff::Timestamp;

use super::{Paint, age, ago, count, moment, push_indented, shown, size, took};
use crate::fleet::Name;
use crate::report::{
    ChangeStatus, DatabaseServer, DatabaseStatus, LeaseStatus, Part, Place, SnapshotSeen,
    SnapshotStatus,
};

/// A position is cut after so many characters: a `MySQL` set may fill the screen.
const POSITION_SHOWN: usize = 60;

/// Everything that is known of a product's database.
pub fn database(status: &DatabaseStatus, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}  {}",
        paint.bold(status.product.as_str()),
        verdict(status, paint)
    );
    for alarm in &status.alarms {
        out.push_str("  - ");
        push_indented(&mut out, alarm, 4);
    }
    row(&mut out, paint, "here", status.part.explained());
    if status.is_shared() {
        let products: Vec<&str> = status.products.iter().map(Name::as_str).collect();
        row(&mut out, paint, "for", &products.join(", "));
    }
    match &status.lease {
        Some(lease) => lease_rows(&mut out, lease, now, paint),
        None => row(&mut out, paint, "lease", "none is known"),
    }
    tree(&mut out, status, paint);
    failover(&mut out, status, paint);
    if let Some(snapshots) = &status.snapshots {
        snapshot_rows(&mut out, snapshots, now, paint);
    }
    if let Some(hold) = &status.hold {
        let reason = hold.reason.as_deref().unwrap_or("no reason given");
        let by = format!("by {} {}: {reason}", hold.by, ago(hold.since, now));
        match hold.maintenance_until {
            None => row(&mut out, paint, "paused", &by),
            Some(until) => {
                let text = format!("nobody takes over until {}; {by}", moment(until));
                row(&mut out, paint, "work", &text);
            }
        }
    }
    if let Some(change) = &status.last_change {
        row(&mut out, paint, "last", &change_line(change, now));
    }
    if let Some(doing) = &status.doing {
        row(&mut out, paint, "doing", doing);
    }
    for (index, note) in status.notes.iter().enumerate() {
        row(&mut out, paint, if index == 0 { "notes" } else { "" }, note);
    }
    out
}

/// One line, for the status of the whole box.
pub fn database_line(status: &DatabaseStatus, now: Timestamp) -> String {
    let master = match (&status.master, &status.lease) {
        (Some(master), Some(lease)) => format!("master {master}, epoch {}", lease.epoch),
        (Some(master), None) => format!("master {master}, by the document"),
        (None, _) => "no master".into(),
    };
    let part = match status.part {
        Part::Follower => String::new(),
        part => format!("; here: {}", part.as_str()),
    };
    let trouble = status
        .lease
        .as_ref()
        .and_then(|lease| lease.trouble.as_ref())
        .map_or_else(String::new, |trouble| {
            format!(
                "; the lease is not heard of since {}",
                ago(trouble.since, now)
            )
        });
    let paused = match &status.hold {
        None => "",
        Some(hold) if hold.maintenance_until.is_some() => "; under maintenance",
        Some(_) => "; paused",
    };
    let with = match status.products.len() {
        more @ 2.. => format!(" ({more} products)"),
        _ => String::new(),
    };
    format!("{}{with}: {master}{part}{trouble}{paused}", status.product)
}

fn verdict(status: &DatabaseStatus, paint: Paint) -> String {
    let Some(master) = &status.master else {
        return paint.alarm("NO MASTER");
    };
    if !status.alarms.is_empty() {
        let alarms = count(status.alarms.len(), "problem");
        return format!("master {master}: {}", paint.alarm(&alarms.to_uppercase()));
    }
    match &status.lease {
        Some(lease) => format!("master {master}, epoch {}", lease.epoch),
        None => format!("master {master}, by the document: there is no lease"),
    }
}

impl Part {
    const fn explained(self) -> &'static str {
        match self {
            Self::Follower => "this machine follows the lease; ask a database server for more",
            Self::Master => "this machine is the master",
            Self::Candidate => "this machine stands by",
            Self::Snapshots => "this machine takes the snapshots",
            Self::Quarantined => "this machine's server is kept out until a person has looked",
            Self::Unmanaged => {
                "the agent leaves this machine's server alone: `credentials` in [database] of agentd.toml is not set"
            }
        }
    }
}

fn lease_rows(out: &mut String, lease: &LeaseStatus, now: Timestamp, paint: Paint) {
    let text = format!(
        "epoch {}, {} is {} since {} ({})",
        lease.epoch,
        lease.owner,
        lease.state,
        moment(lease.since),
        ago(lease.since, now)
    );
    row(out, paint, "lease", &text);
    let armed = if lease.armed {
        "the dead-man is armed"
    } else {
        "no dead-man is armed"
    };
    let text = format!(
        "renewed {}, heard of {}; {armed}",
        ago(lease.renewed, now),
        ago(lease.confirmed, now)
    );
    row(out, paint, "", &text);
    if let Some(trouble) = &lease.trouble {
        let text = format!(
            "not heard of since {}: {}",
            ago(trouble.since, now),
            trouble.why
        );
        painted(out, paint, "", &paint.alarm(&shown(&text)));
    }
}

fn snapshot_rows(out: &mut String, snapshots: &SnapshotStatus, now: Timestamp, paint: Paint) {
    let seen = |seen: Option<&SnapshotSeen>, none: &str| {
        seen.map_or_else(
            || none.to_owned(),
            |seen| format!("{} ({}, {})", seen.id, ago(seen.at, now), size(seen.bytes)),
        )
    };
    let newest = seen(snapshots.newest.as_ref(), "there is none");
    row(out, paint, "snapshot", &newest);
    let restorable = seen(snapshots.restorable.as_ref(), "none yet");
    row(
        out,
        paint,
        "",
        &format!("restored by a drill: {restorable}"),
    );
    let next = snapshots.next.map_or_else(
        || "the bucket was not heard of yet".to_owned(),
        |next| {
            format!(
                "next {}",
                if next <= now {
                    "now".to_owned()
                } else {
                    ago(next, now)
                }
            )
        },
    );
    let text = format!(
        "{} in the bucket, {}; {next}",
        count(
            usize::try_from(snapshots.count).unwrap_or(usize::MAX),
            "snapshot"
        ),
        size(snapshots.bytes)
    );
    row(out, paint, "", &text);
    if let Some(archive) = &snapshots.archive {
        let text = format!(
            "binary log archived up to {}; were all servers lost now, so would be the last {}",
            archive.gtid,
            age(now.duration_since(snapshots.safe_until()).as_secs())
        );
        row(out, paint, "", &text);
    }
    for doing in &snapshots.doing {
        row(out, paint, "", doing);
    }
    let no_failure = None;
    let archive = snapshots.archive.as_ref();
    let archive_failure = archive.map_or(&no_failure, |archive| &archive.failure);
    for (what, trouble) in [
        ("none was taken", &snapshots.failure),
        ("the last drill", &snapshots.drill_failure),
        ("nothing is archived", archive_failure),
    ] {
        if let Some(trouble) = trouble {
            let text = format!("{what}, since {}: {}", ago(trouble.since, now), trouble.why);
            painted(out, paint, "", &paint.alarm(&shown(&text)));
        }
    }
    if let Some(why) = &snapshots.not_deleted {
        row(out, paint, "", &format!("old ones are not deleted: {why}"));
    }
}

/// The servers, each under the one that it replicates from. Where that is not known, the chain's order is shown.
fn tree(out: &mut String, status: &DatabaseStatus, paint: Paint) {
    let mut drawn = BTreeSet::new();
    let mut label = "servers";
    // The master first; then whoever is under nobody, so that no server is missing from the picture.
    let roots = (status.servers.iter())
        .filter(|server| server.place == Place::Master)
        .chain(&status.servers);
    let mut lines = Vec::new();
    for root in roots {
        branch(&mut lines, status, root, &mut drawn, &mut Vec::new(), paint);
    }
    for line in lines {
        let _ = writeln!(out, "  {}  {line}", paint.bold(&format!("{label:<8}")));
        label = "";
    }
}

fn branch<'s>(
    lines: &mut Vec<String>,
    status: &'s DatabaseStatus,
    server: &'s DatabaseServer,
    drawn: &mut BTreeSet<&'s Name>,
    above: &mut Vec<bool>,
    paint: Paint,
) {
    if !drawn.insert(&server.name) {
        return;
    }
    let mut lead = String::new();
    if let Some((last, before)) = above.split_last() {
        for more in before {
            lead.push_str(if *more { "│  " } else { "   " });
        }
        lead.push_str(if *last { "├─ " } else { "└─ " });
    }
    lines.push(format!("{lead}{}", server_line(server, paint)));
    let below: Vec<&DatabaseServer> = (status.servers.iter())
        .filter(|other| !drawn.contains(&other.name) && follows(status, other, server))
        .collect();
    let count = below.len();
    for (index, other) in below.into_iter().enumerate() {
        above.push(index + 1 < count);
        branch(lines, status, other, drawn, above, paint);
        above.pop();
    }
}

fn follows(status: &DatabaseStatus, server: &DatabaseServer, source: &DatabaseServer) -> bool {
    if server.place == Place::Master {
        return false;
    }
    match &server.seen {
        Some(seen) => seen.source.as_deref() == Some(source.name.as_str()),
        // Not asked from here: as the chain has it, the snapshot server under the master.
        None if server.place == Place::Snapshots => source.place == Place::Master,
        None => {
            let chain = || (status.servers.iter()).filter(|one| one.place == Place::Replica);
            let before = chain().take_while(|one| one.name != server.name).last();
            match before {
                Some(before) => before.name == source.name,
                None => source.place == Place::Master,
            }
        }
    }
}

fn server_line(server: &DatabaseServer, paint: Paint) -> String {
    let mut said: Vec<String> = Vec::new();
    match server.place {
        Place::Master => said.push(paint.bold("master")),
        Place::Replica => {}
        Place::Snapshots => said.push("snapshots".into()),
    }
    if let Some(seen) = &server.seen {
        if let Some(error) = &seen.error {
            said.push(paint.alarm(&shown(&format!("does not answer: {error}"))));
        } else {
            match (server.place, seen.writable) {
                (Place::Master, true) => said.push("takes writes".into()),
                (Place::Master, false) => said.push(paint.alarm("takes no writes")),
                (_, true) => said.push(paint.alarm("TAKES WRITES")),
                (_, false) => {}
            }
            if server.place != Place::Master {
                said.push(replication(server, paint));
            }
            if let Some(clients) = seen.clients {
                said.push(count(
                    usize::try_from(clients).unwrap_or(usize::MAX),
                    "client",
                ));
            }
        }
        if !seen.gtid.is_empty() {
            said.push(format!("at {}", position(&seen.gtid)));
        }
    }
    if let Some(why) = &server.quarantined {
        said.push(paint.alarm(&shown(&format!("QUARANTINED: {why}"))));
    }
    let (name, address) = (&server.name, &server.address);
    format!("{name}  {address}  {}", said.join(", "))
        .trim_end()
        .to_owned()
}

fn replication(server: &DatabaseServer, paint: Paint) -> String {
    let Some(seen) = &server.seen else {
        return String::new();
    };
    let Some(source) = &seen.source else {
        return paint.alarm("replicates from nobody");
    };
    let trouble = match (seen.receiving, seen.applying) {
        (true, true) => None,
        (false, true) => Some("does not receive"),
        (true, false) => Some("does not apply"),
        (false, false) => Some("replication has stopped"),
    };
    match (trouble, seen.lag_ms) {
        (Some(trouble), _) => {
            let why = seen.replication_error.as_deref();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            paint.alarm(&shown(&format!("{trouble} from {source}{why}")))
        }
        // Servers tell it in whole seconds.
        (None, Some(0)) => "level".into(),
        (None, Some(lag)) => format!("{} behind", took(lag)),
        (None, None) => "lag unknown".into(),
    }
}

fn failover(out: &mut String, status: &DatabaseStatus, paint: Paint) {
    let failover = &status.failover;
    let text = match (failover.automatic, &failover.successor) {
        (Some(true), Some(successor)) => format!("{successor} would take over by itself"),
        (Some(true), None) | (Some(false), _) => paint.alarm("nobody would take over by itself"),
        (None, Some(successor)) => format!("{successor} would be asked first"),
        (None, None) => elsewhere(status),
    };
    painted(out, paint, "failover", &text);
    for obstacle in &failover.obstacles {
        row(out, paint, "", obstacle);
    }
    for server in &status.servers {
        for obstacle in server.obstacles.iter().flatten() {
            row(
                out,
                paint,
                "",
                &format!("{} could not: {obstacle}", server.name),
            );
        }
    }
    if let Some(bucket) = &failover.bucket
        && bucket.right != Some(true)
    {
        let judged = match bucket.right {
            Some(false) => "the bucket's conditional writes are wrong",
            _ => "the bucket's conditional writes are not tried yet",
        };
        row(
            out,
            paint,
            "",
            &format!("{judged}: {}", bucket.findings.join("; ")),
        );
    }
}

/// Where more is known.
fn elsewhere(status: &DatabaseStatus) -> String {
    let servers: Vec<&str> = (status.servers.iter())
        .map(|server| server.name.as_str())
        .collect();
    if servers.is_empty() {
        return "not known on this machine".into();
    }
    let servers = servers.join(", ");
    shown(&format!(
        "not known on this machine, nor whether a person holds it: agentctl db status on {servers}"
    ))
    .into_owned()
}

fn change_line(change: &ChangeStatus, now: Timestamp) -> String {
    let from = change
        .from
        .as_ref()
        .map_or_else(String::new, |from| format!("{from} → "));
    let why = match change.cause.as_str() {
        "first" => "the first lease",
        "expired" => "its renewals had stopped",
        "anew" => "the lease had been deleted",
        "released" => "its server was down",
        "switchover" => "a person asked for it",
        other => other,
    };
    let lost = match (change.lost_none, change.lost_at_least) {
        _ if change.from.is_none() => "there was nothing to lose".into(),
        (true, _) => "nothing lost".into(),
        (false, Some(0)) => "no loss is known".into(),
        (false, Some(number)) => format!(
            "{} lost, or more",
            count(usize::try_from(number).unwrap_or(usize::MAX), "transaction")
        ),
        (false, None) => "the loss is not known".into(),
    };
    format!(
        "epoch {}: {from}{}, {} ({}): {why}; {lost}",
        change.epoch,
        change.to,
        moment(change.at),
        ago(change.at, now)
    )
}

fn position(gtid: &str) -> String {
    if gtid.chars().count() <= POSITION_SHOWN {
        return shown(gtid).into_owned();
    }
    let cut: String = gtid.chars().take(POSITION_SHOWN).collect();
    format!("{}…", shown(&cut))
}

fn row(out: &mut String, paint: Paint, label: &str, text: &str) {
    painted(out, paint, label, &shown(text));
}

/// A row of text in which everything of unknown origin went through [`shown`] already.
fn painted(out: &mut String, paint: Paint, label: &str, text: &str) {
    let _ = writeln!(out, "  {}  {text}", paint.bold(&format!("{label:<8}")));
}

#[cfg(test)]
mod tests;
