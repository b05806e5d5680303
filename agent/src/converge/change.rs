//! A change: what becomes of a thing, when, and how that is undone. Data only.

use std::path::PathBuf;

use super::ledger::Form;
use super::original::Original;
use super::saved::Saved;
use crate::report::Action;
use crate::resource::{LineOrigin, Phase, ReleaseWish, Text, Thing};
use crate::system::command::CommandLine;
use crate::system::file::Attributes;
use crate::system::package_manager::Wanted;

/// One thing that changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) thing: Thing,
    pub(super) action: Action,
    pub(super) when: When,
    /// What is there now.
    pub(super) before: Saved,
    /// How it is undone.
    pub(super) inverse: Inverse,
    /// What will be: `None` for a path that goes.
    pub(super) after: Option<After>,
    pub(super) form: Form,
    /// The ledger's digest of what will be; empty for a removal.
    pub(super) digest: String,
    /// It changes what somebody else made, and which stays that.
    pub(super) adopts: bool,
    /// Somebody else's work is replaced: a copy is kept.
    pub(super) backup: bool,
    /// Only somebody else's change is undone.
    pub(super) drift: bool,
    /// What a person would compare the new text with, where it is not what stands at the path.
    pub(super) diff_base: Option<String>,
    /// Only machinery: not shown to people.
    pub(super) hidden: bool,
    /// The path under which people know it.
    pub(super) shown_as: Option<PathBuf>,
    pub(super) origins: Vec<LineOrigin>,
}

impl Change {
    /// Whether what is there or will be has a secret in it: then no copy of it is kept.
    pub(super) fn is_secret(&self) -> bool {
        self.before.is_secret()
            || matches!(&self.after, Some(After::File { text, .. }) if text.is_secret())
    }
}

/// What a thing will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// A whole file.
    File { text: Text, attributes: Attributes },
    /// A file with the agent's lines in it or, with `None`, without them; `whole` is what comes of what stands there now.
    Block {
        lines: Option<String>,
        whole: Vec<u8>,
    },
    /// The same, of an account, in a directory of that account's.
    Private { text: Text, attributes: Attributes },
    /// A link.
    Link(PathBuf),
    /// A directory.
    Directory(Attributes),
    /// What stood there before the agent.
    Original(Original),
    /// A unit that was told so.
    Unit(UnitOrder),
    /// A package that is as wanted.
    Package(Wanted),
    /// A release that is made so.
    Release(Box<ReleaseWish>),
    /// A group or a user to whom that was done.
    Account(AccountOrder),
}

/// What is done to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccountOrder {
    /// In their order.
    pub(super) commands: Vec<CommandLine>,
    /// A home directory that is made where it is missing.
    pub(super) home: Option<NewHome>,
    /// What stands there then.
    pub(super) becomes: Saved,
    /// The groups that the document has a user in.
    pub(super) groups: Vec<String>,
}

/// A home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewHome {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// What a unit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitOrder {
    /// To be masked, or no longer. `None`: that is as it should be.
    pub(super) mask: Option<bool>,
    /// To start at boot, or no longer. `None`: that is as it should be.
    pub(super) enable: Option<bool>,
    /// `Start`, `Restart` or `Stop`. `None`: that is as it should be.
    pub(super) run: Option<Action>,
}

/// When a thing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    /// Before the check.
    Prepare,
    /// After it, all of the step's in one go, and before what is committed one by one.
    Together,
    /// After it.
    Commit,
    /// After the switch.
    Activate,
    /// After the step was shown to work.
    Cleanup,
}

impl From<Phase> for When {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Prepare => Self::Prepare,
            Phase::Commit => Self::Commit,
            Phase::Activate => Self::Activate,
        }
    }
}

/// How a change is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inverse {
    /// What was there before is put back.
    Restored,
    /// It is removed, for nothing was there.
    Removed,
    /// It cannot be, or need not: why.
    Never(&'static str),
}
