//! Products, each by itself: its sites, its node list, its database.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, PRODUCTS, RESERVED_HOSTS, SERVERS};
use crate::fleet::model::{Aliases, CacheList, Database, ServerState, Site};
use crate::fleet::names::{AbsolutePath, HostAlias, HostName, Name, Port};
use crate::fleet::pointer::Place;

/// Files and directories of the system and of the agent: no node list may stand at or under them.
const RESERVED_PATHS: [&str; 23] = [
    "/boot",
    "/dev",
    "/etc/agentd",
    "/etc/apache2",
    "/etc/cron.d",
    "/etc/crontab",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/hosts",
    "/etc/httpd",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/systemd",
    "/proc",
    "/run",
    "/sys",
    "/usr/lib/systemd",
    "/var/lib/agentd",
    "/var/run",
];

/// Which site answers to a host name on a port.
type Claims<'f> = BTreeMap<(&'f HostName, Port), (&'f Name, &'f Name, usize)>;

impl<'f> Check<'f> {
    pub(super) fn products(&mut self) {
        let mut claims = Claims::new();
        for (name, product) in &self.fleet.products {
            let at = PRODUCTS.place.then(name.as_str());
            let sites = at.then("sites");
            self.at_most(product.sites.len(), 1_000, &sites);
            for (site_name, site) in &product.sites {
                let at = sites.then(site_name.as_str());
                self.site(site, &at);
                self.claim(&mut claims, (name, site_name), site, &at);
            }
            if let Some(list) = product.cache.as_ref().and_then(|cache| cache.list.as_ref()) {
                self.node_list(list, &at.then("cache").then("list").then("path"));
            }
            if let Some(database) = &product.database {
                self.database(name, database, &at.then("database"));
            }
            self.cron(&product.cron, &at.then("cron"));
        }
    }

    fn site(&mut self, site: &'f Site, at: &Place<'_>) {
        let domains = at.then("domains");
        if site.domains.is_empty() && !self.findings.is_doubtful(&domains) {
            self.findings.add(&domains, || {
                "expected at least one host name; found an empty list".to_owned()
            });
        }
        self.list(&site.domains, &domains, 100);
        self.list(&site.allow, &at.then("allow"), 1_000);
        let aliases = at.then("aliases");
        self.at_most(site.aliases.len(), 100, &aliases);
        let mut paths = BTreeSet::new();
        for path in site.aliases.keys() {
            if !paths.insert(path.as_str().trim_end_matches('/')) {
                self.findings.add(&aliases.then(path.as_str()), || {
                    format!("`{path}` stands here with and without a slash at its end: keep one")
                });
            }
        }
        let headers = at.then("headers");
        self.at_most(site.headers.len(), 100, &headers);
        let mut names = BTreeSet::new();
        for header in site.headers.keys() {
            if !names.insert(header.as_str().to_ascii_lowercase()) {
                self.findings.add(&headers.then(header.as_str()), || {
                    format!("the header `{header}` stands here twice, in another case: keep one")
                });
            }
        }
    }

    fn claim(
        &mut self,
        claims: &mut Claims<'f>,
        owner: (&'f Name, &'f Name),
        site: &'f Site,
        at: &Place<'_>,
    ) {
        // The port may be the part that could not be read.
        if self.findings.is_doubtful(at) {
            return;
        }
        for (index, domain) in site.domains.iter().enumerate() {
            let port = site.port;
            let (product, site, first) = *claims
                .entry((domain, port))
                .or_insert((owner.0, owner.1, index));
            if (product, site) != owner {
                let domains = at.then("domains");
                let sites = PRODUCTS.place.then(product.as_str());
                let sites = sites.then("sites");
                let theirs = sites.then(site.as_str());
                let theirs = theirs.then("domains");
                let (here, there) = (
                    self.findings.item(&domains, index),
                    self.findings.item(&theirs, first),
                );
                let (here, there) = (here.pointer(), there.pointer());
                self.findings.clash_of(here, there, || {
                    format!(
                        "`{domain}` on port {port} already belongs to the site `{site}` of the product `{product}`"
                    )
                });
            }
        }
    }

    fn node_list(&mut self, list: &CacheList, at: &Place<'_>) {
        let reserved = RESERVED_PATHS
            .into_iter()
            .find(|path| is_at_or_under(&list.path, path));
        if let Some(reserved) = reserved {
            self.findings.add(at, || {
                format!(
                    "a node list cannot stand at {}: {reserved} belongs to the system or to the agent",
                    list.path
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

impl<'f> Check<'f> {
    /// The server whose name with the fleet's domain `text` is.
    fn with_domain(&self, text: &str) -> Option<&'f Name> {
        let domain = self.fleet.domain.as_ref()?;
        let name = text.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        self.fleet.servers.get_key_value(name).map(|(name, _)| name)
    }
}

fn is_at_or_under(path: &AbsolutePath, directory: &str) -> bool {
    path.as_str()
        .strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
