//! `docs/monitoring.md` says of readings, alerts and the status file what the code says.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::tests::{boxes, now, with_snapshots};
use super::*;

const PAGE: &str = include_str!("../../../../docs/monitoring.md");

/// The part of the page under a heading.
fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// What stands between backticks in the first column of the tables there.
fn first_column(heading: &str) -> BTreeSet<&'static str> {
    let rows = section(heading).lines();
    let rows = rows.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// The table of readings, as a box of which nothing is wrong has them.
fn table() -> String {
    let status = with_snapshots();
    let seen = Seen {
        status: Some(&status),
        trouble: None,
        running: Some(true),
    };
    let mut out = String::from(
        "| reading | OpenMetrics | what it is | WARNING | CRITICAL |\n|---|---|---|---|---|\n",
    );
    for reading in Watch::new(seen, now()).readings {
        let what = reading.what;
        let unit = match (what.unit, what.kind) {
            (Unit::Seconds, _) => "_seconds",
            (Unit::Bytes, _) => "_bytes",
            (Unit::None, Kind::Counter) => "_total",
            (Unit::None, _) => "",
        };
        let range =
            |range: Option<Range>| range.map_or_else(String::new, |range| format!("`{range}`"));
        let _ = writeln!(
            out,
            "| `{}` | `agentd_{}{unit}` | {} | {} | {} |",
            what.name,
            what.metric,
            what.help.replace('|', "/"),
            range(reading.warning),
            range(reading.critical),
        );
    }
    out.replace("|  |", "| |").replace("|  |", "| |")
}

#[test]
fn the_page_has_all_readings() {
    let table = table();
    assert!(
        section("Readings").contains(&table),
        "docs/monitoring.md, Readings, should have:\n{table}"
    );
}

#[test]
fn the_page_says_of_each_alert_what_to_do() {
    let told = first_column("What each alert means, and what to do");
    let snapshot_server = ("it takes snapshots", Some(with_snapshots()), Some(true));
    for (_, status, running) in boxes().into_iter().chain([snapshot_server]) {
        let seen = Seen {
            status: status.as_ref(),
            trouble: None,
            running,
        };
        for reading in Watch::new(seen, now()).readings {
            let can_alarm = reading.warning.is_some() || reading.critical.is_some();
            let name = reading.what.name;
            assert!(
                !can_alarm || told.contains(name),
                "{name} is not on the page"
            );
        }
    }
    let status = with_snapshots();
    let seen = Seen {
        status: Some(&status),
        ..Seen::default()
    };
    let watch = Watch::new(seen, now());
    for name in told {
        assert!(
            watch
                .readings
                .iter()
                .any(|reading| reading.what.name == name),
            "{name} is on the page, and is no reading"
        );
    }
}

/// The names of all that is in a value, `a.b` and `a[].b`.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    // Records of runs and databases have pages of their own.
    let whole = [
        "last_run",
        "databases[]",
        "jobs[]",
        "dns[]",
        "certificates[]",
        "evictions[]",
        "hold",
        "drain",
        "undone",
    ]
    .contains(&prefix);
    match value {
        Value::Object(fields) if !whole => {
            for (name, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                paths(value, &format!("{prefix}{dot}{name}"), found);
            }
        }
        Value::Array(items) => {
            let prefix = format!("{prefix}[]");
            match items.first() {
                Some(first) => paths(first, &prefix, found),
                None => drop(found.insert(prefix)),
            }
        }
        _ => drop(found.insert(prefix.into())),
    }
}

#[test]
fn the_page_names_each_field_of_the_status_file() {
    let mut found = BTreeSet::new();
    for (_, status, _) in boxes() {
        let value = serde_json::to_value(status).unwrap();
        if value.is_object() {
            paths(&value, "", &mut found);
        }
    }
    // Of what some boxes have, its parts are told, not that it may be null or empty.
    let inner = |path: &str| {
        found.iter().any(|other| {
            other.starts_with(&format!("{path}.")) || other.starts_with(&format!("{path}[]."))
        })
    };
    let found: BTreeSet<&str> = found
        .iter()
        .map(String::as_str)
        .filter(|path| !inner(path) && !inner(path.trim_end_matches("[]")))
        .collect();
    assert_eq!(found, first_column("The status file"));
}
