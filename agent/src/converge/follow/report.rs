//! The status of its products' databases on a box that only follows leases.

use jiff::SignedDuration;

use super::{Follower, LeaseReadings};
use crate::database::lease::LeaseState;
use crate::fleet::{DatabaseCluster, Fleet, Name};
use crate::node::databases;
use crate::report::{DatabaseServer, DatabaseStatus, FailoverStatus, LeaseStatus, Part, Place};
use crate::system::clock;

/// A bucket that is silent for so long is no passing trouble.
const TOLERATED: SignedDuration = SignedDuration::from_mins(1);

impl Follower {
    /// The databases that `node` has to do with, one a cluster, as far as leases tell. `port`: where the document does not say.
    pub fn database_status(&self, fleet: &Fleet, node: &Name, port: u16) -> Vec<DatabaseStatus> {
        databases::of_server(fleet, node)
            .into_iter()
            .map(|cluster| self.cluster_status(fleet, node, &cluster, port))
            .collect()
    }

    fn cluster_status(
        &self,
        fleet: &Fleet,
        node: &Name,
        cluster: &DatabaseCluster<'_>,
        port: u16,
    ) -> DatabaseStatus {
        let elections = self.elections();
        let product = databases::lease(cluster, &elections);
        let kept = self.persisted.of(product);
        let readings = self.readings.get(product).cloned().unwrap_or_default();
        let elected = kept.and_then(|kept| kept.elected.as_ref());
        let master = databases::master(cluster, elected);
        let mut alarms: Vec<String> = Vec::new();
        let mut notes: Vec<String> = Vec::new();
        alarms.extend(unread(product, &readings));
        alarms.extend(readings.refused.as_ref().map(|refused| refused.why.clone()));
        if let Some(elected) = elected
            && !cluster.chain.contains(&elected.owner)
        {
            alarms.push(format!(
                "the lease's owner {} does not stand in the chain: the first of the chain is taken for the master. \
                 Publish a document whose chain has {}, or switch over first: agentctl db switchover {product}",
                elected.owner, elected.owner
            ));
        }
        if let Some(lease) = &readings.lease
            && lease.state == LeaseState::Promoting
            && readings.refused.is_none()
        {
            notes.push(format!(
                "{} has taken over and takes no writes yet; until it does, nothing is changed here",
                lease.owner
            ));
        }
        alarms.extend(databases::misnamed(cluster, product));
        DatabaseStatus {
            product: product.clone(),
            products: cluster.products.iter().copied().cloned().collect(),
            part: if cluster.has(node) {
                Part::Unmanaged
            } else {
                Part::Follower
            },
            master: master.map(|master| master.server.clone()),
            lease: lease_status(&readings, elected.map(|elected| elected.epoch)),
            servers: servers(fleet, cluster, master.map(|master| master.server), port),
            failover: FailoverStatus {
                automatic: None,
                obstacles: Vec::new(),
                successor: None,
                bucket: None,
            },
            hold: None,
            last_change: None,
            doing: None,
            urgent: Vec::new(),
            snapshots: None,
            alarms,
            notes,
        }
    }
}

/// What a lease that cannot be read means. A short silence of the bucket wakes nobody; a right that is missing does not
/// come by itself.
fn unread(product: &Name, readings: &LeaseReadings) -> Option<String> {
    let trouble = readings.unanswered.as_ref()?;
    let silent = clock::now().duration_since(trouble.since);
    (readings.forbidden || silent > TOLERATED).then(|| {
        let right = if readings.forbidden {
            format!(
                " This machine needs the right to get leases/{product}.json: packaging/iam has the policies."
            )
        } else {
            String::new()
        };
        format!(
            "the lease cannot be read since {}, so a change of master would not be followed here: {}.{right}",
            trouble.since, trouble.why
        )
    })
}

/// The lease, if the last one that was read is one to go by.
fn lease_status(readings: &LeaseReadings, epoch: Option<u64>) -> Option<LeaseStatus> {
    let lease = readings.lease.as_ref()?;
    let refused = readings.refused.is_some() || epoch.is_none();
    (!refused).then(|| LeaseStatus {
        epoch: lease.epoch,
        owner: lease.owner.clone(),
        state: lease.state.to_string(),
        gtid: lease.gtid.clone(),
        armed: lease.armed,
        since: lease.since,
        renewed: lease.renewed,
        confirmed: readings.confirmed.unwrap_or(lease.renewed),
        trouble: readings.unanswered.clone(),
    })
}

/// The chain in its order, the snapshot server last.
fn servers(
    fleet: &Fleet,
    cluster: &DatabaseCluster<'_>,
    master: Option<&Name>,
    port: u16,
) -> Vec<DatabaseServer> {
    let port = databases::port(cluster, port);
    let chain = cluster.chain.iter().map(|name| {
        let place = if Some(name) == master {
            Place::Master
        } else {
            Place::Replica
        };
        (name, place)
    });
    let snapshots = (cluster.snapshots.iter()).map(|one| (&one.server, Place::Snapshots));
    chain
        .chain(snapshots)
        .map(|(name, place)| DatabaseServer {
            name: name.clone(),
            address: fleet.servers.get(name).map_or_else(String::new, |server| {
                std::net::SocketAddr::new(server.address, port).to_string()
            }),
            place,
            seen: None,
            obstacles: None,
            quarantined: None,
        })
        .collect()
}
