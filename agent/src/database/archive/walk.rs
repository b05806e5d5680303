//! The transactions of the archive in their order: across files, servers and changes of master, without a gap or one twice.
//!
//! A domain's numbers are one line of history, whichever server wrote them. So the next transaction is the one whose number follows;
//! what has a number that was had already is skipped, if it is the same one, and where it is not, or where one is missing, the walk
//! ends there and says so. A file is followed only up to where the next one begins: what a former master's replica had beyond that
//! was given up when another server became the master.

use jiff::Timestamp;

use super::events::{Event, Follower, MAGIC, Step, next};
use super::gtid::{Gtid, Tips};
use super::segment::{Header, Log};
use super::store::{self, StoreError};
use crate::bucket::Bucket;
use crate::fleet::Name;

/// What the walk comes across.
pub(super) trait Visitor {
    /// What stops it.
    type Error: From<StoreError>;

    /// A file's format, which its events need.
    async fn format(&mut self, event: &[u8]) -> Result<(), Self::Error>;
    /// A transaction that is next. `false`: the walk ends before it.
    async fn begins(
        &mut self,
        gtid: Gtid,
        time: Timestamp,
        read: Timestamp,
    ) -> Result<bool, Self::Error>;
    /// An event of it, the one that it begins with too.
    async fn event(&mut self, event: &Event<'_>, has_checksums: bool) -> Result<(), Self::Error>;
    /// It has ended, at this time of its master. `false`: the walk ends before it, as if it had not begun.
    async fn ends(
        &mut self,
        gtid: Gtid,
        time: Timestamp,
        read: Timestamp,
    ) -> Result<bool, Self::Error>;
    /// The file ended within a transaction, or what was begun is not one to keep.
    async fn drops(&mut self) -> Result<(), Self::Error>;
}

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// There is no more.
    Archive,
    /// The visitor has seen enough.
    Visitor,
    /// What is behind it cannot follow.
    Gap(String),
}

/// A file of the archive, and what stood before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chapter {
    /// Which.
    pub log: Log,
    /// Its first segment's header.
    pub first: Header,
}

/// The files by which a server at this position can go on, the oldest first. Empty: there are none.
pub async fn chapters(
    bucket: &Bucket,
    product: &Name,
    position: &Tips,
) -> Result<Vec<Chapter>, StoreError> {
    let mut chapters = Vec::new();
    for log in store::logs(bucket, product).await?.into_iter().rev() {
        let first = match store::header(bucket, product, &log, 0).await {
            Ok(first) => first,
            // Its beginning was deleted, or cannot be read: no file to begin with, and none to go on with.
            Err(StoreError::Bucket(error))
                if error.kind != crate::bucket::BucketErrorKind::Missing =>
            {
                return Err(error.into());
            }
            Err(_) => continue,
        };
        let is_before = first.from.is_within(position);
        chapters.push(Chapter { log, first });
        if is_before {
            chapters.reverse();
            return Ok(chapters);
        }
    }
    Ok(Vec::new())
}

/// Goes through what is behind `position`, which goes along.
pub(super) async fn walk<V: Visitor>(
    bucket: &Bucket,
    product: &Name,
    chapters: &[Chapter],
    position: &mut Tips,
    visitor: &mut V,
) -> Result<End, V::Error> {
    let mut chapters = chapters.iter().peekable();
    while let Some(chapter) = chapters.next() {
        let limit = chapters.peek().map(|next| &next.first.from);
        let end = read_chapter(bucket, product, chapter, limit, position, visitor).await?;
        if let Some(end) = end {
            return Ok(end);
        }
    }
    Ok(End::Archive)
}

/// What is done with a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It is next.
    Next,
    /// It was had already, or was given up.
    Skip,
    /// The file is another history's.
    Other,
    /// Some are missing before it.
    Gap(String),
}

fn judge(position: &Tips, limit: Option<&Tips>, gtid: Gtid, from: &Tips) -> Verdict {
    if let Some(limit) = limit.and_then(|limit| limit.of(gtid.domain)) {
        if gtid.sequence > limit.sequence {
            return Verdict::Skip;
        }
        if gtid.sequence == limit.sequence && gtid != limit {
            return Verdict::Other;
        }
    }
    match position.of(gtid.domain) {
        Some(tip) if gtid.sequence < tip.sequence => Verdict::Skip,
        Some(tip) if gtid.sequence == tip.sequence && gtid == tip => Verdict::Skip,
        Some(tip) if gtid.sequence == tip.sequence => Verdict::Other,
        Some(tip) if gtid.sequence == tip.sequence.saturating_add(1) => Verdict::Next,
        Some(tip) => Verdict::Gap(format!(
            "what is between {tip} and {gtid} is not in the archive"
        )),
        // A domain that nobody has written to before.
        None if from.of(gtid.domain).is_none() => Verdict::Next,
        None => Verdict::Gap(format!(
            "what is before {gtid} in its domain is not in the archive"
        )),
    }
}

fn moment(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn read_chapter<V: Visitor>(
    bucket: &Bucket,
    product: &Name,
    chapter: &Chapter,
    limit: Option<&Tips>,
    position: &mut Tips,
    visitor: &mut V,
) -> Result<Option<End>, V::Error> {
    let offsets = store::offsets(bucket, product, &chapter.log).await?;
    let mut follower = Follower::default();
    let mut expected = 0;
    // Whether the transaction that is open is one to be told of.
    let mut is_told = false;
    for offset in offsets {
        if offset != expected {
            let why = format!(
                "{} lacks the bytes from {expected} to {offset}",
                chapter.log.file
            );
            return Ok(Some(End::Gap(why)));
        }
        let read = match store::segment(bucket, product, &chapter.log, offset).await {
            // What is before it is as good as it was.
            Err(error @ StoreError::Segment { .. }) => {
                return Ok(Some(End::Gap(crate::system::chain(&error))));
            }
            read => read?,
        };
        let Some((header, bytes)) = read else {
            break;
        };
        expected = header.end();
        let mut at = if offset == 0 { MAGIC.len() } else { 0 };
        loop {
            let place = offset.saturating_add(at as u64);
            let rest = bytes.get(at..).unwrap_or_default();
            let wrong = |why: &dyn std::fmt::Display| {
                Some(End::Gap(format!(
                    "{} at byte {place}: {why}",
                    chapter.log.file
                )))
            };
            let event = match next(rest, place) {
                Ok(Some(event)) => event,
                Ok(None) if rest.is_empty() => break,
                Ok(None) => return Ok(wrong(&"a segment ends within an event")),
                Err(error) => return Ok(wrong(&error)),
            };
            at += event.bytes.len();
            let step = match follower.see(&event) {
                Ok(step) => step,
                Err(error) => return Ok(wrong(&error)),
            };
            let time = moment(event.time);
            match step {
                Step::Aside => {
                    if event.is_format() {
                        visitor.format(event.bytes).await?;
                    }
                }
                Step::Begins(gtid) => {
                    if std::mem::take(&mut is_told) {
                        visitor.drops().await?;
                    }
                    match judge(position, limit, gtid, &chapter.first.from) {
                        Verdict::Next => {}
                        Verdict::Skip => continue,
                        Verdict::Other => return Ok(None),
                        Verdict::Gap(why) => return Ok(Some(End::Gap(why))),
                    }
                    if !visitor.begins(gtid, time, header.read).await? {
                        return Ok(Some(End::Visitor));
                    }
                    is_told = true;
                    visitor.event(&event, follower.has_checksums).await?;
                }
                Step::Inside(_) if is_told => {
                    visitor.event(&event, follower.has_checksums).await?;
                }
                Step::Ends(gtid) if is_told => {
                    is_told = false;
                    visitor.event(&event, follower.has_checksums).await?;
                    if !visitor.ends(gtid, time, header.read).await? {
                        visitor.drops().await?;
                        return Ok(Some(End::Visitor));
                    }
                    position.set(gtid);
                }
                Step::Inside(_) | Step::Ends(_) => {}
            }
        }
    }
    if is_told {
        visitor.drops().await?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tips(text: &str) -> Tips {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_is_the_one_that_follows_and_nothing_of_another_history() {
        let verdict = |position: &str, limit: Option<&str>, gtid: &str| {
            let limit = limit.map(tips);
            let from = tips("0-11-1");
            judge(
                &tips(position),
                limit.as_ref(),
                gtid.parse().unwrap(),
                &from,
            )
        };
        assert_eq!(verdict("0-11-9", None, "0-11-10"), Verdict::Next);
        assert_eq!(verdict("0-11-9", None, "0-12-10"), Verdict::Next);
        assert_eq!(verdict("0-11-9", None, "0-11-8"), Verdict::Skip);
        assert_eq!(verdict("0-11-9", None, "0-11-9"), Verdict::Skip);
        // The same number, written by another server: the file is of a master that was left.
        assert_eq!(verdict("0-11-9", None, "0-12-9"), Verdict::Other);
        assert!(matches!(
            verdict("0-11-9", None, "0-11-11"),
            Verdict::Gap(_)
        ));
        // Only up to where the next file begins, and only if that is the same history.
        assert_eq!(verdict("0-11-9", Some("0-11-10"), "0-11-10"), Verdict::Next);
        assert_eq!(verdict("0-11-9", Some("0-11-9"), "0-11-10"), Verdict::Skip);
        assert_eq!(
            verdict("0-11-9", Some("0-12-10"), "0-11-10"),
            Verdict::Other
        );
        // A domain that is new, and one that is not.
        assert_eq!(verdict("0-11-9", None, "5-11-1"), Verdict::Next);
        assert!(matches!(verdict("5-11-1", None, "0-11-7"), Verdict::Gap(_)));
    }
}
