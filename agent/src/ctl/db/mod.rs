//! `agentctl db`: the databases of this machine's products, and what a person orders of them.

mod order;
mod status;

use super::args::{DbCommand, Global};
use super::console::Console;
use super::failure::Failure;

/// What the commands exit with where the agent does not run (contract).
const NOT_RUNNING: u8 = 3;

/// Shows, or gives an order.
pub fn db(global: &Global, command: &DbCommand, console: Console) -> Result<u8, Failure> {
    match (command, command.ask()) {
        (_, Some(ask)) => order::order(global, ask, console),
        (DbCommand::Status { product }, None) => status::status(global, product.as_ref(), console),
        // Every other command is an order.
        (_, None) => status::status(global, None, console),
    }
}
