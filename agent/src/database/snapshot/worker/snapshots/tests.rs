//! What is let go.

use tokio::sync::watch;

use super::super::super::id::{DUMP, MANIFEST, key};
use super::super::super::manifest::tests::example;
use super::super::super::prove::Ground;
use super::super::super::retention::usual;
use super::super::super::take::Source;
use super::*;
use crate::bucket::LONGEST_PAGE;
use crate::database::server::credentials::{Account, Secret};
use crate::database::server::{Place, Target};
use crate::settings::{BucketUrl, S3Settings};

fn plan(dir: &std::path::Path) -> Plan {
    let me: Name = "db-4".parse().unwrap();
    Plan {
        product: "shop".parse().unwrap(),
        every: Duration::from_mins(15),
        prove: Duration::from_hours(1),
        tiers: usual(),
        archive: false,
        source: Source {
            product: "shop".parse().unwrap(),
            server: me.clone(),
            place: Place {
                target: Target::Socket("/nowhere".into()),
                account: Account {
                    user: "root".to_owned(),
                    password: Secret::default(),
                },
                tls: None,
            },
            own_accounts: Vec::new(),
            max_lag: Duration::from_mins(1),
            upload_limit: None,
        },
        ground: Ground {
            dir: "/nowhere".into(),
            account: None,
            memory: 1,
            archive: false,
            patience: Duration::from_secs(1),
            me,
        },
        bucket: BucketUrl::Directory(dir.into()),
        s3: S3Settings {
            endpoint: None,
            region: None,
            path_style: false,
            timeout: Duration::from_secs(10),
        },
    }
}

/// Three of one quarter of an hour years ago, of which one cannot be read, and a new one.
#[tokio::test]
async fn what_no_tier_wants_is_deleted_and_one_that_cannot_be_read_keeps_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path());
    let (_plans, seen) = watch::channel(plan.clone());
    let (status_in, status) = watch::channel(None);
    let shared = Arc::new(Shared::new(seen, status_in));
    let bucket = shared.bucket().await;
    let mut ids = Vec::new();
    for (minute, text) in [(1, None), (2, Some("{")), (3, None), (59, None)] {
        let mut manifest = example();
        let time = if minute == 59 {
            clock::now().as_second()
        } else {
            1_600_000_000 + minute * 60
        };
        manifest.time = jiff::Timestamp::from_second(time).unwrap();
        let id = manifest.id();
        let bytes = text.map_or_else(
            || serde_json::to_vec(&manifest).unwrap(),
            |text| text.as_bytes().to_vec(),
        );
        for (object, bytes) in [(DUMP, b"x".to_vec()), (MANIFEST, bytes)] {
            let key = key(&plan.product, &id, object);
            bucket.put(&key, bytes, None).await.unwrap();
        }
        ids.push(id);
    }
    let found = catalog::list(&bucket, &plan.product).await.unwrap();
    shared.known().found = Some(found);
    prune(&shared, &plan, &bucket).await;
    let left = bucket.list("", None, LONGEST_PAGE).await.unwrap();
    let left: Vec<String> = left.entries.into_iter().map(|entry| entry.key).collect();
    let both = |id| [DUMP, MANIFEST].map(|object| key(&plan.product, id, object));
    assert_eq!(left, [both(&ids[1]), both(&ids[3])].concat());
    let known: Vec<SnapshotId> = (shared.known().found.iter().flatten())
        .map(|found| found.id.clone())
        .collect();
    assert_eq!(known, [ids[1].clone(), ids[3].clone()]);
    let told = status.borrow().clone().unwrap().not_deleted.unwrap();
    assert!(told.contains(&ids[1].to_string()), "{told}");
}
