//! Cron jobs that are recorded: how the last run of each went, as the status has it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a recorded job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Its last run ended well.
    Ok,
    /// It runs.
    Running,
    /// It has not run yet, and need not have.
    Waiting,
    /// Its last run ended, but not well.
    Failed,
    /// It took too long: it was ended by its time limit, or was due again while it still ran.
    Overran,
    /// It was due and did not run.
    Missed,
    /// It was ended without a word: killed, or the machine went down. Or what it left cannot be read.
    Lost,
}

impl JobState {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Overran => "overran",
            Self::Missed => "missed",
            Self::Lost => "lost",
        }
    }

    /// Whether a person should look.
    pub const fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Overran | Self::Missed | Self::Lost
        )
    }
}

/// A recorded job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its name, as that of its table: `shop_tick`, `role_web_sweep`.
    pub job: String,
    /// The account that it runs as.
    pub user: String,
    /// Its schedule, as it is on this server.
    pub schedule: String,
    /// The time zone of that; `None`: the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// How it is.
    pub state: JobState,
    /// What that is about, in a sentence: `exit code 1 after 3.2 s`.
    pub says: String,
    /// When its last run began, or the one that goes on.
    pub started: Option<Timestamp>,
    /// How long the last run took, in milliseconds. `None`: it goes on, or how it ended is not known.
    pub took_ms: Option<u64>,
    /// The exit code of the last run that ended. `None`: none did, or a signal ended it.
    pub code: Option<i32>,
    /// When the last run ended well.
    pub succeeded: Option<Timestamp>,
}

impl JobStatus {
    /// In a line: `shop_tick: failed: exit code 1 after 3.2 s`.
    pub fn line(&self) -> String {
        let (job, state) = (&self.job, self.state.as_str());
        if self.says.is_empty() {
            format!("{job}: {state}")
        } else {
            format!("{job}: {state}: {}", self.says)
        }
    }
}
