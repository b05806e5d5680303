//! One request for the fleet document, run beside the event loop: drift is repaired while a slow answer is under way, and while
//! a large document is read.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::Bucket;
use crate::converge::intake::{Answer, Intake, Question, Read, Reading};
use crate::report::Trigger;

/// What one request came to.
pub(super) struct DocumentResponse {
    pub(super) what: Response,
    /// Why it was asked.
    pub(super) trigger: Trigger,
    /// When it was asked.
    pub(super) asked: Instant,
    /// How long the bucket took to answer.
    pub(super) took: Duration,
}

/// How far it came.
pub(super) enum Response {
    /// The bucket has answered.
    Answered(Box<(Question, Answer)>),
    /// What it answered with was read.
    Read(Box<Read>),
}

/// A request under way. Dropped: given up.
pub(super) struct DocumentRequest {
    answer: Pin<Box<dyn Future<Output = DocumentResponse>>>,
    /// Why it is asked.
    pub(super) trigger: Trigger,
    /// It was answered, and the answer is being read: that is not begun anew.
    pub(super) is_read: bool,
}

impl DocumentRequest {
    /// Begins to ask. Goes on only while [`response`] is awaited.
    pub(super) fn start(intake: &mut Intake, bucket: &Arc<Bucket>, trigger: Trigger) -> Self {
        let question = intake.question(bucket);
        let bucket = Arc::clone(bucket);
        let asked = Instant::now();
        let answer = async move {
            let answer = question.ask(&bucket).await;
            DocumentResponse {
                what: Response::Answered(Box::new((question, answer))),
                trigger,
                asked,
                took: asked.elapsed(),
            }
        };
        Self {
            answer: Box::pin(answer),
            trigger,
            is_read: false,
        }
    }

    /// Has what came of a request read, in a thread of its own: the loop goes on to heal and to answer.
    pub(super) fn read(
        reading: Box<Reading>,
        trigger: Trigger,
        asked: Instant,
        took: Duration,
    ) -> Self {
        let reading = tokio::task::spawn_blocking(move || reading.read());
        let answer = async move {
            let read = match reading.await {
                Ok(read) => read,
                Err(error) => match error.try_into_panic() {
                    // The agent died of this document, as far as anybody is concerned.
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The daemon stops.
                    Err(_) => return std::future::pending().await,
                },
            };
            DocumentResponse {
                what: Response::Read(Box::new(read)),
                trigger,
                asked,
                took,
            }
        };
        Self {
            answer: Box::pin(answer),
            trigger,
            is_read: true,
        }
    }
}

/// Waits for the answer to what is being asked; forever, where nothing is. May be dropped and called again.
pub(super) async fn response(request: &mut Option<DocumentRequest>) -> DocumentResponse {
    let Some(under_way) = request else {
        return std::future::pending().await;
    };
    let response = under_way.answer.as_mut().await;
    *request = None;
    response
}
