//! `agentctl why`: who asked for a file, a line, a unit, a package, a service or an account, which run wrote it, whether it is still so.

mod lookup;
mod text;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::converge::ledger::{Form, Ledger};
use crate::fleet::Pointer;
use crate::fleet::names::KeyName;
use crate::report::{Cause, Kind, Outcome, StepName, Trigger};
use crate::system::clock;

/// All that is known of a subject.
#[derive(Debug, Serialize)]
struct Explanation {
    format: u32,
    subject: String,
    /// The word that lines had to contain.
    name: Option<String>,
    owned: Vec<OwnedPath>,
    units: Vec<OwnedUnit>,
    /// Packages and services.
    others: Vec<Other>,
    accounts: Vec<OwnedAccount>,
    /// Paths that may have been meant.
    nearest: Vec<PathBuf>,
}

/// A path that the agent owns.
#[derive(Debug, Serialize)]
struct OwnedPath {
    /// As people know it.
    path: PathBuf,
    /// Where it stands, if elsewhere.
    stands_at: Option<PathBuf>,
    kind: Kind,
    step: StepName,
    form: Form,
    /// It stood there as wished before the agent came.
    adopted: bool,
    /// It has a secret in it, and nothing of it is shown.
    secret: bool,
    /// What comes back when the document lets go of it.
    before: Option<String>,
    state: State,
    /// What the state could not be learnt for.
    trouble: Option<String>,
    version: u64,
    run: u64,
    written: Timestamp,
    /// Why the run wrote it, where the journal still knows.
    because: Option<WriteCause>,
    /// A later run that failed at it.
    later: Option<LaterFailure>,
    /// Who asked for all of it.
    asked_by: Vec<Pointer>,
    /// Who asked for which line.
    lines: Vec<Line>,
}

/// Why a run wrote something.
#[derive(Debug, Serialize)]
struct WriteCause {
    trigger: Trigger,
    cause: Cause,
    /// Who signed the document that the run was for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signers: Vec<KeyName>,
}

/// A run that failed at a step after it was last written.
#[derive(Debug, Serialize)]
struct LaterFailure {
    run: u64,
    version: u64,
    outcome: Outcome,
    error: Option<String>,
}

/// Whether a path is as the agent wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    AsWritten,
    Changed,
    Missing,
    Unreadable,
}

/// A line of a file.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    /// In the file, from 1.
    number: usize,
    text: String,
    /// False: it stands outside the agent's lines.
    ours: bool,
    asked_by: Vec<Pointer>,
}

/// A systemd unit that the agent keeps running.
#[derive(Debug, Serialize)]
struct OwnedUnit {
    unit: String,
    step: StepName,
    asked_by: Vec<Pointer>,
    paths: Vec<PathBuf>,
}

/// A package or service that is not the agent's, and as the document says.
#[derive(Debug, Serialize)]
struct Other {
    name: String,
    form: Form,
    step: StepName,
    /// It was as the document says when the agent came.
    adopted: bool,
    version: u64,
    run: u64,
    written: Timestamp,
    asked_by: Vec<Pointer>,
}

/// A group or a user that the agent keeps.
#[derive(Debug, Serialize)]
struct OwnedAccount {
    /// `user deploy`, `group shop`.
    account: String,
    step: StepName,
    /// Somebody else made it.
    adopted: bool,
    version: u64,
    run: u64,
    written: Timestamp,
    asked_by: Vec<Pointer>,
    /// As it stands, a line a field. `None`: there is none, or it cannot be told.
    now: Option<String>,
    /// Its keys, and what it may do by sudo.
    paths: Vec<PathBuf>,
}

/// Says why something is there.
pub fn why(
    global: &Global,
    subject: &str,
    name: Option<&str>,
    console: Console,
) -> Result<u8, Failure> {
    let files = place::files(global)?;
    let ledger = Ledger::load(&files)?;
    if ledger == Ledger::default() && Ledger::is_damaged(&files)? {
        return Err(
            Failure::new("what the agent owns is not known: its ledger is damaged")
                .hint("the next run rebuilds it from the document: agentctl apply"),
        );
    }
    let lookup = lookup::Lookup::new(&files, &ledger)?;
    let answer = lookup.find(subject, name);
    console.print(&answer, |paint| text::answer(&answer, clock::now(), paint))?;
    let found = !(answer.owned.is_empty()
        && answer.units.is_empty()
        && answer.others.is_empty()
        && answer.accounts.is_empty());
    Ok(u8::from(!found))
}
