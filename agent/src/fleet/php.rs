//! The model of a product's PHP: the pool of php-fpm that runs its sites' code.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{
    Children, GroupName, IniName, IniValue, PoolValue, Requests, Span, UserName, VariableName,
};
use super::strict;

/// A pool of php-fpm of a product's own: its sites' PHP runs in it, as its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Php {
    /// The account that the code runs as. Not root, and better not Apache's: then products cannot read each other's files.
    pub user: UserName,
    /// Its group (default: the account's primary group).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// The most requests that are worked on at once: each child takes one.
    pub children: Children,
    /// When children are there (default: `ondemand`).
    #[serde(default, deserialize_with = "strict::word")]
    pub manager: PoolManager,
    /// How long an idle child stays with `ondemand` (default 30s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
    /// After so many requests a child is replaced by a fresh one (default: never).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// How long a request may take before its child is killed, and Apache waits for it (default: PHP's own limits, and Apache's
    /// `Timeout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Settings of `php.ini` for this pool, by name. Code may change them with `ini_set`.
    #[serde(
        default,
        deserialize_with = "strict::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub ini: BTreeMap<IniName, IniValue>,
    /// Settings of `php.ini` that code cannot change.
    #[serde(
        default,
        deserialize_with = "strict::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub fixed_ini: BTreeMap<IniName, IniValue>,
    /// Variables of the children's environment, which else is empty.
    #[serde(
        default,
        deserialize_with = "strict::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub environment: BTreeMap<VariableName, PoolValue>,
}

/// When a pool's children are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolManager {
    /// As they are needed: many products on one machine take only the memory that they use.
    #[default]
    Ondemand,
    /// As they are needed, a quarter of them kept ready.
    Dynamic,
    /// All of them, always.
    Static,
}

impl PoolManager {
    /// As php-fpm's configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ondemand => "ondemand",
            Self::Dynamic => "dynamic",
            Self::Static => "static",
        }
    }
}
