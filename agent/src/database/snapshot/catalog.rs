//! The snapshots of a product in the bucket: which there are, what each says, which of them go.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::id::{MANIFEST, PROOF, SnapshotId, key, parse_key, prefix};
use super::manifest::{MANIFEST_LIMIT, Manifest, ManifestError, Proof};
use super::retention::{Candidate, Reason, Tier, kept};
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Fetched, LONGEST_PAGE};
use crate::fleet::Name;
use crate::system::clock;

/// The largest proof, in bytes.
const PROOF_LIMIT: u64 = 64 * 1024;

/// What the bucket's list says of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub id: SnapshotId,
    /// Whether it is one: without a manifest it is being made, or was never ended.
    pub has_manifest: bool,
    /// Whether a drill has restored it.
    pub is_proven: bool,
    /// What its objects take, in bytes.
    pub bytes: u64,
}

/// A snapshot's record cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The bucket did not give it.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// It is no record.
    #[error("{url} is no record of a snapshot")]
    Wrong {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
}

/// All snapshots of a product, the oldest first. A request for each thousand objects.
pub async fn list(bucket: &Bucket, product: &Name) -> Result<Vec<Found>, BucketError> {
    let prefix = prefix(product);
    let mut all: BTreeMap<SnapshotId, Found> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = bucket.list(&prefix, after.as_deref(), LONGEST_PAGE).await?;
        for entry in &page.entries {
            let Some((id, object)) = parse_key(product, &entry.key) else {
                continue;
            };
            let found = all.entry(id.clone()).or_insert(Found {
                id,
                has_manifest: false,
                is_proven: false,
                bytes: 0,
            });
            found.has_manifest |= object == MANIFEST;
            found.is_proven |= object == PROOF;
            found.bytes = found.bytes.saturating_add(entry.size);
        }
        after = page.entries.last().map(|entry| entry.key.clone());
        if !page.more {
            break;
        }
    }
    Ok(all.into_values().collect())
}

/// The snapshots among them, the newest first; those of the future last. Whoever wants the newest one asks this.
pub fn newest_first(all: &[Found], now: Timestamp) -> Vec<&Found> {
    let mut whole: Vec<&Found> = all.iter().filter(|found| found.has_manifest).collect();
    whole.sort_by(|one, other| other.id.recency(now).cmp(&one.id.recency(now)));
    whole
}

/// A snapshot's manifest; `None`: it has none, and is no snapshot.
pub async fn manifest(
    bucket: &Bucket,
    product: &Name,
    id: &SnapshotId,
) -> Result<Option<Manifest>, CatalogError> {
    let key = key(product, id, MANIFEST);
    let Some(bytes) = get(bucket, &key, MANIFEST_LIMIT).await? else {
        return Ok(None);
    };
    let read = Manifest::read(&bytes, product, id);
    read.map(Some).map_err(|source| CatalogError::Wrong {
        url: bucket.url(&key),
        source,
    })
}

/// What a drill found of it; `None`: none has restored it.
pub async fn proof(
    bucket: &Bucket,
    product: &Name,
    id: &SnapshotId,
) -> Result<Option<Proof>, CatalogError> {
    let key = key(product, id, PROOF);
    let Some(bytes) = get(bucket, &key, PROOF_LIMIT).await? else {
        return Ok(None);
    };
    let read = Proof::read(&bytes, id);
    read.map(Some).map_err(|source| CatalogError::Wrong {
        url: bucket.url(&key),
        source,
    })
}

async fn get(bucket: &Bucket, key: &str, limit: u64) -> Result<Option<Vec<u8>>, BucketError> {
    match bucket.get(key, None, limit).await {
        Ok(Fetched::Object { bytes, .. }) => Ok(Some(bytes)),
        Ok(Fetched::Unchanged) => Ok(None),
        Err(error) if error.kind == BucketErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is done with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub found: Found,
    /// Why it is kept; `None`: it may go.
    pub kept: Option<Reason>,
}

/// What the tiers say of each snapshot, the oldest first. Pure but for the clock.
pub fn verdicts(all: &[Found], tiers: &[Tier]) -> Vec<Verdict> {
    let snapshots = || all.iter().filter(|found| found.has_manifest);
    let candidates: Vec<Candidate> = snapshots()
        .map(|found| Candidate {
            id: found.id.clone(),
            proven: found.is_proven,
        })
        .collect();
    let kept = kept(&candidates, tiers, clock::now());
    snapshots()
        .map(|found| Verdict {
            kept: kept.get(&found.id).copied(),
            found: found.clone(),
        })
        .collect()
}

/// Deletes a snapshot: what its own manifest names, and its proof. The manifest goes first: what is half deleted is no snapshot.
pub async fn delete(bucket: &Bucket, product: &Name, id: &SnapshotId) -> Result<(), CatalogError> {
    let Some(manifest) = manifest(bucket, product, id).await? else {
        return Ok(());
    };
    bucket.delete(&key(product, id, MANIFEST), None).await?;
    bucket.delete(&key(product, id, PROOF), None).await?;
    for object in manifest.objects.keys() {
        bucket.delete(&key(product, id, object), None).await?;
    }
    Ok(())
}

/// What came of deleting many.
#[derive(Debug, Default)]
pub struct Deleted {
    /// Those that are gone.
    pub gone: Vec<SnapshotId>,
    /// Those that are not, each with the reason.
    pub left: Vec<(SnapshotId, CatalogError)>,
}

/// Deletes these, one after the other. One that cannot be deleted, because its manifest cannot be read, keeps no other one; a
/// bucket that does not answer, or does not allow it, will not for the next one either. `begins` hears of each before it is tried.
pub async fn delete_all(
    bucket: &Bucket,
    product: &Name,
    ids: &[SnapshotId],
    begins: &(dyn Fn(&SnapshotId) + Sync),
) -> Deleted {
    let mut deleted = Deleted::default();
    for id in ids {
        begins(id);
        match delete(bucket, product, id).await {
            Ok(()) => deleted.gone.push(id.clone()),
            Err(error) => {
                let kind = match &error {
                    CatalogError::Bucket(error) => Some(error.kind),
                    CatalogError::Wrong { .. } => None,
                };
                deleted.left.push((id.clone(), error));
                if matches!(
                    kind,
                    Some(BucketErrorKind::Denied | BucketErrorKind::Unavailable)
                ) {
                    break;
                }
            }
        }
    }
    deleted
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::id::{ACCOUNTS, DUMP};
    use super::super::manifest::tests::example;
    use super::*;
    use crate::settings::{BucketUrl, S3Settings};

    async fn bucket(dir: &std::path::Path) -> Bucket {
        let settings = S3Settings {
            endpoint: None,
            region: None,
            path_style: false,
            timeout: Duration::from_secs(10),
        };
        Bucket::open(&BucketUrl::Directory(dir.into()), &settings).await
    }

    async fn keys(bucket: &Bucket) -> Vec<String> {
        let page = bucket.list("", None, LONGEST_PAGE).await.unwrap();
        page.entries.into_iter().map(|entry| entry.key).collect()
    }

    #[tokio::test]
    async fn what_is_deleted_is_what_its_own_manifest_names() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = bucket(dir.path()).await;
        let manifest = example();
        let (product, id) = (manifest.product.clone(), manifest.id());
        let other: SnapshotId = "20261124T151500Z-e7-db-4".parse().unwrap();
        let text = serde_json::to_vec(&manifest).unwrap();
        for object in [MANIFEST, PROOF, DUMP, ACCOUNTS, "note-of-a-person.txt"] {
            let bytes = if object == MANIFEST {
                text.clone()
            } else {
                b"x".to_vec()
            };
            bucket
                .put(&key(&product, &id, object), bytes, None)
                .await
                .unwrap();
        }
        bucket
            .put(&key(&product, &other, DUMP), b"x".to_vec(), None)
            .await
            .unwrap();
        let found = list(&bucket, &product).await.unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].has_manifest && found[0].is_proven && !found[1].has_manifest);
        // One that is being made is nobody's to judge.
        assert_eq!(verdicts(&found, &[]).len(), 1);

        delete(&bucket, &product, &id).await.unwrap();
        // The accounts are not in this manifest.
        let left = [
            key(&product, &id, ACCOUNTS),
            key(&product, &id, "note-of-a-person.txt"),
            key(&product, &other, DUMP),
        ];
        assert_eq!(keys(&bucket).await, left);
        delete(&bucket, &product, &id).await.unwrap();
        delete(&bucket, &product, &other).await.unwrap();
        assert_eq!(keys(&bucket).await, left);
    }

    #[tokio::test]
    async fn a_manifest_that_cannot_be_read_keeps_no_other_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = bucket(dir.path()).await;
        let good = example();
        let product = good.product.clone();
        let bad: SnapshotId = "20261124T140000Z-e7-db-4".parse().unwrap();
        let text = serde_json::to_vec(&good).unwrap();
        let put = async |id: &SnapshotId, object, bytes| {
            let key = key(&product, id, object);
            bucket.put(&key, bytes, None).await.unwrap();
        };
        put(&bad, MANIFEST, b"{".to_vec()).await;
        put(&good.id(), MANIFEST, text).await;
        put(&good.id(), DUMP, b"x".to_vec()).await;
        let doomed = [bad.clone(), good.id()];
        let deleted = delete_all(&bucket, &product, &doomed, &|_| ()).await;
        assert_eq!(deleted.gone, [good.id()]);
        assert!(
            matches!(deleted.left.as_slice(), [(id, CatalogError::Wrong { .. })] if *id == bad)
        );
        assert_eq!(keys(&bucket).await, [key(&product, &bad, MANIFEST)]);
    }

    #[tokio::test]
    async fn leftovers_are_the_own_server_s_and_have_no_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = bucket(dir.path()).await;
        let manifest = example();
        let product = &manifest.product;
        let text = serde_json::to_vec(&manifest).unwrap();
        let of = |id: &str, object: &str| key(product, &id.parse().unwrap(), object);
        let (mine, theirs) = ("20261124T151500Z-e7-db-4", "20261124T151500Z-e7-db-5");
        let whole = of(&manifest.id().to_string(), MANIFEST);
        bucket.put(&whole, text, None).await.unwrap();
        for id in [mine, theirs] {
            bucket
                .put(&of(id, DUMP), b"x".to_vec(), None)
                .await
                .unwrap();
            let mut upload = bucket.begin_upload(&of(id, ACCOUNTS)).await.unwrap();
            upload
                .put_part(bytes::Bytes::from_static(b"x"))
                .await
                .unwrap();
        }
        super::super::leftovers::clean(&bucket, product, &manifest.server)
            .await
            .unwrap();
        assert_eq!(keys(&bucket).await, [whole, of(theirs, DUMP)]);
        let pending = bucket.pending_uploads("").await.unwrap();
        assert_eq!(pending.len(), 1);
        assert_eq!(pending[0].key, of(theirs, ACCOUNTS));
    }
}
