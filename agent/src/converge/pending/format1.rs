//! What node-agent 0.1.0 left of a run that was cut off: one file with everything in it, contents in hexadecimal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use super::super::ledger::{KnownStep, Owned};
use super::super::saved::{Content, Saved};
use super::super::state;
use super::{Interrupted, Stage, Undo};
use crate::report::StepName;
use crate::resource::Thing;
use crate::system::file::{Attributes, FileError, Files};

const FILE: &str = "pending.json";

#[derive(Debug, Deserialize)]
struct OldPending {
    steps: BTreeMap<StepName, OldStep>,
}

#[derive(Debug, Deserialize)]
struct OldStep {
    done: bool,
    known: KnownStep,
    owned: BTreeMap<PathBuf, Owned>,
    dirs: BTreeSet<PathBuf>,
    restore: Vec<OldRestore>,
}

#[derive(Debug, Deserialize)]
struct OldRestore {
    path: PathBuf,
    before: OldSaved,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OldSaved {
    Absent,
    File {
        #[serde(with = "hex::serde")]
        bytes: Vec<u8>,
        mode: u32,
    },
    Link(PathBuf),
}

/// Interrupted steps by name.
type Steps = BTreeMap<StepName, Interrupted>;

/// Its steps, and the file that they stand in.
pub(super) fn load(files: &Files) -> Result<Option<(Steps, PathBuf)>, FileError> {
    let Some(old) = state::load::<OldPending>(files, FILE)? else {
        return Ok(None);
    };
    let steps = old.steps.into_iter();
    let steps = steps.map(|(name, step)| (name, step.into())).collect();
    Ok(Some((steps, state::path(FILE))))
}

impl From<OldStep> for Interrupted {
    fn from(old: OldStep) -> Self {
        let owned = old.owned.into_iter();
        let changes = old.restore.into_iter();
        Self {
            stage: if old.done {
                Stage::Proven
            } else {
                Stage::Begun
            },
            known: old.known,
            owned: owned
                .map(|(path, owned)| (Thing::Path(path), owned))
                .collect(),
            dirs: old.dirs,
            changes: changes
                .map(|restore| Undo {
                    thing: Thing::Path(restore.path),
                    before: restore.before.into(),
                    done: false,
                })
                .collect(),
        }
    }
}

impl From<OldSaved> for Saved {
    fn from(old: OldSaved) -> Self {
        match old {
            OldSaved::Absent => Self::Absent,
            OldSaved::File { bytes, mode } => Self::File {
                content: Content::Memory(bytes),
                attributes: Attributes::own(mode),
            },
            OldSaved::Link(target) => Self::Link(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;

    #[test]
    fn what_the_first_release_left_can_be_made_good() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let old = serde_json::json!({"steps": {"cache/shop/instance": {
            "done": false, "known": {"kind": "cache", "activate": []}, "owned": {}, "dirs": [],
            "restore": [{"path": "/etc/a", "before": {"file": {"bytes": "6f6c64", "mode": 416}}}, {"path": "/etc/b", "before": "absent"}],
            "list": null,
        }}});
        state::save(&files, FILE, &old).unwrap();
        let mut pending = super::super::Pending::load(&files).unwrap();
        let step = pending
            .unfinished(&StepName("cache/shop/instance".into()))
            .unwrap();
        assert_eq!(step.changes[1].before, Saved::Absent);
        let Saved::File {
            content,
            attributes,
        } = &step.changes[0].before
        else {
            panic!("no file");
        };
        assert_eq!(
            (content.bytes(&files).unwrap().as_slice(), attributes.mode),
            (b"old".as_slice(), 0o640)
        );
        pending.steps.clear();
        pending.settle(&files).unwrap();
        assert_eq!(files.list(&state::path("")).unwrap(), [""; 0]);
    }
}
