//! The statement that did it: which transaction it was, and the one before it, to which a restore goes.

use jiff::Timestamp;
use serde::Serialize;

use super::events::{Follower, MAGIC, Step, next};
use super::gtid::{Gtid, Tips};
use super::segment::Log;
use super::store::{self, StoreError};
use crate::bucket::Bucket;
use crate::fleet::Name;

/// So much of a statement is shown, in characters.
const SHOWN: usize = 300;

/// A statement that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// The transaction that it is in.
    pub gtid: Gtid,
    /// When, by the clock of its master, to the second.
    pub time: Timestamp,
    /// The database that was in use.
    pub schema: String,
    /// Its beginning.
    pub statement: String,
    /// The last transactions before it.
    pub before: Tips,
    /// On which server's log it was read.
    pub server: Name,
}

/// What came of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The oldest first.
    pub hits: Vec<Hit>,
    /// There are more of them.
    pub is_cut: bool,
    /// Files that could not be read to their end, each with the reason.
    pub unread: Vec<String>,
}

/// The text as it is compared: small letters, one space for many.
fn folded(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// Looks for statements that have `text`, whatever the letters' size and the spaces, in what was begun after `since` or goes on after it.
/// At most `most` are told. Rows that were written are not statements: what changed them is found by its table's definition only.
pub async fn search(
    bucket: &Bucket,
    product: &Name,
    text: &str,
    since: Timestamp,
    most: usize,
    progress: &(dyn Fn(&Log) + Sync),
) -> Result<Found, StoreError> {
    let wanted = folded(text);
    let logs = store::logs(bucket, product).await?;
    // The last that was begun before goes on after it; one of each server.
    let first = logs
        .iter()
        .rposition(|log| log.id.time <= since)
        .unwrap_or(0);
    let mut found = Found::default();
    for log in logs.iter().skip(first) {
        progress(log);
        if let Some(why) =
            search_log(bucket, product, log, &wanted, since, most, &mut found).await?
        {
            found
                .unread
                .push(format!("{} of {}: {why}", log.file, log.id.server));
        }
        if found.is_cut {
            break;
        }
    }
    // What two servers logged is one transaction.
    let mut seen = std::collections::BTreeSet::new();
    found
        .hits
        .retain(|hit| seen.insert((hit.gtid.to_string(), hit.statement.clone())));
    Ok(found)
}

async fn search_log(
    bucket: &Bucket,
    product: &Name,
    log: &Log,
    wanted: &str,
    since: Timestamp,
    most: usize,
    found: &mut Found,
) -> Result<Option<String>, StoreError> {
    let mut follower = Follower::default();
    let mut expected = 0;
    for offset in store::offsets(bucket, product, log).await? {
        if offset != expected {
            return Ok(Some(format!(
                "it lacks the bytes from {expected} to {offset}"
            )));
        }
        let read = match store::segment(bucket, product, log, offset).await {
            Err(error @ StoreError::Segment { .. }) => {
                return Ok(Some(crate::system::chain(&error)));
            }
            read => read?,
        };
        let Some((header, bytes)) = read else {
            return Ok(None);
        };
        expected = header.end();
        let mut at = if offset == 0 { MAGIC.len() } else { 0 };
        loop {
            let place = offset.saturating_add(at as u64);
            let event = match next(bytes.get(at..).unwrap_or_default(), place) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => return Ok(Some(error.to_string())),
            };
            at += event.bytes.len();
            let before = follower.done.clone();
            let step = match follower.see(&event) {
                Ok(step) => step,
                Err(error) => return Ok(Some(error.to_string())),
            };
            let (Step::Inside(gtid) | Step::Ends(gtid)) = step else {
                continue;
            };
            let Some((schema, statement)) = event.statement(follower.has_checksums) else {
                continue;
            };
            let statement = String::from_utf8_lossy(statement);
            let time = Timestamp::from_second(i64::from(event.time)).unwrap_or_default();
            if header.read < since || !folded(&statement).contains(wanted) {
                continue;
            }
            if found.hits.len() >= most {
                found.is_cut = true;
                return Ok(None);
            }
            found.hits.push(Hit {
                gtid,
                time,
                schema: String::from_utf8_lossy(schema).into_owned(),
                statement: statement.chars().take(SHOWN).collect(),
                before,
                server: log.id.server.clone(),
            });
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_spaces_make_no_difference() {
        assert_eq!(folded("  DROP\n\tTable `Orders` "), "drop table `orders`");
    }
}
