//! What is to be done, as the document and the settings say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::prove::Ground;
use super::super::retention::{Tier, usual};
use super::super::take::Source;
use crate::fleet::names::Span;
use crate::fleet::{Name, Snapshots};
use crate::settings::{BucketUrl, S3Settings};

/// A drill is made so often where the document does not say.
const PROVE: Duration = Duration::from_hours(1);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The product.
    pub product: Name,
    /// The time between two snapshots.
    pub every: Duration,
    /// The time between two drills.
    pub prove: Duration,
    /// What is kept.
    pub tiers: Vec<Tier>,
    /// Whether the binary log is archived.
    pub archive: bool,
    /// What is copied.
    pub source: Source,
    /// Where drills are made.
    pub ground: Ground,
    /// The bucket.
    pub bucket: BucketUrl,
    /// How it is spoken to.
    pub s3: S3Settings,
}

/// How often, and what is kept, as the document says.
pub fn times(snapshots: &Snapshots) -> (Duration, Duration, Vec<Tier>) {
    let tiers: Vec<Tier> = (snapshots.keep.iter())
        .map(|(every, long)| Tier {
            every: every.duration(),
            long: long.duration(),
        })
        .collect();
    let tiers = if tiers.is_empty() { usual() } else { tiers };
    let prove = snapshots.prove.map_or(PROVE, Span::duration);
    (snapshots.every.duration(), prove, tiers)
}

/// Says in which epoch the chain is now, 0 without a lease; or why this is no time for a snapshot.
#[derive(Clone)]
pub struct EpochNow(pub Arc<dyn Fn() -> Result<u64, String> + Send + Sync>);

impl fmt::Debug for EpochNow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("EpochNow")
    }
}
