//! Products, each by itself, and the names that follow their databases.

use std::collections::BTreeSet;

use super::dns::DnsNames;
use super::sites::Claims;
use super::{Check, PRODUCTS, RESERVED_HOSTS};
use crate::fleet::bundle::Bundle;
use crate::fleet::model::Aliases;
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
                self.aliases(&database.aliases, &at.then("database").then("aliases"));
            }
            self.cron(&product.cron, &at.then("cron"));
            self.files(Bundle::Product(name, product), &at);
            self.accounts(Bundle::Product(name, product), &at);
            self.release_and_tests(name, product, &at);
            if let Some(dns) = &product.dns {
                self.dns(&mut names, name, dns);
            }
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
