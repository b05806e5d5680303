//! What runs that were killed left in the bucket, and what is taken away again.
//!
//! Only what has the own server's name in its key, has no manifest, and is called as snapshots' objects are. A bucket that does
//! not let this machine delete keeps it; that costs money and nothing else.

use super::catalog;
use super::id::{ACCOUNTS, DUMP, PROOF, SnapshotId, key, parse_key, prefix};
use crate::bucket::{Bucket, BucketError, BucketErrorKind};
use crate::fleet::Name;

/// Pages of uploads that are looked through: 1000 each.
const PAGES: usize = 20;

/// Gives up uploads that `server` began and never ended, and removes its copies that never got a manifest. Only while it takes no
/// snapshot of this product.
pub(super) async fn clean(
    bucket: &Bucket,
    product: &Name,
    server: &Name,
) -> Result<(), BucketError> {
    let tolerated = |done: Result<(), BucketError>| match done {
        // A key need not be able to.
        Err(error) if error.kind == BucketErrorKind::Denied => Ok(()),
        done => done,
    };
    tolerated(abort_uploads(bucket, product, server).await)?;
    for found in catalog::list(bucket, product).await? {
        if found.id.server == *server && !found.has_manifest {
            tolerated(remove(bucket, product, &found.id).await)?;
        }
    }
    Ok(())
}

async fn abort_uploads(bucket: &Bucket, product: &Name, server: &Name) -> Result<(), BucketError> {
    for _ in 0..PAGES {
        let pending = bucket.pending_uploads(&prefix(product)).await?;
        let ours: Vec<_> = (pending.iter())
            .filter(|upload| {
                parse_key(product, &upload.key).is_some_and(|(id, _)| id.server == *server)
            })
            .collect();
        if ours.is_empty() {
            return Ok(());
        }
        for upload in ours {
            bucket.abort_upload(upload).await?;
        }
    }
    Ok(())
}

/// Removes the objects of a snapshot that has no manifest.
pub(super) async fn remove(
    bucket: &Bucket,
    product: &Name,
    id: &SnapshotId,
) -> Result<(), BucketError> {
    for object in [PROOF, ACCOUNTS, DUMP] {
        bucket.delete(&key(product, id, object), None).await?;
    }
    Ok(())
}
