//! Which server of a chain is the master now, and which one serves as a replica.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fleet::{Database, Fleet, Name, Pointer, ServerState};

/// Who owns the lease of a product's database, in which epoch: all that follows from a lease for other machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elected {
    /// The epoch.
    pub epoch: u64,
    /// The owner, who was serving in it.
    pub owner: Name,
}

/// Who was elected, by product. A product that is missing has no lease yet.
pub type Elections = BTreeMap<Name, Elected>;

/// The present master of a product's database, and how it came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Master<'f> {
    /// The server.
    pub server: &'f Name,
    /// The epoch of the lease that says so; `None`: it stands first in the chain, and no lease says otherwise.
    pub epoch: Option<u64>,
}

impl Master<'_> {
    /// The lease as an origin, where it is one.
    pub fn origin(&self, product: &Name) -> Option<Pointer> {
        self.epoch
            .map(|epoch| Pointer::in_lease(product, epoch, self.server))
    }
}

/// The present master of a product's database: the owner of its lease, or the first of the chain. It is decided
/// here and nowhere else.
///
/// An owner that the document does not have in the chain is nobody's master: machines choose among the servers
/// that people have named, and no others.
pub fn master<'f>(database: &'f Database, elected: Option<&Elected>) -> Option<Master<'f>> {
    let owner = elected.and_then(|elected| {
        let server = database.chain.iter().find(|name| **name == elected.owner)?;
        Some(Master {
            server,
            epoch: Some(elected.epoch),
        })
    });
    owner.or_else(|| {
        Some(Master {
            server: database.chain.first()?,
            epoch: None,
        })
    })
}

/// The server that replica aliases lead to: the first active one of the chain that is not the master, else a
/// draining one (it still replicates), else the master itself.
pub fn replica<'f>(fleet: &Fleet, database: &'f Database, master: Master<'f>) -> &'f Name {
    let in_state = |wanted: ServerState| {
        database.chain.iter().find(|name| {
            *name != master.server
                && fleet
                    .servers
                    .get(*name)
                    .is_some_and(|server| server.state == wanted)
        })
    };
    in_state(ServerState::Active)
        .or_else(|| in_state(ServerState::Draining))
        .unwrap_or(master.server)
}

/// The port of a database's servers; `otherwise` where the document does not say.
pub fn port(database: &Database, otherwise: u16) -> u16 {
    database
        .port
        .map_or(otherwise, crate::fleet::names::Port::get)
}

/// Whether a server is one of the database's own: it stands in the chain or takes the snapshots.
pub fn names(database: &Database, server: &Name) -> bool {
    database.chain.contains(server)
        || (database.snapshots.as_ref()).is_some_and(|snapshots| snapshots.server == *server)
}

/// The products of a server that have a database, with it.
pub fn of_server<'f>(fleet: &'f Fleet, node: &Name) -> BTreeMap<&'f Name, &'f Database> {
    let Some(server) = fleet.servers.get(node) else {
        return BTreeMap::new();
    };
    if server.state == ServerState::Retired {
        return BTreeMap::new();
    }
    (server.products.iter())
        .filter_map(|product| {
            let (name, product) = fleet.products.get_key_value(product)?;
            Some((name, product.database.as_ref()?))
        })
        .collect()
}
