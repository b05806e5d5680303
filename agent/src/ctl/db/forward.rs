//! Which snapshot a restore begins with, and how far the archive brings it.

use super::super::args::RestoreArgs;
use super::super::console::Console;
use super::super::failure::Failure;
use crate::bucket::Bucket;
use crate::database::archive::Tips;
use crate::database::archive::reach::{Reach, ReachError, Target, reach};
use crate::database::snapshot::Manifest;
use crate::database::snapshot::catalog::{self, Found};
use crate::report::text::{count, moment, size};
use crate::system::clock;

/// So many snapshots are tried, from the newest on, until one reaches the point that is wanted.
const TRIED: usize = 20;

/// What is restored.
pub(super) struct Chosen {
    /// The snapshot.
    pub manifest: Manifest,
    /// Whether a drill has restored it.
    pub is_proven: bool,
    /// What is replayed behind it; `None`: nothing.
    pub reach: Option<Reach>,
}

impl Chosen {
    /// The snapshot's position.
    pub fn begin(&self) -> Result<Tips, Failure> {
        (self.manifest.gtid.parse())
            .map_err(|error| Failure::because("the snapshot's position cannot be read", error))
    }

    /// The position at the end.
    pub fn gtid(&self) -> String {
        let end = self.reach.as_ref().map(|reach| reach.position.to_string());
        end.unwrap_or_else(|| self.manifest.gtid.clone())
    }
}

/// Chooses. Looks only, and says what it found.
pub(super) async fn choose(
    bucket: &Bucket,
    args: &RestoreArgs,
    console: Console,
) -> Result<Chosen, Failure> {
    let product = &args.product;
    let all = catalog::list(bucket, product).await?;
    let whole = catalog::newest_first(&all, clock::now());
    let target = match (args.before, args.at) {
        (Some(gtid), _) => Target::Before(gtid),
        (None, Some(moment)) => Target::At(moment),
        (None, None) => Target::End,
    };
    let is_in_time = |found: &&Found| match target {
        Target::At(moment) => found.id.time <= moment,
        Target::End | Target::Before(_) => true,
    };
    let candidates: Vec<&Found> = if let Some(id) = &args.snapshot {
        let all = whole.iter().copied();
        all.filter(|found| found.id == *id).collect()
    } else {
        // Those that a drill has restored first.
        let of = |proven: bool| {
            let all = whole.iter().copied().filter(is_in_time);
            all.filter(move |found| found.is_proven == proven)
        };
        of(true).chain(of(false)).take(TRIED).collect()
    };
    if candidates.is_empty() {
        let which = match (&args.snapshot, args.at) {
            (Some(id), _) => format!("no snapshot {id}"),
            (None, Some(at)) => format!("no snapshot from before {}", moment(at)),
            (None, None) => "no snapshot".to_owned(),
        };
        return Err(
            Failure::new(format!("the bucket has {which} of {product}")).hint(format!(
                "agentctl db snapshots {product} lists those that there are"
            )),
        );
    }
    let mut failure = None;
    for found in candidates {
        let manifest = match catalog::manifest(bucket, product, &found.id).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => continue,
            Err(error) if args.snapshot.is_none() => {
                console.note(&format!("{}: {error}", found.id));
                failure = Some(Failure::from(error));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if matches!(target, Target::At(moment) if manifest.ended > moment) {
            continue;
        }
        let mut chosen = Chosen {
            manifest,
            is_proven: found.is_proven,
            reach: None,
        };
        if args.no_archive || args.no_accounts {
            return Ok(chosen);
        }
        let position = chosen.begin()?;
        match reach(bucket, product, &position, target).await {
            Ok(reach) => {
                tell(&reach, args, console);
                chosen.reach = Some(reach);
            }
            Err(ReachError::Nothing(_)) if target == Target::End => {}
            // Whoever has rights to snapshots alone, or no archive that can be read, has the snapshot all the same.
            Err(ReachError::Store(error)) if target == Target::End => {
                console.note(&format!(
                    "without the archive of what came after it, which cannot be read: {}",
                    crate::system::chain(&error)
                ));
            }
            Err(ReachError::Store(error)) => return Err(error.into()),
            Err(error) => {
                console.note(&format!("{}: {error}", found.id));
                failure = Some(Failure::from(error));
                continue;
            }
        }
        if args.snapshot.is_none() && target == Target::End {
            let newer = whole.first().filter(|newest| newest.id != found.id);
            if let Some(newer) = newer {
                console.note(&format!(
                    "{} is newer, and no drill has restored it yet: --snapshot {} takes it",
                    newer.id, newer.id
                ));
            }
        }
        return Ok(chosen);
    }
    Err(failure.unwrap_or_else(|| {
        Failure::new("no snapshot reaches that point").hint(format!(
            "agentctl db snapshots {product} lists those that there are"
        ))
    }))
}

fn tell(reach: &Reach, args: &RestoreArgs, console: Console) {
    let transactions = usize::try_from(reach.transactions).unwrap_or(usize::MAX);
    let last = match reach.last {
        Some((gtid, time)) => format!(", the last {gtid}, committed {}", moment(time)),
        None => String::new(),
    };
    console.progress(&format!(
        "from the archive: {}, {}{last}",
        count(transactions, "transaction"),
        size(reach.bytes)
    ));
    if let Some((gtid, time)) = reach.stop {
        console.progress(&format!(
            "it stops before {gtid}, committed {}",
            moment(time)
        ));
    } else if let Some(at) = args.at {
        console.note(&format!(
            "nothing that is archived was committed after {}{}",
            moment(at),
            match reach.read {
                Some(read) => format!("; the archive's last word is of {}", moment(read)),
                None => String::new(),
            }
        ));
    }
    if let Some(gap) = &reach.gap {
        console.note(&format!("the archive cannot be followed farther: {gap}"));
    }
}
