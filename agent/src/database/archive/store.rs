//! Which logs and segments the bucket has; reading one, verified.

use jiff::Timestamp;

use super::segment::{
    HEADER_LIMIT, Header, Log, OBJECT_LIMIT, SegmentError, key, log_prefix, parse_key, prefix, read,
};
use crate::bucket::{Bucket, BucketError, BucketErrorKind, LONGEST_PAGE};
use crate::fleet::Name;

/// So many files of logs are listed at most, a request each: of 27 years with one a day.
const MOST_LOGS: usize = 10_000;

/// The archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bucket did not give it.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// It is no segment.
    #[error("{url} is of no use")]
    Segment {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: SegmentError,
    },
    /// There are more than anybody can look at.
    #[error("the archive of {0} has more than {MOST_LOGS} files: agentctl db prune")]
    TooMany(Name),
}

/// All files of a product that have segments, the oldest first; a request for each.
pub async fn logs(bucket: &Bucket, product: &Name) -> Result<Vec<Log>, StoreError> {
    let prefix = prefix(product);
    let mut logs = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..=MOST_LOGS {
        let page = bucket.list(&prefix, after.as_deref(), 1).await?;
        let Some(entry) = page.entries.first() else {
            logs.sort();
            return Ok(logs);
        };
        after = Some(match parse_key(product, &entry.key) {
            Some((log, _)) => {
                // The first key behind all of this file's: 0 follows the slash.
                let mut next = log_prefix(product, &log);
                next.pop();
                next.push('0');
                logs.push(log);
                next
            }
            None => entry.key.clone(),
        });
    }
    Err(StoreError::TooMany(product.clone()))
}

/// The file of `server` that was begun at this time under this name; with the offset of its last segment.
pub async fn find(
    bucket: &Bucket,
    product: &Name,
    server: &Name,
    begun: Timestamp,
    file: &str,
) -> Result<Option<(Log, u64)>, StoreError> {
    // Whatever the epoch was.
    let moment = begun.strftime("%Y%m%dT%H%M%SZ-e");
    let prefix = format!("{}{moment}", prefix(product));
    let mut found: Option<(Log, u64)> = None;
    let mut after: Option<String> = None;
    loop {
        let page = bucket.list(&prefix, after.as_deref(), LONGEST_PAGE).await?;
        let mut ours = page.entries.iter().filter_map(|entry| {
            parse_key(product, &entry.key)
                .filter(|(log, _)| log.id.server == *server && log.file == file)
        });
        found = ours.next_back().or(found);
        after = page.entries.last().map(|entry| entry.key.clone());
        if !page.more {
            return Ok(found);
        }
    }
}

/// The offsets of a file's segments, in order; a request for each thousand.
pub async fn offsets(bucket: &Bucket, product: &Name, log: &Log) -> Result<Vec<u64>, StoreError> {
    let prefix = log_prefix(product, log);
    let mut offsets = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = bucket.list(&prefix, after.as_deref(), LONGEST_PAGE).await?;
        let keys = page.entries.iter();
        offsets.extend(keys.filter_map(|entry| Some(parse_key(product, &entry.key)?.1)));
        after = page.entries.last().map(|entry| entry.key.clone());
        if !page.more {
            return Ok(offsets);
        }
    }
}

/// What a segment says of itself, without the rest of it.
pub async fn header(
    bucket: &Bucket,
    product: &Name,
    log: &Log,
    offset: u64,
) -> Result<Header, StoreError> {
    let key = key(product, log, offset);
    let piece = bucket.get_range(&key, 0, HEADER_LIMIT, None).await?;
    match Header::read(&piece.bytes) {
        Ok((header, _)) => Ok(header),
        Err(source) => Err(StoreError::Segment {
            url: bucket.url(&key),
            source,
        }),
    }
}

/// A segment, whole and verified; `None`: there is none.
pub async fn segment(
    bucket: &Bucket,
    product: &Name,
    log: &Log,
    offset: u64,
) -> Result<Option<(Header, Vec<u8>)>, StoreError> {
    let key = key(product, log, offset);
    // A range, whose deadline goes by its length.
    let object = match bucket.get_range(&key, 0, OBJECT_LIMIT, None).await {
        Ok(piece) => piece.bytes,
        Err(error) if error.kind == BucketErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match read(&object) {
        Ok(segment) if segment.0.offset == offset => Ok(Some(segment)),
        Ok(_) => Err(StoreError::Segment {
            url: bucket.url(&key),
            source: SegmentError::Damaged("it is of another place of its file".to_owned()),
        }),
        Err(source) => Err(StoreError::Segment {
            url: bucket.url(&key),
            source,
        }),
    }
}

/// The newest segment's header, and its file; `None`: there is no archive. A request for each file, and some.
pub async fn newest(bucket: &Bucket, product: &Name) -> Result<Option<(Log, Header)>, StoreError> {
    let Some(log) = logs(bucket, product).await?.pop() else {
        return Ok(None);
    };
    let Some(last) = offsets(bucket, product, &log).await?.pop() else {
        return Ok(None);
    };
    let header = header(bucket, product, &log, last).await?;
    Ok(Some((log, header)))
}
