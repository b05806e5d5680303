//! What a snapshot says of itself, and what a drill says of it: `manifest.json` and `proof.json`. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::id::{DUMP, SnapshotId};
use crate::database::gtid::{Flavour, Gtids};
use crate::fleet::Name;

/// The largest manifest that is read, in bytes: of some hundred thousand tables.
pub const MANIFEST_LIMIT: u64 = 64 * 1024 * 1024;
/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// A snapshot, as its manifest has it. Where there is a manifest, all that it names is there, and whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// Whose databases.
    pub product: Name,
    /// When it was begun.
    pub time: Timestamp,
    /// When the copy was whole.
    pub ended: Timestamp,
    /// The lease's epoch; 0: there was no lease.
    pub epoch: u64,
    /// Who took it.
    pub server: Name,
    /// That server's number in replication.
    pub server_id: u32,
    /// That server's version, in its own words.
    pub version: String,
    /// How it was copied: `logical`.
    pub method: Method,
    /// The tool, in its own words.
    pub tool: String,
    /// The position at which the copy was made: exactly these transactions are in it.
    pub gtid: String,
    /// The objects beside the manifest, by their names.
    pub objects: BTreeMap<String, ObjectFacts>,
    /// The copy's size before compression, in bytes.
    pub bytes: u64,
    /// The schemas: tables with their rows, and digests.
    pub content: Content,
    /// Schemas in which there is nothing, and need be nothing.
    pub empty: Vec<String>,
}

/// How a copy is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Statements, by the dump tool.
    Logical,
}

/// An object of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFacts {
    /// Its size, in bytes.
    pub bytes: u64,
    /// Its SHA-256, as hexadecimal digits.
    pub sha256: String,
}

/// What a drill found that restored a snapshot: there only where all was as the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// 1.
    pub format: u32,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// When the drill ended.
    pub time: Timestamp,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// On which server.
    pub by: Name,
    /// The version of the database server that it was restored into.
    pub version: String,
    /// The position that it then had.
    pub gtid: String,
    /// How many tables were compared.
    pub tables: u64,
    /// How many rows they have.
    pub rows: u64,
    /// What of the archive was replayed behind it; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Replayed>,
}

/// What a drill replayed of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// How many transactions.
    pub transactions: u64,
    /// The position at the end.
    pub gtid: String,
}

/// A manifest that is none.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no JSON, or lacks something.
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
    /// It says what cannot be.
    #[error("{0}")]
    Wrong(String),
}

impl Manifest {
    /// A new one is of this format.
    pub const FORMAT: u32 = FORMAT;

    /// Its snapshot's name.
    pub fn id(&self) -> SnapshotId {
        SnapshotId {
            time: self.time,
            epoch: self.epoch,
            server: self.server.clone(),
        }
    }

    /// The copy.
    pub fn dump(&self) -> Option<&ObjectFacts> {
        self.objects.get(DUMP)
    }

    /// All bytes that its objects take of the bucket.
    pub fn stored(&self) -> u64 {
        self.objects.values().map(|object| object.bytes).sum()
    }

    /// The position as one.
    pub fn position(&self) -> Result<Gtids, ManifestError> {
        let wrong = |why: String| ManifestError::Wrong(why);
        let position =
            Gtids::parse(Flavour::MariaDb, &self.gtid).map_err(|error| wrong(error.to_string()))?;
        if position.is_empty() {
            return Err(wrong("it names no position".to_owned()));
        }
        Ok(position)
    }

    /// Reads the manifest of this snapshot.
    pub fn read(bytes: &[u8], product: &Name, id: &SnapshotId) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check(product, id)?;
        Ok(manifest)
    }

    fn check(&self, product: &Name, id: &SnapshotId) -> Result<(), ManifestError> {
        let wrong = |why: String| Err(ManifestError::Wrong(why));
        if self.format != FORMAT {
            return wrong(format!(
                "its format is {}, and this version of the agent reads {FORMAT}: use a newer one",
                self.format
            ));
        }
        if self.product != *product || self.id() != *id {
            return wrong(format!("it is that of {} of {}", self.id(), self.product));
        }
        self.position()?;
        let Some(dump) = self.dump() else {
            return wrong(format!("it has no {DUMP}"));
        };
        if dump.bytes == 0 || self.bytes == 0 || self.content.schemas.is_empty() {
            return wrong("there is nothing in it".to_owned());
        }
        for (name, object) in &self.objects {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let is_name = !name.starts_with('.') && name.chars().all(plain) && !name.is_empty();
            if !is_name || object.sha256.len() != 64 {
                return wrong(format!("{name:?} is no object of a snapshot"));
            }
        }
        Ok(())
    }
}

impl Proof {
    /// A new one is of this format.
    pub const FORMAT: u32 = FORMAT;

    /// Reads the proof of this snapshot.
    pub fn read(bytes: &[u8], id: &SnapshotId) -> Result<Self, ManifestError> {
        let proof: Self = serde_json::from_slice(bytes)?;
        if proof.format != FORMAT || proof.snapshot != *id {
            return Err(ManifestError::Wrong(
                "it is no proof of this snapshot".to_owned(),
            ));
        }
        Ok(proof)
    }
}

#[cfg(test)]
pub(in crate::database::snapshot) mod tests {
    use super::super::content::{Schema, Table};
    use super::*;

    /// A manifest of two tables.
    pub(in crate::database::snapshot) fn example() -> Manifest {
        let mut schema = Schema::default();
        let table = Table {
            rows: 3,
            digest: "00".repeat(16),
        };
        schema.tables.insert("orders".to_owned(), table);
        let object = ObjectFacts {
            bytes: 100,
            sha256: "a".repeat(64),
        };
        Manifest {
            format: FORMAT,
            product: "shop".parse().unwrap(),
            time: "2026-11-24T15:00:00Z".parse().unwrap(),
            ended: "2026-11-24T15:00:20Z".parse().unwrap(),
            epoch: 7,
            server: "db-4".parse().unwrap(),
            server_id: 14,
            version: "10.11.19-MariaDB".to_owned(),
            method: Method::Logical,
            tool: "mariadb-dump 10.19".to_owned(),
            gtid: "0-11-253".to_owned(),
            objects: [(DUMP.to_owned(), object)].into(),
            bytes: 1000,
            content: Content {
                schemas: [("shop".to_owned(), schema)].into(),
            },
            empty: Vec::new(),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_for_its_own_snapshot_only() {
        let manifest = example();
        let text = serde_json::to_vec(&manifest).unwrap();
        let read = |product: &str, id: &str| {
            Manifest::read(&text, &product.parse().unwrap(), &id.parse().unwrap())
        };
        let id = "20261124T150000Z-e7-db-4";
        assert_eq!(read("shop", id).unwrap(), manifest);
        assert!(read("video", id).is_err());
        assert!(read("shop", "20261124T150000Z-e8-db-4").is_err());
    }

    #[test]
    fn what_says_nothing_or_names_others_objects_is_no_manifest() {
        let is_refused = |change: fn(&mut Manifest)| {
            let mut manifest = example();
            change(&mut manifest);
            let text = serde_json::to_vec(&manifest).unwrap();
            Manifest::read(&text, &manifest.product, &manifest.id()).is_err()
        };
        assert!(!is_refused(|_| ()));
        assert!(is_refused(|it| it.format = 2));
        assert!(is_refused(|it| it.gtid.clear()));
        assert!(is_refused(|it| "0-11".clone_into(&mut it.gtid)));
        assert!(is_refused(|it| it.objects.clear()));
        assert!(is_refused(|it| it.bytes = 0));
        assert!(is_refused(|it| it.content.schemas.clear()));
        assert!(is_refused(|it| {
            let object = it.objects.values().next().unwrap().clone();
            it.objects.insert("../other".to_owned(), object);
        }));
    }
}
