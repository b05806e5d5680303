//! Database servers: the chains of clusters and of products, each by itself, and which servers they share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{CLUSTERS, Check, PRODUCTS, SERVERS};
use crate::fleet::clusters::DatabaseCluster;
use crate::fleet::model::{Database, ServerState, Snapshots};
use crate::fleet::names::{Name, Port};
use crate::fleet::pointer::{Place, Pointer};

/// What is said of a chain: the same in a cluster and in a product.
struct ChainOf<'f> {
    chain: &'f [Name],
    never: &'f [Name],
    snapshots: Option<&'f Snapshots>,
}

/// A chain, with whose it is: for the places of what clashes.
#[derive(Clone, Copy)]
struct Owned<'f> {
    shared: bool,
    name: &'f Name,
    chain: &'f [Name],
    port: Option<Port>,
    snapshots: Option<&'f Snapshots>,
}

/// The first chain whose snapshots a server takes, and the first with snapshots among equal ones.
#[derive(Default)]
struct Taken<'f> {
    by_server: BTreeMap<&'f Name, usize>,
    by_chain: BTreeMap<&'f [Name], usize>,
    /// The first port that is said of a chain, and where.
    ports: BTreeMap<&'f [Name], (Port, usize)>,
}

impl Owned<'_> {
    fn pointer(&self) -> Pointer {
        if self.shared {
            Pointer::of(["signed", "clusters", self.name.as_str()])
        } else {
            Pointer::of(["signed", "products", self.name.as_str(), "database"])
        }
    }

    fn is_the_chain_of(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl std::fmt::Display for Owned<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let noun = if self.shared {
            CLUSTERS.noun
        } else {
            PRODUCTS.noun
        };
        write!(out, "the {noun} `{}`", self.name)
    }
}

impl<'f> Check<'f> {
    /// All that is said of chains in `clusters`, and what chains have to do with each other.
    pub(super) fn clusters(&mut self) {
        let fleet = self.fleet;
        for (name, cluster) in &fleet.clusters {
            let at = CLUSTERS.place.then(name.as_str());
            let said = ChainOf {
                chain: &cluster.chain,
                never: &cluster.never,

                snapshots: cluster.snapshots.as_ref(),
            };
            self.chain(None, &said, &at);
            let product = fleet.products.get(name);
            let elsewhere = product.is_some_and(|product| {
                let database = product.database.as_ref();
                database.is_none_or(|it| it.cluster.as_ref() != Some(name))
            });
            if elsewhere {
                let other = PRODUCTS.place.then(name.as_str());
                self.findings.clash(&at, &other, || {
                    format!(
                        "there is a product `{name}` too, and it is not on this cluster: nobody could tell which of them is meant. Give the \
                         cluster another name, and `\"lease\": \"{name}\"` if it has a lease already"
                    )
                });
            }
        }
        let chains = self.chains();
        self.chains_that_overlap(&chains);
        self.leases();
    }

    /// A product's database, but for its aliases.
    pub(super) fn database(&mut self, product: &Name, database: &'f Database, at: &Place<'_>) {
        let Some(cluster) = &database.cluster else {
            let said = ChainOf {
                chain: &database.chain,
                never: &database.never,

                snapshots: database.snapshots.as_ref(),
            };
            self.chain(Some(product), &said, at);
            return;
        };
        let beside = [
            ("chain", !database.chain.is_empty()),
            ("never", !database.never.is_empty()),
            ("port", database.port.is_some()),
            ("semi_sync", database.semi_sync),
            ("snapshots", database.snapshots.is_some()),
            ("lease", database.lease.is_some()),
        ];
        for (field, _) in beside.iter().filter(|(_, said)| *said) {
            self.findings.add(&at.then(field), || {
                format!("the database is on the cluster `{cluster}`: `{field}` is said there, and not here")
            });
        }
        let products = &self.fleet.products;
        let of_product = products.get(cluster).and_then(|it| it.database.as_ref());
        let at = at.then("cluster");
        match of_product {
            Some(other) if other.cluster.is_none() && cluster != product => {}
            Some(other) if !self.fleet.clusters.contains_key(cluster) => {
                let instead = other.cluster.as_ref().filter(|it| *it != cluster);
                self.findings.add(&at, || match instead {
                    Some(instead) => format!("the product `{cluster}` is on the cluster `{instead}` itself: name that"),
                    None => format!("there is no cluster `{cluster}`, and the product `{cluster}` has no chain of its own"),
                });
            }
            _ => {
                self.refers_at(&self.fleet.clusters, &CLUSTERS, cluster, &at);
            }
        }
    }

    fn chain(&mut self, product: Option<&Name>, said: &ChainOf<'f>, at: &Place<'_>) {
        let chain = at.then("chain");
        if said.chain.is_empty() && !self.findings.is_doubtful(&chain) {
            self.findings.add(&chain, || {
                let or = if product.is_some() {
                    ", or a `cluster` in its place"
                } else {
                    ""
                };
                format!("expected at least one server, the master{or}; found none")
            });
        }
        self.list(said.chain, &chain, 16);
        for (index, server) in said.chain.iter().enumerate() {
            let at = self.findings.item(&chain, index);
            self.database_server(product, server, &at);
        }
        let in_chain: BTreeSet<&Name> = said.chain.iter().collect();
        let never = at.then("never");
        self.list(said.never, &never, 16);
        for (index, server) in said.never.iter().enumerate() {
            if !in_chain.contains(server) {
                let at = self.findings.item(&never, index);
                self.findings.add(&at, || {
                    format!("`{server}` is not in the chain: it cannot become the master anyway")
                });
            }
        }
        if let Some(snapshots) = said.snapshots {
            let snapshot = at.then("snapshots");
            self.snapshot_times(snapshots, &snapshot);
            let at = snapshot.then("server");
            let server = &snapshots.server;
            self.database_server(product, server, &at);
            if in_chain.contains(server) {
                self.findings.add(&at, || {
                    format!(
                        "`{server}` is in the chain: snapshots are taken by a server outside it"
                    )
                });
            }
        }
    }

    fn snapshot_times(&mut self, snapshots: &Snapshots, at: &Place<'_>) {
        let least = Duration::from_mins(1);
        let times = [("every", Some(snapshots.every)), ("prove", snapshots.prove)];
        for (name, span) in times {
            let place = at.then(name);
            if let Some(span) = span.filter(|span| span.duration() < least)
                && !self.findings.is_doubtful(&place)
            {
                self.findings
                    .add(&place, || format!("expected 1m or more; found {span}"));
            }
        }
        let keep = at.then("keep");
        for (stretch, long) in &snapshots.keep {
            if long.duration() < stretch.duration() {
                let stretch = stretch.to_string();
                self.findings.add(&keep.then(&stretch), || {
                    format!("one of each {stretch} is to be kept for {long}, which is shorter")
                });
            }
        }
    }

    /// `product`: whose chain it is; servers of a cluster need not carry the products that are on it.
    fn database_server(&mut self, product: Option<&Name>, name: &Name, at: &Place<'_>) {
        let servers = &self.fleet.servers;
        if !self.refers_at(servers, &SERVERS, name, at) {
            return;
        }
        let entry = SERVERS.place.then(name.as_str());
        if self.findings.is_doubtful(&entry) {
            return;
        }
        let Some(server) = servers.get(name) else {
            return;
        };
        if server.state == ServerState::Retired {
            self.findings
                .add(at, || format!("`{name}` is retired: take it out here"));
        } else if let Some(product) = product.filter(|it| !server.products.contains(it)) {
            self.findings.add(at, || {
                format!(
                    "`{name}` does not carry the product `{product}`: add it to {}",
                    entry.then("products")
                )
            });
        }
    }

    /// All chains that were read rightly, in the document's order.
    fn chains(&self) -> Vec<Owned<'f>> {
        let fleet = self.fleet;
        let shared = fleet.clusters.iter().map(|(name, cluster)| Owned {
            shared: true,
            name,
            chain: &cluster.chain,
            port: cluster.port,
            snapshots: cluster.snapshots.as_ref(),
        });
        let own = fleet.products.iter().filter_map(|(name, product)| {
            let database = product.database.as_ref()?;
            database.cluster.is_none().then_some(Owned {
                shared: false,
                name,
                chain: &database.chain,
                port: database.port,
                snapshots: database.snapshots.as_ref(),
            })
        });
        let known = |it: &Owned<'_>| {
            let pointer = it.pointer();
            let doubtful = |part: &str| self.findings.is_doubtful_at(&pointer.then(part));
            !["chain", "port", "snapshots"].into_iter().any(doubtful)
        };
        shared.chain(own).filter(known).collect()
    }

    /// A server has one master and one lease: chains that share one share them all, in one order, on one port.
    fn chains_that_overlap(&mut self, chains: &[Owned<'f>]) {
        let mut first: BTreeMap<&'f Name, usize> = BTreeMap::new();
        let mut taken = Taken::default();
        for (at, it) in chains.iter().enumerate() {
            // Said of the first such server: the others are the same mistake.
            let shared = it.chain.iter().enumerate().find_map(|(index, server)| {
                let other = chains.get(*first.get(server)?)?;
                (!it.is_the_chain_of(other)).then_some((index, server, other))
            });
            if let Some((index, server, other)) = shared {
                let place = it.pointer();
                let there = other.pointer().then("chain");
                self.findings.clash_of(place.then("chain").item(index), there, || {
                    format!(
                        "`{server}` is in the chain of {other} too, and that is another chain: a database server has one master, so what shares a server \
                         has the same chain, in the same order; write the chain once, under `clusters`, and name it: `\"cluster\": \"…\"`"
                    )
                });
            }
            if let Some(port) = it.port {
                let (said, at) = *taken.ports.entry(it.chain).or_insert((port, at));
                if let Some(other) = chains.get(at).filter(|_| said != port) {
                    let there = other.pointer().then("port");
                    self.findings.clash_of(it.pointer().then("port"), there, || {
                        format!("{other} has the same chain, and port {said}: a machine has one database server; say it once, or the same")
                    });
                }
            }
            for server in it.chain {
                first.entry(server).or_insert(at);
            }
            if let Some(said) = it.snapshots {
                self.snapshots_that_meet(it, said, chains, &taken);
                taken.by_server.entry(&said.server).or_insert(at);
                taken.by_chain.entry(it.chain).or_insert(at);
            }
        }
        // The server that takes snapshots replicates from one master, and is in no other chain.
        for it in chains {
            let Some(said) = it.snapshots else { continue };
            let other = first.get(&said.server).and_then(|at| chains.get(*at));
            if let Some(other) = other.filter(|other| !it.is_the_chain_of(other)) {
                let (server, place) = (&said.server, it.pointer().then("snapshots").then("server"));
                let there = other.pointer().then("chain");
                self.findings.clash_of(place, there, || {
                    format!("`{server}` is in the chain of {other}: it replicates from another master, and cannot take these snapshots")
                });
            }
        }
    }

    /// One server takes the snapshots of one chain, and one chain has them taken in one way.
    fn snapshots_that_meet(
        &mut self,
        it: &Owned<'f>,
        said: &'f Snapshots,
        chains: &[Owned<'f>],
        taken: &Taken<'f>,
    ) {
        let place = it.pointer().then("snapshots");
        let server = &said.server;
        let other = taken.by_server.get(server).and_then(|at| chains.get(*at));
        if let Some(other) = other.filter(|other| !it.is_the_chain_of(other)) {
            let there = other.pointer().then("snapshots").then("server");
            self.findings.clash_of(place.then("server"), there, || {
                format!("`{server}` takes the snapshots of {other} too, which has other servers: a database server has one master")
            });
            return;
        }
        let first = taken.by_chain.get(it.chain);
        let first = first.and_then(|at| chains.get(*at));
        if let Some(other) = first.filter(|other| other.snapshots != Some(said)) {
            self.findings.clash_of(place, other.pointer().then("snapshots"), || {
                format!("{other} has the same chain, and other snapshots: one dump is of all databases of a server; say it once, or the same")
            });
        }
    }

    /// No two clusters have one lease.
    fn leases(&mut self) {
        let clusters = std::mem::take(&mut self.clusters);
        let mut leases: BTreeMap<&Name, &DatabaseCluster<'_>> = BTreeMap::new();
        for cluster in clusters.iter() {
            match leases.get(cluster.lease) {
                Some(other) => {
                    let place = cluster.pointer();
                    let (lease, name) = (cluster.lease, other.name);
                    self.findings.clash_of(place.then("lease"), other.pointer(), || {
                        format!("`{lease}` is the lease of `{name}` too, which has other servers: each chain has a lease of its own")
                    });
                }
                None => {
                    leases.insert(cluster.lease, cluster);
                }
            }
        }
        drop(leases);
        self.clusters = clusters;
    }
}
