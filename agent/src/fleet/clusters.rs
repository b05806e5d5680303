//! Clusters as they follow from the document: which servers are one chain, which products are on it, what its lease is called.
//! Pure; never fails, for it is asked of documents that are not checked yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model::{Database, Fleet, Snapshots};
use super::names::{Name, Port};
use super::pointer::Pointer;

/// A chain of database servers with one lease, and the products that are on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseCluster<'f> {
    /// Its name in the document: an entry of `clusters`, or the product whose chain it is; of several products with the same
    /// chain, the first by name.
    pub name: &'f Name,
    /// The name of its lease, by which agents know it: `leases/<lease>.json`. The cluster's own, unless the document says otherwise.
    pub lease: &'f Name,
    /// Master, candidate, second, …
    pub chain: &'f [Name],
    /// Servers of the chain that never become the master by themselves.
    pub never: Vec<&'f Name>,
    /// The port of all its servers, where the document says so.
    pub port: Option<Port>,
    /// Whether a COMMIT waits until a replica has it.
    pub semi_sync: bool,
    /// Where and how often snapshots are taken.
    pub snapshots: Option<&'f Snapshots>,
    /// The products that are on it, sorted by name.
    pub products: Vec<&'f Name>,
    /// Whether it stands in `clusters`, and not in a product.
    pub shared: bool,
    /// All names in the document that a lease may have: those of all clusters, of their leases and products.
    pub spoken_for: Arc<BTreeSet<&'f Name>>,
}

/// All clusters of a document.
#[derive(Debug, Default)]
pub struct Clusters<'f> {
    all: Vec<DatabaseCluster<'f>>,
    /// For each product with a database, which of them it is on.
    of_products: BTreeMap<&'f Name, usize>,
}

impl DatabaseCluster<'_> {
    /// Where it stands in the document.
    pub fn pointer(&self) -> Pointer {
        if self.shared {
            Pointer::of(["signed", "clusters", self.name.as_str()])
        } else {
            Pointer::of(["signed", "products", self.name.as_str(), "database"])
        }
    }

    /// Whether a server is one of its own: it stands in the chain or takes the snapshots.
    pub fn has(&self, server: &Name) -> bool {
        self.chain.contains(server)
            || (self.snapshots).is_some_and(|snapshots| snapshots.server == *server)
    }

    /// The names under which its servers may have a lease, by the document: the lease's own first, each once.
    pub fn names(&self) -> Vec<&Name> {
        let mut names = vec![self.lease];
        for name in std::iter::once(self.name).chain(self.products.iter().copied()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether a person means this one by `name`: the cluster, its lease, or a product that is on it.
    pub fn is_called(&self, name: &Name) -> bool {
        self.name == name || self.lease == name || self.products.contains(&name)
    }
}

impl<'f> Clusters<'f> {
    /// Works out the clusters of `fleet`, in time in proportion to it.
    ///
    /// A product's own chain is a cluster of the product's name. Equal chains (the same servers in the same order) are one cluster:
    /// that of `clusters`, else that of the first product by name.
    pub fn of(fleet: &'f Fleet) -> Self {
        let mut found = Self::default();
        let mut by_name: BTreeMap<&Name, usize> = BTreeMap::new();
        let mut by_chain: BTreeMap<&[Name], usize> = BTreeMap::new();
        for (name, cluster) in &fleet.clusters {
            by_name.insert(name, found.all.len());
            by_chain.entry(&cluster.chain).or_insert(found.all.len());
            found.all.push(DatabaseCluster {
                name,
                lease: cluster.lease.as_ref().unwrap_or(name),
                chain: &cluster.chain,
                never: cluster.never.iter().collect(),
                port: cluster.port,
                semi_sync: cluster.semi_sync,
                snapshots: cluster.snapshots.as_ref(),
                products: Vec::new(),
                shared: true,
                spoken_for: Arc::default(),
            });
        }
        let with_database = |(name, product): (&'f Name, &'f super::Product)| {
            Some((name, product.database.as_ref()?))
        };
        for (name, database) in fleet.products.iter().filter_map(with_database) {
            if database.cluster.is_some() {
                continue;
            }
            let next = found.all.len();
            let at = *by_chain.entry(&database.chain).or_insert(next);
            match found.all.get_mut(at) {
                Some(cluster) => cluster.join(database),
                None => found.all.push(DatabaseCluster::of_product(name, database)),
            }
            by_name.entry(name).or_insert(at);
            found.add_product(name, at);
        }
        for (name, database) in fleet.products.iter().filter_map(with_database) {
            let named = database.cluster.as_ref();
            if let Some(at) = named.and_then(|named| by_name.get(named)) {
                found.add_product(name, *at);
            }
        }
        let mut spoken_for = BTreeSet::new();
        for cluster in &mut found.all {
            cluster.products.sort_unstable();
            spoken_for.extend([cluster.name, cluster.lease]);
            spoken_for.extend(&cluster.products);
        }
        let spoken_for = Arc::new(spoken_for);
        for cluster in &mut found.all {
            cluster.spoken_for = Arc::clone(&spoken_for);
        }
        found
    }

    fn add_product(&mut self, product: &'f Name, at: usize) {
        if let Some(cluster) = self.all.get_mut(at) {
            cluster.products.push(product);
            self.of_products.insert(product, at);
        }
    }

    /// All of them: those of `clusters` first, then those of products, each by name.
    pub fn iter(&self) -> impl Iterator<Item = &DatabaseCluster<'f>> {
        self.all.iter()
    }

    /// The one that a product is on.
    pub fn of_product(&self, product: &Name) -> Option<&DatabaseCluster<'f>> {
        self.all.get(*self.of_products.get(product)?)
    }

    /// The one that a person means: a product's, or one of this name, or with a lease of this name.
    pub fn called(&self, name: &Name) -> Option<&DatabaseCluster<'f>> {
        let of_name = |cluster: &&DatabaseCluster<'_>| cluster.name == name;
        let of_lease = |cluster: &&DatabaseCluster<'_>| cluster.lease == name;
        self.of_product(name)
            .or_else(|| self.iter().find(of_name))
            .or_else(|| self.iter().find(of_lease))
    }
}

impl<'f> DatabaseCluster<'f> {
    fn of_product(name: &'f Name, database: &'f Database) -> Self {
        Self {
            name,
            lease: database.lease.as_ref().unwrap_or(name),
            chain: &database.chain,
            never: database.never.iter().collect(),
            port: database.port,
            semi_sync: database.semi_sync,
            snapshots: database.snapshots.as_ref(),
            products: Vec::new(),
            shared: false,
            spoken_for: Arc::default(),
        }
    }

    /// What several products say of one chain: who says something is heard. That they do not contradict each other is checked.
    fn join(&mut self, database: &'f Database) {
        for server in &database.never {
            if !self.never.contains(&server) {
                self.never.push(server);
            }
        }
        self.port = self.port.or(database.port);
        self.semi_sync |= database.semi_sync;
        self.snapshots = self.snapshots.or(database.snapshots.as_ref());
        if self.lease == self.name {
            self.lease = database.lease.as_ref().unwrap_or(self.lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(clusters: &str, products: &str) -> Fleet {
        let json = format!(
            r#"{{"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
                "servers": {{}}, "clusters": {{{clusters}}}, "products": {{{products}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn told(fleet: &Fleet) -> Vec<String> {
        let clusters = Clusters::of(fleet);
        let told = clusters.iter().map(|it| {
            let names = |names: &[&Name]| {
                let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
                names.join(" ")
            };
            let products = names(&it.products);
            format!(
                "{} by {}, never [{}]: {products}",
                it.name,
                it.lease,
                names(&it.never)
            )
        });
        told.collect()
    }

    #[test]
    fn equal_chains_are_one_cluster_and_others_are_their_own() {
        let fleet = fleet(
            "",
            r#""video": {"database": {"chain": ["db-1", "db-2"], "never": ["db-2"]}},
               "shop": {"database": {"chain": ["db-1", "db-2"]}},
               "blog": {"database": {"chain": ["db-9"]}},
               "wiki": {"database": {"cluster": "shop"}},
               "other": {"database": {"chain": ["db-1", "db-2"], "port": 3307}}, "none": {}"#,
        );
        assert_eq!(
            told(&fleet),
            [
                "blog by blog, never []: blog",
                "other by other, never [db-2]: other shop video wiki"
            ]
        );
        let clusters = Clusters::of(&fleet);
        let name = |text: &str| text.parse::<Name>().unwrap();
        let wiki = clusters.of_product(&name("wiki")).unwrap();
        assert_eq!(
            wiki.port.map(Port::get),
            Some(3307),
            "who says one is heard"
        );
        assert!(clusters.of_product(&name("none")).is_none());
    }

    #[test]
    fn a_cluster_of_its_own_is_named_once_and_may_keep_an_older_lease() {
        let fleet = fleet(
            r#""main": {"chain": ["db-1"], "lease": "shop"}, "spare": {"chain": ["db-9"]}"#,
            r#""shop": {"database": {"cluster": "main"}}, "blog": {"database": {"chain": ["db-1"]}}, "lost": {"database": {"cluster": "gone"}},
               "new": {"database": {"chain": ["db-7"], "lease": "old"}}"#,
        );
        assert_eq!(
            told(&fleet),
            [
                "main by shop, never []: blog shop",
                "spare by spare, never []: ",
                "new by old, never []: new"
            ]
        );
        let clusters = Clusters::of(&fleet);
        let called = |text: &str| {
            clusters
                .called(&text.parse().unwrap())
                .map(|it| it.lease.as_str())
        };
        assert_eq!(
            ["shop", "main", "blog", "new", "old", "spare", "lost"].map(called),
            [
                Some("shop"),
                Some("shop"),
                Some("shop"),
                Some("old"),
                Some("old"),
                Some("spare"),
                None
            ]
        );
    }
}
