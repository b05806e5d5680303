//! `agentd --once` and `agentd --noop`: one look at the bucket, one run or its plan, one exit code.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use super::box_state::BoxState;
use super::{certificate_watch, service_health};
use crate::control::client;
use crate::converge::intake::Polled;
use crate::converge::{Session, set_aside_damaged};
use crate::report::text::{self, Paint};
use crate::report::{Trigger, exit_code, is_failed};
use crate::settings::Settings;
use crate::system::clock;
use crate::system::file::{FileError, Files};

/// How long another run is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// One run. Returns the exit code (contract).
pub(super) async fn once(settings: Settings) -> Result<u8, Box<dyn Error>> {
    // A daemon has done so when it started, and may be writing now.
    if !client::is_running(&settings.root) {
        set_aside_damaged(&Files::new(settings.root.clone()));
    }
    let mut session = Session::open(settings).await?;
    let quiet = |_: &str| ();
    let Some(_lock) = session.lock(PATIENCE, &quiet).await? else {
        return Err(format!(
            "another run has been going on for {} s: see agentctl status",
            PATIENCE.as_secs()
        )
        .into());
    };
    let code = run_once(&mut session).await;
    // However it ended: a death of the daemon that starts next is not this document's doing.
    session.intake.settle()?;
    code
}

async fn run_once(session: &mut Session) -> Result<u8, Box<dyn Error>> {
    let mut state = BoxState::new(session);
    let polled = session.poll().await?;
    let trouble = tell(&polled, session);
    state.polled(session, &polled, None);
    state.databases = session.databases();
    let (intent, found_by) = match session.intent_of_runs() {
        Ok(intent) => intent,
        Err(error) => {
            state.waiting(&error.message);
            write_status(&mut state, session)?;
            return Err(error.into());
        }
    };
    session.fetch_objects(&intent, &|_| ()).await?;
    session.fetch_releases(&intent, &|_| ()).await?;
    let record = session
        .converger
        .run(&intent, Trigger::Person, &|_, _| ())
        .await?;
    state.ran(&intent, &found_by, &record);
    state.certificates = certificate_watch::of(&intent, &session.settings.root);
    state.services =
        service_health::down_services(&session.settings, session.converger.files()).await;
    write_status(&mut state, session)?;
    print(&text::run(
        &record,
        text::Detail::Usual,
        clock::now(),
        paint(),
    ));
    Ok(exit_code(record.changed(), record.failed() || trouble))
}

/// Writes the status file; not beside a daemon, whose word it is: with this process's end monitors would find the daemon
/// gone.
fn write_status(state: &mut BoxState, session: &Session) -> Result<(), FileError> {
    let root = &session.settings.root;
    if client::is_running(root) {
        return Ok(());
    }
    state.write_if_news(&Files::new(root.clone()), session)
}

/// What one run would do. Writes nothing.
pub(super) async fn noop(settings: Settings) -> Result<u8, Box<dyn Error>> {
    let mut session = Session::open(settings).await?.without_writing();
    let polled = session.poll().await?;
    let trouble = tell(&polled, &session);
    let (intent, _) = session.intent_of_runs()?;
    let plan = session.converger.plan(&intent).await?;
    let records = plan.records(session.settings.root.is_machine());
    let basis = if trouble {
        "the last good document"
    } else {
        "the bucket's document"
    };
    let what = text::PlanFor {
        node: &intent.node,
        document: &plan.document,
        basis,
    };
    print(&text::plan(
        what,
        &records,
        &plan.problems,
        text::Detail::Usual,
        paint(),
    ));
    let changes = records.iter().any(|record| !record.outcome.is_failure());
    let failures = is_failed(&records, &plan.problems);
    Ok(exit_code(changes, failures || trouble))
}

/// Says what is wrong with the newest document, if something is; the run goes on with the last good one.
fn tell(polled: &Polled, session: &Session) -> bool {
    match polled {
        Polled::Unchanged | Polled::New => false,
        Polled::Refused(refusal) => {
            for error in &refusal.errors {
                tracing::error!(
                    event = "document-refused",
                    version = refusal.version,
                    "{} was refused: {error}",
                    refusal.which()
                );
            }
            true
        }
        // Nothing goes on: why ends the process, and is said then.
        Polled::Unreachable(_) if session.intake.accepted().is_none() => true,
        Polled::Unreachable(error) => {
            let error = crate::system::chain(error);
            tracing::error!(event = "bucket-unreachable", "{error}");
            true
        }
    }
}

fn paint() -> Paint {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    Paint {
        on: terminal && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// Prints; nobody listening (`| head`) is no failure of the run.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
