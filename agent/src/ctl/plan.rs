//! `agentctl plan`: what a run would change, on this box or any other of the fleet.

use std::io;
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
use crate::node::eviction::Evictions;
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

/// What many servers' plans come to.
#[derive(Serialize)]
struct PlannedAll<'a> {
    format: u32,
    document: &'a DocumentId,
    basis: &'a str,
    /// Why machines that stand on the document of --against would not take this one.
    trouble: Option<&'a str>,
    changes: bool,
    failures: bool,
    servers: &'a [text::Row],
}

/// Shows what a run would change.
pub fn plan(global: &Global, wanted: &PlanArgs, console: Console) -> Result<u8, Failure> {
    if let (true, Some(document)) = (wanted.all, &wanted.document) {
        return everywhere(document, wanted, console);
    }
    let PlanResult {
        node,
        plan,
        basis,
        trouble,
    } = match (&wanted.server, &wanted.document) {
        (Some(server), Some(document)) => elsewhere(server, document, wanted, console)?,
        (None, document) => {
            place::adopt_environment(global);
            let settings = place::settings(global)?;
            place::block_on(here(settings, document.as_deref(), wanted.offline, console))??
        }
        (Some(_), None) => return Err(Failure::new("--as needs --document FILE")),
    };
    let activates = wanted.server.is_some() || place::root(global)?.is_machine();
    let steps = plan.records(activates);
    let detail = match (wanted.verbose, wanted.summary) {
        (_, true) => text::Detail::Summary,
        (true, false) => text::Detail::All,
        (false, false) => text::Detail::Usual,
    };
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
        text::plan(what, &planned.steps, &plan.problems, detail, paint)
    })?;
    Ok(exit_code(changes, failures))
}

/// What a desk plans for: a document, what the machines stand on, and how they are.
pub struct Desk {
    /// What is planned for.
    pub document: Document,
    /// What machines stand on; `None`: they have nothing yet.
    pub before: Option<Document>,
    /// Where files stand.
    pub family: Family,
    /// Who stands in `/etc/hosts`.
    pub hosts: HostsScope,
    /// Where the document came from, what it is compared with, and where files stand.
    pub basis: String,
    /// Why machines that stand on `before` would not take the document.
    pub trouble: Option<String>,
}

impl Desk {
    fn new(file: &Path, wanted: &PlanArgs, console: Console) -> Result<Self, Failure> {
        let document = validate::document(file, console)?;
        let before = wanted.against.as_deref();
        let before = before
            .map(|file| validate::document(file, console))
            .transpose()?;
        let (family, layout) = layout(wanted.platform);
        let refusals = match (&wanted.against, &before) {
            (Some(against), Some(before)) => {
                validate::refusals(&document, before, &against.display().to_string())
            }
            _ => Vec::new(),
        };
        let stands = match (&wanted.against, &before) {
            (Some(against), Some(before)) => {
                format!(
                    "stands on version {} of {}",
                    before.id.version,
                    against.display()
                )
            }
            _ => "has nothing yet".into(),
        };
        let trouble = refusals
            .first()
            .map(|why| format!("{}: {why}", file.display()));
        if let Some(trouble) = &trouble {
            console.note(trouble);
        }
        Ok(Self {
            basis: format!("{}, on a machine that {stands}; {layout}", file.display()),
            document,
            before,
            family,
            hosts: match wanted.hosts {
                Scope::Products => HostsScope::Products,
                Scope::Fleet => HostsScope::Fleet,
            },
            trouble,
        })
    }

    /// What it comes to for each server.
    pub fn rows(&self) -> Result<Vec<text::Row>, Failure> {
        let servers = self.document.fleet.servers.keys();
        servers
            .map(|server| {
                let plan = self.plan(server)?;
                Ok(text::Row::of(server, &plan.records(true), &plan.problems))
            })
            .collect()
    }

    /// The table for all servers, as data and as text; returns whether something changes, and whether something fails.
    pub fn show(&self, console: Console) -> Result<(bool, bool), Failure> {
        let rows = self.rows()?;
        let changes = rows.iter().any(|row| row.changes);
        let failures = self.trouble.is_some() || rows.iter().any(|row| row.failures);
        let planned = PlannedAll {
            format: 1,
            document: &self.document.id,
            basis: &self.basis,
            trouble: self.trouble.as_deref(),
            changes,
            failures,
            servers: &rows,
        };
        console.print(&planned, |paint| {
            text::table(&rows, &self.document.id, &self.basis, paint)
        })?;
        Ok((changes, failures))
    }

    /// The same table, as text.
    pub fn table(&self, paint: text::Paint) -> Result<String, Failure> {
        let rows = self.rows()?;
        Ok(text::table(&rows, &self.document.id, &self.basis, paint))
    }

    /// What a run would change on one server.
    pub fn plan(&self, server: &Name) -> Result<Plan, Failure> {
        let intent = Intent {
            document: self.document.clone(),
            node: server.clone(),
            hosts: self.hosts,
            // A desk has no leases: the first of each chain.
            elections: Elections::default(),
            evictions: Evictions::default(),
        };
        let platform = Platform::of(self.family);
        Ok(plan_offline(&intent, self.before.as_ref(), &platform)?)
    }
}

/// Where files stand, and that as a part of a sentence.
pub const fn layout(platform: FamilyName) -> (Family, &'static str) {
    match platform {
        FamilyName::Centos => (Family::Centos, "files as on CentOS"),
        FamilyName::Debian => (Family::Debian, "files as on Debian"),
    }
}

/// Any server of the fleet, at a desk.
fn elsewhere(
    server: &Name,
    file: &Path,
    wanted: &PlanArgs,
    console: Console,
) -> Result<PlanResult, Failure> {
    let desk = Desk::new(file, wanted, console)?;
    known(server, &desk.document, file)?;
    Ok(PlanResult {
        node: server.clone(),
        plan: desk.plan(server)?,
        basis: desk.basis,
        trouble: desk.trouble,
    })
}

/// All servers of the fleet, at a desk.
fn everywhere(file: &Path, wanted: &PlanArgs, console: Console) -> Result<u8, Failure> {
    let (changes, failures) = Desk::new(file, wanted, console)?.show(console)?;
    Ok(exit_code(changes, failures))
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
    let kept = session.intake.accepted().is_some();
    if let Some(trouble) = trouble.as_ref().filter(|_| kept) {
        console.note(trouble);
    }
    let good = session.intake.accepted().ok_or_else(|| {
        let none = "there is no document to plan for: no good one was kept on this box";
        let failure = match &trouble {
            Some(trouble) => Failure::because(none, io::Error::other(trouble.clone())),
            None => Failure::new(none),
        };
        failure.hint("agentctl plan --document FILE plans for a file")
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
    let (intent, _) = session.intent_of_runs()?;
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
        Polled::Unreachable(error) => Some(format!(
            "the bucket did not give its document\n{}",
            chain(error)
        )),
    }
}
