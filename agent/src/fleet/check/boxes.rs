//! Products that meet on one server: two owners of one path, port or alias there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Check, place};
use crate::fleet::model::{Cache, Database, ServerState};
use crate::fleet::names::{HostName, Name, Port};
use crate::fleet::pointer::Pointer;

/// What decides which products' things meet: servers alike in this are alike in their conflicts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Load<'f> {
    products: BTreeSet<&'f Name>,
    web: bool,
    memcached: bool,
}

impl<'f> Check<'f> {
    pub(super) fn boxes(&mut self) {
        // One conflict is one mistake, on however many servers the products meet.
        let mut loads: BTreeMap<Load<'f>, &'f Name> = BTreeMap::new();
        for (name, server) in &self.fleet.servers {
            if server.state == ServerState::Retired {
                continue;
            }
            let has = |role: &str| server.roles.iter().any(|name| name.as_str() == role);
            let (web, memcached) = (has("web"), has("memcached"));
            let alone = server.products.len() < 2 && !(web && memcached);
            if alone
                || self
                    .findings
                    .is_doubtful(&place(["servers", name.as_str()]))
            {
                continue;
            }
            let load = Load {
                products: server.products.iter().collect(),
                web,
                memcached,
            };
            loads.entry(load).or_insert(name);
        }
        let mut said = BTreeSet::new();
        for (load, name) in &loads {
            for (at, message) in self.conflicts(load) {
                if said.insert((at.clone(), message.clone())) {
                    self.findings
                        .add(&at, || format!("{message} (they meet on `{name}`)"));
                }
            }
        }
    }

    fn conflicts(&self, load: &Load<'f>) -> Vec<(Pointer, String)> {
        let mut conflicts = self.lists_of(load);
        conflicts.extend(self.aliases_of(load));
        if load.memcached {
            conflicts.extend(self.ports_of(load));
        }
        conflicts
    }

    fn caches_of(&self, load: &Load<'f>) -> impl Iterator<Item = (&'f Name, &'f Cache, Pointer)> {
        load.products.iter().filter_map(|name| {
            let cache = self.fleet.products.get(*name)?.cache.as_ref()?;
            let at = place(["products", name.as_str(), "cache"]);
            (!self.findings.is_doubtful(&at)).then_some((*name, cache, at))
        })
    }

    fn lists_of(&self, load: &Load<'f>) -> Vec<(Pointer, String)> {
        let lists: BTreeMap<&str, &Name> = self
            .caches_of(load)
            .filter_map(|(name, cache, _)| Some((cache.list.as_ref()?.path.as_str(), name)))
            .collect();
        let mut conflicts = Vec::new();
        for (name, cache, at) in self.caches_of(load) {
            let Some(list) = &cache.list else { continue };
            let at = at.then("list").then("path");
            let path = list.path.as_str();
            match lists.get(path) {
                // The map kept the last product with this path.
                Some(other) if *other != name => conflicts.push((
                    at.clone(),
                    format!("{path} is the node list of the product `{other}` too"),
                )),
                _ => {}
            }
            let above = path.rmatch_indices('/').find_map(|(slash, _)| {
                let directory = path.get(..slash)?;
                Some((directory, *lists.get(directory)?))
            });
            if let Some((directory, other)) = above {
                conflicts.push((
                    at,
                    format!("{directory} is a file, the node list of the product `{other}`"),
                ));
            }
        }
        conflicts
    }

    fn ports_of(&self, load: &Load<'f>) -> Vec<(Pointer, String)> {
        let mut conflicts = Vec::new();
        let mut by_port: BTreeMap<Port, Vec<(&Name, Option<IpAddr>)>> = BTreeMap::new();
        for (name, cache, at) in self.caches_of(load) {
            let others = by_port.entry(cache.port).or_default();
            let other = others
                .iter()
                .find(|(_, listen)| may_collide(*listen, cache.listen));
            if let Some((other, _)) = other {
                conflicts.push((
                    at.then("port"),
                    format!(
                        "port {} is the port of the product `{other}`'s cache too",
                        cache.port
                    ),
                ));
            } else {
                others.push((name, cache.listen));
            }
        }
        if !load.web {
            return conflicts;
        }
        for product in &load.products {
            let Some(parts) = self.fleet.products.get(*product) else {
                continue;
            };
            for (name, site) in &parts.sites {
                let at = place(["products", product.as_str(), "sites", name.as_str()]);
                let taken = by_port.get(&site.port).and_then(|caches| caches.first());
                if let Some((other, _)) = taken
                    && !self.findings.is_doubtful(&at)
                {
                    conflicts.push((
                        at.then("port"),
                        format!(
                            "port {} is the port of the product `{other}`'s cache",
                            site.port
                        ),
                    ));
                }
            }
        }
        conflicts
    }

    fn aliases_of(&self, load: &Load<'f>) -> Vec<(Pointer, String)> {
        let mut conflicts = Vec::new();
        let mut owners: BTreeMap<&HostName, (&Name, &str, &Database)> = BTreeMap::new();
        for product in &load.products {
            let Some(database) = self
                .fleet
                .products
                .get(*product)
                .and_then(|parts| parts.database.as_ref())
            else {
                continue;
            };
            let at = place(["products", product.as_str(), "database"]);
            if self.findings.is_doubtful(&at) {
                continue;
            }
            let at = at.then("aliases");
            let aliases = &database.aliases;
            for (kind, names) in [("master", &aliases.master), ("replica", &aliases.replica)] {
                for (index, name) in names.iter().enumerate() {
                    let (owner, owner_kind, other) =
                        *owners.entry(name).or_insert((product, kind, database));
                    // Within one product the product's own check speaks.
                    if owner != *product && (owner_kind != kind || other.chain != database.chain) {
                        conflicts.push((
                            at.then(kind).item(index),
                            format!(
                                "`{name}` would have two addresses: the product `{owner}` has it as an alias of its {owner_kind}"
                            ),
                        ));
                    }
                }
            }
        }
        conflicts
    }
}

/// Whether two instances of one port can meet on an address. Without one, an instance listens on its server's.
fn may_collide(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
        (None, None) => true,
        (Some(some), None) | (None, Some(some)) => !some.is_loopback(),
    }
}
