//! `agentd.toml`: what the file says, merged with the command line, validated. Only [`Settings`] reaches the tasks.

mod database;
mod desk;
mod file;
mod load;
mod mistakes;
mod needed;
mod platform;
mod section;
#[cfg(test)]
mod tests;
mod timing;
mod trust;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::Name;
use crate::fleet::names::DnsServer;
pub use crate::fleet::signing::Trust;
pub use crate::node::HostsScope;
use crate::system::package_manager::Patience;
use crate::system::platform::Platform;
use crate::system::root::Root;

pub use database::{
    AddressUse, DatabaseSettings, DeadmanUse, FailoverUse, SnapshotSettings, Times,
};
pub use desk::{DeskOverrides, DeskSettings, Signer};
pub use load::{Overrides, root_of};
pub use mistakes::{Mistake, Place, SettingsError};
pub use timing::{Ms, Timing, UnfitTiming};
pub use trust::VERSION_STEP;

/// Where the agent keeps what must survive a reboot.
pub const STATE_DIR: &str = "/var/lib/agentd";
/// Where the agent keeps what must not survive one: lock, socket, status.
pub const RUN_DIR: &str = "/run/agentd";
/// The default configuration file.
pub const CONFIG_FILE: &str = "/etc/agentd/agentd.toml";

/// The settings of this box, complete and checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything lies.
    pub root: Root,
    /// The file that they were read from; `None`: there was none, all of them came from the command line.
    pub file: Option<PathBuf>,
    /// The bucket.
    pub bucket: BucketUrl,
    /// Who must vouch for a document.
    pub trust: Trust,
    /// Which `trust/N.json` has these keys; 0: none, they were there before the first.
    pub trust_generation: u64,
    /// How far a document's version may be above the one before, where documents are signed.
    pub version_step: u64,
    /// The server that this box is, where a person said so.
    pub node: Option<Name>,
    /// The fleet that documents must name.
    pub pinned_fleet: Option<Name>,
    /// The time between two polls of the document.
    pub poll: Duration,
    /// The time between two looks at the lease of a database that this box follows.
    pub lease_poll: Duration,
    /// The same while its database servers' agents would tell of a change.
    pub lease_poll_idle: Duration,
    /// Whether this machine puts a report on itself into the bucket.
    pub reports: bool,
    /// Which servers stand in `/etc/hosts`.
    pub hosts: HostsScope,
    /// The S3 client.
    pub s3: S3Settings,
    /// The shrink guard.
    pub guard: GuardSettings,
    /// How this box finds out which server it is.
    pub identity: IdentitySettings,
    /// The most bytes of a document.
    pub document_limit: u64,
    /// What the journal may grow to.
    pub journal: JournalSettings,
    /// How long transactions of packages may take.
    pub packages: Patience,
    /// Paths, units and commands of this box.
    pub platform: Platform,
    /// How the daemon logs.
    pub log: LogSettings,
    /// How this box keeps its own records in DNS, where the document does not say.
    pub dns: DnsSettings,
    /// How this box takes part in keeping its products' databases.
    pub database: DatabaseSettings,
}

/// How this box keeps its own records in DNS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsSettings {
    /// The primary server of the zones.
    pub server: Option<DnsServer>,
    /// The file of the key that updates are signed with.
    pub key: Option<PathBuf>,
}

/// How the daemon logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// In which form.
    pub format: LogFormat,
    /// From which level up.
    pub level: tracing::Level,
}

/// In which form the daemon logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// To the journal where stderr is the journal, else text.
    Auto,
    /// Lines for people, to stderr.
    Text,
    /// One JSON object a line, to stderr.
    Json,
    /// `key=value` lines, to stderr.
    Logfmt,
    /// To the journal, with fields.
    Journal,
}

impl LogFormat {
    const WORDS: &[(&str, Self)] = &[
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("json", Self::Json),
        ("logfmt", Self::Logfmt),
        ("journal", Self::Journal),
    ];
}

/// Where the fleet's objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketUrl {
    /// `s3://bucket/prefix`. The prefix has no slash at either end and may be empty.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
    /// `file:///dir`. Never under the root: it is where the operator put it.
    Directory(PathBuf),
}

/// The S3 client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// Another endpoint than AWS's.
    pub endpoint: Option<String>,
    /// The region; default: by the SDK's own chain.
    pub region: Option<String>,
    /// `http://host/bucket/key` instead of `http://bucket.host/key`.
    pub path_style: bool,
    /// How long one request may take, all of it.
    pub timeout: Duration,
}

/// The shrink guard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardSettings {
    /// The share of a list that may go at once, 0 to 1.
    pub share: f64,
    /// Fewer removed entries than this are never held.
    pub from: usize,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            share: 0.5,
            from: 2,
        }
    }
}

/// How this box finds out which server it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentitySettings {
    /// Whether the cloud's metadata service is asked.
    pub metadata: MetadataUse,
    /// The instance tag that holds the server's name.
    pub tag: String,
    /// Another endpoint than the link-local one.
    pub endpoint: Option<String>,
}

/// Whether the cloud's metadata service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataUse {
    /// Where the firmware says that this is a cloud instance.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What the journal may grow to; the oldest runs go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSettings {
    /// Runs.
    pub runs: usize,
    /// Bytes, backups of edited files included.
    pub bytes: u64,
}
