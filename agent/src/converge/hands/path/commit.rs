//! Carrying changes of paths out, and back.

use std::path::{Path, PathBuf};

use super::super::super::change::{After, Change};
use super::super::super::ledger::Form;
use super::super::super::saved::Saved;
use super::bytes_of;
use crate::resource::block;
use crate::system::chain;
use crate::system::file::{FileError, Files, Found, Keep, Staged, Written};

/// Permission bits of a file that others write to as well, where the agent has to make it.
const SHARED_MODE: u32 = 0o644;
/// So often a file that others write to in this very moment is looked at anew.
const TRIES: u32 = 5;

/// New content beside the old one.
#[derive(Debug)]
pub(in crate::converge) struct Ready {
    /// `None`: it is a link, or a removal: there is nothing to prepare.
    staged: Option<Staged>,
}

impl Ready {
    /// Where the new content stands until it is switched, as the agent speaks of paths.
    pub(in crate::converge) fn staged_path(&self) -> Option<PathBuf> {
        self.staged.as_ref()?.path()
    }
}

/// What carrying a change out came to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::converge) struct Outcome {
    /// What stood there at the last moment, if that is not what the plan was made with.
    pub(in crate::converge) overtaken: Option<Saved>,
    /// What a person should know.
    pub(in crate::converge) note: Option<String>,
}

/// Prepares a change. Nothing that is in use is touched.
pub(in crate::converge) fn stage(files: &Files, change: &Change) -> Result<Ready, FileError> {
    let Some(path) = change.thing.path() else {
        return Ok(Ready { staged: None });
    };
    let staged = match &change.after {
        Some(After::File { text, attributes }) => {
            let keep = match change.before {
                // One of the agent's own: the plan has seen to that.
                Saved::Link(_) => Keep::NotEvenLink(*attributes),
                _ => Keep::Nothing(*attributes),
            };
            Some(files.stage_as(path, text.bytes(), keep)?)
        }
        Some(After::Private { text, attributes }) => {
            Some(files.stage_private(path, text.bytes(), *attributes)?)
        }
        Some(After::Block { whole, .. }) => {
            Some(files.stage_as(path, whole, Keep::Present(SHARED_MODE))?)
        }
        _ => None,
    };
    Ok(Ready { staged })
}

/// Carries a change out, looking once more at what stands there: what somebody has written since the plan was made is
/// somebody's work. Lines outside the agent's block stay whatever they are by now; of anything else a copy is asked for
/// with `keep`.
pub(in crate::converge) fn commit(
    files: &Files,
    change: &Change,
    ready: Ready,
    keep: &mut dyn FnMut(&Path, &Found) -> Result<String, FileError>,
) -> Result<Outcome, FileError> {
    let Some(path) = change.thing.path() else {
        return Ok(Outcome {
            overtaken: None,
            note: None,
        });
    };
    let now = match &change.after {
        Some(After::Block { .. }) => files.read(path)?,
        _ => files.read_small(path)?,
    };
    let mut overtaken = (!change.before.is(&now)).then(|| Saved::of(&now)).flatten();
    if change.is_secret() {
        overtaken = overtaken.map(Saved::into_secret);
    }
    let mut note = None;
    let written = match (&change.after, ready.staged) {
        (Some(After::Block { lines, .. }), Some(staged)) => {
            commit_block(files, path, lines.as_deref(), now, staged, &mut overtaken)?
        }
        (after, staged) => {
            if overtaken.is_some() && change.is_secret() {
                note = Some(format!(
                    "{} was written by somebody else in this moment; no copy of that was kept, for it may have a secret in it",
                    path.display()
                ));
            } else if overtaken.is_some() && matches!(now, Found::File { .. } | Found::Large { .. })
            {
                note = Some(format!(
                    "{} was written by somebody else in this moment: {}",
                    path.display(),
                    keep(path, &now)?
                ));
            }
            match (after, staged) {
                (_, Some(staged)) => staged.commit()?,
                (Some(After::Link(target)), None) => {
                    files.link(path, target)?;
                    Written::Renamed
                }
                (Some(After::Directory(attributes)), None) => {
                    files.place_dir(path, *attributes)?;
                    Written::Renamed
                }
                (Some(After::Original(original)), None) => {
                    original.put_back(files, path)?;
                    Written::Renamed
                }
                _ if matches!(now, Found::Directory(_)) && change.form == Form::Directory => {
                    if !files.remove_empty_dir(path)? {
                        note = Some(format!(
                            "{} is not empty: it stays until what is in it is gone",
                            path.display()
                        ));
                    }
                    Written::Renamed
                }
                _ => {
                    files.remove(path)?;
                    Written::Renamed
                }
            }
        }
    };
    if written == Written::InPlace {
        note = Some(format!(
            "{} was written in place, for it is a mount point: a crash in that moment could have torn it",
            path.display()
        ));
    }
    Ok(Outcome { overtaken, note })
}

/// The agent's lines go into what stands there now. Who writes there again and again is not waited for for ever.
fn commit_block(
    files: &Files,
    path: &Path,
    lines: Option<&str>,
    mut now: Found,
    mut staged: Staged,
    overtaken: &mut Option<Saved>,
) -> Result<Written, FileError> {
    let mut fits = overtaken.is_none();
    for _ in 0..TRIES {
        if !fits {
            let bytes = bytes_of(&now);
            let whole = match lines {
                // Lines that could not stand in a block were refused when the plan was made.
                Some(lines) => block::splice(bytes, lines).unwrap_or_else(|_| bytes.to_vec()),
                None => block::remove(bytes),
            };
            staged = files.stage_as(path, &whole, Keep::Present(SHARED_MODE))?;
            *overtaken = Saved::of(&now);
        }
        // Staging took its time: a sync of the disk.
        if files.sighting(path).unwrap_or(None) == files.look(path)? {
            break;
        }
        let again = files.read(path)?;
        fits = again == now;
        now = again;
        if fits {
            break;
        }
    }
    staged.commit()
}

/// Puts back what stood there before. Nothing is done where it stands there.
pub(in crate::converge) fn put_back(
    files: &Files,
    path: &Path,
    before: &Saved,
) -> Result<(), String> {
    let now = files.read_small(path).map_err(|error| chain(&error))?;
    if before.is(&now) {
        return Ok(());
    }
    match before {
        Saved::Absent if matches!(now, Found::Directory(_)) => files
            .remove_empty_dir(path)
            .map(drop)
            .map_err(|error| chain(&error)),
        Saved::Absent => files.remove(path).map_err(|error| chain(&error)),
        Saved::File {
            content,
            attributes,
        } => {
            let bytes = content.bytes(files)?;
            let staged = files.stage_as(path, &bytes, Keep::NotEvenLink(*attributes));
            let written = staged.and_then(Staged::commit);
            written.map(drop).map_err(|error| chain(&error))
        }
        Saved::Link(target) => files.link(path, target).map_err(|error| chain(&error)),
        Saved::Directory(attributes) => files
            .place_dir(path, *attributes)
            .map_err(|error| chain(&error)),
        // Of what had a secret in it nothing was kept over a crash: the next run writes what should be there.
        Saved::Unit(_) | Saved::Package(_) | Saved::Withheld | Saved::Group(_) | Saved::User(_) => {
            Ok(())
        }
    }
}
