//! How a version goes out: to canaries first, then in waves, each when those before have stood well for a while. The words of
//! the document; which server belongs to which wave is worked out in `node`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{Name, Share, Span};

/// A rollout is never halted sooner for servers that say nothing.
const LEAST_PATIENCE: Duration = Duration::from_mins(30);

/// How versions of the document go out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The servers that take each version first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canaries: Vec<Name>,
    /// How much of the fleet has a version after each wave, canaries counted: growing shares, the last `100%`.
    #[serde(default = "everybody")]
    pub waves: Vec<Share>,
    /// How long all servers of a wave must have stood well on a version before the next wave takes it.
    pub bake: Span,
    /// How long a wave may take before the rollout is halted for those that are missing (default: three times `bake`, at
    /// least 30 minutes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Span>,
}

fn everybody() -> Vec<Share> {
    vec![Share::ALL]
}

impl Rollout {
    /// How long a wave may take.
    pub fn patience(&self) -> Duration {
        match self.patience {
            Some(patience) => patience.duration(),
            None => (self.bake.duration() * 3).max(LEAST_PATIENCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_has_a_default_that_grows_with_the_bake_time() {
        let rollout = |more: &str| -> Rollout {
            serde_json::from_str(&format!(r#"{{"bake": "20m"{more}}}"#)).unwrap()
        };
        assert_eq!(rollout("").patience(), Duration::from_hours(1));
        assert_eq!(
            rollout(r#", "patience": "5m""#).patience(),
            Duration::from_mins(5)
        );
        assert_eq!(rollout("").waves, [Share::ALL]);
    }
}
