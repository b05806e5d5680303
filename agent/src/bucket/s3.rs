//! A bucket that speaks S3, through the SDK.
//!
//! How the client is made is in [`connect`], where its credentials come from in [`credentials`], uploads in parts in [`uploads`]; what S3's refusals mean is in
//! [`error_response`].

mod connect;
mod credentials;
mod error_response;
mod http_client;
mod outbound_proxy;
mod uploads;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, SharedHttpClient};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStreamError, DateTime};
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::error::{BucketErrorKind, Failure};
use super::{Condition, Entry, Fetched, Page, Piece, Tag};
use crate::settings::S3Settings;

pub use error_response::ErrorResponse;

/// A bucket on an S3 server.
#[derive(Debug)]
pub(super) struct S3Bucket {
    bucket: String,
    prefix: String,
    settings: S3Settings,
    /// In place of the standard chain.
    credentials: Option<Credentials>,
    /// Made by the first request: region and credentials may have to be asked for.
    client: OnceCell<Client>,
}

impl S3Bucket {
    pub(super) fn new(
        bucket: &str,
        prefix: &str,
        settings: &S3Settings,
        credentials: Option<(&str, &str)>,
    ) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.into(),
            settings: settings.clone(),
            credentials: credentials
                .map(|(key, secret)| Credentials::new(key, secret, None, None, "given")),
            client: OnceCell::new(),
        }
    }

    fn full_key(&self, key: &str) -> String {
        if self.prefix.is_empty() {
            key.into()
        } else {
            format!("{}/{key}", self.prefix)
        }
    }

    pub(super) async fn get(
        &self,
        key: &str,
        known: Option<&Tag>,
        limit: u64,
    ) -> Result<Fetched, Failure> {
        let answer = self
            .client()
            .await?
            .get_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .set_if_none_match(known.map(|tag| tag.0.clone()))
            .send()
            .await;
        match answer {
            Ok(object) => {
                let tag = Tag(object.e_tag().unwrap_or_default().into());
                let bytes = read_body(object, limit).await?;
                Ok(Fetched::Object { bytes, tag })
            }
            // Without a tag to compare, 304 says nothing: let it be an answer that is not as it should be.
            Err(error) if known.is_some() && error_response::is_not_modified(&error) => {
                Ok(Fetched::Unchanged)
            }
            Err(error) => Err(error_response::failure(error)),
        }
    }

    /// The `Date` of an answer: read where it is no success (304, 403), for of successes the SDK does not show it.
    pub(super) async fn date(&self, key: &str, known: Option<&Tag>) -> Option<Timestamp> {
        let any = || "*".to_owned();
        let answer = self
            .client()
            .await
            .ok()?
            .get_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .if_none_match(known.map_or_else(any, |tag| tag.0.clone()))
            .send()
            .await;
        answer.err().and_then(|error| error_response::date(&error))
    }

    pub(super) async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        condition: Option<&Condition>,
    ) -> Result<Tag, Failure> {
        let request = self
            .client()
            .await?
            .put_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .body(bytes.into());
        let request = match condition {
            None => request,
            Some(Condition::Absent) => request.if_none_match("*"),
            Some(Condition::Matches(tag)) => request.if_match(&tag.0),
        };
        let done = request.send().await.map_err(error_response::failure)?;
        Ok(Tag(done.e_tag().unwrap_or_default().into()))
    }

    pub(super) async fn get_range(
        &self,
        key: &str,
        from: u64,
        length: u64,
        tag: Option<&Tag>,
    ) -> Result<Piece, Failure> {
        let last = from.saturating_add(length.saturating_sub(1));
        let answer = self
            .client()
            .await?
            .get_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .range(format!("bytes={from}-{last}"))
            .set_if_match(tag.map(|tag| tag.0.clone()))
            .send()
            .await;
        let object = match answer.map_err(error_response::failure) {
            Ok(object) => object,
            // An empty object has no range at all.
            Err(failure) if failure.kind == BucketErrorKind::OutOfRange && from == 0 => {
                return self.get_empty(key, tag).await;
            }
            Err(failure) => return Err(failure),
        };
        let size = whole_size(object.content_range(), object.content_length(), from)?;
        let tag = Tag(object.e_tag().unwrap_or_default().into());
        let bytes = read_body(object, length).await?;
        let expected = length.min(size.saturating_sub(from));
        if bytes.len() as u64 != expected {
            return Err(Failure::new(
                BucketErrorKind::WrongAnswer,
                format!(
                    "{} bytes came where there should be {expected}",
                    bytes.len()
                ),
            ));
        }
        Ok(Piece { bytes, tag, size })
    }

    async fn get_empty(&self, key: &str, tag: Option<&Tag>) -> Result<Piece, Failure> {
        match self.get(key, None, 0).await? {
            Fetched::Object { tag: present, .. } if tag.is_some_and(|tag| *tag != present) => {
                Err(Failure {
                    kind: BucketErrorKind::Conflict,
                    source: None,
                })
            }
            Fetched::Object { bytes, tag } => Ok(Piece {
                bytes,
                tag,
                size: 0,
            }),
            Fetched::Unchanged => Err(wrong("304 to a question without a tag")),
        }
    }

    pub(super) async fn delete(&self, key: &str, tag: Option<&Tag>) -> Result<(), Failure> {
        let deleted = self
            .client()
            .await?
            .delete_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .set_if_match(tag.map(|tag| tag.0.clone()))
            .send()
            .await;
        match deleted.map_err(error_response::failure) {
            Err(failure) if failure.kind == BucketErrorKind::Missing => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page, Failure> {
        let page = self
            .client()
            .await?
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.full_key(prefix))
            // Unlike the server's own token, a key is still good after a restart.
            .set_start_after(after.map(|after| self.full_key(after)))
            .max_keys(i32::try_from(most).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(error_response::failure)?;
        let entries = page
            .contents()
            .iter()
            .map(|object| {
                Ok(Entry {
                    key: self.own_key(object.key())?,
                    size: object
                        .size()
                        .and_then(|size| u64::try_from(size).ok())
                        .ok_or_else(|| wrong("an object in a list has no size"))?,
                    modified: object.last_modified().and_then(timestamp),
                    tag: object.e_tag().map(|tag| Tag(tag.into())),
                })
            })
            .collect::<Result<_, Failure>>()?;
        let more = page.is_truncated().unwrap_or_default();
        Ok(Page { entries, more })
    }

    /// A key of the bucket, as the agent calls it.
    fn own_key(&self, key: Option<&str>) -> Result<String, Failure> {
        let key = key.ok_or_else(|| wrong("an object in a list has no key"))?;
        if self.prefix.is_empty() {
            return Ok(key.into());
        }
        key.strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix('/'))
            .map(str::to_owned)
            .ok_or_else(|| wrong(&format!("the list has {key:?}, which is of another prefix")))
    }
}

fn wrong(what: &str) -> Failure {
    // Headers and keys of the answer are quoted in it.
    Failure::new(
        BucketErrorKind::WrongAnswer,
        error_response::Shown(what).to_string(),
    )
}

/// An HTTP client that reads no more of an answer than a good server sends.
pub fn bounded_http_client() -> SharedHttpClient {
    http_client::lazy_http_client()
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::from_second(time.secs()).ok()
}

/// The size of the whole object of which an answer holds the bytes from `from` on.
fn whole_size(
    content_range: Option<&str>,
    content_length: Option<i64>,
    from: u64,
) -> Result<u64, Failure> {
    match (content_range.map(parse_content_range), content_length) {
        (Some(Some((first, _, size))), _) if first == from => Ok(size),
        // Without ranges, but all of it: as good.
        (None, Some(length)) if from == 0 => Ok(u64::try_from(length).unwrap_or_default()),
        _ => Err(wrong(&format!(
            "asked for the bytes from {from} on, it sends {}",
            content_range.unwrap_or("all of it")
        ))),
    }
}

/// `bytes FIRST-LAST/SIZE`.
fn parse_content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, size.parse().ok()?))
}

/// An answer's body did not come whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off after {received} bytes")]
struct BrokenOff {
    received: usize,
    source: ByteStreamError,
}

/// Reads an answer's body of at most `limit` bytes, and all that was announced.
async fn read_body(object: GetObjectOutput, limit: u64) -> Result<Vec<u8>, Failure> {
    let too_large = |size: u64| {
        Failure::new(
            BucketErrorKind::TooLarge,
            format!("it has {size} bytes or more, the limit is {limit}"),
        )
    };
    let announced = object
        .content_length()
        .and_then(|length| u64::try_from(length).ok());
    if let Some(size) = announced.filter(|size| *size > limit) {
        return Err(too_large(size));
    }

    let capacity = announced.unwrap_or_default();
    let mut bytes = Vec::with_capacity(usize::try_from(capacity).unwrap_or_default());
    let mut body = object.body;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|source| {
            let broken = BrokenOff {
                received: bytes.len(),
                source,
            };
            Failure::new(BucketErrorKind::Unavailable, broken)
        })?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(too_large(bytes.len() as u64));
        }
    }
    match announced {
        Some(size) if size != bytes.len() as u64 => Err(Failure::new(
            BucketErrorKind::Unavailable,
            format!("truncated: {} of {size} bytes came", bytes.len()),
        )),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_range_that_was_asked_for_is_taken() {
        let size = |range, length, from| whole_size(range, length, from).ok();
        assert_eq!(size(Some("bytes 5-9/20"), Some(5), 5), Some(20));
        assert_eq!(size(Some("bytes 0-9/20"), Some(10), 5), None);
        assert_eq!(size(Some("bytes 5-9/*"), Some(5), 5), None);
        assert_eq!(size(Some("nonsense"), Some(5), 5), None);
        assert_eq!(size(None, Some(20), 0), Some(20));
        assert_eq!(size(None, Some(20), 5), None);
        assert_eq!(size(None, None, 0), None);
    }
}
