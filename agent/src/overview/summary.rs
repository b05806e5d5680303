//! All reports in one object, so that a desk reads one and not thousands: a monitor machine puts it together each minute.
//!
//! It is no more to be believed than whoever may write it, and no newer than it says: one that is not fresh is not used.

use std::io::Read as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::bucket::{Bucket, BucketError, BucketErrorKind, Fetched, Tag};
use crate::fleet::Name;
use crate::report::fleet_status::Reports;

/// Its key.
const KEY: &str = "summaries/nodes.json.zst";
/// The most bytes of it, packed and unpacked.
const LIMIT: u64 = 64 * 1024 * 1024;
const UNPACKED_LIMIT: u64 = 512 * 1024 * 1024;
/// How it is packed: reports repeat themselves, and more effort brings little.
const LEVEL: i32 = 3;

/// An older one is of a monitor that does not make them any more.
pub const FRESH: Duration = Duration::from_mins(3);

/// All reports, as a monitor machine read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The format of this record: 1.
    pub format: u32,
    /// When the reports were read.
    pub written: Timestamp,
    /// Which server read them.
    pub by: Name,
    /// The reports.
    pub reports: Reports,
}

/// There is a summary, and it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// It could not be had.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// It is not packed as it should be, or larger than any fleet's.
    #[error("{KEY} cannot be unpacked")]
    Packing(#[source] std::io::Error),
    /// It is no summary.
    #[error("{KEY} is not understood")]
    Syntax(#[from] serde_json::Error),
    /// A later version's.
    #[error("{KEY} has format {0}, and this version reads format 1")]
    Format(u32),
}

impl SummaryError {
    /// The thread that packs was not there, or was stopped.
    fn thread(error: tokio::task::JoinError) -> Self {
        Self::Packing(std::io::Error::other(error))
    }
}

impl Summary {
    /// The one that lies in the bucket, unless it is still the one with the tag `known`; `None`: there is none, or it is.
    pub async fn get(
        bucket: &Bucket,
        known: Option<&Tag>,
    ) -> Result<Option<(Self, Tag)>, SummaryError> {
        let (bytes, tag) = match bucket.get(KEY, known, LIMIT).await {
            Ok(Fetched::Object { bytes, tag }) => (bytes, tag),
            Ok(Fetched::Unchanged) => return Ok(None),
            Err(error) if error.kind == BucketErrorKind::Missing => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let read = tokio::task::spawn_blocking(move || Self::unpacked(&bytes));
        Ok(Some((read.await.map_err(SummaryError::thread)??, tag)))
    }

    fn unpacked(bytes: &[u8]) -> Result<Self, SummaryError> {
        /// Of a later version only this is known.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let mut text = Vec::new();
        zstd::Decoder::new(bytes)
            .and_then(|decoder| decoder.take(UNPACKED_LIMIT).read_to_end(&mut text))
            .map_err(SummaryError::Packing)?;
        let head: Head = serde_json::from_slice(&text)?;
        if head.format != 1 {
            return Err(SummaryError::Format(head.format));
        }
        Ok(serde_json::from_slice(&text)?)
    }

    fn packed(&self) -> Result<Vec<u8>, SummaryError> {
        let text = serde_json::to_vec(self)?;
        zstd::encode_all(text.as_slice(), LEVEL).map_err(SummaryError::Packing)
    }

    /// Puts it into the bucket: the last one counts, whoever's it is, for all say the same.
    ///
    /// Reading and packing that of a large fleet take a good part of a second: not in the thread of whoever waits.
    pub async fn put(self, bucket: &Bucket) -> Result<(), SummaryError> {
        let packed = tokio::task::spawn_blocking(move || self.packed());
        let packed = packed.await.map_err(SummaryError::thread)??;
        bucket.put(KEY, packed, None).await?;
        Ok(())
    }

    /// Whether it is of now, or nearly.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.written);
        SignedDuration::try_from(FRESH).is_ok_and(|most| age <= most && age >= -most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_what_is_none_is_refused() {
        let summary = Summary {
            format: 1,
            written: "2026-11-30T10:00:00Z".parse().unwrap(),
            by: "monitor-1".parse().unwrap(),
            reports: Reports::default(),
        };
        let packed = summary.packed().unwrap();
        assert_eq!(Summary::unpacked(&packed).unwrap(), summary);
        let cut = Summary::unpacked(&packed[..packed.len() - 1]);
        assert!(matches!(cut, Err(SummaryError::Packing(_))), "{cut:?}");
        let later = zstd::encode_all(&br#"{"format": 2, "more": 1}"#[..], LEVEL).unwrap();
        assert!(matches!(
            Summary::unpacked(&later),
            Err(SummaryError::Format(2))
        ));
    }

    #[test]
    fn a_summary_of_long_ago_is_not_of_now() {
        let written: Timestamp = "2026-11-30T10:00:00Z".parse().unwrap();
        let summary = Summary {
            format: 1,
            written,
            by: "monitor-1".parse().unwrap(),
            reports: Reports::default(),
        };
        let at = |secs: i64| written + SignedDuration::from_secs(secs);
        assert!(summary.is_fresh(at(0)) && summary.is_fresh(at(180)));
        assert!(!summary.is_fresh(at(181)));
        // By a clock that is wrong by hours nothing is fresh.
        assert!(!summary.is_fresh(at(-181)));
    }
}
