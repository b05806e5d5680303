//! What the agent knows of the releases on a box: a small file each, and where their archives and lists are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::Name;
use crate::fleet::names::ReleaseVersion;
use crate::fleet::release::home;
use crate::system::file::{FileError, Files, Found};
use crate::system::platform::Apache;

/// Where the records are, a directory a product.
pub const RECORDS: &str = "/var/lib/agentd/releases";
/// Where archives wait to be unpacked, by their SHA-256.
pub const ARCHIVES: &str = "/var/lib/agentd/archives";
/// The file of rollbacks that persons asked for.
const ROLLBACKS: &str = "/var/lib/agentd/rollbacks.json";
/// The format of a record.
const FORMAT: u32 = 1;
const MODE: u32 = 0o640;
/// What the directory of a release that failed ends in.
pub const FAILED: &str = ".failed";
/// What the directory of a release that is not whole yet ends in; it begins with a dot.
pub const PARTIAL: &str = ".partial";

/// What is known of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRecord {
    /// 1.
    pub format: u32,
    /// Its version.
    pub version: ReleaseVersion,
    /// The key of its archive.
    pub object: String,
    /// The SHA-256 of that.
    pub sha256: String,
    /// The how-many-eth of the product's it is that was unpacked here: clocks are too coarse, and jump.
    #[serde(default)]
    pub number: u64,
    /// Bytes of its files.
    #[serde(default)]
    pub bytes: u64,
    /// Its files, directories and links.
    #[serde(default)]
    pub entries: u64,
    /// When it was unpacked. `None`: it is not.
    #[serde(default)]
    pub unpacked: Option<Timestamp>,
    /// When its command was run here with success. `None`: it was not.
    #[serde(default)]
    pub ran_before: Option<Timestamp>,
    /// It can be switched to.
    #[serde(default)]
    pub ready: bool,
    /// When it was first shown to work. `None`: it was not.
    #[serde(default)]
    pub proven: Option<Timestamp>,
    /// Why it is not tried again until another one takes its place, or a person says so.
    #[serde(default)]
    pub failed: Option<ReleaseFailure>,
    /// Why it cannot be had now.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// How a release failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFailure {
    /// When.
    pub since: Timestamp,
    /// Why.
    pub error: String,
}

impl ReleaseRecord {
    /// Of a release that nothing was done for yet.
    pub fn new(version: ReleaseVersion, object: &str, sha256: &str) -> Self {
        Self {
            format: FORMAT,
            version,
            object: object.to_owned(),
            sha256: sha256.to_owned(),
            number: 0,
            bytes: 0,
            entries: 0,
            unpacked: None,
            ran_before: None,
            ready: false,
            proven: None,
            failed: None,
            trouble: None,
        }
    }

    /// The record of a release; `None`: there is none, or none that can be understood.
    pub fn load(
        files: &Files,
        product: &Name,
        version: &ReleaseVersion,
    ) -> Result<Option<Self>, FileError> {
        let Found::File { bytes, .. } = files.read(&record_path(product, version))? else {
            return Ok(None);
        };
        let record: Option<Self> = serde_json::from_slice(&bytes).ok();
        Ok(record.filter(|record| record.format == FORMAT && record.version == *version))
    }

    /// All records of a product.
    pub fn load_all(
        files: &Files,
        product: &Name,
    ) -> Result<BTreeMap<ReleaseVersion, Self>, FileError> {
        let mut records = BTreeMap::new();
        for name in files.list(&Path::new(RECORDS).join(product.as_str()))? {
            let version = name.strip_suffix(".json").map(str::parse);
            let Some(Ok(version)) = version else { continue };
            if let Some(record) = Self::load(files, product, &version)? {
                records.insert(version, record);
            }
        }
        Ok(records)
    }

    /// What the newest is sorted last by: those that were shown to work after those that were not, in the order in which they
    /// were unpacked.
    pub const fn order(&self) -> (bool, u64) {
        (self.proven.is_some(), self.number)
    }

    /// Writes it, where it says anything else than what is there.
    pub fn save(&self, files: &Files, product: &Name) -> Result<(), FileError> {
        if Self::load(files, product, &self.version)?.as_ref() == Some(self) {
            return Ok(());
        }
        let path = record_path(product, &self.version);
        write(files, &path, self)
    }

    /// Forgets it, and the list of what was unpacked.
    pub fn forget(
        files: &Files,
        product: &Name,
        version: &ReleaseVersion,
    ) -> Result<(), FileError> {
        files.remove(&record_path(product, version))?;
        files.remove(&list_path(product, version))
    }
}

fn write<T: Serialize>(files: &Files, path: &Path, what: &T) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(what).map_err(|error| FileError::Io {
        operation: "write",
        path: path.into(),
        source: error.into(),
    })?;
    files.write(path, &bytes, MODE).map(drop)
}

fn record_path(product: &Name, version: &ReleaseVersion) -> PathBuf {
    Path::new(RECORDS).join(format!("{product}/{version}.json"))
}

/// Where the list of what was unpacked is.
pub fn list_path(product: &Name, version: &ReleaseVersion) -> PathBuf {
    Path::new(RECORDS).join(format!("{product}/{version}.list"))
}

/// Where an archive waits.
pub fn archive_path(sha256: &str) -> PathBuf {
    Path::new(ARCHIVES).join(sha256)
}

/// Where a product's releases stand.
pub fn releases_dir(product: &Name) -> PathBuf {
    Path::new(&home(product)).join("releases")
}

/// A person's word that a product stays at another release than the document's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The document's version when it was said. Another one ends it.
    pub from: ReleaseVersion,
    /// The version that the product goes back to.
    pub to: ReleaseVersion,
    /// When it was said.
    pub since: Timestamp,
}

/// All rollbacks, by product.
pub fn rollbacks(files: &Files) -> Result<BTreeMap<Name, Rollback>, FileError> {
    let Found::File { bytes, .. } = files.read(Path::new(ROLLBACKS))? else {
        return Ok(BTreeMap::new());
    };
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Keeps the rollbacks.
pub fn keep_rollbacks(
    files: &Files,
    rollbacks: &BTreeMap<Name, Rollback>,
) -> Result<(), FileError> {
    if rollbacks.is_empty() {
        return files.remove(Path::new(ROLLBACKS));
    }
    write(files, Path::new(ROLLBACKS), rollbacks)
}

/// The releases that Apache serves from, by product: what the generation in use says.
pub fn served(files: &Files, apache: &Apache) -> BTreeMap<Name, BTreeSet<ReleaseVersion>> {
    let mut served: BTreeMap<Name, BTreeSet<ReleaseVersion>> = BTreeMap::new();
    let Ok(Found::Link(generation)) = files.read(&apache.dir.join("current")) else {
        return served;
    };
    let dir = apache.dir.join(generation);
    for name in files.list(&dir).unwrap_or_default() {
        let product = name
            .strip_suffix(SERVED)
            .and_then(|stem| stem.split_once('_'))
            .and_then(|(product, _)| product.parse::<Name>().ok());
        let Some(product) = product else { continue };
        if let Ok(Found::File { bytes, .. }) = files.read(&dir.join(&name))
            && let Ok(version) = String::from_utf8_lossy(&bytes).trim().parse()
        {
            served.entry(product).or_default().insert(version);
        }
    }
    served
}

/// What the file of a generation ends in that says from which release a site is served.
pub const SERVED: &str = ".release";
