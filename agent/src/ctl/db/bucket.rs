//! The bucket that snapshots are in, the box's own or the one that is named; and by which name it keeps those of a product.

use super::super::args::{BucketArgs, Global};
use super::super::console::Console;
use super::super::failure::Failure;
use super::super::fleet::LIMIT;
use super::super::{local_status, place};
use crate::bucket::{Bucket, BucketError, Fetched};
use crate::converge::intake::KEY;
use crate::database::snapshot::id::prefix;
use crate::fleet::{Clusters, Document, Name};
use crate::report::Status;
use crate::settings::{BucketUrl, DeskOverrides, DeskSettings, S3Settings, Trust};
use crate::system::file::Files;

/// Where it is, and who knows which cluster a product is on.
#[derive(Debug)]
pub(super) struct Named {
    url: BucketUrl,
    s3: S3Settings,
    knows: Knows,
}

/// Who knows which cluster a product is on.
#[derive(Debug)]
enum Knows {
    /// Nobody here, or nobody is to be asked: names are taken as they stand in the bucket's keys.
    Nobody,
    /// The agent of this box, by what it last wrote.
    Agent(Box<Status>),
    /// The published document, if these vouch for it.
    Document(Trust),
}

/// Finds it. On a box without flags it is asked as the agent asks it. Not within a runtime: the agent's environment is taken over.
pub(super) fn named(global: &Global, args: &BucketArgs) -> Result<Named, Failure> {
    let is_named = args.fleet.is_some() || args.desk.is_some();
    if !is_named && let Ok(settings) = place::plain_settings(global) {
        place::adopt_environment(global);
        let status = local_status::last_written(&Files::new(place::root(global)?));
        return Ok(Named {
            url: settings.bucket,
            s3: settings.s3,
            knows: match status {
                Ok(Some(status)) if !args.exact => Knows::Agent(Box::new(status)),
                _ => Knows::Nobody,
            },
        });
    }
    let desk = DeskSettings::load(&DeskOverrides {
        file: args.desk.clone(),
        may_be_missing: false,
        home: std::env::home_dir(),
        fleet: args.fleet.clone(),
        key: None,
    })?;
    let Some(url) = desk.bucket else {
        return Err(Failure::new("which bucket? none is named").hint(format!(
            "give --fleet s3://bucket/prefix, or write fleet = \"s3://bucket/prefix\" into {}",
            desk.file.display()
        )));
    };
    let trust = desk.trust.filter(|_| !args.exact);
    Ok(Named {
        url,
        s3: desk.s3,
        knows: trust.map_or(Knows::Nobody, Knows::Document),
    })
}

impl Named {
    /// Opens it.
    pub(super) async fn open(&self) -> Bucket {
        Bucket::open(&self.url, &self.s3).await
    }

    /// The name by which the bucket keeps the snapshots that are meant by `name`, a cluster's or a product's: that of the cluster's lease.
    /// `name` itself where nobody here knows more, or where there are snapshots of that name alone (a lease that was moved since).
    pub(super) async fn kept_as(
        &self,
        bucket: &Bucket,
        name: &Name,
        console: Console,
    ) -> Result<Name, Failure> {
        let (kept_as, note) = self.resolve(bucket, name).await?;
        if let Some(note) = note {
            console.note(&note);
        }
        Ok(kept_as)
    }

    /// The same, and what a person should know of it.
    async fn resolve(
        &self,
        bucket: &Bucket,
        name: &Name,
    ) -> Result<(Name, Option<String>), BucketError> {
        let lease = self.lease(bucket, name).await;
        let Some(lease) = lease.filter(|lease| lease != name) else {
            return Ok((name.clone(), None));
        };
        let has_own = has_any(bucket, name).await?;
        if has_own && !has_any(bucket, &lease).await? {
            return Ok((name.clone(), None));
        }
        let others = if has_own {
            format!("; there are others of the name {name}, from before, which --exact means")
        } else {
            String::new()
        };
        let note = format!(
            "{name} is on the database servers of {lease}: this is about the snapshots of all products there{others}"
        );
        Ok((lease, Some(note)))
    }

    async fn lease(&self, bucket: &Bucket, name: &Name) -> Option<Name> {
        match &self.knows {
            Knows::Nobody => None,
            Knows::Agent(status) => (status.databases.iter())
                .find(|database| database.is_called(name))
                .map(|database| database.product.clone()),
            Knows::Document(trust) => {
                // A key that reads snapshots need not be able to read documents.
                let Ok(Fetched::Object { bytes, .. }) = bucket.get(KEY, None, LIMIT).await else {
                    return None;
                };
                let document = Document::read_accepted_trusted(&bytes, trust).ok()?;
                let clusters = Clusters::of(&document.fleet);
                clusters.called(name).map(|cluster| cluster.lease.clone())
            }
        }
    }
}

async fn has_any(bucket: &Bucket, name: &Name) -> Result<bool, BucketError> {
    let page = bucket.list(&prefix(name), None, 1).await?;
    Ok(!page.entries.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DOCUMENT: &str = r#"{"signed": {"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
        "servers": {"db-1": {"address": "10.0.0.1"}, "db-2": {"address": "10.0.0.2"}},
        "clusters": {"main": {"chain": ["db-1", "db-2"], "lease": "old"}},
        "products": {"shop": {"database": {"cluster": "main"}}, "blog": {"database": {"cluster": "main"}}}}, "signatures": []}"#;

    #[tokio::test]
    async fn a_product_means_the_snapshots_of_its_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let named = |knows| Named {
            url: BucketUrl::Directory(dir.path().into()),
            s3: S3Settings {
                endpoint: None,
                region: None,
                path_style: false,
                timeout: Duration::from_secs(5),
            },
            knows,
        };
        let nobody = named(Knows::Nobody);
        let document = named(Knows::Document(Trust::Nobody));
        let bucket = document.open().await;
        let meant = async |named: &Named, name: &str| {
            let name = name.parse().unwrap();
            let (name, note) = named.resolve(&bucket, &name).await.unwrap();
            (name.to_string(), note.unwrap_or_default())
        };
        // Nothing is published.
        assert_eq!(meant(&document, "shop").await.0, "shop");
        bucket.put(KEY, DOCUMENT.into(), None).await.unwrap();
        for name in ["shop", "blog", "main"] {
            let (lease, note) = meant(&document, name).await;
            assert_eq!(lease, "old");
            assert!(
                note.contains("servers of old") && !note.contains("--exact"),
                "{note}"
            );
        }
        assert_eq!(meant(&nobody, "shop").await.0, "shop");
        for (name, note) in [("old", ""), ("gone", "")] {
            assert_eq!(
                meant(&document, name).await,
                (name.to_owned(), note.to_owned())
            );
        }
        // The product's own from before: as long as the cluster has none they are meant.
        let put = async |name: &str| {
            let key = format!("snapshots/{name}/20261124T150000Z-e7-db-4/manifest.json");
            bucket.put(&key, b"{}".to_vec(), None).await.unwrap();
        };
        put("shop").await;
        assert_eq!(meant(&document, "shop").await.0, "shop");
        put("old").await;
        let (lease, note) = meant(&document, "shop").await;
        assert!(lease == "old" && note.contains("--exact"), "{lease} {note}");
    }
}
