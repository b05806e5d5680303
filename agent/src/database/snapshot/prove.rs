//! A drill: a snapshot restored into a server of our own, and compared with what its manifest says. Only then it counts.
//!
//! Compared are the SHA-256 of the copy, its end mark, each table's rows counted by the server, the position, and a dump of the
//! restored server, by the same tool, with the digests of the snapshot's own: rows and definitions, all of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::catalog;
use super::content::Scan;
use super::id::{PROOF, SnapshotId, key};
use super::manifest::{Manifest, Proof, Replayed};
use super::restore::{Extent, RestoreError, restore};
use super::take::put;
use super::throwaway::{Nature, Throwaway, ThrowawayError, usual_account};
use crate::bucket::{Bucket, BucketError, BucketErrorKind};
use crate::database::archive::Tips;
use crate::database::archive::reach::{ReachError, Target, reach};
use crate::database::archive::replay::{ReplayError, replay};
use crate::database::server::dump::{HEAD, dump, secret};
use crate::database::server::{Place, Server};
use crate::fleet::Name;
use crate::system::clock;
use crate::system::command::{self, CommandError, End, Running};
use crate::system::disk;

/// Room that is left beside the restored data, in bytes.
const SPARE: u64 = 512 * 1024 * 1024;
/// The files that a fresh server begins with, in bytes.
const FRESH: u64 = 256 * 1024 * 1024;
const SHORT: Duration = Duration::from_secs(10);
/// So much of the archive is replayed at most, in bytes.
const REPLAYED: u64 = 256 * 1024 * 1024;
/// So many differences are told.
const TOLD: usize = 5;

/// Where and how drills are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// A directory of this product's drills alone, which is emptied before and after.
    pub dir: PathBuf,
    /// The account that the server runs as; `None`: the one that databases usually run as.
    pub account: Option<String>,
    /// Its memory, in bytes.
    pub memory: u64,
    /// Whether what the archive has behind the snapshot is replayed too.
    pub archive: bool,
    /// A drill that takes longer is given up.
    pub patience: Duration,
    /// This server.
    pub me: Name,
}

/// A drill did not show that a snapshot can be restored.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// It cannot be shown here now; it says nothing about the snapshot.
    #[error("no drill now: {0}")]
    Skipped(String),
    /// The snapshot is not what its manifest says.
    #[error("the snapshot cannot be relied on: {0}")]
    Damaged(String),
    /// It could not be restored, which may or may not be its own fault.
    #[error("the snapshot could not be restored")]
    Restore(#[source] RestoreError),
    /// The server of our own failed.
    #[error(transparent)]
    Throwaway(#[from] ThrowawayError),
    /// The dump of what was restored.
    #[error("what was restored could not be read back")]
    Tool(#[from] CommandError),
    /// What the archive has behind it could not be replayed; the snapshot by itself was as it should be.
    #[error("the snapshot was restored, and the archive behind it could not be replayed")]
    Archive(#[source] ReplayError),
    /// The archive could not be looked at.
    #[error("the snapshot was restored, and the archive behind it could not be looked at")]
    Reach(#[source] ReachError),
    /// The proof could not be put.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl ProveError {
    /// Whether it says that this snapshot is of no use, and not that the drill could not be made.
    pub const fn is_of_the_snapshot(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

/// How much room a restore of this snapshot takes, in bytes: tables with their indexes are larger than the statements that make
/// them.
pub const fn room_for(manifest: &Manifest) -> u64 {
    manifest
        .bytes
        .saturating_mul(2)
        .saturating_add(FRESH)
        .saturating_add(SPARE)
}

/// Makes the drill, and puts its proof beside the manifest.
pub async fn prove(
    bucket: &Bucket,
    product: &Name,
    id: &SnapshotId,
    ground: &Ground,
) -> Result<Proof, ProveError> {
    let manifest = match catalog::manifest(bucket, product, id).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Err(ProveError::Damaged("it has no manifest".to_owned())),
        Err(catalog::CatalogError::Bucket(error)) => return Err(error.into()),
        Err(error) => return Err(ProveError::Damaged(crate::system::chain(&error))),
    };
    let began = Instant::now();
    clear(&ground.dir)?;
    check_room(&ground.dir, room_for(&manifest))?;
    let drill = tokio::time::timeout(ground.patience, drill(bucket, &manifest, ground));
    let done = drill.await.unwrap_or_else(|_| {
        Err(ProveError::Skipped(format!(
            "it did not end within {} min (drill_timeout in agentd.toml)",
            ground.patience.as_secs() / 60
        )))
    });
    // Whatever came of it: it takes no room.
    let cleared = clear(&ground.dir);
    let (version, archive) = done?;
    cleared?;
    let (tables, rows) = manifest.content.size();
    let proof = Proof {
        format: Proof::FORMAT,
        snapshot: id.clone(),
        time: clock::now(),
        seconds: began.elapsed().as_secs(),
        by: ground.me.clone(),
        version,
        gtid: manifest.gtid.clone(),
        tables,
        rows,
        archive,
    };
    let text = serde_json::to_vec(&proof).unwrap_or_default();
    match put(bucket, &key(product, id, PROOF), text).await {
        // Somebody else has shown it meanwhile.
        Err(error) if error.kind == BucketErrorKind::Conflict => Ok(proof),
        done => done.map(|()| proof).map_err(ProveError::from),
    }
}

/// Restores it, and compares. The version of the server that it was restored into, and what was replayed behind it.
async fn drill(
    bucket: &Bucket,
    manifest: &Manifest,
    ground: &Ground,
) -> Result<(String, Option<Replayed>), ProveError> {
    let nature = Nature {
        account: ground.account.clone().unwrap_or_else(usual_account),
        memory: ground.memory,
        is_background: true,
    };
    let data = ground.dir.join("data");
    let server = Throwaway::start(&data, &ground.dir.join("work"), &nature).await?;
    let extent = Extent {
        accounts: true,
        is_background: true,
    };
    let restored = restore(bucket, manifest, server.place(), extent, &|_| ());
    let restored = restored.await.map_err(|error| match error {
        RestoreError::Damaged(why) => ProveError::Damaged(why),
        RestoreError::Bucket(error) if error.kind == BucketErrorKind::Unavailable => {
            ProveError::Bucket(error)
        }
        RestoreError::Bucket(error)
            if matches!(
                error.kind,
                BucketErrorKind::Missing | BucketErrorKind::TooLarge | BucketErrorKind::OutOfRange
            ) =>
        {
            ProveError::Damaged(error.to_string())
        }
        error => ProveError::Restore(error),
    })?;
    if (restored.tables, restored.rows) != manifest.content.size() {
        return Err(ProveError::Damaged("not all of it was counted".to_owned()));
    }
    compare(manifest, server.place()).await?;
    let replayed = if ground.archive {
        forward(bucket, manifest, server.place(), &ground.dir.join("work")).await?
    } else {
        None
    };
    let seen = Server::new(server.place(), "").observe(SHORT).await;
    let version = seen.map_err(ThrowawayError::from)?.version;
    server.stop().await?;
    Ok((version, replayed))
}

/// Replays what the archive has behind the snapshot, as far as it goes now; `None`: it has nothing, or more than a drill has time for.
async fn forward(
    bucket: &Bucket,
    manifest: &Manifest,
    place: &Place,
    work: &Path,
) -> Result<Option<Replayed>, ProveError> {
    let Ok(begin) = manifest.gtid.parse::<Tips>() else {
        return Ok(None);
    };
    let product = &manifest.product;
    let way = match reach(bucket, product, &begin, Target::End).await {
        Ok(way) if way.bytes <= REPLAYED => way,
        Ok(_) | Err(ReachError::Nothing(_)) => return Ok(None),
        Err(error) => return Err(ProveError::Reach(error)),
    };
    let spool = work.join("binlog");
    replay(bucket, product, &way, &begin, place, &spool, &|_| ())
        .await
        .map_err(ProveError::Archive)?;
    Ok(Some(Replayed {
        transactions: way.transactions,
        gtid: way.position.to_string(),
    }))
}

/// Dumps what was restored as the snapshot was dumped: both must say the same.
async fn compare(manifest: &Manifest, place: &Place) -> Result<(), ProveError> {
    let schemas: Vec<String> = manifest.content.schemas.keys().cloned().collect();
    let line = dump(place, &schemas, false).map_err(ProveError::Skipped)?;
    let line = command::in_the_background(line);
    let mut dump = Running::start(line, End::Output, secret(&place.account))?;
    let mut scan = Scan::default();
    let mut chunk = vec![0; HEAD];
    loop {
        let count = dump.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        scan.feed(chunk.get(..count).unwrap_or_default());
    }
    dump.finish().await?;
    let found = scan
        .finish()
        .map_err(|why| ProveError::Skipped(why.to_string()))?;
    let differences = manifest.content.differences(&found, TOLD);
    if differences.is_empty() {
        return Ok(());
    }
    Err(ProveError::Damaged(differences.join("; ")))
}

/// Empties the drills' directory: what a drill that was killed has left goes too.
fn clear(dir: &Path) -> Result<(), ThrowawayError> {
    let failed = |source| ThrowawayError::Directory {
        path: dir.into(),
        source,
    };
    for part in ["data", "work"] {
        match std::fs::remove_dir_all(dir.join(part)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            done => done.map_err(failed)?,
        }
    }
    std::fs::create_dir_all(dir).map_err(failed)
}

fn check_room(dir: &Path, wants: u64) -> Result<(), ProveError> {
    let room = disk::room(dir).map_err(|error| {
        ProveError::Skipped(format!(
            "the room under {} cannot be told: {error}",
            dir.display()
        ))
    })?;
    if room.free < wants {
        return Err(ProveError::Skipped(format!(
            "{} MiB are free under {}, and the drill wants {} (drill_dir in agentd.toml names another place)",
            room.free >> 20,
            dir.display(),
            wants >> 20
        )));
    }
    Ok(())
}
