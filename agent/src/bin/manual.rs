//! The door of what makes the manual pages. Not installed: packages contain what it prints.

use std::process::ExitCode;

fn main() -> ExitCode {
    node_agent::manual::main()
}
