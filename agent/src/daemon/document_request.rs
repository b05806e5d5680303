//! One request for the fleet document, run beside the event loop: drift is repaired while a slow answer is under way.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;

use crate::bucket::Bucket;
use crate::converge::intake::{Answer, Intake, Question};
use crate::report::Trigger;

/// The bucket's answer to one request.
pub(super) struct DocumentResponse {
    pub(super) question: Question,
    pub(super) answer: Answer,
    /// Why it was asked.
    pub(super) trigger: Trigger,
    /// When it was asked.
    pub(super) asked: Instant,
}

/// A request under way. Dropped: given up.
pub(super) struct DocumentRequest {
    answer: Pin<Box<dyn Future<Output = DocumentResponse>>>,
    /// Why it is asked.
    pub(super) trigger: Trigger,
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
                question,
                answer,
                trigger,
                asked,
            }
        };
        Self {
            answer: Box::pin(answer),
            trigger,
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
