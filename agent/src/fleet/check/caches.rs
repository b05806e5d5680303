//! The caches of a product: what memcached can be told, and that no two are in each other's way.

use super::boxes::may_collide;
use super::paths::{For, obstacle};
use super::{Check, SERVERS};
use crate::fleet::model::{Cache, CacheList, Product};
use crate::fleet::names::Name;
use crate::fleet::pointer::Place;

impl<'f> Check<'f> {
    pub(super) fn caches(&mut self, product: &'f Product, of: &Place<'_>) {
        let (single, named) = (of.then("cache"), of.then("caches"));
        self.at_most(product.caches.len(), 32, &named);
        let mut earlier: Vec<(Option<&Name>, &Cache)> = Vec::new();
        for (name, cache) in product.all_caches() {
            match name {
                Some(name) => self.cache(cache, &earlier, &named.then(name.as_str())),
                None => self.cache(cache, &earlier, &single),
            }
            earlier.push((name, cache));
        }
    }

    fn cache(&mut self, cache: &'f Cache, earlier: &[(Option<&Name>, &Cache)], at: &Place<'_>) {
        if let Some(list) = &cache.list {
            self.node_list(list, &at.then("list").then("path"));
        }
        if self.findings.is_doubtful(at) {
            return;
        }
        if let Some(port) = cache.port
            && port.get() < 1024
        {
            self.findings.add(&at.then("port"), || {
                format!("port {port} is for root alone, and memcached does not run as root: take one from 1024 on")
            });
        }
        match (cache.port, cache.socket) {
            (None, false) => self.findings.add(at, || {
                "expected a `port`, or \"socket\": true; found neither".to_owned()
            }),
            (Some(_), true) => self.findings.add(&at.then("socket"), || {
                "an instance listens on a Unix socket or on a port, not on both: take one out"
                    .to_owned()
            }),
            _ => {}
        }
        let has_listen = cache.listen.is_some();
        if cache.socket {
            for (field, said) in [
                ("listen", has_listen),
                ("weights", !cache.weights.is_empty()),
            ] {
                if said {
                    self.findings.add(&at.then(field), || {
                        format!(
                            "`{field}` means nothing for an instance on a Unix socket: take it out"
                        )
                    });
                }
            }
        }
        if let Some(listen) = &cache.listen {
            let at = at.then("listen");
            if listen.as_slice().is_empty() {
                self.findings.add(&at, || {
                    "expected at least one address; found an empty list".to_owned()
                });
            }
            self.list(listen.as_slice(), &at, 16);
        }
        if let Some(item) = cache.item_size
            && u64::from(item.kibibytes()) * 2 > u64::from(cache.memory.mebibytes()) * 1024
        {
            self.findings.add(&at.then("item_size"), || {
                format!("an item of {item} is more than half of the memory, {}: memcached does not start so", cache.memory)
            });
        }
        let weights = at.then("weights");
        for server in cache.weights.keys() {
            self.refers_at(
                &self.fleet.servers,
                &SERVERS,
                server,
                &weights.then(server.as_str()),
            );
        }
        self.apart(cache, earlier, at);
    }

    /// Caches of one product run on the same servers: their ports and lists must differ.
    fn apart(&mut self, cache: &Cache, earlier: &[(Option<&Name>, &Cache)], at: &Place<'_>) {
        let called = |name: Option<&Name>| match name {
            Some(name) => format!("the cache `{name}`"),
            None => "`cache`".to_owned(),
        };
        for (name, other) in earlier {
            if let Some(port) = cache.port
                && other.port == Some(port)
                && may_collide(other.listen.as_ref(), cache.listen.as_ref())
            {
                self.findings.add(&at.then("port"), || {
                    format!(
                        "port {port} is the port of {} of this product too",
                        called(*name)
                    )
                });
            }
            let paths = cache.list.as_ref().zip(other.list.as_ref());
            let Some((mine, theirs)) = paths else {
                continue;
            };
            if mine.path.is_at_or_under(theirs.path.as_str())
                || theirs.path.is_at_or_under(mine.path.as_str())
            {
                self.findings.add(&at.then("list").then("path"), || {
                    format!(
                        "{} is the node list of {} of this product",
                        theirs.path,
                        called(*name)
                    )
                });
            }
        }
    }

    fn node_list(&mut self, list: &CacheList, at: &Place<'_>) {
        if let Some(why) = obstacle(&list.path, For::NodeList) {
            self.findings.add(at, || {
                format!("a node list cannot stand at {}: {why}", list.path)
            });
        }
    }
}
