//! The record of a change of master: `events/<product>/<epoch>.json`, written once, by whoever took over, never changed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lease::Nonce;
use crate::bucket::{Advised, Bucket, BucketError, BucketErrorKind, Condition, Fetched};
use crate::fleet::Name;
use crate::fleet::strict;

/// The only format there is.
pub const FORMAT: u32 = 1;
/// The most bytes of an event.
pub const EVENT_LIMIT: u64 = 256 * 1024;

/// The key of the event with which an epoch of a product began.
pub fn key(product: &Name, epoch: u64) -> String {
    format!("events/{product}/{epoch}.json")
}

/// Why the master changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The first lease of the product was made for the master that there was.
    First,
    /// The last owner's renewals had stopped for its time to live.
    Expired,
    /// The last owner had shown that its server is down, and released the lease.
    Released,
    /// A person asked for it.
    Switchover,
    /// The lease was deleted, and its owner, who went on all the time, made it anew.
    Anew,
}

impl Cause {
    /// The word for it, as the object has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Switchover => "switchover",
            Self::Anew => "anew",
        }
    }
}

/// What is known of the loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// The last position of the last master that anybody knows of.
    pub had: String,
    /// The position from which the new master went on.
    pub promoted: String,
    /// How many transactions of `had` the new master never received: at least so many are lost. What the last
    /// master committed after it last wrote its position is not in this number.
    pub at_least: u64,
    /// Whether nothing can be lost: a switchover, or semi-synchronous replication that was in force to the end.
    pub none: bool,
}

/// One moment of the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What was done: `lease taken`, `relay log applied`, `writable`.
    pub what: String,
    /// When, in milliseconds after the change began: after the last sign of life of the last master, or the order.
    pub at_ms: u64,
}

/// A change of master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The format: 1.
    pub format: u32,
    /// The product.
    pub product: Name,
    /// The epoch that began with it.
    pub epoch: u64,
    /// The nonce of the lease's write with which the epoch began: what makes a second try of the same writer known.
    pub nonce: Nonce,
    /// The new master.
    pub owner: Name,
    /// The last master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Name>,
    /// When it was writable, by the new master's wall clock.
    pub at: Timestamp,
    /// Why.
    #[serde(deserialize_with = "strict::word")]
    pub cause: Cause,
    /// What the new master saw before it took over, a sentence each.
    pub seen: Vec<String>,
    /// What it did, in order.
    #[serde(deserialize_with = "strict::list")]
    pub steps: Vec<Step>,
    /// What can have been lost.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub loss: Option<Loss>,
}

/// An event could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The request failed.
    #[error(transparent)]
    Bucket(Advised),
    /// Another event stands under the key, though an epoch begins once.
    #[error("{url} is there already, and it is not ours: it is of {owner}")]
    Taken {
        /// The object.
        url: String,
        /// The server that it names.
        owner: Name,
    },
    /// What stands there is no event.
    #[error("{url} is not understood")]
    Syntax {
        /// The object.
        url: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl From<BucketError> for EventError {
    fn from(error: BucketError) -> Self {
        Self::Bucket(super::store::advised(error))
    }
}

impl Event {
    /// Writes it, unless it stands there already. Whoever is in doubt whether that came to pass calls it again.
    pub async fn record(&self, bucket: &Bucket) -> Result<(), EventError> {
        let key = key(&self.product, self.epoch);
        let syntax = |source| EventError::Syntax {
            url: bucket.url(&key),
            source,
        };
        let mut bytes = serde_json::to_vec_pretty(self).map_err(syntax)?;
        bytes.push(b'\n');
        match bucket.put(&key, bytes, Some(&Condition::Absent)).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == BucketErrorKind::Conflict => {
                match Self::read(bucket, &self.product, self.epoch).await? {
                    // Two at once, of which neither was written.
                    None => Err(error.into()),
                    Some(there) if there.nonce == self.nonce => Ok(()),
                    Some(there) => Err(EventError::Taken {
                        url: bucket.url(&key),
                        owner: there.owner,
                    }),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The event with which an epoch began; `None`: nobody has written one.
    pub async fn read(
        bucket: &Bucket,
        product: &Name,
        epoch: u64,
    ) -> Result<Option<Self>, EventError> {
        let key = key(product, epoch);
        match bucket.get(&key, None, EVENT_LIMIT).await {
            Ok(Fetched::Object { bytes, .. }) => {
                serde_json::from_slice(&bytes)
                    .map(Some)
                    .map_err(|source| EventError::Syntax {
                        url: bucket.url(&key),
                        source,
                    })
            }
            Ok(Fetched::Unchanged) => Ok(None),
            Err(error) if error.kind == BucketErrorKind::Missing => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
