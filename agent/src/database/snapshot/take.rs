//! One snapshot, from the look at the server to the manifest.

use std::time::Duration;

use jiff::Timestamp;

use super::content::{Content, Incomplete, Scan};
use super::id::{ACCOUNTS, DUMP, MANIFEST, SnapshotId, key};
use super::inventory::{Inventory, logs_everything};
use super::leftovers;
use super::manifest::{Manifest, Method, ObjectFacts};
use super::outgoing::{Outgoing, UploadError, Uploaded};
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Condition, Fetched, backoff};
use crate::database::gtid::{Flavour, Gtids};
use crate::database::server::dump::{HEAD, coordinates, dump, head, secret};
use crate::database::server::{
    Observation, Place, Server, ServerError, Session, Statement, ThreadState, accounts,
};
use crate::fleet::Name;
use crate::system::clock;
use crate::system::command::{self, CommandError, CommandLine, End, Running};
use crate::system::digest::sha256_hex;

/// One question that is answered at once.
const SHORT: Duration = Duration::from_secs(10);
/// The dump waits while the bucket does not answer, for five minutes: the server must not take that for a client that is dead. In
/// seconds; its own default is one minute.
const WRITE_PATIENCE: u64 = 900;
/// The manifest and the accounts are put again for so many times where the bucket does not answer.
const TRIES: u32 = 6;

/// What is copied, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The product.
    pub product: Name,
    /// This server.
    pub server: Name,
    /// The database server on this machine, as its administrator.
    pub place: Place,
    /// The accounts that each server has of its own.
    pub own_accounts: Vec<String>,
    /// A replica that is farther behind takes no snapshot.
    pub max_lag: Duration,
    /// So many bytes a second at most go into the bucket.
    pub upload_limit: Option<u64>,
}

/// No snapshot was taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It would be of no use now; nothing was done.
    #[error("no snapshot now: {0}")]
    Skipped(String),
    /// The database server did not answer as it should.
    #[error("the database server does not answer")]
    Server(#[from] ServerError),
    /// The dump tool failed.
    #[error("the copy broke off")]
    Tool(#[from] CommandError),
    /// The copy is not whole.
    #[error("the copy is of no use: {0}")]
    Incomplete(#[from] Incomplete),
    /// The copy cannot be trusted.
    #[error("the copy is of no use: {0}")]
    Unfit(String),
    /// It could not be uploaded.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The bucket did not do its part.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl TakeError {
    /// Whether it may go well in a moment: a table was altered meanwhile, the bucket was away.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Skipped(_) => false,
            Self::Bucket(error) | Self::Upload(UploadError::Bucket(error)) => {
                error.kind == BucketErrorKind::Unavailable
            }
            _ => true,
        }
    }
}

/// How far a copy is: bytes of the dump so far, and about how many there will be.
pub type Progress<'p> = &'p (dyn Fn(u64, u64) + Sync);

/// Takes a snapshot: all of it or none. `epoch` says in which epoch the chain is now, or why that is no time for one; it is asked
/// again at the end, and another answer makes the copy one of a history that may have been left.
pub async fn take(
    source: &Source,
    bucket: &Bucket,
    epoch: &(dyn Fn() -> Result<u64, String> + Sync),
    progress: Progress<'_>,
) -> Result<Manifest, TakeError> {
    let epoch_before = epoch().map_err(TakeError::Skipped)?;
    let server = Server::new(&source.place, "");
    let seen = server.observe(SHORT).await?;
    may_be_copied(&seen, source.max_lag)?;
    let session = Session::new(source.place.clone(), Vec::new());
    if !logs_everything(&session).await? {
        return Err(TakeError::Skipped(
            "this server's binary log does not have what it applies, so the copy's position would not be known: \
             set log_bin and log_slave_updates = 1 in its configuration, and restart it"
                .to_owned(),
        ));
    }
    let before = Inventory::take(&session).await?;
    if !before.unfit.is_empty() {
        return Err(TakeError::Skipped(format!(
            "what is not in InnoDB cannot be copied as of one moment while it is written: {}; ALTER TABLE … ENGINE = InnoDB on the master",
            before.unfit.join(", ")
        )));
    }
    let id = SnapshotId {
        time: clock::now(),
        epoch: epoch_before,
        server: source.server.clone(),
    };
    leftovers::clean(bucket, &source.product, &source.server).await?;
    let accounts = accounts_of(source, &session).await?;
    let copied = copy(source, bucket, &id, &session, &seen, &before, progress).await?;
    // From here on there is an object; whoever cannot finish takes it away.
    let finished = async {
        let after = Inventory::take(&session).await?;
        check(&copied.content, &before, &after)?;
        if accounts_of(source, &session).await? != accounts {
            return Err(TakeError::Unfit(
                "accounts or grants were changed while it was made".to_owned(),
            ));
        }
        match epoch() {
            Ok(now) if now == epoch_before => {}
            Ok(now) => {
                return Err(TakeError::Unfit(format!(
                    "the master changed meanwhile (epoch {epoch_before}, then {now}), and the copy may have what the new one lacks"
                )));
            }
            Err(why) => return Err(TakeError::Unfit(why)),
        }
        let accounts_object = ObjectFacts {
            bytes: accounts.len() as u64,
            sha256: sha256_hex(&accounts),
        };
        put(bucket, &key(&source.product, &id, ACCOUNTS), accounts).await?;
        let manifest = Manifest {
            format: Manifest::FORMAT,
            product: source.product.clone(),
            time: id.time,
            ended: clock::now(),
            epoch: id.epoch,
            server: id.server.clone(),
            server_id: seen.server_id,
            version: seen.version.clone(),
            method: Method::Logical,
            tool: copied.tool.clone(),
            gtid: copied.position.to_string(),
            objects: [
                (DUMP.to_owned(), copied.uploaded.object.clone()),
                (ACCOUNTS.to_owned(), accounts_object),
            ]
            .into(),
            bytes: copied.uploaded.bytes,
            content: copied.content.clone(),
            empty: before.empty.clone(),
        };
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        // It must be readable for those who need it.
        Manifest::read(&text, &source.product, &id)
            .map_err(|error| TakeError::Unfit(error.to_string()))?;
        Ok((manifest, text))
    };
    // Best effort: without a manifest it is no snapshot, and the next one's beginning looks for it.
    let clear_up = async || {
        let _ = leftovers::remove(bucket, &source.product, &id).await;
    };
    let (manifest, text) = match finished.await {
        Ok(finished) => finished,
        Err(error) => {
            clear_up().await;
            return Err(error);
        }
    };
    match put(bucket, &key(&source.product, &id, MANIFEST), text).await {
        Ok(()) => Ok(manifest),
        Err(error) => {
            // It may have been put although no answer came, or come to be yet: then its objects must be there. What stands
            // under its key already may be an earlier try's.
            let is_doubtful = matches!(
                error.kind,
                BucketErrorKind::Unavailable | BucketErrorKind::Conflict
            );
            if !is_doubtful {
                clear_up().await;
            }
            Err(error.into())
        }
    }
}

/// Why this server is not one to copy now.
fn may_be_copied(seen: &Observation, max_lag: Duration) -> Result<(), TakeError> {
    let skip = |why: String| Err(TakeError::Skipped(why));
    if seen.flavour != Flavour::MariaDb {
        return skip(
            "only MariaDB is copied by this version of the agent; MySQL Shell's util.dumpInstance() copies MySQL".to_owned(),
        );
    }
    let Some(replication) = &seen.replication else {
        return skip("this server replicates from nobody, so what it has is not the product's: see agentctl db status".to_owned());
    };
    for (thread, does) in [(&replication.io, "receive"), (&replication.sql, "apply")] {
        if thread.state != ThreadState::Running {
            let why = match &thread.error {
                Some((code, text)) => format!(" (error {code}: {text})"),
                None => String::new(),
            };
            return skip(format!(
                "replication has stopped, this server does not {does}{why}: see agentctl db status"
            ));
        }
    }
    match replication.lag_secs {
        Some(lag) if Duration::from_secs(lag) > max_lag => skip(format!(
            "this server is {lag} s behind the master, more than {} s (snapshot_max_lag in agentd.toml)",
            max_lag.as_secs()
        )),
        Some(_) => Ok(()),
        None => skip("this server cannot say how far it is behind the master".to_owned()),
    }
}

/// The account statements as JSON: a list of accounts, each with the statements that make it.
async fn accounts_of(source: &Source, session: &Session) -> Result<Vec<u8>, TakeError> {
    let ours: Vec<&str> = source.own_accounts.iter().map(String::as_str).collect();
    let all = accounts::statements(session, &ours, SHORT).await?;
    serde_json::to_vec(&all)
        .map_err(|error| TakeError::Unfit(format!("the accounts cannot be written down: {error}")))
}

struct Copied {
    uploaded: Uploaded,
    content: Content,
    position: Gtids,
    tool: String,
}

async fn copy(
    source: &Source,
    bucket: &Bucket,
    id: &SnapshotId,
    session: &Session,
    seen: &Observation,
    before: &Inventory,
    progress: Progress<'_>,
) -> Result<Copied, TakeError> {
    let schemas: Vec<String> = before.schemas.iter().cloned().collect();
    let line = dump(&source.place, &schemas, true).map_err(TakeError::Skipped)?;
    let tool = version_of(&line).await?;
    let line = command::in_the_background(line);
    // The tool has no word for it, and its connection begins with the server's own value.
    let before_it = patient(session, WRITE_PATIENCE).await?;
    let started = async {
        let mut dump = Running::start(line, End::Output, secret(&source.place.account))?;
        let chunk = head(&mut dump).await?;
        Ok::<_, CommandError>((dump, chunk))
    };
    let started = started.await;
    if let Some(before_it) = before_it {
        set_patience(session, before_it).await?;
    }
    let (mut dump, mut chunk) = started?;
    let Some(place) = coordinates(&chunk) else {
        // Where it ended by itself, its own words say more.
        dump.finish().await?;
        return Err(TakeError::Unfit(
            "the dump does not say at which place of the binary log it was made: is log_bin on?"
                .to_owned(),
        ));
    };
    // What the binary log does not know, because it was begun anew since, was there before the copy began.
    let server = Server::new(&source.place, "");
    let position = match server.position_at(&place).await? {
        Some(position) => position.union(&seen.executed.tip()).tip(),
        None => {
            return Err(TakeError::Unfit(format!(
                "the server does not tell its position at {}:{}: is log_slave_updates on?",
                place.file, place.offset
            )));
        }
    };
    let total = before.bytes.max(1);
    let object = key(&source.product, id, DUMP);
    let mut outgoing = Outgoing::begin(bucket, &object, source.upload_limit).await?;
    let mut scan = Scan::default();
    let streamed = async {
        while !chunk.is_empty() {
            scan.feed(&chunk);
            outgoing.write(&chunk).await?;
            progress(outgoing.written(), total.max(outgoing.written()));
            chunk.resize(HEAD, 0);
            let count = dump.read(&mut chunk).await?;
            chunk.truncate(count);
        }
        dump.finish().await?;
        Ok::<Content, TakeError>(std::mem::take(&mut scan).finish()?)
    };
    match streamed.await {
        Ok(content) => Ok(Copied {
            uploaded: outgoing.finish().await?,
            content,
            position,
            tool,
        }),
        Err(error) => {
            outgoing.abort().await;
            Err(error)
        }
    }
}

/// Has the server wait so many seconds for clients that do not read, where it waits less; what it was.
async fn patient(session: &Session, seconds: u64) -> Result<Option<u64>, ServerError> {
    let question = Statement::new("SELECT @@GLOBAL.net_write_timeout AS seconds");
    let rows = session.ask(&question, SHORT).await?;
    let now: Option<u64> = rows.first().and_then(|row| row.number("seconds"));
    match now {
        Some(now) if now < seconds => {
            set_patience(session, seconds).await?;
            Ok(Some(now))
        }
        _ => Ok(None),
    }
}

async fn set_patience(session: &Session, seconds: u64) -> Result<(), ServerError> {
    let set = Statement::new(format!("SET GLOBAL net_write_timeout = {seconds}"));
    session.tell(&set, SHORT).await.map(drop)
}

/// What the tool says of itself.
async fn version_of(line: &CommandLine) -> Result<String, TakeError> {
    let program = line.argv.first().cloned().unwrap_or_default();
    let ask = CommandLine::new([program, "--version".to_owned()], SHORT);
    let said = command::run(&ask).await?.checked(&ask)?.stdout;
    Ok(said.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Whether the copy has what the server has, which nobody changed meanwhile.
fn check(content: &Content, before: &Inventory, after: &Inventory) -> Result<(), TakeError> {
    let changed = after.changed_since(before);
    if !changed.is_empty() {
        return Err(TakeError::Unfit(format!(
            "tables were made, altered or dropped while it was made: {}",
            first(&changed)
        )));
    }
    let lacks: Vec<String> = (before.tables.keys())
        .filter(|(schema, table)| {
            let schema = content.schemas.get(schema);
            schema.is_none_or(|schema| !schema.tables.contains_key(table))
        })
        .map(|(schema, table)| format!("{schema}.{table}"))
        .collect();
    if !lacks.is_empty() {
        return Err(TakeError::Unfit(format!("it lacks {}", first(&lacks))));
    }
    let lacks: Vec<String> = (before.schemas.iter())
        .filter(|schema| !content.schemas.contains_key(*schema))
        .cloned()
        .collect();
    if !lacks.is_empty() {
        return Err(TakeError::Unfit(format!(
            "it lacks the schemas {}",
            first(&lacks)
        )));
    }
    Ok(())
}

/// Some of them, for people.
fn first(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Puts an object under a key that is nobody else's, again where the bucket does not answer.
pub(super) async fn put(bucket: &Bucket, key: &str, bytes: Vec<u8>) -> Result<(), BucketError> {
    let mut turn = 0;
    loop {
        let done = bucket
            .put(key, bytes.clone(), Some(&Condition::Absent))
            .await;
        let Err(error) = done else { return Ok(()) };
        let is_doubtful = matches!(
            error.kind,
            BucketErrorKind::Unavailable | BucketErrorKind::Conflict
        );
        // A try whose answer did not come may have made it.
        let mut may_try = error.kind == BucketErrorKind::Unavailable;
        if is_doubtful {
            match bucket.get(key, None, bytes.len() as u64 + 1).await {
                Ok(Fetched::Object { bytes: found, .. }) if found == bytes => return Ok(()),
                Err(unread) if unread.kind == BucketErrorKind::Unavailable => may_try = true,
                _ => {}
            }
        }
        turn += 1;
        if !may_try || turn >= TRIES {
            return Err(error);
        }
        tokio::time::sleep(backoff(Duration::from_secs(1), turn)).await;
    }
}

/// How long ago a moment is, never less than nothing.
pub(super) fn age(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(moment)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
