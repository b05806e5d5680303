//! `agentctl apply`: a run now, through the daemon or without it.

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::control::client::{self, ControlError};
use crate::control::messages::Applied;
use crate::converge::once::once;
use crate::report::text;
use crate::system::clock;

/// Makes this box what the document says.
pub fn apply(global: &Global, retry: bool, console: Console) -> Result<u8, Failure> {
    let root = place::root(global)?;
    let applied = match client::apply(&root, retry, &mut |doing| console.progress(doing)) {
        Err(ControlError::NotRunning { .. }) => {
            let settings = place::settings(global)?;
            console.note("the agent does not run; making the run without it");
            place::block_on(once(&settings, retry, &|doing| console.progress(doing)))??
        }
        answer => answer?,
    };
    say(&applied, console);
    console.print(&applied.run, |paint| {
        text::run(&applied.run, clock::now(), paint)
    })?;
    let code = applied.run.exit_code();
    // What was asked for is the newest document; a run for an older one is no success.
    let short = applied.refused.is_some() || applied.unreachable.is_some();
    Ok(if short { code | 4 } else { code })
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
        console.note(&format!("the bucket did not answer; {last_good}\n{why}"));
    }
}
