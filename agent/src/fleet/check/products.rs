//! Products, each by itself: its database and the names that follow it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::dns::DnsNames;
use super::sites::Claims;
use super::{Check, PRODUCTS, RESERVED_HOSTS, SERVERS};
use crate::fleet::bundle::Bundle;
use crate::fleet::model::{Aliases, Database, Product, ServerState, Snapshots};
use crate::fleet::names::{HostAlias, Name};
use crate::fleet::pointer::Place;

impl<'f> Check<'f> {
    pub(super) fn products(&mut self) {
        let mut claims = Claims::new();
        let mut names = DnsNames::new();
        for (name, product) in &self.fleet.products {
            let at = PRODUCTS.place.then(name.as_str());
            self.sites(&mut claims, name, product);
            if let Some(php) = &product.php {
                self.php(php, &at.then("php"));
            }
            self.caches(product, &at);
            if let Some(database) = &product.database {
                self.database(name, database, &at.then("database"));
            }
            self.cron(&product.cron, &at.then("cron"));
            self.files(Bundle::Product(name, product), &at);
            self.accounts(Bundle::Product(name, product), &at);
            self.release_and_tests(name, product, &at);
            if let Some(dns) = &product.dns {
                self.dns(&mut names, name, dns);
            }
        }
        self.chains_that_overlap();
    }

    /// A server has one master and one lease: two products that share one share them all, in one order.
    fn chains_that_overlap(&mut self) {
        let with_chain = |(name, product): (&'f Name, &'f Product)| {
            let database = product.database.as_ref()?;
            Some((name, &database.chain))
        };
        let chains: Vec<(&Name, &Vec<Name>)> =
            self.fleet.products.iter().filter_map(with_chain).collect();
        for (at, (product, chain)) in chains.iter().enumerate() {
            let place = PRODUCTS.place.then(product.as_str());
            let place = place.then("database");
            let place = place.then("chain");
            if self.findings.is_doubtful(&place) {
                continue;
            }
            let earlier = chains.iter().take(at);
            // Said of the first such product: the others are the same mistake.
            let shared =
                earlier
                    .filter(|(_, other)| other != chain)
                    .find_map(|(other, servers)| {
                        let index = chain.iter().position(|server| servers.contains(server))?;
                        Some((index, *other))
                    });
            let Some((index, other)) = shared else {
                continue;
            };
            let (Some(server), item) = (chain.get(index), self.findings.item(&place, index)) else {
                continue;
            };
            self.findings.add(&item, || {
                format!(
                    "`{server}` is in the chain of the product `{other}` too, and that is another chain: a database server has one \
                     master, so products that share a server have the same chain, in the same order"
                )
            });
        }
    }

    fn database(&mut self, product: &Name, database: &'f Database, at: &Place<'_>) {
        let chain = at.then("chain");
        if database.chain.is_empty() && !self.findings.is_doubtful(&chain) {
            self.findings.add(&chain, || {
                "expected at least one server, the master; found an empty list".to_owned()
            });
        }
        self.list(&database.chain, &chain, 16);
        for (index, server) in database.chain.iter().enumerate() {
            let at = self.findings.item(&chain, index);
            self.database_server(product, server, &at);
        }
        let in_chain: BTreeSet<&Name> = database.chain.iter().collect();
        let never = at.then("never");
        self.list(&database.never, &never, 16);
        for (index, server) in database.never.iter().enumerate() {
            if !in_chain.contains(server) {
                let at = self.findings.item(&never, index);
                self.findings.add(&at, || {
                    format!("`{server}` is not in the chain: it cannot become the master anyway")
                });
            }
        }
        if let Some(snapshots) = &database.snapshots {
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
        self.aliases(&database.aliases, &at.then("aliases"));
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

    fn database_server(&mut self, product: &Name, name: &Name, at: &Place<'_>) {
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
        } else if !server.products.contains(product) {
            self.findings.add(at, || {
                format!(
                    "`{name}` does not carry the product `{product}`: add it to {}",
                    entry.then("products")
                )
            });
        }
    }

    fn aliases(&mut self, aliases: &'f Aliases, at: &Place<'_>) {
        let (master, replica) = (at.then("master"), at.then("replica"));
        for (names, list) in [(&aliases.master, &master), (&aliases.replica, &replica)] {
            self.list(names, list, 32);
            for (index, name) in names.iter().enumerate() {
                let text = name.as_str();
                let place_of = self.findings.item(list, index);
                if RESERVED_HOSTS.contains(&text) {
                    self.findings.add(&place_of, || {
                        format!("`{name}` means the machine itself on every system: it cannot be an alias")
                    });
                } else if is_of_the_cloud(text) {
                    self.findings.add(&place_of, || {
                        format!("`{name}` is a name of the cloud's own, by which machines reach the bucket: with an alias of it they would never see another document")
                    });
                } else if self.fleet.servers.contains_key(text) {
                    self.findings.add(&place_of, || {
                        format!("`{name}` is the name of a server: it cannot be an alias too")
                    });
                } else if let Some(server) = self.with_domain(text) {
                    self.findings.add(&place_of, || {
                        format!("`{name}` is the name of the server `{server}` with the fleet's domain: it cannot be an alias too")
                    });
                }
            }
        }
        let masters: BTreeSet<&HostAlias> = aliases.master.iter().collect();
        for (index, name) in aliases.replica.iter().enumerate() {
            if masters.contains(name) {
                let at = self.findings.item(&replica, index);
                self.findings.add(&at, || {
                    format!("`{name}` is an alias of the master: it cannot lead to a replica too")
                });
            }
        }
    }
}

/// Whether machines reach the bucket, their credentials or their metadata by a name, in a fleet on AWS or another cloud.
pub(super) fn is_of_the_cloud(name: &str) -> bool {
    const DOMAINS: [&str; 5] = [
        "amazonaws.com",
        "amazonaws.com.cn",
        "api.aws",
        "amazonaws.eu",
        "googleapis.com",
    ];
    const NAMES: [&str; 3] = [
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.google.internal",
    ];
    let is_in = |domain: &str| {
        name.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    NAMES.contains(&name) || DOMAINS.iter().any(|domain| is_in(domain))
}

impl<'f> Check<'f> {
    /// The server whose name with the fleet's domain `text` is.
    fn with_domain(&self, text: &str) -> Option<&'f Name> {
        let domain = self.fleet.domain.as_ref()?;
        let name = text.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        self.fleet.servers.get_key_value(name).map(|(name, _)| name)
    }
}
