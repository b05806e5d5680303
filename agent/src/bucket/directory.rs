//! A bucket that is a directory: for demos, image baking and machines without S3.
//!
//! A tag is the SHA-256 of the content, so that it holds across copies and restores. A file whose status
//! (device, inode, size, times) is that of the last read is not read again.

mod uploads;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::error::{BucketErrorKind, Failure};
use super::{Condition, Entry, Fetched, Page, Piece, Tag};
use crate::system::digest::sha256_hex;
use crate::system::object::list::{self, Wanted};
use crate::system::object::{self, ObjectError, Stamp};

/// The lock under which objects of the directory are put, by whichever process.
const LOCK: &str = ".agentd.lock";

/// Of so many files the tags are remembered.
const REMEMBERED: usize = 1000;

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
        let path = self.path(key);
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
        let path = self.path(key);
        let dir = self.dir.clone();
        let condition = condition.cloned();
        self.off_the_loop(move |_| put(&dir, &path, &bytes, condition.as_ref()))
            .await
    }

    pub(super) async fn get_range(
        &self,
        key: &str,
        from: u64,
        length: u64,
        tag: Option<&Tag>,
    ) -> Result<Piece, Failure> {
        let path = self.path(key);
        let dir = self.dir.clone();
        let tag = tag.cloned();
        self.off_the_loop(move |seen| get_range(&dir, &path, (from, length), tag.as_ref(), seen))
            .await
    }

    pub(super) async fn delete(&self, key: &str, tag: Option<&Tag>) -> Result<(), Failure> {
        let path = self.path(key);
        let dir = self.dir.clone();
        let tag = tag.cloned();
        self.off_the_loop(move |seen| {
            seen.remove(&path);
            delete(&dir, &path, tag.as_ref())
        })
        .await
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page, Failure> {
        let dir = self.dir.clone();
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.off_the_loop(move |_| {
            let wanted = Wanted {
                prefix: &prefix,
                after: after.as_deref(),
                most,
                name: |name| !name.starts_with('.'),
            };
            let (found, more) = list::list(&dir, wanted).map_err(|error| explain(&dir, error))?;
            let entries = found.into_iter().map(|found| Entry {
                key: found.key,
                size: found.size,
                modified: found.modified,
                tag: None,
            });
            Ok(Page {
                entries: entries.collect(),
                more,
            })
        })
        .await
    }

    /// The path of an object. Keys that lead out of the directory do not come here.
    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(key)
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
    remember(seen, path, stamp, &tag);
    if known == Some(&tag) {
        return Ok(Fetched::Unchanged);
    }
    Ok(Fetched::Object { bytes, tag })
}

fn get_range(
    dir: &Path,
    path: &Path,
    (from, length): (u64, u64),
    wanted: Option<&Tag>,
    seen: &mut Seen,
) -> Result<Piece, Failure> {
    let explain = |error| explain(dir, error);
    let present = object::stamp(path).map_err(explain)?;
    let (tag, of) = match seen.get(path) {
        Some((stamp, tag)) if *stamp == present => (tag.clone(), present),
        _ => {
            let (digest, stamp) = object::digest_with_stamp(path).map_err(explain)?;
            let tag = Tag(digest);
            remember(seen, path, stamp.clone(), &tag);
            (tag, stamp)
        }
    };
    if wanted.is_some_and(|wanted| *wanted != tag) {
        return Err(conflict());
    }
    let (bytes, stamp) = object::read_range(path, from, length).map_err(explain)?;
    if stamp != of {
        return Err(explain(ObjectError::Changing { path: path.into() }));
    }
    let size = stamp.size();
    if from >= size && from > 0 {
        let why = format!("it has {size} bytes, asked for was {from}");
        return Err(Failure::new(BucketErrorKind::OutOfRange, why));
    }
    Ok(Piece { bytes, tag, size })
}

/// A file that was written just now may be written again without a trace in its status.
fn remember(seen: &mut Seen, path: &Path, stamp: Stamp, tag: &Tag) {
    if !stamp.is_settled() {
        seen.remove(path);
        return;
    }
    if seen.len() >= REMEMBERED {
        seen.clear();
    }
    seen.insert(path.into(), (stamp, tag.clone()));
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
        Some(Condition::Absent) => object::create(path, bytes),
        None | Some(Condition::Matches(_)) => {
            check_tag(dir, path, condition)?;
            object::replace(path, bytes)
        }
    }
    .map_err(explain)?;
    Ok(tag_of(bytes))
}

fn delete(dir: &Path, path: &Path, tag: Option<&Tag>) -> Result<(), Failure> {
    let explain = |error| explain(dir, error);
    let _lock = object::lock(&dir.join(LOCK)).map_err(explain)?;
    let condition = tag.map(|tag| Condition::Matches(tag.clone()));
    match check_tag(dir, path, condition.as_ref()) {
        Err(failure) if failure.kind == BucketErrorKind::Missing => return Ok(()),
        checked => checked?,
    }
    object::remove(dir, path).map_err(explain)?;
    Ok(())
}

/// Whether the object has the tag that it must have. Under the lock only.
fn check_tag(dir: &Path, path: &Path, condition: Option<&Condition>) -> Result<(), Failure> {
    let Some(Condition::Matches(tag)) = condition else {
        return Ok(());
    };
    let present = object::digest(path).map_err(|error| explain(dir, error))?;
    if Tag(present) == *tag {
        Ok(())
    } else {
        Err(conflict())
    }
}

fn conflict() -> Failure {
    Failure {
        kind: BucketErrorKind::Conflict,
        source: None,
    }
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
