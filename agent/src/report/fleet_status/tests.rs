use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::fleet::Document;
use crate::report::{html, text};

const NOW: &str = "2026-11-30T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn document() -> Document {
    let server = |address: &str, zone: &str, role: &str, products: &[&str]| json!({"address": address, "zone": zone, "roles": [role], "products": products});
    let mut servers = json!({
        "web-1": server("10.0.0.1", "a", "web", &["shop", "blog"]),
        "web-2": server("10.0.0.2", "b", "web", &["shop"]),
        "web-3": server("10.0.0.3", "b", "web", &["shop"]),
        "web-4": server("10.0.0.4", "b", "web", &["shop"]),
        "web-5": server("10.0.0.5", "a", "web", &["blog"]),
        "cache-1": server("10.0.0.21", "a", "memcached", &["shop"]),
        "cache-2": server("10.0.0.22", "b", "memcached", &["shop"]),
        "old-1": server("10.0.0.99", "a", "web", &["shop"]),
        "monitor-1": server("10.0.0.50", "a", "monitor", &[]),
    });
    servers["old-1"]["state"] = json!("retired");
    servers["web-4"]["state"] = json!("draining");
    let signed = json!({
        "format": 1, "fleet": "prod", "version": 42,
        "issued": "2026-11-30T11:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": servers, "roles": {"web": {}, "memcached": {}, "monitor": {}}, "products": {"shop": {}, "blog": {}},
    });
    let text = json!({"signatures": [], "signed": signed}).to_string();
    Document::read(text.as_bytes()).unwrap()
}

fn machine(id: &DocumentId, server: Option<&str>, change: impl Fn(&mut Value)) -> MachineReport {
    let mut report = json!({
        "format": 1, "written": "2026-11-30T11:55:00Z", "server": server, "found_by": "the host name",
        "machine": {"hostname": "ip-10-0-0-1"}, "agent": {"version": "0.1.0", "started": "2026-11-30T01:00:00Z"},
        "document": {"fleet": "prod", "version": id.version, "digest": id.digest, "trust": "none"},
        "health": "converged", "alarms": [], "steps": {}, "last_run": null,
    });
    change(&mut report);
    MachineReport {
        put: None,
        report: serde_json::from_value(report).unwrap(),
    }
}

/// A fleet in which nearly everything is wrong once.
fn seen() -> FleetStatus {
    let document = document();
    let id = &document.id;
    let mut reports = Reports::default();
    let mut put = |name: &str, change: &dyn Fn(&mut Value)| {
        let report = machine(id, Some(name), change);
        reports.servers.insert(name.parse().unwrap(), report);
    };
    put("web-1", &|report| {
        report["readiness"] = json!([
            {"product": "shop", "ready": "true", "reason": "", "release": "2026-11-28.1"},
        ]);
    });
    put("web-2", &|report| {
        report["health"] = json!("degraded");
        report["alarms"] = json!([
            "sites: put back: \u{1b}[31mSyntax error",
            "two",
            "three",
            "four"
        ]);
        report["services_down"] = json!(["httpd.service"]);
    });
    put("web-3", &|report| {
        report["written"] = json!("2026-11-30T09:00:00Z");
    });
    put("web-4", &|_| {});
    put("web-5", &|report| {
        report["document"]["version"] = json!(40);
        report["document"]["digest"] = json!("aa");
    });
    put("cache-1", &|report| {
        report["readiness"] = json!([
            {"product": "shop", "ready": "false", "reason": "GET /health: 500", "release": null},
        ]);
    });
    put("monitor-1", &|_| {});
    put("gone-1", &|_| {});
    let unknown = machine(id, None, |report| {
        report["health"] = json!("waiting");
        report["document"] = Value::Null;
    });
    reports.unknown.insert("i-0abc".into(), unknown);
    reports
        .unread
        .insert("nodes/cache-2.json".into(), "it is no report".into());
    FleetStatus::of(&document.fleet, id, &reports, Source::Reports, now())
}

fn health_of(status: &FleetStatus, name: &str) -> ServerHealth {
    let row = status
        .servers
        .iter()
        .find(|row| row.server.as_str() == name);
    row.unwrap().health
}

#[test]
fn a_server_that_others_took_out_is_told_though_its_last_report_is_young_and_good() {
    let document = document();
    let id = &document.id;
    let out = json!([{"product": "shop", "part": "web", "server": "web-2", "out": true, "since": "2026-11-30T11:57:00Z",
        "by": ["web-1", "web-3"], "why": "10.0.0.2:80: no connection within 3 s"}]);
    let of = |own: &dyn Fn(&mut Value)| {
        let mut reports = Reports::default();
        for name in ["web-1", "web-3"] {
            let report = machine(id, Some(name), |report| {
                report["written"] = json!("2026-11-30T11:58:00Z");
                report["evictions"] = out.clone();
            });
            reports.servers.insert(name.parse().unwrap(), report);
        }
        reports
            .servers
            .insert("web-2".parse().unwrap(), machine(id, Some("web-2"), own));
        let status = FleetStatus::of(&document.fleet, id, &reports, Source::Reports, now());
        let row = status
            .servers
            .iter()
            .find(|row| row.server.as_str() == "web-2")
            .unwrap();
        (row.health, row.reasons.join("; "))
    };
    let (health, why) = of(&|_| {});
    assert_eq!(health, ServerHealth::Silent);
    assert!(why.contains("web-1 and web-3 found it dead"), "{why}");
    let (health, _) = of(&|report| {
        report["written"] = json!("2026-11-30T11:59:00Z");
        report["evictions"] = out.clone();
    });
    assert_eq!(health, ServerHealth::NotReady, "it lives, and is still out");
    let (health, why) = of(&|report| report["written"] = json!("2026-11-30T11:59:00Z"));
    assert_eq!((health, why.as_str()), (ServerHealth::Good, ""));
}

#[test]
fn problems_stand_first_and_what_nobody_said_is_never_good() {
    let status = seen();
    let order: Vec<(&str, &str)> = status
        .servers
        .iter()
        .map(|row| (row.server.as_str(), row.health.as_str()))
        .collect();
    assert_eq!(
        order,
        [
            ("web-3", "silent"),
            ("cache-2", "never heard"),
            ("web-2", "degraded"),
            ("web-5", "behind"),
            ("cache-1", "not ready"),
            ("monitor-1", "good"),
            ("web-1", "good"),
            ("web-4", "good"),
            ("old-1", "retired"),
        ]
    );
    assert_eq!(
        status.tally,
        Tally {
            servers: 8,
            problems: 5,
            draining: 1
        }
    );
    assert_eq!(status.strays.len(), 1);
}

#[test]
fn what_remains_if_a_zone_is_lost_counts_only_what_works() {
    let status = seen();
    let of = |product: &str, role: &str| {
        let is = |balance: &&Balance| {
            balance.product.as_str() == product
                && balance.role.as_ref().map(Name::as_str) == Some(role)
        };
        status.balance.iter().find(is).unwrap()
    };
    // web-2's Apache is down, web-3 is silent, web-4 is draining, old-1 is gone: if web-1's zone is lost nothing remains.
    let web = of("shop", "web");
    assert_eq!((web.servers, web.working, web.remain), (3, 1, 0));
    let shares: Vec<(usize, usize, usize)> = web
        .zones
        .iter()
        .map(|share| (share.servers, share.working, share.remain))
        .collect();
    assert_eq!(shares, [(1, 1, 0), (2, 0, 1)]);
    // A cache whose product is not ready on it does not work for that product.
    assert_eq!(of("shop", "memcached").working, 0);
    assert_eq!(of("blog", "web").working, 2);
}

#[test]
fn a_version_has_a_while_to_arrive_and_a_silent_machine_none() {
    let document = document();
    let at = |time: &str, change: &dyn Fn(&mut Value)| {
        let mut reports = Reports::default();
        let report = machine(&document.id, Some("web-1"), change);
        reports.servers.insert("web-1".parse().unwrap(), report);
        let now = time.parse().unwrap();
        let source = Source::Reports;
        let status = FleetStatus::of(&document.fleet, &document.id, &reports, source, now);
        health_of(&status, "web-1")
    };
    let older = |report: &mut Value| {
        report["written"] = json!("2026-11-30T11:00:00Z");
        report["document"]["version"] = json!(41);
        report["document"]["digest"] = json!("aa");
    };
    assert_eq!(at("2026-11-30T11:04:59Z", &older), ServerHealth::Following);
    assert_eq!(at("2026-11-30T11:05:01Z", &older), ServerHealth::Behind);
    assert_eq!(at("2026-11-30T11:30:00Z", &older), ServerHealth::Behind);
    assert_eq!(at("2026-11-30T11:30:01Z", &older), ServerHealth::Silent);
    // The same number and other bytes, or a version that nobody published: at once.
    let other = |report: &mut Value| report["document"]["digest"] = json!("aa");
    assert_eq!(at("2026-11-30T11:00:01Z", &other), ServerHealth::Behind);
    let ahead = |report: &mut Value| report["document"]["version"] = json!(43);
    assert_eq!(at("2026-11-30T11:00:01Z", &ahead), ServerHealth::Behind);
}

#[test]
fn who_waits_for_a_wave_is_not_behind_and_a_halted_rollout_is_told() {
    let document = document();
    let look = |halted: Option<&str>, taken: bool| {
        let report = machine(&document.id, Some("web-1"), |report| {
            report["stands_on"] = json!(if taken { 42 } else { 41 });
            report["rollout"] = json!({
                "version": 42, "wave": 2, "waves": 3, "open": 1, "taken": taken, "halted": halted,
            });
        });
        let mut reports = Reports::default();
        reports.servers.insert("web-1".parse().unwrap(), report);
        let source = Source::Reports;
        FleetStatus::of(&document.fleet, &document.id, &reports, source, now())
    };
    let row = |status: &FleetStatus| {
        let row = status
            .servers
            .iter()
            .find(|row| row.server.as_str() == "web-1");
        row.unwrap().clone()
    };
    let waits = row(&look(None, false));
    assert_eq!(
        (waits.health, waits.version),
        (ServerHealth::Following, Some(41))
    );
    assert!(
        waits.reasons[0].contains("wave 2 of 3, waits"),
        "{:?}",
        waits.reasons
    );
    assert_eq!(row(&look(None, true)).health, ServerHealth::Good);
    let halted = look(Some("web-9 put it back"), false);
    assert!(halted.has_problems());
    let text = text::fleet(&halted, true, text::Paint::PLAIN);
    assert!(
        text.contains("its rollout was halted: web-9 put it back;"),
        "{text}"
    );
    assert!(html::fleet_page(&halted).contains("web-9 put it back"));
}

#[test]
fn when_a_machine_was_heard_says_the_bucket_not_its_clock() {
    let document = document();
    let mut report = machine(&document.id, Some("web-1"), |report| {
        report["written"] = json!("2027-01-01T00:00:00Z");
    });
    report.put = Some("2026-11-30T11:00:00Z".parse().unwrap());
    let mut reports = Reports::default();
    reports.servers.insert("web-1".parse().unwrap(), report);
    let status = FleetStatus::of(
        &document.fleet,
        &document.id,
        &reports,
        Source::Reports,
        now(),
    );
    assert_eq!(health_of(&status, "web-1"), ServerHealth::Silent);
}

#[test]
fn a_person_sees_what_was_asked_for() {
    let only = |selection: Selection| {
        let status = seen().only(&selection);
        let names: Vec<String> = status
            .servers
            .iter()
            .map(|row| row.server.to_string())
            .collect();
        (names.join(" "), status.tally.servers)
    };
    let product = Selection {
        product: Some("blog".into()),
        ..Selection::default()
    };
    assert_eq!(only(product), ("web-5 web-1".into(), 2));
    let text = Selection {
        text: Some("SYNTAX".into()),
        ..Selection::default()
    };
    assert_eq!(only(text), ("web-2".into(), 1));
    let zone = Selection {
        zone: Some("b".into()),
        problems: true,
        ..Selection::default()
    };
    assert_eq!(only(zone), ("web-3 cache-2 web-2".into(), 3));
}

#[test]
fn as_people_read_it() {
    let status = seen();
    let mut shown = text::fleet(&status, false, text::Paint::PLAIN);
    let _ = write!(
        shown,
        "\n--- --problems\n{}",
        text::fleet(&status, true, text::Paint::PLAIN)
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn the_page_stands_alone_and_nothing_of_a_report_becomes_a_part_of_it() {
    let mut status = seen();
    status.servers[0].reasons = vec!["<script>alert(1)</script>".into()];
    let page = html::fleet_page(&status);
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
    // Nothing that a browser would fetch or run.
    for part in [
        "src=", "href=", "url(", "@import", "onclick", "http://", "https://",
    ] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(!html::STYLE.contains("</"));
    // A sign and a word beside each colour.
    for part in [
        "✖</span> silent",
        "✔</span> good",
        "●</span> a",
        "■</span> b",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
}
