//! `agentctl db`: the databases of this machine's products, what a person orders of them, and their snapshots in the bucket.

mod bucket;
mod find;
mod forward;
mod order;
mod prune;
mod restore;
mod snapshots;
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
        (DbCommand::Snapshots { product, place }, None) => {
            snapshots::snapshots(global, product.as_ref(), place, console)
        }
        (
            DbCommand::Find {
                product,
                text,
                since,
                place,
            },
            None,
        ) => find::find(global, product, text, *since, place, console),
        (DbCommand::Restore(wanted), None) => restore::restore(global, wanted, console),
        (
            DbCommand::Prune {
                product,
                keep,
                noop,
                yes,
                place,
            },
            None,
        ) => {
            let how = prune::How {
                keep,
                noop: *noop,
                yes: *yes,
            };
            prune::prune(global, product, &how, place, console)
        }
        // Every other command is an order.
        (_, None) => status::status(global, None, console),
    }
}
