//! Making a box's state fit to be cloned: an image is baked as one server and booted as many others.
//!
//! What stays is what each clone needs: the document (the last good one, should the bucket be away at the first boot,
//! and the version below which none is accepted) and the ledger (what the clone may remove that it does not want).
//! What goes is what only the baked box did, and what must not act before a clone knows which server it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ledger::{Form, Ledger, Owned};
use super::pending::Pending;
use super::{intake, state};
use crate::report::Kind;
use crate::resource::Thing;
use crate::settings::STATE_DIR;
use crate::system::file::{FileError, Files, Found};

/// Deeper than any directory of the agent's own state.
const DEPTH: u32 = 4;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sealed {
    /// What acts by itself and was taken out of use: no clone runs another server's jobs, and none starts Apache with
    /// sites that were never tested. The first run of a clone that knows which server it is puts back what is its own.
    pub disarmed: Vec<PathBuf>,
    /// What was removed of the agent's own state: the journal, copies of replaced files, the quarantine.
    pub forgotten: Vec<PathBuf>,
    /// Paths that a clone's agent owns from the start.
    pub owned: usize,
}

/// Seals the state. The caller holds the run lock, and no daemon runs. Doing it twice does no harm.
pub fn seal(files: &Files) -> Result<Sealed, FileError> {
    let mut ledger = Pending::load(files)?.merged_into(Ledger::load(files)?);
    let mut sealed = Sealed::default();

    let acting = ledger.paths().filter(|(_, owned)| acts(owned));
    let acting: Vec<PathBuf> = acting.map(|(path, _)| path.to_path_buf()).collect();
    for path in acting {
        files.remove(&path)?;
        ledger.things.remove(&Thing::Path(path.clone()));
        sealed.disarmed.push(path);
    }
    ledger.steps.retain(|_, known| known.kind != Kind::Cron);
    // The first document of a clone is not a change of the baked one: it may want far fewer sites.
    ledger.lists.clear();
    ledger.good = None;
    sealed.owned = ledger.paths().count();
    ledger.save(files)?;

    let mut kept: BTreeSet<PathBuf> = [
        state::path(super::ledger::FILE),
        intake::DOCUMENT.into(),
        intake::META.into(),
        intake::TRUST.into(),
        intake::BEFORE.into(),
    ]
    .into();
    kept.extend(ledger.copies());
    forget(files, Path::new(STATE_DIR), &kept, DEPTH, &mut sealed)?;
    Ok(sealed)
}

/// Whether a path does something without the agent: a cron table, a pool of php-fpm, the switch that has Apache read the sites. What
/// the switch leads to, prepared, tested or not, harms nobody. What stood there before the agent is the image's own.
fn acts(owned: &Owned) -> bool {
    let switch = owned.form == Form::Link || owned.shown_as.is_none();
    // A secret is for one machine: an image is for many, and for whoever reads it.
    owned.secret
        || !owned.adopted
            && match owned.kind {
                // php-fpm would not start with a pool whose user is to come yet.
                Kind::Cron | Kind::Php => true,
                Kind::Sites => switch,
                _ => false,
            }
}

/// Removes everything below a directory of the agent's own, but for what is kept.
fn forget(
    files: &Files,
    dir: &Path,
    kept: &BTreeSet<PathBuf>,
    depth: u32,
    sealed: &mut Sealed,
) -> Result<(), FileError> {
    files.sweep(dir)?;
    for name in files.list(dir)? {
        let path = dir.join(name);
        if kept.contains(&path) {
            continue;
        }
        match files.read(&path)? {
            Found::Directory(_) if depth > 0 => {
                forget(files, &path, kept, depth - 1, sealed)?;
                files.remove_empty_dir(&path)?;
            }
            Found::File { .. } | Found::Link(_) => {
                files.remove(&path)?;
                sealed.forgotten.push(path);
            }
            _ => {}
        }
    }
    Ok(())
}
