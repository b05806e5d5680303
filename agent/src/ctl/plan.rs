//! `agentctl plan`: what a run would change, on this box or any other of the fleet.

use std::path::Path;

use serde::Serialize;

use super::args::{FamilyName, Global, PlanArgs, Scope};
use super::console::Console;
use super::failure::Failure;
use super::{place, validate};
use crate::bucket::{Bucket, Fetched};
use crate::converge::intake::Intake;
use crate::converge::once::{chain, identify};
use crate::converge::{Converger, Intent, Plan, plan_offline};
use crate::fleet::{Document, Name};
use crate::report::{DocumentId, Outcome, Problem, StepRecord, exit_code, is_failed, text};
use crate::settings::{HostsScope, Settings};
use crate::system::clock;
use crate::system::file::Files;
use crate::system::platform::{Family, Platform};

/// The document's key in the bucket.
const DOCUMENT_KEY: &str = "fleet.json";

#[derive(Serialize)]
struct Planned<'a> {
    format: u32,
    node: &'a Name,
    document: &'a DocumentId,
    /// Where the document came from, and what it is compared with.
    basis: &'a str,
    /// Why the plan is not for the document that stands in the bucket.
    trouble: Option<&'a str>,
    changes: bool,
    failures: bool,
    steps: Vec<StepRecord>,
    problems: &'a [Problem],
}

/// A plan, and what it is for.
struct Made {
    node: Name,
    plan: Plan,
    basis: String,
    trouble: Option<String>,
}

/// A document to plan for, and where it came from.
struct Wanted {
    document: Document,
    basis: String,
    trouble: Option<String>,
}

/// Shows what a run would change.
pub fn plan(global: &Global, wanted: &PlanArgs, console: Console) -> Result<u8, Failure> {
    let Made {
        node,
        plan,
        basis,
        trouble,
    } = match (&wanted.server, &wanted.document) {
        (Some(server), Some(document)) => elsewhere(server, document, wanted, console)?,
        (None, document) => {
            let settings = place::settings(global)?;
            place::block_on(here(
                &settings,
                document.as_deref(),
                wanted.offline,
                console,
            ))??
        }
        (Some(_), None) => return Err(Failure::new("--as needs --document FILE")),
    };
    let steps = plan.records();
    let changes = steps.iter().any(|step| step.outcome == Outcome::Changed);
    // As `apply`: what the bucket asks for would not come true.
    let failures = trouble.is_some() || is_failed(&steps, &plan.problems);
    let planned = Planned {
        format: 1,
        node: &node,
        document: &plan.document,
        basis: &basis,
        trouble: trouble.as_deref(),
        changes,
        failures,
        steps,
        problems: &plan.problems,
    };
    console.print(&planned, |paint| {
        let what = text::PlanFor {
            node: &node,
            document: &plan.document,
            basis: &basis,
        };
        text::plan(what, &planned.steps, &plan.problems, paint)
    })?;
    Ok(exit_code(changes, failures))
}

/// Any server of the fleet, at a desk.
fn elsewhere(
    server: &Name,
    file: &Path,
    wanted: &PlanArgs,
    console: Console,
) -> Result<Made, Failure> {
    let document = validate::document(file, console)?;
    let before = wanted
        .against
        .as_deref()
        .map(|file| validate::document(file, console))
        .transpose()?;
    known(server, &document, file)?;
    let family = match wanted.platform {
        FamilyName::Centos => Family::Centos,
        FamilyName::Debian => Family::Debian,
    };
    let intent = Intent {
        document,
        node: server.clone(),
        hosts: match wanted.hosts {
            Scope::Products => HostsScope::Products,
            Scope::Fleet => HostsScope::Fleet,
        },
    };
    let plan = plan_offline(&intent, before.as_ref(), &Platform::of(family))?;
    let basis = match (&wanted.against, &before) {
        (Some(against), Some(before)) => format!(
            "{}, on a machine that stands on version {} of {}",
            file.display(),
            before.id.version,
            against.display()
        ),
        _ => format!("{}, on a machine that has nothing yet", file.display()),
    };
    Ok(Made {
        node: server.clone(),
        plan,
        basis,
        trouble: None,
    })
}

/// Says which servers there are, where the one that was asked for is not among them.
fn known(server: &Name, document: &Document, file: &Path) -> Result<(), Failure> {
    let servers = &document.fleet.servers;
    if servers.contains_key(server) {
        return Ok(());
    }
    let nearest = servers
        .keys()
        .min_by_key(|name| strsim::damerau_levenshtein(name.as_str(), server.as_str()));
    let failure = Failure::new(format!("{} has no server {server}", file.display()));
    Err(match nearest {
        Some(nearest) => failure.hint(format!("did you mean {nearest}?")),
        None => failure,
    })
}

/// This box.
async fn here(
    settings: &Settings,
    file: Option<&Path>,
    offline: bool,
    console: Console,
) -> Result<Made, Failure> {
    let Wanted {
        document,
        basis,
        trouble,
    } = match file {
        Some(file) => Wanted {
            document: validate::document(file, console)?,
            basis: file.display().to_string(),
            trouble: None,
        },
        None => present(settings, offline, console).await?,
    };
    let (node, _) = identify(settings, &document).await?;
    let intent = Intent {
        document,
        node: node.clone(),
        hosts: settings.hosts,
    };
    let plan = Converger::new(settings).plan(&intent).await?;
    Ok(Made {
        node,
        plan,
        basis,
        trouble,
    })
}

/// The document that a run would be for: the bucket's, if it gives one that would be accepted, or the last good one.
async fn present(settings: &Settings, offline: bool, console: Console) -> Result<Wanted, Failure> {
    let files = Files::new(settings.root.clone());
    let intake = Intake::open(
        &files,
        settings.pinned_fleet.as_ref(),
        settings.document_limit,
    )?;
    let good = intake.accepted();
    let (why, trouble) = if offline {
        ("--offline", None)
    } else {
        match of_bucket(settings, good.map(|good| &good.document)).await {
            Ok(document) => {
                return Ok(Wanted {
                    document,
                    basis: "the document in the bucket".into(),
                    trouble: None,
                });
            }
            Err(why) => {
                console.note(&why);
                ("the bucket's cannot be used", Some(why))
            }
        }
    };
    let good = good.ok_or_else(|| {
        Failure::new("there is no document to plan for: no good one was kept on this box")
            .hint("agentctl plan --document FILE plans for a file")
    })?;
    let confirmed = text::ago(good.confirmed, clock::now());
    Ok(Wanted {
        document: good.document.clone(),
        basis: format!("the last good document, confirmed {confirmed}; {why}"),
        trouble,
    })
}

/// The bucket's document, if a run would accept it; or why not. Nothing is kept.
async fn of_bucket(settings: &Settings, good: Option<&Document>) -> Result<Document, String> {
    let bucket = Bucket::open(&settings.bucket, &settings.s3).await;
    let fetched = bucket
        .get(DOCUMENT_KEY, None, settings.document_limit)
        .await
        .map_err(|error| chain(&error))?;
    let Fetched::Object { bytes, .. } = fetched else {
        return Err("the bucket said that nothing changed, though nothing was known".into());
    };
    let document = Document::read(&bytes).map_err(|mistakes| {
        let list: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        format!(
            "the document in the bucket would be refused:\n{}",
            list.join("\n")
        )
    })?;
    let id = &document.id;
    if let Some(pinned) = &settings.pinned_fleet
        && id.fleet != *pinned
    {
        return Err(format!(
            "the document in the bucket would be refused: it is of fleet {}, not {pinned}",
            id.fleet
        ));
    }
    if let Some(good) = good
        && (id.version < good.id.version
            || (id.version == good.id.version && id.digest != good.id.digest))
    {
        return Err(format!(
            "the document in the bucket would be refused: its version {} is not above {}, which this box stands on",
            id.version, good.id.version
        ));
    }
    Ok(document)
}
