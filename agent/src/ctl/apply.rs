//! `agentctl apply`: a run now, through the daemon or without it.

use std::io;
use std::time::Duration;

use super::args::{ApplyArgs, Global};
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::control::client::{self, ControlError};
use crate::control::messages::Applied;
use crate::converge::Session;
use crate::converge::intake::Polled;
use crate::report::{Trigger, text};
use crate::settings::Settings;
use crate::system::{chain, clock};

/// How long another run is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Makes this box what the document says.
pub fn apply(global: &Global, wanted: &ApplyArgs, console: Console) -> Result<u8, Failure> {
    let retry = wanted.retry;
    let root = place::root(global)?;
    let applied = match client::apply(&root, retry, &mut |doing| console.progress(doing)) {
        Err(ControlError::NotRunning { .. }) => {
            place::adopt_environment(global);
            let settings = place::settings(global)?;
            console.note("the agent does not run; making the run without it");
            place::block_on(here(settings, retry, &|doing| console.progress(doing)))??
        }
        answer => answer?,
    };
    say(&applied, console);
    console.print(&applied.run, |paint| {
        let detail = if wanted.verbose {
            text::Detail::All
        } else {
            text::Detail::Usual
        };
        text::run(&applied.run, detail, clock::now(), paint)
    })?;
    let code = applied.run.exit_code();
    // What was asked for is the newest document; a run for an older one is no success.
    let short = applied.refused.is_some() || applied.unreachable.is_some();
    let code = if short { code | 4 } else { code };
    Ok(match (wanted.simple_exit, code & 4) {
        (true, failed) => failed,
        (false, _) => code,
    })
}

/// One run in this process, as the daemon makes one when it is asked to.
async fn here(
    settings: Settings,
    retry: bool,
    progress: &dyn Fn(&str),
) -> Result<Applied, Failure> {
    let mut session = Session::open(settings).await?;
    let Some(_lock) = session.lock(PATIENCE, progress).await? else {
        return Err(Failure::new(format!(
            "another run has been going on for {} s",
            PATIENCE.as_secs()
        ))
        .hint("see what it is doing: agentctl status; then try again"));
    };
    let applied = run_now(&mut session, retry, progress).await;
    // However it ended: a death of the daemon that starts next is not this document's doing.
    session.intake.settle()?;
    applied
}

async fn run_now(
    session: &mut Session,
    retry: bool,
    progress: &dyn Fn(&str),
) -> Result<Applied, Failure> {
    progress("asking the bucket");
    let (refused, unreachable) = match session.poll().await? {
        Polled::Unchanged | Polled::New => (None, None),
        Polled::Refused(refusal) => (Some(refusal), None),
        Polled::Unreachable(error) => (None, Some(chain(&error))),
    };
    let (intent, _) = session.intent_of_runs().map_err(|not_ready| {
        let none = session.intake.accepted().is_none();
        let why = match (&refused, &unreachable) {
            (Some(refused), _) => Some(refused.errors.join("\n")),
            (None, why) => why.clone(),
        };
        match why.filter(|_| none) {
            Some(why) => Failure::because(not_ready.message, io::Error::other(why)),
            None => not_ready.into(),
        }
    })?;
    if retry {
        session.converger.release_quarantine()?;
    }
    session.fetch_objects(&intent, progress).await?;
    session.fetch_releases(&intent, progress).await?;
    let run = session
        .converger
        .run(&intent, Trigger::Person, &|what, _| progress(what))
        .await?;
    Ok(Applied {
        run,
        refused,
        unreachable,
    })
}

fn say(applied: &Applied, console: Console) {
    let last_good = format!(
        "this run was for the last good one, version {}",
        applied.run.document.version
    );
    if let Some(refused) = &applied.refused {
        let version = refused
            .version
            .map_or_else(String::new, |version| format!(" (version {version})"));
        console.note(&format!(
            "the document in the bucket{version} was refused; {last_good}\n{}",
            refused.errors.join("\n")
        ));
    }
    if let Some(why) = &applied.unreachable {
        console.note(&format!(
            "the bucket did not give its document; {last_good}\n{why}"
        ));
    }
}
