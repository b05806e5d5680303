use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use bytes::Bytes;

use super::super::{Bucket, BucketError, BucketErrorKind as Kind, SMALLEST_PART};
use super::*;
use crate::settings::{BucketUrl, S3Settings};

const LIMIT: u64 = 1024;
const KEY: &str = "fleet.json";

async fn open(dir: &Path) -> Bucket {
    let settings = S3Settings {
        endpoint: None,
        region: None,
        path_style: false,
        timeout: Duration::from_secs(10),
    };
    Bucket::open(&BucketUrl::Directory(dir.into()), &settings).await
}

async fn here() -> (TempDir, Bucket) {
    let dir = TempDir::new().unwrap();
    let bucket = open(dir.path()).await;
    (dir, bucket)
}

fn by_hand(path: &Path, content: &[u8]) {
    use std::io::Write;
    fs::File::create(path).unwrap().write_all(content).unwrap();
}

fn age(path: &Path) {
    let file = fs::File::options().append(true).open(path).unwrap();
    let past = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
    file.set_modified(past).unwrap();
}

fn kind<T: std::fmt::Debug>(result: Result<T, BucketError>) -> Kind {
    result.unwrap_err().kind
}

async fn content(bucket: &Bucket, known: Option<&Tag>) -> (Vec<u8>, Tag) {
    match bucket.get(KEY, known, LIMIT).await.unwrap() {
        Fetched::Object { bytes, tag } => (bytes, tag),
        Fetched::Unchanged => panic!("unchanged"),
    }
}

#[tokio::test]
async fn a_get_with_the_present_tag_is_unchanged() {
    let (dir, bucket) = here().await;
    by_hand(&dir.path().join(KEY), b"one");
    let (bytes, tag) = content(&bucket, None).await;
    assert_eq!(bytes, b"one");
    let again = bucket.get(KEY, Some(&tag), LIMIT).await.unwrap();
    assert_eq!(again, Fetched::Unchanged);

    by_hand(&dir.path().join(KEY), b"two");
    assert_eq!(content(&bucket, Some(&tag)).await.0, b"two");
}

#[tokio::test]
async fn a_change_of_the_same_size_at_the_same_moment_is_seen() {
    let (dir, bucket) = here().await;
    for round in 0..200 {
        by_hand(&dir.path().join(KEY), format!("{round:03}").as_bytes());
        let (bytes, tag) = content(&bucket, None).await;
        assert_eq!(bytes, format!("{round:03}").as_bytes());
        by_hand(&dir.path().join(KEY), b"xyz");
        assert_eq!(content(&bucket, Some(&tag)).await.0, b"xyz");
    }
}

#[test]
fn a_settled_file_is_not_read_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(KEY);
    by_hand(&path, b"one");
    let mut seen = Seen::new();
    let tag = tag_of(b"one");
    // The entry claims other content than the file has: only a get that does not read can believe it.
    seen.insert(
        path.clone(),
        (object::stamp(&path).unwrap(), Tag("claimed".into())),
    );
    let claimed = Tag("claimed".into());
    let mut get = |known: &Tag| get(dir.path(), &path, Some(known), LIMIT, &mut seen).unwrap();
    assert_eq!(get(&claimed), Fetched::Unchanged);
    // Times alone differ: read, and by content unchanged.
    age(&path);
    assert_eq!(get(&tag), Fetched::Unchanged);
    assert!(matches!(get(&claimed), Fetched::Object { .. }));
}

#[tokio::test]
async fn conditions_hold_as_in_s3() {
    let (dir, bucket) = here().await;
    let absent = Condition::Absent;
    let stale = Condition::Matches(Tag("stale".into()));
    let put = |text: &str, on: &Condition| {
        let (bytes, on, bucket) = (text.as_bytes().to_vec(), on.clone(), &bucket);
        async move { bucket.put(KEY, bytes, Some(&on)).await }
    };

    assert_eq!(kind(put("a", &stale).await), Kind::Missing);
    let first = put("a", &absent).await.unwrap();
    assert_eq!(kind(put("b", &absent).await), Kind::Conflict);
    assert_eq!(kind(put("b", &stale).await), Kind::Conflict);
    let second = put("b", &Condition::Matches(first.clone())).await.unwrap();
    assert_eq!(
        kind(put("c", &Condition::Matches(first)).await),
        Kind::Conflict
    );
    assert_eq!(content(&bucket, None).await, (b"b".to_vec(), second));
    bucket.put("leases/shop.json", vec![], None).await.unwrap();

    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn of_many_writers_with_one_tag_one_wins() {
    let (dir, first) = here().await;
    let mut tag = first.put(KEY, b"start".to_vec(), None).await.unwrap();
    for _ in 0..10 {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            // A bucket each, as processes have: only the lock on disk is between them.
            let bucket = open(dir.path()).await;
            let condition = Condition::Matches(tag.clone());
            let bytes = format!("{writer} after {}", tag.0).into_bytes();
            writers.spawn(async move { bucket.put(KEY, bytes, Some(&condition)).await });
        }
        let results = writers.join_all().await;
        let mut won: Vec<Tag> = results.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        tag = won.remove(0);
    }
}

#[tokio::test]
async fn a_replaced_object_keeps_its_mode_and_is_a_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, bucket) = here().await;
    let path = dir.path().join(KEY);
    by_hand(&path, b"one");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&path).unwrap();
    bucket.put(KEY, b"two".to_vec(), None).await.unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(after.mode() & 0o777, 0o640);
    assert_ne!(after.ino(), before.ino());
}

#[tokio::test]
async fn what_cannot_be_read_has_its_kind_and_cause() {
    let (dir, bucket) = here().await;
    assert_eq!(kind(bucket.get(KEY, None, LIMIT).await), Kind::Missing);

    by_hand(&dir.path().join(KEY), &[b'x'; 1025]);
    assert_eq!(kind(bucket.get(KEY, None, LIMIT).await), Kind::TooLarge);

    fs::create_dir(dir.path().join("dir")).unwrap();
    assert_eq!(
        kind(bucket.get("dir", None, LIMIT).await),
        Kind::Unavailable
    );
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        kind(bucket.get("fifo", None, LIMIT).await),
        Kind::Unavailable
    );
    for key in ["", "../fleet.json", "/etc/passwd", "a/../../b"] {
        assert_eq!(
            kind(bucket.get(key, None, LIMIT).await),
            Kind::InvalidRequest
        );
    }

    let gone = open(&dir.path().join("gone")).await;
    let error = gone.get(KEY, None, LIMIT).await.unwrap_err();
    assert_eq!(error.kind, Kind::MissingBucket);
    let told = error.to_string();
    assert!(
        told.starts_with(&format!(
            "cannot get file://{}/gone/fleet.json: ",
            dir.path().display()
        )),
        "{told}"
    );
    let source = error.source.unwrap();
    let told = format!("{source}: {}", source.source().unwrap());
    assert!(
        told.contains("cannot read") && told.contains("No such file"),
        "{told}"
    );
}

#[tokio::test]
async fn symlinks_are_the_operators_business() {
    let (dir, bucket) = here().await;
    by_hand(&dir.path().join("real"), b"one");
    symlink("real", dir.path().join(KEY)).unwrap();
    assert_eq!(content(&bucket, None).await.0, b"one");
}

#[tokio::test]
async fn a_piece_of_a_settled_file_does_not_cost_reading_all_of_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(KEY);
    by_hand(&path, b"0123456789");
    // As above: only who does not read the file can believe the entry.
    let claimed = Tag("claimed".into());
    let stamp = object::stamp(&path).unwrap();
    let mut seen = Seen::from([(path.clone(), (stamp, claimed.clone()))]);
    let mut get = |tag: &Tag| get_range(dir.path(), &path, (2, 3), Some(tag), &mut seen);
    let piece = get(&claimed).unwrap();
    assert_eq!((piece.bytes.as_slice(), piece.size), (&b"234"[..], 10));
    age(&path);
    assert_eq!(get(&claimed).unwrap_err().kind, Kind::Conflict);
    let tag = tag_of(b"0123456789");
    assert_eq!(get(&tag).unwrap().tag, tag);
}

#[tokio::test]
async fn an_upload_that_was_left_behind_is_found_and_aborted_by_another() {
    let (dir, bucket) = here().await;
    let mut upload = bucket
        .begin_upload("snapshots/shop/one/data")
        .await
        .unwrap();
    let part = Bytes::from(vec![b'x'; SMALLEST_PART]);
    upload.put_part(part).await.unwrap();
    drop(upload);

    let after = open(dir.path()).await;
    assert_eq!(after.list("", None, 10).await.unwrap().entries, []);
    assert_eq!(after.pending_uploads("snapshots/shop2").await.unwrap(), []);
    let left = after.pending_uploads("snapshots/sh").await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].key, "snapshots/shop/one/data");
    let mut forged = left[0].clone();
    forged.id = super::super::UploadId("../../x".into());
    after.abort_upload(&forged).await.unwrap();
    assert_eq!(after.pending_uploads("").await.unwrap(), left);
    after.abort_upload(&left[0]).await.unwrap();
    assert_eq!(after.pending_uploads("").await.unwrap(), []);
    // Its directories are gone with it, but for the first, which an operator may have made.
    assert!(!dir.path().join("snapshots/shop").exists());
    assert!(dir.path().join("snapshots").exists());
}

#[tokio::test]
async fn a_part_that_is_put_again_stands_there_once() {
    let (dir, bucket) = here().await;
    let upload = bucket.begin_upload(KEY).await.unwrap();
    let pending = upload.pending();
    let put = |at: u64, text: &'static str| bucket.upload_part(pending, (0, at), text.into());
    put(0, "one").await.unwrap();
    put(3, "half of tw").await.unwrap();
    put(3, "two").await.unwrap();
    // Something has cut the file in between.
    assert_eq!(kind(put(7, "three").await), Kind::Unavailable);
    assert!(!dir.path().join(KEY).exists());
    let short = bucket.complete_upload(pending, &[], 5, None).await;
    assert_eq!(kind(short), Kind::WrongAnswer);
    bucket.complete_upload(pending, &[], 6, None).await.unwrap();
    assert_eq!(content(&bucket, None).await.0, b"onetwo");
    let gone = bucket.complete_upload(pending, &[], 6, None).await;
    assert_eq!(kind(gone), Kind::Missing);
}

#[tokio::test]
async fn a_deletion_takes_the_directories_that_it_leaves_empty() {
    let (dir, bucket) = here().await;
    for key in [
        "nodes/a.json",
        "snapshots/shop/1/data",
        "snapshots/shop/1/manifest.json",
    ] {
        bucket.put(key, b"x".to_vec(), None).await.unwrap();
    }
    let there = |path: &str| dir.path().join(path).exists();
    bucket.delete("snapshots/shop/1/data", None).await.unwrap();
    assert!(there("snapshots/shop/1/manifest.json"));
    bucket
        .delete("snapshots/shop/1/manifest.json", None)
        .await
        .unwrap();
    assert!(!there("snapshots/shop") && there("snapshots"));
    bucket.delete("nodes/a.json", None).await.unwrap();
    assert!(there("nodes"));
    // A directory is no object.
    bucket.put("nodes/b/c", b"x".to_vec(), None).await.unwrap();
    assert!(bucket.delete("nodes/b", None).await.is_err());
    assert!(there("nodes/b/c"));
}
