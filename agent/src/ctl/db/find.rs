//! `agentctl db find`.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::args::{BucketArgs, Global};
use super::super::console::Console;
use super::super::failure::Failure;
use super::super::place;
use super::bucket;
use crate::database::archive::search::{Hit, search};
use crate::database::archive::segment::Log;
use crate::fleet::Name;
use crate::report::text::{moment, shown};
use crate::system::clock;

/// Without --since.
const USUAL: SignedDuration = SignedDuration::from_hours(24);
/// So many are shown.
const MOST: usize = 100;

#[derive(Serialize)]
struct Output {
    format: u32,
    since: Timestamp,
    found: Vec<Hit>,
    /// There are more than are shown.
    more: bool,
    /// Files of the archive that could not be read to their end.
    unread: Vec<String>,
}

/// Finds statements, and says what to restore to.
pub fn find(
    global: &Global,
    product: &Name,
    text: &str,
    since: Option<Timestamp>,
    args: &BucketArgs,
    console: Console,
) -> Result<u8, Failure> {
    if text.trim().is_empty() {
        return Err(Failure::new(
            "find what? give a part of the statement, such as 'DROP TABLE'",
        ));
    }
    let now = clock::now();
    let since = since.unwrap_or_else(|| now.saturating_sub(USUAL).unwrap_or(now));
    let named = bucket::named(global, args)?;
    let found = place::block_on(async {
        let bucket = named.open().await;
        let product = named.kept_as(&bucket, product, console).await?;
        let progress =
            |log: &Log| console.meter(&format!("reading {} of {}", log.file, log.id.server));
        let found = search(&bucket, &product, text, since, MOST, &progress).await;
        console.meter_ends();
        Ok::<_, Failure>(found?)
    })??;
    for unread in &found.unread {
        console.note(&format!("not read to its end: {unread}"));
    }
    if found.hits.is_empty() {
        return Err(Failure::new(format!(
            "no statement with {text:?} was archived since {}",
            moment(since)
        ))
        .hint("--since looks farther back; changes of rows are logged as rows, and cannot be found by their text"));
    }
    let output = Output {
        format: 1,
        since,
        found: found.hits,
        more: found.is_cut,
        unread: found.unread,
    };
    console.print(&output, |paint| {
        let mut text = String::new();
        for hit in &output.found {
            let _ = writeln!(
                text,
                "{}  {}  {}",
                paint.bold(&hit.gtid.to_string()),
                moment(hit.time),
                shown(&hit.schema)
            );
            let _ = writeln!(text, "  {}", shown(&hit.statement));
            let _ = writeln!(
                text,
                "  before it: {}; agentctl db restore {product} --before {} --into DIR",
                hit.before, hit.gtid
            );
        }
        if output.more {
            let _ = writeln!(
                text,
                "{}",
                paint.dim("there are more: give more of the statement")
            );
        }
        text
    })?;
    Ok(0)
}
