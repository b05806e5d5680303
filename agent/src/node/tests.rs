use std::fmt::Write;
use std::sync::Arc;

use super::*;
use crate::fleet::{Document, Fleet};

const HEAVY: &str = include_str!("../../../tests/fleets/heavy.json");

fn heavy() -> Arc<Fleet> {
    read(HEAVY)
}

fn read(text: &str) -> Arc<Fleet> {
    Document::read(text.as_bytes()).unwrap().fleet
}

/// The heavy fleet with `from` replaced by `to`, which must stand in it.
fn heavy_with(changes: &[(&str, &str)]) -> Arc<Fleet> {
    let mut text = HEAVY.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in the document");
        text = text.replace(from, to);
    }
    read(&text)
}

fn of(fleet: &Fleet, node: &str) -> View {
    view(fleet, &node.parse().unwrap(), HostsScope::Products).unwrap()
}

/// A view as text: a line a thing, with where the document asks for it.
fn show(view: &View) -> String {
    let mut out = String::new();
    for host in &view.hosts {
        let HostEntry {
            address,
            name,
            origin,
        } = host;
        writeln!(out, "host  {address:<12} {name:<14} {origin}").unwrap();
    }
    for (product, cache) in &view.caches {
        let nodes: Vec<String> = cache
            .nodes
            .iter()
            .map(|(name, address)| format!("{name}={address}:{}", cache.cache.port))
            .collect();
        let instance = if cache.instance { "instance" } else { "" };
        writeln!(
            out,
            "cache {product} [{}] {instance} {}",
            nodes.join(" "),
            cache.origin
        )
        .unwrap();
    }
    for site in &view.sites {
        let SiteView {
            product,
            name,
            site,
            origin,
        } = site;
        writeln!(out, "site  {product}/{name} port {} {origin}", site.port).unwrap();
    }
    for cron in &view.cron {
        writeln!(
            out,
            "cron  {:?} {} \"{}\" {}",
            cron.owner, cron.name, cron.job.schedule, cron.origin
        )
        .unwrap();
    }
    out
}

#[test]
fn a_web_server_of_two_products() {
    insta::assert_snapshot!(show(&of(&heavy(), "web-1")));
}

#[test]
fn a_draining_web_server_keeps_running_but_never_runs_a_job_that_runs_once() {
    let fleet = heavy_with(&[(
        r#""roles": ["web"], "products": ["shop"], "instance": "i-0a00000000000012""#,
        r#""roles": ["web"], "products": ["shop"], "state": "draining""#,
    )]);
    let fleet_web_1_draining = heavy_with(&[(
        r#""products": ["shop", "video"], "instance": "i-0a00000000000011""#,
        r#""products": ["shop", "video"], "state": "draining""#,
    )]);
    insta::assert_snapshot!(show(&of(&fleet, "web-2")));
    let once = |fleet: &Fleet, node: &str| {
        of(fleet, node)
            .cron
            .iter()
            .any(|cron| cron.name.as_str() == "digest")
    };
    assert!(once(&fleet, "web-1") && !once(&fleet, "web-2"));
    assert!(!once(&fleet_web_1_draining, "web-1") && once(&fleet_web_1_draining, "web-2"));
}

#[test]
fn a_memcached_server_of_two_products() {
    insta::assert_snapshot!(show(&of(&heavy(), "cache-1")));
}

#[test]
fn a_draining_memcached_server_leaves_the_lists_and_keeps_its_instance() {
    let fleet = heavy_with(&[(
        r#""roles": ["memcached"], "products": ["shop"]"#,
        r#""roles": ["memcached"], "products": ["shop"], "state": "draining""#,
    )]);
    insta::assert_snapshot!(show(&of(&fleet, "cache-2")));
}

#[test]
fn a_server_without_products_knows_itself() {
    insta::assert_snapshot!(show(&of(&heavy(), "monitor-1")));
}

#[test]
fn the_scope_fleet_lists_every_server_but_only_the_aliases_of_own_products() {
    let view = view(&heavy(), &"monitor-1".parse().unwrap(), HostsScope::Fleet).unwrap();
    insta::assert_snapshot!(show(&view));
}

#[test]
fn a_retired_server_is_nothing_and_in_nobodys_view() {
    let fleet = heavy_with(&[(
        r#""products": ["shop", "video"], "instance": "i-0a00000000000011""#,
        r#""products": ["shop", "video"], "state": "retired""#,
    )]);
    assert_eq!(show(&of(&fleet, "web-1")), "");
    assert!(!show(&of(&fleet, "web-2")).contains("web-1"));
}

#[test]
fn replica_aliases_avoid_draining_servers_while_they_can() {
    let replica = |fleet: &Fleet| {
        let view = of(fleet, "web-2");
        let entry = view.hosts.iter().find(|host| host.name == "mysql-slave");
        entry.unwrap().address.to_string()
    };
    let db = |n: u8| {
        (
            format!(r#""10.77.0.3{n}", "#),
            format!(r#""10.77.0.3{n}", "state": "draining", "#),
        )
    };
    let ((db_2, db_2_draining), (db_3, db_3_draining)) = (db(2), db(3));
    assert_eq!(replica(&heavy()), "10.77.0.32");
    let one = heavy_with(&[(&db_2, &db_2_draining)]);
    assert_eq!(replica(&one), "10.77.0.33");
    let both = heavy_with(&[(&db_2, &db_2_draining), (&db_3, &db_3_draining)]);
    assert_eq!(replica(&both), "10.77.0.32", "still replicates");
    let alone = heavy_with(&[(r#"["db-1", "db-2", "db-3"]"#, r#"["db-1"]"#)]);
    assert_eq!(replica(&alone), "10.77.0.31");
}

#[test]
fn another_server_first_in_the_chain_moves_the_alias_and_nothing_else() {
    let before = show(&of(&heavy(), "web-2"));
    let fleet = heavy_with(&[(r#"["db-1", "db-2", "db-3"]"#, r#"["db-3", "db-1", "db-2"]"#)]);
    let after = show(&of(&fleet, "web-2"));
    let changed: Vec<&str> = after
        .lines()
        .filter(|line| !before.contains(line))
        .collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(changed.iter().all(|line| line.contains("mysql-")));
}

#[test]
fn an_unknown_server_has_no_view() {
    assert!(view(&heavy(), &"web-9".parse().unwrap(), HostsScope::Fleet).is_none());
}
