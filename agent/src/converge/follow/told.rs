//! What a box that only follows leases tells of its products' databases.

use jiff::SignedDuration;

use super::{Follower, HeardOf};
use crate::database::lease::LeaseState;
use crate::fleet::{Database, Fleet, Name};
use crate::node::databases;
use crate::report::{DatabaseServer, DatabaseStatus, FailoverStatus, LeaseStatus, Part, Place};
use crate::system::clock;

/// A bucket that is silent for so long is no passing trouble.
const TOLERATED: SignedDuration = SignedDuration::from_mins(1);

impl Follower {
    /// The databases of the products of `node`, as far as leases tell. `port`: where the document does not say.
    pub fn told(&self, fleet: &Fleet, node: &Name, port: u16) -> Vec<DatabaseStatus> {
        databases::of_server(fleet, node)
            .into_iter()
            .map(|(product, database)| self.told_of(fleet, node, product, database, port))
            .collect()
    }

    fn told_of(
        &self,
        fleet: &Fleet,
        node: &Name,
        product: &Name,
        database: &Database,
        port: u16,
    ) -> DatabaseStatus {
        let kept = self.kept.of(product);
        let heard = self.heard.get(product).cloned().unwrap_or_default();
        let elected = kept.and_then(|kept| kept.elected.as_ref());
        let master = databases::master(database, elected);
        let mut alarms: Vec<String> = Vec::new();
        let mut notes: Vec<String> = Vec::new();
        alarms.extend(unread(product, &heard));
        alarms.extend(heard.refused.as_ref().map(|refused| refused.why.clone()));
        if let Some(elected) = elected
            && !database.chain.contains(&elected.owner)
        {
            alarms.push(format!(
                "the lease's owner {} does not stand in the chain: the first of the chain is taken for the master. \
                 Publish a document whose chain has {}, or switch over first: agentctl db switchover {product}",
                elected.owner, elected.owner
            ));
        }
        if let Some(lease) = &heard.lease
            && lease.state == LeaseState::Promoting
            && heard.refused.is_none()
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
            lease: lease_status(&heard, elected.map(|elected| elected.epoch)),
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
            alarms,
            notes,
        }
    }
}

/// What a lease that cannot be read means. A short silence of the bucket wakes nobody; a right that is missing does not
/// come by itself.
fn unread(product: &Name, heard: &HeardOf) -> Option<String> {
    let trouble = heard.unanswered.as_ref()?;
    let silent = clock::now().duration_since(trouble.since);
    (heard.forbidden || silent > TOLERATED).then(|| {
        let right = if heard.forbidden {
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
fn lease_status(heard: &HeardOf, epoch: Option<u64>) -> Option<LeaseStatus> {
    let lease = heard.lease.as_ref()?;
    let refused = heard.refused.is_some() || epoch.is_none();
    (!refused).then(|| LeaseStatus {
        epoch: lease.epoch,
        owner: lease.owner.clone(),
        state: lease.state.to_string(),
        gtid: lease.gtid.clone(),
        armed: lease.armed,
        since: lease.since,
        renewed: lease.renewed,
        confirmed: heard.confirmed.unwrap_or(lease.renewed),
        trouble: heard.unanswered.clone(),
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
