//! What the bucket is asked at a poll, and what it answers.

use super::KEY;
use super::staging::{RolloutAnswer, RolloutQuestion};
use super::succession::{Walk, Walked};
use crate::bucket::{Bucket, BucketError, Fetched, Tag};

/// One question to the bucket: its document, unless it is still the one that is known.
#[derive(Debug)]
pub struct Question {
    pub(super) known: Option<Tag>,
    pub(super) limit: u64,
    pub(super) source: String,
    pub(super) trust: Option<Walk>,
    pub(super) rollout: Option<RolloutQuestion>,
}

/// The bucket's answer.
#[derive(Debug)]
pub struct Answer {
    pub(super) document: Result<Fetched, BucketError>,
    pub(super) trust: Walked,
    pub(super) rollout: Option<RolloutAnswer>,
}

impl Question {
    /// Asks it. One request, with the bucket's deadline; where there is news, and now and then, one more for whether others
    /// sign now, and one for each time that this has changed. While this box waits for its wave, one more for how far the version
    /// may go.
    pub async fn ask(&self, bucket: &Bucket) -> Answer {
        let document = bucket.get(KEY, self.known.as_ref(), self.limit).await;
        let news = matches!(document, Ok(Fetched::Object { .. }));
        let trust = match &self.trust {
            Some(walk) if document.is_ok() => walk.walk(bucket, news).await,
            _ => Walked::default(),
        };
        // Of the document that waited; a newer one is asked about next time.
        let rollout = match &self.rollout {
            Some(rollout) if matches!(document, Ok(Fetched::Unchanged)) => {
                Some(rollout.ask(bucket).await)
            }
            _ => None,
        };
        Answer {
            document,
            trust,
            rollout,
        }
    }
}

impl From<Result<Fetched, BucketError>> for Answer {
    /// An answer about the document alone.
    fn from(document: Result<Fetched, BucketError>) -> Self {
        Self {
            document,
            trust: Walked::default(),
            rollout: None,
        }
    }
}
