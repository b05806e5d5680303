//! What was published: who signed it, when, and what changed in a line.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::super::failure::Failure;
use super::desk::Desk;
use super::diff::summary;
use super::published::{Published, version_key};
use crate::fleet::names::KeyName;
use crate::report::text::{ago, key_names, moment, shown};
use crate::system::clock;

/// So many numbers in a row may be missing (begun by a desk that was killed) before the list ends.
const MOST_MISSING: u64 = 100;

#[derive(Serialize)]
pub(in crate::ctl) struct Entry {
    pub(in crate::ctl) version: u64,
    pub(in crate::ctl) issued: Option<Timestamp>,
    pub(in crate::ctl) signers: Vec<KeyName>,
    /// What changed since the version before.
    pub(in crate::ctl) summary: String,
    /// Why machines would not take it.
    pub(in crate::ctl) refused: Option<String>,
}

#[derive(Serialize)]
struct Log<'a> {
    format: u32,
    versions: &'a [Entry],
}

/// The last versions, the newest first.
pub(in crate::ctl) async fn version_entries(
    desk: &Desk,
    number: usize,
) -> Result<Vec<Entry>, Failure> {
    let now = desk.published().await?;
    let newest = now.good("what is published")?.id.version;
    let bucket = desk.bucket().await?;
    let mut found: Vec<(u64, Published)> = vec![(newest, now)];
    let mut missing = 0;
    let mut version = newest;
    // One more than is shown: each is compared with the one before.
    while found.len() <= number && missing < MOST_MISSING && version > 1 {
        version -= 1;
        match Published::at(&bucket, &version_key(version), desk.trust()?).await? {
            Some(published) => {
                found.push((version, published));
                missing = 0;
            }
            None => missing += 1,
        }
    }
    Ok(found
        .iter()
        .enumerate()
        .take(number)
        .map(|(index, (version, published))| {
            let before = found.get(index + 1).map(|(_, before)| before);
            entry(*version, published, before)
        })
        .collect())
}

/// Lists the last versions, the newest first.
pub(super) async fn log(desk: &Desk, number: usize) -> Result<u8, Failure> {
    let entries = version_entries(desk, number).await?;
    let output = Log {
        format: 1,
        versions: &entries,
    };
    desk.console.print(&output, |paint| {
        let now = clock::now();
        let mut out = String::new();
        for entry in &entries {
            let when = entry.issued.map_or_else(String::new, |issued| {
                format!("{} ({})", moment(issued), ago(issued, now))
            });
            let _ = writeln!(
                out,
                "{}  {when}  {}",
                paint.bold(&format!("version {}", entry.version)),
                if entry.signers.is_empty() {
                    "not signed".to_owned()
                } else {
                    key_names(&entry.signers)
                }
            );
            let _ = match &entry.refused {
                None => writeln!(out, "    {}", shown(&entry.summary)),
                Some(why) => writeln!(out, "    {}", paint.alarm(&shown(why))),
            };
        }
        out
    })?;
    Ok(0)
}

fn entry(version: u64, published: &Published, before: Option<&Published>) -> Entry {
    let summary = before.map_or_else(
        || "the first that is known".into(),
        |before| summary(&before.bytes, &published.bytes),
    );
    match &published.document {
        Ok(document) => Entry {
            version,
            issued: Some(document.fleet.issued.0),
            signers: document.signers.clone(),
            summary,
            refused: None,
        },
        Err(refused) => Entry {
            version,
            issued: None,
            signers: Vec::new(),
            summary,
            refused: refused.reasons().into_iter().next(),
        },
    }
}

/// Prints a version as it was published.
pub(super) async fn show(desk: &Desk, version: u64) -> Result<u8, Failure> {
    let bucket = desk.bucket().await?;
    let key = version_key(version);
    let found = Published::at(&bucket, &key, desk.trust()?).await?;
    let found = found.ok_or_else(|| {
        Failure::new(format!(
            "there is no version {version}: {}",
            bucket.url(&key)
        ))
        .hint("agentctl fleet log lists them")
    })?;
    if let Err(refused) = &found.document {
        let why = refused.reasons().join("; ");
        desk.console
            .note(&format!("no machine would take it: {why}"));
    }
    desk.console
        .print_text(&String::from_utf8_lossy(&found.bytes))?;
    Ok(0)
}
