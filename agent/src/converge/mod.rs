//! A run: trigger → fetch → verify → view → plan → stage → check → commit → activate → probe → record.

pub mod intake;
pub mod journal;
pub mod ledger;
mod plan;

pub use plan::Plan;

use crate::fleet::{Document, Name};
use crate::report::{RunRecord, Trigger};
use crate::settings::{HostsScope, Settings};
use crate::system::file::FileError;
use crate::system::platform::Platform;

/// What a box should converge to.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The document.
    pub document: Document,
    /// The server that this box is.
    pub node: Name,
    /// Which servers stand in `/etc/hosts`.
    pub hosts: HostsScope,
}

/// A run could not be made at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The agent's own state cannot be read or written.
    #[error("the agent's own state is out of reach")]
    State(#[from] FileError),
    /// The document does not have this server.
    #[error("the document has no server {0}")]
    NotInDocument(Name),
}

/// Makes a box what the document says. One run at a time: the caller holds the run lock.
#[derive(Debug)]
pub struct Converger {
    _private: (),
}

impl Converger {
    /// For the box of these settings.
    pub fn new(_settings: &Settings) -> Self {
        Self { _private: () }
    }

    /// What a run would do now. Writes nothing, runs no command but queries.
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub async fn plan(&self, intent: &Intent) -> Result<Plan, RunError> {
        Err(RunError::NotInDocument(intent.node.clone()))
    }

    /// One run. Failures of steps are rows of the record, not errors.
    ///
    /// `progress` is called with what is being done, at least every few seconds: it feeds the watchdog.
    /// A run that had nothing to do wrote nothing, and its record has the id 0 and no steps.
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub async fn run(
        &self,
        intent: &Intent,
        _trigger: Trigger,
        _progress: &dyn Fn(&str),
    ) -> Result<RunRecord, RunError> {
        Err(RunError::NotInDocument(intent.node.clone()))
    }

    /// Paths that the agent owns now, for the watcher of drift: files, and the links among them.
    pub fn owned(&self) -> Result<Vec<std::path::PathBuf>, FileError> {
        Ok(Vec::new())
    }

    /// Forgets the quarantine, so that the next run tries the document again: a person said so.
    pub fn release_quarantine(&self) -> Result<(), FileError> {
        Ok(())
    }
}

/// The plan for a server on a machine that has nothing yet or, with `before`, that stands on that document.
///
/// Pure: for planning any box of the fleet at a desk. Accounts and Apache's own configuration are taken as fitting.
pub fn plan_offline(
    intent: &Intent,
    _before: Option<&Document>,
    _platform: &Platform,
) -> Result<Plan, RunError> {
    Err(RunError::NotInDocument(intent.node.clone()))
}
