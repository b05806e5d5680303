//! Which records this box has put into DNS: so that it takes those away again that nothing asks for any more. On disk.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fleet::Name;
use crate::fleet::names::{DnsServer, HostName};
use crate::settings::STATE_DIR;
use crate::system::file::{FileError, Files, Found};

const FILE: &str = "dns.json";
const MODE: u32 = 0o640;

/// A record of this box's own: by name, type and value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnedRecord {
    /// The product whose name it is at.
    pub product: Name,
    /// The name that it is at.
    pub name: HostName,
    /// Its value, which says its type too.
    pub address: IpAddr,
    /// The zone.
    pub zone: HostName,
    /// The server that was asked.
    pub server: DnsServer,
    /// The file of the key.
    pub key: PathBuf,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedRecords {
    /// The format: 1.
    format: u32,
    /// The records.
    pub records: Vec<OwnedRecord>,
}

impl OwnedRecords {
    /// Those on disk. What cannot be understood counts as none, with a warning: a box recognises its own records by their values.
    pub fn load(files: &Files) -> Result<Self, FileError> {
        let path = path();
        let Found::File { bytes, .. } = files.read(&path)? else {
            return Ok(Self::default());
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(
                event = "state-damaged",
                path = %path.display(),
                %error,
                "{} cannot be understood; going on without it: {error}",
                path.display()
            );
            Self::default()
        }))
    }

    /// Has them on disk.
    pub fn save(&mut self, files: &Files) -> Result<(), FileError> {
        if self.records.is_empty() {
            return files.remove(&path());
        }
        self.format = 1;
        // Plain fields only: nothing here can fail to be written as JSON.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        files.write(&path(), &bytes, MODE).map(drop)
    }

    /// Notes one; one of the same value at another server, or by another key, is forgotten for it. Returns whether it is new.
    pub fn add(&mut self, record: OwnedRecord) -> bool {
        let is_new = !self.records.contains(&record);
        if is_new {
            let is_same = |other: &OwnedRecord| {
                (&other.name, other.address) == (&record.name, record.address)
            };
            self.records.retain(|other| !is_same(other));
            self.records.push(record);
        }
        is_new
    }
}

fn path() -> PathBuf {
    Path::new(STATE_DIR).join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;

    #[test]
    fn records_are_kept_and_none_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let mut owned = OwnedRecords::load(&files).unwrap();
        let record = OwnedRecord {
            product: "shop".parse().unwrap(),
            name: "www.example.com".parse().unwrap(),
            address: "198.51.100.11".parse().unwrap(),
            zone: "example.com".parse().unwrap(),
            server: "10.0.0.53".parse().unwrap(),
            key: "/etc/agentd/secrets/dns.key".into(),
        };
        assert!(owned.add(record.clone()) && !owned.add(record.clone()));
        let moved = OwnedRecord {
            server: "10.0.0.54".parse().unwrap(),
            ..record
        };
        assert!(owned.add(moved.clone()));
        assert_eq!(owned.records, [moved]);
        owned.save(&files).unwrap();
        assert_eq!(OwnedRecords::load(&files).unwrap(), owned);
        owned.records.clear();
        owned.save(&files).unwrap();
        assert!(!dir.path().join("var/lib/agentd/dns.json").exists());
    }
}
