//! The whole fleet on a terminal: the verdict, what a person should look at, all servers, what remains if a zone is lost.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;

use super::{Paint, ago, count, shown};
use crate::fleet::{Name, ServerState};
use crate::report::fleet_status::{
    Balance, FleetStatus, ServerHealth, ServerRow, Source, UnknownMachine, ZoneShare,
};

/// Reasons of a server that are shown; the others are counted.
const REASONS: usize = 3;
/// Unknown machines, strays and unread reports that are shown; the others are counted.
const OTHERS: usize = 20;

/// The whole fleet. `quiet`: servers that are well are counted, not listed.
pub fn fleet(status: &FleetStatus, quiet: bool, paint: Paint) -> String {
    let mut out = verdict(status, paint);
    let _ = writeln!(out, "{}", paint.dim(&source(status)));
    if let Some(why) = &status.halted {
        let halted = paint.alarm("its rollout was halted:");
        let _ = writeln!(
            out,
            "{halted} {}; agentctl fleet rollout status",
            shown(why)
        );
    }
    servers(&mut out, status, quiet, paint);
    balance(&mut out, &status.balance, paint);
    unknown(&mut out, &status.unknown, status.at, paint);
    others(&mut out, status, paint);
    out
}

/// All that somebody needs who only glances.
fn verdict(status: &FleetStatus, paint: Paint) -> String {
    let tally = status.tally;
    let mut parts = Vec::new();
    for health in ServerHealth::ALL {
        if let Some(number) = status.health.get(&health) {
            let said = format!("{number} {}", health.as_str());
            parts.push(painted(health, &said, paint));
        }
    }
    if tally.draining > 0 {
        parts.push(paint.yellow(&format!("{} draining", tally.draining)));
    }
    if !status.unknown.is_empty() {
        parts.push(paint.yellow(&count(status.unknown.len(), "unknown machine")));
    }
    format!(
        "{} version {}, issued {}: {}: {}\n",
        paint.bold(status.document.fleet.as_str()),
        status.document.version,
        ago(status.issued, status.at),
        count(tally.servers, "server"),
        parts.join(", ")
    )
}

/// Where the reports came from, and when.
pub fn source(status: &FleetStatus) -> String {
    match &status.source {
        Source::Reports => "from the machines' own reports".to_owned(),
        Source::Summary { by, at } => {
            format!("from the summary that {by} made {}", ago(*at, status.at))
        }
    }
}

fn painted(health: ServerHealth, text: &str, paint: Paint) -> String {
    match health {
        ServerHealth::Silent
        | ServerHealth::Unheard
        | ServerHealth::Degraded
        | ServerHealth::Waiting => paint.alarm(text),
        ServerHealth::Behind | ServerHealth::NotReady => paint.yellow(text),
        ServerHealth::Good | ServerHealth::Following => paint.green(text),
        ServerHealth::Retired => paint.dim(text),
    }
}

fn servers(out: &mut String, status: &FleetStatus, quiet: bool, paint: Paint) {
    let listed: Vec<&ServerRow> = status
        .servers
        .iter()
        .filter(|row| !quiet || row.health.is_problem())
        .collect();
    if !listed.is_empty() {
        let width = |of: &dyn Fn(&ServerRow) -> usize, least: usize, most: usize| {
            let widest = listed.iter().map(|row| of(row)).max().unwrap_or(0);
            widest.clamp(least, most)
        };
        let (server, zone, role) = (
            width(&|row| row.server.as_str().len(), 6, 24),
            width(&|row| zone_of(row).len(), 4, 16),
            width(&|row| names(&row.roles).len(), 5, 16),
        );
        let heading = format!(
            "{:<server$} {:<11} {:<zone$} {:<role$} {:>7} {:>11}  PRODUCTS",
            "SERVER", "HEALTH", "ZONE", "ROLES", "VERSION", "HEARD"
        );
        let _ = writeln!(out, "\n{}", paint.bold(&heading));
        for row in listed {
            let version = row.version.map_or_else(|| "-".into(), |v| v.to_string());
            let heard = row
                .heard
                .map_or_else(|| "never".to_owned(), |heard| ago(heard, status.at));
            let _ = writeln!(
                out,
                "{:<server$} {} {:<zone$} {:<role$} {version:>7} {heard:>11}  {}",
                row.server,
                painted(row.health, &format!("{:<11}", row.health.as_str()), paint),
                zone_of(row),
                names(&row.roles),
                products(row)
            );
            reasons(out, row);
        }
    }
    let well = status.tally.servers - status.tally.problems;
    if quiet && well > 0 {
        let _ = writeln!(out, "\n{} well", verb(well, "server is", "servers are"));
    }
}

fn reasons(out: &mut String, row: &ServerRow) {
    for reason in row.reasons.iter().take(REASONS) {
        let _ = writeln!(out, "  - {}", shown(reason));
    }
    let more = row.reasons.len().saturating_sub(REASONS);
    if more > 0 {
        let _ = writeln!(out, "  - and {more} more: agentctl status there");
    }
}

fn verb(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn zone_of(row: &ServerRow) -> &str {
    row.zone.as_ref().map_or("-", |zone| zone.as_str())
}

fn names(names: &[Name]) -> String {
    if names.is_empty() {
        return "-".into();
    }
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(",")
}

/// The products, each with its release; that it is draining first.
fn products(row: &ServerRow) -> String {
    let releases: BTreeMap<&Name, &str> = row
        .readiness
        .iter()
        .filter_map(|product| Some((&product.product, product.release.as_deref()?)))
        .collect();
    let mut parts: Vec<String> = row
        .products
        .iter()
        .map(|product| match releases.get(product) {
            Some(release) => format!("{product} {}", shown(release)),
            None => product.to_string(),
        })
        .collect();
    if parts.is_empty() {
        parts.push("-".into());
    }
    let state = match row.state {
        ServerState::Draining => "(draining) ",
        ServerState::Active | ServerState::Retired => "",
    };
    format!("{state}{}", parts.join(", "))
}

fn balance(out: &mut String, balances: &[Balance], paint: Paint) {
    // What stands in one zone by design (one server) is told too: losing it is losing all.
    let told: Vec<&Balance> = balances
        .iter()
        .filter(|balance| balance.remain * 2 < balance.servers)
        .collect();
    if told.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{}",
        paint.bold("If a zone is lost, less than half remains of")
    );
    for balance in told.iter().take(OTHERS) {
        let role = balance
            .role
            .as_ref()
            .map_or_else(|| "servers without a role".to_owned(), ToString::to_string);
        let zones: Vec<String> = balance.zones.iter().map(share).collect();
        let remain = format!("{} of {}", balance.remain, balance.servers);
        let remain = if balance.remain == 0 {
            paint.alarm(&remain)
        } else {
            paint.yellow(&remain)
        };
        let _ = writeln!(
            out,
            "  {} {role}: {remain} ({})",
            balance.product,
            zones.join(", ")
        );
    }
    more(out, told.len());
}

/// `2 in eu-west-1a, 1 of them working`.
fn share(share: &ZoneShare) -> String {
    let zone = share.zone.as_ref().map_or("no zone", |zone| zone.as_str());
    if share.working == share.servers {
        format!("{} in {zone}", share.servers)
    } else {
        format!("{} in {zone}, {} working", share.servers, share.working)
    }
}

fn unknown(out: &mut String, unknown: &[UnknownMachine], now: Timestamp, paint: Paint) {
    if unknown.is_empty() {
        return;
    }
    let heading = "Machines that the document does not name";
    let _ = writeln!(out, "\n{}", paint.bold(heading));
    for machine in unknown.iter().take(OTHERS) {
        let name = machine.hostname.as_deref().unwrap_or("without a host name");
        let _ = writeln!(
            out,
            "  {}  {}, heard {}{}",
            shown(&machine.id),
            shown(name),
            ago(machine.heard, now),
            if machine.silent { ", silent since" } else { "" }
        );
    }
    more(out, unknown.len());
}

fn others(out: &mut String, status: &FleetStatus, paint: Paint) {
    if !status.strays.is_empty() {
        let heading = "Reports of servers that the document does not have";
        let _ = writeln!(out, "\n{}", paint.bold(heading));
        for stray in status.strays.iter().take(OTHERS) {
            let heard = ago(stray.heard, status.at);
            let _ = writeln!(out, "  {}, heard {heard}", stray.server);
        }
        more(out, status.strays.len());
    }
    if !status.unread.is_empty() {
        let _ = writeln!(out, "\n{}", paint.alarm("Reports that could not be read"));
        for (key, why) in status.unread.iter().take(OTHERS) {
            let _ = writeln!(out, "  {}: {}", shown(key), shown(why));
        }
        more(out, status.unread.len());
    }
}

fn more(out: &mut String, all: usize) {
    let more = all.saturating_sub(OTHERS);
    if more > 0 {
        let _ = writeln!(out, "  and {more} more: --output json has all");
    }
}
