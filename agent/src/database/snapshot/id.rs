//! What a snapshot is called, and where its objects lie in the bucket. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::fleet::Name;

/// What the bucket has under a snapshot's key: its manifest, which is put last.
pub const MANIFEST: &str = "manifest.json";
/// The copy.
pub const DUMP: &str = "dump.sql.zst";
/// The accounts.
pub const ACCOUNTS: &str = "accounts.json";
/// What a drill found who restored it.
pub const PROOF: &str = "proof.json";

/// How the moment is written: it sorts as text as it does in time.
const MOMENT: &str = "%Y%m%dT%H%M%SZ";

/// A snapshot's name: when it was begun, in which epoch, on which server. `20261124T150000Z-e7-db-4`.
///
/// Epoch and server are in it so that what two masters' histories left can never be one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// When it was begun, to the second.
    pub time: Timestamp,
    /// The lease's epoch; 0: there was no lease.
    pub epoch: u64,
    /// Who took it.
    pub server: Name,
}

/// Clocks differ: what is said to be of so little ahead is of now, in seconds.
const CLOCKS: i64 = 120;

impl SnapshotId {
    /// Greater is newer, as seen at `now`. A snapshot of the future was taken by a clock that was wrong, and may be of any time: it
    /// comes after all others.
    pub fn recency(&self, now: Timestamp) -> (bool, &Self) {
        let ahead = self.time.as_second().saturating_sub(now.as_second());
        (ahead <= CLOCKS, self)
    }
}

/// What is no snapshot's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no snapshot: those are called like 20261124T150000Z-e7-db-4 (agentctl db snapshots lists them)"
)]
pub struct NoSnapshotId(String);

impl fmt::Display for SnapshotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.time.strftime(MOMENT);
        write!(out, "{moment}-e{}-{}", self.epoch, self.server)
    }
}

impl FromStr for SnapshotId {
    type Err = NoSnapshotId;

    fn from_str(text: &str) -> Result<Self, NoSnapshotId> {
        read(text).ok_or_else(|| NoSnapshotId(text.chars().take(80).collect()))
    }
}

fn read(text: &str) -> Option<SnapshotId> {
    let (moment, rest) = text.split_once("-e")?;
    let (epoch, server) = rest.split_once('-')?;
    let time = DateTime::strptime(MOMENT, moment).ok()?;
    let id = SnapshotId {
        time: time.to_zoned(TimeZone::UTC).ok()?.timestamp(),
        epoch: epoch.parse().ok()?,
        server: server.parse().ok()?,
    };
    // One snapshot, one name.
    (id.to_string() == text).then_some(id)
}

impl serde::Serialize for SnapshotId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SnapshotId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the keys of all of a product's snapshots begin with.
pub fn prefix(product: &Name) -> String {
    format!("snapshots/{product}/")
}

/// The key of one object of a snapshot.
pub fn key(product: &Name, id: &SnapshotId, object: &str) -> String {
    format!("{}{id}/{object}", prefix(product))
}

/// The snapshot and the object that a key names; `None` for keys that are none of the product's snapshots.
pub fn parse_key<'k>(product: &Name, key: &'k str) -> Option<(SnapshotId, &'k str)> {
    let rest = key.strip_prefix(&prefix(product))?;
    let (id, object) = rest.split_once('/')?;
    (!object.is_empty() && !object.contains('/')).then_some((id.parse().ok()?, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_have_one_form() {
        let id: SnapshotId = "20261124T150000Z-e7-db-4".parse().unwrap();
        assert_eq!((id.epoch, id.server.as_str()), (7, "db-4"));
        assert_eq!(id.time.to_string(), "2026-11-24T15:00:00Z");
        assert_eq!(id.to_string(), "20261124T150000Z-e7-db-4");
        for wrong in [
            "",
            "20261124T150000Z",
            "20261124T150000Z-e07-db-4",
            "20261324T150000Z-e7-db-4",
            "20261124T150000-e7-db-4",
            "20261124T150000Z-e7-",
            "20261124T150000Z-e7-db-4/..",
            "20261124T150000Z-e-1-db-4",
        ] {
            assert!(wrong.parse::<SnapshotId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_of_the_future_is_older_than_all_others() {
        let id = |text: &str| -> SnapshotId { format!("{text}-e7-db-4").parse().unwrap() };
        let now = "2026-11-24T15:00:00Z".parse().unwrap();
        let (old, new) = (id("20261124T140000Z"), id("20261124T150100Z"));
        let (future, later) = (id("20261124T151000Z"), id("20271124T150000Z"));
        let mut all = [&later, &new, &future, &old];
        all.sort_by(|one, other| other.recency(now).cmp(&one.recency(now)));
        assert_eq!(all, [&new, &old, &later, &future]);
    }

    #[test]
    fn keys_name_a_snapshot_and_an_object_of_it() {
        let product: Name = "shop".parse().unwrap();
        let id: SnapshotId = "20261124T150000Z-e7-db-4".parse().unwrap();
        let key = key(&product, &id, MANIFEST);
        assert_eq!(key, "snapshots/shop/20261124T150000Z-e7-db-4/manifest.json");
        assert_eq!(parse_key(&product, &key), Some((id, MANIFEST)));
        for other in [
            "snapshots/shop/20261124T150000Z-e7-db-4/",
            "snapshots/shop/20261124T150000Z-e7-db-4/a/b",
            "snapshots/shop/notes.txt",
            "snapshots/shop-2/20261124T150000Z-e7-db-4/manifest.json",
        ] {
            assert_eq!(parse_key(&product, other), None, "{other}");
        }
    }

    #[test]
    fn they_sort_by_time() {
        let mut ids: Vec<SnapshotId> = ["20261124T150000Z-e9-a", "20261124T144500Z-e10-b"]
            .map(|text| text.parse().unwrap())
            .into();
        ids.sort();
        assert_eq!(ids[0].to_string(), "20261124T144500Z-e10-b");
    }
}
