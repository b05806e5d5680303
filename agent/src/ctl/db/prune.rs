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
use crate::database::snapshot::catalog::{self, Verdict};
use crate::database::snapshot::retention::{Tier, usual};
use crate::fleet::Name;
use crate::fleet::names::Span;
use crate::report::text::{count, size};

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
    noop: bool,
}

#[derive(Serialize)]
struct Kept {
    id: String,
    why: &'static str,
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
    let (url, s3) = bucket::named(global, args)?;
    let work = async {
        let bucket = Bucket::open(&url, &s3).await;
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
        if !how.noop {
            for verdict in &doomed {
                console.meter(&format!("deleting {}", verdict.found.id));
                catalog::delete(&bucket, product, &verdict.found.id).await?;
            }
            console.meter_ends();
        }
        let kept = verdicts.iter().filter_map(|verdict| {
            Some(Kept {
                id: verdict.found.id.to_string(),
                why: verdict.kept?.as_str(),
            })
        });
        Ok::<_, Failure>(Pruned {
            format: 1,
            kept: kept.collect(),
            deleted: (doomed.iter())
                .map(|verdict| verdict.found.id.to_string())
                .collect(),
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
        text
    })?;
    Ok(0)
}
