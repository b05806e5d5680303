//! `agentctl db status`.

use serde::Serialize;

use super::super::args::Global;
use super::super::console::Console;
use super::super::failure::Failure;
use super::super::{local_status, place};
use super::NOT_RUNNING;
use crate::control::client::{self, ControlError};
use crate::fleet::Name;
use crate::report::text::{self, ago};
use crate::report::{DatabaseStatus, Status};
use crate::system::clock;
use crate::system::file::Files;

#[derive(Serialize)]
struct DatabasesOutput<'a> {
    format: u32,
    databases: &'a [&'a DatabaseStatus],
    /// Whether the agent said it now; else it is what it last wrote.
    live: bool,
}

/// Says how the databases are, or one cluster's: by its name, or by that of a product on it.
pub fn status(global: &Global, product: Option<&Name>, console: Console) -> Result<u8, Failure> {
    let root = place::root(global)?;
    let (status, live) = match client::status(&root) {
        Ok(status) => (status, true),
        Err(error) => {
            let last = local_status::last_written(&Files::new(root.clone())).unwrap_or_default();
            let Some(last) = last else {
                let code = match error {
                    ControlError::NotRunning { .. } => NOT_RUNNING,
                    _ => 1,
                };
                let mut failure = Failure::from(error);
                failure.code = code;
                return Err(failure);
            };
            let written = ago(last.written, clock::now());
            console.note(&format!("{error}\nthis is what it said {written}"));
            (last, false)
        }
    };
    let databases = chosen(&status, product)?;
    let said = DatabasesOutput {
        format: 1,
        databases: &databases,
        live,
    };
    console.print(&said, |paint| {
        let now = clock::now();
        let all: Vec<String> = (databases.iter())
            .map(|database| text::database(database, now, paint))
            .collect();
        all.join("\n")
    })?;
    let well = live && databases.iter().all(|database| is_well(database));
    Ok(u8::from(!well))
}

/// A master that is heard of, and nothing that a person must do.
fn is_well(database: &DatabaseStatus) -> bool {
    let trouble = (database.lease.as_ref()).is_some_and(|lease| lease.trouble.is_some());
    database.master.is_some() && database.alarms.is_empty() && !trouble
}

fn chosen<'s>(
    status: &'s Status,
    product: Option<&Name>,
) -> Result<Vec<&'s DatabaseStatus>, Failure> {
    let all: Vec<&DatabaseStatus> = status.databases.iter().collect();
    if all.is_empty() {
        return Err(Failure::new("no product of this machine has a database")
            .hint("ask a machine that carries the product: its web servers know the lease, its database servers all"));
    }
    let Some(product) = product else {
        return Ok(all);
    };
    let one: Vec<&DatabaseStatus> = (all.iter().copied())
        .filter(|database| database.is_called(product))
        .collect();
    if one.is_empty() {
        let names: std::collections::BTreeSet<&str> = (all.iter())
            .flat_map(|database| database.products.iter().chain([&database.product]))
            .map(Name::as_str)
            .collect();
        let names: Vec<&str> = names.into_iter().collect();
        return Err(
            Failure::new(format!("this machine knows no database of {product}"))
                .hint(format!("it knows those of {}", names.join(", "))),
        );
    }
    Ok(one)
}
