//! What is published: `fleet.json`, and each version of it under `versions/`.

use super::super::failure::Failure;
use super::desk::{Desk, LIMIT};
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Fetched, Tag};
use crate::converge::intake::KEY;
use crate::fleet::names::KeyName;
use crate::fleet::{Document, Refused};
use crate::report::text;
use crate::settings::Trust;

/// An object of the bucket that is a document.
pub(in crate::ctl) struct Published {
    pub(in crate::ctl) bytes: Vec<u8>,
    pub(in crate::ctl) tag: Tag,
    /// What it says and who signed it; or why it is no document to go by.
    pub(in crate::ctl) document: Result<Document, Refused>,
}

/// The key of a version.
pub(in crate::ctl) fn version_key(version: u64) -> String {
    format!("versions/{version}.json")
}

/// Gets an object; `None` where there is none.
pub(in crate::ctl) async fn get(
    bucket: &Bucket,
    key: &str,
) -> Result<Option<(Vec<u8>, Tag)>, Failure> {
    match bucket.get(key, None, LIMIT).await {
        Ok(Fetched::Object { bytes, tag }) => Ok(Some((bytes, tag))),
        // Only an answer to a tag could say so, and none was given.
        Ok(Fetched::Unchanged) => Ok(None),
        Err(error) if error.kind == BucketErrorKind::Missing => Ok(None),
        Err(error) => Err(told(error)),
    }
}

/// An error of the bucket, for a person at a desk.
pub(in crate::ctl) fn told(error: BucketError) -> Failure {
    let hint = match error.kind {
        BucketErrorKind::MissingBucket => "create it, or correct `fleet`",
        BucketErrorKind::Denied => {
            "your credentials may not do that: packaging/iam has the operator's policy"
        }
        BucketErrorKind::Credentials => {
            "log in as the AWS command line does: AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
        BucketErrorKind::Region => "write region and endpoint into [s3] of desk.toml",
        _ => return Failure::because(error.to_string(), error),
    };
    Failure::because(error.to_string(), error).hint(hint)
}

impl Published {
    /// The document that is published now.
    pub(in crate::ctl) async fn now(
        bucket: &Bucket,
        trust: &Trust,
    ) -> Result<Option<Self>, Failure> {
        Self::at(bucket, KEY, trust).await
    }

    /// The document under a key. It was accepted when it was published: rules that came later do not count.
    pub(in crate::ctl) async fn at(
        bucket: &Bucket,
        key: &str,
        trust: &Trust,
    ) -> Result<Option<Self>, Failure> {
        Ok(get(bucket, key).await?.map(|(bytes, tag)| Self {
            document: Document::read_accepted_trusted(&bytes, trust),
            bytes,
            tag,
        }))
    }

    /// The document that is published now, read only if it is another one than this; `None`: there is none any more.
    pub(in crate::ctl) async fn again(
        self,
        bucket: &Bucket,
        trust: &Trust,
    ) -> Result<Option<Self>, Failure> {
        match bucket.get(KEY, Some(&self.tag), LIMIT).await {
            Ok(Fetched::Unchanged) => Ok(Some(self)),
            Ok(Fetched::Object { bytes, tag }) => Ok(Some(Self {
                document: Document::read_accepted_trusted(&bytes, trust),
                bytes,
                tag,
            })),
            Err(error) if error.kind == BucketErrorKind::Missing => Ok(None),
            Err(error) => Err(told(error)),
        }
    }

    /// The document, which must be one that machines take.
    pub(in crate::ctl) fn good(&self, what: &str) -> Result<&Document, Failure> {
        self.document.as_ref().map_err(|refused| {
            Failure::new(format!("{what} is none that machines take"))
                .hint(refused.reasons().join("\n"))
        })
    }
}

/// `version 42, signed by alice`.
pub(in crate::ctl) fn described(version: u64, signers: &[KeyName]) -> String {
    match text::signed_by(signers) {
        Some(signed) => format!("version {version}, {signed}"),
        None => format!("version {version}"),
    }
}

impl Desk {
    /// The document that is published now, which must be one that machines take.
    pub(in crate::ctl) async fn published(&self) -> Result<Published, Failure> {
        let bucket = self.bucket().await?;
        let published = Published::now(&bucket, self.trust()?).await?;
        let published = published.ok_or_else(|| {
            Failure::new(format!("nothing is published at {}", bucket.url(KEY)))
                .hint("agentctl fleet init begins a fleet")
        })?;
        published.good(&bucket.url(KEY))?;
        Ok(published)
    }
}
