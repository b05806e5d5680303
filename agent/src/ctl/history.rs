//! `agentctl history` and `agentctl show`: what the journal kept.

use serde::Serialize;

use super::args::{Global, RunName};
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::converge::journal;
use crate::report::{RunRecord, text};
use crate::system::clock;

#[derive(Serialize)]
struct History<'a> {
    format: u32,
    runs: &'a [RunRecord],
}

/// Lists the last runs.
pub fn history(global: &Global, number: usize, console: Console) -> Result<u8, Failure> {
    let runs = journal::last(&place::files(global)?, number)?;
    if runs.is_empty() && number > 0 {
        console.note(NO_RUNS);
    }
    let said = History {
        format: 1,
        runs: &runs,
    };
    console.print(&said, |paint| {
        if runs.is_empty() {
            String::new()
        } else {
            text::history(&runs, paint)
        }
    })?;
    Ok(0)
}

/// More than the journal ever keeps.
const ALL: usize = 100_000;

const NO_RUNS: &str =
    "no run has changed or found anything on this box yet; is the agent running? agentctl status";

/// Shows one run.
pub fn show(global: &Global, run: RunName, console: Console) -> Result<u8, Failure> {
    let files = place::files(global)?;
    let record = match run {
        RunName::Last => journal::last(&files, 1)?
            .into_iter()
            .next()
            .ok_or_else(|| Failure::new("there is no run to show").hint(NO_RUNS))?,
        RunName::Failed => journal::last(&files, ALL)?
            .into_iter()
            .find(RunRecord::failed)
            .ok_or_else(|| {
                Failure::new("no run that is kept has failed").hint("agentctl history lists them")
            })?,
        RunName::Number(id) => journal::load(&files, id)?.ok_or_else(|| {
            Failure::new(format!("run {id} is not kept"))
                .hint("`agentctl history -n 1000` lists those that are; the oldest go first")
        })?,
    };
    console.print(&record, |paint| {
        text::run(&record, text::Detail::All, clock::now(), paint)
    })?;
    Ok(0)
}
