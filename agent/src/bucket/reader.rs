//! Reading an object of any size in pieces: bounded memory, a deadline a piece, resumable.

use super::error::{BucketErrorKind, Failure};
use super::{Bucket, BucketError, Tag};

/// How much of an object is asked for, and held in memory, at once. In bytes.
pub const PIECE: u64 = 8 * 1024 * 1024;

/// Some of an object's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// As many as were asked for; fewer where the object ends.
    pub bytes: Vec<u8>,
    /// The object's version.
    pub tag: Tag,
    /// The size of the whole object, in bytes.
    pub size: u64,
}

/// Reads an object from some byte on, [`PIECE`] by piece. All pieces are of one version of it.
#[derive(Debug)]
pub struct Reader {
    bucket: Bucket,
    key: String,
    limit: u64,
    position: u64,
    tag: Option<Tag>,
    size: Option<u64>,
}

impl Bucket {
    /// Will read the object from its beginning. One with more than `limit` bytes is refused by its first piece.
    pub fn reader(&self, key: &str, limit: u64) -> Reader {
        self.reader_at(key, 0, None, limit)
    }

    /// Goes on where an earlier reader was: at [`Reader::position`] of the version that [`Reader::tag`] named.
    pub fn resume(&self, key: &str, position: u64, tag: Tag, limit: u64) -> Reader {
        self.reader_at(key, position, Some(tag), limit)
    }

    fn reader_at(&self, key: &str, position: u64, tag: Option<Tag>, limit: u64) -> Reader {
        Reader {
            bucket: self.clone(),
            key: key.into(),
            limit,
            position,
            tag,
            size: None,
        }
    }
}

impl Reader {
    /// The next piece; `None` at the end. One request.
    ///
    /// After an error it stands where it stood and may be asked again. [`BucketErrorKind::Conflict`]: the object was
    /// replaced since the first piece, and what was read of it is of no use.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, BucketError> {
        if self.size.is_some_and(|size| self.position >= size) {
            return Ok(None);
        }
        let tag = self.tag.as_ref();
        let asked = self.bucket.get_range(&self.key, self.position, PIECE, tag);
        let piece = match asked.await {
            Ok(piece) => piece,
            // A reader that was at the end before it was interrupted.
            Err(error) if error.kind == BucketErrorKind::OutOfRange && self.tag.is_some() => {
                self.size = Some(self.position);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if piece.size > self.limit {
            let why = format!("it has {} bytes, the limit is {}", piece.size, self.limit);
            let failure = Failure::new(BucketErrorKind::TooLarge, why);
            return Err(self.bucket.error("get", &self.key, failure));
        }
        self.position = self.position.saturating_add(piece.bytes.len() as u64);
        self.size = Some(piece.size);
        self.tag = Some(piece.tag);
        Ok((!piece.bytes.is_empty()).then_some(piece.bytes))
    }

    /// How many bytes of the object were read: where to resume.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The size of the whole object, in bytes, once a piece has come.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The version that is read, once a piece has come.
    pub const fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }
}
