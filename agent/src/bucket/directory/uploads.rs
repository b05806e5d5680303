//! Uploads in parts, in a directory: a file beside the object-to-be, that grows part by part.

use bytes::Bytes;

use super::super::error::{BucketErrorKind, Failure};
use super::super::{Condition, LONGEST_PAGE, PendingUpload, Tag, UploadId};
use super::{DirectoryBucket, LOCK, check_tag, explain};
use crate::system::object::list::{self, Wanted};
use crate::system::object::{self, partial};
use crate::system::random;

impl DirectoryBucket {
    pub(in super::super) async fn create_upload(&self, key: &str) -> Result<UploadId, Failure> {
        let path = self.path(key);
        let dir = self.dir.clone();
        self.off_the_loop(move |_| {
            let number = random::bytes()
                .map_err(|error| Failure::new(BucketErrorKind::Unavailable, error))?;
            let id = hex::encode(number);
            let explain = |error| explain(&dir, error);
            // The directory may be removed by who deletes its last object.
            let _lock = object::lock(&dir.join(LOCK)).map_err(explain)?;
            partial::begin(&partial::place(&path, &id)).map_err(explain)?;
            Ok(UploadId(id))
        })
        .await
    }

    /// `before`: how many bytes stand before this part.
    pub(in super::super) async fn upload_part(
        &self,
        upload: &PendingUpload,
        before: u64,
        bytes: Bytes,
    ) -> Result<Tag, Failure> {
        let partial = partial::place(&self.path(&upload.key), id(upload)?);
        let dir = self.dir.clone();
        self.off_the_loop(move |_| {
            partial::write(&partial, before, &bytes).map_err(|error| explain(&dir, error))?;
            // Parts need no tags here: they are in one file.
            Ok(Tag(String::new()))
        })
        .await
    }

    /// `size`: of all parts together.
    pub(in super::super) async fn complete_upload(
        &self,
        upload: &PendingUpload,
        size: u64,
        condition: Option<&Condition>,
    ) -> Result<Tag, Failure> {
        let path = self.path(&upload.key);
        let partial = partial::place(&path, id(upload)?);
        let dir = self.dir.clone();
        let condition = condition.cloned();
        self.off_the_loop(move |_| {
            let explain = |error| explain(&dir, error);
            let (digest, stamp) = object::digest_with_stamp(&partial).map_err(explain)?;
            if stamp.size() != size {
                let why = format!("{size} bytes were uploaded, {} are there", stamp.size());
                return Err(Failure::new(BucketErrorKind::WrongAnswer, why));
            }
            let _lock = object::lock(&dir.join(LOCK)).map_err(explain)?;
            check_tag(&dir, &path, condition.as_ref())?;
            let new = condition == Some(Condition::Absent);
            partial::complete(&partial, &path, new).map_err(explain)?;
            Ok(Tag(digest))
        })
        .await
    }

    pub(in super::super) async fn abort_upload(
        &self,
        upload: &PendingUpload,
    ) -> Result<(), Failure> {
        let partial = partial::place(&self.path(&upload.key), id(upload)?);
        let dir = self.dir.clone();
        self.off_the_loop(move |_| {
            let explain = |error| explain(&dir, error);
            let _lock = object::lock(&dir.join(LOCK)).map_err(explain)?;
            object::remove(&dir, &partial).map_err(explain)?;
            Ok(())
        })
        .await
    }

    pub(in super::super) async fn pending_uploads(
        &self,
        prefix: &str,
    ) -> Result<Vec<PendingUpload>, Failure> {
        let dir = self.dir.clone();
        let prefix = prefix.to_owned();
        self.off_the_loop(move |_| {
            let folder = prefix
                .rfind('/')
                .map_or("", |slash| prefix.get(..=slash).unwrap_or_default());
            let wanted = Wanted {
                prefix: folder,
                after: None,
                // Those of other prefixes in the same folder are among them.
                most: usize::MAX,
                name: |name| partial::parse(name).is_some(),
            };
            let (found, _) = list::list(&dir, wanted).map_err(|error| explain(&dir, error))?;
            let uploads = found.into_iter().filter_map(|found| {
                let (folder, name) = match found.key.rsplit_once('/') {
                    Some((folder, name)) => (format!("{folder}/"), name),
                    None => (String::new(), found.key.as_str()),
                };
                let (name, id) = partial::parse(name)?;
                let key = format!("{folder}{name}");
                key.starts_with(&prefix).then(|| PendingUpload {
                    key,
                    id: UploadId(id.into()),
                    begun: found.modified,
                })
            });
            Ok(uploads.take(LONGEST_PAGE).collect())
        })
        .await
    }
}

/// An id that is part of a path.
fn id(upload: &PendingUpload) -> Result<&str, Failure> {
    let id = upload.id.0.as_str();
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(id)
    } else {
        let why = format!("there is no upload {id:?}");
        Err(Failure::new(BucketErrorKind::Missing, why))
    }
}
