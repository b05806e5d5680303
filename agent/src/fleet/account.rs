//! The model of users and groups. Not how they are read or checked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{
    AbsolutePath, AccountComment, AccountId, AccountName, GroupName, Name, PublicKey, SudoRule,
};

/// A group of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its number, the same on all servers. It never changes: files on disk have it.
    pub gid: AccountId,
    /// The roles whose servers have it. Empty: every server it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Name>,
}

/// A user's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its number, the same on all servers. It never changes: files on disk have it.
    pub uid: AccountId,
    /// Its primary group (default: a group of its own with its name, whose number is the user's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// Groups that it is a member of besides. Others that it is in stay, unless `exclusive` says that there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
    /// Whether it is in no groups but those of `groups`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Its home directory (default: `/home/` and its name), made where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<AbsolutePath>,
    /// Its login shell (default: the system's `nologin`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<AbsolutePath>,
    /// Whose it is (default: what stands there).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<AccountComment>,
    /// SSH keys that open it: the whole of its `~/.ssh/authorized_keys`. Several places of the document may each add
    /// some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PublicKey>,
    /// What it may do by sudo.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sudo: Vec<SudoRule>,
    /// Whether the account is deleted, not kept. Its home stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
    /// The roles whose servers have it. Empty: every server it belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Name>,
}

impl User {
    /// The home directory of the user `name`.
    pub fn home(&self, name: &AccountName) -> String {
        match &self.home {
            Some(home) => home.as_str().to_owned(),
            None => format!("/home/{name}"),
        }
    }

    /// The primary group of the user `name`.
    pub fn primary_group<'u>(&'u self, name: &'u AccountName) -> &'u str {
        self.group.as_ref().map_or(name.as_str(), GroupName::as_str)
    }
}
