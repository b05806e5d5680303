//! The ledger: everything that the agent owns, with what it wrote there and why.
//!
//! What is not in it is not the agent's, and is never removed. What a newer version wrote into it is kept as it stands,
//! told, and not acted on: see the module `unknown`.

mod format1;
mod unknown;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::original::Original;
use super::state;
use crate::report::{Kind, StepName};
use crate::resource::{Activation, LineOrigin, Step, Thing, Want, Wish};
use crate::system::digest::{Sha256, sha256_hex};
use crate::system::file::{Attributes, FileError, Files, Found};
use unknown::Unknown;

pub(super) const FILE: &str = "ledger.json";

/// The format that this version writes.
const FORMAT: u32 = 2;

/// One thing that the agent owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owned {
    /// Which resource.
    pub kind: Kind,
    /// Which step.
    pub step: StepName,
    /// What it is: a file, a block of lines in a file, a link, a unit, a package, an account.
    pub form: Form,
    /// SHA-256, in hexadecimal, of what was written (the block's lines, the link's target) or, of a unit, of what it
    /// read when it was started last; of a package, of what was wished of it.
    pub digest: String,
    /// The path under which people know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_as: Option<PathBuf>,
    /// Who asks for it, by line.
    pub origins: Vec<LineOrigin>,
    /// It stood there as wished before the agent came: kept in order from now on, but never removed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub adopted: bool,
    /// It has a secret in it: its digest is keyed, and nothing of it is shown or copied.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secret: bool,
    /// Owner and permission bits that it was given, where the document says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// What stood there before the agent, and comes back when the document lets go of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// Groups that the document had a user in: one that it names no more is taken from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The run that wrote it last; 0 for an adopted one.
    pub run: u64,
    /// When.
    pub written: Timestamp,
    /// For which version of the document.
    pub version: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What an owned thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A whole file.
    File,
    /// A whole file that belongs to an account, in a directory of that account's.
    Private,
    /// Lines between markers.
    Block,
    /// A symlink.
    Link,
    /// A directory, whatever stands in it.
    Directory,
    /// A systemd unit.
    Unit,
    /// A package.
    Package,
    /// A release of a product's code.
    Release,
    /// A group of accounts.
    Group,
    /// A user's account.
    User,
    /// A systemd unit that is not the agent's, and as the document says.
    Service,
}

/// What is remembered of a step, so that its removal can be activated when nothing asks for it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownStep {
    /// Which resource.
    pub kind: Kind,
    /// What makes a change of it take effect.
    pub activate: Vec<Activation>,
    /// It is of the fast lane: others than a run may have changed what is said of it here.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fast: bool,
}

/// Everything that the agent owns on this box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    format: u32,
    /// What is owned.
    pub things: BTreeMap<Thing, Owned>,
    /// The steps that were applied.
    pub steps: BTreeMap<StepName, KnownStep>,
    /// The guarded lists as they were last applied, by step.
    pub lists: BTreeMap<StepName, Vec<String>>,
    /// Directories that the agent made for its files; removed when empty.
    pub dirs: BTreeSet<PathBuf>,
    /// The digest of the last document of which everything was applied.
    pub good: Option<String>,
    /// What a newer version wrote.
    #[serde(skip)]
    unknown: Unknown,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            format: FORMAT,
            things: BTreeMap::new(),
            steps: BTreeMap::new(),
            lists: BTreeMap::new(),
            dirs: BTreeSet::new(),
            good: None,
            unknown: Unknown::default(),
        }
    }
}

impl Ledger {
    /// The ledger of this box; empty where there is none. One that cannot be understood counts as empty, with a warning.
    pub fn load(files: &Files) -> Result<Self, FileError> {
        let bytes = match files.read(&state::path(FILE)) {
            Ok(Found::File { bytes, .. }) => bytes,
            Ok(_) => return Ok(Self::default()),
            Err(error @ FileError::TooLarge { .. }) => {
                state::damaged(FILE, &error);
                return Ok(Self::default());
            }
            Err(error) => return Err(error),
        };
        Ok(Self::read(&bytes).unwrap_or_else(|error| {
            state::damaged(FILE, &error);
            Self::default()
        }))
    }

    /// The same without a word of what is damaged.
    pub(super) fn load_quietly(files: &Files) -> Result<Self, FileError> {
        Ok(match files.read(&state::path(FILE))? {
            Found::File { bytes, .. } => Self::read(&bytes).unwrap_or_default(),
            _ => Self::default(),
        })
    }

    /// Whether there is a ledger that cannot be understood. It counts as empty until the next run has rebuilt it.
    pub fn is_damaged(files: &Files) -> Result<bool, FileError> {
        Ok(match files.read(&state::path(FILE))? {
            Found::File { bytes, .. } => Self::read(&bytes).is_err(),
            _ => false,
        })
    }

    /// Reads a ledger of this format, of an older one or, as far as that goes, of a newer one.
    fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if let Ok(ledger) = serde_json::from_slice::<Self>(bytes)
            && ledger.format == FORMAT
        {
            return Ok(ledger);
        }
        let value: Value = serde_json::from_slice(bytes)?;
        let value = match value.get("format") {
            None => format1::upgraded(value)?,
            Some(_) => value,
        };
        unknown::read(value)
    }

    pub(super) fn save(&self, files: &Files) -> Result<(), FileError> {
        if self.unknown.is_empty() {
            state::save(files, FILE, self)
        } else {
            state::save(files, FILE, &self.unknown.joined(self))
        }
    }

    /// What a newer version of the agent wrote here and this one does not know, as a sentence. `None`: nothing.
    pub(super) fn foreign(&self) -> Option<String> {
        self.unknown.sentence()
    }

    /// The paths that are owned.
    pub fn paths(&self) -> impl Iterator<Item = (&Path, &Owned)> {
        self.things
            .iter()
            .filter_map(|(thing, owned)| Some((thing.path()?, owned)))
    }

    /// The files in which lines are owned.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Path> {
        let blocks = self.paths().filter(|(_, owned)| owned.form == Form::Block);
        blocks.map(|(path, _)| path)
    }

    /// The files that have a secret in them.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Path> {
        let secret = self.paths().filter(|(_, owned)| owned.secret);
        secret.map(|(path, _)| path)
    }

    /// What is known of a path, if it is the agent's.
    pub fn path(&self, path: &Path) -> Option<&Owned> {
        self.things.get(&Thing::Path(path.to_path_buf()))
    }

    /// The copies of what stood at paths before the agent.
    pub(super) fn copies(&self) -> impl Iterator<Item = PathBuf> {
        let owned = self.things.values();
        owned.filter_map(|owned| owned.original.as_ref()?.copy())
    }

    /// The units that are owned.
    pub fn units(&self) -> impl Iterator<Item = (&str, &Owned)> {
        self.things
            .iter()
            .filter(|(_, owned)| owned.form == Form::Unit)
            .filter_map(|(thing, owned)| Some((thing.unit()?, owned)))
    }

    /// The services that the document speaks of.
    pub fn services(&self) -> impl Iterator<Item = (&str, &Owned)> {
        self.things
            .iter()
            .filter(|(_, owned)| owned.form == Form::Service)
            .filter_map(|(thing, owned)| Some((thing.unit()?, owned)))
    }

    /// The packages that the document asks for, and those that it asks to be gone.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &Owned)> {
        self.things
            .iter()
            .filter_map(|(thing, owned)| Some((thing.package()?, owned)))
    }

    /// The things of each step.
    pub fn by_step(&self) -> BTreeMap<&StepName, Vec<(&Thing, &Owned)>> {
        let mut steps: BTreeMap<&StepName, Vec<(&Thing, &Owned)>> = BTreeMap::new();
        for (thing, owned) in &self.things {
            steps.entry(&owned.step).or_default().push((thing, owned));
        }
        steps
    }

    /// The things of one step. For many steps: [`Self::by_step`].
    pub fn of_step<'a>(
        &'a self,
        step: &'a StepName,
    ) -> impl Iterator<Item = (&'a Thing, &'a Owned)> {
        self.things
            .iter()
            .filter(move |(_, owned)| owned.step == *step)
    }
}

/// What the ledger has of some steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    things: BTreeMap<Thing, Owned>,
    steps: BTreeMap<StepName, KnownStep>,
    lists: BTreeMap<StepName, Vec<String>>,
}

impl Part {
    /// A ledger that has this and nothing else.
    pub(super) fn alone(self) -> Ledger {
        Ledger {
            things: self.things,
            steps: self.steps,
            lists: self.lists,
            ..Ledger::default()
        }
    }
}

impl Ledger {
    /// What it has of the steps of the fast lane.
    pub(super) fn fast_part(&self) -> Part {
        let is_fast = |step: &StepName| self.steps.get(step).is_some_and(|known| known.fast);
        Part {
            things: (self.things.iter())
                .filter(|(_, owned)| is_fast(&owned.step))
                .map(|(thing, owned)| (thing.clone(), owned.clone()))
                .collect(),
            steps: (self.steps.iter())
                .filter(|(_, known)| known.fast)
                .map(|(step, known)| (step.clone(), known.clone()))
                .collect(),
            lists: (self.lists.iter())
                .filter(|(step, _)| is_fast(step))
                .map(|(step, list)| (step.clone(), list.clone()))
                .collect(),
        }
    }

    /// From now on it has exactly this of the steps of the fast lane.
    pub(super) fn replace_fast_part(&mut self, part: Part) {
        let mut steps: BTreeSet<StepName> = part.steps.keys().cloned().collect();
        let known = self.steps.iter().filter(|(_, known)| known.fast);
        steps.extend(known.map(|(step, _)| step.clone()));
        self.things.retain(|_, owned| !steps.contains(&owned.step));
        self.things.extend(part.things);
        self.steps.retain(|step, _| !steps.contains(step));
        self.steps.extend(part.steps);
        self.lists.retain(|step, _| !steps.contains(step));
        self.lists.extend(part.lists);
    }
}

impl Wish {
    /// Whether it has a secret in it.
    pub(super) const fn is_secret(&self) -> bool {
        match self {
            Self::File { text, .. } | Self::Placed { text, .. } => text.is_secret(),
            _ => false,
        }
    }

    /// Whether not every account may read what is written.
    pub(super) const fn is_private(&self) -> bool {
        match self {
            Self::File { mode, .. } => *mode & 0o004 == 0,
            Self::Placed { attributes, .. } => attributes.mode & 0o004 == 0,
            Self::Private { .. } => true,
            _ => false,
        }
    }

    /// Owner and permission bits that the document says.
    pub(super) const fn attributes(&self) -> Option<Attributes> {
        match self {
            Self::Placed { attributes, .. } | Self::Directory { attributes } => Some(*attributes),
            _ => None,
        }
    }
}

impl Form {
    /// The form of a wish.
    pub const fn of(wish: &Wish) -> Self {
        match wish {
            Wish::File { .. } | Wish::Placed { .. } => Self::File,
            Wish::Directory { .. } => Self::Directory,
            Wish::Private { .. } => Self::Private,
            Wish::Block { .. } => Self::Block,
            Wish::Link { .. } => Self::Link,
            Wish::Running { .. } => Self::Unit,
            Wish::Service { .. } => Self::Service,
            Wish::Installed { .. } | Wish::NotInstalled => Self::Package,
            Wish::Release(_) => Self::Release,
            Wish::Group { .. } => Self::Group,
            Wish::User(_) | Wish::NoUser { .. } => Self::User,
        }
    }
}

/// The groups that the ledger keeps of a want.
pub(super) fn groups_of(want: &Want) -> Vec<String> {
    match &want.wish {
        Wish::User(wish) => wish.groups.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The digest that the ledger keeps of a want of `step`.
pub(super) fn digest_of(want: &Want, step: &Step) -> String {
    match &want.wish {
        Wish::File { text, .. } | Wish::Placed { text, .. } | Wish::Private { text, .. } => {
            text.digest()
        }
        Wish::Directory { .. } => sha256_hex(b"directory"),
        Wish::Group { gid } => sha256_hex(format!("gid {gid}").as_bytes()),
        Wish::User(wish) => sha256_hex(&serde_json::to_vec(wish).unwrap_or_default()),
        Wish::NoUser { uid } => sha256_hex(format!("no uid {uid}").as_bytes()),
        Wish::Block { text } => sha256_hex(text.as_bytes()),
        Wish::Link { target } => sha256_hex(target.as_os_str().as_encoded_bytes()),
        Wish::Installed { version, .. } => {
            let version = version.as_deref().unwrap_or_default();
            sha256_hex(format!("installed {version}").as_bytes())
        }
        Wish::NotInstalled => sha256_hex(b"not installed"),
        Wish::Release(wish) => wish.sha256.clone(),
        Wish::Service { running, enabled } => {
            sha256_hex(format!("running {running:?}, enabled {enabled:?}").as_bytes())
        }
        Wish::Running { reads } => {
            let mut all = Sha256::new();
            for (path, read) in step.paths() {
                if reads.iter().any(|wanted| wanted == path) {
                    all.update(digest_of(read, step).as_bytes());
                }
            }
            all.finish_hex()
        }
    }
}

#[cfg(test)]
mod tests;
