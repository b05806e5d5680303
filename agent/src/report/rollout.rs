//! Where a machine is in the rollout of a version.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// A version that goes out in waves, as one machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The version that goes out.
    pub version: u64,
    /// The machine's wave, counted from 1.
    pub wave: u32,
    /// How many waves there are.
    pub waves: u32,
    /// The last wave that may take it. `None`: the bucket has not said yet.
    pub open: Option<u32>,
    /// Whether this machine has taken it.
    pub taken: bool,
    /// Why it goes no further.
    pub halted: Option<String>,
    /// What the next wave waits for, on the machine that watches over the rollout.
    #[serde(default)]
    pub waits_for: Option<String>,
}

impl RolloutStatus {
    /// Whether the version has reached its last wave.
    pub fn is_complete(&self) -> bool {
        self.open.is_some_and(|open| open >= self.waves)
    }

    /// In a line.
    pub fn line(&self) -> String {
        let mut line = format!(
            "version {}: wave {} of {}",
            self.version, self.wave, self.waves
        );
        let _ = match (self.taken, self.open) {
            (true, _) => write!(line, ", taken"),
            (false, Some(open)) => write!(
                line,
                ", waits; {} may take it",
                match open {
                    0 | 1 => "the first wave".to_owned(),
                    open => format!("waves 1 to {open}"),
                }
            ),
            (false, None) => write!(
                line,
                ", waits; the bucket has not said which wave may take it"
            ),
        };
        if let Some(why) = &self.halted {
            let _ = write!(line, "; halted: {why}");
        } else if let Some(what) = &self.waits_for {
            let _ = write!(line, "; the next wave waits for {what}");
        }
        line
    }
}
