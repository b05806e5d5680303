//! What one box should be, worked out from the fleet and its name. Pure.

mod accounts;
pub mod databases;
pub mod eviction;
mod files;
mod releases;
mod staged;
mod sweeping;
mod view;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::fleet::names::{ReleaseVersion, UnitName};
use crate::fleet::{Cache, CronJob, Name, Package, Php, Pointer, Server, Service, Site};

pub use accounts::{GroupView, UserView};
pub use databases::{Elected, Elections};
pub use files::{DatabaseWords, FileView, FleetWords, Neighbour, TemplateView};
pub use releases::{ReleaseView, SmokeView, release_dir};
pub use staged::staged;
pub use sweeping::sweeping;
pub use view::view;
pub use waves::Waves;

/// Which servers stand in `/etc/hosts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostsScope {
    /// Those that share a product with this box, and the box itself.
    Products,
    /// All.
    Fleet,
}

/// Everything of the fleet that concerns one box.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The box.
    pub name: Name,
    /// What the document says of it.
    pub server: Server,
    /// The groups that it has, by name.
    pub groups: Vec<GroupView>,
    /// The users that it has, by name.
    pub users: Vec<UserView>,
    /// Names it must be able to resolve, each with its address and where the document says so. Sorted by name.
    pub hosts: Vec<HostEntry>,
    /// Aliases that would take from the agent a name by which it reaches the bucket: left out of [`View::hosts`].
    pub withheld: Vec<HostEntry>,
    /// The caches of its products, by product.
    pub caches: BTreeMap<CacheName, CacheView>,
    /// The sites that it serves, sorted by product and site.
    pub sites: Vec<SiteView>,
    /// The pools of php-fpm that it has, sorted by product.
    pub php: Vec<PhpView>,
    /// The cron jobs that it runs, sorted by owner and name.
    pub cron: Vec<CronView>,
    /// Packages that it is to have or not to have, each once, sorted by name.
    pub packages: Vec<PackageView>,
    /// Its files, by path.
    pub files: Vec<FileView>,
    /// Services of which something is wished, each once, sorted by name.
    pub services: Vec<ServiceView>,
    /// The releases of its products, by product.
    pub releases: Vec<ReleaseView>,
    /// What shows that its products work, where it serves them.
    pub smoke: Vec<SmokeView>,
    /// Products whose database it is the master of now.
    pub masters: Vec<Name>,
}

impl View {
    /// Leaves out aliases of these names (in lower case), which the agent itself needs to reach the bucket.
    pub fn withhold(&mut self, names: &BTreeSet<String>) {
        if names.is_empty() {
            return;
        }
        let is_needed = |host: &mut HostEntry| {
            let is_alias = host.elected.is_some() || host.origin.0.contains("/aliases/");
            is_alias && names.contains(&host.name)
        };
        self.withheld = self.hosts.extract_if(.., is_needed).collect();
    }
}

/// A service as all roles and products of a box wish it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// CentOS's name of its unit.
    pub name: UnitName,
    /// What the document says, of all places together.
    pub service: Service,
    /// Where it stands.
    pub origins: Vec<Pointer>,
}

/// A package as all roles and products of a box ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageView {
    /// What the document says, of all places together.
    pub package: Package,
    /// Where it stands: in which lists.
    pub origins: Vec<Pointer>,
}

/// An address and a name of it, for `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// The name.
    pub name: String,
    /// A server's name with the fleet's domain, where it has one: written before the name.
    pub fqdn: Option<String>,
    /// Who asks for it.
    pub origin: Pointer,
    /// The lease that says which address it is, where one does.
    pub elected: Option<Pointer>,
}

/// Which cache of which product: `shop`, or `shop_sessions` where it has a name of its own. Names have no underscore, so
/// that no two are written the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheName {
    /// The product.
    pub product: Name,
    /// The cache's name among those of the product.
    pub name: Option<Name>,
}

impl fmt::Display for CacheName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(out, "{}_{name}", self.product),
            None => write!(out, "{}", self.product),
        }
    }
}

/// A product's cache as one box sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheView {
    /// What the document says.
    pub cache: Cache,
    /// The product's active memcached servers, sorted by name, with their addresses.
    pub nodes: Vec<(Name, IpAddr)>,
    /// Those of them that were found dead: they do not stand in [`CacheView::nodes`].
    pub left_out: BTreeMap<Name, eviction::Out>,
    /// Whether this box runs an instance.
    pub instance: bool,
    /// Where it stands.
    pub origin: Pointer,
}

/// A site that this box serves.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteView {
    /// The product.
    pub product: Name,
    /// The site's name in the product.
    pub name: Name,
    /// What the document says, with the release's own directories in the place of `/srv/PRODUCT/current`.
    pub site: Site,
    /// The release that it is served from; `None`: from none.
    pub release: Option<ReleaseVersion>,
    /// Where it stands.
    pub origin: Pointer,
    /// What runs its PHP, where the product has a pool.
    pub php: Option<Php>,
}

impl SiteView {
    /// Where the document has the product's pool.
    pub fn php_pointer(&self) -> Pointer {
        Pointer(format!("/signed/products/{}/php", self.product))
    }
}

/// A product's pool of php-fpm.
#[derive(Debug, Clone, PartialEq)]
pub struct PhpView {
    /// The product.
    pub product: Name,
    /// What the document says.
    pub php: Php,
    /// Where it stands.
    pub origin: Pointer,
    /// It does not work, and stays as it is.
    pub left_out: bool,
}

/// Whose job a cron job is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A product's.
    Product(Name),
    /// A role's.
    Role(Name),
}

/// A cron job that this box runs.
#[derive(Debug, Clone, PartialEq)]
pub struct CronView {
    /// Whose.
    pub owner: Owner,
    /// The job's name there.
    pub name: Name,
    /// What the document says.
    pub job: CronJob,
    /// Where it stands.
    pub origin: Pointer,
}

#[cfg(test)]
mod tests;
