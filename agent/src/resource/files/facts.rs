//! What must be known of the box for its files: accounts, secrets, objects, names and starts of services.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ObserveError, placed};
use crate::fleet::SecretSource;
use crate::fleet::names::UserName;
use crate::node::View;
use crate::resource::database_units::is_database_server;
use crate::resource::secrets::{self, SecretError, SecretKey, SecretText};
use crate::settings::STATE_DIR;
use crate::system::accounts::{self, Numbers};
use crate::system::chain;
use crate::system::digest::sha256_hex;
use crate::system::file::{Attributes, Files, Found};
use crate::system::platform::Platform;
use crate::system::systemd;

/// The directory of objects, each under its SHA-256; beside one that could not be had, why.
pub const OBJECTS: &str = "objects";
/// The end of the name of the file that says why an object could not be had.
pub const TROUBLE: &str = ".trouble";
/// What must be known of the box for its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFacts {
    numbers: Option<Numbers>,
    /// At a desk nothing is looked up.
    assumed: bool,
    pub(super) secrets: BTreeMap<SecretSource, Result<SecretText, SecretError>>,
    /// Those of the objects that are here, by SHA-256, or why not.
    pub(super) objects: BTreeMap<String, Result<Arc<[u8]>, String>>,
    pub(super) key: SecretKey,
    /// When databases were started last, in seconds since 1970.
    pub(super) started: BTreeMap<String, i64>,
    /// When files that they read were written last.
    pub(super) written: BTreeMap<PathBuf, i64>,
}

impl FileFacts {
    /// A machine that has all it should.
    pub(super) fn assumed() -> Self {
        Self {
            assumed: true,
            ..Self::default()
        }
    }

    pub(super) const fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// The number of an owner. The error says what to do.
    pub(super) fn uid(&self, owner: Option<&UserName>, path: &Path) -> Result<u32, String> {
        let own = Attributes::own(0).uid;
        let numbers = self.numbers.as_ref().map(|numbers| &numbers.users);
        self.number(owner, own, numbers, ("user", "owner"), path)
    }

    /// The number of a group. The error says what to do.
    pub(super) fn gid(&self, group: Option<&UserName>, path: &Path) -> Result<u32, String> {
        let own = Attributes::own(0).gid;
        let numbers = self.numbers.as_ref().map(|numbers| &numbers.groups);
        self.number(group, own, numbers, ("group", "group"), path)
    }

    fn number(
        &self,
        name: Option<&UserName>,
        own: u32,
        numbers: Option<&BTreeMap<String, u32>>,
        (what, field): (&str, &str),
        path: &Path,
    ) -> Result<u32, String> {
        let Some(name) = name.filter(|_| !self.assumed) else {
            return Ok(own);
        };
        // Also under a root that is somebody's own scratch directory.
        if name.as_str() == "root" {
            return Ok(own);
        }
        let Some(numbers) = numbers else {
            return Err(format!(
                "{} stays as it is: whether there is a {what} {name} could not be looked up",
                path.display()
            ));
        };
        numbers.get(name.as_str()).copied().ok_or_else(|| {
            format!(
                "{} stays as it is: this machine has no {what} {name}. Have the document make it (`users`, `groups`), or name another `{field}`",
                path.display()
            )
        })
    }
}

pub(super) async fn observe(
    view: &View,
    platform: &Platform,
    files: &Files,
) -> Result<FileFacts, ObserveError> {
    let mut facts = FileFacts::default();
    if view.files.is_empty() {
        return Ok(facts);
    }
    let entries = || view.files.iter().map(|view| &view.file);
    let sources: BTreeSet<SecretSource> = entries()
        .flat_map(|file| file.secrets.values().cloned())
        .collect();
    if !sources.is_empty() {
        facts.key = SecretKey::load(files).unwrap_or_default();
        facts.secrets = secrets::read(sources, files).await;
    }
    facts.objects = entries()
        .filter_map(|file| file.sha256.as_ref())
        .filter_map(|sha256| Some((sha256.to_string(), object(sha256.as_str(), files)?)))
        .collect();
    if files.root().is_machine() {
        look_at_databases(&mut facts, view, platform, files).await;
    }
    // Last: what a directory of accounts that is away leaves unknown is only that.
    let users: BTreeSet<String> = entries()
        .filter_map(|file| Some(file.owner.as_ref()?.to_string()))
        .collect();
    let groups: BTreeSet<String> = entries()
        .filter_map(|file| Some(file.group.as_ref()?.to_string()))
        .collect();
    facts.numbers = if users.is_empty() && groups.is_empty() {
        None
    } else if files.root().is_machine() {
        match accounts::numbers(users, groups).await {
            Ok(numbers) => Some(numbers),
            Err(error) => {
                tracing::warn!(
                    event = "accounts-unknown",
                    error = chain(&error),
                    "{}",
                    chain(&error)
                );
                None
            }
        }
    } else {
        Some(accounts::numbers_under(files))
    };
    Ok(facts)
}

/// An object that was fetched, or why it could not be. `None`: nobody has tried yet.
fn object(sha256: &str, files: &Files) -> Option<Result<Arc<[u8]>, String>> {
    let path = Path::new(STATE_DIR).join(OBJECTS).join(sha256);
    match files.read(&path) {
        Ok(Found::File { bytes, .. }) if sha256_hex(&bytes) == sha256 => Some(Ok(bytes.into())),
        Err(error) => Some(Err(chain(&error))),
        Ok(_) => {
            let trouble = path.with_file_name(format!("{sha256}{TROUBLE}"));
            match files.read(&trouble) {
                Ok(Found::File { bytes, .. }) => {
                    Some(Err(String::from_utf8_lossy(&bytes).into_owned()))
                }
                _ => None,
            }
        }
    }
}

/// Since when databases run, and since when there is something that they would read.
async fn look_at_databases(facts: &mut FileFacts, view: &View, platform: &Platform, files: &Files) {
    let mut units = BTreeSet::new();
    for one in placed(view, platform) {
        let databases = one.file.file.restart.iter();
        let mut databases = databases
            .filter(|unit| is_database_server(unit.as_str()))
            .peekable();
        if databases.peek().is_some()
            && let Ok(Some(stamp)) = files.look(&one.path)
        {
            facts.written.insert(one.path.clone(), stamp.modified());
        }
        units.extend(databases.map(|unit| platform.unit(unit.as_str())));
    }
    let units: Vec<String> = units.into_iter().collect();
    // Not known is not due: a restart that is not needed is worse than one that is not told of.
    facts.started = systemd::started(platform, &units).await.unwrap_or_default();
}
