//! Servers: what they refer to, and that no two are the same machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Check, PRODUCTS, RESERVED_HOSTS, ROLES, SERVERS};
use crate::fleet::model::{Server, ServerState};
use crate::fleet::names::Name;
use crate::fleet::pointer::Place;

/// The most addresses of a server that stand in DNS.
const MOST_PUBLIC: usize = 8;

impl<'f> Check<'f> {
    pub(super) fn servers(&mut self) {
        let mut addresses = Vec::new();
        let mut instances = Vec::new();
        let mut public = Vec::new();
        for (name, server) in &self.fleet.servers {
            let at = SERVERS.place.then(name.as_str());
            if RESERVED_HOSTS.contains(&name.as_str()) {
                self.findings.add(&at, || {
                    format!("`{name}` means the machine itself on every system: no server can have this name")
                });
            }
            self.lists(server, name);
            // A retired server's address and instance are free for another.
            if server.state == ServerState::Retired || self.findings.is_doubtful(&at) {
                continue;
            }
            let address = server.address.to_canonical();
            if let Some(why) = unreachable(address) {
                self.findings.add(&at.then("address"), || {
                    format!("{address} is no address that other servers can reach: {why}")
                });
            } else {
                addresses.push((bits(address), name));
            }
            self.public(&mut public, name, server, &at);
            if let Some(instance) = &server.instance {
                instances.push((instance, name));
            }
        }
        self.once(addresses, ("address", "the address"), |bits| {
            Ipv6Addr::from_bits(*bits).to_canonical().to_string()
        });
        self.once(public, ("public", "a public address"), |bits| {
            Ipv6Addr::from_bits(*bits).to_canonical().to_string()
        });
        self.once(instances, ("instance", "the instance"), ToString::to_string);
    }

    /// The addresses of a server that stand in DNS.
    fn public(
        &mut self,
        all: &mut Vec<(u128, &'f Name)>,
        name: &'f Name,
        server: &Server,
        at: &Place<'_>,
    ) {
        let list = at.then("public");
        self.list(&server.public, &list, MOST_PUBLIC);
        for (index, address) in server.public.iter().enumerate() {
            let address = address.to_canonical();
            if let Some(why) = unreachable(address) {
                let place = self.findings.item(&list, index);
                self.findings.add(&place, || {
                    format!("{address} is no address that the world can reach: {why}")
                });
            } else if !server
                .public
                .iter()
                .take(index)
                .any(|one| one.to_canonical() == address)
            {
                all.push((bits(address), name));
            }
        }
    }

    /// Checks that no two servers have the same value of a field, which is `what` of a server; `show` writes one.
    fn once<T: Ord>(
        &mut self,
        mut values: Vec<(T, &Name)>,
        (field, what): (&str, &str),
        show: fn(&T) -> String,
    ) {
        values.sort_unstable();
        for pair in values.windows(2) {
            if let [(value, other), (same, name)] = pair
                && value == same
            {
                let (there, here) = (
                    SERVERS.place.then(other.as_str()),
                    SERVERS.place.then(name.as_str()),
                );
                let (here, there) = (here.then(field), there.then(field));
                self.findings.clash(&here, &there, || {
                    let value = show(value);
                    format!("{value} is {what} of `{other}` too ({there})")
                });
            }
        }
    }

    fn lists(&mut self, server: &'f Server, name: &Name) {
        let at = SERVERS.place.then(name.as_str());
        let roles = at.then("roles");
        self.list(&server.roles, &roles, 64);
        for (index, role) in server.roles.iter().enumerate() {
            self.refers(&self.fleet.roles, &ROLES, role, &roles, index);
        }
        let products = at.then("products");
        self.list(&server.products, &products, 10_000);
        for (index, product) in server.products.iter().enumerate() {
            self.refers(&self.fleet.products, &PRODUCTS, product, &products, index);
        }
    }
}

/// Why other servers cannot reach an address, or not always the same one by it.
fn unreachable(address: IpAddr) -> Option<&'static str> {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if address.is_unspecified() {
        Some("it stands for every address of a machine")
    } else if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("it stands for many machines")
    } else if address.is_loopback() {
        Some("on each machine it is that machine itself; name the one that it has on the network")
    } else if is_link_local {
        Some(
            "it means something on one link only, and there another machine may take it; name the one that it has on the network",
        )
    } else {
        None
    }
}

/// An address as a number: what thousands of them are compared by.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
