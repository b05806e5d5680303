//! Transactions of the archive into a server that a snapshot was restored into.
//!
//! What is to be replayed is written as a small binary log of its own, some tens of megabytes at a time, and read by the server's own
//! tools: `mariadb-binlog`, which verifies checksums, and the client. Nothing of it is logged by the server. The position is set last.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::events::{Event, MAGIC};
use super::gtid::{Gtid, Tips};
use super::reach::Reach;
use super::store::StoreError;
use super::walk::{End, Visitor, walk};
use crate::bucket::Bucket;
use crate::database::server::dump::{HEAD, LONG, client, secret, tool};
use crate::database::server::{Place, Server, ServerError, Session, Statement};
use crate::fleet::Name;
use crate::system::command::{CommandError, CommandLine, End as OwnEnd, Running};

const TOOL: [&str; 2] = ["/usr/bin/mariadb-binlog", "/usr/bin/mysqlbinlog"];
/// So much is written before it is read, in bytes; one transaction may be more.
const PORTION: u64 = 32 * 1024 * 1024;
/// One statement, such as an ALTER of a large table, that the client does not read on for.
const STATEMENT: Duration = Duration::from_hours(12);
const SHORT: Duration = Duration::from_secs(10);

/// The archive was not replayed to its goal. The server is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The archive cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A tool is missing.
    #[error("{0}: install the MariaDB client's package")]
    Lacks(String),
    /// What is to be replayed could not be written down.
    #[error("cannot write {path}")]
    Spool {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A tool failed, or the server refused a transaction.
    #[error("a transaction between {from} and {to} could not be replayed")]
    Tool {
        /// The last that is surely replayed.
        from: Tips,
        /// The last that was tried.
        to: Tips,
        /// What it said.
        #[source]
        source: CommandError,
    },
    /// The server did not do what it was asked.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The archive is not what it was.
    #[error(
        "the replay ended at {found}, and should have come to {wanted}: the archive has changed meanwhile"
    )]
    Elsewhere {
        /// Where it ended.
        found: Tips,
        /// Where it should have.
        wanted: Tips,
    },
}

struct Writer<'a> {
    place: &'a Place,
    path: PathBuf,
    format: Vec<u8>,
    file: Option<File>,
    size: u64,
    /// Where the open transaction begins.
    mark: u64,
    client: Running,
    stop: Option<Gtid>,
    /// Replayed, and written.
    played: Tips,
    written: Tips,
    bytes: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Writer<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), ReplayError> {
        let path = self.path.clone();
        let failed = |source| ReplayError::Spool { path, source };
        self.try_append(bytes).map_err(failed)
    }

    fn try_append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() {
            // Nobody else's file, and nobody else's to read.
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.path)?;
            let head = [MAGIC.as_slice(), &self.format].concat();
            file.write_all(&head)?;
            self.size = head.len() as u64;
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.size = self.size.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }

    /// Has the server do what is written.
    async fn play(&mut self) -> Result<(), ReplayError> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        drop(file);
        if self.played != self.written {
            let line = CommandLine::new(
                [
                    tool(&TOOL).map_err(ReplayError::Lacks)?,
                    "--no-defaults".to_owned(),
                    "--verify-binlog-checksum".to_owned(),
                    self.path.display().to_string(),
                ],
                LONG,
            );
            let played = pour(line, &mut self.client).await;
            played.map_err(|source| ReplayError::Tool {
                from: self.played.clone(),
                to: self.written.clone(),
                source,
            })?;
            self.played = self.written.clone();
        }
        std::fs::remove_file(&self.path).map_err(|source| ReplayError::Spool {
            path: self.path.clone(),
            source,
        })?;
        self.size = 0;
        self.mark = 0;
        (self.progress)(self.bytes);
        Ok(())
    }
}

async fn pour(line: CommandLine, client: &mut Running) -> Result<(), CommandError> {
    let mut tool = Running::start(line, OwnEnd::Output, None)?;
    let mut chunk = vec![0; HEAD];
    loop {
        let count = tool.read(&mut chunk).await?;
        if count == 0 {
            return tool.finish().await;
        }
        client.write(chunk.get(..count).unwrap_or_default()).await?;
    }
}

impl Visitor for Writer<'_> {
    type Error = ReplayError;

    async fn format(&mut self, event: &[u8]) -> Result<(), ReplayError> {
        self.play().await?;
        self.format = event.to_vec();
        Ok(())
    }

    async fn begins(
        &mut self,
        gtid: Gtid,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<bool, ReplayError> {
        self.mark = self.size;
        Ok(self.stop != Some(gtid))
    }

    async fn event(&mut self, event: &Event<'_>, _: bool) -> Result<(), ReplayError> {
        self.append(event.bytes)?;
        self.bytes = self.bytes.saturating_add(event.bytes.len() as u64);
        Ok(())
    }

    async fn ends(&mut self, gtid: Gtid, _: Timestamp, _: Timestamp) -> Result<bool, ReplayError> {
        self.written.set(gtid);
        if self.size >= PORTION {
            self.play().await?;
        }
        Ok(true)
    }

    async fn drops(&mut self) -> Result<(), ReplayError> {
        let mark = self.mark;
        if let Some(file) = &mut self.file {
            let cut = if mark == 0 {
                (MAGIC.len() + self.format.len()) as u64
            } else {
                mark
            };
            let done = file
                .set_len(cut)
                .and_then(|()| file.seek(SeekFrom::Start(cut)));
            done.map_err(|source| ReplayError::Spool {
                path: self.path.clone(),
                source,
            })?;
            self.size = cut;
        }
        Ok(())
    }
}

/// Replays what `reach` says into the server at `place`, which is at `position`. What is under way is written to `spool`, which is gone
/// afterwards. `progress`: bytes so far.
pub async fn replay(
    bucket: &Bucket,
    product: &Name,
    reach: &Reach,
    position: &Tips,
    place: &Place,
    spool: &Path,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), ReplayError> {
    let mut line = client(place).map_err(ReplayError::Lacks)?;
    line.deadline_ms = u64::try_from(STATEMENT.as_millis()).unwrap_or(line.deadline_ms);
    let begun = |source| ReplayError::Tool {
        from: position.clone(),
        to: position.clone(),
        source,
    };
    let client = Running::start(line, OwnEnd::Input, secret(&place.account)).map_err(begun)?;
    let mut writer = Writer {
        place,
        path: spool.into(),
        format: Vec::new(),
        file: None,
        size: 0,
        mark: 0,
        client,
        // Of a moment too: what it was resolved to.
        stop: reach.stop.map(|(gtid, _)| gtid),
        played: position.clone(),
        written: position.clone(),
        bytes: 0,
        progress,
    };
    let mut now = position.clone();
    // The archive may have grown: not beyond what was looked at.
    let ended = walk(
        bucket,
        product,
        &reach.chapters,
        &mut now,
        &mut Bounded {
            writer: &mut writer,
            left: reach.transactions,
        },
    )
    .await?;
    debug_assert!(matches!(ended, End::Archive | End::Visitor | End::Gap(_)));
    writer.play().await?;
    let (place, played) = (writer.place, writer.played.clone());
    writer
        .client
        .finish()
        .await
        .map_err(|source| ReplayError::Tool {
            from: position.clone(),
            to: played,
            source,
        })?;
    if now != reach.position {
        return Err(ReplayError::Elsewhere {
            found: now,
            wanted: reach.position.clone(),
        });
    }
    let session = Session::new(
        place.clone(),
        vec!["SET SESSION sql_log_bin = 0".to_owned()],
    );
    let set = Statement::new(format!("SET GLOBAL gtid_slave_pos = '{now}'"));
    session.tell(&set, SHORT).await?;
    let has = Server::new(place, "").observe(SHORT).await?.executed.tip();
    let has: Tips = has.to_string().parse().unwrap_or_default();
    if has != now {
        return Err(ReplayError::Elsewhere {
            found: has,
            wanted: now,
        });
    }
    Ok(())
}

/// So many transactions and no more.
struct Bounded<'w, 'a> {
    writer: &'w mut Writer<'a>,
    left: u64,
}

impl Visitor for Bounded<'_, '_> {
    type Error = ReplayError;

    async fn format(&mut self, event: &[u8]) -> Result<(), ReplayError> {
        self.writer.format(event).await
    }

    async fn begins(
        &mut self,
        gtid: Gtid,
        time: Timestamp,
        read: Timestamp,
    ) -> Result<bool, ReplayError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.writer.begins(gtid, time, read).await
    }

    async fn event(&mut self, event: &Event<'_>, has_checksums: bool) -> Result<(), ReplayError> {
        self.writer.event(event, has_checksums).await
    }

    async fn ends(
        &mut self,
        gtid: Gtid,
        time: Timestamp,
        read: Timestamp,
    ) -> Result<bool, ReplayError> {
        self.left = self.left.saturating_sub(1);
        self.writer.ends(gtid, time, read).await
    }

    async fn drops(&mut self) -> Result<(), ReplayError> {
        self.writer.drops().await
    }
}
