//! What a piece of a binary log is called in the bucket, and what it says of itself. Pure.
//!
//! `binlogs/shop/20261130T195000Z-e7-db-4/binlog.000012/00000000000000000004`: of the file that db-4 began then, first archived in
//! epoch 7, the bytes from 4 on. The time when a file was begun is in its name because servers count anew after they were made anew.
//! An object is a line of JSON, then the bytes, compressed. Each is put once and never replaced.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::events::Follower;
use super::gtid::Tips;
use crate::database::snapshot::id::SnapshotId;
use crate::fleet::Name;
use crate::system::digest::sha256_hex;

/// The longest line of JSON, in bytes.
pub const HEADER_LIMIT: u64 = 64 * 1024;
/// The largest object that is read, in bytes.
pub const OBJECT_LIMIT: u64 = 96 * 1024 * 1024;
/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;
/// zstd's own default.
const LEVEL: i32 = 3;
/// So many digits has the longest offset.
const DIGITS: usize = 20;

/// A binary log's file of some server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Log {
    /// When it was begun, in which epoch its archive began, on which server.
    pub id: SnapshotId,
    /// Its name there.
    pub file: String,
}

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// 1.
    pub format: u32,
    /// Where in its file it begins, in bytes.
    pub offset: u64,
    /// How many bytes of the file it has.
    pub bytes: u64,
    /// Their SHA-256, as hexadecimal digits.
    pub sha256: String,
    /// When they were read: they were committed before.
    pub read: Timestamp,
    /// Since when nothing is missing. A snapshot that was begun later can be brought on from this segment's like.
    pub unbroken_since: Timestamp,
    /// The last transactions before it.
    pub from: Tips,
    /// Where the reader of the log was behind it.
    pub to: Follower,
}

/// What is no segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It does not begin with a header.
    #[error("its header cannot be read")]
    Header(#[from] serde_json::Error),
    /// What follows is not what the header says.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// What the keys of a product's archive begin with.
pub fn prefix(product: &Name) -> String {
    format!("binlogs/{product}/")
}

/// What the keys of one file's segments begin with.
pub fn log_prefix(product: &Name, log: &Log) -> String {
    format!("{}{}/{}/", prefix(product), log.id, log.file)
}

/// The key of a segment.
pub fn key(product: &Name, log: &Log, offset: u64) -> String {
    format!("{}{offset:0DIGITS$}", log_prefix(product, log))
}

/// The file and the offset that a key names; `None` for keys that are none of the product's archive.
pub fn parse_key(product: &Name, key: &str) -> Option<(Log, u64)> {
    let rest = key.strip_prefix(&prefix(product))?;
    let mut parts = rest.split('/');
    let (id, file, offset) = (parts.next()?, parts.next()?, parts.next()?);
    let log = Log {
        id: id.parse().ok()?,
        file: file.to_owned(),
    };
    let is_whole = parts.next().is_none() && is_file_name(file) && offset.len() == DIGITS;
    is_whole.then(|| Some((log, offset.parse().ok()?)))?
}

/// Whether a binary log may be called so.
pub fn is_file_name(file: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !file.is_empty() && !file.starts_with('.') && file.len() < 200 && file.chars().all(plain)
}

impl Header {
    /// That of these bytes of a log.
    pub fn new(bytes: &[u8], offset: u64, from: Tips, to: Follower) -> Self {
        Self {
            format: FORMAT,
            offset,
            bytes: bytes.len() as u64,
            sha256: sha256_hex(bytes),
            read: Timestamp::UNIX_EPOCH,
            unbroken_since: Timestamp::UNIX_EPOCH,
            from,
            to,
        }
    }

    /// Where the next segment begins.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }

    /// Reads that of an object, or of its beginning. Returns what follows, too.
    pub fn read(object: &[u8]) -> Result<(Self, &[u8]), SegmentError> {
        let end = object.iter().position(|&byte| byte == b'\n');
        let Some((line, rest)) = end.and_then(|end| object.split_at_checked(end)) else {
            return Err(SegmentError::Damaged("it has no header".to_owned()));
        };
        let header: Self = serde_json::from_slice(line)?;
        if header.format != FORMAT {
            return Err(SegmentError::Damaged(format!(
                "its format is {}, and this version of the agent reads {FORMAT}: use a newer one",
                header.format
            )));
        }
        Ok((header, rest.get(1..).unwrap_or_default()))
    }
}

/// The object of a segment.
pub fn write(header: &Header, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut object = serde_json::to_vec(header)?;
    object.push(b'\n');
    object.extend(zstd::bulk::compress(bytes, LEVEL)?);
    Ok(object)
}

/// Reads a segment, and compares it with its header.
pub fn read(object: &[u8]) -> Result<(Header, Vec<u8>), SegmentError> {
    let (header, packed) = Header::read(object)?;
    let damaged = |why: &str| SegmentError::Damaged(why.to_owned());
    let size = usize::try_from(header.bytes.min(OBJECT_LIMIT)).unwrap_or(0);
    let bytes = zstd::bulk::decompress(packed, size)
        .map_err(|error| SegmentError::Damaged(format!("it cannot be decompressed: {error}")))?;
    if bytes.len() as u64 != header.bytes {
        return Err(damaged("it has another size than its header says"));
    }
    if sha256_hex(&bytes) != header.sha256 {
        return Err(damaged("its SHA-256 is not its header's"));
    }
    Ok((header, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_offsets_do_and_come_back() {
        let product: Name = "shop".parse().unwrap();
        let log = Log {
            id: "20261130T195000Z-e7-db-4".parse().unwrap(),
            file: "binlog.000012".to_owned(),
        };
        let at = |offset| key(&product, &log, offset);
        assert_eq!(
            at(4),
            "binlogs/shop/20261130T195000Z-e7-db-4/binlog.000012/00000000000000000004"
        );
        assert!(at(4) < at(30) && at(30) < at(200));
        assert_eq!(parse_key(&product, &at(u64::MAX)), Some((log, u64::MAX)));
        for other in [
            "binlogs/shop/20261130T195000Z-e7-db-4/binlog.000012/4",
            "binlogs/shop/20261130T195000Z-e7-db-4/../00000000000000000004",
            "binlogs/shop/x/binlog.000012/00000000000000000004",
            "binlogs/other/20261130T195000Z-e7-db-4/binlog.000012/00000000000000000004",
        ] {
            assert_eq!(parse_key(&product, other), None, "{other}");
        }
    }

    #[test]
    fn a_segment_is_what_its_header_says_or_damaged() {
        let bytes = b"some events".repeat(100);
        let header = Header::new(&bytes, 4, Tips::default(), Follower::default());
        let object = write(&header, &bytes).unwrap();
        assert_eq!(read(&object).unwrap(), (header.clone(), bytes.clone()));
        assert_eq!(header.end(), 4 + 1100);
        for at in 0..object.len() {
            let mut other = object.clone();
            other[at] ^= 1;
            // A changed header may be another one, but never of other bytes.
            if let Ok((_, found)) = read(&other) {
                assert_eq!(found, bytes);
            }
            assert!(read(&object[..at]).is_err());
        }
    }
}
