//! One run from beginning to end in this process: `agentd --once`, and `agentctl apply` where no daemon runs.

use std::path::Path;

use super::intake::{Intake, Polled};
use super::{Converger, Intent, RunError};
use crate::bucket::Bucket;
use crate::control::messages::Applied;
use crate::fleet::{Document, Name};
use crate::identity::Clues;
use crate::report::{Refusal, Trigger};
use crate::settings::Settings;
use crate::system::file::{FileError, Files};
use crate::system::lock::Lock;

/// The lock that whoever makes a run holds, under the root.
pub const RUN_LOCK: &str = "/run/agentd/run.lock";

/// One run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// Somebody else is at it.
    #[error("another run is going on; wait for its end: agentctl status")]
    Busy,
    /// The agent's own state cannot be read or written.
    #[error("the agent's own state is out of reach")]
    State(#[from] FileError),
    /// There is no document: the bucket did not give one, and none was kept.
    #[error(
        "there is no document to go by: the bucket did not give one, and no earlier one was kept"
    )]
    NoDocument(#[source] Option<NoDocument>),
    /// The document has no server that is this box.
    #[error("{0}")]
    Nobody(String),
    /// The run could not be made.
    #[error("the run could not be made")]
    Run(#[from] RunError),
}

/// Why the bucket gave no document.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoDocument(pub String);

/// Takes the run lock.
pub fn lock(settings: &Settings) -> Result<Lock, OnceError> {
    Lock::try_take(&settings.root, Path::new(RUN_LOCK))?.ok_or(OnceError::Busy)
}

/// Which server of `document` this box is, and how that was found.
pub async fn identify(
    settings: &Settings,
    document: &Document,
) -> Result<(Name, String), OnceError> {
    let clues = Clues::gather(settings).await;
    clues
        .find(&document.fleet)
        .ok_or_else(|| OnceError::Nobody(clues.not_found(&document.fleet)))
}

/// Asks the bucket once, then makes one run for the document that is the good one after that.
///
/// A bucket that does not answer and a document that is refused are told in the result: the run is for
/// the last good one. `retry` lifts the quarantine first.
pub async fn once(
    settings: &Settings,
    retry: bool,
    progress: &dyn Fn(&str),
) -> Result<Applied, OnceError> {
    let _lock = lock(settings)?;
    let files = Files::new(settings.root.clone());
    let mut intake = Intake::open(
        &files,
        settings.pinned_fleet.as_ref(),
        settings.document_limit,
    )?;
    progress("asking the bucket");
    let bucket = Bucket::open(&settings.bucket, &settings.s3).await;
    let (mut refused, mut unreachable) = (None, None);
    match intake.poll(&bucket).await? {
        Polled::Unchanged | Polled::New => {}
        Polled::Refused(refusal) => refused = Some(refusal),
        Polled::Unreachable(error) => unreachable = Some(chain(&error)),
    }
    let Some(accepted) = intake.accepted() else {
        let why = unreachable.or_else(|| refused.as_ref().map(told));
        return Err(OnceError::NoDocument(why.map(NoDocument)));
    };
    let (node, _) = identify(settings, &accepted.document).await?;
    let converger = Converger::new(settings);
    if retry {
        converger.release_quarantine()?;
    }
    let intent = Intent {
        document: accepted.document.clone(),
        node,
        hosts: settings.hosts,
    };
    let run = converger.run(&intent, Trigger::Person, progress).await?;
    Ok(Applied {
        run,
        refused,
        unreachable,
    })
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

fn told(refusal: &Refusal) -> String {
    let version = refusal
        .version
        .map_or_else(String::new, |version| format!(" version {version}"));
    format!(
        "the document{version} was refused:\n{}",
        refusal.errors.join("\n")
    )
}
