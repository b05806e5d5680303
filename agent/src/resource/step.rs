//! A step: what one resource wants of the box, as data. All of it comes true, or none.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fleet::Pointer;
use crate::report::{Kind, StepName};
use crate::system::command::CommandLine;

/// What one resource wants, as one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Whose.
    pub kind: Kind,
    /// Which.
    pub name: StepName,
    /// Every path that the step owns when it is done. A path that the ledger has for this step and that is not here is removed.
    pub entries: Vec<Entry>,
    /// systemd units that the step wants enabled and running.
    pub units: Vec<UnitWish>,
    /// The list that the shrink guard watches.
    pub list: Option<GuardedList>,
    /// Run after the prepared entries stand and before the committed ones are switched. Must succeed.
    pub check: Option<Check>,
    /// Carried out when an entry changed.
    pub activate: Vec<Activation>,
    /// Asked after the activation. All must answer as expected, or the step is put back.
    pub probes: Vec<Probe>,
}

/// A check of what is staged, with what tells a fault of ours from one that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The check of the staged state.
    pub staged: CommandLine,
    /// The same check of the present state. Where this fails too, the fault is not the document's and nothing is quarantined.
    pub present: CommandLine,
}

/// A path that a step owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where, absolute, without the root.
    pub path: PathBuf,
    /// What.
    pub content: Content,
    /// When it becomes true.
    pub phase: Phase,
    /// The path under which people know it, where it differs (a vhost through the symlink `current`).
    pub shown_as: Option<PathBuf>,
    /// Who asks for it, by line (1-based) or, with `None`, for the whole.
    pub origins: Vec<LineOrigin>,
}

/// Where a line, or all, of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineOrigin {
    /// The line within the content, from 1. `None`: the whole.
    pub line: Option<u32>,
    /// Where the document asks for it.
    pub pointer: Pointer,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A whole file.
    File {
        /// Its text.
        text: String,
        /// Permission bits for a file that is not there yet. An existing one keeps its own.
        mode: u32,
    },
    /// The agent's lines within a file that others write too, between [`BLOCK_BEGIN`] and [`BLOCK_END`].
    Block {
        /// The lines between the markers, each ended by a newline.
        text: String,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: PathBuf,
    },
}

/// The line before the agent's lines of a shared file.
pub const BLOCK_BEGIN: &str = "# BEGIN node-agent: lines from here to END are rewritten by agentd; edit the fleet document instead";
/// The line after the agent's lines of a shared file.
pub const BLOCK_END: &str = "# END node-agent";

/// When an entry becomes true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the check: nothing uses it yet.
    Prepare,
    /// After the check: this is the switch.
    Commit,
}

/// A systemd unit that must be enabled and running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitWish {
    /// The full name: `agentd-memcached@shop.service`.
    pub unit: String,
    /// The files whose change restarts it.
    pub restart_on: Vec<PathBuf>,
}

/// A list that must not shrink by accident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardedList {
    /// What its entries are, in the plural: `memcached nodes of shop`.
    pub what: String,
    /// The entries, sorted.
    pub entries: Vec<String>,
}

/// What makes a change take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The unit: `httpd.service`.
    pub unit: String,
    /// What is done to it.
    pub verb: Verb,
    /// Where the service itself says why it could not: quoted in the report where that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

/// What is done to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Reload it gracefully; start it where it is stopped (a reload that skips a stopped service would leave the site down).
    ReloadOrStart,
    /// Reload it only where it runs: somebody else decides whether it should.
    ReloadIfRunning,
}

/// A question to a running service, and the answer that shows the change took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// `GET http://address:port/path` with this `Host`.
    Http {
        /// Where the server listens.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// The `Host` header.
        host: String,
        /// The path.
        path: String,
        /// The body that shows it (white space at its end aside). `None`: any answer below 500.
        body: Option<String>,
    },
    /// memcached's `version` command.
    Memcached {
        /// Where it listens.
        address: IpAddr,
        /// Its port.
        port: u16,
    },
}
