//! Which server of a chain is the master now, and which one serves as a replica.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fleet::{Clusters, DatabaseCluster, Fleet, Name, Pointer, ServerState};

/// Who owns a lease, in which epoch: all that follows from a lease for other machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elected {
    /// The epoch.
    pub epoch: u64,
    /// The owner, who was serving in it.
    pub owner: Name,
}

/// Who was elected, by the lease's name. What is missing has no lease yet.
pub type Elections = BTreeMap<Name, Elected>;

/// The present master of a cluster, and how it came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Master<'f> {
    /// The server.
    pub server: &'f Name,
    /// The epoch of the lease that says so; `None`: it stands first in the chain, and no lease says otherwise.
    pub epoch: Option<u64>,
}

impl Master<'_> {
    /// The lease as an origin, where it is one.
    pub fn origin(&self, lease: &Name) -> Option<Pointer> {
        self.epoch
            .map(|epoch| Pointer::in_lease(lease, epoch, self.server))
    }
}

/// The name of the lease that a machine goes by for `cluster`: the document's, but while it knows none of that name and one that the
/// cluster's servers had under the name of a product, that one. So a document that would have the lease move to another name
/// (a product was added whose name stands before, a chain was put under `clusters`) moves nothing.
pub fn lease<'f>(cluster: &DatabaseCluster<'f>, elections: &Elections) -> &'f Name {
    let is_theirs = |name: &&&Name| {
        let elected = elections.get(**name);
        elected.is_some_and(|elected| cluster.chain.contains(&elected.owner))
    };
    // One of that name whose owner is not of the chain is another chain's: a product that came from there brought its name.
    if is_theirs(&&cluster.lease) {
        return cluster.lease;
    }
    let kept = cluster.products.iter().find(is_theirs).copied();
    kept.unwrap_or(cluster.lease)
}

/// The present master of a cluster: the owner of its lease, or the first of the chain. It is decided here and nowhere else.
///
/// An owner that the document does not have in the chain is nobody's master: machines choose among the servers
/// that people have named, and no others.
pub fn master<'f>(cluster: &DatabaseCluster<'f>, elected: Option<&Elected>) -> Option<Master<'f>> {
    let owner = elected.and_then(|elected| {
        let server = cluster.chain.iter().find(|name| **name == elected.owner)?;
        Some(Master {
            server,
            epoch: Some(elected.epoch),
        })
    });
    owner.or_else(|| {
        Some(Master {
            server: cluster.chain.first()?,
            epoch: None,
        })
    })
}

/// The server that replica aliases lead to: the first active one of the chain that is not the master, else a
/// draining one (it still replicates), else the master itself.
pub fn replica<'f>(fleet: &Fleet, cluster: &DatabaseCluster<'f>, master: Master<'f>) -> &'f Name {
    let in_state = |wanted: ServerState| {
        cluster.chain.iter().find(|name| {
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

/// The port of a cluster's servers; `otherwise` where the document does not say.
pub fn port(cluster: &DatabaseCluster<'_>, otherwise: u16) -> u16 {
    cluster
        .port
        .map_or(otherwise, crate::fleet::names::Port::get)
}

/// The clusters that a server has to do with, each once: those of its products, and those whose server it is. None where it is retired.
pub fn of_server<'f>(fleet: &'f Fleet, node: &Name) -> Vec<DatabaseCluster<'f>> {
    let Some(server) = fleet.servers.get(node) else {
        return Vec::new();
    };
    if server.state == ServerState::Retired {
        return Vec::new();
    }
    let clusters = Clusters::of(fleet);
    let concerns = |cluster: &&DatabaseCluster<'_>| {
        let carries = |product: &&Name| server.products.contains(product);
        cluster.has(node) || cluster.products.iter().any(carries)
    };
    clusters.iter().filter(concerns).cloned().collect()
}
