//! From the protocol's types to the bucket's content and back.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::HeaderMap;
use http::header::ETAG;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, ETag, ETagCondition,
    GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsV2Input,
    ListObjectsV2Output, MultipartUpload, Object as ListedObject, PutObjectInput, PutObjectOutput,
    StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::Shared;
use super::objects::{ANY, Condition, ReadCondition, Refused};

/// The largest body of one request that is taken.
const LARGEST: usize = 256 * 1024 * 1024;

/// The bucket behind the protocol.
pub(super) struct Backend {
    bucket: String,
    shared: Arc<Shared>,
}

impl Backend {
    pub(super) fn new(bucket: &str, shared: Arc<Shared>) -> Self {
        Self {
            bucket: bucket.into(),
            shared,
        }
    }

    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket {
            Ok(())
        } else {
            Err(s3_error!(
                NoSuchBucket,
                "The specified bucket does not exist"
            ))
        }
    }
}

impl From<Refused> for S3Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
            Refused::NoSuchUpload => {
                s3_error!(NoSuchUpload, "The specified upload does not exist.")
            }
            Refused::InvalidPart => {
                s3_error!(InvalidPart, "A part is missing, or not as uploaded.")
            }
            Refused::EntityTooSmall => {
                s3_error!(EntityTooSmall, "A part but the last has less than 5 MiB.")
            }
            Refused::PreconditionFailed => {
                s3_error!(
                    PreconditionFailed,
                    "A precondition of the request does not hold."
                )
            }
            Refused::Conflict => {
                let mut error = Self::with_message(
                    S3ErrorCode::Custom("ConditionalRequestConflict".into()),
                    "Another conditional write of this key is under way.",
                );
                error.set_status_code(http::StatusCode::CONFLICT);
                error
            }
            Refused::NotModified(present) => {
                let mut error = Self::new(S3ErrorCode::NotModified);
                let mut headers = HeaderMap::new();
                if let Ok(value) = ETag::Strong(present).to_http_header() {
                    headers.insert(ETAG, value);
                }
                error.set_headers(headers);
                error
            }
        }
    }
}

fn tag(condition: ETagCondition) -> String {
    match condition {
        ETagCondition::Any => ANY.into(),
        ETagCondition::ETag(tag) => tag.into_value(),
    }
}

fn write_condition(
    matches: Option<ETagCondition>,
    differs: Option<ETagCondition>,
) -> S3Result<Condition> {
    match (matches, differs) {
        (None, None) => Ok(Condition::None),
        (Some(condition), None) => Ok(Condition::Matches(tag(condition))),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        _ => Err(s3_error!(
            NotImplemented,
            "Of conditional writes there are If-Match and If-None-Match: *."
        )),
    }
}

async fn read_body(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut bytes = BytesMut::new();
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST {
                return Err(s3_error!(EntityTooLarge));
            }
        }
    }
    Ok(bytes.freeze())
}

fn timestamp(seconds: i64) -> Timestamp {
    (UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())).into()
}

fn length(bytes: usize) -> Option<i64> {
    i64::try_from(bytes).ok()
}

#[async_trait::async_trait]
impl S3 for Backend {
    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let condition = ReadCondition {
            matches: input.if_match.map(tag),
            differs: input.if_none_match.map(tag),
        };
        let object = self.shared.objects().read(&input.key, &condition)?;
        let size = object.bytes.len();
        let (bytes, content_range) = match input.range {
            None => (object.bytes, None),
            Some(range) => {
                let part = range.check(size as u64)?;
                let shown = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
                let from = usize::try_from(part.start).unwrap_or(size);
                let to = usize::try_from(part.end).unwrap_or(size);
                (object.bytes.slice(from..to), Some(shown))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            content_length: length(bytes.len()),
            content_range,
            accept_ranges: Some("bytes".into()),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(timestamp(object.modified)),
            body: Some(StreamingBlob::from(Body::from(bytes))),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let condition = ReadCondition {
            matches: input.if_match.map(tag),
            differs: input.if_none_match.map(tag),
        };
        let object = self.shared.objects().read(&input.key, &condition)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: length(object.bytes.len()),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(timestamp(object.modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let condition = write_condition(input.if_match, input.if_none_match)?;
        let bytes = read_body(input.body).await?;
        let etag = self.shared.objects().write(&input.key, bytes, &condition)?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            ..PutObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let condition = write_condition(input.if_match, None)?;
        self.shared.objects().remove(&input.key, &condition)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        if input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "Lists have no delimiter here."));
        }
        let prefix = input.prefix.unwrap_or_default();
        let after = input
            .continuation_token
            .clone()
            .or_else(|| input.start_after.clone())
            .unwrap_or_default();
        let most = input.max_keys.unwrap_or(1000).clamp(0, 1000);
        let objects = self.shared.objects();
        let (page, more) = objects.list(&prefix, &after, usize::try_from(most).unwrap_or_default());
        let next = page
            .last()
            .filter(|_| more)
            .map(|(key, _)| (*key).to_owned());
        let contents: Vec<ListedObject> = page
            .into_iter()
            .map(|(key, object)| ListedObject {
                key: Some(key.into()),
                size: length(object.bytes.len()),
                e_tag: Some(ETag::Strong(object.etag.clone())),
                last_modified: Some(timestamp(object.modified)),
                ..ListedObject::default()
            })
            .collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            max_keys: Some(most),
            key_count: i32::try_from(contents.len()).ok(),
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next,
            start_after: input.start_after,
            contents: Some(contents),
            common_prefixes: Some(Vec::<CommonPrefix>::new()),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let id = self.shared.objects().begin_upload(&input.key);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        if input.delimiter.is_some() || input.key_marker.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "Lists of uploads have no delimiter and no second page here."
            ));
        }
        let prefix = input.prefix.unwrap_or_default();
        let most = input.max_uploads.unwrap_or(1000).clamp(0, 1000);
        let objects = self.shared.objects();
        let (found, more) = objects.uploads(&prefix, usize::try_from(most).unwrap_or_default());
        let uploads = found
            .into_iter()
            .map(|(key, id, begun)| MultipartUpload {
                key: Some(key.into()),
                upload_id: Some(id.into()),
                initiated: Some(timestamp(begun)),
                ..MultipartUpload::default()
            })
            .collect();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(prefix),
            max_uploads: Some(most),
            is_truncated: Some(more),
            uploads: Some(uploads),
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let bytes = read_body(input.body).await?;
        let upload = (input.key.as_str(), input.upload_id.as_str());
        let etag = self
            .shared
            .objects()
            .put_part(upload, input.part_number, bytes)?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let condition = write_condition(input.if_match, input.if_none_match)?;
        let parts: Vec<(i32, Option<String>)> = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default()
            .into_iter()
            .map(|part| {
                let number = part.part_number.unwrap_or_default();
                (number, part.e_tag.map(ETag::into_value))
            })
            .collect();
        let upload = (input.key.as_str(), input.upload_id.as_str());
        let etag = self
            .shared
            .objects()
            .complete_upload(upload, &parts, &condition)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.check_bucket(&input.bucket)?;
        let upload = (input.key.as_str(), input.upload_id.as_str());
        self.shared.objects().abort_upload(upload)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
