//! From a fleet and a server's name to what that server should be.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::eviction::{Evictions, LeftOut, Out};
use super::{
    CacheName, CacheView, CronView, Elections, HostEntry, HostsScope, Owner, PackageView, PhpView,
    ReleaseView, ServiceView, SiteView, SmokeView, View, databases, files, releases,
};
use crate::fleet::{
    Bundle, Clusters, CronJob, CronRun, DatabaseCluster, EvictPart, Fleet, MEMCACHED, Name,
    Package, Pointer, Product, Server, ServerState, WEB, applies, bundles,
};

/// What the server called `node` should be; `None` if the fleet has no such server. `elections`: the leases that the
/// box goes by; `evictions`: servers that were found dead.
///
/// A retired server's view is empty, so that its agent removes what it owns.
pub fn view(
    fleet: &Fleet,
    node: &Name,
    hosts: HostsScope,
    elections: &Elections,
    evictions: &Evictions,
) -> Option<View> {
    let (name, server) = fleet.servers.get_key_value(node)?;
    let mut view = View {
        name: name.clone(),
        server: server.clone(),
        groups: Vec::new(),
        users: Vec::new(),
        hosts: Vec::new(),
        withheld: Vec::new(),
        caches: BTreeMap::new(),
        sites: Vec::new(),
        php: Vec::new(),
        cron: Vec::new(),
        packages: Vec::new(),
        services: Vec::new(),
        releases: Vec::new(),
        smoke: Vec::new(),
        masters: Vec::new(),
        files: Vec::new(),
    };
    if server.state != ServerState::Retired {
        let on = Node::new(fleet, name, server, elections, evictions);
        (view.groups, view.users) = super::accounts::accounts(fleet, server);
        view.hosts = on.hosts(hosts);
        view.caches = on.caches();
        view.releases = on.releases();
        view.sites = on.sites();
        view.php = on.php();
        view.smoke = on.smoke();
        view.cron = on.cron();
        view.packages = on.packages();
        view.services = on.services();
        view.masters = on.masters();
        view.files = files::files(fleet, name, server, &on.clusters, elections, evictions);
    }
    Some(view)
}

/// One box and its neighbours, arranged once: the whole fleet is walked a fixed number of times, however many
/// products the box carries.
struct Node<'f> {
    fleet: &'f Fleet,
    name: &'f Name,
    server: &'f Server,
    products: BTreeSet<&'f Name>,
    clusters: Clusters<'f>,
    elections: &'f Elections,
    evictions: &'f Evictions,
}

impl<'f> Node<'f> {
    fn new(
        fleet: &'f Fleet,
        name: &'f Name,
        server: &'f Server,
        elections: &'f Elections,
        evictions: &'f Evictions,
    ) -> Self {
        Self {
            fleet,
            name,
            server,
            products: server.products.iter().collect(),
            clusters: Clusters::of(fleet),
            elections,
            evictions,
        }
    }

    /// The products of the box that the document describes, with where they stand.
    fn products(&self) -> impl Iterator<Item = (&'f Name, &'f Product, Pointer)> {
        self.products.iter().filter_map(|name| {
            let (name, product) = self.fleet.products.get_key_value(*name)?;
            let origin = Pointer::of(["signed", "products", name.as_str()]);
            Some((name, product, origin))
        })
    }

    fn shares_a_product(&self, server: &Server) -> bool {
        server
            .products
            .iter()
            .any(|product| self.products.contains(product))
    }

    /// The servers of the clusters that the box uses or is a server of: they need not carry its products.
    fn database_servers(&self) -> BTreeSet<&'f Name> {
        let concerns = |cluster: &&DatabaseCluster<'f>| {
            let carries = |product: &&Name| self.products.contains(product);
            cluster.has(self.name) || cluster.products.iter().any(carries)
        };
        (self.clusters.iter().filter(concerns))
            .flat_map(|cluster| {
                let snapshots = cluster.snapshots.map(|snapshots| &snapshots.server);
                cluster.chain.iter().chain(snapshots)
            })
            .collect()
    }

    fn hosts(&self, scope: HostsScope) -> Vec<HostEntry> {
        let servers = Pointer::of(["signed", "servers"]);
        let databases = self.database_servers();
        let mut entries: Vec<HostEntry> = self
            .fleet
            .servers
            .iter()
            .filter(|(name, server)| {
                server.state != ServerState::Retired
                    && (scope == HostsScope::Fleet
                        || *name == self.name
                        || databases.contains(name)
                        || self.shares_a_product(server))
            })
            .map(|(name, server)| HostEntry {
                address: server.address,
                name: name.as_str().to_owned(),
                fqdn: (self.fleet.domain.as_ref()).map(|domain| format!("{name}.{domain}")),
                origin: servers.then(name),
                elected: None,
            })
            .collect();
        for (name, product, origin) in self.products() {
            let Some(database) = &product.database else {
                continue;
            };
            let aliases = origin.then("database").then("aliases");
            let Some(cluster) = self.clusters.of_product(name) else {
                continue;
            };
            let lease = databases::lease(cluster, self.elections);
            let Some(master) = databases::master(cluster, self.elections.get(lease)) else {
                continue;
            };
            let elected = master.origin(lease);
            let replica = databases::replica(self.fleet, cluster, master);
            for (kind, names, target) in [
                ("master", &database.aliases.master, master.server),
                ("replica", &database.aliases.replica, replica),
            ] {
                let Some(server) = self.fleet.servers.get(target) else {
                    continue;
                };
                let list = aliases.then(kind);
                entries.extend(names.iter().enumerate().map(|(index, name)| HostEntry {
                    address: server.address,
                    name: name.as_str().to_owned(),
                    fqdn: None,
                    origin: list.item(index),
                    elected: elected.clone(),
                }));
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.cmp(b)));
        // Two products may lead the same alias to the same server: one line is enough.
        entries.dedup_by(|a, b| a.name == b.name && a.address == b.address);
        entries
    }

    fn caches(&self) -> BTreeMap<CacheName, CacheView> {
        let runs_memcached = has_role(self.server, MEMCACHED);
        let mut nodes: BTreeMap<&Name, Vec<(Name, IpAddr)>> = BTreeMap::new();
        for (name, product, _) in self.products() {
            if product.all_caches().next().is_some() {
                nodes.insert(name, Vec::new());
            }
        }
        // By server name: consistent hashing must find each node at its place on every box.
        for (name, server) in active(self.fleet) {
            if has_role(server, MEMCACHED) {
                for product in &server.products {
                    if let Some(nodes) = nodes.get_mut(product) {
                        nodes.push((name.clone(), server.address));
                    }
                }
            }
        }
        let mut caches = BTreeMap::new();
        for (product, parts, origin) in self.products() {
            for (name, cache) in parts.all_caches() {
                let mut nodes = nodes.get(product).cloned().unwrap_or_default();
                let dead = self.evictions.get(product).filter(|_| !cache.socket);
                let left_out =
                    dead.map_or_else(BTreeMap::new, |dead| without_dead(parts, dead, &mut nodes));
                let view = CacheView {
                    cache: cache.clone(),
                    nodes,
                    left_out,
                    instance: runs_memcached,
                    origin: match name {
                        Some(name) => origin.then("caches").then(name),
                        None => origin.then("cache"),
                    },
                };
                let key = CacheName {
                    product: product.clone(),
                    name: name.cloned(),
                };
                caches.insert(key, view);
            }
        }
        caches
    }

    fn sites(&self) -> Vec<SiteView> {
        if !has_role(self.server, WEB) {
            return Vec::new();
        }
        self.products()
            .flat_map(|(product, parts, origin)| {
                let sites = origin.then("sites");
                let release = parts.release.as_ref();
                let release = release.filter(|release| applies(&release.on, self.server));
                parts.sites.iter().map(move |(name, site)| {
                    let mut site = site.clone();
                    // A site that only sends visitors on runs nothing.
                    let php = parts.php.clone().filter(|_| site.root.is_some());
                    let release = release
                        .map(|release| release.version.clone())
                        .filter(|version| releases::resolve(&mut site, product, version));
                    SiteView {
                        product: product.clone(),
                        name: name.clone(),
                        site,
                        release,
                        origin: sites.then(name),
                        php,
                    }
                })
            })
            .collect()
    }

    fn php(&self) -> Vec<PhpView> {
        if !has_role(self.server, WEB) {
            return Vec::new();
        }
        self.products()
            .filter(|(_, parts, _)| parts.sites.values().any(|site| site.root.is_some()))
            .filter_map(|(product, parts, origin)| {
                Some(PhpView {
                    product: product.clone(),
                    php: parts.php.clone()?,
                    origin: origin.then("php"),
                    left_out: false,
                })
            })
            .collect()
    }

    fn releases(&self) -> Vec<ReleaseView> {
        let releases = self.products().filter_map(|(name, product, origin)| {
            product.release.as_ref()?;
            let among = active(self.fleet).filter(|(_, server)| server.products.contains(name));
            let here = (self.name, self.server);
            releases::release((name, product, &origin), here, among)
        });
        releases.collect()
    }

    fn smoke(&self) -> Vec<SmokeView> {
        if !has_role(self.server, WEB) {
            return Vec::new();
        }
        let tests = self.products().flat_map(|(name, product, origin)| {
            let origin = origin.then("smoke");
            let tests = product.smoke.iter().enumerate();
            tests.map(move |(index, test)| SmokeView {
                product: name.clone(),
                test: test.clone(),
                origin: origin.item(index),
            })
        });
        tests.collect()
    }

    fn cron(&self) -> Vec<CronView> {
        let mut jobs = Vec::new();
        let neighbours = Neighbours::of(self);
        for bundle in bundles(self.fleet, self.server) {
            let origin = bundle.origin().then("cron");
            let (owner, among) = match bundle {
                Bundle::Product(name, _) => {
                    (Owner::Product(name.clone()), neighbours.of_product(name))
                }
                Bundle::Role(name, _) => (Owner::Role(name.clone()), neighbours.of_role(name)),
            };
            self.add_jobs(&mut jobs, &owner, bundle.cron(), among, &origin);
        }
        jobs
    }

    fn masters(&self) -> Vec<Name> {
        let is_here = |name: &Name| {
            let cluster = self.clusters.of_product(name)?;
            let lease = databases::lease(cluster, self.elections);
            let master = databases::master(cluster, self.elections.get(lease))?;
            (master.server == self.name).then_some(())
        };
        (self.products())
            .filter_map(|(name, ..)| is_here(name).map(|()| name.clone()))
            .collect()
    }

    /// What roles and products say of one package is one wish: they do not contradict each other, or the document is wrong.
    fn packages(&self) -> Vec<PackageView> {
        let mut all: BTreeMap<&str, PackageView> = BTreeMap::new();
        for bundle in bundles(self.fleet, self.server) {
            let origin = bundle.origin().then("packages");
            for (index, package) in bundle.packages().iter().enumerate() {
                if !applies(&package.on, self.server) {
                    continue;
                }
                let at = origin.item(index);
                match all.entry(package.name.as_str()) {
                    Entry::Vacant(place) => {
                        place.insert(PackageView {
                            package: package.clone(),
                            origins: vec![at],
                        });
                    }
                    Entry::Occupied(known) => known.into_mut().join(package, at),
                }
            }
        }
        all.into_values().collect()
    }

    fn services(&self) -> Vec<ServiceView> {
        let mut all: BTreeMap<&str, ServiceView> = BTreeMap::new();
        for bundle in bundles(self.fleet, self.server) {
            let origin = bundle.origin().then("services");
            for (name, service) in bundle.services() {
                if !applies(&service.on, self.server) {
                    continue;
                }
                let at = origin.then(name);
                let unit = name.as_str();
                let unit = unit.strip_suffix(".service").unwrap_or(unit);
                match all.entry(unit) {
                    Entry::Vacant(place) => {
                        place.insert(ServiceView {
                            name: name.clone(),
                            service: service.clone(),
                            origins: vec![at],
                        });
                    }
                    Entry::Occupied(known) => {
                        let known = known.into_mut();
                        known.service.running = known.service.running.or(service.running);
                        known.service.enabled = known.service.enabled.or(service.enabled);
                        known.origins.push(at);
                    }
                }
            }
        }
        all.into_values().collect()
    }

    fn add_jobs(
        &self,
        jobs: &mut Vec<CronView>,
        owner: &Owner,
        of: &BTreeMap<Name, CronJob>,
        among: &[(&Name, &Server)],
        origin: &Pointer,
    ) {
        for (name, job) in of {
            let here = applies(&job.on, self.server)
                && match job.run {
                    CronRun::Each => true,
                    CronRun::One => {
                        among
                            .iter()
                            .find(|(_, server)| applies(&job.on, server))
                            .map(|(name, _)| *name)
                            == Some(self.name)
                    }
                };
            if here {
                jobs.push(CronView {
                    owner: owner.clone(),
                    name: name.clone(),
                    job: job.clone(),
                    origin: origin.then(name),
                });
            }
        }
    }
}

/// The active servers that share a product or a role with a box, by name: among them one is chosen for jobs that
/// run once.
struct Neighbours<'f> {
    by_product: BTreeMap<&'f Name, Vec<(&'f Name, &'f Server)>>,
    by_role: BTreeMap<&'f Name, Vec<(&'f Name, &'f Server)>>,
}

impl<'f> Neighbours<'f> {
    fn of(node: &Node<'f>) -> Self {
        let mut neighbours = Self {
            by_product: node
                .products
                .iter()
                .map(|name| (*name, Vec::new()))
                .collect(),
            by_role: node
                .server
                .roles
                .iter()
                .map(|name| (name, Vec::new()))
                .collect(),
        };
        for (name, server) in active(node.fleet) {
            for product in &server.products {
                if let Some(list) = neighbours.by_product.get_mut(product) {
                    list.push((name, server));
                }
            }
            for role in &server.roles {
                if let Some(list) = neighbours.by_role.get_mut(role) {
                    list.push((name, server));
                }
            }
        }
        neighbours
    }

    fn of_product(&self, name: &Name) -> &[(&'f Name, &'f Server)] {
        self.by_product.get(name).map_or(&[], Vec::as_slice)
    }

    fn of_role(&self, name: &Name) -> &[(&'f Name, &'f Server)] {
        self.by_role.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Takes memcached servers that were found dead out of `nodes`, and returns them with why. The document stands above that: where it
/// takes none out, none is; and a list is never emptied.
fn without_dead(
    product: &Product,
    dead: &LeftOut,
    nodes: &mut Vec<(Name, IpAddr)>,
) -> BTreeMap<Name, Out> {
    let dead = dead.of(EvictPart::Cache);
    let is_dead = |node: &(Name, IpAddr)| dead.contains_key(&node.0);
    if product.evict_after(EvictPart::Cache).is_none() || nodes.iter().all(is_dead) {
        return BTreeMap::new();
    }
    let gone = nodes.extract_if(.., |node| is_dead(node));
    gone.filter_map(|(name, _)| Some((name.clone(), dead.get(&name)?.clone())))
        .collect()
}

/// The servers that take part, by name.
fn active(fleet: &Fleet) -> impl Iterator<Item = (&Name, &Server)> {
    fleet
        .servers
        .iter()
        .filter(|(_, server)| server.state == ServerState::Active)
}

fn has_role(server: &Server, role: &str) -> bool {
    server.roles.iter().any(|name| name.as_str() == role)
}

impl PackageView {
    /// Another place asks for the same package.
    fn join(&mut self, other: &Package, at: Pointer) {
        let own = &mut self.package;
        own.debian = own.debian.take().or_else(|| other.debian.clone());
        own.version = own.version.take().or_else(|| other.version.clone());
        own.downgrade |= other.downgrade;
        self.origins.push(at);
    }
}
