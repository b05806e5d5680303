//! The package manager of this machine: which packages are installed, and transactions that change that.
//!
//! Looking asks `rpm -q` or `dpkg-query`, never the manager itself, and only after the package database has changed.

mod answers;
mod apt;
mod dnf;
mod leftovers;
mod query;
mod runner;
mod said;
mod transaction;
mod version;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use answers::{look, refresh};
pub use transaction::{Done, Order, Refusal, Terms, Wanted, carry_out, is_under_way};
pub use version::Version;

/// What the package database says of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageState {
    /// It is not there. What was configured of it may be.
    Absent,
    /// It is there, whole.
    Installed {
        /// With epoch, where that is not 0, and release.
        version: String,
    },
    /// It is there in part: the manager was interrupted, or a script of its failed.
    Broken {
        /// The version that is there in part.
        version: String,
        /// The package database's word for it: `half-configured`.
        state: String,
    },
}

impl PackageState {
    /// The version that is there, whole or in part.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Installed { version } | Self::Broken { version, .. } => Some(version),
        }
    }
}

/// How long transactions may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// All of what one run has to do.
    pub transaction: Duration,
    /// Waiting for others who work on the package database, as a part of that.
    pub lock: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            transaction: Duration::from_mins(20),
            lock: Duration::from_mins(2),
        }
    }
}
