//! `agentctl db prune`.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::args::{BucketArgs, Global};
use super::super::console::Console;
use super::super::failure::Failure;
use super::super::fleet::ask;
use super::super::place;
use super::bucket;
use crate::bucket::Bucket;
use crate::database::archive::retention as archive;
use crate::database::snapshot::SnapshotId;
use crate::database::snapshot::catalog::{self, Deleted, Verdict};
use crate::database::snapshot::retention::{Tier, usual};
use crate::fleet::Name;
use crate::fleet::names::Span;
use crate::report::text::{count, shown, size};
use crate::system::{chain, clock};

/// How it is done.
pub struct How<'a> {
    /// What is kept.
    pub keep: &'a [(Span, Span)],
    /// Only said.
    pub noop: bool,
    /// Nobody is asked.
    pub yes: bool,
}

#[derive(Serialize)]
struct Pruned {
    format: u32,
    kept: Vec<Kept>,
    deleted: Vec<String>,
    /// Those that could not be deleted.
    failed: Vec<Undeleted>,
    /// Objects of the archive that no snapshot needs any more, and that were deleted.
    archive_deleted: usize,
    noop: bool,
}

#[derive(Serialize)]
struct Undeleted {
    id: String,
    why: String,
}

#[derive(Serialize)]
struct Kept {
    id: String,
    why: &'static str,
}

/// Lets go what of the archive no snapshot needs any more: how many objects.
async fn prune_archive(
    bucket: &Bucket,
    product: &Name,
    verdicts: &[Verdict],
    tiers: &[Tier],
) -> Result<usize, Failure> {
    let kept = || verdicts.iter().filter(|verdict| verdict.kept.is_some());
    let times: Vec<_> = kept().map(|verdict| verdict.found.id.time).collect();
    let proven = kept().filter(|verdict| verdict.found.is_proven);
    let restorable = proven.map(|verdict| verdict.found.id.time).max();
    let since = archive::needed_since(&times, restorable, tiers, clock::now());
    let mut all = 0;
    while let Some(since) = since {
        let (deleted, is_all) = archive::delete(bucket, product, since).await?;
        all += deleted;
        if is_all {
            break;
        }
    }
    Ok(all)
}

/// Says what goes, and lets it go.
pub fn prune(
    global: &Global,
    product: &Name,
    how: &How<'_>,
    args: &BucketArgs,
    console: Console,
) -> Result<u8, Failure> {
    let tiers: Vec<Tier> = how
        .keep
        .iter()
        .map(|(every, long)| Tier {
            every: every.duration(),
            long: long.duration(),
        })
        .collect();
    let tiers = if tiers.is_empty() { usual() } else { tiers };
    let named = bucket::named(global, args)?;
    let work = async {
        let bucket = named.open().await;
        let product = &named.kept_as(&bucket, product, console).await?;
        let found = catalog::list(&bucket, product).await?;
        let verdicts = catalog::verdicts(&found, &tiers);
        let doomed: Vec<&Verdict> = (verdicts.iter())
            .filter(|verdict| verdict.kept.is_none())
            .collect();
        let bytes: u64 = doomed.iter().map(|verdict| verdict.found.bytes).sum();
        if !how.noop && !doomed.is_empty() && !how.yes {
            let question = format!(
                "delete {} of {} of {product}, {}?",
                doomed.len(),
                count(verdicts.len(), "snapshot"),
                size(bytes)
            );
            if !ask::yes(&question, console)? {
                return Err(Failure::new("nothing was deleted"));
            }
        }
        let ids: Vec<SnapshotId> = doomed.iter().map(|it| it.found.id.clone()).collect();
        let done = if how.noop {
            Deleted {
                gone: ids,
                left: Vec::new(),
            }
        } else {
            let begins = |id: &SnapshotId| console.meter(&format!("deleting {id}"));
            let done = catalog::delete_all(&bucket, product, &ids, &begins).await;
            console.meter_ends();
            done
        };
        let archive = if how.noop {
            0
        } else {
            prune_archive(&bucket, product, &verdicts, &tiers).await?
        };
        let kept = verdicts.iter().filter_map(|verdict| {
            Some(Kept {
                id: verdict.found.id.to_string(),
                why: verdict.kept?.as_str(),
            })
        });
        Ok::<_, Failure>(Pruned {
            format: 1,
            kept: kept.collect(),
            deleted: done.gone.iter().map(ToString::to_string).collect(),
            failed: (done.left.iter())
                .map(|(id, error)| Undeleted {
                    id: id.to_string(),
                    why: chain(error),
                })
                .collect(),
            archive_deleted: archive,
            noop: how.noop,
        })
    };
    let pruned = place::block_on(work)??;
    console.print(&pruned, |paint| {
        let mut text = String::new();
        for kept in &pruned.kept {
            let _ = writeln!(text, "{}  kept: {}", kept.id, kept.why);
        }
        let word = if pruned.noop {
            "would be deleted"
        } else {
            "deleted"
        };
        for id in &pruned.deleted {
            let _ = writeln!(text, "{}", paint.red(&format!("{id}  {word}")));
        }
        if pruned.archive_deleted > 0 {
            let _ = writeln!(
                text,
                "{} of the archive deleted, which no snapshot needs any more",
                count(pruned.archive_deleted, "object")
            );
        }
        for failed in &pruned.failed {
            let line = format!(
                "{}  could not be deleted: {}",
                failed.id,
                shown(&failed.why)
            );
            let _ = writeln!(text, "{}", paint.red(&line));
        }
        text
    })?;
    Ok(u8::from(!pruned.failed.is_empty()))
}
