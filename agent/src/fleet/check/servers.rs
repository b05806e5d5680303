//! Servers: what they refer to, and that no two are the same machine.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::{Check, PRODUCTS, RESERVED_HOSTS, ROLES, place};
use crate::fleet::model::{Server, ServerState};
use crate::fleet::names::{InstanceId, Name};

impl<'f> Check<'f> {
    pub(super) fn servers(&mut self) {
        let mut by_address: BTreeMap<IpAddr, &Name> = BTreeMap::new();
        let mut by_instance: BTreeMap<&InstanceId, &Name> = BTreeMap::new();
        for (name, server) in &self.fleet.servers {
            let at = place(["servers", name.as_str()]);
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
            if address.is_unspecified() || address.is_multicast() {
                self.findings.add(&at.then("address"), || {
                    format!("{address} is no address that other servers can reach")
                });
            } else if let Some(other) = by_address.insert(address, name) {
                self.findings
                    .add(&at.then("address"), || twice(&address, "address", other));
            }
            if let Some(instance) = &server.instance
                && let Some(other) = by_instance.insert(instance, name)
            {
                self.findings
                    .add(&at.then("instance"), || twice(instance, "instance", other));
            }
        }
    }

    fn lists(&mut self, server: &'f Server, name: &Name) {
        let at = place(["servers", name.as_str()]);
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

/// Two servers that are not retired have the same `value` of `field`; the other one is `other`.
fn twice(value: &impl fmt::Display, field: &str, other: &Name) -> String {
    let there = place(["servers", other.as_str(), field]);
    format!("{value} is the {field} of `{other}` too ({there})")
}
