//! Which of the archive no snapshot needs any more.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::segment::{Log, key};
use super::store::{self, StoreError};
use crate::bucket::Bucket;
use crate::database::snapshot::retention::Tier;
use crate::fleet::Name;

/// Beyond a snapshot's own time, for servers whose logs differ by their lag.
const MARGIN: SignedDuration = SignedDuration::from_hours(1);
/// So many objects are deleted at a time.
const DELETED: usize = 2000;
/// Snapshots that are farther apart than this are not bridged.
const BRIDGED: Duration = Duration::from_hours(1);

/// For how long every moment can be restored: as long as a snapshot of each hour, or more of them, are kept.
pub fn span(tiers: &[Tier]) -> Duration {
    let fine = tiers.iter().filter(|tier| tier.every <= BRIDGED);
    let longest = fine.map(|tier| tier.long).max();
    longest.unwrap_or(Duration::from_hours(24))
}

/// The moment from which on the archive is needed: that of the oldest snapshot of the span, or of the newest restorable one, where
/// that is older. `None`: nothing is let go.
pub fn needed_since(
    snapshots: &[Timestamp],
    restorable: Option<Timestamp>,
    tiers: &[Tier],
    now: Timestamp,
) -> Option<Timestamp> {
    let restorable = restorable?;
    let span = SignedDuration::try_from(span(tiers)).ok()?;
    let from = now.saturating_sub(span).ok()?;
    let oldest = snapshots.iter().filter(|time| **time >= from).min();
    Some(oldest.copied().unwrap_or(restorable).min(restorable))
}

/// The files of which nothing is needed: those that were followed by another one before that moment.
pub fn unneeded(logs: &[Log], since: Timestamp) -> Vec<&Log> {
    let since = since.saturating_sub(MARGIN).unwrap_or(since);
    let followed = logs.iter().filter(|log| {
        let mut later = logs.iter().filter(|next| next.id.time > log.id.time);
        // Of a server that archives no more: whoever came after it.
        let own = later.clone().find(|next| next.id.server == log.id.server);
        let next = own.or_else(|| later.next());
        let end = next.map_or(log.id.time, |next| next.id.time);
        let is_last = logs.last() == Some(*log);
        end <= since && !is_last
    });
    followed.collect()
}

/// Deletes what is not needed since then: how many objects, and whether that was all. A file's segments go from its end to its
/// beginning, so that what is left of one is never taken for a whole one that begins later.
pub async fn delete(
    bucket: &Bucket,
    product: &Name,
    since: Timestamp,
) -> Result<(usize, bool), StoreError> {
    let logs = store::logs(bucket, product).await?;
    let mut deleted = 0;
    for log in unneeded(&logs, since) {
        for offset in store::offsets(bucket, product, log)
            .await?
            .into_iter()
            .rev()
        {
            if deleted >= DELETED {
                return Ok((deleted, false));
            }
            bucket.delete(&key(product, log, offset), None).await?;
            deleted += 1;
        }
    }
    Ok((deleted, true))
}

#[cfg(test)]
mod tests {
    use super::super::super::snapshot::retention::usual;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_kept_as_far_back_as_the_oldest_snapshot_that_needs_it() {
        assert_eq!(span(&usual()), Duration::from_hours(7 * 24));
        assert_eq!(span(&[]), Duration::from_hours(24));
        let now = at("2026-11-30T00:00:00Z");
        let all = [
            at("2026-10-01T00:00:00Z"),
            at("2026-11-24T00:00:00Z"),
            at("2026-11-29T23:00:00Z"),
        ];
        let since = |restorable: &str| needed_since(&all, Some(at(restorable)), &usual(), now);
        assert_eq!(since("2026-11-29T23:00:00Z"), Some(all[1]));
        // Nothing newer was ever restored: from there on, whatever it takes.
        assert_eq!(since("2026-10-01T00:00:00Z"), Some(all[0]));
        assert_eq!(needed_since(&all, None, &usual(), now), None);
    }

    #[test]
    fn a_file_goes_once_the_next_one_was_begun_before_what_is_needed() {
        let log = |text: &str, file: &str| Log {
            id: text.parse().unwrap(),
            file: file.to_owned(),
        };
        let logs = [
            log("20261124T000000Z-e7-db-4", "b.1"),
            log("20261124T120000Z-e7-db-5", "b.9"),
            log("20261125T000000Z-e7-db-4", "b.2"),
            log("20261126T000000Z-e8-db-4", "b.3"),
        ];
        let gone = |since: &str| -> Vec<String> {
            (unneeded(&logs, at(since)).into_iter())
                .map(|log| log.file.clone())
                .collect()
        };
        assert!(gone("2026-11-24T12:30:00Z").is_empty());
        assert_eq!(gone("2026-11-25T02:00:00Z"), ["b.1", "b.9"]);
        // The last of all stays.
        assert_eq!(gone("2027-11-25T02:00:00Z"), ["b.1", "b.9", "b.2"]);
    }
}
