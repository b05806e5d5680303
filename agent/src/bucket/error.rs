//! What a failed request to a bucket says: the operation, the object, the kind of failure and its facts.
//!
//! What to do about it depends on what was wanted of the bucket, and is said by whoever wanted it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

type Cause = Box<dyn Error + Send + Sync>;

/// A request to the bucket failed. `Display` says what was asked of which URL; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {url}: {kind}")]
pub struct BucketError {
    /// `get`, `put`, `delete`, `list`, `upload`, `list the uploads of`.
    pub operation: &'static str,
    /// The object's URL; of lists, that of the prefix.
    pub url: String,
    /// What kind of failure.
    pub kind: BucketErrorKind,
    /// Why.
    #[source]
    pub source: Option<Cause>,
}

/// A failed request, and what whoever made it says should be done about it.
///
/// `Display` is the error's own, with the advice after it; the cause is in `source()`.
#[derive(Debug)]
pub struct Advised {
    /// What went wrong.
    pub error: BucketError,
    /// What a person can do, in a few words. `None`: nothing but wait.
    pub advice: Option<&'static str>,
}

impl fmt::Display for Advised {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.error)?;
        match self.advice {
            Some(advice) => write!(out, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl Error for Advised {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// The kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BucketErrorKind {
    /// 404: no object under the key, or no such upload.
    #[error("there is no such object")]
    Missing,
    /// 404: no bucket of that name, or no such directory.
    #[error("there is no such bucket")]
    MissingBucket,
    /// 403, 401; also a clock so wrong that S3 does not believe the signature.
    #[error("access denied")]
    Denied,
    /// 403: it is in an archive (Glacier), from which it must be restored first.
    #[error("it is archived")]
    Archived,
    /// 412, 409: a condition does not hold, or another write was under way.
    #[error("somebody else changed it first")]
    Conflict,
    /// No credentials were found.
    #[error("no credentials")]
    Credentials,
    /// No region is known, the bucket is in another one, or the endpoint is no URL.
    #[error("the region or the endpoint is missing or wrong")]
    Region,
    /// Larger than the limit.
    #[error("it is larger than the limit")]
    TooLarge,
    /// 416: the object has no byte at that place.
    #[error("it ends before that")]
    OutOfRange,
    /// Never sent: a key that no object can have, parts that no upload can have.
    #[error("no bucket can do that")]
    InvalidRequest,
    /// A success that does not fit what was asked: another range, a list that does not go on. Not worth another try.
    #[error("the answer does not fit the question")]
    WrongAnswer,
    /// Timeout, refusal, reset, truncation, 5xx, throttling: worth another try later.
    #[error("the bucket does not answer as it should")]
    Unavailable,
}

/// Why a request failed, before it is known what people call the object.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: BucketErrorKind,
    pub(super) source: Option<Cause>,
}

impl Failure {
    pub(super) fn new(kind: BucketErrorKind, source: impl Into<Cause>) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    /// There was no complete answer in time.
    pub(super) fn late(deadline: Duration) -> Self {
        let deadline = humantime::format_duration(deadline);
        Self::new(
            BucketErrorKind::Unavailable,
            format!("no complete answer within {deadline}"),
        )
    }
}
