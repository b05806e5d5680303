//! The snapshot server's binary log into the bucket: what is new of it, in segments that are put once.
//!
//! The file is read as it lies on this machine's disk, whole events only, also the one that is being written: no process to keep
//! alive, no copy of it on a disk, and bounded memory. Where it was stands in the bucket, so that whoever was killed goes on at the
//! very byte. A log that cannot be gone on with (purged too early, begun anew, damaged) is a gap: the archive begins anew with a
//! fresh file, and says since when it is unbroken; a snapshot that is newer closes the gap.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::events::{Event, Follower, HEAD, LARGEST, MAGIC, Step, WrongLog, next};
use super::gtid::{Gtid, Tips};
use super::segment::{Header, Log, is_file_name, key, write};
use super::store::{self, StoreError};
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Condition};
use crate::database::gtid::Flavour;
use crate::database::server::{Place, Server, ServerError, Session, Statement, ThreadState};
use crate::database::snapshot::id::SnapshotId;
use crate::fleet::Name;
use crate::system::clock;

/// One question that is answered at once.
const SHORT: Duration = Duration::from_secs(10);
/// A segment has so much of a log at most, in bytes, unless one event has more.
const SEGMENT: u64 = 8 * 1024 * 1024;
/// To put one.
const PUT: Duration = Duration::from_mins(1);
/// So many are put in one turn, so that the turns tell how it goes.
const SEGMENTS: usize = 16;
/// Among so many of the server's newest files the one to go on with is looked for.
const LOOKED_AT: usize = 200;

/// What is shipped, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The product.
    pub product: Name,
    /// This server.
    pub server: Name,
    /// The database server on this machine, as its administrator.
    pub place: Place,
}

/// What came of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What was committed at the master before this moment is in the bucket; `None`: it is not known, the server does not replicate.
    pub safe_until: Option<Timestamp>,
    /// Whether there is more to ship at once.
    pub is_more: bool,
    /// Bytes of the log that were shipped.
    pub bytes: u64,
    /// The last transactions in the bucket.
    pub tips: Tips,
    /// Since when nothing is missing.
    pub unbroken_since: Timestamp,
    /// Why it had to begin anew in this turn.
    pub gap: Option<String>,
}

/// Nothing was shipped, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// It cannot be done with this server.
    #[error("{0}")]
    Unfit(String),
    /// The database server did not answer as it should.
    #[error("the database server does not answer")]
    Server(#[from] ServerError),
    /// A binary log cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A binary log is not what it should be.
    #[error("{path} cannot be archived")]
    Log {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: WrongLog,
    },
    /// The archive in the bucket cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket did not take a segment.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// The file that is being shipped, and how far.
#[derive(Debug)]
struct Current {
    log: Log,
    offset: u64,
    follower: Follower,
    unbroken_since: Timestamp,
}

/// Ships one server's log.
#[derive(Debug)]
pub struct Shipper {
    source: Source,
    session: Session,
    current: Option<Current>,
}

/// The server's logs, the oldest first, and where they lie.
struct Logs {
    directory: PathBuf,
    names: Vec<String>,
}

impl Shipper {
    /// One that does not know yet where it was.
    pub fn new(source: Source) -> Self {
        Self {
            session: Session::new(source.place.clone(), Vec::new()),
            source,
            current: None,
        }
    }

    /// What it ships.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Ships what is new. `epoch`: the chain's present one.
    pub async fn turn(&mut self, bucket: &Bucket, epoch: u64) -> Result<Turn, ShipError> {
        let done = self.try_turn(bucket, epoch).await;
        if let Err(ShipError::Log { .. } | ShipError::Store(_) | ShipError::Bucket(_)) = &done {
            // What is there may not be what was remembered: an answer that did not come, another agent.
            self.current = None;
        }
        done
    }

    async fn try_turn(&mut self, bucket: &Bucket, epoch: u64) -> Result<Turn, ShipError> {
        let looked = clock::now();
        let lag = self.lag().await?;
        let mut logs = self.logs().await?;
        let mut gap = None;
        if self.current.is_none() {
            self.current = self.resume(bucket, &logs).await?;
        }
        let is_there = |current: &Current| logs.names.contains(&current.log.file);
        if !self.current.as_ref().is_some_and(is_there) {
            gap = Some(match &self.current {
                Some(current) => format!(
                    "{} is not on the server any more, and was not archived to its end: keep binary logs longer (expire_logs_days)",
                    current.log.file
                ),
                None => "the archive begins".to_owned(),
            });
            self.current = Some(self.begin(epoch).await?);
            logs = self.logs().await?;
        }
        let mut shipped = 0;
        let mut is_more = true;
        for _ in 0..SEGMENTS {
            let Some(current) = &mut self.current else {
                break;
            };
            let path = logs.directory.join(&current.log.file);
            let piece = read_piece(&path, current);
            let piece = match piece {
                // A damaged file, or an event that nobody can hold: what is after it can be kept.
                Err(ShipError::Log { source, .. }) if !matches!(source, WrongLog::Encrypted) => {
                    gap = Some(format!("{} cannot be archived: {source}", path.display()));
                    self.current = Some(self.begin(epoch).await?);
                    logs = self.logs().await?;
                    continue;
                }
                piece => piece?,
            };
            if let Some(missing) = &piece.missing {
                gap = Some(format!("the binary log of this server lacks {missing}"));
                current.unbroken_since = looked;
            }
            if !piece.bytes.is_empty() {
                let mut header = Header::new(
                    &piece.bytes,
                    current.offset,
                    piece.from,
                    piece.follower.clone(),
                );
                header.read = looked;
                header.unbroken_since = current.unbroken_since;
                put(
                    bucket,
                    &self.source.product,
                    &current.log,
                    &header,
                    &piece.bytes,
                )
                .await?;
                shipped += header.bytes;
                current.offset = header.end();
                current.follower = piece.follower;
                if piece.is_more {
                    continue;
                }
            }
            let names = logs.names.iter();
            let mut following = names.skip_while(|name| **name != current.log.file);
            let Some(following) = following.nth(1) else {
                is_more = false;
                break;
            };
            let log = log_of(&logs.directory, following, epoch, &self.source.server)?;
            // Not the one before's: what stands at its beginning says where it goes on, and is compared.
            let follower = Follower {
                done: current.follower.done.clone(),
                ..Follower::default()
            };
            *current = Current {
                log,
                offset: 0,
                follower,
                unbroken_since: current.unbroken_since,
            };
        }
        let Some(current) = &self.current else {
            return Err(ShipError::Unfit("the archive was not begun".to_owned()));
        };
        let safe_until = lag.filter(|_| !is_more).map(|lag| {
            let lag = SignedDuration::try_from(lag).unwrap_or_default();
            looked.saturating_sub(lag).unwrap_or(looked)
        });
        Ok(Turn {
            safe_until,
            is_more,
            bytes: shipped,
            tips: current.follower.done.clone(),
            unbroken_since: current.unbroken_since,
            gap,
        })
    }

    /// How far this server is behind its master; `None`: it does not follow it now.
    async fn lag(&self) -> Result<Option<Duration>, ShipError> {
        let server = Server::new(&self.source.place, "");
        let seen = server.observe(SHORT).await?;
        if seen.flavour != Flavour::MariaDb {
            return Err(ShipError::Unfit(
                "only MariaDB's binary log is archived by this version of the agent; mysqlbinlog --read-from-remote-server --raw \
                 --stop-never keeps that of MySQL"
                    .to_owned(),
            ));
        }
        let following = seen.replication.filter(|replication| {
            replication.io.state == ThreadState::Running
                && replication.sql.state == ThreadState::Running
        });
        Ok(following
            .and_then(|replication| replication.lag_secs)
            .map(Duration::from_secs))
    }

    async fn logs(&self) -> Result<Logs, ShipError> {
        let question = Statement::new("SELECT @@global.log_bin_basename AS base");
        let rows = self.session.ask(&question, SHORT).await?;
        let base = rows.first().and_then(|row| row.get("base"));
        let directory = base.and_then(|base| Path::new(base).parent());
        let Some(directory) = directory else {
            return Err(ShipError::Unfit(
                "this server has no binary log: set log_bin and log_slave_updates = 1 in its configuration, and restart it"
                    .to_owned(),
            ));
        };
        let list = Statement::new("SHOW BINARY LOGS");
        let rows = self.session.ask(&list, SHORT).await?;
        let names = rows.iter().filter_map(|row| row.get("Log_name"));
        let names: Vec<String> = names.map(str::to_owned).collect();
        if let Some(odd) = names.iter().find(|name| !is_file_name(name)) {
            return Err(ShipError::Unfit(format!(
                "the binary log {odd:?} has a name that no object can have: give log_bin a plain one"
            )));
        }
        Ok(Logs {
            directory: directory.into(),
            names,
        })
    }

    /// Where an earlier agent was: the newest of the server's files that the bucket has something of.
    async fn resume(&self, bucket: &Bucket, logs: &Logs) -> Result<Option<Current>, ShipError> {
        let Source {
            product, server, ..
        } = &self.source;
        for name in logs.names.iter().rev().take(LOOKED_AT) {
            let begun = begun(&logs.directory.join(name))?;
            let Some((log, last)) = store::find(bucket, product, server, begun, name).await? else {
                continue;
            };
            let header = store::header(bucket, product, &log, last).await?;
            return Ok(Some(Current {
                log,
                offset: header.end(),
                follower: header.to,
                unbroken_since: header.unbroken_since,
            }));
        }
        Ok(None)
    }

    /// Has the server begin a file, with which the archive begins.
    async fn begin(&self, epoch: u64) -> Result<Current, ShipError> {
        // Replicas of this server, if any, need not hear of it.
        let flush = Statement::new("FLUSH NO_WRITE_TO_BINLOG BINARY LOGS");
        self.session.tell(&flush, SHORT).await?;
        let server = Server::new(&self.source.place, "");
        let has = server.observe(SHORT).await?.executed.tip().to_string();
        let logs = self.logs().await?;
        let Some(newest) = logs.names.last() else {
            return Err(ShipError::Unfit(
                "this server keeps no binary log".to_owned(),
            ));
        };
        let log = log_of(&logs.directory, newest, epoch, &self.source.server)?;
        // A server that was made anew knows by its position what it has, and not by its log, in which there is nothing yet.
        let path = logs.directory.join(newest);
        let file = open(&path)?;
        let head = read_at(&file, &path, 0, 64 * 1024)?;
        let is_fresh = !holds_a_transaction(&head);
        let done = has.parse().unwrap_or_default();
        Ok(Current {
            log,
            offset: 0,
            follower: Follower {
                done: if is_fresh { done } else { Tips::default() },
                ..Follower::default()
            },
            unbroken_since: clock::now(),
        })
    }
}

/// Some of a log, and what is known behind it.
struct Piece {
    bytes: Vec<u8>,
    from: Tips,
    follower: Follower,
    is_more: bool,
    /// Transactions that should be before one of these and are not.
    missing: Option<String>,
}

/// What is whole of the log's next bytes.
fn read_piece(path: &Path, current: &Current) -> Result<Piece, ShipError> {
    let wrong = |source| ShipError::Log {
        path: path.into(),
        source,
    };
    let file = open(path)?;
    let mut limit = SEGMENT;
    loop {
        let bytes = read_at(&file, path, current.offset, limit)?;
        let piece = whole(bytes, current, limit).map_err(wrong)?;
        // One event that is larger than a segment, and all there: it is one of its own.
        let is_cut = piece.bytes.is_empty() && piece.is_more;
        if !is_cut || limit > LARGEST {
            return Ok(piece);
        }
        limit = LARGEST.saturating_add(SEGMENT);
    }
}

/// Cuts what was read of a log to whole events. `limit`: that there is more where there are so many bytes.
fn whole(mut bytes: Vec<u8>, current: &Current, limit: u64) -> Result<Piece, WrongLog> {
    let was_full = bytes.len() as u64 >= limit;
    let mut follower = current.follower.clone();
    let mut from = follower.done.clone();
    let mut missing = None;
    let mut at = 0;
    if current.offset == 0 && !bytes.is_empty() {
        let magic = bytes
            .get(..MAGIC.len().min(bytes.len()))
            .unwrap_or_default();
        if !MAGIC.starts_with(magic) {
            return Err(WrongLog::NoLog);
        }
        at = MAGIC.len().min(bytes.len());
        if at < MAGIC.len() {
            at = 0;
            bytes.clear();
        }
    }
    while let Some(event) = next(
        bytes.get(at..).unwrap_or_default(),
        current.offset.saturating_add(at as u64),
    )? {
        let before = follower.done.clone();
        match follower.see(&event)? {
            Step::Begins(gtid) => missing = missing.or_else(|| hole(&before, gtid)),
            Step::Aside if current.offset == 0 && follower.done != before => {
                // The list at the beginning of a file: more than what was known is what was not seen.
                if !current.follower.done.is_empty() {
                    missing = missing.or_else(|| {
                        Some(format!("what is between {before} and {}", follower.done))
                    });
                }
                from = follower.done.clone();
            }
            _ => {}
        }
        at += event.bytes.len();
    }
    bytes.truncate(at);
    Ok(Piece {
        is_more: was_full,
        bytes,
        from,
        follower,
        missing,
    })
}

/// Which numbers are not there before this one.
pub(super) fn hole(before: &Tips, gtid: Gtid) -> Option<String> {
    let tip = before.of(gtid.domain)?;
    (gtid.sequence > tip.sequence.saturating_add(1))
        .then(|| format!("what is between {tip} and {gtid}"))
}

fn holds_a_transaction(head: &[u8]) -> bool {
    let mut at = MAGIC.len();
    let mut follower = Follower::default();
    let seen = |event: &Event<'_>, follower: &mut Follower| {
        matches!(follower.see(event), Ok(Step::Begins(_)))
    };
    while let Ok(Some(event)) = next(head.get(at..).unwrap_or_default(), at as u64) {
        if seen(&event, &mut follower) {
            return true;
        }
        at += event.bytes.len();
    }
    !follower.done.is_empty()
}

fn open(path: &Path) -> Result<File, ShipError> {
    File::open(path).map_err(|source| ShipError::Read {
        path: path.into(),
        source,
    })
}

fn read_at(file: &File, path: &Path, offset: u64, limit: u64) -> Result<Vec<u8>, ShipError> {
    let failed = |source| ShipError::Read {
        path: path.into(),
        source,
    };
    let size = file.metadata().map_err(failed)?.len();
    let length = size.saturating_sub(offset).min(limit);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset).map_err(failed)?;
    Ok(bytes)
}

/// When a file was begun, as its first event says.
fn begun(path: &Path) -> Result<Timestamp, ShipError> {
    let file = open(path)?;
    let head = read_at(&file, path, 0, (MAGIC.len() + HEAD) as u64)?;
    let seconds = head
        .get(MAGIC.len()..MAGIC.len() + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes);
    let seconds = seconds.filter(|_| head.starts_with(MAGIC));
    let wrong = || ShipError::Log {
        path: path.into(),
        source: WrongLog::NoLog,
    };
    let seconds = seconds.ok_or_else(wrong)?;
    Timestamp::from_second(i64::from(seconds)).map_err(|_| wrong())
}

fn log_of(directory: &Path, file: &str, epoch: u64, server: &Name) -> Result<Log, ShipError> {
    Ok(Log {
        id: SnapshotId {
            time: begun(&directory.join(file))?,
            epoch,
            server: server.clone(),
        },
        file: file.to_owned(),
    })
}

/// Puts a segment, which must not be there. One with the very same bytes of the log is this one: its answer did not come.
async fn put(
    bucket: &Bucket,
    product: &Name,
    log: &Log,
    header: &Header,
    bytes: &[u8],
) -> Result<(), ShipError> {
    let key = key(product, log, header.offset);
    let object = write(header, bytes)
        .map_err(|error| ShipError::Unfit(format!("a segment could not be compressed: {error}")))?;
    let done = bucket
        .within(PUT)
        .put(&key, object, Some(&Condition::Absent))
        .await;
    match done {
        Ok(_) => Ok(()),
        Err(error) if error.kind == BucketErrorKind::Conflict => {
            let there = store::header(bucket, product, log, header.offset).await?;
            if (there.bytes, &there.sha256) == (header.bytes, &header.sha256) {
                return Ok(());
            }
            // More or less of the same log: the next turn looks where it ends.
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::tests::Pen;
    use super::*;

    fn current(offset: u64, done: &str) -> Current {
        Current {
            log: Log {
                id: "20261130T195000Z-e7-db-4".parse().unwrap(),
                file: "binlog.000012".to_owned(),
            },
            offset,
            follower: Follower {
                done: done.parse().unwrap(),
                ..Follower::default()
            },
            unbroken_since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn wherever_a_log_is_cut_the_pieces_are_the_log_of_whole_events() {
        let mut pen = Pen::new(7, "0-11-4");
        for number in 5..9 {
            pen.row(&format!("0-11-{number}"));
        }
        for cut in 0..=pen.log.len() {
            let mut now = current(0, "0-11-4");
            let mut made = Vec::new();
            for end in [cut, pen.log.len()] {
                let offset = usize::try_from(now.offset).unwrap();
                if offset >= end {
                    continue;
                }
                let piece = whole(pen.log[offset..end].to_vec(), &now, SEGMENT).unwrap();
                assert_eq!(piece.missing, None);
                now.offset += piece.bytes.len() as u64;
                now.follower = piece.follower;
                made.extend(piece.bytes);
            }
            assert!(made == pen.log, "{cut}");
            assert_eq!(now.follower.done.to_string(), "0-11-8");
        }
    }

    #[test]
    fn what_is_missing_is_noticed_within_a_log_and_between_two() {
        let missing = |before: &str, list: &str, first: &str| {
            let mut pen = Pen::new(7, list);
            pen.row(first);
            whole(pen.log, &current(0, before), SEGMENT)
                .unwrap()
                .missing
        };
        assert_eq!(missing("0-11-4", "0-11-4", "0-11-5"), None);
        // A server that goes on with another one's transactions misses none.
        assert_eq!(missing("0-11-4", "0-11-4", "0-12-5"), None);
        let told = missing("0-11-4", "0-11-7", "0-11-8").unwrap();
        assert_eq!(told, "what is between 0-11-4 and 0-11-7");
        let told = missing("0-11-4", "0-11-4", "0-11-6").unwrap();
        assert_eq!(told, "what is between 0-11-4 and 0-11-6");
        // At the beginning of an archive nothing is known of what was before.
        assert_eq!(missing("", "0-11-7", "0-11-8"), None);
        assert_eq!(missing("", "", "0-11-8"), None);
    }
}
