//! What is known of a cluster of database servers: the lease, the servers, who would take over and why not.
//!
//! A database server's agent knows all of it; any other machine knows what the lease says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::Name;

/// One cluster of database servers, as one machine knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// The cluster, by the name of its lease: where a product has a chain of its own, the product's.
    pub product: Name,
    /// The products whose databases are on it, sorted by name.
    #[serde(default)]
    pub products: Vec<Name>,
    /// What this machine has to do with it.
    pub part: Part,
    /// The master, as far as this machine goes by it: where `mysql-master` leads.
    pub master: Option<Name>,
    /// The lease; `None`: there is none yet, or none was ever read.
    pub lease: Option<LeaseStatus>,
    /// The servers, in the order of the chain, the snapshot server last. Only names and addresses where this machine
    /// does not look at them itself.
    pub servers: Vec<DatabaseServer>,
    /// Whether a failed master would be replaced without a person, and by whom.
    pub failover: FailoverStatus,
    /// A person's word that nothing changes by itself.
    #[serde(default)]
    pub hold: Option<HoldStatus>,
    /// The last change of master that is known.
    #[serde(default)]
    pub last_change: Option<ChangeStatus>,
    /// What an order of a person is doing now, while it goes on: `switchover to db-2: waiting for db-2 to catch up`.
    #[serde(default)]
    pub doing: Option<String>,
    /// Those of the alarms for which somebody is to be woken.
    #[serde(default)]
    pub urgent: Vec<String>,
    /// The snapshots, where this machine takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<SnapshotStatus>,
    /// What a person should do something about, a sentence or two each. Each makes the machine degraded.
    pub alarms: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What a machine has to do with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// It only follows the lease.
    Follower,
    /// Its server is the master.
    Master,
    /// Its server stands in the chain and is not the master.
    Candidate,
    /// Its server takes the snapshots.
    Snapshots,
    /// Its server is kept out: a person has to look.
    Quarantined,
    /// Its server is one of the product's, and the agent has not been given its accounts.
    Unmanaged,
}

impl Part {
    /// As people say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Follower => "follows the lease",
            Self::Master => "master",
            Self::Candidate => "candidate",
            Self::Snapshots => "snapshots",
            Self::Quarantined => "quarantined",
            Self::Unmanaged => "not managed",
        }
    }
}

/// The lease as it was last read or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Its epoch.
    pub epoch: u64,
    /// Its owner.
    pub owner: Name,
    /// `serving`, `promoting`, `switching`, `released`.
    pub state: String,
    /// The owner's position when it was written.
    pub gtid: String,
    /// Whether the owner's server is closed by something else when its agent is dead or stuck.
    pub armed: bool,
    /// When the epoch began.
    pub since: Timestamp,
    /// When the owner wrote it last, by his clock.
    pub renewed: Timestamp,
    /// When this machine last heard from the bucket that this is the present one.
    pub confirmed: Timestamp,
    /// Since when the bucket does not answer, or answers with what is no lease; and why. `None`: it answers.
    #[serde(default)]
    pub trouble: Option<Trouble>,
}

/// Something does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// What is wrong.
    pub why: String,
}

/// One server of the chain, or the snapshot server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseServer {
    /// Its name.
    pub name: Name,
    /// Its address and port: `10.77.0.31:3306`.
    pub address: String,
    /// Its place: `master`, `replica` or `snapshots`, whatever its state.
    pub place: Place,
    /// What it said when it was last asked; `None`: this machine does not ask it.
    #[serde(default)]
    pub seen: Option<ServerSeen>,
    /// Whether it could take over now: each reason against it is a sentence. `None`: not known here, or it is the master.
    #[serde(default)]
    pub obstacles: Option<Vec<String>>,
    /// Why it is kept out until a person has looked, where it is.
    #[serde(default)]
    pub quarantined: Option<String>,
}

/// A server's place in the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// It owns the lease, or stands first in the chain where there is none.
    Master,
    /// It stands in the chain.
    Replica,
    /// It takes the snapshots.
    Snapshots,
}

/// What a database server said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSeen {
    /// When it was asked.
    pub at: Timestamp,
    /// Why it did not answer; then all else is from its last answer, or empty.
    #[serde(default)]
    pub error: Option<String>,
    /// Its version.
    pub version: String,
    /// Whether it takes writes of clients.
    pub writable: bool,
    /// What it has executed.
    pub gtid: String,
    /// Whom it replicates from: a server's name, or an address that is no server's.
    #[serde(default)]
    pub source: Option<String>,
    /// Whether the thread that receives runs.
    pub receiving: bool,
    /// Whether the thread that applies runs.
    pub applying: bool,
    /// How far behind its source it is, in milliseconds; `None`: it cannot say.
    #[serde(default)]
    pub lag_ms: Option<u64>,
    /// The last error of its replication.
    #[serde(default)]
    pub replication_error: Option<String>,
    /// How many clients it has.
    #[serde(default)]
    pub clients: Option<u64>,
    /// Whether a commit waits until a replica has it: semi-synchronous replication is in force.
    #[serde(default)]
    pub semi_sync: Option<bool>,
}

/// Whether a failed master would be replaced without a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverStatus {
    /// Whether it would. `None`: this machine cannot know.
    pub automatic: Option<bool>,
    /// Why not, a sentence each: a person's hold, `failover = "manual"`, the pause after the last one, a bucket whose
    /// conditional writes are wrong, nobody who could.
    pub obstacles: Vec<String>,
    /// Who would take over.
    #[serde(default)]
    pub successor: Option<Name>,
    /// What the probe of the bucket's conditional writes found: `right`, `wrong` or `unknown`, and the findings.
    #[serde(default)]
    pub bucket: Option<BucketVerdict>,
}

/// What the probe of a bucket's conditional writes found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketVerdict {
    /// Whether they are as leases need them; `None`: not known yet.
    pub right: Option<bool>,
    /// What is wrong, or why it is not known.
    pub findings: Vec<String>,
}

/// A person's word that nothing changes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    /// The server on which it was said.
    pub by: Name,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Somebody works on the servers until then: the master stays the master. `None`: nothing is done by itself.
    #[serde(default)]
    pub maintenance_until: Option<Timestamp>,
}

/// An archive that has not what is older than this is late, in seconds: it takes some ten seconds by itself, a change of master half a
/// minute.
pub const ARCHIVE_LATE_SECS: u64 = 180;

/// How a product's snapshots are, as the machine that takes them knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// Since when this agent has taken them.
    pub since: Timestamp,
    /// The time between two of them, in seconds.
    pub every_secs: u64,
    /// The time between two drills, in seconds.
    pub prove_secs: u64,
    /// The newest one; `None`: there is none, or the bucket was not heard of yet.
    pub newest: Option<SnapshotSeen>,
    /// The newest one that a drill has restored and compared.
    pub restorable: Option<SnapshotSeen>,
    /// How many there are.
    pub count: u64,
    /// What they take of the bucket, in bytes.
    pub bytes: u64,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// What is being done now: taking one, a drill.
    #[serde(default)]
    pub doing: Vec<String>,
    /// Why the last try took none.
    #[serde(default)]
    pub failure: Option<Trouble>,
    /// Why the last drill showed nothing, or what it showed to be of no use.
    #[serde(default)]
    pub drill_failure: Option<Trouble>,
    /// What a drill showed to be of no use, until a newer one was restored.
    #[serde(default)]
    pub damaged: Option<Trouble>,
    /// Why old ones are not deleted.
    #[serde(default)]
    pub not_deleted: Option<String>,
    /// How the archive of the binary log is; `None`: none is kept.
    #[serde(default)]
    pub archive: Option<ArchiveStatus>,
}

/// How a product's archive of the binary log is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveStatus {
    /// Since when this agent has kept it.
    pub since: Timestamp,
    /// What the master had committed by then is in the bucket.
    pub safe_until: Option<Timestamp>,
    /// The last transactions in it.
    pub gtid: String,
    /// Since when nothing is missing in it: a snapshot that was begun later can be brought on.
    pub unbroken_since: Option<Timestamp>,
    /// Why nothing is added to it.
    #[serde(default)]
    pub failure: Option<Trouble>,
}

/// A snapshot in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSeen {
    /// Its name.
    pub id: String,
    /// When it was begun: what it has is not newer.
    pub at: Timestamp,
    /// What it takes of the bucket, in bytes.
    pub bytes: u64,
}

impl SnapshotStatus {
    /// The newest one is late once it is older than this, in seconds.
    pub const fn late_secs(&self) -> u64 {
        self.every_secs.saturating_mul(2)
    }

    /// The newest restorable one is late once it is older than this, in seconds: two drills, and what a snapshot waits for its own.
    pub fn restorable_late_secs(&self) -> u64 {
        let every = self.prove_secs.max(self.every_secs);
        every.saturating_mul(2).saturating_add(self.every_secs)
    }

    /// Were all of the product's servers lost now, what was committed after this moment would be: that up to which the archive
    /// goes, where it goes on from the newest snapshot, else that of the newest snapshot; where there is nothing, since when this
    /// machine should take some.
    pub fn safe_until(&self) -> Timestamp {
        let newest = self.newest.as_ref().map(|newest| newest.at);
        let archived = self.archive.as_ref().and_then(|archive| {
            let goes_on = archive.unbroken_since? <= newest?;
            archive.safe_until.filter(|_| goes_on)
        });
        archived.max(newest).unwrap_or(self.since)
    }

    /// What would be lost, in words, where the archive should have kept it from that.
    fn exposed(&self, now: Timestamp) -> Option<String> {
        let archive = self.archive.as_ref()?;
        // That there is no snapshot at all is told by itself.
        self.newest.as_ref()?;
        let seconds = now
            .duration_since(self.safe_until().max(archive.since))
            .as_secs();
        if u64::try_from(seconds).unwrap_or(0) <= ARCHIVE_LATE_SECS {
            return None;
        }
        let why = match (&archive.failure, &self.failure) {
            (Some(trouble), _) | (None, Some(trouble)) => format!(": {}", trouble.why),
            (None, None) => ": is this server behind its master?".to_owned(),
        };
        Some(format!(
            "the last {} min would be lost with the product's servers, for they are not archived{why}",
            seconds / 60
        ))
    }

    /// What a person should do something about: the newest one is older than two intervals, the newest restorable one too.
    pub fn alarms(&self, now: Timestamp) -> Vec<String> {
        let age = |seen: Option<&SnapshotSeen>| {
            let from = seen.map_or(self.since, |seen| seen.at);
            u64::try_from(now.duration_since(from).as_secs()).unwrap_or(0)
        };
        let minutes = |seconds: u64| seconds / 60;
        let why = |trouble: Option<&Trouble>| {
            trouble.map_or_else(String::new, |trouble| format!(": {}", trouble.why))
        };
        let mut alarms = Vec::new();
        alarms.extend(self.damaged.as_ref().map(|damaged| {
            format!(
                "a drill has shown a snapshot to be of no use: {}",
                damaged.why
            )
        }));
        alarms.extend(self.exposed(now));
        let newest = age(self.newest.as_ref());
        if newest > self.late_secs() {
            let which = match &self.newest {
                Some(_) => format!("the newest snapshot is {} min old", minutes(newest)),
                None => "there is no snapshot".to_owned(),
            };
            alarms.push(format!("{which}{}", why(self.failure.as_ref())));
        }
        let restorable = age(self.restorable.as_ref());
        if restorable > self.restorable_late_secs() {
            let which = match &self.restorable {
                Some(_) => format!(
                    "the newest snapshot that a drill has restored is {} min old",
                    minutes(restorable)
                ),
                None => "no drill has restored any snapshot".to_owned(),
            };
            alarms.push(format!("{which}{}", why(self.drill_failure.as_ref())));
        }
        alarms
    }
}

/// A change of master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeStatus {
    /// The epoch that began with it.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
    /// From whom.
    #[serde(default)]
    pub from: Option<Name>,
    /// To whom.
    pub to: Name,
    /// `first`, `expired`, `released`, `switchover`.
    pub cause: String,
    /// How many transactions are lost at least; `None`: nobody has counted them.
    #[serde(default)]
    pub lost_at_least: Option<u64>,
    /// Whether nothing can be lost.
    pub lost_none: bool,
}

impl DatabaseStatus {
    /// Whether it is not simply one product's own: several products are on it, or it has another name than its product.
    pub fn is_shared(&self) -> bool {
        self.products.iter().any(|product| *product != self.product)
    }

    /// Whether a person means this one by `name`: its own, or that of a product that is on it.
    pub fn is_called(&self, name: &Name) -> bool {
        self.product == *name || self.products.contains(name)
    }

    /// The servers that are kept out until a person has looked.
    pub fn quarantined(&self) -> impl Iterator<Item = (&DatabaseServer, &str)> {
        (self.servers.iter()).filter_map(|server| Some((server, server.quarantined.as_deref()?)))
    }

    /// The same without what changes with each look: for whoever must know whether something has happened.
    #[must_use]
    pub fn facts(&self) -> Self {
        let mut facts = self.clone();
        if let Some(lease) = &mut facts.lease {
            lease.renewed = Timestamp::UNIX_EPOCH;
            lease.confirmed = Timestamp::UNIX_EPOCH;
            lease.gtid.clear();
        }
        if let Some(snapshots) = &mut facts.snapshots {
            snapshots.doing.clear();
            snapshots.next = None;
            if let Some(archive) = &mut snapshots.archive {
                archive.safe_until = None;
                archive.gtid.clear();
            }
        }
        for seen in facts
            .servers
            .iter_mut()
            .filter_map(|server| server.seen.as_mut())
        {
            seen.at = Timestamp::UNIX_EPOCH;
            seen.gtid.clear();
            seen.clients = None;
            seen.lag_ms = None;
        }
        facts
    }
}

#[cfg(test)]
pub(in crate::report) mod tests {
    use super::*;

    /// The snapshots of a product for which all goes well, at three in the morning of 23 November 2026.
    pub(in crate::report) fn healthy_snapshots() -> SnapshotStatus {
        let at = |text: &str| text.parse().unwrap();
        let seen = |id: &str, when: &str| SnapshotSeen {
            id: id.into(),
            at: at(when),
            bytes: 3_500_000,
        };
        SnapshotStatus {
            since: at("2026-11-01T00:00:00Z"),
            every_secs: 900,
            prove_secs: 3600,
            newest: Some(seen("20261123T024700Z-e7-db-4", "2026-11-23T02:47:00Z")),
            restorable: Some(seen("20261123T020200Z-e7-db-4", "2026-11-23T02:02:00Z")),
            count: 288,
            bytes: 1_100_000_000,
            next: Some(at("2026-11-23T03:02:00Z")),
            doing: vec![],
            failure: None,
            drill_failure: None,
            damaged: None,
            not_deleted: None,
            archive: Some(ArchiveStatus {
                since: at("2026-11-01T00:00:00Z"),
                safe_until: Some(at("2026-11-23T02:59:52Z")),
                gtid: "0-11-253".into(),
                unbroken_since: Some(at("2026-11-20T00:00:00Z")),
                failure: None,
            }),
        }
    }

    #[test]
    fn what_would_be_lost_is_what_the_archive_lacks_and_without_one_what_the_snapshots_do() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let now = at("2026-11-23T03:00:00Z");
        let told = |change: fn(&mut SnapshotStatus)| {
            let mut snapshots = healthy_snapshots();
            change(&mut snapshots);
            (snapshots.safe_until().to_string(), snapshots.alarms(now))
        };
        let archived = "2026-11-23T02:59:52Z".to_owned();
        let copied = "2026-11-23T02:47:00Z".to_owned();
        assert_eq!(told(|_| ()), (archived, vec![]));
        assert_eq!(told(|it| it.archive = None), (copied.clone(), vec![]));
        // Begun anew, and no snapshot since: it is of no use yet.
        let begun = |it: &mut SnapshotStatus| {
            let archive = it.archive.as_mut().unwrap();
            archive.unbroken_since = Some("2026-11-23T02:50:00Z".parse().unwrap());
        };
        let (safe, alarms) = told(begun);
        assert_eq!((safe, alarms.len()), (copied, 1));
        let stuck = |it: &mut SnapshotStatus| {
            let archive = it.archive.as_mut().unwrap();
            archive.safe_until = Some("2026-11-23T02:55:00Z".parse().unwrap());
            archive.failure = Some(Trouble {
                since: archive.since,
                why: "the bucket is away".into(),
            });
        };
        assert_eq!(
            told(stuck).1,
            [
                "the last 5 min would be lost with the product's servers, for they are not archived: the bucket is away"
            ]
        );
    }
}
