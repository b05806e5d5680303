//! The door.

use std::process::ExitCode;

fn main() -> ExitCode {
    node_agent::ctl::main()
}
