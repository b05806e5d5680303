//! The status of its products' databases on a box that only follows leases.

use jiff::SignedDuration;

use super::{Follower, LeaseReadings};
use crate::database::lease::LeaseState;
use crate::fleet::{Database, Fleet, Name};
use crate::node::databases;
use crate::report::{DatabaseServer, DatabaseStatus, FailoverStatus, LeaseStatus, Part, Place};
use crate::system::clock;

/// A bucket that is silent for so long is no passing trouble.
const TOLERATED: SignedDuration = SignedDuration::from_mins(1);

impl Follower {
    /// The databases of the products of `node`, as far as leases tell. `port`: where the document does not say.
    pub fn database_status(&self, fleet: &Fleet, node: &Name, port: u16) -> Vec<DatabaseStatus> {
        databases::of_server(fleet, node)
            .into_iter()
            .map(|(product, database)| self.product_status(fleet, node, product, database, port))
            .collect()
    }

    fn product_status(
        &self,
        fleet: &Fleet,
        node: &Name,
        product: &Name,
        database: &Database,
        port: u16,
    ) -> DatabaseStatus {
        let kept = self.persisted.of(product);
        let readings = self.readings.get(product).cloned().unwrap_or_default();
        let elected = kept.and_then(|kept| kept.elected.as_ref());
        let master = databases::master(database, elected);
        let mut alarms: Vec<String> = Vec::new();
        let mut notes: Vec<String> = Vec::new();
        alarms.extend(unread(product, &readings));
        alarms.extend(readings.refused.as_ref().map(|refused| refused.why.clone()));
        if let Some(elected) = elected
            && !database.chain.contains(&elected.owner)
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
        let named = databases::names(database, node);
        DatabaseStatus {
            product: product.clone(),
            part: if named {
                Part::Unmanaged
            } else {
                Part::Follower
            },
            master: master.map(|master| master.server.clone()),
            lease: lease_status(&readings, elected.map(|elected| elected.epoch)),
            servers: servers(fleet, database, master.map(|master| master.server), port),
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
    database: &Database,
    master: Option<&Name>,
    port: u16,
) -> Vec<DatabaseServer> {
    let port = databases::port(database, port);
    let chain = database.chain.iter().map(|name| {
        let place = if Some(name) == master {
            Place::Master
        } else {
            Place::Replica
        };
        (name, place)
    });
    let snapshots = (database.snapshots.iter()).map(|one| (&one.server, Place::Snapshots));
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
