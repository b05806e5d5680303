//! Objects with conditional get and put, lists, deletion and uploads in parts: an S3 bucket, or a directory of the
//! same layout.
//!
//! One call is one request with one deadline, that of its kind or one of the caller's: [`Bucket::within`]. Nothing is
//! tried again here: whoever polls knows when the next poll is. What a failure means for the box, and what to do about
//! it, is said by the callers: they know what they wanted.

mod backoff;
mod directory;
mod error;
mod key;
mod reader;
mod s3;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::settings::{BucketUrl, S3Settings};
use directory::DirectoryBucket;
use error::Failure;
use s3::S3Bucket;

pub use backoff::{backoff, phase};
pub use error::{Advised, BucketError, BucketErrorKind};
pub use reader::{PIECE, Piece, Reader};
pub use s3::{ErrorResponse, bounded_http_client};
pub use upload::{
    LARGEST_PART, LARGEST_UPLOAD, MOST_PARTS, PendingUpload, SMALLEST_PART, Upload, UploadId,
    part_size,
};

/// The most objects or uploads of one list: S3's limit.
pub const LONGEST_PAGE: usize = 1000;

/// What a request that carries much is given besides the common timeout: a second for so many bytes.
const SLOWEST: u64 = 256 * 1024;

/// The version of an object, as the bucket names it. Opaque; compared, never read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Tag(pub String);

/// The answer to a conditional get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The object is still the one with the tag that was given.
    Unchanged,
    /// The object.
    Object {
        /// Its bytes, whole: their number is what the bucket announced.
        bytes: Vec<u8>,
        /// Its version.
        tag: Tag,
    },
}

/// On what condition an object is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// There must be none under the key.
    Absent,
    /// The present one must have this tag.
    Matches(Tag),
}

/// One object of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was put.
    pub modified: Option<Timestamp>,
    /// Its version; a directory would have to read it to say, and does not.
    pub tag: Option<Tag>,
}

/// A piece of a list, in the order of the keys' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The objects.
    pub entries: Vec<Entry>,
    /// Whether there are more: after the last one's key.
    pub more: bool,
}

/// A bucket. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// The URL that keys are appended to, with a slash at its end.
    base: String,
    /// Of a request that carries little.
    timeout: Duration,
    /// In place of what a request's kind is given.
    deadline: Option<Duration>,
    store: Arc<Store>,
}

#[derive(Debug)]
enum Store {
    S3(S3Bucket),
    Directory(DirectoryBucket),
}

impl Bucket {
    /// A client for `url`. Asks nothing yet; never fails for want of a network, credentials or a region.
    #[expect(
        clippy::unused_async,
        reason = "callers must not depend on how much of the client is made here"
    )]
    pub async fn open(url: &BucketUrl, s3: &S3Settings) -> Self {
        Self::make(url, s3, None)
    }

    /// Like [`Bucket::open`], but with an access key and its secret in place of the standard chain of credentials:
    /// for tools and tests that work with several buckets at once.
    pub fn open_as(url: &BucketUrl, s3: &S3Settings, access_key: &str, secret_key: &str) -> Self {
        Self::make(url, s3, Some((access_key, secret_key)))
    }

    fn make(url: &BucketUrl, s3: &S3Settings, credentials: Option<(&str, &str)>) -> Self {
        let (base, store) = match url {
            BucketUrl::S3 { bucket, prefix } => {
                let mut base = format!("s3://{bucket}/");
                if !prefix.is_empty() {
                    base.push_str(prefix);
                    base.push('/');
                }
                let bucket = S3Bucket::new(bucket, prefix, s3, credentials);
                (base, Store::S3(bucket))
            }
            BucketUrl::Directory(dir) => (
                format!(
                    "file://{}/",
                    dir.display().to_string().trim_end_matches('/')
                ),
                Store::Directory(DirectoryBucket::new(dir)),
            ),
        };
        Self {
            base,
            timeout: s3.timeout,
            deadline: None,
            store: Arc::new(store),
        }
    }

    /// The same bucket, each of whose calls has this deadline, whatever it does.
    ///
    /// Without one, a call has the timeout of the settings; one that carries up to [`PIECE`] or a part of an upload has a
    /// second more for each 256 KiB, and the completion of an upload three minutes more.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline: Some(deadline),
            ..self.clone()
        }
    }

    /// The URL of `key`, for people.
    pub fn url(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }

    /// Gets an object of at most `limit` bytes, unless its tag is still `known`. One request, no retries, one deadline.
    pub async fn get(
        &self,
        key: &str,
        known: Option<&Tag>,
        limit: u64,
    ) -> Result<Fetched, BucketError> {
        let request = async {
            key::check(key)?;
            match &*self.store {
                // Boxed: the SDK's futures are tens of kilobytes, in every future that awaits them.
                Store::S3(bucket) => Box::pin(bucket.get(key, known, limit)).await,
                Store::Directory(bucket) => bucket.get(key, known, limit).await,
            }
        };
        self.call("get", key, self.timeout, request).await
    }

    /// Gets at most `length` bytes of an object from the byte `from` on, if its tag is `tag`, where one is given. One
    /// request.
    ///
    /// [`BucketErrorKind::OutOfRange`]: it has no byte there. Of an empty object, the bytes from 0 on are none.
    pub async fn get_range(
        &self,
        key: &str,
        from: u64,
        length: u64,
        tag: Option<&Tag>,
    ) -> Result<Piece, BucketError> {
        let request = async {
            key::check(key)?;
            if length == 0 {
                let why = "a range has one byte at least";
                return Err(Failure::new(BucketErrorKind::InvalidRequest, why));
            }
            match &*self.store {
                Store::S3(bucket) => Box::pin(bucket.get_range(key, from, length, tag)).await,
                Store::Directory(bucket) => bucket.get_range(key, from, length, tag).await,
            }
        };
        self.call("get", key, self.time_for(length), request).await
    }

    /// The time by the bucket's own clock, as its answer to a get says, also where that refuses. `known` is the
    /// object's tag, where it has one: then nothing is downloaded. `None` where it does not tell; a directory never does.
    pub async fn date(&self, key: &str, known: Option<&Tag>) -> Option<Timestamp> {
        match &*self.store {
            Store::S3(bucket) => {
                let asked = Box::pin(bucket.date(key, known));
                let deadline = self.deadline.unwrap_or(self.timeout);
                tokio::time::timeout(deadline, asked).await.ok()?
            }
            Store::Directory(_) => None,
        }
    }

    /// Puts an object, on a condition or without one. One request, no retries, one deadline. Returns its tag.
    ///
    /// After [`BucketErrorKind::Unavailable`] nobody knows whether it was put: get it and look.
    pub async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        condition: Option<&Condition>,
    ) -> Result<Tag, BucketError> {
        let request = async {
            key::check(key)?;
            match &*self.store {
                Store::S3(bucket) => Box::pin(bucket.put(key, bytes, condition)).await,
                Store::Directory(bucket) => bucket.put(key, bytes, condition).await,
            }
        };
        self.call("put", key, self.timeout, request).await
    }

    /// Deletes the object of exactly this key, if its tag is `tag`, where one is given. One request. That there is none
    /// is a success.
    ///
    /// Not every S3 server heeds the condition of a deletion: one that does not deletes whatever is there.
    pub async fn delete(&self, key: &str, tag: Option<&Tag>) -> Result<(), BucketError> {
        let request = async {
            key::check(key)?;
            match &*self.store {
                Store::S3(bucket) => Box::pin(bucket.delete(key, tag)).await,
                Store::Directory(bucket) => bucket.delete(key, tag).await,
            }
        };
        self.call("delete", key, self.timeout, request).await
    }

    /// The first `most` objects (of [`LONGEST_PAGE`] at most) whose keys begin with `prefix` and stand after the key
    /// `after`. One request.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page, BucketError> {
        let most = most.clamp(1, LONGEST_PAGE);
        let request = async {
            key::check_prefix(prefix)?;
            let page = match &*self.store {
                Store::S3(bucket) => Box::pin(bucket.list(prefix, after, most)).await,
                Store::Directory(bucket) => bucket.list(prefix, after, most).await,
            }?;
            check_page(&page, prefix, after)?;
            Ok(page)
        };
        self.call("list", prefix, self.timeout, request).await
    }

    /// What a request that carries so many bytes is given.
    const fn time_for(&self, bytes: u64) -> Duration {
        self.timeout
            .saturating_add(Duration::from_secs(bytes / SLOWEST))
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        key: &str,
        time: Duration,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, BucketError> {
        let deadline = self.deadline.unwrap_or(time);
        tokio::time::timeout(deadline, request)
            .await
            .unwrap_or_else(|_| Err(Failure::late(deadline)))
            .map_err(|failure| self.error(operation, key, failure))
    }

    fn error(&self, operation: &'static str, key: &str, failure: Failure) -> BucketError {
        BucketError {
            operation,
            url: self.url(key),
            kind: failure.kind,
            source: failure.source,
        }
    }
}

/// A list that does not go on from where it was asked would be read for ever.
fn check_page(page: &Page, prefix: &str, after: Option<&str>) -> Result<(), Failure> {
    let mut before = after;
    for entry in &page.entries {
        let key = entry.key.as_str();
        if !key.starts_with(prefix) || before.is_some_and(|before| key <= before) {
            let why = format!("the list has {key:?} where it should not be");
            return Err(Failure::new(BucketErrorKind::WrongAnswer, why));
        }
        before = Some(key);
    }
    if page.more && page.entries.is_empty() {
        let why = "the list has more objects, but none to go on from";
        return Err(Failure::new(BucketErrorKind::WrongAnswer, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str], more: bool) -> Page {
        let entry = |key: &&str| Entry {
            key: (*key).into(),
            size: 1,
            modified: None,
            tag: None,
        };
        Page {
            entries: keys.iter().map(entry).collect(),
            more,
        }
    }

    #[test]
    fn a_list_that_would_be_read_for_ever_is_a_wrong_answer() {
        let good = |keys: &[&str], more, after| check_page(&page(keys, more), "n/", after).is_ok();
        assert!(good(&["n/a", "n/b"], true, None));
        assert!(good(&["n/b", "n/c"], false, Some("n/a")));
        assert!(good(&[], false, Some("n/a")));
        // From the beginning again, not in order, twice the same, of others, and more of nothing.
        assert!(!good(&["n/a", "n/b"], true, Some("n/a")));
        assert!(!good(&["n/b", "n/a"], false, None));
        assert!(!good(&["n/a", "n/a"], false, None));
        assert!(!good(&["m/a"], false, None));
        assert!(!good(&[], true, Some("n/a")));
    }

    #[test]
    fn what_carries_much_has_more_time_unless_the_caller_says_otherwise() {
        let settings = S3Settings {
            endpoint: None,
            region: None,
            path_style: false,
            timeout: Duration::from_secs(10),
        };
        let bucket = Bucket::make(&BucketUrl::Directory("/bucket".into()), &settings, None);
        assert_eq!(bucket.time_for(1000), Duration::from_secs(10));
        assert_eq!(bucket.time_for(PIECE), Duration::from_secs(10 + 32));
        assert_eq!(bucket.deadline, None);
        let hurried = bucket.within(Duration::from_secs(1));
        assert_eq!(hurried.deadline, Some(Duration::from_secs(1)));
    }
}
