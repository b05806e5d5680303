//! The record of one run: what the journal keeps and `agentctl history`, `show` and `why` tell.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::row::{Kind, Problem, Severity, StepName};
use crate::fleet::names::KeyName;
use crate::fleet::{DocumentId, Name, Pointer};

/// The most bytes of all diffs of a kept run, and of all that was said in it.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// The most steps of a kept run, and the most problems.
const MOST_STEPS: usize = 10_000;
/// So much is kept of what was said once there is too much, in bytes.
const BEGINNING: usize = 200;
const LEFT_OUT: &str = "(this run changed too much: its other diffs are not kept)\n";

/// What started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The first run of a daemon.
    Start,
    /// The poll brought a new document, or something was left to do.
    Poll,
    /// A lease changed that this box follows.
    Lease,
    /// A server of a product was found dead, or came back.
    Eviction,
    /// A file that the agent owns changed.
    Drift,
    /// SIGHUP.
    Signal,
    /// `agentctl apply`, or `agentd --once`.
    Person,
}

/// Why a step had something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The document asks for something else than before.
    Intended,
    /// Somebody else changed what the agent had written.
    Drift,
    /// An earlier run was interrupted between writing and activating.
    Pending,
    /// Nothing asks for it any more.
    Unwanted,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it is true now.
    Changed,
    /// It failed before anything was switched, or the machine was to blame and it was put back; what was there still is. It is
    /// tried again.
    Failed,
    /// It was switched, did not work, and what was there before is back.
    PutBack,
    /// It failed, and putting back failed too: a person must look.
    Broken,
    /// The shrink guard holds it until the document confirms it.
    Held,
    /// This document's version failed here before; it is not tried again.
    Quarantined,
}

impl Outcome {
    /// Its word in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::PutBack => "put-back",
            Self::Broken => "broken",
            Self::Held => "held",
            Self::Quarantined => "quarantined",
        }
    }

    /// Whether something asked for is not there.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Changed)
    }
}

/// What happens to one path, unit or package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A file or link that was not there.
    Create,
    /// A file or link with other content.
    Update,
    /// A file or link that is not wanted any more.
    Remove,
    /// A unit that runs is enabled, so that it starts at boot.
    Enable,
    /// A unit is started and, where it is not, enabled.
    Start,
    /// A unit is restarted, because a file of its changed.
    Restart,
    /// A unit is stopped and disabled.
    Stop,
    /// A unit does not start at boot any more.
    Disable,
    /// Nothing can start a unit any more.
    Mask,
    /// A unit that nothing could start can be started again.
    Unmask,
    /// A package is installed that was not there, or only in part.
    Install,
    /// A package comes in a newer version.
    Upgrade,
    /// A package goes back to an older version.
    Downgrade,
    /// An account is locked: nobody can log in as it.
    Lock,
}

impl Action {
    /// What is done, as a word.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Remove => "remove",
            Self::Enable => "enable",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Disable => "disable",
            Self::Mask => "mask",
            Self::Unmask => "unmask",
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Lock => "lock",
        }
    }
}

/// One change of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// What happens.
    pub action: Action,
    /// The path, the name of the unit or package, or `user NAME`, `group NAME`.
    pub path: PathBuf,
    /// The path under which people know it.
    pub shown_as: Option<PathBuf>,
    /// Unified diff, without the two header lines. Empty for units.
    pub diff: String,
    /// Where a copy of what somebody else had written was kept before it was replaced.
    pub backup: Option<PathBuf>,
    /// Who asks for it.
    pub origins: Vec<Pointer>,
    /// How the agent does it, and nothing that anybody asked for: a link to a generation, the answer to a probe.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
}

/// What a run did about one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Which resource.
    pub kind: Kind,
    /// Which step.
    pub step: StepName,
    /// It is about files that not every account may read: what was said of them is root's to know, and stands in the journal
    /// alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// Why.
    pub cause: Cause,
    /// How it ended.
    pub outcome: Outcome,
    /// What changed, or would have.
    pub changes: Vec<ChangeRecord>,
    /// What was activated: `reload httpd.service`.
    pub activated: Vec<String>,
    /// Why it failed, the whole chain of causes, with what the failing command said.
    pub error: Option<String>,
    /// What a person should know: written in place, backed up, not activated under a root.
    pub notes: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// In place of what failed, where that may quote what is not everybody's.
const FOR_ROOT: &str = "it failed; why may quote a file that not every account may read: as root, agentctl show failed";

impl StepRecord {
    /// Why it failed, as all accounts may know it.
    pub fn public_error(&self) -> Option<&str> {
        let error = self.error.as_deref()?;
        Some(if self.private { FOR_ROOT } else { error })
    }
}

/// What one run did. Only runs that did or found something are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The format of this record: 1.
    pub format: u32,
    /// Counts up from 1. 0: a run that did nothing and was not kept.
    pub id: u64,
    /// The server that the box is.
    pub node: Name,
    /// Which document it was for.
    pub document: DocumentId,
    /// Who signed that: the names of trusted keys. Nobody, where nobody was asked to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<KeyName>,
    /// What started it.
    pub trigger: Trigger,
    /// When.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Steps that had something to do.
    pub steps: Vec<StepRecord>,
    /// What speaks against the document on this box.
    pub problems: Vec<Problem>,
    /// Steps that are written and have not taken effect yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outstanding: Vec<StepName>,
}

impl RunRecord {
    /// Whether something was changed.
    pub fn changed(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.outcome == Outcome::Changed)
    }

    /// Whether something asked for is not there.
    pub fn failed(&self) -> bool {
        is_failed(&self.steps, &self.problems)
    }

    /// The same without what stands in files, and without who asks for it: for the status, which all accounts may read, and
    /// which is written often. The journal has all, and is root's.
    #[must_use]
    pub fn without_contents(&self) -> Self {
        let mut record = self.clone();
        for step in &mut record.steps {
            step.error = step.public_error().map(str::to_owned);
            if step.private {
                step.notes.clear();
            }
            for change in &mut step.changes {
                change.diff = String::new();
                change.origins = Vec::new();
            }
        }
        record
    }

    /// The same without what would make it too large to be read again: diffs, then all but the beginnings of what was said, then
    /// steps that went well. What was left out is said.
    #[must_use]
    pub fn bounded(&self) -> Self {
        let mut record = self.clone();
        let mut left = MOST_BYTES;
        for change in record.steps.iter_mut().flat_map(|step| &mut step.changes) {
            if change.diff.len() > left {
                change.diff = LEFT_OUT.into();
            }
            left = left.saturating_sub(change.diff.len());
        }
        let mut left = MOST_BYTES;
        let said = record.steps.iter_mut();
        let said = said.flat_map(|step| step.error.iter_mut().chain(&mut step.notes));
        let said = said.chain(
            record
                .problems
                .iter_mut()
                .map(|problem| &mut problem.message),
        );
        for text in said {
            if text.len() > left {
                text.truncate(text.floor_char_boundary(BEGINNING));
                text.push_str(" …");
            }
            left = left.saturating_sub(text.len());
        }
        if self.steps.len() > MOST_STEPS {
            // Those that failed come first; the order is kept otherwise.
            record.steps.sort_by_key(|step| !step.outcome.is_failure());
            record.steps.truncate(MOST_STEPS);
            if let Some(last) = record.steps.last_mut() {
                last.notes.push(format!(
                    "this run had to do with {} steps, and {MOST_STEPS} are kept",
                    self.steps.len()
                ));
            }
        }
        record.problems.truncate(MOST_STEPS);
        record
    }

    /// What `agentd --once` and `agentctl apply` exit with: 0 nothing to do, 2 changed, 4 something failed, 6 both.
    pub fn exit_code(&self) -> u8 {
        exit_code(self.changed(), self.failed())
    }
}

/// Whether these rows mean that something asked for is not there.
pub fn is_failed(steps: &[StepRecord], problems: &[Problem]) -> bool {
    steps.iter().any(|step| step.outcome.is_failure())
        || problems
            .iter()
            .any(|problem| problem.severity == Severity::Failure)
}

/// The exit code of a run or a plan: 0 nothing to do, 2 changed (a plan: changes pending), 4 something failed, 6 both.
pub const fn exit_code(changed: bool, failed: bool) -> u8 {
    (if changed { 2 } else { 0 }) + (if failed { 4 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_changed_everything_can_be_read_again() {
        let step = serde_json::json!({
            "kind": "cron", "step": "cron/shop_tick", "cause": "intended", "outcome": "changed", "activated": [],
            "error": "e".repeat(2000), "notes": [], "took_ms": 1,
            "changes": [{"action": "create", "path": "/etc/cron.d/agentd-shop_tick", "shown_as": null,
                "diff": "d".repeat(60_000), "backup": null, "origins": ["/signed/products/shop/cron/tick"]}],
        });
        let step: StepRecord = serde_json::from_value(step).unwrap();
        let mut record: RunRecord = serde_json::from_value(serde_json::json!({
            "format": 1, "id": 1, "node": "web-1", "trigger": "poll", "took_ms": 1, "steps": [], "problems": [],
            "document": {"fleet": "f", "version": 1, "digest": ""}, "started": "2026-11-30T00:00:00Z",
        }))
        .unwrap();
        record.steps = vec![step.clone(); 3];
        assert_eq!(record.bounded(), record, "a usual one stays as it is");
        record.steps = vec![step; 12_000];
        if let Some(last) = record.steps.last_mut() {
            last.outcome = Outcome::Failed;
        }
        let bounded = record.bounded();
        let bytes = serde_json::to_vec(&bounded).unwrap();
        assert!(bytes.len() < 12 * 1024 * 1024, "{}", bytes.len());
        assert_eq!(bounded.steps.len(), MOST_STEPS);
        assert_eq!(bounded.steps[0].outcome, Outcome::Failed);
        assert!(bounded.steps[MOST_STEPS - 1].notes[0].contains("12000 steps"));
    }
}
