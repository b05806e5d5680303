//! `agentctl metrics`: `OpenMetrics` text, to standard output or whole into a file.

use std::path::Path;

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::local_status::LocalStatus;
use super::place;
use crate::report::openmetrics;
use crate::report::watch::Watch;
use crate::system::clock;

/// Prints all metrics, or writes them to `file`, atomically: who collects files must never read half of one.
pub fn metrics(global: &Global, file: Option<&Path>, console: Console) -> Result<u8, Failure> {
    let look = LocalStatus::read(global)?;
    let text = openmetrics::text(&Watch::new(look.seen(), clock::now()));
    match file {
        None => console.print_text(&text)?,
        Some(file) => {
            let path = std::path::absolute(file).map_err(|error| {
                Failure::because(format!("cannot use {}", file.display()), error)
            })?;
            // Read by whoever collects; there is no secret in it.
            place::files(global)?.write(&path, text.as_bytes(), 0o644)?;
        }
    }
    Ok(0)
}
