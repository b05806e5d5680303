//! Which records a box should have in DNS, by the document. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::fleet::names::{AbsolutePath, DnsServer, HostName};
use crate::fleet::{EvictPart, Fleet, Name, Server, ServerState, WEB};
use crate::node::eviction::Evictions;

/// A name that a box is to have its own addresses at, while it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameWish {
    /// The product whose name it is.
    pub product: Name,
    /// The name.
    pub name: HostName,
    /// The zone that it is in.
    pub zone: HostName,
    /// How long others may remember an address, in seconds.
    pub ttl: u32,
    /// The box's own addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The zone's primary server, where the document says.
    pub server: Option<DnsServer>,
    /// The file of the key, where the document says.
    pub key: Option<AbsolutePath>,
    /// Whether the document has this server take visitors.
    pub active: bool,
}

/// The names that the server `node` is to have its addresses at, in the order of its products. Also those of a server that drains or
/// is retired: it leaves them.
pub fn wanted(fleet: &Fleet, node: &Name) -> Vec<NameWish> {
    let Some(server) = fleet.servers.get(node) else {
        return Vec::new();
    };
    if !is_web(server) {
        return Vec::new();
    }
    let addresses = addresses(server);
    let mut wishes = Vec::new();
    for product in &server.products {
        let dns = fleet.products.get(product).and_then(|it| it.dns.as_ref());
        let Some(dns) = dns else {
            continue;
        };
        wishes.extend(dns.names.iter().map(|name| NameWish {
            product: product.clone(),
            name: name.clone(),
            zone: dns.zone.clone(),
            ttl: dns.ttl_secs(),
            addresses: addresses.clone(),
            server: dns.server.clone(),
            key: dns.key.as_ref().map(|key| key.file.clone()),
            active: server.state == ServerState::Active,
        }));
    }
    wishes
}

/// The addresses that visitors reach a server at.
pub fn addresses(server: &Server) -> BTreeSet<IpAddr> {
    match server.public.as_slice() {
        [] => [server.address.to_canonical()].into(),
        public => public.iter().map(IpAddr::to_canonical).collect(),
    }
}

/// The addresses of all other servers that take visitors: whatever this box put there once, it does not take away. An address moves to
/// another server with a replacement, or an exchange.
pub fn addresses_of_others(fleet: &Fleet, node: &Name) -> BTreeSet<IpAddr> {
    let others = fleet.servers.iter().filter(|(name, server)| {
        *name != node && server.state == ServerState::Active && is_web(server)
    });
    others.flat_map(|(_, server)| addresses(server)).collect()
}

/// The addresses of a box's fellow web servers that were found dead, by product: they are no servers' that live.
pub fn addresses_of_dead(
    fleet: &Fleet,
    node: &Name,
    evictions: &Evictions,
) -> BTreeMap<Name, BTreeSet<IpAddr>> {
    let Some(server) = fleet.servers.get(node) else {
        return BTreeMap::new();
    };
    let of = |product: &Name| {
        // Where the document takes none out, none is.
        (fleet.products.get(product)?).evict_after(EvictPart::Web)?;
        let dead = evictions.get(product)?.of(EvictPart::Web);
        let of = |is_dead: bool| -> BTreeSet<IpAddr> {
            let servers = fleet.servers.iter().filter(|(name, server)| {
                server.state == ServerState::Active
                    && is_web(server)
                    && dead.contains_key(*name) == is_dead
            });
            servers.flat_map(|(_, server)| addresses(server)).collect()
        };
        let gone: BTreeSet<IpAddr> = of(true).difference(&of(false)).copied().collect();
        (!gone.is_empty()).then(|| (product.clone(), gone))
    };
    server.products.iter().filter_map(of).collect()
}

fn is_web(server: &Server) -> bool {
    server.roles.iter().any(|role| role.as_str() == WEB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_another_servers_by_now_is_known_as_such() {
        let fleet: Fleet = serde_json::from_value(serde_json::json!({
            "format": 1, "fleet": "test", "version": 1,
            "issued": "2026-01-01T00:00:00Z", "expires": "2036-01-01T00:00:00Z",
            "servers": {
                "web-1": {"address": "10.78.0.11", "public": ["198.51.100.11"], "roles": ["web"], "state": "retired"},
                "web-2": {"address": "10.78.0.12", "roles": ["web"], "state": "draining"},
                "web-3": {"address": "10.78.0.13", "public": ["198.51.100.11"], "roles": ["web"]},
                "cache-1": {"address": "10.78.0.21", "roles": ["memcached"]},
            },
        }))
        .unwrap();
        let of = |node: &str| addresses_of_others(&fleet, &node.parse().unwrap());
        let moved: BTreeSet<IpAddr> = ["198.51.100.11".parse().unwrap()].into();
        assert_eq!(of("web-1"), moved);
        assert_eq!(of("web-3"), BTreeSet::new());
    }

    fn of(node: &str) -> Vec<NameWish> {
        let fleet: Fleet = serde_json::from_value(serde_json::json!({
            "format": 1, "fleet": "test", "version": 1,
            "issued": "2026-01-01T00:00:00Z", "expires": "2036-01-01T00:00:00Z",
            "servers": {
                "web-1": {"address": "10.78.0.11", "public": ["198.51.100.11", "2001:db8::11"], "roles": ["web"], "products": ["shop", "blog"]},
                "web-2": {"address": "10.78.0.12", "roles": ["web"], "products": ["shop"], "state": "draining"},
                "cache-1": {"address": "10.78.0.21", "roles": ["memcached"], "products": ["shop"]},
            },
            "products": {
                "shop": {"dns": {"zone": "example.com", "names": ["shop.example.com", "www.shop.example.com"], "ttl": 30}},
                "blog": {},
            },
        }))
        .unwrap();
        wanted(&fleet, &node.parse().unwrap())
    }

    #[test]
    fn a_web_server_has_its_public_addresses_at_each_name() {
        let wishes = of("web-1");
        let names: Vec<&str> = wishes.iter().map(|wish| wish.name.as_str()).collect();
        assert_eq!(names, ["shop.example.com", "www.shop.example.com"]);
        assert_eq!(
            (wishes[0].ttl, wishes[0].addresses.len(), wishes[0].active),
            (30, 2, true)
        );
        let draining = of("web-2");
        assert!(!draining[0].active);
        assert_eq!(
            draining[0].addresses,
            ["10.78.0.12".parse().unwrap()].into()
        );
        assert_eq!(of("cache-1"), []);
        assert_eq!(of("nobody"), []);
    }
}
