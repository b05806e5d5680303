//! A person's word that a product's master stays where it is: `holds/<product>.json`.
//!
//! An object of its own, not a field of the lease: a person must be able to say it also while the owner is dead, and
//! must not get in the way of renewals. It is never deleted, only let go, so that writing it is a compare-and-swap too.
//! A candidate reads it right before it would take over: where that fails, so would the taking over.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::protocol::Holding;
use crate::bucket::{Advised, Bucket, BucketError, BucketErrorKind, Condition, Fetched, Tag};
use crate::fleet::Name;
use crate::system::clock;

/// The only format there is.
pub const FORMAT: u32 = 1;
/// The most bytes of a hold.
const HOLD_LIMIT: u64 = 16 * 1024;
/// The most characters of a reason.
pub const REASON_LIMIT: usize = 500;

/// The key of a product's hold.
pub fn key(product: &Name) -> String {
    format!("holds/{product}.json")
}

/// A hold, or that there is none any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The format: 1.
    pub format: u32,
    /// The product.
    pub product: Name,
    /// Whether nothing changes by itself now.
    pub held: bool,
    /// The server on which a person said so.
    pub by: Name,
    /// Why, in that person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when, by that server's wall clock.
    pub since: Timestamp,
    /// It ends by itself then, by whatever wall clock. Somebody works on the servers: the master stays the master and goes on
    /// by itself. Without it nothing is done by itself, until a person says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<Timestamp>,
}

impl Hold {
    /// Whether it holds now.
    pub fn is_in_force(&self) -> bool {
        self.holding() != Holding::Free
    }

    /// What it means now.
    pub fn holding(&self) -> Holding {
        match self.maintenance_until {
            _ if !self.held => Holding::Free,
            None => Holding::Paused,
            Some(until) if clock::now() < until => Holding::Maintenance,
            Some(_) => Holding::Free,
        }
    }
}

/// A hold could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The request failed.
    #[error(transparent)]
    Bucket(Advised),
    /// What stands there is no hold of this product. It counts as one: a person meant something by it.
    #[error("{url} is not understood; as long as it stands there, nothing changes by itself")]
    Wrong {
        /// The object.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What a person wrote cannot be kept.
    #[error("{0}")]
    Reason(String),
}

impl From<BucketError> for HoldError {
    fn from(error: BucketError) -> Self {
        Self::Bucket(super::store::advised(error))
    }
}

impl Hold {
    /// The hold on `product`; `None`: nobody ever said anything.
    pub async fn read(bucket: &Bucket, product: &Name) -> Result<Option<Self>, HoldError> {
        Ok(Self::read_with_tag(bucket, product)
            .await?
            .map(|(hold, _)| hold))
    }

    /// Says on behalf of a person that nothing changes by itself (`held`), for `maintenance` for so long, or that it may
    /// again. Returns what stands there now. Two requests; after a failure that leaves a doubt, say it again.
    pub async fn set(
        bucket: &Bucket,
        product: &Name,
        held: bool,
        by: &Name,
        reason: Option<&str>,
        maintenance: Option<Duration>,
    ) -> Result<Self, HoldError> {
        let reason = reason.map(check_reason).transpose()?;
        let before = Self::read_with_tag(bucket, product).await?;
        let now = clock::now();
        let hold = Self {
            format: FORMAT,
            product: product.clone(),
            held,
            by: by.clone(),
            reason,
            since: match &before {
                // Said again, it is as old as before.
                Some((before, _)) if before.held == held && before.is_in_force() => before.since,
                _ => now,
            },
            maintenance_until: maintenance.map(|span| now + span),
        };
        let condition = before.map_or(Condition::Absent, |(_, tag)| Condition::Matches(tag));
        let key = key(product);
        let mut bytes = serde_json::to_vec_pretty(&hold).map_err(|source| HoldError::Wrong {
            url: bucket.url(&key),
            source: source.into(),
        })?;
        bytes.push(b'\n');
        match bucket.put(&key, bytes, Some(&condition)).await {
            Ok(_) => Ok(hold),
            // Another one said something at the same moment: if it is the same, all is well.
            Err(error) if error.kind == BucketErrorKind::Conflict => {
                match Self::read(bucket, product).await? {
                    Some(there) if there.held == held => Ok(there),
                    _ => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read_with_tag(
        bucket: &Bucket,
        product: &Name,
    ) -> Result<Option<(Self, Tag)>, HoldError> {
        let key = key(product);
        let wrong = |source: Box<dyn std::error::Error + Send + Sync>| HoldError::Wrong {
            url: bucket.url(&key),
            source,
        };
        match bucket.get(&key, None, HOLD_LIMIT).await {
            Ok(Fetched::Object { bytes, tag }) => {
                let hold: Self =
                    serde_json::from_slice(&bytes).map_err(|error| wrong(error.into()))?;
                if hold.format != FORMAT || hold.product != *product {
                    let found = format!("it is of format {}, for {}", hold.format, hold.product);
                    return Err(wrong(found.into()));
                }
                Ok(Some((hold, tag)))
            }
            Ok(Fetched::Unchanged) => Ok(None),
            Err(error) if error.kind == BucketErrorKind::Missing => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A reason that can be shown: one line of printable text.
pub fn check_reason(reason: &str) -> Result<String, HoldError> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_LIMIT {
        return Err(HoldError::Reason(format!(
            "a reason has 1 to {REASON_LIMIT} characters"
        )));
    }
    if reason.chars().any(char::is_control) {
        return Err(HoldError::Reason("a reason is one line of text".into()));
    }
    Ok(reason.into())
}
