//! `agentctl completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Args;
use super::console::Console;
use super::failure::Failure;

/// Prints a shell's completions.
pub fn completions(shell: Shell, console: Console) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "agentctl", &mut script);
    console.print_text(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
