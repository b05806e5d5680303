//! A file, directory or link of a role or product.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{
    AbsolutePath, CommandWord, FileMode, FileText, LinkTarget, Name, ObjectKey, Sha256Hex,
    UnitName, UserName, VariableName,
};
use super::secret::SecretSource;
use super::strict;

/// What stands at a path: exactly one of `content`, `template`, `object`, `directory` and `link`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The text of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<FileText>,
    /// A template of its text (minijinja): see the page on files for what it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<FileText>,
    /// The key of an object in the fleet's bucket that is its content. At most 16 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKey>,
    /// The SHA-256 of that object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Hex>,
    /// It is a directory. What stands in it is not looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub directory: bool,
    /// It is a symbolic link, and points there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkTarget>,
    /// Secrets that the template has, by the name that it calls them: `{{ secret('database') }}`.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub secrets: BTreeMap<VariableName, SecretSource>,
    /// Permission bits (default: 0644, 0600 with secrets, 0755 for a directory).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// The account that it belongs to (default: root).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserName>,
    /// The group that it belongs to (default: root).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<UserName>,
    /// A command that must succeed before the file is switched; `{staged}` in it is the new file's path until then. Run
    /// without a shell, by root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<CommandWord>,
    /// Services that are reloaded when it changes, where they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload: Vec<UnitName>,
    /// Services that are restarted when it changes, where they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<UnitName>,
    /// The roles on whose servers it stands. Empty: every server of the role or product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Name>,
    /// Whether it may take the place of something else that stands there already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// Its path on Debian, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian: Option<AbsolutePath>,
}

impl FileEntry {
    /// The permission bits, said or not.
    pub fn bits(&self) -> u32 {
        match self.mode {
            Some(mode) => mode.bits(),
            None if self.directory => 0o755,
            None if !self.secrets.is_empty() => 0o600,
            None => 0o644,
        }
    }
}
