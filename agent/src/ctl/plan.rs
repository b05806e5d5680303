//! `agentctl plan`: what a run would change, on this box or any other of the fleet.

use std::path::Path;

use serde::Serialize;

use super::args::{FamilyName, Global, PlanArgs, Scope};
use super::console::Console;
use super::failure::Failure;
use super::{place, validate};
use crate::converge::intake::Polled;
use crate::converge::{Intent, Plan, Session, plan_offline};
use crate::fleet::{Document, Name};
use crate::node::Elections;
use crate::report::{DocumentId, Outcome, Problem, StepRecord, exit_code, is_failed, text};
use crate::settings::{HostsScope, Settings};
use crate::system::platform::{Family, Platform};
use crate::system::spelling::nearest;
use crate::system::{chain, clock};

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
struct PlanResult {
    node: Name,
    plan: Plan,
    basis: String,
    trouble: Option<String>,
}

/// Shows what a run would change.
pub fn plan(global: &Global, wanted: &PlanArgs, console: Console) -> Result<u8, Failure> {
    let PlanResult {
        node,
        plan,
        basis,
        trouble,
    } = match (&wanted.server, &wanted.document) {
        (Some(server), Some(document)) => elsewhere(server, document, wanted, console)?,
        (None, document) => {
            let settings = place::settings(global)?;
            place::block_on(here(settings, document.as_deref(), wanted.offline, console))??
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
) -> Result<PlanResult, Failure> {
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
        // A desk has no leases: the first of each chain.
        elections: Elections::default(),
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
    Ok(PlanResult {
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
    let failure = Failure::new(format!("{} has no server {server}", file.display()));
    Err(
        match nearest(server.as_str(), servers.keys().map(Name::as_str)) {
            Some(nearest) => failure.hint(format!("did you mean {nearest}?")),
            None => failure,
        },
    )
}

/// This box.
async fn here(
    settings: Settings,
    file: Option<&Path>,
    offline: bool,
    console: Console,
) -> Result<PlanResult, Failure> {
    let mut session = Session::open(settings).await?.without_writing();
    if let Some(file) = file {
        let document = validate::document(file, console)?;
        let (intent, _) = session.intent_for(&document)?;
        return made(&session, &intent, file.display().to_string(), None).await;
    }
    let trouble = if offline {
        None
    } else {
        why_not(&session.poll().await?)
    };
    if let Some(trouble) = &trouble {
        console.note(trouble);
    }
    let good = session.intake.accepted().ok_or_else(|| {
        Failure::new("there is no document to plan for: no good one was kept on this box")
            .hint("agentctl plan --document FILE plans for a file")
    })?;
    let basis = if offline || trouble.is_some() {
        format!(
            "the last good document, confirmed {}; {}",
            text::ago(good.confirmed, clock::now()),
            if offline {
                "--offline"
            } else {
                "the bucket's cannot be used"
            }
        )
    } else {
        "the document in the bucket".to_owned()
    };
    let (intent, _) = session.intent()?;
    made(&session, &intent, basis, trouble).await
}

async fn made(
    session: &Session,
    intent: &Intent,
    basis: String,
    trouble: Option<String>,
) -> Result<PlanResult, Failure> {
    Ok(PlanResult {
        node: intent.node.clone(),
        plan: session.converger.plan(intent).await?,
        basis,
        trouble,
    })
}

/// Why the bucket's document is not the one that a run would be for.
fn why_not(polled: &Polled) -> Option<String> {
    match polled {
        Polled::Unchanged | Polled::New => None,
        Polled::Refused(refusal) => Some(format!(
            "the document in the bucket{} is refused:\n{}",
            refusal
                .version
                .map_or_else(String::new, |version| format!(" (version {version})")),
            refusal.errors.join("\n")
        )),
        Polled::Unreachable(error) => Some(format!("the bucket did not answer\n{}", chain(error))),
    }
}
