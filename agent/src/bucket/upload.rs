//! Uploading an object in parts, whose size need not be known before: bounded memory, a deadline a part.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::error::{BucketErrorKind, Failure};
use super::{Bucket, BucketError, Condition, Store, Tag, key};

/// How many parts an upload can have: S3's limit.
pub const MOST_PARTS: usize = 10_000;
/// The least size of all parts but the last, in bytes: S3's limit.
pub const SMALLEST_PART: usize = 5 * MIB;
/// The size of the largest parts that are advised, in bytes: what an upload needs of memory, while one is on its way.
pub const LARGEST_PART: usize = 32 * MIB;
/// The largest object whose parts all have the advised size, in bytes: 273 GiB.
pub const LARGEST_UPLOAD: u64 =
    8 * (1000 * MIB as u64) + 16 * (1000 * MIB as u64) + 32 * (8000 * MIB as u64);

/// What the completion of an upload is given besides the common timeout: S3 may work for minutes.
const COMPLETION: Duration = Duration::from_mins(3);
const MIB: usize = 1024 * 1024;

/// The advised size of the part after `parts` others, in bytes. Parts grow, so that a small object needs little
/// memory, and [`MOST_PARTS`] reach [`LARGEST_UPLOAD`].
pub const fn part_size(parts: usize) -> usize {
    match parts {
        0..1000 => 8 * MIB,
        1000..2000 => 16 * MIB,
        _ => LARGEST_PART,
    }
}

/// An upload under way, as the bucket names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UploadId(pub String);

/// An upload that was begun and is neither complete nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingUpload {
    /// The key of the object that it would make.
    pub key: String,
    /// Its id.
    pub id: UploadId,
    /// When it was begun; in a directory, when it was last written to.
    pub begun: Option<Timestamp>,
}

/// A part that was uploaded.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) tag: Tag,
    pub(super) size: u64,
}

/// An object that is being uploaded in parts. There is nothing under its key before [`Upload::complete`].
///
/// Dropped, it stays in the bucket, and costs, until it is aborted: see [`Bucket::pending_uploads`].
#[derive(Debug)]
pub struct Upload {
    bucket: Bucket,
    pending: PendingUpload,
    parts: Vec<Part>,
    size: u64,
}

impl Bucket {
    /// Begins an upload in parts. One request.
    pub async fn begin_upload(&self, key: &str) -> Result<Upload, BucketError> {
        let id = self.create_upload(key).await?;
        Ok(Upload {
            bucket: self.clone(),
            pending: PendingUpload {
                key: key.into(),
                id,
                begun: None,
            },
            parts: Vec::new(),
            size: 0,
        })
    }

    /// Uploads under way, or left behind by who was killed, of objects whose keys begin with `prefix`: at most
    /// [`super::LONGEST_PAGE`] of them. Who aborts them and asks again gets the others. One request.
    pub async fn pending_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, BucketError> {
        let request = async {
            key::check_prefix(prefix)?;
            match &*self.store {
                Store::S3(bucket) => Box::pin(bucket.pending_uploads(prefix)).await,
                Store::Directory(bucket) => bucket.pending_uploads(prefix).await,
            }
        };
        self.call("list the uploads of", prefix, self.timeout, request)
            .await
    }

    /// Gives up an upload that somebody began, and what it takes of the bucket. One request. That there is none is a
    /// success.
    pub async fn abort_upload(&self, upload: &PendingUpload) -> Result<(), BucketError> {
        let request = async {
            key::check(&upload.key)?;
            let aborted = match &*self.store {
                Store::S3(bucket) => Box::pin(bucket.abort_upload(upload)).await,
                Store::Directory(bucket) => bucket.abort_upload(upload).await,
            };
            match aborted {
                Err(failure) if failure.kind == BucketErrorKind::Missing => Ok(()),
                aborted => aborted,
            }
        };
        self.call("upload", &upload.key, self.timeout, request)
            .await
    }

    async fn create_upload(&self, key: &str) -> Result<UploadId, BucketError> {
        let request = async {
            key::check(key)?;
            match &*self.store {
                Store::S3(bucket) => Box::pin(bucket.create_upload(key)).await,
                Store::Directory(bucket) => bucket.create_upload(key).await,
            }
        };
        self.call("upload", key, self.timeout, request).await
    }

    /// `place`: how many parts, and how many bytes, stand before this one.
    pub(super) async fn upload_part(
        &self,
        upload: &PendingUpload,
        place: (usize, u64),
        bytes: Bytes,
    ) -> Result<Tag, BucketError> {
        let time = self.time_for(bytes.len() as u64);
        let request = async {
            match &*self.store {
                Store::S3(bucket) => Box::pin(bucket.upload_part(upload, place.0, bytes)).await,
                Store::Directory(bucket) => bucket.upload_part(upload, place.1, bytes).await,
            }
        };
        self.call("upload", &upload.key, time, request).await
    }

    pub(super) async fn complete_upload(
        &self,
        upload: &PendingUpload,
        parts: &[Part],
        size: u64,
        condition: Option<&Condition>,
    ) -> Result<Tag, BucketError> {
        let time = self.timeout.saturating_add(COMPLETION);
        let request = async {
            match &*self.store {
                Store::S3(bucket) => {
                    Box::pin(bucket.complete_upload(upload, parts, condition)).await
                }
                Store::Directory(bucket) => bucket.complete_upload(upload, size, condition).await,
            }
        };
        self.call("upload", &upload.key, time, request).await
    }
}

impl Upload {
    /// The advised size of the next part, in bytes.
    pub const fn part_size(&self) -> usize {
        part_size(self.parts.len())
    }

    /// How many bytes were uploaded.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What others see of it, and how it is aborted by them.
    pub const fn pending(&self) -> &PendingUpload {
        &self.pending
    }

    /// Uploads the next part. All but the last have at least [`SMALLEST_PART`] bytes. One request, signed over the
    /// SHA-256 of the part, which the server compares with what came.
    ///
    /// After an error the part is not in, and may be put again.
    pub async fn put_part(&mut self, bytes: Bytes) -> Result<(), BucketError> {
        let last_is_short = self
            .parts
            .last()
            .is_some_and(|part| part.size < SMALLEST_PART as u64);
        if last_is_short {
            return Err(self.invalid("only the last part may have less than 5 MiB"));
        }
        if self.parts.len() >= MOST_PARTS {
            return Err(self.invalid("an upload has at most 10000 parts"));
        }
        let size = bytes.len() as u64;
        let place = (self.parts.len(), self.size);
        let tag = self.bucket.upload_part(&self.pending, place, bytes).await?;
        self.parts.push(Part { tag, size });
        self.size = self.size.saturating_add(size);
        Ok(())
    }

    /// Makes the object of the parts, on a condition or without one. One request. Returns the object's tag.
    ///
    /// After [`BucketErrorKind::Unavailable`] nobody knows whether it was made: get it and look. After any other error
    /// it was not, and the upload is still there, to be aborted.
    pub async fn complete(&self, condition: Option<&Condition>) -> Result<Tag, BucketError> {
        if self.parts.is_empty() {
            return Err(self.invalid("an upload has one part at least"));
        }
        self.bucket
            .complete_upload(&self.pending, &self.parts, self.size, condition)
            .await
    }

    /// Gives it up, and what it takes of the bucket. One request.
    pub async fn abort(self) -> Result<(), BucketError> {
        self.bucket.abort_upload(&self.pending).await
    }

    fn invalid(&self, why: &str) -> BucketError {
        let failure = Failure::new(BucketErrorKind::InvalidRequest, why);
        self.bucket.error("upload", &self.pending.key, failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_of_the_advised_size_are_the_largest_upload() {
        let whole: u64 = (0..MOST_PARTS).map(|n| part_size(n) as u64).sum();
        assert_eq!(whole, LARGEST_UPLOAD);
        assert_eq!(whole >> 30, 273);
        assert!((0..MOST_PARTS).all(|n| (SMALLEST_PART..=LARGEST_PART).contains(&part_size(n))));
    }

    #[tokio::test]
    async fn one_part_too_many_is_not_sent() {
        let dir = tempfile::TempDir::new().unwrap();
        let settings = crate::settings::S3Settings {
            endpoint: None,
            region: None,
            path_style: false,
            timeout: Duration::from_secs(10),
        };
        let url = crate::settings::BucketUrl::Directory(dir.path().into());
        let bucket = Bucket::open(&url, &settings).await;
        let mut upload = bucket.begin_upload("key").await.unwrap();
        let part = |size: usize| Part {
            tag: Tag(String::new()),
            size: size as u64,
        };
        upload.parts = vec![part(SMALLEST_PART); MOST_PARTS - 1];
        assert_eq!(upload.part_size(), LARGEST_PART);
        upload.put_part("last".into()).await.unwrap();
        upload.parts = vec![part(SMALLEST_PART); MOST_PARTS];
        let error = upload.put_part("more".into()).await.unwrap_err();
        assert_eq!(error.kind, BucketErrorKind::InvalidRequest);
        assert_eq!(upload.size(), 4);
    }
}
