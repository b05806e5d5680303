//! Why a step did not come true, and who is to blame.

use std::collections::BTreeMap;

use super::super::change::{Change, When};
use super::super::plan::PlannedStep;
use crate::resource::{Member, MemberName};
use crate::system::chain;
use crate::system::file::FileError;

/// Why a step did not come true.
#[derive(Debug)]
pub(in crate::converge) enum Fault {
    /// The change itself does not work: the document's version is to blame and goes into quarantine. `members`: if it
    /// is some of the step's members that do not work, what is wrong with each.
    Change {
        error: String,
        members: BTreeMap<MemberName, String>,
    },
    /// A release does not work. It is remembered as failed, and nothing else is quarantined for it.
    Release(String),
    /// The box is to blame (disk full, a configuration that was broken before): worth another try.
    Box(String),
}

impl Fault {
    /// The whole change does not work.
    pub(in crate::converge) fn change(error: String) -> Self {
        Self::Change {
            error,
            members: BTreeMap::new(),
        }
    }

    /// With `more` said of it.
    pub(super) fn and(self, more: &str) -> Self {
        match self {
            Self::Change { error, members } => Self::Change {
                error: error + more,
                members,
            },
            other => other,
        }
    }
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        Self::Box(chain(&error))
    }
}

impl PlannedStep {
    /// The members that a check complains of, by the names of their files.
    pub(super) fn complained_of(&self, said: &str) -> BTreeMap<MemberName, String> {
        let is_named = |member: &&Member| {
            let file = format!("/{}", member.file);
            said.match_indices(&file).any(|(at, _)| {
                let after = said
                    .get(at + file.len()..)
                    .and_then(|rest| rest.chars().next());
                !after.is_some_and(|next| next.is_ascii_alphanumeric() || "._-".contains(next))
            })
        };
        let named = self.members.iter().filter(is_named);
        named
            .map(|member| (member.name.clone(), said.to_owned()))
            .collect()
    }

    /// Whether the step could come true without these members: others are left, and it is these that the step changes.
    /// One that stood there before just so is no news, and leaving it out would take away what was there.
    pub(super) fn can_do_without(&self, members: &BTreeMap<MemberName, String>) -> bool {
        let is_new = |name: &MemberName| {
            let member = self.members.iter().find(|member| member.name == *name);
            member.is_some_and(|member| {
                self.changes
                    .iter()
                    .filter(|change| change.when != When::Cleanup && change.after.is_some())
                    .filter(|change| change.thing.as_path().ends_with(&member.file))
                    .any(Change::is_news)
            })
        };
        !members.is_empty() && members.len() < self.members.len() && members.keys().all(is_new)
    }
}
