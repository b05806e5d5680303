//! Views and platforms for the unit tests of resources.

use crate::fleet::{Name, Pointer};
use crate::node::{CacheName, CacheView, CronView, HostEntry, Owner, View};
use crate::system::platform::{Family, Platform};

/// The layout of the home platform.
pub(super) fn platform() -> Platform {
    Platform::of(Family::Centos)
}

/// A server with nothing to do: `web-1` at 10.77.0.11.
pub(super) fn view() -> View {
    View {
        name: name("web-1"),
        server: serde_json::from_str(r#"{"address": "10.77.0.11", "roles": ["web"]}"#).unwrap(),
        groups: Vec::new(),
        users: Vec::new(),
        hosts: Vec::new(),
        withheld: Vec::new(),
        caches: [].into(),
        sites: Vec::new(),
        php: Vec::new(),
        cron: Vec::new(),
        packages: Vec::new(),
        services: Vec::new(),
        releases: Vec::new(),
        smoke: Vec::new(),
        masters: Vec::new(),
        files: Vec::new(),
    }
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A server's own name.
pub(super) fn server(host: &str, address: &str) -> HostEntry {
    HostEntry {
        address: address.parse().unwrap(),
        name: host.into(),
        fqdn: None,
        origin: Pointer(format!("/signed/servers/{host}")),
        elected: None,
    }
}

/// A name that follows a database's role.
pub(super) fn alias(host: &str, address: &str) -> HostEntry {
    HostEntry {
        address: address.parse().unwrap(),
        name: host.into(),
        fqdn: None,
        origin: Pointer("/signed/products/shop/database/aliases/master/0".into()),
        elected: None,
    }
}

/// The cache without a name of its own of `product`.
pub(super) fn of_product(product: &str) -> CacheName {
    CacheName {
        product: name(product),
        name: None,
    }
}

/// The cache of `shop`, as the document writes it.
pub(super) fn cache(json: &str, nodes: &[(&str, &str)], instance: bool) -> CacheView {
    CacheView {
        cache: serde_json::from_str(json).unwrap(),
        nodes: nodes
            .iter()
            .map(|(node, address)| (name(node), address.parse().unwrap()))
            .collect(),
        left_out: std::collections::BTreeMap::new(),
        instance,
        origin: Pointer("/signed/products/shop/cache".into()),
    }
}

/// A job of `shop`.
pub(super) fn job(job: &str, schedule: &str, user: &str, command: &str) -> CronView {
    CronView {
        owner: Owner::Product(name("shop")),
        name: name(job),
        job: serde_json::from_value(serde_json::json!({
            "schedule": schedule, "user": user, "command": command,
        }))
        .unwrap(),
        origin: Pointer(format!("/signed/products/shop/cron/{job}")),
    }
}
