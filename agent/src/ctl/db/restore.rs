//! `agentctl db restore`: a snapshot into a new data directory, or into a server that has nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::args::{Global, RestoreArgs};
use super::super::console::Console;
use super::super::failure::Failure;
use super::super::place;
use super::bucket;
use super::forward::{Chosen, choose};
use crate::bucket::Bucket;
use crate::database::archive::replay::replay;
use crate::database::server::credentials::{self, Account, Secret};
use crate::database::server::{Place, Target};
use crate::database::snapshot::prove::room_for;
use crate::database::snapshot::restore::{Extent, Restored, check_empty, restore as load};
use crate::database::snapshot::throwaway::{Nature, Throwaway, usual_account};
use crate::database::snapshot::{Manifest, SnapshotId};
use crate::report::text::{age, ago, moment, size, took};
use crate::system::{clock, disk};

/// What statements are read at by a server of usual disks: measured, with room to spare, in bytes a second.
const RATE: u64 = 5 * 1024 * 1024;
/// What transactions are replayed at, in bytes of binary log a second: many small ones.
const REPLAY_RATE: u64 = 1024 * 1024;
/// What is written down of the archive at a time, in bytes.
const SPOOL: u64 = 128 * 1024 * 1024;
/// Between two words on how far it is.
const EVERY: Duration = Duration::from_millis(250);

#[derive(Serialize)]
struct Outcome {
    format: u32,
    snapshot: SnapshotId,
    /// The position: replication goes on from here.
    gtid: String,
    /// How many transactions of the archive are behind the snapshot.
    transactions: u64,
    estimate: Estimate,
    /// `None`: only said.
    restored: Option<Done>,
    /// What is to be done next, in order.
    next: Vec<String>,
}

#[derive(Serialize)]
struct Estimate {
    download_bytes: u64,
    statement_bytes: u64,
    room_bytes: u64,
    replayed_bytes: u64,
    seconds: u64,
}

#[derive(Serialize)]
struct Done {
    tables: u64,
    rows: u64,
    seconds: u64,
    accounts_left: Vec<String>,
}

/// Restores, or says what it would take.
pub fn restore(global: &Global, args: &RestoreArgs, console: Console) -> Result<u8, Failure> {
    let named = bucket::named(global, &args.place)?;
    let outcome = place::block_on(async {
        let bucket = named.open().await;
        let args = RestoreArgs {
            product: named.kept_as(&bucket, &args.product, console).await?,
            ..args.clone()
        };
        work(&bucket, &args, console).await
    })??;
    console.print(&outcome, |paint| {
        let mut text = String::new();
        match &outcome.restored {
            Some(done) => {
                let _ = writeln!(
                    text,
                    "restored {}: {} tables with {} rows, in {}",
                    outcome.snapshot,
                    done.tables,
                    done.rows,
                    took(done.seconds.saturating_mul(1000))
                );
            }
            None => text.push_str(&paint.dim("nothing was done\n")),
        }
        for line in &outcome.next {
            let _ = writeln!(text, "{line}");
        }
        text
    })?;
    Ok(0)
}

async fn work(bucket: &Bucket, args: &RestoreArgs, console: Console) -> Result<Outcome, Failure> {
    let chosen = choose(bucket, args, console).await?;
    let manifest = &chosen.manifest;
    let id = manifest.id();
    let replayed = chosen.reach.as_ref().map_or(0, |reach| reach.bytes);
    let download = manifest.dump().map_or(0, |dump| dump.bytes);
    let estimate = Estimate {
        download_bytes: download,
        statement_bytes: manifest.bytes,
        room_bytes: room(&chosen),
        seconds: manifest.bytes / RATE + replayed / REPLAY_RATE + 10,
        replayed_bytes: replayed,
    };
    let (tables, rows) = manifest.content.size();
    console.progress(&format!(
        "{id}, {}: {tables} tables with {rows} rows, {}; to download {}, as statements {}, needs {} of disk and about {}",
        ago(manifest.time, clock::now()),
        if chosen.is_proven { "restored by a drill" } else { "no drill has restored it" },
        size(download),
        size(manifest.bytes),
        size(estimate.room_bytes),
        took(estimate.seconds.saturating_mul(1000))
    ));
    let extent = Extent {
        accounts: !args.no_accounts,
        is_background: false,
    };
    let began = Instant::now();
    let restored = match (&args.into, &args.socket) {
        (Some(dir), _) => into_directory(bucket, &chosen, dir, args, extent, console).await?,
        (None, Some(socket)) => into_server(bucket, &chosen, socket, args, extent, console).await?,
        (None, None) => return Err(Failure::new("where to? give --into DIR or --socket PATH")),
    };
    let done = restored.map(|restored| Done {
        tables: restored.tables,
        rows: restored.rows,
        seconds: began.elapsed().as_secs(),
        accounts_left: restored.accounts_left,
    });
    Ok(Outcome {
        format: 1,
        next: next(&chosen, args, done.as_ref()),
        snapshot: id,
        gtid: chosen.gtid(),
        transactions: chosen.reach.as_ref().map_or(0, |reach| reach.transactions),
        estimate,
        restored: done,
    })
}

/// What it takes of a disk, in bytes.
fn room(chosen: &Chosen) -> u64 {
    let archive = chosen.reach.as_ref().map_or(0, |reach| {
        reach.bytes.saturating_mul(2).saturating_add(SPOOL)
    });
    room_for(&chosen.manifest).saturating_add(archive)
}

/// Replays what the archive has behind the snapshot.
async fn forward(
    bucket: &Bucket,
    chosen: &Chosen,
    place: &Place,
    spool: &Path,
    console: Console,
) -> Result<(), Failure> {
    let Some(reach) = &chosen.reach else {
        return Ok(());
    };
    let began = Instant::now();
    let progress = |done: u64| console.meter(&meter(done, reach.bytes.max(1), began.elapsed()));
    let product = &chosen.manifest.product;
    let begin = chosen.begin()?;
    let done = replay(bucket, product, reach, &begin, place, spool, &progress).await;
    console.meter_ends();
    Ok(done?)
}

/// `None`: only looked.
async fn into_directory(
    bucket: &Bucket,
    chosen: &Chosen,
    dir: &Path,
    args: &RestoreArgs,
    extent: Extent,
    console: Console,
) -> Result<Option<Restored>, Failure> {
    let dir = std::path::absolute(dir)
        .map_err(|error| Failure::because(format!("{} is no path", dir.display()), error))?;
    let beside = beside(&dir);
    check_directory(&dir, &beside)?;
    check_room(&dir, room(chosen))?;
    if args.noop {
        return Ok(None);
    }
    let nature = Nature {
        account: args.account.clone().unwrap_or_else(usual_account),
        memory: args.memory << 20,
        is_background: false,
    };
    console.progress("making the first files of a database server");
    let server = Throwaway::start(&dir, &beside, &nature).await?;
    let filled = async {
        let restored = fill(bucket, &chosen.manifest, server.place(), extent, console).await?;
        let spool = beside.join("binlog");
        forward(bucket, chosen, server.place(), &spool, console).await?;
        Ok::<Restored, Failure>(restored)
    };
    let restored = filled.await.map_err(|failure: Failure| {
        failure.hint(format!(
            "what is in {} is of no use: remove it and {}",
            dir.display(),
            beside.display()
        ))
    })?;
    console.progress("stopping the server, which writes everything down");
    server.stop().await?;
    std::fs::remove_dir_all(&beside).map_err(|error| {
        Failure::because(format!("{} could not be removed", beside.display()), error)
    })?;
    Ok(Some(restored))
}

/// Where the server's socket and log are meanwhile; its being there says that the directory is not whole.
fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    dir.with_file_name(name)
}

fn check_directory(dir: &Path, beside: &Path) -> Result<(), Failure> {
    if beside.exists() {
        return Err(Failure::new(format!(
            "{} is there: a restore has broken off, or goes on",
            beside.display()
        ))
        .hint(format!("if none goes on, remove it and {}", dir.display())));
    }
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::because(
            format!("{} cannot be looked at", dir.display()),
            error,
        )),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::new(format!("{} is not empty", dir.display()))
                .hint("name a directory that is empty or not there: nothing is ever restored over data")),
        },
    }
}

/// Whether there is room where the directory is, or will be.
fn check_room(dir: &Path, wants: u64) -> Result<(), Failure> {
    let there = dir.ancestors().find(|dir| dir.exists());
    let there = there.unwrap_or_else(|| Path::new("/"));
    let room = disk::room(there).map_err(|error| {
        Failure::because(
            format!("the room under {} cannot be told", there.display()),
            error,
        )
    })?;
    if room.free >= wants {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} are free under {}, and {} are needed",
        size(room.free),
        there.display(),
        size(wants)
    )))
}

async fn into_server(
    bucket: &Bucket,
    chosen: &Chosen,
    socket: &Path,
    args: &RestoreArgs,
    extent: Extent,
    console: Console,
) -> Result<Option<Restored>, Failure> {
    let account = match &args.credentials {
        Some(file) => credentials::read(file)?.local,
        None => Account {
            user: "root".to_owned(),
            password: Secret::default(),
        },
    };
    let place = Place {
        target: Target::Socket(socket.into()),
        account,
        tls: None,
    };
    if args.noop {
        check_empty(&place).await?;
        return Ok(None);
    }
    let restored = fill(bucket, &chosen.manifest, &place, extent, console).await?;
    let spool = std::env::temp_dir().join(format!("agentctl-restore-{}", std::process::id()));
    let done = forward(bucket, chosen, &place, &spool, console).await;
    // There only where it broke off.
    let _ = std::fs::remove_file(&spool);
    done?;
    Ok(Some(restored))
}

async fn fill(
    bucket: &Bucket,
    manifest: &Manifest,
    place: &Place,
    extent: Extent,
    console: Console,
) -> Result<Restored, Failure> {
    let total = manifest.dump().map_or(1, |dump| dump.bytes.max(1));
    let began = Instant::now();
    let last = std::sync::Mutex::new(None::<Instant>);
    let progress = |done: u64| {
        let Ok(mut last) = last.lock() else { return };
        if last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        *last = Some(Instant::now());
        console.meter(&meter(done, total, began.elapsed()));
    };
    let restored = load(bucket, manifest, place, extent, &progress).await;
    console.meter_ends();
    Ok(restored?)
}

/// `[=====     ]  42 %  1.2 of 2.9 GiB  6.1 MiB/s  4 min left`.
fn meter(done: u64, total: u64, elapsed: Duration) -> String {
    const WIDTH: u64 = 30;
    let done = done.min(total);
    let filled = usize::try_from(done.saturating_mul(WIDTH) / total.max(1)).unwrap_or(0);
    let width = usize::try_from(WIDTH).unwrap_or(0);
    let seconds = elapsed.as_secs().max(1);
    let rate = done / seconds;
    let left = match (total - done).checked_div(rate) {
        Some(left) => format!(
            "{}/s  {} left",
            size(rate),
            age(i64::try_from(left).unwrap_or(i64::MAX))
        ),
        None => "no speed yet".to_owned(),
    };
    format!(
        "[{:<width$}] {:>3} %  {} of {}  {left}",
        "=".repeat(filled),
        done.saturating_mul(100) / total.max(1),
        size(done),
        size(total),
    )
}

/// What a person does next, to the word.
fn next(chosen: &Chosen, args: &RestoreArgs, done: Option<&Done>) -> Vec<String> {
    let gtid = chosen.gtid();
    let last = chosen.reach.as_ref().and_then(|reach| reach.last);
    let time = last.map_or(chosen.manifest.time, |(_, time)| time);
    let mut next = Vec::new();
    for account in done.iter().flat_map(|done| &done.accounts_left) {
        next.push(format!(
            "the account {account} was there already, and stays as it was"
        ));
    }
    match &args.into {
        Some(dir) => next.push(format!(
            "start your server on {} with a server_id that no other of the chain has, log_bin, log_slave_updates = 1, \
             gtid_strict_mode = 1 and read_only = 1",
            dir.display()
        )),
        None => next.push(
            "the server needs a server_id that no other of the chain has, log_bin, log_slave_updates = 1, \
             gtid_strict_mode = 1 and read_only = 1"
                .to_owned(),
        ),
    }
    next.push(format!(
        "it has what was committed up to {gtid} ({}); to replicate from there:",
        moment(time)
    ));
    next.push(format!("  SET GLOBAL gtid_slave_pos = '{gtid}';"));
    next.push(
        "  CHANGE MASTER TO MASTER_HOST = '…', MASTER_USER = '…', MASTER_PASSWORD = '…', MASTER_USE_GTID = slave_pos;"
            .to_owned(),
    );
    next.push("  START SLAVE;".to_owned());
    next.push(
        "on a server of the chain agentd does these itself, once its server runs on the data"
            .to_owned(),
    );
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_says_how_far_it_is_and_how_long_it_takes() {
        let said: Vec<String> = [
            (0, 0),
            (1 << 20, 1),
            (50 << 20, 10),
            (100 << 20, 20),
            (200 << 20, 20),
        ]
        .map(|(done, seconds)| meter(done, 100 << 20, Duration::from_secs(seconds)))
        .into();
        insta::assert_snapshot!(said.join("\n"));
        assert!(meter(0, 0, Duration::ZERO).contains("0 %"));
    }

    #[test]
    fn only_an_empty_directory_without_a_broken_restore_is_filled() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let beside = beside(&dir);
        assert_eq!(beside, root.path().join("data.restoring"));
        assert!(check_directory(&dir, &beside).is_ok());
        std::fs::create_dir(&dir).unwrap();
        assert!(check_directory(&dir, &beside).is_ok());
        std::fs::create_dir(&beside).unwrap();
        assert!(check_directory(&dir, &beside).is_err());
        std::fs::remove_dir(&beside).unwrap();
        std::fs::create_dir(dir.join("mysql")).unwrap();
        assert!(check_directory(&dir, &beside).is_err());
        assert!(check_room(&dir, 0).is_ok());
        assert!(check_room(&dir, u64::MAX).is_err());
    }
}
