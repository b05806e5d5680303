//! The lease in the bucket: conditional reads, writes by compare-and-swap, and what a doubtful answer comes to.
//!
//! Nothing is tried again here. A write whose answer did not come may still arrive later; so each answer says exactly
//! what is known, and a write is known again by its nonce.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::lease::{self, LEASE_LIMIT, Lease, LeaseError, Nonce};
use crate::bucket::{Advised, Bucket, BucketError, BucketErrorKind, Condition, Fetched, Tag};
use crate::fleet::Name;

/// So many writes without an answer are remembered. Each takes a request's deadline, so that none of them can
/// still be under way when it is forgotten.
const DOUBTFUL: usize = 64;

/// A lease as it stands in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it says.
    pub lease: Lease,
    /// Its version there.
    pub tag: Tag,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The lease still has the tag that was given.
    Unchanged,
    /// There is none.
    Absent,
    /// The lease.
    Lease(Box<Stored>),
}

/// What came of a write. Only [`Written::Done`] is an ownership, and it counts from when the request was *sent*.
#[derive(Debug)]
pub enum Written {
    /// What was to be written stands in the bucket, under this tag.
    Done(Tag),
    /// An earlier write of ours, whose answer did not come, has arrived meanwhile, and stands there in place of this
    /// one. It counts from when *it* was sent.
    Earlier(Box<Stored>),
    /// Somebody else's stands there, or what stands there could not be read: ours was refused for the condition.
    Lost(Option<Box<Stored>>),
    /// Another write was under way at that moment; what was to be replaced still stands there. Not written.
    Contended,
    /// What was to be replaced is gone: somebody has deleted it. Not written.
    Gone,
    /// Nobody knows: it may have been written, or be written later.
    Doubt(StoreError),
    /// Surely not written: the bucket refused the request as such, or something else than a lease stands there.
    Failed(StoreError),
}

/// A lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request failed.
    #[error(transparent)]
    Bucket(Advised),
    /// Something stands there that is no lease of this product.
    #[error("{url} is not the lease of this product")]
    Wrong {
        /// The object.
        url: String,
        /// Its version, for whoever asks again only when it changes.
        tag: Tag,
        /// Why.
        #[source]
        source: LeaseError,
    },
    /// The bucket gives its objects no version.
    #[error("{url} has no ETag: this bucket cannot keep leases")]
    NoTag {
        /// The object.
        url: String,
    },
    /// Our own lease is none.
    #[error("a lease that no one could read was to be written")]
    Unwritable(#[source] LeaseError),
}

impl From<BucketError> for StoreError {
    fn from(error: BucketError) -> Self {
        Self::Bucket(advised(error))
    }
}

/// What a person can do where a machine may not use an object of its databases. What else can be wrong is wrong for
/// the document too, and told there.
pub(super) const fn advised(error: BucketError) -> Advised {
    let advice = match error.kind {
        BucketErrorKind::Denied => {
            Some("the role of this machine must allow it (packaging/iam), and its clock be right")
        }
        _ => None,
    };
    Advised { error, advice }
}

impl StoreError {
    /// Whether the bucket did not answer: waiting may help, and nobody has to mend anything.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Bucket(error) if error.error.kind == BucketErrorKind::Unavailable)
    }
}

/// The lease of one product.
#[derive(Debug)]
pub struct LeaseStore {
    bucket: Arc<Bucket>,
    product: Name,
    key: String,
    /// The nonces of the last writes of which nobody knows what became of them.
    doubtful: Mutex<VecDeque<Nonce>>,
}

impl LeaseStore {
    /// The lease of `product` in `bucket`, whose timeout is that of each request.
    pub fn new(bucket: Arc<Bucket>, product: &Name) -> Self {
        Self {
            bucket,
            product: product.clone(),
            key: lease::key(product),
            doubtful: Mutex::default(),
        }
    }

    /// The object's URL, for people.
    pub fn url(&self) -> String {
        self.bucket.url(&self.key)
    }

    /// Reads it, unless it still is `known`. One request.
    pub async fn read(&self, known: Option<&Tag>) -> Result<Read, StoreError> {
        match self.bucket.get(&self.key, known, LEASE_LIMIT).await {
            Ok(Fetched::Unchanged) => Ok(Read::Unchanged),
            Ok(Fetched::Object { bytes, tag }) => {
                let stored = self.understand(&bytes, tag)?;
                Ok(Read::Lease(Box::new(stored)))
            }
            Err(error) if error.kind == BucketErrorKind::Missing => Ok(Read::Absent),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this is a write of this process of which it was never heard what became of it.
    pub fn is_doubtful(&self, nonce: &Nonce) -> bool {
        self.doubtful().contains(nonce)
    }

    /// Replaces the one with the tag `over`; `None`: creates it, if there is none. One request, and a read where its
    /// answer leaves a doubt.
    pub async fn write(&self, lease: &Lease, over: Option<&Tag>) -> Written {
        let bytes = match lease.bytes() {
            Ok(bytes) => bytes,
            Err(error) => return Written::Failed(StoreError::Unwritable(error)),
        };
        let condition = over.map_or(Condition::Absent, |tag| Condition::Matches(tag.clone()));
        // In doubt before it is sent: the caller may give up on this future at any moment.
        self.doubt(lease.nonce);
        let answer = self.bucket.put(&self.key, bytes, Some(&condition)).await;
        let (refused, error) = match answer {
            Ok(tag) if !tag.0.is_empty() => {
                self.settle(lease.nonce);
                return Written::Done(tag);
            }
            // Written, under a tag that is not known yet.
            Ok(_) => (false, StoreError::NoTag { url: self.url() }),
            Err(error) => match error.kind {
                // A proxy that sent it twice gets this answer to the second, and it is the one that we see.
                BucketErrorKind::Conflict => (true, error.into()),
                // The answer to If-Match on a missing key.
                BucketErrorKind::Missing if over.is_some() => (true, error.into()),
                BucketErrorKind::Unavailable => (false, error.into()),
                _ => {
                    self.settle(lease.nonce);
                    return Written::Failed(error.into());
                }
            },
        };
        self.look_again(lease, over, refused, error).await
    }

    /// What stands there after a write that did not simply succeed.
    async fn look_again(
        &self,
        lease: &Lease,
        over: Option<&Tag>,
        refused: bool,
        error: StoreError,
    ) -> Written {
        let found = match self.read(None).await {
            Ok(Read::Lease(found)) => found,
            // Refused because nothing stands there, or because something did that is gone.
            Ok(_) if refused && over.is_some() => {
                self.settle(lease.nonce);
                return Written::Gone;
            }
            Ok(_) if refused => {
                self.settle(lease.nonce);
                return Written::Contended;
            }
            Err(wrong @ StoreError::Wrong { .. }) if refused => {
                self.settle(lease.nonce);
                return Written::Failed(wrong);
            }
            Err(_) if refused => return Written::Lost(None),
            Ok(_) | Err(_) => return Written::Doubt(error),
        };
        if found.lease.nonce == lease.nonce {
            self.settle(lease.nonce);
            Written::Done(found.tag)
        } else if self.is_doubtful(&found.lease.nonce) {
            // Ours cannot arrive any more: what it was to replace is gone.
            self.settle(lease.nonce);
            self.settle(found.lease.nonce);
            Written::Earlier(found)
        } else if over == Some(&found.tag) {
            if refused {
                self.settle(lease.nonce);
                Written::Contended
            } else {
                Written::Doubt(error)
            }
        } else {
            self.settle(lease.nonce);
            Written::Lost(Some(found))
        }
    }

    fn understand(&self, bytes: &[u8], tag: Tag) -> Result<Stored, StoreError> {
        if tag.0.is_empty() {
            return Err(StoreError::NoTag { url: self.url() });
        }
        match Lease::read(bytes, &self.product) {
            Ok(lease) => Ok(Stored { lease, tag }),
            Err(source) => Err(StoreError::Wrong {
                url: self.url(),
                tag,
                source,
            }),
        }
    }

    fn doubtful(&self) -> std::sync::MutexGuard<'_, VecDeque<Nonce>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubt(&self, nonce: Nonce) {
        let mut doubtful = self.doubtful();
        if doubtful.len() >= DOUBTFUL {
            doubtful.pop_front();
        }
        doubtful.push_back(nonce);
    }

    fn settle(&self, nonce: Nonce) {
        self.doubtful().retain(|doubtful| *doubtful != nonce);
    }
}
