//! What is said over the control socket (contract): each message one line of JSON, with `"format": 1`.

use serde::{Deserialize, Serialize};

use crate::fleet::Name;
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
    /// Forget the fights over files that have ended. Answered at once, with how the box is then.
    Acknowledge,
    /// Poll the bucket and make a run now. Answered when that has ended, with [`Reply::Progress`] meanwhile.
    Apply {
        /// Whether to try a quarantined document again.
        #[serde(default)]
        retry_quarantined: bool,
    },
    /// An order of a person to a database. Answered when it is carried out, with [`Reply::Progress`] meanwhile.
    Database(DatabaseRequest),
}

/// An order of a person to a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRequest {
    /// The product.
    pub product: Name,
    /// What is wanted.
    pub order: DatabaseOrder,
    /// Only say what would be done.
    #[serde(default)]
    pub noop: bool,
}

/// What a person can want of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum DatabaseOrder {
    /// The master hands over, and nothing is lost.
    Switchover {
        /// To whom; `None`: to who would take over.
        to: Option<Name>,
    },
    /// This machine's server takes over from a master that is dead, though the agents would not by themselves.
    TakeOver {
        /// A person vouches that the old master is off.
        old_master_is_off: bool,
    },
    /// This machine's server, which was kept out, replicates from the master again.
    Rejoin {
        /// A person has looked at what it has and the master lacks, and lets it go.
        #[serde(default)]
        discard: bool,
        /// What it has too much changes nothing, and is forgotten without a copy.
        #[serde(default)]
        accept: bool,
    },
    /// A snapshot is taken now, by the server that takes them.
    Snapshot,
    /// Nothing changes by itself any more, or may again.
    Hold {
        /// Whether it is held.
        held: bool,
        /// Why, in a person's words.
        #[serde(default)]
        reason: Option<String>,
        /// Only nobody else takes over, for so many seconds: somebody works on the servers.
        #[serde(default)]
        maintenance_secs: Option<u64>,
    },
}

/// One line of an answer, with the format beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The format: 1.
    pub format: u32,
    /// What is answered.
    #[serde(flatten)]
    pub answer: Reply,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Reply {
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
    /// To [`Ask::Database`].
    Database(DatabaseReply),
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

/// What an order to a database came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseReply {
    /// What was done, or with `noop` would be, in order, a sentence each.
    pub steps: Vec<String>,
    /// How it ended.
    pub said: Vec<String>,
}

impl DatabaseReply {
    /// Done in one step.
    pub fn said(line: String) -> Self {
        Self {
            steps: Vec::new(),
            said: vec![line],
        }
    }
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

impl From<Reply> for Response {
    fn from(answer: Reply) -> Self {
        Self {
            format: FORMAT,
            answer,
        }
    }
}
