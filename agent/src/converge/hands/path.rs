//! Files, links, and the agent's lines within files.

use std::path::{Path, PathBuf};

use super::super::change::{After, Change, Inverse, When};
use super::super::ledger::{Form, Owned, digest_of};
use super::super::saved::Saved;
use super::super::situation::{Seen, Situation};
use crate::report::Action;
use crate::resource::{Step, Thing, Want, Wish, block};
use crate::system::chain;
use crate::system::digest::sha256_hex;
use crate::system::file::{Attributes, FileError, Files, Found, Keep, Staged, Written};

/// Permission bits of a file that others write to as well, where the agent has to make it.
const SHARED_MODE: u32 = 0o644;
/// So often a file that others write to in this very moment is looked at anew.
const TRIES: u32 = 5;

/// See [`super::difference`].
pub(super) fn difference(
    path: &Path,
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
) -> Result<Option<Change>, String> {
    let found = found(&want.thing, situation)?;
    match found {
        Found::Directory => {
            return Err(format!("{} is a directory; move it away", path.display()));
        }
        Found::Other => {
            return Err(format!(
                "{} is a device, socket or pipe; move it away",
                path.display()
            ));
        }
        Found::Link(target) if !matches!(want.wish, Wish::Link { .. }) => {
            return Err(format!(
                "{} is a symlink to {}, which the agent does not follow; replace it by a file or change the path",
                path.display(),
                target.display()
            ));
        }
        _ => {}
    }
    let after = match &want.wish {
        Wish::File { text, mode } => {
            let wanted = Attributes::own(*mode);
            let bytes = text.exposed().as_bytes();
            if matches!(found, Found::File { bytes: present, attributes } if present == bytes && *attributes == wanted)
            {
                return Ok(None);
            }
            After::File {
                text: text.clone(),
                attributes: wanted,
            }
        }
        Wish::Link { target } => {
            if matches!(found, Found::Link(present) if present == target) {
                return Ok(None);
            }
            After::Link(target.clone())
        }
        Wish::Block { text } => {
            let whole = bytes_of(found);
            let spliced = block::splice(whole, text)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            if spliced == whole && matches!(found, Found::File { .. }) {
                return Ok(None);
            }
            After::Block {
                lines: Some(text.clone()),
                whole: spliced,
            }
        }
        Wish::Running { .. } | Wish::Installed { .. } | Wish::NotInstalled => {
            return Err(format!("{} is no unit and no package", path.display()));
        }
    };
    let owned = situation.ledger.things.get(&want.thing);
    let before = Saved::of(found).unwrap_or(Saved::Absent);
    let absent = before == Saved::Absent;
    let wished = digest_of(want, step);
    Ok(Some(Change {
        thing: want.thing.clone(),
        action: if absent {
            Action::Create
        } else {
            Action::Update
        },
        when: want.phase.into(),
        inverse: inverse(&before),
        before,
        drift: owned.is_some_and(|owned| owned.digest == wished),
        after: Some(after),
        form: Form::of(&want.wish),
        digest: wished,
        backup: is_edited(found, want, owned, situation),
        diff_base: diff_base(want, absent, situation),
        hidden: false,
        shown_as: want.shown_as.clone(),
        origins: want.origins.clone(),
    }))
}

/// See [`super::removal`].
pub(super) fn removal(path: &Path, owned: &Owned, situation: &Situation<'_>) -> Option<Change> {
    let thing = Thing::Path(path.to_path_buf());
    // Adopted: it was there before the agent. Unreadable or something else by now: not ours to touch.
    let found = found(&thing, situation).ok().filter(|_| !owned.adopted)?;
    let after = match (owned.form, found) {
        (Form::File, Found::File { .. }) | (Form::Link, Found::Link(_)) => None,
        (Form::Block, Found::File { bytes, .. }) => {
            let whole = Some(block::remove(bytes)).filter(|without| without != bytes)?;
            Some(After::Block { lines: None, whole })
        }
        _ => return None,
    };
    let content = content_digest(found)?;
    let before = Saved::of(found)?;
    let known = situation.pending.digests(&thing);
    // A link is the switch that takes things out of use; what it led to goes when that was shown to work.
    let last = owned.form == Form::File && owned.shown_as.is_some();
    Some(Change {
        action: if after.is_some() {
            Action::Update
        } else {
            Action::Remove
        },
        shown_as: owned.shown_as.clone(),
        when: if last { When::Cleanup } else { When::Commit },
        inverse: if last {
            Inverse::Never("it goes when the step was shown to work")
        } else {
            inverse(&before)
        },
        before,
        backup: owned.form != Form::Block && content != owned.digest && !known.contains(&content),
        after,
        form: owned.form,
        digest: String::new(),
        drift: false,
        diff_base: None,
        hidden: false,
        origins: owned.origins.clone(),
        thing,
    })
}

const fn inverse(before: &Saved) -> Inverse {
    match before {
        Saved::Absent => Inverse::Removed,
        _ => Inverse::Restored,
    }
}

/// Whether what stands at the path is somebody else's work, which must not be lost.
fn is_edited(found: &Found, want: &Want, owned: Option<&Owned>, situation: &Situation<'_>) -> bool {
    let present = match (&want.wish, found) {
        (Wish::Block { .. }, Found::File { bytes, .. }) => {
            // Outside the block nothing is touched; without a block nothing is replaced.
            match block::extract(bytes) {
                Some(lines) => sha256_hex(lines),
                None => return false,
            }
        }
        // Only its owner or permissions are another's.
        (Wish::File { text, .. }, Found::File { bytes, .. })
            if text.exposed().as_bytes() == bytes =>
        {
            return false;
        }
        _ => match content_digest(found) {
            Some(present) => present,
            None => return false,
        },
    };
    owned.is_none_or(|owned| owned.digest != present)
        && !situation.pending.digests(&want.thing).contains(&present)
}

fn content_digest(found: &Found) -> Option<String> {
    match found {
        Found::File { bytes, .. } => Some(sha256_hex(bytes)),
        Found::Link(target) => Some(sha256_hex(target.as_os_str().as_encoded_bytes())),
        _ => None,
    }
}

/// The text that people know under the same name, where the wanted path itself is new.
fn diff_base(want: &Want, absent: bool, situation: &Situation<'_>) -> Option<String> {
    let shown_as = want.shown_as.as_ref().filter(|_| absent)?;
    let (before, _) = situation.ledger.things.iter().find(|(thing, owned)| {
        owned.shown_as.as_ref() == Some(shown_as) && **thing != want.thing
    })?;
    match found(before, situation).ok()? {
        Found::File { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn found<'a>(thing: &Thing, situation: &'a Situation<'_>) -> Result<&'a Found, String> {
    match situation.sight.get(thing) {
        Some(Ok(Seen::Path(found))) => Ok(found),
        Some(Err(error)) => Err(error.clone()),
        Some(Ok(Seen::Unit(_) | Seen::Package(_))) | None => Ok(&Found::Absent),
    }
}

fn bytes_of(found: &Found) -> &[u8] {
    match found {
        Found::File { bytes, .. } => bytes,
        _ => b"",
    }
}

/// New content beside the old one.
#[derive(Debug)]
pub(in super::super) struct Ready {
    /// `None`: it is a link, or a removal: there is nothing to prepare.
    staged: Option<Staged>,
}

/// What carrying a change out came to.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Outcome {
    /// What stood there at the last moment, if that is not what the plan was made with.
    pub(in super::super) overtaken: Option<Saved>,
    /// What a person should know.
    pub(in super::super) note: Option<String>,
}

/// Prepares a change. Nothing that is in use is touched.
pub(in super::super) fn stage(files: &Files, change: &Change) -> Result<Ready, FileError> {
    let Some(path) = change.thing.path() else {
        return Ok(Ready { staged: None });
    };
    let staged = match &change.after {
        Some(After::File { text, attributes }) => {
            Some(files.stage_as(path, text.exposed().as_bytes(), Keep::Nothing(*attributes))?)
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
pub(in super::super) fn commit(
    files: &Files,
    change: &Change,
    ready: Ready,
    keep: &mut dyn FnMut(&Path, &Found) -> Result<PathBuf, FileError>,
) -> Result<Outcome, FileError> {
    let Some(path) = change.thing.path() else {
        return Ok(Outcome {
            overtaken: None,
            note: None,
        });
    };
    let now = files.read(path)?;
    let mut overtaken = (!change.before.is(&now)).then(|| Saved::of(&now)).flatten();
    let mut note = None;
    let written = match (&change.after, ready.staged) {
        (Some(After::Block { lines, .. }), Some(staged)) => {
            commit_block(files, path, lines.as_deref(), now, staged, &mut overtaken)?
        }
        (after, staged) => {
            if overtaken.is_some() && matches!(now, Found::File { .. }) {
                let copy = keep(path, &now)?;
                note = Some(format!(
                    "{} was written by somebody else in this moment: a copy is at {}",
                    path.display(),
                    copy.display()
                ));
            }
            match (after, staged) {
                (_, Some(staged)) => staged.commit()?,
                (Some(After::Link(target)), None) => {
                    files.link(path, target)?;
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
pub(in super::super) fn put_back(files: &Files, path: &Path, before: &Saved) -> Result<(), String> {
    let now = files.read(path).map_err(|error| chain(&error))?;
    if before.is(&now) {
        return Ok(());
    }
    match before {
        Saved::Absent => files.remove(path).map_err(|error| chain(&error)),
        Saved::File {
            content,
            attributes,
        } => {
            let bytes = content.bytes(files)?;
            let staged = files.stage_as(path, &bytes, Keep::Nothing(*attributes));
            let written = staged.and_then(Staged::commit);
            written.map(drop).map_err(|error| chain(&error))
        }
        Saved::Link(target) => files.link(path, target).map_err(|error| chain(&error)),
        Saved::Unit(_) | Saved::Package(_) => Ok(()),
    }
}
