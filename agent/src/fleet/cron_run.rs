//! On how many of the servers that an item applies to it is run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// On how many servers a cron job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CronRun {
    /// Every server it applies to.
    #[default]
    Each,
    /// The first active server by name among those it applies to.
    One,
}
