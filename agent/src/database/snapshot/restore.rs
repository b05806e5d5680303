//! A snapshot into a database server that has nothing: fetched, verified while it passes by, read by the client.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

use super::content::{Incomplete, Scan};
use super::id::{ACCOUNTS, DUMP, key};
use super::inventory::{Inventory, count_rows};
use super::manifest::{Manifest, ManifestError};
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Fetched, Reader, backoff};
use crate::database::gtid::{Containment, Flavour, Gtids};
use crate::database::server::dump::{client, secret};
use crate::database::server::{Place, Server, ServerError, Session, Statement, accounts};
use crate::system::command::{self, CommandError, End, Running};
use crate::system::digest::{Sha256, sha256_hex};

/// One statement that is done at once.
const SHORT: Duration = Duration::from_secs(10);
/// A bucket that does not answer is asked again for so long.
const PATIENCE: Duration = Duration::from_mins(5);
/// How much is decompressed at once, in bytes.
const DECODED: usize = 256 * 1024;
/// The largest list of accounts, in bytes.
const ACCOUNTS_LIMIT: u64 = 64 * 1024 * 1024;
/// So many differences are told.
const TOLD: usize = 5;

/// A snapshot was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The server is not one to restore into. Nothing was done.
    #[error("nothing was done: {0}")]
    Refused(String),
    /// The snapshot is damaged.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    /// Its manifest says what cannot be.
    #[error("the snapshot's manifest is of no use")]
    Manifest(#[from] ManifestError),
    /// The bucket did not give it.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The client did not take it.
    #[error("the database server did not take it")]
    Client(#[from] CommandError),
    /// The server did not do what it was asked.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl From<Incomplete> for RestoreError {
    fn from(incomplete: Incomplete) -> Self {
        Self::Damaged(incomplete.to_string())
    }
}

/// What is done with the server beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The accounts come too.
    pub accounts: bool,
    /// It gives way to everybody else.
    pub is_background: bool,
}

/// How far it is: bytes of the copy fetched so far.
pub type Progress<'p> = &'p (dyn Fn(u64) + Sync);

/// What came of it, beside the data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Tables that were counted.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
    /// Accounts that were there already, and were left as they are.
    pub accounts_left: Vec<String>,
}

/// Says why a server is not one to restore into: it has data, replicates, or has a history of its own.
pub async fn check_empty(place: &Place) -> Result<(), RestoreError> {
    let refuse = |why: String| Err(RestoreError::Refused(why));
    let server = Server::new(place, "");
    let seen = server.observe(SHORT).await?;
    let name = server.name().to_owned();
    if seen.flavour != Flavour::MariaDb {
        return refuse(format!("{name} is no MariaDB server"));
    }
    if seen.replication.is_some() {
        return refuse(format!(
            "{name} replicates: it is a member of a chain. A snapshot is restored into a server that has nothing"
        ));
    }
    let session = Session::new(place.clone(), Vec::new());
    let has = Inventory::take(&session).await?;
    if !has.schemas.is_empty() {
        let names: Vec<&str> = has.schemas.iter().map(String::as_str).take(TOLD).collect();
        return refuse(format!(
            "{name} has databases ({}): a snapshot is restored into a server that has nothing",
            names.join(", ")
        ));
    }
    if !seen.executed.is_empty() {
        return refuse(format!(
            "{name} has a history of its own ({}). If nobody needs it: RESET MASTER; SET GLOBAL gtid_slave_pos = ''",
            seen.executed.tip()
        ));
    }
    Ok(())
}

/// Restores a snapshot into the server at `place`, which must have nothing, and compares what it then has: each table's rows
/// counted, the position. The server is left as it is, ready to follow a master from that position.
pub async fn restore(
    bucket: &Bucket,
    manifest: &Manifest,
    place: &Place,
    extent: Extent,
    progress: Progress<'_>,
) -> Result<Restored, RestoreError> {
    let position = manifest.position()?;
    check_empty(place).await?;
    load(bucket, manifest, place, extent, progress).await?;
    let session = Session::new(
        place.clone(),
        vec!["SET SESSION sql_log_bin = 0".to_owned()],
    );
    let mut restored = count(&session, manifest).await?;
    if extent.accounts {
        restored.accounts_left = make_accounts(bucket, manifest, &session).await?;
    }
    // The position last: a server without one follows nobody.
    let tip = position.tip();
    let set = Statement::new(format!("SET GLOBAL gtid_slave_pos = '{tip}'"));
    session.tell(&set, SHORT).await?;
    let has = Server::new(place, "").observe(SHORT).await?.executed;
    if !is_exactly(&has, &tip) {
        return Err(RestoreError::Damaged(format!(
            "its position is {}, and should be {tip}",
            has.tip()
        )));
    }
    Ok(restored)
}

fn is_exactly(has: &Gtids, wanted: &Gtids) -> bool {
    has.contains(wanted) == Containment::Yes && wanted.contains(has) == Containment::Yes
}

/// The copy through the client, verified while it passes by. What is damaged at its end has been read by then: the error says that
/// the server is of no use. A client that gives up is no verdict: a damaged copy is what makes it give up, so the rest is read and
/// hashed all the same.
async fn load(
    bucket: &Bucket,
    manifest: &Manifest,
    place: &Place,
    extent: Extent,
    progress: Progress<'_>,
) -> Result<(), RestoreError> {
    let Some(object) = manifest.dump() else {
        return Err(RestoreError::Damaged(format!("it has no {DUMP}")));
    };
    let line = client(place).map_err(RestoreError::Refused)?;
    let line = if extent.is_background {
        command::in_the_background(line)
    } else {
        line
    };
    let key = key(&manifest.product, &manifest.id(), DUMP);
    let mut reader = bucket.reader(&key, object.bytes);
    let mut client = Running::start(line, End::Input, secret(&place.account))?;
    let damaged =
        |why: std::io::Error| RestoreError::Damaged(format!("it cannot be decompressed: {why}"));
    let mut decoder = Decoder::new().map_err(damaged)?;
    let (mut hash, mut scan, mut bytes) = (Sha256::new(), Scan::default(), 0_u64);
    let mut decoded = vec![0_u8; DECODED];
    let mut is_whole = false;
    let mut gave_up = None;
    while let Some(piece) = next(&mut reader).await? {
        hash.update(&piece);
        let mut input = InBuffer::around(&piece);
        loop {
            let mut output = OutBuffer::around(decoded.as_mut_slice());
            let hint = decoder.run(&mut input, &mut output).map_err(damaged)?;
            is_whole = hint == 0;
            let text = output.as_slice();
            let made = text.len();
            bytes = bytes.saturating_add(made as u64);
            scan.feed(text);
            if gave_up.is_none() {
                gave_up = client.write(text).await.err();
            }
            // What is left in the decoder comes out before more goes in.
            if input.pos() >= piece.len() && made < DECODED {
                break;
            }
        }
        progress(reader.position());
    }
    if reader.position() != object.bytes || hash.finish_hex() != object.sha256 {
        return Err(RestoreError::Damaged(format!(
            "the SHA-256 of {} is not the manifest's: it was changed, or cut",
            bucket.url(&key)
        )));
    }
    if !is_whole || bytes != manifest.bytes {
        return Err(RestoreError::Damaged("it ends too early".to_owned()));
    }
    if let Some(error) = gave_up {
        return Err(error.into());
    }
    let differences = manifest.content.differences(&scan.finish()?, TOLD);
    if !differences.is_empty() {
        return Err(RestoreError::Damaged(differences.join("; ")));
    }
    client.finish().await?;
    Ok(())
}

/// The next piece, asked for again where the bucket does not answer.
async fn next(reader: &mut Reader) -> Result<Option<Vec<u8>>, BucketError> {
    let until = Instant::now() + PATIENCE;
    let mut failures = 0;
    loop {
        match reader.next().await {
            Err(error) if error.kind == BucketErrorKind::Unavailable && Instant::now() < until => {
                failures += 1;
                sleep(backoff(Duration::from_secs(1), failures).min(Duration::from_secs(20))).await;
            }
            done => return done,
        }
    }
}

/// Counts all tables' rows in the server itself.
async fn count(session: &Session, manifest: &Manifest) -> Result<Restored, RestoreError> {
    let mut restored = Restored::default();
    let mut wrong = Vec::new();
    for (schema, facts) in &manifest.content.schemas {
        for (table, facts) in &facts.tables {
            let rows = count_rows(session, schema, table).await?;
            if rows != facts.rows {
                wrong.push(format!(
                    "{schema}.{table} has {rows} rows instead of {}",
                    facts.rows
                ));
            }
            restored.tables += 1;
            restored.rows = restored.rows.saturating_add(rows);
        }
    }
    if !wrong.is_empty() {
        wrong.truncate(TOLD);
        return Err(RestoreError::Damaged(wrong.join("; ")));
    }
    Ok(restored)
}

/// Makes the accounts; returns those that were there already.
async fn make_accounts(
    bucket: &Bucket,
    manifest: &Manifest,
    session: &Session,
) -> Result<Vec<String>, RestoreError> {
    let Some(object) = manifest.objects.get(ACCOUNTS) else {
        return Ok(Vec::new());
    };
    let key = key(&manifest.product, &manifest.id(), ACCOUNTS);
    let bytes = match bucket.get(&key, None, ACCOUNTS_LIMIT).await? {
        Fetched::Object { bytes, .. } => bytes,
        Fetched::Unchanged => Vec::new(),
    };
    if sha256_hex(&bytes) != object.sha256 {
        return Err(RestoreError::Damaged(format!(
            "the SHA-256 of {} is not the manifest's",
            bucket.url(&key)
        )));
    }
    let all: Vec<(String, Vec<String>)> = serde_json::from_slice(&bytes)
        .map_err(|error| RestoreError::Damaged(format!("the accounts: {error}")))?;
    let mut left = Vec::new();
    for (account, statements) in &all {
        // Listed twice: what makes it, and its grants behind those of all. One that was there keeps what it has.
        if left.contains(account) {
            continue;
        }
        for sql in statements {
            let told = session.tell(&accounts::hidden(sql, account), SHORT).await;
            match told {
                // 1396: it is there already.
                Err(ServerError::Said { code: 1396, .. }) => {
                    left.push(account.clone());
                    break;
                }
                told => {
                    told?;
                }
            }
        }
    }
    Ok(left)
}
