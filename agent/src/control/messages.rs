//! What is said over the control socket (contract): each message one line of JSON, with `"format": 1`.

use serde::{Deserialize, Serialize};

use crate::report::{Refusal, RunRecord, Status};

/// The format of the messages.
pub const FORMAT: u32 = 1;
/// The most bytes of a request. A longer one is refused.
pub const REQUEST_LIMIT: usize = 64 * 1024;
/// The most bytes of all answers to one request.
pub const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// A request: `{"format": 1, "ask": "status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The format: 1.
    pub format: u32,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Ask {
    /// How the box is. Answered at once.
    Status,
    /// Poll the bucket and make a run now. Answered when that has ended, with [`Answer::Progress`] meanwhile.
    Apply {
        /// Whether to try a quarantined document again.
        #[serde(default)]
        retry_quarantined: bool,
    },
}

/// One line of an answer, with the format beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The format: 1.
    pub format: u32,
    /// What is answered.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// To [`Ask::Status`].
    Status {
        /// How the box is.
        status: Box<Status>,
    },
    /// Not the end yet: sent at least every few seconds, so that silence means a hung daemon.
    Progress {
        /// What is being done.
        doing: String,
    },
    /// To [`Ask::Apply`].
    Applied(Box<Applied>),
    /// It could not be done.
    Failed {
        /// Why, and what to do.
        message: String,
    },
}

/// What `apply` came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The run. Its id is 0 and it has no steps where there was nothing to do.
    pub run: RunRecord,
    /// The newest document, where it was refused: the run was for the last good one.
    pub refused: Option<Refusal>,
    /// Why the bucket did not answer, where it did not: the run was for the last good document.
    pub unreachable: Option<String>,
}

impl Request {
    /// A request in the present format.
    pub const fn new(ask: Ask) -> Self {
        Self {
            format: FORMAT,
            ask,
        }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        Self {
            format: FORMAT,
            answer,
        }
    }
}
