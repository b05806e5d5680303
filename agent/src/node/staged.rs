//! What a server goes by that waits for its wave: the version before, with those facts of the new one that all servers must
//! share at any moment. Pure.
//!
//! A node list that differs from server to server splits a cache, and an address that is no more leads nowhere: who belongs to
//! the fleet, where, and in which state, reaches all servers at once. What a server *is* (its packages, sites, jobs, releases)
//! goes by waves.

use std::collections::BTreeMap;

use crate::fleet::{Cache, Fleet, Name, Product, ServerState};

/// What the server `node` goes by, that stands on `base` and waits for `new`. A server that `base` does not have, or that `new`
/// retires or does not have any more, waits for nothing: `None`.
pub fn staged(base: &Fleet, new: &Fleet, node: &Name) -> Option<Fleet> {
    let before = base.servers.get(node)?;
    let own = new.servers.get(node)?;
    if own.state == ServerState::Retired || before.state == ServerState::Retired {
        return None;
    }
    let mut fleet = base.clone();
    fleet.servers.clone_from(&new.servers);
    if let Some(own) = fleet.servers.get_mut(node) {
        own.roles.clone_from(&before.roles);
        own.products.clone_from(&before.products);
    }
    fleet.clusters.clone_from(&new.clusters);
    fleet.confirm = new.confirm;
    fleet.rollout.clone_from(&new.rollout);
    fleet.expires = new.expires;
    for (name, product) in &mut fleet.products {
        if let Some(new) = new.products.get(name) {
            share(product, new);
        }
    }
    // The server has no part in these yet, but a product of its own may name the chain of one.
    for (name, new) in &new.products {
        if new.database.is_some() && !fleet.products.contains_key(name) {
            let product = Product {
                database: new.database.clone(),
                ..Product::default()
            };
            fleet.products.insert(name.clone(), product);
        }
    }
    Some(fleet)
}

/// Takes over what all servers of a product must share.
fn share(product: &mut Product, new: &Product) {
    product.database.clone_from(&new.database);
    if let (Some(cache), Some(new)) = (&mut product.cache, &new.cache) {
        find_alike(cache, new);
    }
    let caches: &mut BTreeMap<Name, Cache> = &mut product.caches;
    for (name, cache) in caches {
        if let Some(new) = new.caches.get(name) {
            find_alike(cache, new);
        }
    }
}

/// Takes over by what clients find a cache's nodes, and which of them has a key.
fn find_alike(cache: &mut Cache, new: &Cache) {
    cache.port = new.port;
    cache.listen.clone_from(&new.listen);
    cache.socket = new.socket;
    cache.weights.clone_from(&new.weights);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(version: u64, servers: &str, products: &str) -> Fleet {
        let json = format!(
            r#"{{"format": 1, "fleet": "f", "version": {version}, "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
                "servers": {{{servers}}}, "products": {products}, "roles": {{"web": {{}}, "memcached": {{}}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    const BEFORE: &str = r#"{"shop": {
        "packages": ["old"], "sites": {"www": {"domains": ["shop.example.com"], "root": "/srv/old"}},
        "cache": {"port": 11211, "memory": "64M"}, "database": {"chain": ["db-1"], "aliases": {"master": ["mysql-master"]}}}}"#;
    const AFTER: &str = r#"{"shop": {
        "packages": ["new"], "sites": {"www": {"domains": ["shop.example.com"], "root": "/srv/new"}},
        "cache": {"port": 11212, "memory": "128M"}, "database": {"chain": ["db-2"], "aliases": {"master": ["mysql-master"]}}},
        "blog": {}}"#;

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    #[test]
    fn what_a_server_is_waits_and_who_belongs_to_the_fleet_does_not() {
        let before = fleet(
            1,
            r#""web-1": {"address": "10.0.0.1", "roles": ["web"], "products": ["shop"]}, "cache-1": {"address": "10.0.0.2", "roles": ["memcached"], "products": ["shop"]}"#,
            BEFORE,
        );
        let after = fleet(
            2,
            r#""web-1": {"address": "10.0.0.9", "roles": ["web", "memcached"], "products": ["blog"], "state": "draining"}, "cache-2": {"address": "10.0.0.3", "roles": ["memcached"], "products": ["shop"]}"#,
            AFTER,
        );
        let staged = staged(&before, &after, &name("web-1")).unwrap();
        let own = &staged.servers[&name("web-1")];
        assert_eq!(own.address.to_string(), "10.0.0.9");
        assert_eq!(own.state, ServerState::Draining);
        assert_eq!(own.roles, [name("web")]);
        assert_eq!(own.products, [name("shop")]);
        assert!(!staged.servers.contains_key(&name("cache-1")));
        assert!(staged.servers.contains_key(&name("cache-2")));
        let (shop, old, new) = (
            &staged.products[&name("shop")],
            &before.products[&name("shop")],
            &after.products[&name("shop")],
        );
        assert_eq!((&shop.packages, &shop.sites), (&old.packages, &old.sites));
        assert_eq!(shop.database, new.database);
        let (cache, new) = (shop.cache.as_ref().unwrap(), new.cache.as_ref().unwrap());
        assert_eq!(cache.port, new.port);
        assert_eq!(cache.memory, old.cache.as_ref().unwrap().memory);
        assert_eq!(staged.version, 1);
    }

    #[test]
    fn the_chain_of_a_product_that_is_new_is_there_for_those_that_name_it() {
        let web = r#""web-1": {"address": "10.0.0.1", "products": ["shop"]}, "db-1": {"address": "10.0.0.2"}"#;
        let after = r#"{"shop": {"database": {"cluster": "store"}},
            "store": {"packages": ["new"], "database": {"chain": ["db-1"]}}, "blog": {"packages": ["new"]}}"#;
        let (before, after) = (fleet(1, web, BEFORE), fleet(2, web, after));
        let staged = staged(&before, &after, &name("web-1")).unwrap();
        let clusters = crate::fleet::Clusters::of(&staged);
        let chain = clusters.of_product(&name("shop")).unwrap().chain;
        assert_eq!(chain, [name("db-1")]);
        assert!(staged.products[&name("store")].packages.is_empty());
        assert!(!staged.products.contains_key(&name("blog")));
    }

    #[test]
    fn who_comes_or_goes_waits_for_nothing() {
        let one = r#""web-1": {"address": "10.0.0.1"}"#;
        let other = r#""web-2": {"address": "10.0.0.2"}"#;
        let retired = r#""web-1": {"address": "10.0.0.1", "state": "retired"}"#;
        for (before, after) in [(other, one), (one, other), (one, retired), (retired, one)] {
            let (before, after) = (fleet(1, before, "{}"), fleet(2, after, "{}"));
            assert_eq!(staged(&before, &after, &name("web-1")), None);
        }
    }
}
