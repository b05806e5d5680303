//! `agentctl undo`: takes back on this box what a run did for the present document.

use serde::Serialize;

use super::apply::apply;
use super::args::{ApplyArgs, Global, UndoArgs};
use super::console::Console;
use super::failure::Failure;
use super::{order, place};
use crate::converge::{self, Session};
use crate::system::clock;
use crate::system::file::Files;

#[derive(Serialize)]
struct Ended {
    format: u32,
    ended: bool,
}

/// Takes it back, or goes by the present document again.
pub fn undo(global: &Global, wanted: &UndoArgs, console: Console) -> Result<u8, Failure> {
    let now = ApplyArgs {
        retry: false,
        simple_exit: false,
        verbose: false,
    };
    let Some(run) = wanted.run else {
        let ended = converge::end_undo(&Files::new(place::root(global)?))?;
        if !ended {
            let said = Ended {
                format: 1,
                ended: false,
            };
            console.print(&said, |_| "nothing was taken back on this box\n".into())?;
            return Ok(0);
        }
        console.note("this box goes by the present document again");
        return apply(global, &now, console);
    };
    let settings = place::settings(global)?;
    let files = Files::new(settings.root.clone());
    let session = place::block_on(Session::open(settings))??;
    let Some(document) = session.intake.standing() else {
        return Err(Failure::new("there is no document on this box yet"));
    };
    let (intent, _) = session.intent()?;
    let taken = converge::take_back(
        &files,
        document,
        &intent.node,
        run,
        order::who(),
        clock::now(),
    );
    let taken =
        taken.map_err(|why| Failure::new(why).hint("agentctl history, agentctl show RUN"))?;
    console.note(&format!(
        "this box goes back to version {} in all that version {} changed, until another version comes; agentctl undo --end ends it",
        taken.status.goes_by, taken.status.version
    ));
    for stays in &taken.stays {
        console.note(stays);
    }
    apply(global, &now, console)
}
