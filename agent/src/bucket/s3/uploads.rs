//! Uploads in parts, as S3 has them.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::super::error::Failure;
use super::super::upload::Part;
use super::super::{Condition, LONGEST_PAGE, PendingUpload, Tag, UploadId};
use super::{S3Bucket, error_response, timestamp, wrong};

impl S3Bucket {
    pub(in super::super) async fn create_upload(&self, key: &str) -> Result<UploadId, Failure> {
        let created = self
            .client()
            .await?
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .send()
            .await
            .map_err(error_response::failure)?;
        match created.upload_id {
            Some(id) if !id.is_empty() => Ok(UploadId(id)),
            _ => Err(wrong("an upload was begun that has no id")),
        }
    }

    /// `before`: how many parts stand before this one.
    pub(in super::super) async fn upload_part(
        &self,
        upload: &PendingUpload,
        before: usize,
        bytes: Bytes,
    ) -> Result<Tag, Failure> {
        let put = self
            .client()
            .await?
            .upload_part()
            .bucket(&self.bucket)
            .key(self.full_key(&upload.key))
            .upload_id(&upload.id.0)
            .part_number(number(before))
            .body(bytes.into())
            .send()
            .await
            .map_err(error_response::failure)?;
        let tag = put
            .e_tag
            .ok_or_else(|| wrong("a part was put that has no tag"))?;
        Ok(Tag(tag))
    }

    pub(in super::super) async fn complete_upload(
        &self,
        upload: &PendingUpload,
        parts: &[Part],
        condition: Option<&Condition>,
    ) -> Result<Tag, Failure> {
        let parts = parts.iter().enumerate().map(|(before, part)| {
            CompletedPart::builder()
                .part_number(number(before))
                .e_tag(&part.tag.0)
                .build()
        });
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.collect()))
            .build();
        let request = self
            .client()
            .await?
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full_key(&upload.key))
            .upload_id(&upload.id.0)
            .multipart_upload(parts);
        let request = match condition {
            None => request,
            Some(Condition::Absent) => request.if_none_match("*"),
            Some(Condition::Matches(tag)) => request.if_match(&tag.0),
        };
        let done = request.send().await.map_err(error_response::failure)?;
        Ok(Tag(done.e_tag.unwrap_or_default()))
    }

    pub(in super::super) async fn abort_upload(
        &self,
        upload: &PendingUpload,
    ) -> Result<(), Failure> {
        self.client()
            .await?
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full_key(&upload.key))
            .upload_id(&upload.id.0)
            .send()
            .await
            .map(drop)
            .map_err(error_response::failure)
    }

    pub(in super::super) async fn pending_uploads(
        &self,
        prefix: &str,
    ) -> Result<Vec<PendingUpload>, Failure> {
        let list = self
            .client()
            .await?
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .prefix(self.full_key(prefix))
            .max_uploads(i32::try_from(LONGEST_PAGE).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(error_response::failure)?;
        list.uploads()
            .iter()
            .map(|upload| {
                let id = upload.upload_id().unwrap_or_default();
                Ok(PendingUpload {
                    key: self.own_key(upload.key())?,
                    id: UploadId(id.into()),
                    begun: upload.initiated().and_then(timestamp),
                })
            })
            .collect()
    }
}

/// Parts are counted from 1.
fn number(before: usize) -> i32 {
    i32::try_from(before).unwrap_or(i32::MAX).saturating_add(1)
}
