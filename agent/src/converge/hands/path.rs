//! Files, links, and the agent's lines within files.

mod commit;

use std::path::Path;

use super::super::change::{After, Change, Inverse, When};
use super::super::ledger::{Form, Owned, digest_of};
use super::super::saved::Saved;
use super::super::situation::{Seen, Situation};
use crate::report::Action;
use crate::resource::{Step, Text, Thing, Want, Wish, block};
use crate::system::digest::sha256_hex;
use crate::system::file::{Attributes, Found};
pub(in super::super) use commit::{Ready, commit, put_back, stage};

/// See [`super::difference`].
pub(super) fn difference(
    path: &Path,
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
) -> Result<Option<Change>, String> {
    let found = found(&want.thing, situation)?;
    let owned = situation.ledger.things.get(&want.thing);
    // One of the agent's own, as it made it, may become something else.
    let is_own_link =
        owned.is_some_and(|owned| content_digest(found).as_ref() == Some(&owned.digest));
    match found {
        Found::Directory(_) if !matches!(want.wish, Wish::Directory { .. }) => {
            return Err(format!("{} is a directory; move it away", path.display()));
        }
        Found::File { .. } | Found::Large { .. } if matches!(want.wish, Wish::Directory { .. }) => {
            return Err(format!(
                "{} is a file, and should be a directory; move it away",
                path.display()
            ));
        }
        Found::Other => {
            return Err(format!(
                "{} is a device, socket or pipe; move it away",
                path.display()
            ));
        }
        Found::Link(target) if !matches!(want.wish, Wish::Link { .. }) && !is_own_link => {
            return Err(format!(
                "{} is a symlink to {}, which the agent does not follow; replace it by a file or change the path",
                path.display(),
                target.display()
            ));
        }
        _ => {}
    }
    let after = match &want.wish {
        Wish::File { text, mode } => match whole_file(found, text, Attributes::own(*mode)) {
            Some(after) => after,
            None => return Ok(None),
        },
        Wish::Placed { text, attributes } => match whole_file(found, text, *attributes) {
            Some(after) => after,
            None => return Ok(None),
        },
        Wish::Directory { attributes } => {
            if matches!(found, Found::Directory(present) if present == attributes) {
                return Ok(None);
            }
            After::Directory(*attributes)
        }
        Wish::Private {
            text,
            mode,
            uid,
            gid,
        } => {
            let attributes = Attributes {
                mode: *mode,
                uid: *uid,
                gid: *gid,
            };
            if is_so(found, text, attributes) {
                return Ok(None);
            }
            After::Private {
                text: text.clone(),
                attributes,
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
        Wish::Running { .. }
        | Wish::Service { .. }
        | Wish::Installed { .. }
        | Wish::NotInstalled
        | Wish::Release(_)
        | Wish::Group { .. }
        | Wish::User(_)
        | Wish::NoUser { .. } => {
            return Err(format!("{} is a path, and nothing else", path.display()));
        }
    };
    let before = saved(found, owned).unwrap_or(Saved::Absent);
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
        drift: owned.is_some_and(|owned| {
            // One that knows of no owner and permission bits was written by an older version.
            let same_attributes =
                owned.attributes.is_none() || owned.attributes == want.wish.attributes();
            owned.digest == wished && same_attributes
        }),
        after: Some(after),
        form: Form::of(&want.wish),
        digest: wished,
        adopts: false,
        backup: is_edited(found, want, owned, situation),
        diff_base: diff_base(want, absent, situation),
        hidden: false,
        shown_as: want.shown_as.clone(),
        origins: want.origins.clone(),
    }))
}

/// What a file becomes; `None`: it is that.
fn whole_file(found: &Found, text: &Text, wanted: Attributes) -> Option<After> {
    (!is_so(found, text, wanted)).then(|| After::File {
        text: text.clone(),
        attributes: wanted,
    })
}

/// Whether a file has this text, and these attributes.
fn is_so(found: &Found, text: &Text, wanted: Attributes) -> bool {
    match found {
        Found::File { attributes, .. } | Found::Large { attributes, .. } => {
            *attributes == wanted && has_text(found, text)
        }
        _ => false,
    }
}

/// Whether a file has this text.
pub(in super::super) fn has_text(found: &Found, text: &Text) -> bool {
    match found {
        Found::File { bytes, .. } => bytes == text.bytes(),
        Found::Large { size, digest, .. } => {
            text.bytes().len() as u64 == *size && sha256_hex(text.bytes()) == *digest
        }
        _ => false,
    }
}

/// What stands there. What the agent wrote with a secret in it counts as secret, also where somebody has edited it.
fn saved(found: &Found, owned: Option<&Owned>) -> Option<Saved> {
    let saved = Saved::of(found)?;
    Some(if owned.is_some_and(|owned| owned.secret) {
        saved.into_secret()
    } else {
        saved
    })
}

/// See [`super::removal`].
pub(super) fn removal(path: &Path, owned: &Owned, situation: &Situation<'_>) -> Option<Change> {
    let thing = Thing::Path(path.to_path_buf());
    // Adopted: it was there before the agent. Unreadable or something else by now: not ours to touch.
    let found = found(&thing, situation).ok().filter(|_| !owned.adopted)?;
    let after = match (owned.form, found) {
        (Form::Private, Found::File { .. } | Found::Large { .. }) => None,
        (Form::File, Found::File { .. } | Found::Large { .. })
        | (Form::Link, Found::Link(_))
        | (Form::Directory, Found::Directory(_)) => owned.original.clone().map(After::Original),
        (Form::Block, Found::File { bytes, .. }) => {
            let whole = Some(block::remove(bytes)).filter(|without| without != bytes)?;
            Some(After::Block { lines: None, whole })
        }
        _ => return None,
    };
    let content = content_digest(found).unwrap_or_default();
    let before = saved(found, Some(owned))?;
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
        adopts: false,
        backup: matches!(owned.form, Form::File | Form::Private | Form::Link)
            && !owned.secret
            && content != owned.digest
            && !known.contains(&content),
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
    if let Some(owned) = owned.filter(|owned| owned.secret) {
        // By what it should be it is known whether somebody wrote there, and what is no copy of it is kept.
        return owned.digest == text_digest(want)
            && !matches!(&want.wish, Wish::Placed { text, .. } if has_text(found, text));
    }
    let present = match (&want.wish, found) {
        (Wish::Block { .. }, Found::File { bytes, .. }) => {
            // Outside the block nothing is touched; without a block nothing is replaced.
            match block::extract(bytes) {
                Some(lines) => sha256_hex(lines),
                None => return false,
            }
        }
        // Only its owner or permissions are another's.
        (
            Wish::File { text, .. } | Wish::Placed { text, .. } | Wish::Private { text, .. },
            Found::File { .. } | Found::Large { .. },
        ) if has_text(found, text) => {
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

fn text_digest(want: &Want) -> String {
    match &want.wish {
        Wish::File { text, .. } | Wish::Placed { text, .. } => text.digest(),
        _ => String::new(),
    }
}

fn content_digest(found: &Found) -> Option<String> {
    match found {
        Found::File { bytes, .. } => Some(sha256_hex(bytes)),
        Found::Large { digest, .. } => Some(digest.clone()),
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
        Some(Ok(_)) | None => Ok(&Found::Absent),
    }
}

fn bytes_of(found: &Found) -> &[u8] {
    match found {
        Found::File { bytes, .. } => bytes,
        _ => b"",
    }
}
