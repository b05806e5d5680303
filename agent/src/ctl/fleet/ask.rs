//! Questions to whoever sits at the desk.

use std::io::{BufRead, IsTerminal, stdin};

use super::super::console::Console;
use super::super::failure::Failure;

/// Whether the person says yes. Where nobody can be asked, that is an error, not a no.
pub(in crate::ctl) fn yes(question: &str, console: Console) -> Result<bool, Failure> {
    if !stdin().is_terminal() {
        return Err(
            Failure::new("nobody can be asked here: standard input is no terminal")
                .hint("--yes does it without asking"),
        );
    }
    console.progress(&format!("{question} [y/N]"));
    let mut answer = String::new();
    stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::because("cannot read the answer", error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
