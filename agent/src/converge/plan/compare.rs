//! Comparing one step with the box.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::ledger::{Form, KnownStep, Owned, digest, digest_of};
use super::super::pending::Saved;
use super::{After, Change, PlannedStep, Situation, UnitChange, Verdict, When};
use crate::report::{Action, Cause, StepName};
use crate::resource::{Content, Entry, Step, block};
use crate::system::file::Found;

/// What must change for `step` to be true.
pub(super) fn step(step: &Step, situation: &Situation<'_>) -> PlannedStep {
    let mut planned = PlannedStep {
        name: step.name.clone(),
        known: KnownStep {
            kind: step.kind,
            activate: step.activate.clone(),
        },
        cause: Cause::Intended,
        verdict: Verdict::Do,
        changes: Vec::new(),
        units: Vec::new(),
        check: step.check.clone(),
        probes: step.probes.clone(),
        list: step.list.as_ref().map(|list| list.entries.clone()),
        restore: Vec::new(),
    };
    for entry in &step.entries {
        match wish(entry, situation) {
            Ok(change) => planned.changes.extend(change),
            Err(obstacle) => planned.verdict = Verdict::Obstructed(obstacle),
        }
    }
    let entries: BTreeSet<&Path> = step
        .entries
        .iter()
        .map(|entry| entry.path.as_path())
        .collect();
    let shown: BTreeSet<&Path> = step
        .entries
        .iter()
        .filter_map(|entry| entry.shown_as.as_deref())
        .collect();
    for (path, owned) in situation.ledger.of_step(&step.name) {
        if !entries.contains(path.as_path()) {
            let mut removal = removal_of(path, owned, situation, When::Cleanup);
            if let Some(change) = &mut removal {
                // The same thing lives on under another path (the next generation): nothing was removed for people.
                change.hidden |= owned
                    .shown_as
                    .as_deref()
                    .is_some_and(|path| shown.contains(path));
            }
            planned.changes.extend(removal);
        }
    }
    units(step, situation, &mut planned);
    if let Some(interrupted) = situation.pending.unfinished(&step.name) {
        planned.cause = Cause::Pending;
        planned.restore.clone_from(&interrupted.restore);
    } else if only_drift(&planned) {
        planned.cause = Cause::Drift;
    }
    planned
}

/// What must change for a step that nothing asks for any more to be gone.
pub(super) fn removal(
    name: &StepName,
    known: &KnownStep,
    situation: &Situation<'_>,
) -> PlannedStep {
    let mut changes: Vec<Change> = situation
        .ledger
        .of_step(name)
        .filter_map(|(path, owned)| {
            // A link is the switch that takes things out of use; what it led to goes when that was shown to work.
            let when = if owned.form == Form::File && owned.shown_as.is_some() {
                When::Cleanup
            } else {
                When::Commit
            };
            removal_of(path, owned, situation, when)
        })
        .collect();
    changes.reverse();
    let units = situation
        .ledger
        .units
        .iter()
        .filter(|(_, step)| *step == name);
    let units = units.filter(|(unit, _)| {
        situation.units.is_some_and(|states| {
            states
                .get(*unit)
                .is_some_and(|state| state.active || state.enabled)
        })
    });
    PlannedStep {
        name: name.clone(),
        known: known.clone(),
        cause: Cause::Unwanted,
        verdict: Verdict::Do,
        units: units
            .map(|(unit, _)| UnitChange {
                action: Action::Stop,
                unit: unit.clone(),
                drift: false,
            })
            .collect(),
        changes,
        check: None,
        probes: Vec::new(),
        list: None,
        restore: situation
            .pending
            .unfinished(name)
            .map(|step| step.restore.clone())
            .unwrap_or_default(),
    }
}

fn only_drift(planned: &PlannedStep) -> bool {
    let any = !planned.changes.is_empty() || !planned.units.is_empty();
    any && planned.changes.iter().all(|change| change.drift)
        && planned.units.iter().all(|unit| unit.drift)
}

fn wish(entry: &Entry, situation: &Situation<'_>) -> Result<Option<Change>, String> {
    let found = found(&entry.path, situation)?;
    let after = match (&entry.content, found) {
        (_, Found::Directory) => {
            return Err(format!(
                "{} is a directory; move it away",
                entry.path.display()
            ));
        }
        (_, Found::Other) => {
            return Err(format!(
                "{} is a device, socket or pipe; move it away",
                entry.path.display()
            ));
        }
        (Content::File { .. } | Content::Block { .. }, Found::Link(target)) => {
            return Err(format!(
                "{} is a symlink to {}, which the agent does not follow; replace it by a file or change the path",
                entry.path.display(),
                target.display()
            ));
        }
        (Content::File { text, .. }, Found::File { bytes, .. }) if bytes == text.as_bytes() => {
            return Ok(None);
        }
        (Content::Link { target }, Found::Link(present)) if present == target => return Ok(None),
        (Content::File { text, mode }, _) => After::Text {
            text: text.clone(),
            mode: *mode,
            digest: digest_of(&entry.content),
        },
        (Content::Link { target }, _) => After::Link {
            target: target.clone(),
            digest: digest_of(&entry.content),
        },
        (Content::Block { text }, found) => {
            let whole = text_of(found, &entry.path)?;
            let spliced = block::splice(whole, text)
                .map_err(|error| format!("{}: {error}", entry.path.display()))?;
            if spliced == whole && matches!(found, Found::File { .. }) {
                return Ok(None);
            }
            After::Text {
                text: spliced,
                mode: 0o644,
                digest: digest_of(&entry.content),
            }
        }
    };
    let owned = situation.ledger.paths.get(&entry.path);
    let edited = edited(found, &entry.path, &entry.content, owned, situation);
    let form = Form::of(&entry.content);
    let saved = Saved::of(found).unwrap_or(Saved::Absent);
    let absent = saved == Saved::Absent;
    Ok(Some(Change {
        action: if absent {
            Action::Create
        } else {
            Action::Update
        },
        path: entry.path.clone(),
        shown_as: entry.shown_as.clone(),
        when: entry.phase.into(),
        before: saved,
        drift: owned.is_some_and(|owned| owned.digest == digest_of(&entry.content)),
        after: Some(after),
        form,
        backup: edited,
        diff_base: diff_base(entry, absent, situation),
        hidden: false,
        origins: entry.origins.clone(),
    }))
}

fn removal_of(path: &Path, owned: &Owned, situation: &Situation<'_>, when: When) -> Option<Change> {
    // Adopted: it was there before the agent. Unreadable or something else by now: not ours to touch.
    let found = found(path, situation).ok().filter(|_| !owned.adopted)?;
    let after = match (owned.form, found) {
        (Form::File, Found::File { .. }) | (Form::Link, Found::Link(_)) => None,
        (Form::Block, Found::File { .. }) => {
            let whole = text_of(found, path).ok()?;
            let without = Some(block::remove(whole)).filter(|without| without != whole)?;
            Some(After::Text {
                text: without,
                mode: 0o644,
                digest: String::new(),
            })
        }
        _ => return None,
    };
    let content = match found {
        Found::File { bytes, .. } => digest(bytes),
        Found::Link(target) => digest(target.as_os_str().as_encoded_bytes()),
        _ => return None,
    };
    let known = situation.pending.digests(&path.to_path_buf());
    Some(Change {
        action: if after.is_some() {
            Action::Update
        } else {
            Action::Remove
        },
        path: path.into(),
        shown_as: owned.shown_as.clone(),
        when,
        before: Saved::of(found)?,
        backup: owned.form != Form::Block && content != owned.digest && !known.contains(&content),
        after,
        form: owned.form,
        drift: false,
        diff_base: None,
        hidden: false,
        origins: owned.origins.clone(),
    })
}

/// Whether what stands at the path is somebody else's work, which must not be lost.
fn edited(
    found: &Found,
    path: &PathBuf,
    content: &Content,
    owned: Option<&Owned>,
    situation: &Situation<'_>,
) -> bool {
    let present = match (content, found) {
        (Content::Block { .. }, Found::File { bytes, .. }) => {
            // Outside the block nothing is touched; without a block nothing is replaced.
            match std::str::from_utf8(bytes).ok().and_then(block::extract) {
                Some(lines) => digest(lines.as_bytes()),
                None => return false,
            }
        }
        (_, Found::File { bytes, .. }) => digest(bytes),
        (_, Found::Link(target)) => digest(target.as_os_str().as_encoded_bytes()),
        _ => return false,
    };
    owned.is_none_or(|owned| owned.digest != present)
        && !situation.pending.digests(path).contains(&present)
}

/// The text that people know under the same name, where the entry's own path is new.
fn diff_base(entry: &Entry, absent: bool, situation: &Situation<'_>) -> Option<String> {
    let shown_as = entry.shown_as.as_ref().filter(|_| absent)?;
    let (before, _) =
        situation.ledger.paths.iter().find(|(path, owned)| {
            owned.shown_as.as_ref() == Some(shown_as) && **path != entry.path
        })?;
    text_of(found(before, situation).ok()?, before)
        .ok()
        .map(str::to_owned)
}

fn units(step: &Step, situation: &Situation<'_>, planned: &mut PlannedStep) {
    let Some(states) = situation.units else {
        return;
    };
    for wish in &step.units {
        let state = states.get(&wish.unit).copied().unwrap_or_default();
        if !state.loaded {
            planned.verdict = Verdict::Obstructed(format!(
                "systemd does not know the unit {}; install the package's units and run systemctl daemon-reload",
                wish.unit
            ));
        }
        let touched = planned
            .changes
            .iter()
            .any(|change| wish.restart_on.contains(&change.path));
        let action = match (state.active && state.enabled, touched) {
            (false, _) => Action::Start,
            (true, true) => Action::Restart,
            (true, false) => continue,
        };
        let drift = situation.ledger.units.contains_key(&wish.unit);
        planned.units.push(UnitChange {
            action,
            unit: wish.unit.clone(),
            drift,
        });
    }
}

fn found<'a>(path: &Path, situation: &'a Situation<'_>) -> Result<&'a Found, String> {
    match situation.found.get(path) {
        Some(Ok(found)) => Ok(found),
        Some(Err(error)) => Err(error.clone()),
        None => Ok(&Found::Absent),
    }
}

fn text_of<'a>(found: &'a Found, path: &Path) -> Result<&'a str, String> {
    match found {
        Found::File { bytes, .. } => std::str::from_utf8(bytes)
            .map_err(|_| format!("{} is not UTF-8 text; mend it by hand", path.display())),
        _ => Ok(""),
    }
}
