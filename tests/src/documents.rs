//! Documents made to measure: a usual box, and fleets of any size.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

/// How many products the usual web server has.
const PRODUCTS: usize = 10;

/// What the agent manages on `web-1` of [`usual`].
pub const MANAGED_FILES: usize = 31;

/// Whether `path`, relative to the root, is one of them: the rest of what the agent writes is machinery.
pub fn is_managed(path: &Path) -> bool {
    let path = path.to_string_lossy();
    let vhost = path.starts_with("etc/httpd/agentd/")
        && path.contains("product-")
        && path.ends_with(".conf");
    vhost
        || path == "etc/hosts"
        || path.starts_with("etc/product-")
        || path.starts_with("etc/cron.d/agentd-")
}

/// A fleet of 50 servers whose `web-1` gets 31 files: `/etc/hosts` with all of them, and for each of its ten products
/// a vhost, a memcached node list (all four formats occur) and a cron file.
pub fn usual(version: u64) -> Value {
    let names: Vec<String> = (0..PRODUCTS).map(|n| format!("product-{n}")).collect();
    let mut servers = Map::new();
    servers.insert("web-1".into(), server("10.77.0.1", "web", &names));
    for n in 1..=10 {
        let address = format!("10.77.1.{n}");
        servers.insert(format!("cache-{n}"), server(&address, "memcached", &names));
    }
    for n in 2..=40 {
        let address = format!("10.77.0.{n}");
        servers.insert(
            format!("web-{n}"),
            server(&address, "web", names.get(..1).unwrap_or_default()),
        );
    }
    let products: Map<String, Value> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.clone(), product(name, n)))
        .collect();
    document("usual", version, &servers, &products)
}

/// The same with another address of one of its servers: one line in `/etc/hosts` of `web-1`.
pub fn usual_but(version: u64, server: &str, address: &str) -> Value {
    let mut document = usual(version);
    if let Some(place) = document.pointer_mut(&format!("/signed/servers/{server}/address")) {
        *place = address.into();
    }
    document
}

/// A fleet of `servers` servers and a tenth as many products: each product on ten web servers and three memcached
/// servers, all of which carry two products.
pub fn large(servers: usize) -> Value {
    let count = (servers / 10).max(1);
    let names: Vec<String> = (0..count).map(|n| format!("product-{n}")).collect();
    let mut all = Map::new();
    for n in 0..servers {
        let address = format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
        let (role, name) = if n % 5 == 4 {
            ("memcached", format!("cache-{n}"))
        } else {
            ("web", format!("web-{n}"))
        };
        let own: BTreeSet<usize> = [n / 10 % count, (n * 7 + 3) % count].into();
        let own: Vec<String> = own.iter().filter_map(|n| names.get(*n).cloned()).collect();
        all.insert(name, server(&address, role, &own));
    }
    let products: Map<String, Value> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.clone(), product(name, n)))
        .collect();
    document("large", 1, &all, &products)
}

fn document(
    fleet: &str,
    version: u64,
    servers: &Map<String, Value>,
    products: &Map<String, Value>,
) -> Value {
    json!({"signatures": [], "signed": {
        "format": 1,
        "fleet": fleet,
        "version": version,
        "issued": "2026-01-01T00:00:00Z",
        "expires": "2126-01-01T00:00:00Z",
        "servers": servers,
        "roles": {"web": {}, "memcached": {}},
        "products": products,
    }})
}

fn server(address: &str, role: &str, products: &[String]) -> Value {
    json!({"address": address, "zone": "us-east-1a", "roles": [role], "products": products})
}

fn product(name: &str, n: usize) -> Value {
    let (format, suffix) = match n % 4 {
        0 => ("json", "json"),
        1 => ("php", "php"),
        2 => ("ini", "ini"),
        _ => ("text", "list"),
    };
    json!({
        "sites": {"www": {
            "domains": [format!("{name}.example.com"), format!("www.{name}.example.com")],
            "root": format!("/srv/{name}/current/public"),
            "headers": {"X-Content-Type-Options": "nosniff"},
        }},
        "cache": {
            "port": 11211 + n % 1000,
            "memory": "64M",
            "list": {"path": format!("/etc/{name}/memcached.{suffix}"), "format": format},
        },
        "cron": {"tick": {
            "schedule": "*/5 * * * *",
            "user": "root",
            "command": format!("/srv/{name}/current/bin/tick --date=$(date +%F)"),
            "on": ["web"],
        }},
    })
}
