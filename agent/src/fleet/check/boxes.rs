//! Products that meet on one server: two owners of one path, port or alias there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Check, PRODUCTS, SERVERS};
use crate::fleet::model::{Cache, Fleet, Server, ServerState};
use crate::fleet::names::{Addresses, HostAlias, Name, Port};
use crate::fleet::pointer::Pointer;

/// What decides which products' things meet: servers alike in this are alike in their conflicts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Load<'f> {
    /// Those that could meet another, by name.
    products: BTreeSet<&'f Name>,
    web: bool,
    memcached: bool,
}

/// Products with a thing that another one has too, wherever they run: only these can meet. In a fleet without a
/// mistake there are few, and so the servers, of which there are many, need not be looked at one by one.
#[derive(Default)]
struct Rivals<'f> {
    /// By a path or an alias.
    anywhere: BTreeSet<&'f Name>,
    /// By a port: where memcached runs.
    on_memcached: BTreeSet<&'f Name>,
}

impl<'f> Rivals<'f> {
    fn of(fleet: &'f Fleet) -> Self {
        let mut lists: BTreeMap<&str, Vec<&Name>> = BTreeMap::new();
        let mut aliases: BTreeMap<&HostAlias, BTreeSet<&Name>> = BTreeMap::new();
        let mut ports: BTreeMap<Port, Vec<&Name>> = BTreeMap::new();
        for (name, product) in &fleet.products {
            for (_, cache) in product.all_caches() {
                if let Some(port) = cache.port {
                    ports.entry(port).or_default().push(name);
                }
                if let Some(list) = &cache.list {
                    lists.entry(list.path.as_str()).or_default().push(name);
                }
            }
            if let Some(database) = &product.database {
                let of = &database.aliases;
                for alias in of.master.iter().chain(&of.replica) {
                    aliases.entry(alias).or_default().insert(name);
                }
            }
        }
        let mut rivals = Self::default();
        for (path, products) in &lists {
            let above = directories(path).find_map(|directory| lists.get(directory));
            if let Some(above) = above {
                rivals.anywhere.extend(above);
            }
            if above.is_some() || products.len() > 1 {
                rivals.anywhere.extend(products);
            }
        }
        for products in aliases.values().filter(|products| products.len() > 1) {
            rivals.anywhere.extend(products);
        }
        for (name, product) in &fleet.products {
            for site in product.sites.values() {
                let own = site.ports().chain(site.redirect_port());
                for caches in own.filter_map(|port| ports.get(&port)) {
                    rivals.on_memcached.insert(name);
                    rivals.on_memcached.extend(caches);
                }
            }
        }
        for products in ports.values().filter(|products| products.len() > 1) {
            rivals.on_memcached.extend(products);
        }
        rivals
    }

    /// What of `server` can meet.
    fn on(&self, server: &'f Server) -> Load<'f> {
        let has = |role: &str| server.roles.iter().any(|name| name.as_str() == role);
        let (web, memcached) = (has("web"), has("memcached"));
        let can_meet = |name: &Name| {
            self.anywhere.contains(name) || (memcached && self.on_memcached.contains(name))
        };
        Load {
            products: server
                .products
                .iter()
                .filter(|name| can_meet(name))
                .collect(),
            web,
            memcached,
        }
    }

    fn is_empty(&self) -> bool {
        self.anywhere.is_empty() && self.on_memcached.is_empty()
    }
}

/// The directories that `path` stands in, from the nearest on, without the top.
fn directories(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/')
        .filter_map(move |(slash, _)| path.get(..slash))
}

/// A product's instance, the name of its cache if it has one, and where it listens.
type Listener<'f> = (&'f Name, Option<&'f Name>, Option<&'f Addresses>);

/// Where `path` leads to in the cache of `product`, or the one of that name.
fn in_cache<const N: usize>(product: &Name, cache: Option<&Name>, path: [&str; N]) -> Pointer {
    let of = ["signed", "products", product.as_str()];
    let cache = match cache {
        Some(name) => ["caches", name.as_str()].to_vec(),
        None => vec!["cache"],
    };
    Pointer::of(of.into_iter().chain(cache).chain(path))
}

/// Where `path` leads to in `product`.
fn pointer<const N: usize>(product: &Name, path: [&str; N]) -> Pointer {
    Pointer::of(
        ["signed", "products", product.as_str()]
            .into_iter()
            .chain(path),
    )
}

impl<'f> Check<'f> {
    pub(super) fn boxes(&mut self) {
        let rivals = Rivals::of(self.fleet);
        if rivals.is_empty() {
            return;
        }
        // One conflict is one mistake, on however many servers the products meet.
        let mut loads: BTreeMap<Load<'f>, &'f Name> = BTreeMap::new();
        for (name, server) in &self.fleet.servers {
            if server.state == ServerState::Retired {
                continue;
            }
            let load = rivals.on(server);
            let alone = match load.products.len() {
                0 => true,
                1 => !(load.web && load.memcached),
                _ => false,
            };
            if alone
                || self
                    .findings
                    .is_doubtful(&SERVERS.place.then(name.as_str()))
            {
                continue;
            }
            loads.entry(load).or_insert(name);
        }
        let mut said = BTreeSet::new();
        for (load, name) in &loads {
            for (at, other, message) in self.conflicts(load) {
                if said.insert((at.clone(), message.clone())) {
                    self.findings
                        .clash_of(at, other, || format!("{message} (they meet on `{name}`)"));
                }
            }
        }
    }

    fn conflicts(&self, load: &Load<'f>) -> Vec<(Pointer, Pointer, String)> {
        let mut conflicts = self.lists_of(load);
        conflicts.extend(self.aliases_of(load));
        if load.memcached {
            conflicts.extend(self.ports_of(load));
        }
        conflicts
    }

    /// The caches that could be read, each with its product and its name there.
    fn caches_of(&self, load: &Load<'f>) -> Vec<(&'f Name, Option<&'f Name>, &'f Cache)> {
        let mut caches = Vec::new();
        for product in &load.products {
            let Some(parts) = self.fleet.products.get(*product) else {
                continue;
            };
            let at = PRODUCTS.place.then(product.as_str());
            for (name, cache) in parts.all_caches() {
                let is_doubtful = match name {
                    Some(name) => {
                        let caches = at.then("caches");
                        self.findings.is_doubtful(&caches.then(name.as_str()))
                    }
                    None => self.findings.is_doubtful(&at.then("cache")),
                };
                if !is_doubtful {
                    caches.push((*product, name, cache));
                }
            }
        }
        caches
    }

    fn lists_of(&self, load: &Load<'f>) -> Vec<(Pointer, Pointer, String)> {
        let caches = self.caches_of(load);
        let lists: BTreeMap<&str, (&Name, Option<&Name>)> = (caches.iter())
            .filter_map(|(product, name, cache)| {
                Some((cache.list.as_ref()?.path.as_str(), (*product, *name)))
            })
            .collect();
        let mut conflicts = Vec::new();
        for (name, cache_name, cache) in caches {
            let Some(list) = &cache.list else { continue };
            let at = || in_cache(name, cache_name, ["list", "path"]);
            let path = list.path.as_str();
            match lists.get(path) {
                // The map kept the last product with this path.
                Some((other, there)) if *other != name => conflicts.push((
                    at(),
                    in_cache(other, *there, ["list", "path"]),
                    format!("{path} is the node list of the product `{other}` too"),
                )),
                _ => {}
            }
            let above =
                directories(path).find_map(|directory| Some((directory, *lists.get(directory)?)));
            if let Some((directory, (other, there))) = above {
                conflicts.push((
                    at(),
                    in_cache(other, there, ["list", "path"]),
                    format!("{directory} is a file, the node list of the product `{other}`"),
                ));
            }
        }
        conflicts
    }

    fn ports_of(&self, load: &Load<'f>) -> Vec<(Pointer, Pointer, String)> {
        let mut conflicts = Vec::new();
        let mut by_port: BTreeMap<Port, Vec<Listener<'_>>> = BTreeMap::new();
        for (name, cache_name, cache) in self.caches_of(load) {
            let Some(port) = cache.port else { continue };
            let listen = cache.listen.as_ref();
            let others = by_port.entry(port).or_default();
            let other = others
                .iter()
                // Within one product the product's own check speaks.
                .find(|(other, _, there)| *other != name && may_collide(*there, listen));
            if let Some((other, there, _)) = other {
                conflicts.push((
                    in_cache(name, cache_name, ["port"]),
                    in_cache(other, *there, ["port"]),
                    format!("port {port} is the port of the product `{other}`'s cache too"),
                ));
            } else {
                others.push((name, cache_name, listen));
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
                let of = PRODUCTS.place.then(product.as_str());
                let sites = of.then("sites");
                if self.findings.is_doubtful(&sites.then(name.as_str())) {
                    continue;
                }
                let at = pointer(product, ["sites", name.as_str()]);
                for (port, place) in site.entrances(&at) {
                    let taken = by_port.get(&port).and_then(|caches| caches.first());
                    if let Some((other, there, _)) = taken {
                        conflicts.push((
                            place,
                            in_cache(other, *there, ["port"]),
                            format!("port {port} is the port of the product `{other}`'s cache"),
                        ));
                    }
                }
            }
        }
        conflicts
    }

    fn aliases_of(&self, load: &Load<'f>) -> Vec<(Pointer, Pointer, String)> {
        let mut conflicts = Vec::new();
        let mut owners: BTreeMap<&HostAlias, (&Name, &str, usize)> = BTreeMap::new();
        for product in &load.products {
            let Some(database) = self
                .fleet
                .products
                .get(*product)
                .and_then(|parts| parts.database.as_ref())
            else {
                continue;
            };
            let of = PRODUCTS.place.then(product.as_str());
            if self.findings.is_doubtful(&of.then("database")) {
                continue;
            }
            let aliases = &database.aliases;
            for (kind, names) in [("master", &aliases.master), ("replica", &aliases.replica)] {
                for (index, name) in names.iter().enumerate() {
                    let (owner, owner_kind, at) =
                        *owners.entry(name).or_insert((product, kind, index));
                    let cluster = |of| self.clusters.of_product(of).map(|it| it.lease);
                    // Within one product the product's own check speaks.
                    if owner != *product
                        && (owner_kind != kind || cluster(owner) != cluster(product))
                    {
                        conflicts.push((
                            pointer(product, ["database", "aliases", kind]).item(index),
                            pointer(owner, ["database", "aliases", owner_kind]).item(at),
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
pub(super) fn may_collide(one: Option<&Addresses>, other: Option<&Addresses>) -> bool {
    let all = |listen: Option<&Addresses>| {
        listen.map_or_else(
            || vec![None],
            |listen| listen.as_slice().iter().copied().map(Some).collect(),
        )
    };
    let (one, other) = (all(one), all(other));
    one.iter()
        .any(|one| other.iter().any(|other| may_meet(*one, *other)))
}

fn may_meet(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
        (None, None) => true,
        (Some(some), None) | (None, Some(some)) => !some.is_loopback(),
    }
}
