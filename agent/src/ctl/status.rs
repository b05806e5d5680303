//! `agentctl status`.

use serde::Serialize;

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::{local_status, place};
use crate::control::client::{self, ControlError};
use crate::report::text::{self, Heard};
use crate::report::{Health, Status};
use crate::system::clock;
use crate::system::file::Files;

/// What the command exits with where the agent does not run.
const NOT_RUNNING: u8 = 3;

#[derive(Serialize)]
struct StatusOutput<'a> {
    #[serde(flatten)]
    status: &'a Status,
    heard: Heard,
    running: bool,
}

#[derive(Serialize)]
struct NoStatusOutput {
    format: u32,
    health: Option<Health>,
    heard: Heard,
    running: bool,
}

/// Says how this box is; with `ack`, after the agent has forgotten the fights over files that have ended.
pub fn status(global: &Global, ack: bool, console: Console) -> Result<u8, Failure> {
    let root = place::root(global)?;
    let files = Files::new(root.clone());
    let asked = if ack {
        // There is nothing to acknowledge but with the agent: what else it may say of the box is not what was asked for.
        Ok(client::acknowledge(&root)?)
    } else {
        client::status(&root)
    };
    let (status, heard) = match asked {
        Ok(status) => (Some(status), Heard::Live),
        Err(error) => {
            let status = local_status::last_written(&files).unwrap_or_else(|why| {
                console.note(&why);
                None
            });
            let heard = heard(&error, status.as_ref());
            if heard == Heard::File || (status.is_none() && heard != Heard::Gone) {
                console.note(&error.to_string());
            }
            (status, heard)
        }
    };
    let Some(status) = status else {
        let running = heard != Heard::Gone;
        let nothing = NoStatusOutput {
            format: 1,
            health: None,
            heard,
            running,
        };
        console.print(&nothing, |paint| {
            if running {
                format!(
                    "this box: {}: the agent could not be asked, and has left no status\n",
                    paint.alarm("NOT KNOWN")
                )
            } else {
                format!(
                    "this box: {}, and it has left no status since boot\n  - start it: systemctl start agentd; \
                     why it stopped: journalctl -u agentd\n",
                    paint.alarm("AGENT NOT RUNNING")
                )
            }
        })?;
        return Ok(if running { 1 } else { NOT_RUNNING });
    };
    let said = StatusOutput {
        status: &status,
        heard,
        running: heard != Heard::Gone,
    };
    console.print(&said, |paint| {
        text::status(&status, heard, clock::now(), paint)
    })?;
    Ok(match (heard, status.health) {
        (Heard::Gone, _) => NOT_RUNNING,
        (Heard::Live | Heard::File, Health::Converged) => 0,
        _ => 1,
    })
}

fn heard(error: &ControlError, status: Option<&Status>) -> Heard {
    match error {
        ControlError::NotRunning { .. } => Heard::Gone,
        ControlError::Silent { .. } => Heard::Hung,
        // Whoever may not open the socket cannot learn from it whether anybody listens.
        _ => match status {
            Some(status) if local_status::is_running(status.agent.pid) == Some(false) => {
                Heard::Gone
            }
            _ => Heard::File,
        },
    }
}
