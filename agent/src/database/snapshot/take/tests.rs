//! When a server is not copied, and when a copy is not kept.

use super::super::content::{Schema, Table};
use super::*;
use crate::database::server::{Replication, SemiSync, Thread};

fn seen() -> Observation {
    let thread = || Thread {
        state: ThreadState::Running,
        error: None,
    };
    Observation {
        flavour: Flavour::MariaDb,
        version: "10.11.19-MariaDB".to_owned(),
        server_id: 14,
        uptime_secs: 100,
        read_only: true,
        executed: Gtids::parse(Flavour::MariaDb, "0-11-253").unwrap(),
        local_writes: Gtids::none(Flavour::MariaDb),
        replication: Some(Replication {
            host: "10.0.0.1".to_owned(),
            port: 3306,
            user: "agentd".to_owned(),
            io: thread(),
            sql: thread(),
            lag_secs: Some(0),
            received: None,
            by_gtid: true,
            encrypted: false,
        }),
        semi_sync: SemiSync::default(),
        clients: 1,
        max_connections: 100,
        pid_file: None,
        strict: true,
    }
}

fn replication(seen: &mut Observation) -> &mut Replication {
    seen.replication.as_mut().unwrap()
}

#[test]
fn a_replica_that_does_not_replicate_or_lags_is_left_alone_and_the_reason_is_told() {
    let told = |change: fn(&mut Observation)| {
        let mut seen = seen();
        change(&mut seen);
        match may_be_copied(&seen, Duration::from_mins(5)) {
            Ok(()) => "copied".to_owned(),
            Err(error) => {
                assert!(matches!(error, TakeError::Skipped(_)));
                error.to_string()
            }
        }
    };
    let said = [
        told(|_| ()),
        told(|it| it.replication = None),
        told(|it| {
            replication(it).sql = Thread {
                state: ThreadState::Stopped,
                error: Some((1062, "Duplicate entry".to_owned())),
            };
        }),
        told(|it| replication(it).io.state = ThreadState::Connecting),
        told(|it| replication(it).lag_secs = Some(300)),
        told(|it| replication(it).lag_secs = Some(301)),
        told(|it| replication(it).lag_secs = None),
        told(|it| it.flavour = Flavour::MySql),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

fn content(tables: &[&str]) -> Content {
    let tables = tables
        .iter()
        .map(|&name| (name.to_owned(), Table::default()));
    let schema = Schema {
        tables: tables.collect(),
        definitions: String::new(),
    };
    Content {
        schemas: [("shop".to_owned(), schema)].into(),
    }
}

fn inventory(tables: &[(&str, &str)]) -> Inventory {
    let entry =
        |(name, made): &(&str, &str)| (("shop".to_owned(), (*name).to_owned()), (*made).to_owned());
    Inventory {
        schemas: ["shop".to_owned()].into(),
        tables: tables.iter().map(entry).collect(),
        ..Inventory::default()
    }
}

#[test]
fn a_copy_that_lacks_a_table_or_saw_one_change_is_not_kept() {
    let before = inventory(&[("a", "1"), ("b", "1")]);
    assert!(check(&content(&["a", "b"]), &before, &before).is_ok());
    let lacks = check(&content(&["a"]), &before, &before).unwrap_err();
    assert!(lacks.to_string().contains("it lacks shop.b"), "{lacks}");
    let altered = inventory(&[("a", "1"), ("b", "2")]);
    let changed = check(&content(&["a", "b"]), &before, &altered).unwrap_err();
    assert!(
        changed.to_string().contains("shop.b") && changed.is_passing(),
        "{changed}"
    );
    let more = Inventory {
        schemas: ["shop".to_owned(), "empty".to_owned()].into(),
        ..before.clone()
    };
    assert!(check(&content(&["a", "b"]), &more, &more).is_err());
}
