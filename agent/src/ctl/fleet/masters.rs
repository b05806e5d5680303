//! What publishing a document would do to databases' masters: a lease that would move, a master that would leave its chain.

use crate::bucket::{Bucket, Fetched};
use crate::database::lease::{self, LEASE_LIMIT, Lease};
use crate::fleet::advice::moved_leases;
use crate::fleet::{Clusters, Fleet};

/// The most leases that are read.
const MOST: usize = 50;

/// What a person should know before `new` takes the place of `before`, a sentence or two each. A request for each cluster whose
/// servers change; a lease that cannot be read is told of too.
pub(super) async fn warnings(bucket: &Bucket, before: &Fleet, new: &Fleet) -> Vec<String> {
    let moved = moved_leases(before, new).into_iter();
    let mut found: Vec<String> = moved
        .map(|one| format!("{}: {}", one.pointer, one.message))
        .collect();
    let (old, new) = (Clusters::of(before), Clusters::of(new));
    let shrunk = new.iter().filter(|cluster| {
        let mut was = old.iter().filter(|it| it.lease == cluster.lease);
        was.any(|was| {
            was.chain
                .iter()
                .any(|server| !cluster.chain.contains(server))
        })
    });
    for cluster in shrunk.take(MOST) {
        let key = lease::key(cluster.lease);
        let lease = match bucket.get(&key, None, LEASE_LIMIT).await {
            Ok(Fetched::Object { bytes, .. }) => Lease::read(&bytes, cluster.lease),
            // No lease, or none that this desk may see: the document decides.
            Ok(Fetched::Unchanged) | Err(_) => continue,
        };
        let Ok(lease) = lease else { continue };
        if !cluster.chain.contains(&lease.owner) {
            found.push(format!(
                "{}: {} is the master now, by epoch {} of {}, and this takes it out of its chain: machines would lead to {}, which takes no writes. \
                 First, on {}: agentctl db switchover {}",
                cluster.pointer(),
                lease.owner,
                lease.epoch,
                key,
                cluster.chain.first().map_or("nobody", |first| first.as_str()),
                lease.owner,
                cluster.lease
            ));
        }
    }
    found
}
