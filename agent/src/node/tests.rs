use std::fmt::Write;
use std::sync::Arc;

use super::eviction::Evictions;
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
    view(
        fleet,
        &node.parse().unwrap(),
        HostsScope::Products,
        &Elections::new(),
        &Evictions::new(),
    )
    .unwrap()
}

/// A view as text: a line a thing, with where the document asks for it.
fn show(view: &View) -> String {
    let mut out = String::new();
    for host in &view.hosts {
        let HostEntry {
            address,
            name,
            fqdn: _,
            origin,
            elected,
        } = host;
        let elected = elected
            .as_ref()
            .map_or_else(String::new, |lease| format!(" ({lease})"));
        writeln!(out, "host  {address:<12} {name:<14} {origin}{elected}").unwrap();
    }
    for (product, cache) in &view.caches {
        let nodes: Vec<String> = cache
            .nodes
            .iter()
            .map(|(name, address)| format!("{name}={address}:{}", cache.cache.port.unwrap()))
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
            release: _,
            product,
            name,
            site,
            origin,
            php: _,
        } = site;
        let ports: Vec<String> = site.ports().map(|port| port.to_string()).collect();
        let ports = ports.join(" ");
        writeln!(out, "site  {product}/{name} port {ports} {origin}").unwrap();
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
fn a_dead_memcached_leaves_the_lists_in_the_order_of_the_others_where_the_document_wants_that() {
    let fleet = heavy_with(&[(r#""shop": {"#, r#""shop": {"evict": {"cache": "1m"}, "#)]);
    let dead = |servers: &[&str]| -> Evictions {
        let out = r#"{"since": "2026-11-30T14:00:00Z", "by": [{"by": "web-2", "since": "2026-11-30T13:59:00Z", "why": "silent"}]}"#;
        let cache: Vec<String> = servers
            .iter()
            .map(|it| format!("\"{it}\": {out}"))
            .collect();
        serde_json::from_str(&format!(
            r#"{{"shop": {{"cache": {{{}}}}}}}"#,
            cache.join(", ")
        ))
        .unwrap()
    };
    let shop = |fleet: &Fleet, evictions: &Evictions| {
        let node = "web-1".parse().unwrap();
        let view = view(
            fleet,
            &node,
            HostsScope::Products,
            &Elections::new(),
            evictions,
        )
        .unwrap();
        let (_, cache) = view
            .caches
            .into_iter()
            .find(|(name, _)| name.to_string() == "shop")
            .unwrap();
        let names = cache
            .nodes
            .iter()
            .map(|(name, _)| name.to_string())
            .collect::<Vec<_>>();
        let left: Vec<String> = cache.left_out.keys().map(ToString::to_string).collect();
        (names, left)
    };
    let (all, none) = shop(&fleet, &Evictions::new());
    assert!(all.len() >= 2 && none.is_empty());
    let (names, left) = shop(&fleet, &dead(&[all[0].as_str()]));
    assert_eq!((&names[..], left), (&all[1..], vec![all[0].clone()]));
    // Never all of them, and none where the document takes none out.
    let everybody: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(shop(&fleet, &dead(&everybody)).0, all);
    assert_eq!(shop(&heavy(), &dead(&everybody[..1])).0, all);
}

#[test]
fn a_server_without_products_knows_itself() {
    insta::assert_snapshot!(show(&of(&heavy(), "monitor-1")));
}

#[test]
fn the_scope_fleet_lists_every_server_but_only_the_aliases_of_own_products() {
    let view = view(
        &heavy(),
        &"monitor-1".parse().unwrap(),
        HostsScope::Fleet,
        &Elections::new(),
        &Evictions::new(),
    )
    .unwrap();
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

fn elected(product: &str, epoch: u64, owner: &str) -> Elections {
    let elected = Elected {
        epoch,
        owner: owner.parse().unwrap(),
    };
    Elections::from([(product.parse().unwrap(), elected)])
}

fn aliases(fleet: &Fleet, elections: &Elections) -> String {
    let view = view(
        fleet,
        &"web-1".parse().unwrap(),
        HostsScope::Products,
        elections,
        &Evictions::new(),
    )
    .unwrap();
    let mut lines: Vec<String> = show(&view).lines().map(str::to_owned).collect();
    lines.retain(|line| line.contains("mysql-"));
    lines.join("\n")
}

#[test]
fn the_lease_says_who_is_the_master_and_the_document_who_may_be() {
    let fleet = heavy();
    let by_lease = [
        ("none", Elections::new()),
        ("first", elected("shop", 1, "db-1")),
        ("second", elected("shop", 2, "db-2")),
        ("not in the chain", elected("shop", 3, "web-2")),
        ("no server at all", elected("shop", 3, "db-77")),
        (
            "of a name that the document has no more",
            elected("blog", 3, "db-2"),
        ),
    ];
    let told: Vec<String> = by_lease
        .iter()
        .map(|(what, elections)| format!("{what}\n{}", aliases(&fleet, elections)))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn the_databases_of_a_server() {
    let of = |fleet: &Fleet, node: &str| -> Vec<String> {
        let found = databases::of_server(fleet, &node.parse().unwrap());
        found.iter().map(|it| it.lease.to_string()).collect()
    };
    let fleet = heavy();
    assert_eq!(of(&fleet, "web-1"), ["shop"]);
    assert_eq!(of(&fleet, "monitor-1"), [""; 0]);
    assert_eq!(of(&fleet, "web-99"), [""; 0]);
}

#[test]
fn an_unknown_server_has_no_view() {
    assert!(
        view(
            &heavy(),
            &"web-9".parse().unwrap(),
            HostsScope::Fleet,
            &Elections::new(),
            &Evictions::new(),
        )
        .is_none()
    );
}

#[test]
fn a_key_with_a_slash_is_escaped_in_origins() {
    let pointer = Pointer::of(["signed", "a/b~c"]).then("~1").item(3);
    assert_eq!(pointer.0, "/signed/a~1b~0c/~01/3");
    let segments: Vec<String> = pointer.segments().collect();
    assert_eq!(segments, ["signed", "a/b~c", "~1", "3"]);
    assert!(pointer.is_in(&Pointer::of(["signed", "a/b~c"])));
    assert!(!Pointer::of(["signed", "web-1"]).is_in(&Pointer::of(["signed", "web"])));
}

/// Every origin of a view leads to a place that the file really has.
#[test]
fn origins_lead_to_places_in_the_file() {
    let file: serde_json::Value = serde_json::from_str(HEAVY).unwrap();
    let fleet = heavy();
    for name in fleet.servers.keys() {
        let view = view(
            &fleet,
            name,
            HostsScope::Fleet,
            &Elections::new(),
            &Evictions::new(),
        )
        .unwrap();
        let origins = (view.hosts.iter().map(|host| &host.origin))
            .chain(view.caches.values().map(|cache| &cache.origin))
            .chain(view.sites.iter().map(|site| &site.origin))
            .chain(view.cron.iter().map(|cron| &cron.origin));
        for origin in origins {
            assert!(file.pointer(&origin.0).is_some(), "{origin}");
        }
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const ROLES: [&str; 4] = ["web", "memcached", "database", "encoder"];
    const PRODUCTS: [&str; 3] = ["shop", "video", "blog"];

    /// A server: which roles and products it has, as bits, and its state.
    fn server() -> impl Strategy<Value = (u8, u8, &'static str)> {
        let state = prop::sample::select(vec!["active", "draining", "retired"]);
        (0..16u8, 0..8u8, state)
    }

    fn chosen(bits: u8, names: &[&str]) -> Vec<String> {
        (names.iter().enumerate())
            .filter(|(bit, _)| bits & (1 << bit) != 0)
            .map(|(_, name)| (*name).to_owned())
            .collect()
    }

    fn fleet(servers: &[(u8, u8, &str)], chain: &[u8]) -> Fleet {
        let mut all = serde_json::Map::new();
        for (n, (roles, products, state)) in servers.iter().enumerate() {
            let server = serde_json::json!({
                "address": format!("10.0.0.{n}"), "roles": chosen(*roles, &ROLES),
                "products": chosen(*products, &PRODUCTS), "state": state,
            });
            all.insert(format!("s{n}"), server);
        }
        let chain: Vec<String> = chain.iter().map(|n| format!("s{n}")).collect();
        let job = |on: &[&str], run: &str| serde_json::json!({ "schedule": "@daily", "user": "root", "command": "true", "on": on, "run": run });
        let product = |port: u16| {
            serde_json::json!({
                "sites": { "www": { "domains": ["a.example"], "root": "/srv/a" } },
                "cache": { "port": port, "memory": "64M" },
                "database": { "chain": chain, "aliases": { "master": ["master"], "replica": ["replica"] } },
                "cron": { "each": job(&[], "each"), "one": job(&[], "one"), "web": job(&["web", "encoder"], "one") },
            })
        };
        serde_json::from_value(serde_json::json!({
            "format": 1, "fleet": "f", "version": 1,
            "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
            "servers": all,
            "roles": { "web": { "cron": { "one": job(&[], "one") } } },
            "products": { "shop": product(1), "video": product(2) },
        }))
        .unwrap()
    }

    proptest! {
        /// Any fleet at all, checked or not: references may lead nowhere.
        #[test]
        fn views_are_deterministic_sorted_and_agree(
            servers in prop::collection::vec(server(), 1..8),
            chain in prop::collection::vec(0..9u8, 0..4),
        ) {
            let one = fleet(&servers, &chain);
            let mut once: Vec<String> = Vec::new();
            for (n, (roles, _, state)) in servers.iter().enumerate() {
                let name = format!("s{n}");
                let view = of(&one, &name);
                prop_assert_eq!(&view, &of(&one, &name));
                if *state == "retired" {
                    prop_assert_eq!(show(&view), "");
                    continue;
                }
                prop_assert!(view.hosts.is_sorted_by_key(|host| host.name.as_str()));
                prop_assert!(view.hosts.iter().any(|host| host.name == name));
                prop_assert!(view.sites.is_sorted_by_key(|site| (&site.product, &site.name)));
                prop_assert!(view.sites.is_empty() || roles & 1 != 0);
                prop_assert!(view.cron.is_sorted_by_key(|cron| (&cron.owner, &cron.name)));
                for cache in view.caches.values() {
                    prop_assert!(cache.nodes.is_sorted());
                    prop_assert_eq!(cache.instance, roles & 2 != 0);
                    for (node, _) in &cache.nodes {
                        let state = &one.servers[node].state;
                        prop_assert_eq!(*state, crate::fleet::ServerState::Active);
                    }
                }
                let jobs = view.cron.iter().filter(|cron| cron.job.run == crate::fleet::CronRun::One);
                once.extend(jobs.map(|cron| format!("{:?} {}", cron.owner, cron.name)));
                // The wider scope only adds servers.
                let wide = super::super::view(&one, &name.parse().unwrap(), HostsScope::Fleet, &Elections::new(), &Evictions::new()).unwrap();
                prop_assert!(view.hosts.iter().all(|host| wide.hosts.contains(host)));
            }
            let all = once.len();
            once.sort();
            once.dedup();
            prop_assert_eq!(all, once.len(), "a job that runs once runs twice");
        }
    }
}

#[test]
fn the_names_of_all_products_on_a_cluster_follow_one_lease_which_keeps_its_name() {
    let fleet = |clusters: &str, shop: &str, blog: &str| -> Fleet {
        let json = format!(
            r#"{{"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
                "servers": {{"web-1": {{"address": "10.0.0.11", "products": ["shop", "blog"]}},
                    "db-1": {{"address": "10.0.0.31"}}, "db-2": {{"address": "10.0.0.32"}}}},
                "clusters": {{{clusters}}}, "products": {{
                "shop": {{"database": {{{shop}, "aliases": {{"master": ["mysql-master"], "replica": ["mysql-slave"]}}}}}},
                "blog": {{"database": {{{blog}, "aliases": {{"master": ["blog-db"]}}}}}}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    };
    let name = |text: &str| text.parse::<Name>().unwrap();
    let elected = |lease: &str, owner: &str| {
        let owner = name(owner);
        Elections::from([(name(lease), Elected { epoch: 7, owner })])
    };
    // Who is in /etc/hosts, and by which lease.
    let led = |fleet: &Fleet, elections: &Elections| {
        let view = view(
            fleet,
            &name("web-1"),
            HostsScope::Products,
            elections,
            &Evictions::new(),
        )
        .unwrap();
        let lines = view.hosts.iter().map(|host| {
            let lease = host
                .elected
                .as_ref()
                .map_or_else(String::new, |it| format!(" ({it})"));
            format!("{} {}{lease}", host.address, host.name)
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let (chain, main) = (r#""chain": ["db-1", "db-2"]"#, r#""cluster": "main""#);
    let clusters = r#""main": {"chain": ["db-1", "db-2"]}"#;
    let shared = fleet(clusters, main, main);
    assert_eq!(
        led(&shared, &elected("main", "db-2")),
        "10.0.0.32 blog-db (leases/main.json, epoch 7: db-2)\n10.0.0.31 db-1\n10.0.0.32 db-2\n\
         10.0.0.32 mysql-master (leases/main.json, epoch 7: db-2)\n10.0.0.31 mysql-slave (leases/main.json, epoch 7: db-2)\n10.0.0.11 web-1"
    );
    let by_shop = elected("shop", "db-2");
    let equal = fleet("", chain, chain);
    for document in [
        &shared,
        &equal,
        &fleet(&clusters.replace(']', r#"], "lease": "shop""#), main, main),
    ] {
        // `blog` stands before `shop`, and `main` has no lease: what there is goes on.
        let led = led(document, &by_shop);
        assert!(
            led.contains("10.0.0.32 blog-db (leases/shop.json, epoch 7: db-2)"),
            "{led}"
        );
        assert!(
            led.contains("10.0.0.32 mysql-master (leases/shop.json"),
            "{led}"
        );
    }
    // An owner that is none of its servers was another chain's.
    let elsewhere = led(&equal, &elected("shop", "db-9"));
    assert!(elsewhere.contains("10.0.0.31 blog-db\n"), "{elsewhere}");
    // A lease of a name that the document does not have any more is theirs; one that is another cluster's is not.
    let renamed = led(&equal, &elected("store", "db-2"));
    assert!(
        renamed.contains("10.0.0.32 blog-db (leases/store.json, epoch 7: db-2)"),
        "{renamed}"
    );
    let spare = clusters.to_owned() + r#", "store": {"chain": ["db-9"]}"#;
    let others = led(&fleet(&spare, main, main), &elected("store", "db-2"));
    assert!(others.contains("10.0.0.31 blog-db\n"), "{others}");
    // However many products are on it, one lease is asked for.
    let asked = databases::of_server(&equal, &name("web-1"));
    assert_eq!(asked.len(), 1);
    assert_eq!(databases::of_server(&equal, &name("db-2")), asked);
}
