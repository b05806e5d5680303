//! A step: what one resource wants of the box, as data. All of it comes true, or none.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::member::{Member, MemberName};
use super::precaution::Precaution;
use super::served::{ReleaseWish, ServedProduct, Smoke};
use super::text::Text;
use crate::fleet::{AtBoot, ListFormat, Pointer};
use crate::report::{Kind, StepName};
use crate::system::command::CommandLine;
use crate::system::file::Attributes;

/// What one resource wants, as one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Whose.
    pub kind: Kind,
    /// Which.
    pub name: StepName,
    /// When its turn comes.
    pub wave: Wave,
    /// Everything that the step owns when it is done. What the ledger has for this step and nothing wants is removed.
    pub wants: Vec<Want>,
    /// Steps without which this one makes no sense: it waits until they are true.
    pub needs: Vec<StepName>,
    /// The list that the shrink guard watches.
    pub list: Option<GuardedList>,
    /// Run after the prepared things stand and before the committed ones are switched. Must succeed.
    pub check: Option<Check>,
    /// The same of single files among those that are switched, where these change.
    pub file_checks: Vec<FileCheck>,
    /// Things that are left alone where they are somebody else's and differ from what is wished.
    pub not_over_others: BTreeSet<Thing>,
    /// What reads as a node list in this format is not somebody else's in that sense: it is what is wished, of another day.
    pub takes_over: Option<ListFormat>,
    /// Looked at before the switch too, where the check was passed.
    pub precautions: Vec<Precaution>,
    /// Carried out when something changed.
    pub activate: Vec<Activation>,
    /// Asked after the activation. All must answer as expected, or the step is put back.
    pub probes: Vec<Probe>,
    /// Asked after the probes, of releases that this step switches to. All must answer as expected, or the release failed.
    pub smoke: Vec<Smoke>,
    /// What is served when the step is true.
    pub serves: Vec<ServedProduct>,
    /// Parts that could be left out alone, should one of them turn out to be what does not work.
    pub members: Vec<Member>,
    /// Packages that stay at the version that they have, whatever those of the step would need.
    pub keep_packages: Vec<String>,
    /// How long its commands and probes may take together, at the most: the watchdog waits for it.
    pub may_take: Duration,
    /// It is of the fast lane: see [`super::Resource::is_fast`].
    pub fast: bool,
}

impl Step {
    /// A step that wants nothing yet.
    pub fn new(kind: Kind, name: StepName) -> Self {
        Self {
            kind,
            name,
            wave: Wave::Content,
            wants: Vec::new(),
            needs: Vec::new(),
            list: None,
            check: None,
            file_checks: Vec::new(),
            not_over_others: BTreeSet::new(),
            takes_over: None,
            precautions: Vec::new(),
            activate: Vec::new(),
            probes: Vec::new(),
            smoke: Vec::new(),
            serves: Vec::new(),
            members: Vec::new(),
            keep_packages: Vec::new(),
            may_take: USUAL_STEP,
            fast: false,
        }
    }

    /// The wanted paths, each with what is to stand there.
    pub fn paths(&self) -> impl Iterator<Item = (&Path, &Want)> {
        self.wants
            .iter()
            .filter_map(|want| Some((want.thing.path()?, want)))
    }
}

/// How long a step may take that says nothing else: a start, a reload and ten seconds of probing all fit.
pub const USUAL_STEP: Duration = Duration::from_mins(6);

/// When a step's turn comes. What an earlier wave brought, a later one sees in the same run; removals go in reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    /// What others stand on: packages, accounts.
    Base,
    /// What is read: files, lists, names, releases.
    Content,
    /// What serves: sites, services, jobs.
    Serving,
    /// What shows that it does: smoke tests, and DNS after them.
    Proof,
}

impl Wave {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Base, Self::Content, Self::Serving, Self::Proof];
}

/// A check of what is staged, with what tells a fault of ours from one that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The check of the staged state.
    pub staged: CommandLine,
    /// The same check of the present state. Where this fails too, the fault is not the document's and nothing is quarantined.
    pub present: CommandLine,
}

/// A check of one staged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCheck {
    /// Where the file will stand.
    pub path: PathBuf,
    /// The command; [`FileCheck::STAGED`] in it stands for where the new file is until it is switched.
    pub command: CommandLine,
    /// The part of the step that it is about, if the step can do without.
    pub member: Option<MemberName>,
}

impl FileCheck {
    /// What stands for the path of the staged file.
    pub const STAGED: &str = "{staged}";

    /// The command for a file that is staged there.
    pub fn for_staged(&self, staged: &Path) -> CommandLine {
        let staged = staged.to_string_lossy();
        let argv = self.command.argv.iter();
        CommandLine {
            argv: argv
                .map(|word| word.replace(Self::STAGED, &staged))
                .collect(),
            deadline_ms: self.command.deadline_ms,
        }
    }
}

/// Something on the box that can be owned. As text, and as a key of state files: `path:/etc/hosts`, `unit:httpd.service`,
/// `package:httpd`.
/// Something on the box that can be owned. As text, and as a key of state files: `path:/etc/hosts`, `unit:httpd.service`,
/// `group:shop`, `user:deploy`.
#[derive(Debug, Clone)]
pub enum Thing {
    /// A file, a link, or the agent's lines within a file: absolute, without the root.
    Path(PathBuf),
    /// A systemd unit, by its full name.
    Unit(String),
    /// A package, by its name here.
    Package(String),
    /// A group of accounts, by its name.
    Group(String),
    /// A user's account, by its name.
    User(String),
    /// A release of a product's code: `shop/42`.
    Release(String),
}

impl Thing {
    /// A path, or what it is in words, as one: for rows that people read.
    pub fn as_path(&self) -> Cow<'_, Path> {
        match self {
            Self::Path(path) => path.into(),
            Self::Unit(name) | Self::Package(name) => Path::new(name).into(),
            Self::Group(name) => PathBuf::from(format!("group {name}")).into(),
            Self::User(name) => PathBuf::from(format!("user {name}")).into(),
            Self::Release(name) => PathBuf::from(format!("release {name}")).into(),
        }
    }

    /// Whether it is a group or a user.
    pub const fn is_account(&self) -> bool {
        matches!(self, Self::Group(_) | Self::User(_))
    }

    /// The path, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The unit, where it is one.
    pub fn unit(&self) -> Option<&str> {
        match self {
            Self::Unit(unit) => Some(unit),
            _ => None,
        }
    }

    /// The package, where it is one.
    pub fn package(&self) -> Option<&str> {
        match self {
            Self::Package(package) => Some(package),
            _ => None,
        }
    }
}

/// By the bytes of the names: comparing paths by their components, as the standard library does, was an eighth of a run.
/// Paths are written in one way only, without `//`, `/./` or a slash at the end.
impl Thing {
    fn key(&self) -> (u8, &[u8]) {
        match self {
            Self::Path(path) => (0, path.as_os_str().as_bytes()),
            Self::Unit(unit) => (1, unit.as_bytes()),
            Self::Package(package) => (2, package.as_bytes()),
            Self::Group(name) => (3, name.as_bytes()),
            Self::User(name) => (4, name.as_bytes()),
            Self::Release(name) => (5, name.as_bytes()),
        }
    }
}

impl PartialEq for Thing {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Thing {}

impl PartialOrd for Thing {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Thing {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Thing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(out, "path:{}", path.display()),
            Self::Unit(unit) => write!(out, "unit:{unit}"),
            Self::Package(package) => write!(out, "package:{package}"),
            Self::Group(name) => write!(out, "group:{name}"),
            Self::User(name) => write!(out, "user:{name}"),
            Self::Release(name) => write!(out, "release:{name}"),
        }
    }
}

/// It names a kind of thing that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no kind of thing that this version of node-agent knows")]
pub struct UnknownThing(pub String);

impl FromStr for Thing {
    type Err = UnknownThing;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("path", path)) => Ok(Self::Path(path.into())),
            Some(("unit", unit)) => Ok(Self::Unit(unit.into())),
            Some(("package", package)) => Ok(Self::Package(package.into())),
            Some(("group", name)) => Ok(Self::Group(name.into())),
            Some(("user", name)) => Ok(Self::User(name.into())),
            Some(("release", name)) => Ok(Self::Release(name.into())),
            _ => Err(UnknownThing(text.into())),
        }
    }
}

impl Serialize for Thing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A thing that a step owns when it is done, and what is wished of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// Which thing.
    pub thing: Thing,
    /// What of it.
    pub wish: Wish,
    /// When it becomes true.
    pub phase: Phase,
    /// The path under which people know it, where it differs (a vhost through the symlink `current`).
    pub shown_as: Option<PathBuf>,
    /// Who asks for it, by line (1-based) or, with `None`, for the whole.
    pub origins: Vec<LineOrigin>,
}

/// Where a line, or all, of a file comes from. Written as one text, `12:/signed/products/shop`, for a ledger has hundreds
/// of them and is read at each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineOrigin {
    /// The line within the content, from 1. `None`: the whole.
    pub line: Option<u32>,
    /// Where the document asks for it.
    pub pointer: Pointer,
}

impl Serialize for LineOrigin {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.line {
            Some(line) => out.collect_str(&format_args!("{line}:{}", self.pointer)),
            None => out.serialize_str(&self.pointer.0),
        }
    }
}

impl<'de> Deserialize<'de> for LineOrigin {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(AnyOrigin)
    }
}

/// Reads both ways in which an origin was ever written.
struct AnyOrigin;

impl<'de> Visitor<'de> for AnyOrigin {
    type Value = LineOrigin;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a place in the document, with or without a line and a colon before it")
    }

    fn visit_str<E>(self, text: &str) -> Result<LineOrigin, E> {
        let numbered = text.split_once(':').and_then(|(line, pointer)| {
            // A pointer begins with a slash or a word.
            let line = line.parse().ok()?;
            Some((line, pointer))
        });
        let (line, pointer) =
            numbered.map_or((None, text), |(line, pointer)| (Some(line), pointer));
        Ok(LineOrigin {
            line,
            pointer: Pointer(pointer.to_owned()),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LineOrigin, A::Error> {
        /// As the first ledgers have it.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Spelled {
            line: Option<u32>,
            pointer: Pointer,
        }
        let Spelled { line, pointer } = Spelled::deserialize(MapAccessDeserializer::new(map))?;
        Ok(LineOrigin { line, pointer })
    }
}

/// What is wished of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A whole file of the agent's, with this content and these permission bits.
    File {
        /// Its content.
        text: Text,
        /// Permission bits; its owner is the agent.
        mode: u32,
    },
    /// A whole file that belongs to whom the document says.
    Placed {
        /// Its content.
        text: Text,
        /// Its owner and permission bits.
        attributes: Attributes,
    },
    /// A directory; what stands in it is others' business.
    Directory {
        /// Its owner and permission bits.
        attributes: Attributes,
    },
    /// A whole file of the agent's that belongs to an account, in a directory of that account's: nothing there is
    /// trusted. The directory is made for it where it is missing (0700), the one around it never.
    Private {
        /// Its content.
        text: Text,
        /// Permission bits.
        mode: u32,
        /// The account's number.
        uid: u32,
        /// The number of the account's primary group.
        gid: u32,
    },
    /// The agent's lines within a file that others write too, between [`BLOCK_BEGIN`] and [`BLOCK_END`]. Owner and
    /// permissions of the file are those others' business.
    Block {
        /// The lines between the markers, each ended by a newline.
        text: String,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: PathBuf,
    },
    /// A systemd unit, enabled and running.
    Running {
        /// What it read when it started: these paths, which the same step wants. A unit that read anything else is
        /// restarted.
        reads: Vec<PathBuf>,
    },
    /// A systemd unit that is somebody else's, as the document says. What is not said stays as it is.
    Service {
        /// Whether it runs.
        running: Option<bool>,
        /// Whether it starts at boot.
        enabled: Option<AtBoot>,
    },
    /// A package that is there.
    Installed {
        /// In this version, with or without epoch and release. `None`: in any.
        version: Option<String>,
        /// Also where a newer one is there.
        downgrade: bool,
    },
    /// A package that is not there.
    NotInstalled,
    /// A release of a product's code that can be switched to.
    Release(Box<ReleaseWish>),
    /// A group of accounts.
    Group {
        /// Its number.
        gid: u32,
    },
    /// A user's account.
    User(Box<AccountWish>),
    /// No such user, whoever made it. Its files stay.
    NoUser {
        /// The number that it must have had to be the one that is meant.
        uid: u32,
    },
}

/// What is wished of a user's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountWish {
    /// Its number.
    pub uid: u32,
    /// The name of its primary group.
    pub group: String,
    /// Groups that it is a member of besides, by name.
    pub groups: BTreeSet<String>,
    /// Whether it is in no others.
    pub exclusive: bool,
    /// Its home directory.
    pub home: String,
    /// Its login shell.
    pub shell: String,
    /// Whether somebody may log in with that shell: its new home gets what the system has for people.
    pub is_login: bool,
    /// Whose it is; `None`: what stands there.
    pub comment: Option<String>,
}

/// The line before the agent's lines of a shared file.
pub const BLOCK_BEGIN: &str = "# BEGIN node-agent: lines from here to END are rewritten by agentd; edit the fleet document instead";
/// The line after the agent's lines of a shared file.
pub const BLOCK_END: &str = "# END node-agent";

/// When a wanted thing becomes true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the check: nothing uses it yet.
    Prepare,
    /// After the check: this is the switch.
    Commit,
    /// After the switch: what reads what was switched.
    Activate,
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
    /// Restart it only where it runs.
    RestartIfRunning,
}

/// A question to a running service, and the answer that shows the change took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The member that is to blame where the answer is another, if it is one's alone.
    pub member: Option<MemberName>,
    /// The question.
    pub question: Question,
    /// How it shows that the right one was asked though it refuses to answer.
    pub refusal: Option<Refusal>,
}

/// Where the right one says why it refuses to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A log that nobody else writes to.
    pub log: PathBuf,
    /// What stands in a line about the question.
    pub mark: String,
    /// It may refuse by rules that it brings along (an override template's); else the machine's configuration makes it refuse.
    pub by_own_rules: bool,
}

/// What a running service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// `GET http://address:port/path` with this `Host`; with TLS `https://`, whatever the certificate says.
    Http {
        /// Where the server listens.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// Whether it speaks TLS there. It is told the host by name (SNI).
        tls: bool,
        /// The `Host` header.
        host: String,
        /// The path.
        path: String,
        /// The body that shows it (white space at its end aside). `None`: any answer below 500.
        body: Option<String>,
    },
    /// php-fpm, at the socket of a pool.
    FastCgi {
        /// The socket.
        socket: PathBuf,
        /// What it is asked for.
        path: String,
        /// The body that shows it.
        body: String,
    },
    /// memcached's `version` command.
    Memcached {
        /// Where it listens.
        address: IpAddr,
        /// Its port.
        port: u16,
    },
}
