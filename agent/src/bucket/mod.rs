//! Objects with conditional get and put: an S3 bucket, or a directory of the same layout.

use std::time::Duration;

use crate::settings::{BucketUrl, S3Settings};

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
    /// 404.
    #[error("there is no such object; publish it, or correct `fleet` in agentd.toml")]
    Missing,
    /// 403, 401.
    #[error("access denied; check the credentials or the instance role's policy, and the clock")]
    Denied,
    /// 412: the condition of a put does not hold.
    #[error("somebody else changed it first")]
    Conflict,
    /// No credentials were found.
    #[error(
        "no credentials; give the instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    Credentials,
    /// Larger than the limit.
    #[error("it is larger than the limit `document_limit` in agentd.toml")]
    TooLarge,
    /// Timeout, refusal, reset, 5xx, throttling: worth another try later.
    #[error("the bucket does not answer as it should")]
    Unavailable,
}

/// A bucket.
#[derive(Debug)]
pub struct Bucket {
    _private: (),
}

impl Bucket {
    /// A client for `url`. Asks nothing yet; never fails for want of a network.
    #[expect(
        clippy::unused_async,
        reason = "the SDK's configuration is read asynchronously"
    )]
    pub async fn open(_url: &BucketUrl, _s3: &S3Settings) -> Self {
        Self { _private: () }
    }

    /// The URL of `key`, for people.
    pub fn url(&self, key: &str) -> String {
        key.into()
    }

    /// Gets an object of at most `limit` bytes, unless its tag is still `known`. One request, no retries, one deadline.
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub async fn get(
        &self,
        key: &str,
        _known: Option<&Tag>,
        _limit: u64,
    ) -> Result<Fetched, BucketError> {
        Err(self.not_built("get", key))
    }

    /// Puts an object, on a condition or without one. One request, no retries, one deadline. Returns its tag.
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub async fn put(
        &self,
        key: &str,
        _bytes: Vec<u8>,
        _condition: Option<&Condition>,
    ) -> Result<Tag, BucketError> {
        Err(self.not_built("put", key))
    }

    fn not_built(&self, operation: &'static str, key: &str) -> BucketError {
        BucketError {
            operation,
            url: self.url(key),
            kind: BucketErrorKind::Unavailable,
            source: None,
        }
    }
}

/// How long to wait after `failures` failures in a row: exponential from `poll`, jittered, at most five minutes.
pub fn backoff(poll: Duration, _failures: u32) -> Duration {
    poll
}
