//! What must be known of Apache on this box before its sites are worked out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::needs::{self, Needs};
use super::scan::{self, Listened, OthersVhost, Place};
use super::{current, php};
use crate::fleet::names::Port;
use crate::fleet::{Name, Tls};
use crate::node::{SiteView, View};
use crate::resource::{ProductReleases, served};
use crate::system::certificate::Certificate;
use crate::system::file::{Files, Found};
use crate::system::platform::{Apache, Family, Platform};
use crate::system::presence::{self, Presence};
use crate::system::{clock, ports, routes};

/// The most bytes of an override template.
pub(super) const TEMPLATE_LIMIT: usize = 256 * 1024;
/// Where a proxy on this box would take visitors' requests.
const PROXY_PORTS: [u16; 2] = [80, 443];
/// The module that has each site's requests handled by a user of its own.
const PER_SITE_USERS: &str = "mpm_itk_module";

/// What is known of Apache on this box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApacheFacts {
    /// Its binary and main configuration are there.
    pub(super) installed: bool,
    /// Ports that its own configuration, ours left out, listens on.
    pub(super) listens: BTreeMap<u16, Listened>,
    /// The virtual hosts of its own configuration, ours left out.
    pub(super) vhosts: Vec<OthersVhost>,
    /// Where its own configuration closes everything to everybody, and how.
    pub(super) closed: Option<(Place, String)>,
    /// An address of this box at which others reach it. `None`: not known, or no machine that runs.
    pub(super) own: Option<IpAddr>,
    /// Its other addresses that visitors come in at: those which the document calls public, and which are on this box.
    pub(super) public: Vec<IpAddr>,
    /// Ports that are listened on for this box alone, with no proxy before them.
    pub(super) unreachable: BTreeSet<u16>,
    /// Ports that sites ask for and that a process other than Apache listens on.
    pub(super) taken: BTreeSet<u16>,
    /// Whom its workers run as.
    pub(super) user: String,
    /// Directories of sites that are not there, are none, or are closed to the workers.
    pub(super) missing: BTreeMap<PathBuf, Presence>,
    /// Override templates of vhosts, by name.
    pub(super) templates: BTreeMap<String, String>,
    /// Certificates of sites, by the paths of certificate and key; or what is wrong with them.
    pub(super) certificates: BTreeMap<(PathBuf, PathBuf), Result<Certificate, String>>,
    /// Products of sites whose PHP pools are here. `None`: not looked at.
    pub(super) pools: Option<BTreeSet<Name>>,
    /// When it was looked.
    pub(super) looked: Timestamp,
    /// What sites need besides.
    pub(super) needs: Needs,
    /// The releases of products. `None`: nobody has looked.
    pub(super) releases: Option<BTreeMap<Name, ProductReleases>>,
}

impl ApacheFacts {
    /// An Apache as the distributions install it, for planning at a desk.
    pub fn as_installed() -> Self {
        let all = Listened {
            addresses: [IpAddr::V6(Ipv6Addr::UNSPECIFIED)].into(),
            place: None,
        };
        Self {
            installed: true,
            listens: [(80, all)].into(),
            ..Self::default()
        }
    }

    /// All addresses at which visitors of a site on this port come in, as seen from this box: [`Self::ask_at`] first, and each once.
    pub(super) fn ask_at_each(&self, port: u16) -> Vec<IpAddr> {
        let first = self.ask_at(port);
        let listened = self.listens.get(&port);
        let is_open = |address: &IpAddr| {
            listened.is_none_or(|listened| covers(&listened.addresses, *address))
        };
        let others = self.public.iter().copied().filter(is_open);
        let mut all = vec![first];
        for other in others {
            if !all.contains(&other) {
                all.push(other);
            }
        }
        all
    }

    /// Where visitors of a site on this port come in, as seen from this box.
    pub(super) fn ask_at(&self, port: u16) -> IpAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let own = self.own.unwrap_or(loopback);
        let Some(Listened { addresses, .. }) = self.listens.get(&port) else {
            // A port that is there for the sites only is listened on everywhere.
            return own;
        };
        let others = || {
            let special = addresses.iter().filter(|ip| !ip.is_unspecified());
            let (inside, outside): (Vec<&IpAddr>, Vec<_>) =
                special.partition(|ip| ip.is_loopback());
            outside.into_iter().chain(inside).next().copied()
        };
        if covers(addresses, own) {
            own
        } else if covers(addresses, loopback) && self.own.is_none() {
            loopback
        } else {
            others().unwrap_or(loopback)
        }
    }
}

/// Whether who listens at `addresses` is reached at `address`.
fn covers(addresses: &BTreeSet<IpAddr>, address: IpAddr) -> bool {
    addresses.contains(&address)
        || addresses.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        || (address.is_ipv4() && addresses.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// Looks at all of it.
pub(super) async fn observe(view: &View, platform: &Platform, files: &Files) -> ApacheFacts {
    let (sites, apache) = (&view.sites, &platform.apache);
    let found = scan::scan(files, apache);
    let machine = files.root().is_machine();
    let installed = if machine {
        found.is_some()
            && apache
                .test
                .first()
                .is_some_and(|program| Path::new(program).exists())
    } else {
        true
    };
    let loaded = found.as_ref().map(|found| &found.modules);
    // With it each site has a user of its own.
    let one_user = loaded.is_some_and(|loaded| !loaded.contains(PER_SITE_USERS));
    let user = (found.as_ref()).and_then(|found| found.user.clone());
    let user = user.unwrap_or_else(|| usual_user(platform.family).to_owned());
    let needs = match loaded {
        Some(loaded) if installed => needs::look(sites, loaded, apache, files).await,
        _ => Needs::default(),
    };
    // Under a root that has no Apache yet, one as the distributions install it will be put there.
    let mut facts = match found {
        Some(found) => ApacheFacts {
            listens: found.listens,
            vhosts: found.vhosts,
            closed: found.closed,
            ..ApacheFacts::default()
        },
        None => ApacheFacts::as_installed(),
    };
    facts.installed = installed;
    facts.releases = Some(releases(sites, apache, files));
    facts.needs = needs;
    facts.user.clone_from(&user);
    facts.templates = templates(sites, platform, files);
    facts.pools = Some(php::pools(sites, platform, files));
    if machine && installed {
        facts.certificates = certificates(sites);
        facts.looked = clock::now();
        facts.own = routes::own_address_towards(view.server.address);
        let here = |address: &IpAddr| routes::own_address_towards(*address) == Some(*address);
        facts.public = (view.server.public.iter().copied()).filter(here).collect();
        facts.taken = taken_ports(sites, &facts.listens, apache, files);
        facts.unreachable = unreachable_ports(sites, &facts.listens);
        let reader = one_user.then(|| user.clone());
        facts.missing = presence::missing(directories(sites), reader).await;
    }
    facts
}

/// Whom Apache's workers run as.
pub(super) fn user(files: &Files, platform: &Platform) -> String {
    let found = scan::scan(files, &platform.apache).and_then(|found| found.user);
    found.unwrap_or_else(|| usual_user(platform.family).to_owned())
}

/// What is known of the releases that sites are to be served from.
fn releases(sites: &[SiteView], apache: &Apache, files: &Files) -> BTreeMap<Name, ProductReleases> {
    let products: BTreeSet<&Name> = sites
        .iter()
        .filter(|site| site.release.is_some())
        .map(|site| &site.product)
        .collect();
    if products.is_empty() {
        return BTreeMap::new();
    }
    let mut served = served(files, apache);
    products
        .into_iter()
        .map(|product| {
            let served = served.remove(product).unwrap_or_default();
            (
                product.clone(),
                ProductReleases::look(files, product, served),
            )
        })
        .collect()
}

/// Whom Apache's workers run as where its configuration names a variable.
const fn usual_user(family: Family) -> &'static str {
    match family {
        Family::Centos => "apache",
        Family::Debian => "www-data",
    }
}

/// The certificates of all sites. A template reads its own.
fn certificates(sites: &[SiteView]) -> BTreeMap<(PathBuf, PathBuf), Result<Certificate, String>> {
    let pairs: BTreeSet<(PathBuf, PathBuf)> = sites
        .iter()
        .filter_map(|site| site.site.tls.as_ref())
        .map(Tls::files)
        .collect();
    pairs
        .into_iter()
        .map(|(certificate, key)| {
            let read = Certificate::read(&certificate, &key);
            ((certificate, key), read)
        })
        .collect()
}

/// Everything that is served from.
fn directories(sites: &[SiteView]) -> BTreeSet<PathBuf> {
    let sites = sites.iter().map(|site| &site.site);
    sites
        .flat_map(|site| site.root.iter().chain(site.aliases.values()))
        .map(|path| PathBuf::from(path.as_str()))
        .collect()
}

fn ports_of(sites: &[SiteView]) -> BTreeSet<u16> {
    let ports = (sites.iter()).flat_map(|site| site.site.ports().chain(site.site.redirect_port()));
    ports.map(Port::get).collect()
}

fn templates(sites: &[SiteView], platform: &Platform, files: &Files) -> BTreeMap<String, String> {
    sites
        .iter()
        .filter_map(|site| site.site.template.as_ref())
        .filter_map(|name| {
            let path = template_path(platform, name.as_str());
            match files.read(&path) {
                Ok(Found::File { bytes, .. }) if bytes.len() <= TEMPLATE_LIMIT => {
                    Some((name.to_string(), String::from_utf8(bytes).ok()?))
                }
                _ => None,
            }
        })
        .collect()
}

/// Where an override template of this name is looked up.
pub(super) fn template_path(platform: &Platform, name: &str) -> PathBuf {
    platform.templates_dir.join(format!("{name}.conf.j2"))
}

/// Ports that Apache would have to open and cannot: somebody else listens there already.
fn taken_ports(
    sites: &[SiteView],
    listens: &BTreeMap<u16, Listened>,
    apache: &Apache,
    files: &Files,
) -> BTreeSet<u16> {
    let mut ports = ports_of(sites);
    ports.retain(|port| !listens.contains_key(port));
    if !ports.is_empty() {
        let own = current::ports(files, apache);
        ports.retain(|port| !own.contains(port));
    }
    if ports.is_empty() {
        return ports;
    }
    let listened = ports::listened();
    ports.retain(|port| listened.contains(port));
    ports
}

/// Ports of sites that Apache's own configuration opens for this box alone. That is as it should be where a proxy on this
/// box takes the visitors' requests: somebody else listens for them.
fn unreachable_ports(sites: &[SiteView], listens: &BTreeMap<u16, Listened>) -> BTreeSet<u16> {
    let is_inside = |port: &u16| {
        (listens.get(port))
            .is_some_and(|listened| listened.addresses.iter().all(IpAddr::is_loopback))
    };
    let mut inside = ports_of(sites);
    inside.retain(is_inside);
    if !inside.is_empty() {
        let is_proxy = |at: &SocketAddr| {
            let port = at.port();
            let is_apache = listens.contains_key(&port) && !is_inside(&port);
            PROXY_PORTS.contains(&port) && !at.ip().is_loopback() && !is_apache
        };
        if ports::listeners().iter().any(is_proxy) {
            inside.clear();
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_asked_where_its_visitors_come_in() {
        let mut facts = ApacheFacts {
            own: Some("10.77.0.11".parse().unwrap()),
            ..ApacheFacts::default()
        };
        let mut at = |listens: &[&str]| {
            let addresses = listens.iter().map(|one| one.parse().unwrap()).collect();
            let listened = Listened {
                addresses,
                place: None,
            };
            facts.listens = [(80, listened)].into();
            facts.ask_at(80).to_string()
        };
        assert_eq!(at(&["::"]), "10.77.0.11");
        assert_eq!(at(&["0.0.0.0"]), "10.77.0.11");
        assert_eq!(at(&["127.0.0.1", "10.77.0.11"]), "10.77.0.11");
        assert_eq!(at(&["127.0.0.1", "10.77.0.12"]), "10.77.0.12");
        assert_eq!(at(&["127.0.0.1"]), "127.0.0.1");
        assert_eq!(facts.ask_at(8080).to_string(), "10.77.0.11");
        // Each of the document's public addresses that is here, where the port is open at it.
        facts.public = ["2001:db8::7", "192.0.2.7", "10.77.0.11"]
            .map(|one| one.parse().unwrap())
            .into();
        let each = |facts: &ApacheFacts, port| {
            let each = facts.ask_at_each(port).into_iter();
            each.map(|ip| ip.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(each(&facts, 80), "127.0.0.1");
        assert_eq!(each(&facts, 8080), "10.77.0.11 2001:db8::7 192.0.2.7");
        let four = Listened {
            addresses: ["0.0.0.0".parse().unwrap()].into(),
            place: None,
        };
        facts.listens = [(80, four)].into();
        assert_eq!(each(&facts, 80), "10.77.0.11 192.0.2.7");
        facts.public.clear();
        facts.own = None;
        assert_eq!(facts.ask_at(8080).to_string(), "127.0.0.1");
    }
}
