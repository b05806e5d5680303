//! `agentctl db switchover`, `takeover`, `rejoin`, `pause` and `resume`: orders to the agent of this machine.

use std::fmt::Write;

use super::super::args::Global;
use super::super::console::Console;
use super::super::failure::Failure;
use super::super::place;
use super::NOT_RUNNING;
use crate::control::client::{self, ControlError};
use crate::control::messages::DatabaseRequest;
use crate::report::text::shown;

/// Gives an order, and waits until it is carried out.
pub fn order(global: &Global, ask: DatabaseRequest, console: Console) -> Result<u8, Failure> {
    let root = place::root(global)?;
    let noop = ask.noop;
    let done = client::order(&root, ask, &mut |doing| console.progress(doing));
    let done = done.map_err(|error| {
        let gone = matches!(error, ControlError::NotRunning { .. });
        let mut failure = Failure::from(error);
        if gone {
            failure.code = NOT_RUNNING;
        }
        failure
    })?;
    console.print(&done, |paint| {
        let mut text = String::new();
        for (number, step) in (1..).zip(&done.steps) {
            let _ = writeln!(text, "{number:>3}. {}", shown(step));
        }
        for line in &done.said {
            let _ = writeln!(text, "{}", shown(line));
        }
        if noop {
            text.push_str(&paint.dim("nothing was done\n"));
        }
        text
    })?;
    Ok(0)
}
