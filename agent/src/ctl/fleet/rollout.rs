//! `agentctl fleet rollout`: how far the published version is, and what a person may say to that: halt, go on, back.
//!
//! None of these needs a key: they say nothing about what the fleet should be, only how far a version may go. Going back does:
//! it publishes.

use std::fmt::Write as _;

use serde::Serialize;
use tokio::time::Instant;

use super::super::args::{PublishArgs, RolloutCommand};
use super::super::failure::Failure;
use super::desk::Desk;
use super::published::{Published, told, version_key};
use super::waves::{change, who};
use super::{ask, publish};
use crate::bucket::Bucket;
use crate::converge::rollout::{self, Decision, Gate, Progress, Read, Written};
use crate::fleet::{Document, DocumentId, Name};
use crate::node::Waves;
use crate::overview::ReportReader;
use crate::report::NodeReport;
use crate::report::text::{Paint, ago, shown};
use crate::system::clock;

/// So many versions are looked at for one to go back to.
const MOST_SEARCHED: u64 = 100;

/// One wave, for people and programs.
#[derive(Serialize)]
struct WaveRow {
    /// Counted from 1.
    wave: u32,
    open: bool,
    /// How many servers take the version in it.
    servers: usize,
    /// How many of them have taken it; `None`: it is not open, and nobody was asked.
    taken: Option<usize>,
    /// The first of them.
    first: Vec<Name>,
    /// How it was opened.
    opened: Option<rollout::Opening>,
}

#[derive(Serialize)]
struct Output {
    format: u32,
    document: DocumentId,
    /// `complete`, `halted`, `waits`, `at once`: the document has no rollout.
    state: &'static str,
    /// What the next wave waits for, or why it was halted.
    why: Option<String>,
    halted: Option<rollout::Halt>,
    waves: Vec<WaveRow>,
}

/// Does what is asked.
pub(super) async fn rollout(desk: &Desk, command: &RolloutCommand) -> Result<u8, Failure> {
    match command {
        RolloutCommand::Status => status(desk).await,
        RolloutCommand::Halt { reason } => halt(desk, reason).await,
        RolloutCommand::Resume => resume(desk).await,
        RolloutCommand::Abort { to, how } => abort(desk, *to, how).await,
    }
}

/// How far a version may go by now.
async fn progress(bucket: &Bucket, id: &DocumentId) -> Result<Progress, Failure> {
    match rollout::read(bucket, id.version, None)
        .await
        .map_err(told)?
    {
        Read::Object { bytes, .. } => rollout::parse(&bytes, &id.fleet, id.version)
            .map_err(|wrong| Failure::because("how far the version may go cannot be read", wrong)),
        Read::Absent | Read::Unchanged => Ok(Progress::new(id.fleet.clone(), id.version)),
    }
}

async fn status(desk: &Desk) -> Result<u8, Failure> {
    let bucket = desk.bucket().await?;
    let published = desk.published().await?;
    let document = published.good("what is published")?;
    let output = looked_at(&bucket, document).await?;
    let code = u8::from(output.state == "halted");
    desk.console.print(&output, |paint| text(&output, paint))?;
    Ok(code)
}

/// How far the rollout is, by the reports of all servers that may have taken the version.
async fn looked_at(bucket: &Bucket, document: &Document) -> Result<Output, Failure> {
    let mut output = Output {
        format: 1,
        document: document.id.clone(),
        state: "at once",
        why: None,
        halted: None,
        waves: Vec::new(),
    };
    let (Some(waves), Some(terms)) = (Waves::of(&document.fleet), &document.fleet.rollout) else {
        return Ok(output);
    };
    let progress = progress(bucket, &document.id).await?;
    let asked = waves.until(progress.open);
    let mut reader = ReportReader::new(bucket.clone());
    let reports = reader.read_of(asked).await.map_err(told)?;
    let now = Instant::now();
    let mut gate = Gate::new(
        document.id.version,
        asked.to_vec(),
        terms.bake.duration(),
        terms.patience(),
        now,
    );
    for report in &reports {
        // Heard when it was written: this desk has not been watching.
        let age = clock::now().duration_since(report.written);
        let age = std::time::Duration::try_from(age).unwrap_or_default();
        gate.take(report, now.checked_sub(age).unwrap_or(now));
    }
    (output.state, output.why) = match (&progress.halted, gate.decide(now)) {
        (Some(halt), _) => ("halted", Some(halt.reason.clone())),
        _ if progress.open >= waves.last() => ("complete", None),
        (None, Decision::Wait(what)) => ("waits", Some(what)),
        (None, Decision::Open(_)) => ("waits", Some("whoever watches over it to open it".into())),
        (None, Decision::Halt(why)) => ("waits", Some(format!("whoever watches over it: {why}"))),
        (None, Decision::Superseded) => ("waits", Some("nothing: a newer version is out".into())),
    };
    let mut before = 0;
    for wave in 0..waves.count() {
        let until = waves.until(wave);
        let own = until.get(before..).unwrap_or_default();
        before = until.len();
        let is_open = wave <= progress.open;
        let has_taken = |report: &&NodeReport| {
            let is_own = report
                .server
                .as_ref()
                .is_some_and(|name| own.contains(name));
            is_own && report.stands_on == Some(document.id.version)
        };
        output.waves.push(WaveRow {
            wave: wave + 1,
            open: is_open,
            servers: own.len(),
            taken: is_open.then(|| reports.iter().filter(has_taken).count()),
            first: own.iter().take(5).cloned().collect(),
            opened: (progress.opened.iter())
                .find(|opening| opening.wave == wave)
                .cloned(),
        });
    }
    output.halted = progress.halted;
    Ok(output)
}

fn text(output: &Output, paint: Paint) -> String {
    let version = output.document.version;
    let now = clock::now();
    let mut out = match output.state {
        "at once" => format!("version {version} has no rollout: all servers take it at once\n"),
        "complete" => format!("version {version}: {}\n", paint.green("all waves are open")),
        "halted" => format!("version {version}: {}\n", paint.alarm("halted")),
        _ => format!("version {version}: going out\n"),
    };
    if let Some(halt) = &output.halted {
        let _ = writeln!(
            out,
            "  {} ({}, by {})\n  publish a mended version, or: agentctl fleet rollout resume, agentctl fleet rollout abort",
            shown(&halt.reason),
            ago(halt.at, now),
            shown(&halt.by)
        );
    } else if let Some(why) = &output.why {
        let _ = writeln!(out, "  the next wave waits for {}", shown(why));
    }
    for row in &output.waves {
        let taken = match row.taken {
            Some(taken) => format!("{taken} of {} have taken it", row.servers),
            None => format!("{} wait", row.servers),
        };
        let _ = write!(
            out,
            "  wave {}  {:6}  {taken}: {}{}",
            row.wave,
            if row.open { "open" } else { "closed" },
            row.first
                .iter()
                .map(Name::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            if row.servers > row.first.len() {
                ", …"
            } else {
                ""
            }
        );
        if let Some(opening) = &row.opened {
            let _ = write!(
                out,
                "\n          opened {} by {}: {}",
                ago(opening.at, now),
                shown(&opening.by),
                shown(&opening.evidence)
            );
        }
        out.push('\n');
    }
    out
}

/// The published document, which must go out in waves.
async fn going_out(desk: &Desk) -> Result<(Published, Waves), Failure> {
    let published = desk.published().await?;
    let document = published.good("what is published")?;
    let waves = Waves::of(&document.fleet).ok_or_else(|| {
        Failure::new(format!(
            "version {} has no rollout: all servers have taken it",
            document.id.version
        ))
        .hint("`rollout` in the document says how versions go out; agentctl fleet rollback goes back to an older one")
    })?;
    Ok((published, waves))
}

async fn halt(desk: &Desk, reason: &str) -> Result<u8, Failure> {
    let bucket = desk.bucket().await?;
    let (published, waves) = going_out(desk).await?;
    let id = &published.good("what is published")?.id;
    let by = who();
    let written = change(&bucket, id, |before| {
        let may = before.halted.is_none() && before.open < waves.last();
        may.then(|| {
            let mut after = before.clone();
            after.halt(clock::now(), &by, reason);
            after
        })
    })
    .await?;
    match written {
        Written::Done(_) => {
            desk.console.note(&format!(
                "version {} goes no further; servers that have taken it keep it",
                id.version
            ));
            Ok(0)
        }
        Written::Unneeded(progress) if progress.halted.is_some() => {
            desk.console
                .note(&format!("version {} was halted already", id.version));
            Ok(0)
        }
        Written::Unneeded(_) => Err(Failure::new(format!(
            "the last wave of version {} is open: there is nothing left to halt",
            id.version
        ))
        .hint("agentctl fleet rollout abort goes back to the version before")),
    }
}

async fn resume(desk: &Desk) -> Result<u8, Failure> {
    let bucket = desk.bucket().await?;
    let (published, _) = going_out(desk).await?;
    let id = &published.good("what is published")?.id;
    let written = change(&bucket, id, |before| {
        before.halted.is_some().then(|| Progress {
            halted: None,
            resumed: before.resumed + 1,
            ..before.clone()
        })
    });
    let what = match written.await? {
        Written::Done(_) => "goes on; its servers are watched anew for the whole bake time",
        Written::Unneeded(_) => "was not halted",
    };
    desk.console.note(&format!("version {} {what}", id.version));
    Ok(0)
}

/// Halts, and publishes the last version again that all servers had taken.
async fn abort(desk: &Desk, to: Option<u64>, how: &PublishArgs) -> Result<u8, Failure> {
    let bucket = desk.bucket().await?;
    let (published, _) = going_out(desk).await?;
    let id = published.good("what is published")?.id.clone();
    let to = match to {
        Some(version) => version,
        None => whole_before(desk, &bucket, &id).await?,
    };
    let question = format!(
        "halt version {} and publish the content of version {to} again, for all servers at once?",
        id.version
    );
    if !how.yes && !ask::yes(&question, desk.console)? {
        return Err(Failure::new("nothing was changed"));
    }
    let by = who();
    change(&bucket, &id, |before| {
        before.halted.is_none().then(|| {
            let mut after = before.clone();
            after.halt(clock::now(), &by, "aborted");
            after
        })
    })
    .await?;
    let how = PublishArgs {
        urgent: true,
        yes: true,
        ..how.clone()
    };
    publish::rollback(desk, to, &how).await
}

/// The newest version below `id` that went to all servers.
async fn whole_before(desk: &Desk, bucket: &Bucket, id: &DocumentId) -> Result<u64, Failure> {
    let lowest = id.version.saturating_sub(MOST_SEARCHED).max(1);
    for version in (lowest..id.version).rev() {
        let found = Published::at(bucket, &version_key(version), desk.trust()?).await?;
        let Some(Ok(document)) = found.map(|found| found.document) else {
            continue;
        };
        let Some(waves) = Waves::of(&document.fleet) else {
            return Ok(version);
        };
        let progress = progress(bucket, &document.id).await?;
        if progress.halted.is_none() && progress.open >= waves.last() {
            return Ok(version);
        }
    }
    Err(Failure::new(format!(
        "no version from {lowest} to {} went to all servers",
        id.version - 1
    ))
    .hint("name one: --to VERSION; agentctl fleet log lists them"))
}
