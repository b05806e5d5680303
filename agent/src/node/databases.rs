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
/// cluster's servers had under another, that one. So a document that would have the lease move to another name (a product was added
/// whose name stands before, a chain was put under `clusters`, a product was renamed) moves nothing: two leases for one chain would
/// be two masters.
pub fn lease<'a>(cluster: &DatabaseCluster<'a>, elections: &'a Elections) -> &'a Name {
    // One whose owner is not of the chain is another chain's: a product that came from there brought its name.
    let theirs = |name: &Name| {
        let elected = elections.get(name)?;
        (cluster.chain.contains(&elected.owner)).then_some(elected.epoch)
    };
    if theirs(cluster.lease).is_some() {
        return cluster.lease;
    }
    let kept = cluster.products.iter().find(|name| theirs(name).is_some());
    if let Some(kept) = kept {
        return kept;
    }
    // Of a name that the document does not have any more. A server is in one chain only, so that its lease is this one's.
    let gone = elections
        .keys()
        .filter(|name| !cluster.spoken_for.contains(name))
        .filter_map(|name| Some((theirs(name)?, name)));
    gone.max().map_or(cluster.lease, |(_, name)| name)
}

/// What is wrong where a machine goes by `lease` and the document calls the cluster's lease otherwise.
pub fn misnamed(cluster: &DatabaseCluster<'_>, lease: &Name) -> Option<String> {
    (cluster.lease != lease).then(|| {
        format!(
            "the document says that the lease of {} is `{}`, and these servers have one already, `{lease}`: it is gone by, for a lease does not \
             move to another name. Write \"lease\": \"{lease}\" at {} in the document",
            cluster.name,
            cluster.lease,
            cluster.pointer()
        )
    })
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
