//! The words that all rows of a report share: which resource, which step, what is wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fleet::Pointer;

/// The kinds of resources, in the order in which a run takes them. Removals go in reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Packages.
    Packages,
    /// Groups and users, their keys and what they may do by sudo.
    Accounts,
    /// Files, directories and links that the document names.
    Files,
    /// memcached node lists and instances.
    Cache,
    /// The agent's lines of `/etc/hosts`.
    Hosts,
    /// Pools of php-fpm.
    Php,
    /// Releases of products' code.
    Releases,
    /// Apache virtual hosts.
    Sites,
    /// Services.
    Services,
    /// Cron jobs.
    Cron,
}

impl Kind {
    /// Its name, as people and reports say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Files => "files",
            Self::Accounts => "accounts",
            Self::Cache => "cache",
            Self::Hosts => "hosts",
            Self::Php => "php",
            Self::Releases => "releases",
            Self::Sites => "sites",
            Self::Services => "services",
            Self::Cron => "cron",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// A step's name, stable over runs: `hosts`, `cache/shop`, `sites`, `cron/shop_tick`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepName(pub String);

impl fmt::Display for StepName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Everything asked for is there, but a person should know.
    Warning,
    /// Something asked for is not there.
    Failure,
}

/// Something on this box that speaks against the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Whose.
    pub kind: Kind,
    /// The step it concerns.
    pub step: Option<StepName>,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong and what to do, in a sentence or two.
    pub message: String,
    /// Where the document asks for what cannot be.
    pub origin: Option<Pointer>,
}
