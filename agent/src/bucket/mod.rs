//! Objects with conditional get and put: an S3 bucket, or a directory of the same layout.
//!
//! One call is one request with one deadline. Nothing is tried again here: whoever polls knows when the next poll is.

mod backoff;
mod directory;
mod https;
mod s3;

use std::time::Duration;

use jiff::Timestamp;

use crate::settings::{BucketUrl, S3Settings};
use directory::DirectoryBucket;
use s3::S3Bucket;

pub use backoff::{backoff, phase};

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

/// A request to the bucket failed. `Display` says what was asked of which URL; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {url}: {kind}")]
pub struct BucketError {
    /// `get` or `put`.
    pub operation: &'static str,
    /// The object's URL.
    pub url: String,
    /// What kind of failure.
    pub kind: BucketErrorKind,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of failure that callers tell apart, each with what a person should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BucketErrorKind {
    /// 404: no object under the key.
    #[error("there is no such object; publish it, or correct `fleet` in agentd.toml")]
    Missing,
    /// 404: no bucket of that name, or no such directory.
    #[error("there is no such bucket; create it, or correct `fleet` in agentd.toml")]
    MissingBucket,
    /// 403, 401; also a clock so wrong that S3 does not believe the signature.
    #[error("access denied; check the credentials or the instance role's policy, and the clock")]
    Denied,
    /// 412, 409: the condition of a put does not hold, or another put was under way.
    #[error("somebody else changed it first")]
    Conflict,
    /// No credentials were found.
    #[error(
        "no credentials; give the instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    Credentials,
    /// No region is known, the bucket is in another one, or the endpoint is no URL.
    #[error(
        "the region or the endpoint is missing or wrong; correct `region` and `endpoint` under [s3] in agentd.toml"
    )]
    Region,
    /// Larger than the limit.
    #[error("it is larger than the limit `document_limit` in agentd.toml")]
    TooLarge,
    /// Timeout, refusal, reset, truncation, 5xx, throttling: worth another try later.
    #[error("the bucket does not answer as it should")]
    Unavailable,
}

/// Why a request failed, before it is known what people call the object.
#[derive(Debug)]
struct Failure {
    kind: BucketErrorKind,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    fn new(
        kind: BucketErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    fn late(deadline: Duration) -> Self {
        let deadline = humantime::format_duration(deadline);
        Self::new(
            BucketErrorKind::Unavailable,
            format!("no complete answer within {deadline}"),
        )
    }
}

/// A bucket.
#[derive(Debug)]
pub struct Bucket {
    /// The URL that keys are appended to, with a slash at its end.
    base: String,
    deadline: Duration,
    store: Store,
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
            deadline: s3.timeout,
            store,
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
            match &self.store {
                // Boxed: the SDK's futures are tens of kilobytes, in every future that awaits them.
                Store::S3(bucket) => Box::pin(bucket.get(key, known, limit)).await,
                Store::Directory(bucket) => bucket.get(key, known, limit).await,
            }
        };
        self.within_deadline(request)
            .await
            .map_err(|failure| self.error("get", key, failure))
    }

    /// The time by the bucket's own clock, as its answer to a get says, also where that refuses. `known` is the
    /// object's tag, where it has one: then nothing is downloaded. `None` where it does not tell; a directory never does.
    pub async fn date(&self, key: &str, known: Option<&Tag>) -> Option<Timestamp> {
        match &self.store {
            Store::S3(bucket) => {
                let asked = Box::pin(bucket.date(key, known));
                tokio::time::timeout(self.deadline, asked).await.ok()?
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
            match &self.store {
                Store::S3(bucket) => Box::pin(bucket.put(key, bytes, condition)).await,
                Store::Directory(bucket) => bucket.put(key, bytes, condition).await,
            }
        };
        self.within_deadline(request)
            .await
            .map_err(|failure| self.error("put", key, failure))
    }

    async fn within_deadline<T>(
        &self,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::time::timeout(self.deadline, request)
            .await
            .unwrap_or_else(|_| Err(Failure::late(self.deadline)))
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
