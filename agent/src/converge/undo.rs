//! Taking a version of the document back on one box: it goes by the version before, until the document moves.
//!
//! What a run changed is put back by a run, with all that runs do for safety: checks, probes, transactions. Nothing is patched.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::intake::BEFORE;
use super::{journal, state};
use crate::fleet::{Document, Name};
use crate::report::{Cause, Kind, Outcome, RunRecord, UndoneStatus};
use crate::system::chain;
use crate::system::file::{FileError, Files, Found};

const FILE: &str = "undone.json";

/// A version that a person has taken back on this box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    /// The format: 1.
    format: u32,
    /// The digest of the document that is taken back. For any other it does not count.
    digest: String,
    /// What is told of it.
    #[serde(flatten)]
    status: UndoneStatus,
}

/// A version that is taken back, and what the box goes by instead.
#[derive(Debug, Clone)]
pub struct Undone {
    /// What is told of it.
    pub status: UndoneStatus,
    /// The document before.
    pub document: Document,
    digest: String,
}

impl Undone {
    /// What is taken back on this box. What cannot be read, or fits the document before no more, counts as nothing, with a warning.
    pub(super) fn load(files: &Files) -> Result<Option<Self>, FileError> {
        let Some(order) = state::load::<Order>(files, FILE)? else {
            return Ok(None);
        };
        match before(files) {
            Ok(document) if document.id.version == order.status.goes_by => Ok(Some(Self {
                status: order.status,
                document,
                digest: order.digest,
            })),
            // Another document came, and with it another one before.
            _ => Ok(None),
        }
    }

    /// Whether it is this document that is taken back.
    pub fn is_of(&self, document: &Document) -> bool {
        self.digest == document.id.digest
    }
}

/// The document before the present one, for whom a shrinking list is meant: a person said so.
fn before(files: &Files) -> Result<Document, String> {
    let found = files.read(Path::new(BEFORE)).map_err(|e| chain(&e))?;
    let Found::File { bytes, .. } = found else {
        return Err("there is no document before the present one on this box".into());
    };
    let mut document = Document::read(&bytes).map_err(|_| {
        "the document before the present one is not understood by this version of node-agent"
            .to_owned()
    })?;
    Arc::make_mut(&mut document.fleet).confirm = true;
    Ok(document)
}

/// What a person is told of a version that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenBack {
    /// What was noted.
    #[serde(flatten)]
    pub status: UndoneStatus,
    /// What of the run stays as it is, and why: a sentence each.
    pub stays: Vec<String>,
}

/// Takes back what run `number` did, which must have been for the present document. Only notes it: a run does it. The error says why
/// that cannot be.
pub fn take_back(
    files: &Files,
    present: &Document,
    node: &Name,
    number: u64,
    by: String,
    now: Timestamp,
) -> Result<TakenBack, String> {
    let run = journal::load(files, number).map_err(|error| chain(&error))?;
    let run = run.ok_or_else(|| {
        format!("run {number} is not kept (any more): agentctl history lists those that are")
    })?;
    if run.document.digest != present.id.digest {
        return Err(format!(
            "run {number} was for version {}, and this box has come to version {} since: what it changed may have been changed again. Publish the \
             version that is meant: agentctl fleet rollback",
            run.document.version, present.id.version
        ));
    }
    if !run.steps.iter().any(is_of_the_document) {
        return Err(nothing_to_take_back(&run));
    }
    let before = before(files)?;
    if before.id.fleet != present.id.fleet || before.id.version >= present.id.version {
        return Err(format!(
            "the document before is {} version {}, which is no version to go back to",
            before.id.fleet, before.id.version
        ));
    }
    if !before.fleet.servers.contains_key(node) {
        return Err(format!(
            "version {} of the document has no server {node}: there is nothing to go back to",
            before.id.version
        ));
    }
    let status = UndoneStatus {
        version: present.id.version,
        goes_by: before.id.version,
        run: number,
        since: now,
        by,
    };
    let order = Order {
        format: 1,
        digest: present.id.digest.clone(),
        status: status.clone(),
    };
    state::save(files, FILE, &order).map_err(|error| chain(&error))?;
    Ok(TakenBack {
        status,
        stays: what_stays(&run),
    })
}

/// Has the box go by the present document again. Returns whether it did not.
pub fn end_undo(files: &Files) -> Result<bool, FileError> {
    let path = state::path(FILE);
    let was = files.look(&path)?.is_some();
    files.remove(&path)?;
    Ok(was)
}

fn is_of_the_document(step: &crate::report::StepRecord) -> bool {
    step.outcome == Outcome::Changed && matches!(step.cause, Cause::Intended | Cause::Unwanted)
}

/// Why a run that changed nothing by the document's word cannot be undone, with where its copies are.
fn nothing_to_take_back(run: &RunRecord) -> String {
    let mut said = format!(
        "run {} changed nothing that its document asked for anew: it only repaired what somebody else had changed, or failed",
        run.id
    );
    let changes = run.steps.iter().flat_map(|step| &step.changes);
    for change in changes {
        if let Some(backup) = &change.backup {
            let _ = write!(
                said,
                "\nwhat somebody had written to {} is kept at {}: to have it back, agentctl hold, then copy it",
                change.path.display(),
                backup.display()
            );
        }
    }
    said
}

fn what_stays(run: &RunRecord) -> Vec<String> {
    let mut stays = Vec::new();
    let changed = |kind: Kind| {
        let mut steps = run.steps.iter();
        steps.any(|step| step.kind == kind && is_of_the_document(step))
    };
    if changed(Kind::Packages) {
        stays.push(
            "packages that came stay, and versions that were upgraded: no manager takes that back safely".to_owned(),
        );
    }
    if changed(Kind::Accounts) {
        stays.push("accounts that were made are locked, not deleted".to_owned());
    }
    if changed(Kind::Releases) {
        stays.push(
            "what a release's command did before the switch stays (a migration of the database?)"
                .to_owned(),
        );
    }
    stays
}
