//! A bucket that is a directory: for demos, image baking and machines without S3.
//!
//! A tag is the SHA-256 of the content, so that it holds across copies and restores. A file whose status
//! (device, inode, size, times) is that of the last read is not read again.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{BucketErrorKind, Condition, Failure, Fetched, Tag};
use crate::system::digest::sha256_hex;
use crate::system::object::{self, ObjectError, Stamp};

/// The lock under which objects of the directory are put, by whichever process.
const LOCK: &str = ".agentd.lock";

/// The tags of files that were read, with the files' status at that time.
type Seen = HashMap<PathBuf, (Stamp, Tag)>;

/// A directory as a bucket.
#[derive(Debug)]
pub(super) struct DirectoryBucket {
    dir: PathBuf,
    /// Held by the thread that works on the directory, so that a file system that hangs costs one thread, not one a poll.
    seen: Arc<Mutex<Seen>>,
}

impl DirectoryBucket {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            seen: Arc::default(),
        }
    }

    pub(super) async fn get(
        &self,
        key: &str,
        known: Option<&Tag>,
        limit: u64,
    ) -> Result<Fetched, Failure> {
        let path = self.path(key)?;
        let dir = self.dir.clone();
        let known = known.cloned();
        self.off_the_loop(move |seen| get(&dir, &path, known.as_ref(), limit, seen))
            .await
    }

    pub(super) async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        condition: Option<&Condition>,
    ) -> Result<Tag, Failure> {
        let path = self.path(key)?;
        let dir = self.dir.clone();
        let condition = condition.cloned();
        self.off_the_loop(move |_| put(&dir, &path, &bytes, condition.as_ref()))
            .await
    }

    fn path(&self, key: &str) -> Result<PathBuf, Failure> {
        let plain = !key.is_empty()
            && Path::new(key)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
        if plain {
            Ok(self.dir.join(key))
        } else {
            Err(Failure::new(
                BucketErrorKind::Missing,
                "the key leads out of the directory",
            ))
        }
    }

    /// A file system can hang (NFS): it must not hang the loop, only time out.
    async fn off_the_loop<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Seen) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut seen: OwnedMutexGuard<Seen> = Arc::clone(&self.seen).lock_owned().await;
        tokio::task::spawn_blocking(move || work(&mut seen))
            .await
            .unwrap_or_else(|error| Err(Failure::new(BucketErrorKind::Unavailable, error)))
    }
}

fn get(
    dir: &Path,
    path: &Path,
    known: Option<&Tag>,
    limit: u64,
    seen: &mut Seen,
) -> Result<Fetched, Failure> {
    let explain = |error| explain(dir, error);
    if let (Some(known), Some((stamp, tag))) = (known, seen.get(path))
        && known == tag
        && object::stamp(path).map_err(explain)? == *stamp
    {
        return Ok(Fetched::Unchanged);
    }
    let (bytes, stamp) = object::read(path, limit).map_err(explain)?;
    let tag = tag_of(&bytes);
    if stamp.is_settled() {
        seen.insert(path.into(), (stamp, tag.clone()));
    } else {
        seen.remove(path);
    }
    if known == Some(&tag) {
        return Ok(Fetched::Unchanged);
    }
    Ok(Fetched::Object { bytes, tag })
}

fn put(
    dir: &Path,
    path: &Path,
    bytes: &[u8],
    condition: Option<&Condition>,
) -> Result<Tag, Failure> {
    let explain = |error| explain(dir, error);
    let _lock = object::lock(&dir.join(LOCK)).map_err(explain)?;
    match condition {
        None => object::replace(path, bytes),
        Some(Condition::Absent) => object::create(path, bytes),
        Some(Condition::Matches(tag)) => {
            let present = object::digest(path).map_err(explain)?;
            if Tag(present) != *tag {
                return Err(Failure {
                    kind: BucketErrorKind::Conflict,
                    source: None,
                });
            }
            object::replace(path, bytes)
        }
    }
    .map_err(explain)?;
    Ok(tag_of(bytes))
}

fn tag_of(bytes: &[u8]) -> Tag {
    Tag(sha256_hex(bytes))
}

fn explain(dir: &Path, error: ObjectError) -> Failure {
    let kind = match &error {
        ObjectError::TooLarge { .. } => BucketErrorKind::TooLarge,
        ObjectError::Changing { .. } | ObjectError::NoFile { .. } | ObjectError::Locked { .. } => {
            BucketErrorKind::Unavailable
        }
        ObjectError::Io { source, .. } => match source.kind() {
            std::io::ErrorKind::NotFound if dir.is_dir() => BucketErrorKind::Missing,
            std::io::ErrorKind::NotFound => BucketErrorKind::MissingBucket,
            std::io::ErrorKind::AlreadyExists => BucketErrorKind::Conflict,
            std::io::ErrorKind::PermissionDenied => BucketErrorKind::Denied,
            _ => BucketErrorKind::Unavailable,
        },
    };
    Failure::new(kind, error)
}

#[cfg(test)]
mod tests;
