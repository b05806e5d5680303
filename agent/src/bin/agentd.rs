//! The door of the daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    node_agent::daemon::main()
}
