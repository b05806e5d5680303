use std::sync::Arc;

use super::super::Document;
use super::*;

const SMALL: &str = include_str!("../../../../tests/documents/good/small.json");

fn with(changes: &[(&str, &str)]) -> String {
    let mut text = SMALL.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in the document");
        text = text.replacen(from, to, 1);
    }
    text
}

fn refusals(changes: &[(&str, &str)]) -> Vec<String> {
    match Document::read(with(changes).as_bytes()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

const WEB: &str = r#""roles": ["web"], "products": ["shop"]"#;
const CACHE: &str = r#""roles": ["memcached"], "products": ["shop"]"#;
const PRODUCTS: &str = "\"products\": {\n      \"shop\"";

/// A second product with only a cache.
fn video(cache: &str) -> String {
    format!("\"products\": {{\n      \"video\": {{\"cache\": {{{cache}}}}},\n      \"shop\"")
}

#[test]
fn products_that_never_meet_may_use_the_same_path_and_port() {
    let video = video(
        r#""port": 11211, "memory": "64M", "list": {"path": "/etc/shop/memcached.json", "format": "json"}"#,
    );
    let apart = refusals(&[
        (PRODUCTS, &video),
        (WEB, r#""roles": ["web"], "products": ["shop"]"#),
    ]);
    assert_eq!(apart, [""; 0]);
    let together = refusals(&[
        (PRODUCTS, &video),
        (WEB, r#""roles": ["web"], "products": ["shop", "video"]"#),
    ]);
    assert_eq!(
        together.len(),
        1,
        "the path; no port, since no instance runs there: {together:?}"
    );
    let retired = refusals(&[
        (PRODUCTS, &video),
        (
            WEB,
            r#""roles": ["web"], "products": ["shop", "video"], "state": "retired""#,
        ),
    ]);
    assert_eq!(retired, [""; 0]);
}

#[test]
fn what_a_memcached_cannot_be() {
    const CACHE: &str = "\"cache\": {\"port\": 11211, \"memory\": \"64M\"";
    let said = |cache: &str, caches: &str| {
        let caches = format!("\"caches\": {{{caches}}}, {cache}");
        refusals(&[(CACHE, &caches)]).join("\n")
    };
    assert_eq!(
        said(
            CACHE,
            r#""a": {"socket": true, "memory": "64M", "item_size": "32M"}, "b": {"port": 11211, "memory": "1M", "listen": "::1"}"#
        ),
        ""
    );
    for (caches, refusal) in [
        (
            r#""a": {"memory": "64M"}"#,
            "expected a `port`, or \"socket\": true; found neither",
        ),
        (
            r#""a": {"port": 1, "socket": true, "memory": "64M"}"#,
            "not on both: take one out",
        ),
        (
            r#""a": {"socket": true, "memory": "64M", "listen": "::1"}"#,
            "`listen` means nothing for an instance on a Unix socket: take it out",
        ),
        (
            r#""a": {"port": 11211, "memory": "64M"}"#,
            "port 11211 is the port of `cache` of this product too",
        ),
        (
            r#""a": {"port": 1, "memory": "64M", "listen": []}"#,
            "expected at least one address; found an empty list",
        ),
        (
            r#""a": {"port": 1, "memory": "64M", "listen": ["::1", "::1"]}"#,
            "`::1` is listed twice",
        ),
        (
            r#""a": {"port": 1, "memory": "4M", "item_size": "2049K"}"#,
            "an item of 2049K is more than half of the memory, 4M: memcached does not start so",
        ),
        (
            r#""a": {"port": 1, "memory": "4M", "weights": {"web-7": 2}}"#,
            "there is no server `web-7`",
        ),
        (
            r#""a": {"port": 1, "memory": "4M", "weights": {"web-1": 0}}"#,
            "a weight from 1 to 100",
        ),
        (
            r#""a": {"port": 1, "memory": "4M", "threads": 65}"#,
            "a number of threads from 1 to 64",
        ),
        (
            r#""a": {"port": 1, "memory": "4M", "connections": "9"}"#,
            "a number of connections from 16 to 100000",
        ),
        (
            r#""a": {"port": 1, "memory": "4M", "list": {"path": "/etc/shop/memcached.json", "format": "php-session"}}"#,
            "/etc/shop/memcached.json is the node list of `cache` of this product",
        ),
        (
            r#""a": {"port": 1, "memory": "4M", "list": {"path": "/etc/passwd", "format": "text"}}"#,
            "it is about accounts",
        ),
    ] {
        let said = said(CACHE, caches);
        assert!(said.contains(refusal), "{caches}: {said}");
        assert!(said.contains("/signed/products/shop/caches/a"), "{said}");
    }
}

#[test]
fn variables_that_are_cron_s_own_and_a_boot_in_a_zone() {
    const TICK: &str = "\"tick\": {\"schedule\"";
    let cron = format!(
        "\"a\": {{\"schedule\": \"@reboot\", \"user\": \"root\", \"command\": \"true\", \"timezone\": \"UTC\", \
         \"environment\": {{\"SHELL\": \"x\", \"MAILTO\": \"x\", \"CRON_TZ\": \"x\", \"LOGNAME\": \"x\", \"RANDOM_DELAY\": \"9\", \"TZ\": \"UTC\"}}}}, {TICK}"
    );
    let found = refusals(&[(TICK, &cron)]);
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(
        found.iter().any(|one| one.ends_with(
            "`MAILTO` cannot be set here: it is `mailto` that says who gets what the job prints"
        )),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|one| one.ends_with("@reboot has no hours: take the time zone out")),
        "{found:#?}"
    );
}

#[test]
fn names_of_servers_with_the_domain_are_theirs() {
    const FLEET: &str = "\"fleet\": \"north\"";
    let text = with(&[]);
    assert!(text.contains(FLEET), "{text}");
    let domain = |domain: &str| format!("{FLEET}, \"domain\": \"{domain}\"");
    assert_eq!(refusals(&[(FLEET, &domain("example.com"))]), [""; 0]);
    let long = format!("{0}.{0}.{1}", "a".repeat(63), "a".repeat(62));
    let found = refusals(&[(FLEET, &domain(&long))]);
    assert!(found[0].ends_with("/signed/domain: expected a domain of at most 189 characters, so that servers' names fit before it; found 190"), "{found:?}");
    let found = refusals(&[
        (FLEET, &domain("example.com")),
        ("\"mysql-master\"", "\"web-1.example.com\""),
    ]);
    assert!(found[0].ends_with("`web-1.example.com` is the name of the server `web-1` with the fleet's domain: it cannot be an alias too"), "{found:?}");
}

#[test]
fn a_list_cannot_stand_in_another_products_list() {
    let video = video(
        r#""port": 11212, "memory": "64M", "list": {"path": "/etc/shop/memcached.json/video", "format": "json"}"#,
    );
    let found = refusals(&[
        (PRODUCTS, &video),
        (WEB, r#""roles": ["web"], "products": ["shop", "video"]"#),
    ]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .contains("/etc/shop/memcached.json is a file, the node list of the product `shop`"),
        "{found:?}"
    );
}

#[test]
fn instances_share_a_port_only_on_different_addresses() {
    for (listen, mistakes) in [
        ("", 1),
        (r#", "listen": "0.0.0.0""#, 1),
        (r#", "listen": "127.0.0.1""#, 0),
    ] {
        let video = video(&format!(r#""port": 11211, "memory": "64M"{listen}"#));
        let found = refusals(&[
            (PRODUCTS, &video),
            (
                CACHE,
                r#""roles": ["memcached"], "products": ["shop", "video"]"#,
            ),
        ]);
        assert_eq!(found.len(), mistakes, "{listen}: {found:?}");
    }
}

#[test]
fn one_conflict_is_one_mistake_on_however_many_servers() {
    let video = video(r#""port": 11211, "memory": "64M""#);
    let servers: Vec<String> = (1..50)
        .map(|n| format!(r#""c{n}": {{"address": "10.1.0.{n}", "roles": ["memcached"], "products": ["shop", "video"]}},"#))
        .collect();
    let servers = servers.concat();
    let servers = format!("\"servers\": {{{servers}");
    let found = refusals(&[(PRODUCTS, &video), ("\"servers\": {", &servers)]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_retired_server_frees_its_address_and_instance() {
    let address = r#""address": "10.0.0.11""#;
    let both = |state: &str| {
        refusals(&[
            (address, r#""address": "10.0.0.11", "instance": "i-0""#),
            (
                r#""web-1": "#,
                &format!(
                    r#""web-0": {{"address": "10.0.0.11", "instance": "i-0"{state}}}, "web-1": "#
                ),
            ),
        ])
    };
    // Two spaces follow the colon in the file.
    assert_eq!(both("").len(), 2);
    assert_eq!(both(r#", "state": "draining""#).len(), 2);
    assert_eq!(both(r#", "state": "retired""#), [""; 0]);
}

#[test]
fn the_same_alias_may_lead_to_the_same_place() {
    let aliased = |chain: &str| {
        let video = format!(
            "\"products\": {{\n \"video\": {{\"database\": {{\"chain\": {chain}, \"aliases\": {{\"master\": [\"mysql-master\"]}}}}}},\n \"shop\""
        );
        refusals(&[
            (PRODUCTS, &video),
            (WEB, r#""roles": ["web"], "products": ["shop", "video"]"#),
            (
                r#""10.0.0.31", "roles": ["database"], "products": ["shop"]"#,
                r#""10.0.0.31", "roles": ["database"], "products": ["shop", "video"]"#,
            ),
            (
                r#""10.0.0.32", "roles": ["database"], "products": ["shop"]"#,
                r#""10.0.0.32", "roles": ["database"], "products": ["shop", "video"]"#,
            ),
        ])
    };
    assert_eq!(aliased(r#"["db-1", "db-2"]"#), [""; 0]);
    let found = aliased(r#"["db-2", "db-1"]"#);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("that is another chain"));
    assert!(found[1].contains("would have two addresses"));
}

#[test]
fn what_shares_a_server_shares_all_of_them() {
    let own = |video: &str| {
        let video = format!("\"products\": {{\n \"video\": {{\"database\": {video}}},\n \"shop\"");
        refusals(&[
            (PRODUCTS, &video),
            (
                r#""10.0.0.31", "roles": ["database"], "products": ["shop"]"#,
                r#""10.0.0.31", "roles": ["database"], "products": ["shop", "video"]"#,
            ),
            (
                r#""10.0.0.32", "roles": ["database"], "products": ["shop"]"#,
                r#""10.0.0.32", "roles": ["database"], "products": ["shop", "video"]"#,
            ),
        ])
    };
    let good = [
        r#"{"chain": ["db-1", "db-2"]}"#,
        r#"{"chain": ["db-1", "db-2"], "never": ["db-2"], "semi_sync": true}"#,
        r#"{"chain": ["db-1", "db-2"], "port": 3307}"#,
        r#"{"cluster": "shop"}"#,
    ];
    for database in good {
        assert_eq!(own(database), [""; 0], "{database}");
    }
    let wrong = [
        (r#"{"chain": ["db-2"]}"#, "and that is another chain"),
        (
            r#"{"cluster": "shop", "port": 3307}"#,
            "`port` is said there, and not here",
        ),
        (r#"{"cluster": "shap"}"#, "there is no cluster `shap`"),
        (
            r#"{"aliases": {}}"#,
            "expected at least one server, the master, or a `cluster` in its place",
        ),
        (r#"{"cluster": "video"}"#, "there is no cluster `video`"),
    ];
    for (database, message) in wrong {
        let found = own(database);
        assert_eq!(found.len(), 1, "{database}: {found:?}");
        assert!(found[0].contains(message), "{database}: {found:?}");
    }
}

#[test]
fn clusters_stand_beside_products_and_are_named_once() {
    let chain = r#""chain": ["db-1", "db-2"],"#;
    let with = |clusters: &str, database: &str| {
        let clusters = format!("\"clusters\": {{{clusters}}},\n    {PRODUCTS}");
        let snapshots = r#""snapshots": {"server": "db-3", "every": "15m"},"#;
        refusals(&[(chain, database), (snapshots, ""), (PRODUCTS, &clusters)])
    };
    let main = r#""main": {"chain": ["db-1", "db-2"], "semi_sync": true}"#;
    assert_eq!(with(main, r#""cluster": "main","#), [""; 0]);
    // The chain is written twice, and is one cluster all the same.
    assert_eq!(with(main, chain), [""; 0]);
    let wrong = [
        (
            r#""main": {"chain": ["db-2", "db-1"]}"#,
            chain,
            "the cluster `main` too",
        ),
        (
            r#""main": {"chain": ["db-9"]}"#,
            r#""cluster": "main","#,
            "there is no server `db-9`",
        ),
        (
            r#""main": {"chain": []}"#,
            r#""cluster": "main","#,
            "expected at least one server, the master; found none",
        ),
        (
            r#""shop": {"chain": ["db-1", "db-2"]}"#,
            chain,
            "there is a product `shop` too",
        ),
        (
            r#""main": {"chain": ["db-1", "db-2"], "port": 3306}"#,
            r#""chain": ["db-1", "db-2"], "port": 3307,"#,
            "and port 3306",
        ),
        (
            r#""main": {"chain": ["db-1"]}, "more": {"chain": ["db-2"], "lease": "main"}"#,
            r#""cluster": "main","#,
            "`main` is the lease of `main` too",
        ),
        (
            r#""main": {"chain": ["db-1"], "snapshots": {"server": "db-2", "every": "15m"}}, "more": {"chain": ["db-2"]}"#,
            r#""cluster": "main","#,
            "`db-2` is in the chain of the cluster `more`",
        ),
    ];
    for (clusters, database, message) in wrong {
        let found = with(clusters, database);
        assert_eq!(found.len(), 1, "{clusters} {database}: {found:?}");
        assert!(
            found[0].contains(message),
            "{clusters} {database}: {found:?}"
        );
    }
    // A product's own name may be the cluster's that it is on.
    assert_eq!(
        with(
            r#""shop": {"chain": ["db-1", "db-2"]}"#,
            r#""cluster": "shop","#
        ),
        [""; 0]
    );
}

#[test]
fn the_small_document_is_right() {
    let fleet: Arc<Fleet> = Document::read(SMALL.as_bytes()).unwrap().fleet;
    let mut findings = Findings::default();
    check(&fleet, &mut findings);
    assert!(findings.is_empty());
}

#[test]
fn nothing_is_said_twice_about_what_could_not_be_read() {
    // `db-1` cannot be read: nothing more is said of the chain that names it.
    assert_eq!(refusals(&[("10.0.0.31", "10.0.0.331")]).len(), 1);
    assert_eq!(
        refusals(&[(r#""db-1":"#, r#""db-1": {}, "db-0":"#)]).len(),
        1
    );
    assert_eq!(refusals(&[("\"servers\": {", "\"server\": {")]).len(), 1);
    assert_eq!(
        refusals(&[(
            "\"roles\": {\n      \"web\": {},",
            "\"roles\": {\n      \"web\": [],"
        )])
        .len(),
        1
    );
    assert_eq!(
        refusals(&[(r#""chain": ["db-1", "db-2"]"#, r#""chain": "db-1""#)]).len(),
        1
    );
}

#[test]
fn a_site_cannot_speak_plain_http_on_the_port_of_https() {
    let root = r#""root": "/srv/shop/current/public""#;
    let on = |more: &str| refusals(&[(root, &format!("{root}, \"port\": 443{more}"))]);
    insta::assert_snapshot!(on("").join("\n"), @"24:96: /signed/products/shop/sites/www/port: 443 is the port of HTTPS, and this site speaks plain HTTP: no browser would understand it. Give it a certificate (`tls`), or have a balancer end TLS and give the site another port");
    // It may do TLS itself.
    assert_eq!(on(r#", "template": "tls""#), [""; 0]);
}

#[test]
fn units_that_no_document_should_name() {
    for (unit, why) in [
        ("poweroff.target", "is no service"),
        ("srv.mount", "is no service"),
        ("reboot.service", "is never started"),
        ("emergency", "is never started"),
        ("systemd-poweroff", "is never started"),
        ("dbus.socket", "is never started"),
        ("agentd", "the agent's own"),
        ("agentd.service", "the agent's own"),
        ("agentd-memcached@shop", "the agent's own"),
        ("mariadb@", "is a template"),
        ("mariadb@.service", "is a template"),
    ] {
        let services = format!(
            r#""shop": {{"services": {{"{unit}": {{"running": true}}}}, "files": {{"/etc/a": {{"content": "x", "restart": ["{unit}"]}}, "/etc/b": {{"content": "x", "reload": ["{unit}"]}}}},"#
        );
        let told = refusals(&[("\"shop\": {", &services)]);
        assert_eq!(told.len(), 3, "{unit}: {told:?}");
        assert!(
            told.iter().all(|told| told.contains(why)),
            "{unit}: {told:?}"
        );
    }
    for unit in [
        "httpd",
        "php-fpm.service",
        "mariadb@shop",
        "cups.socket",
        "fstrim.timer",
        "agentdish",
        "php8.2-fpm",
    ] {
        let services = format!(
            r#""shop": {{"services": {{"{unit}": {{"running": true}}}}, "files": {{"/etc/a": {{"content": "x", "restart": ["{unit}"]}}}},"#
        );
        assert_eq!(refusals(&[("\"shop\": {", &services)]), [""; 0], "{unit}");
    }
}
