//! What one process needs to make runs: bucket, intake, clues and converger, put together.
//!
//! Used by the daemon, by `agentd --once` and by `agentctl`, so that all of them decide alike.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::intake::{Accepted, Intake, Polled};
use super::{Converger, Intent};
use crate::bucket::Bucket;
use crate::fleet::Document;
use crate::identity::Clues;
use crate::settings::{RUN_DIR, Settings};
use crate::system::file::{FileError, Files};
use crate::system::lock::Lock;

/// The pause between two tries for the run lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Everything that runs are made with.
#[derive(Debug)]
pub struct Session {
    /// The settings that it was opened with.
    pub settings: Settings,
    /// Where the document lies.
    pub bucket: Arc<Bucket>,
    /// This box's copy of it.
    pub intake: Intake,
    /// What this box knows of itself.
    pub clues: Clues,
    /// What makes the box so.
    pub converger: Converger,
}

/// There is nothing to converge to. `Display` says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(pub String);

impl Session {
    /// Reads this box's state and gathers clues, within seconds whatever hangs. Asks the bucket nothing; writes nothing.
    pub async fn open(settings: Settings) -> Result<Self, FileError> {
        let files = Files::new(settings.root.clone());
        let intake = Intake::open(
            &files,
            settings.pinned_fleet.as_ref(),
            settings.document_limit,
        )?;
        Ok(Self {
            bucket: Arc::new(Bucket::open(&settings.bucket, &settings.s3).await),
            intake,
            clues: Clues::gather(&settings).await,
            converger: Converger::new(&settings),
            settings,
        })
    }

    /// Accepts documents in memory only: for looking without touching.
    #[must_use]
    pub fn without_writing(mut self) -> Self {
        self.intake = self.intake.without_writing();
        self
    }

    /// Asks the bucket once.
    pub async fn poll(&mut self) -> Result<Polled, FileError> {
        self.intake.poll(&self.bucket).await
    }

    /// What this box should converge to, and how its name was found.
    pub fn intent(&self) -> Result<(Intent, String), NotReady> {
        let Some(Accepted { document, .. }) = self.intake.accepted() else {
            return Err(NotReady(format!(
                "there is no document yet: publish one at {}, or correct fleet in agentd.toml",
                self.bucket.url(super::intake::KEY)
            )));
        };
        self.intent_for(document)
    }

    /// What this box should converge to if `document` were accepted, and how its name was found.
    pub fn intent_for(&self, document: &Document) -> Result<(Intent, String), NotReady> {
        let (node, found_by) = self
            .clues
            .find(&document.fleet)
            .ok_or_else(|| NotReady(self.clues.not_found(&document.fleet)))?;
        let intent = Intent {
            document: document.clone(),
            node,
            hosts: self.settings.hosts,
        };
        Ok((intent, found_by))
    }

    /// Takes the lock that every run holds, waiting at most `patience`. `None`: somebody else's run goes on.
    ///
    /// `progress` is called while waiting, so that a wait does not look like a hang.
    pub async fn lock(
        &self,
        patience: Duration,
        progress: &dyn Fn(&str),
    ) -> Result<Option<Lock>, FileError> {
        let path = Path::new(RUN_DIR).join("run.lock");
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match Lock::try_take(&self.settings.root, &path)? {
                None if tokio::time::Instant::now() < deadline => {
                    progress("waiting for another run to end");
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                lock => return Ok(lock),
            }
        }
    }
}
