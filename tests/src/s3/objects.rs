//! The bucket's content and the rules of conditional requests. No protocol.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// One object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    /// Without quotes.
    pub(super) etag: String,
    /// Seconds since 1970.
    pub(super) modified: i64,
}

/// The condition of a write, as its headers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    None,
    Absent,
    Matches(String),
}

/// The condition of a read.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadCondition {
    pub(super) matches: Option<String>,
    pub(super) differs: Option<String>,
}

/// The least size of all parts but the last, in bytes.
const SMALLEST_PART: usize = 5 * 1024 * 1024;
/// Any tag: `*`.
pub(super) const ANY: &str = "*";

/// Why a request is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// 404.
    NoSuchKey,
    /// 404.
    NoSuchUpload,
    /// 400.
    InvalidPart,
    /// 400.
    EntityTooSmall,
    /// 304, with the present tag.
    NotModified(String),
    /// 412.
    PreconditionFailed,
    /// 409.
    Conflict,
}

/// A multipart upload under way.
#[derive(Debug, Default)]
struct Upload {
    key: String,
    /// Seconds since 1970.
    begun: i64,
    parts: BTreeMap<i32, (Bytes, String)>,
}

/// What a server does wrong with conditional writes. Each was a real one's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mistake {
    /// Nothing.
    #[default]
    None,
    /// It does not know `If-None-Match` on writes.
    IgnoresIfNoneMatch,
    /// It does not know `If-Match` on writes.
    IgnoresIfMatch,
    /// A write with `If-Match` on a missing object creates it.
    CreatesForIfMatch,
    /// A create-only write is done exactly where there is an object.
    InvertsIfNoneMatch,
}

/// The bucket's content.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// What is done wrong from now on.
    pub(super) mistake: Mistake,
    /// The next conditional write answers 409.
    pub(super) conflict_once: bool,
    present: BTreeMap<String, Object>,
    history: BTreeMap<String, Vec<Bytes>>,
    uploads: BTreeMap<String, Upload>,
    uploads_made: u64,
}

fn etag(bytes: &[u8]) -> String {
    let mut text = hex::encode(Sha256::digest(bytes));
    // As long as S3's own.
    text.truncate(32);
    text
}

impl Objects {
    pub(super) fn get(&self, key: &str) -> Option<&Object> {
        self.present.get(key)
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.present.keys().cloned().collect()
    }

    pub(super) fn history(&self, key: &str) -> Vec<Bytes> {
        self.history.get(key).cloned().unwrap_or_default()
    }

    pub(super) fn put(&mut self, key: &str, bytes: Bytes) -> String {
        let etag = etag(&bytes);
        self.store(key, bytes, etag)
    }

    fn store(&mut self, key: &str, bytes: Bytes, etag: String) -> String {
        self.history
            .entry(key.into())
            .or_default()
            .push(bytes.clone());
        let object = Object {
            bytes,
            etag: etag.clone(),
            modified: node_agent::system::clock::now().as_second(),
        };
        self.present.insert(key.into(), object);
        etag
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.present.remove(key);
    }

    pub(super) fn read(&self, key: &str, condition: &ReadCondition) -> Result<Object, Refused> {
        let object = self.present.get(key).ok_or(Refused::NoSuchKey)?;
        let is_present = |tag: &String| tag == ANY || *tag == object.etag;
        if condition
            .matches
            .as_ref()
            .is_some_and(|tag| !is_present(tag))
        {
            return Err(Refused::PreconditionFailed);
        }
        if condition.differs.as_ref().is_some_and(is_present) {
            return Err(Refused::NotModified(object.etag.clone()));
        }
        Ok(object.clone())
    }

    pub(super) fn write(
        &mut self,
        key: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<String, Refused> {
        self.check(key, condition)?;
        Ok(self.put(key, bytes))
    }

    pub(super) fn remove(&mut self, key: &str, condition: &Condition) -> Result<(), Refused> {
        self.check(key, condition)?;
        self.delete(key);
        Ok(())
    }

    fn check(&mut self, key: &str, condition: &Condition) -> Result<(), Refused> {
        if *condition != Condition::None && std::mem::take(&mut self.conflict_once) {
            return Err(Refused::Conflict);
        }
        let present = self.present.get(key);
        match (self.mistake, condition) {
            (Mistake::IgnoresIfNoneMatch, Condition::Absent)
            | (Mistake::IgnoresIfMatch, Condition::Matches(_)) => return Ok(()),
            (Mistake::CreatesForIfMatch, Condition::Matches(_)) if present.is_none() => {
                return Ok(());
            }
            (Mistake::InvertsIfNoneMatch, Condition::Absent) => {
                return present.map(drop).ok_or(Refused::PreconditionFailed);
            }
            _ => {}
        }
        match (condition, present) {
            (Condition::None, _) | (Condition::Absent, None) => Ok(()),
            (Condition::Matches(_), None) => Err(Refused::NoSuchKey),
            (Condition::Matches(tag), Some(object)) if tag == ANY || *tag == object.etag => Ok(()),
            (_, Some(_)) => Err(Refused::PreconditionFailed),
        }
    }

    /// At most `most` objects whose keys begin with `prefix` and stand after `after`; and whether there are more.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> (Vec<(&str, &Object)>, bool) {
        let mut all = self
            .present
            .iter()
            .map(|(key, object)| (key.as_str(), object))
            .filter(|(key, _)| key.starts_with(prefix) && *key > after);
        let page = all.by_ref().take(most).collect();
        (page, all.next().is_some())
    }

    pub(super) fn begin_upload(&mut self, key: &str) -> String {
        self.uploads_made += 1;
        let id = format!("upload-{}", self.uploads_made);
        let upload = Upload {
            key: key.into(),
            begun: node_agent::system::clock::now().as_second(),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        id
    }

    /// Key, id and beginning of at most `most` uploads under way whose keys begin with `prefix`, and whether there are more.
    pub(super) fn uploads(&self, prefix: &str, most: usize) -> (Vec<(&str, &str, i64)>, bool) {
        let mut all: Vec<_> = self
            .uploads
            .iter()
            .map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload.begun))
            .filter(|(key, _, _)| key.starts_with(prefix))
            .collect();
        all.sort_unstable();
        let more = all.len() > most;
        all.truncate(most);
        (all, more)
    }

    pub(super) fn put_part(
        &mut self,
        (key, id): (&str, &str),
        number: i32,
        bytes: Bytes,
    ) -> Result<String, Refused> {
        let upload = self
            .uploads
            .get_mut(id)
            .filter(|upload| upload.key == key)
            .ok_or(Refused::NoSuchUpload)?;
        let etag = etag(&bytes);
        upload.parts.insert(number, (bytes, etag.clone()));
        Ok(etag)
    }

    /// Joins the named parts, in ascending order, each with the tag that its upload answered.
    pub(super) fn complete_upload(
        &mut self,
        (key, id): (&str, &str),
        parts: &[(i32, Option<String>)],
        condition: &Condition,
    ) -> Result<String, Refused> {
        let upload = self
            .uploads
            .get(id)
            .filter(|upload| upload.key == key)
            .ok_or(Refused::NoSuchUpload)?;
        let ascending = parts
            .iter()
            .zip(parts.iter().skip(1))
            .all(|(one, next)| one.0 < next.0);
        if parts.is_empty() || !ascending {
            return Err(Refused::InvalidPart);
        }
        let mut whole = Vec::new();
        for (place, (number, tag)) in parts.iter().enumerate() {
            let (bytes, etag) = upload.parts.get(number).ok_or(Refused::InvalidPart)?;
            if place + 1 < parts.len() && bytes.len() < SMALLEST_PART {
                return Err(Refused::EntityTooSmall);
            }
            if tag.as_ref().is_some_and(|tag| tag != etag) {
                return Err(Refused::InvalidPart);
            }
            whole.extend_from_slice(bytes);
        }
        self.check(key, condition)?;
        self.uploads.remove(id);
        let tag = format!("{}-{}", etag(&whole), parts.len());
        Ok(self.store(key, whole.into(), tag))
    }

    pub(super) fn abort_upload(&mut self, (key, id): (&str, &str)) -> Result<(), Refused> {
        if self.uploads.get(id).is_none_or(|upload| upload.key != key) {
            return Err(Refused::NoSuchUpload);
        }
        self.uploads.remove(id);
        Ok(())
    }
}
