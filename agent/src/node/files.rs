//! The files of one box, and what their templates see of the fleet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::Owner;
use super::databases::{self, Elections};
use super::eviction::Evictions;
use crate::fleet::{
    Bundle, Clusters, EvictPart, FileEntry, Fleet, MEMCACHED, Name, Pointer, Server, ServerState,
    applies, bundles,
};
use crate::system::platform::Family;

/// A file, directory or link that a box has.
#[derive(Debug, Clone, PartialEq)]
pub struct FileView {
    /// Whose.
    pub owner: Owner,
    /// Where it stands on CentOS, and where the document says so; on Debian the entry may say otherwise.
    pub path: String,
    /// What the document says.
    pub file: FileEntry,
    /// What its template sees. `None`: it has none.
    pub sees: Option<TemplateView>,
    /// Where it stands in the document.
    pub origin: Pointer,
    /// It cannot be as the document has it: what stands there stays.
    pub left_out: bool,
}

impl FileView {
    /// Where it stands on a machine of this family.
    pub fn path_on(&self, family: Family) -> &Path {
        match (&self.file.debian, family) {
            (Some(debian), Family::Debian) => Path::new(debian.as_str()),
            _ => Path::new(&self.path),
        }
    }
}

/// What a template of a file sees: of the box, of the fleet, and of the product whose file it is. Only what the document
/// and the leases say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateView {
    /// The box.
    pub node: Neighbour,
    /// The fleet.
    pub fleet: FleetWords,
    /// The product's name; not there in the file of a role.
    pub product: Option<Name>,
    /// The role's name; not there in the file of a product.
    pub role: Option<Name>,
    /// The active servers of each role, by name: those of the product or, in the file of a role, all.
    pub peers: BTreeMap<Name, Vec<Neighbour>>,
    /// The product's database; not there where it has none.
    pub database: Option<DatabaseWords>,
    /// The ports of the product's caches: `main` is the one without a name.
    pub caches: BTreeMap<String, u16>,
}

/// A server as templates see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: Name,
    /// Its address.
    pub address: IpAddr,
    /// Its zone; empty where the document has none.
    pub zone: String,
    /// Its roles, by name.
    pub roles: Vec<Name>,
    /// Its products, by name.
    pub products: Vec<Name>,
}

/// The fleet as templates see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetWords {
    /// Its name.
    pub name: Name,
    /// Its DNS domain; empty where the document has none.
    pub domain: String,
}

/// A database as templates see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseWords {
    /// The present master.
    pub master: Neighbour,
    /// The server that replica aliases lead to.
    pub replica: Neighbour,
    /// The port that the document says; 0 where it says none.
    pub port: u16,
}

impl Neighbour {
    fn of(name: &Name, server: &Server) -> Self {
        let sorted = |names: &[Name]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        Self {
            name: name.clone(),
            address: server.address,
            zone: server
                .zone
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            roles: sorted(&server.roles),
            products: sorted(&server.products),
        }
    }
}

/// The files of a server, in the order of their paths on CentOS.
pub(super) fn files(
    fleet: &Fleet,
    name: &Name,
    server: &Server,
    clusters: &Clusters<'_>,
    elections: &Elections,
    evictions: &Evictions,
) -> Vec<FileView> {
    let mut files: Vec<FileView> = Vec::new();
    for bundle in bundles(fleet, server) {
        let here = || {
            let files = bundle.files().iter();
            files.filter(|(_, file)| applies(&file.on, server))
        };
        let sees = here().any(|(_, file)| file.template.is_some()).then(|| {
            template_view(
                fleet,
                name,
                server,
                (clusters, elections, evictions),
                bundle,
            )
        });
        let origin = bundle.origin().then("files");
        let owner = match bundle {
            Bundle::Product(name, _) => Owner::Product(name.clone()),
            Bundle::Role(name, _) => Owner::Role(name.clone()),
        };
        files.extend(here().map(|(path, file)| FileView {
            owner: owner.clone(),
            path: path.to_string(),
            file: file.clone(),
            sees: sees.clone().filter(|_| file.template.is_some()),
            origin: origin.then(path),
            left_out: false,
        }));
    }
    // What two say alike of one path is one file; with another path on Debian it is another file there.
    files.sort_by(|a, b| (&a.path, &a.file.debian).cmp(&(&b.path, &b.file.debian)));
    files.dedup_by(|a, b| a.path == b.path && a.file.debian == b.file.debian);
    files
}

fn template_view(
    fleet: &Fleet,
    name: &Name,
    server: &Server,
    (clusters, elections, evictions): (&Clusters<'_>, &Elections, &Evictions),
    bundle: Bundle<'_>,
) -> TemplateView {
    let product = match bundle {
        Bundle::Product(name, product) => Some((name, product)),
        Bundle::Role(..) => None,
    };
    let mut peers: BTreeMap<Name, Vec<Neighbour>> = fleet
        .roles
        .keys()
        .map(|role| (role.clone(), Vec::new()))
        .collect();
    for (name, server) in &fleet.servers {
        let counts = server.state == ServerState::Active
            && product.is_none_or(|(product, _)| server.products.contains(product));
        if counts {
            let neighbour = Neighbour::of(name, server);
            for role in &server.roles {
                if let Some(list) = peers.get_mut(role) {
                    list.push(neighbour.clone());
                }
            }
        }
    }
    // A template's list of memcached servers is a node list too.
    let dead = product.and_then(|(name, product)| {
        product.evict_after(EvictPart::Cache)?;
        Some(evictions.get(name)?.of(EvictPart::Cache))
    });
    let list = peers
        .iter_mut()
        .find(|(role, _)| role.as_str() == MEMCACHED);
    if let (Some(dead), Some((_, list))) = (dead, list)
        && list.iter().any(|one| !dead.contains_key(&one.name))
    {
        list.retain(|one| !dead.contains_key(&one.name));
    }
    let database = product.and_then(|(name, product)| {
        product.database.as_ref()?;
        let cluster = clusters.of_product(name)?;
        let lease = databases::lease(cluster, elections);
        let master = databases::master(cluster, elections.get(lease))?;
        let replica = databases::replica(fleet, cluster, master);
        let of = |name: &Name| Some(Neighbour::of(name, fleet.servers.get(name)?));
        Some(DatabaseWords {
            master: of(master.server)?,
            replica: of(replica)?,
            port: databases::port(cluster, 0),
        })
    });
    let caches = product
        .into_iter()
        .flat_map(|(_, product)| product.all_caches());
    let caches = caches.filter_map(|(name, cache)| {
        let name = name.map_or_else(|| "main".to_owned(), ToString::to_string);
        Some((name, cache.port?.get()))
    });
    TemplateView {
        node: Neighbour::of(name, server),
        fleet: FleetWords {
            name: fleet.fleet.clone(),
            domain: fleet
                .domain
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        },
        product: product.map(|(name, _)| name.clone()),
        role: match bundle {
            Bundle::Role(name, _) => Some(name.clone()),
            Bundle::Product(..) => None,
        },
        peers,
        database,
        caches: caches.collect(),
    }
}
