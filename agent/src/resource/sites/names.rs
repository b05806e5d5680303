//! The names of a site, and in which files its vhosts stand so that Apache finds the right one for each.
//!
//! Apache takes the first vhost that has a name, be it by a wildcard. So the exact names of all sites are read first, and
//! the wildcards after them, the more exact ones before the others, whatever the sites are called.

use std::collections::BTreeMap;

use crate::fleet::names::SiteDomain;
use crate::node::SiteView;

/// The file that the default vhosts and a site for every host answer balancers with.
pub(super) const HEALTH_FILE: &str = "server.probe";
/// The URL path that the agent's own files lie under.
pub(super) const WELL_KNOWN: &str = "/.well-known/node-agent";
/// The most labels of a host name, which has 253 characters, and one more.
const MOST_LABELS: usize = 128;
/// What a wildcard is asked by: nobody has a site of this name.
const ANY_LABEL: &str = "agentd-probe";

/// The name of a site's files, without extension. No two sites share it: names have no underscore.
pub(super) fn stem(site: &SiteView) -> String {
    format!("{}_{}", site.product, site.name)
}

/// The names that one vhost of a site answers to, each with its index in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'s> {
    /// How exact its wildcards are; `None` of the part with the exact names.
    wildcards: Option<usize>,
    pub names: Vec<(usize, &'s SiteDomain)>,
}

impl<'s> Part<'s> {
    /// A site's names in the parts that need a vhost each: the exact ones, which come first, and the wildcards.
    pub fn all(site: &'s SiteView) -> Vec<Self> {
        let mut exact = Vec::new();
        let mut wildcards: BTreeMap<usize, Vec<(usize, &SiteDomain)>> = BTreeMap::new();
        for (index, name) in site.site.domains.iter().enumerate() {
            if name.is_wildcard() {
                let of = wildcards.entry(name.exactness()).or_default();
                of.push((index, name));
            } else {
                exact.push((index, name));
            }
        }
        let first = Self {
            wildcards: None,
            names: exact,
        };
        let others = wildcards.into_iter().rev().map(|(labels, names)| Self {
            wildcards: Some(labels),
            names,
        });
        std::iter::once(first).chain(others).collect()
    }

    /// All names in one part, for a site whose template writes its only vhost.
    pub fn whole(site: &'s SiteView) -> Self {
        Self {
            wildcards: (site.site.domains.iter())
                .filter(|name| name.is_wildcard())
                .map(SiteDomain::exactness)
                .min(),
            names: site.site.domains.iter().enumerate().collect(),
        }
    }

    /// The name of the file in which its vhost stands. Apache reads them in the order of their bytes, and no product's
    /// name begins with what comes as late as `~`.
    pub fn file(&self, site: &SiteView) -> String {
        match self.wildcards {
            None => format!("{}.conf", stem(site)),
            Some(labels) => format!(
                "~{:03}_{}.conf",
                MOST_LABELS.saturating_sub(labels),
                stem(site)
            ),
        }
    }

    /// Whether it has the name that stands for all that no other site has.
    pub fn catches_all(&self) -> bool {
        self.names.iter().any(|(_, name)| name.as_str() == "*")
    }
}

/// A host name that `domain` stands for.
pub(super) fn example(domain: &SiteDomain) -> String {
    match domain.as_str().strip_prefix('*') {
        None => domain.to_string(),
        Some("") => format!("{ANY_LABEL}.invalid"),
        Some(rest) => format!("{ANY_LABEL}{rest}"),
    }
}
