//! The transactions that one server has and another lacks, saved as statements that a person can read and apply.
//!
//! Taken from this machine's own binary logs with the server's own tool. Nothing is sent anywhere, and nothing removed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::gtid::{Flavour, Gtids};
use super::error::ServerError;
use super::instance::Server;
use super::session::Statement;
use crate::system::command::{self, CommandError, CommandLine};

/// The surplus could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SurplusError {
    /// The server did not say where its logs are.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The tool failed, or overran its deadline.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It keeps no binary log.
    #[error("{0} has no binary log: what it has too much cannot be told from the rest")]
    NoLog(String),
}

/// Writes what `server`, which must be on this machine, has beyond `other` into the file `into`, as the server's own
/// tool prints it.
///
/// It begins after the last transaction that both have: a position that the logs here do not have, such as the other's own
/// last one, is an error to the tool.
///
/// `tool` is `mariadb-binlog` or `mysqlbinlog`, absolute. `MariaDB` from 10.8 on starts at the transaction itself;
/// older ones and their tool refuse, and the error is theirs.
pub async fn save(
    server: &Server,
    other: &Gtids,
    tool: &Path,
    into: &Path,
    patience: Duration,
) -> Result<(), SurplusError> {
    let logs = logs(server, patience).await?;
    let own = server.observe(patience).await?.executed;
    let line = line(
        server.dialect(patience).await?.flavour(),
        &logs,
        &own.common(other),
        tool,
        into,
        patience,
    );
    command::run(&line).await?.checked(&line)?;
    Ok(())
}

async fn logs(server: &Server, patience: Duration) -> Result<Vec<PathBuf>, SurplusError> {
    let base = Statement::new("SELECT @@global.log_bin_basename AS base");
    let rows = server.observer().ask(&base, patience).await?;
    let none = || SurplusError::NoLog(server.name().to_owned());
    let base = rows
        .first()
        .and_then(|row| row.get("base"))
        .ok_or_else(none)?;
    let directory = Path::new(base).parent().ok_or_else(none)?;
    let list = Statement::new("SHOW BINARY LOGS");
    let rows = server.observer().ask(&list, patience).await?;
    let names = rows.iter().filter_map(|row| row.get("Log_name"));
    Ok(names.map(|name| directory.join(name)).collect())
}

fn line(
    flavour: Flavour,
    logs: &[PathBuf],
    common: &Gtids,
    tool: &Path,
    into: &Path,
    patience: Duration,
) -> CommandLine {
    let from = match flavour {
        Flavour::MariaDb => format!("--start-position={common}"),
        Flavour::MySql => format!("--exclude-gtids={common}"),
    };
    let mut words = vec![tool.display().to_string()];
    // The tool knows no empty position. Where they share nothing, all is surplus.
    words.extend((!common.is_empty()).then_some(from));
    // With the rows as comments that a person can read; what is applied is the same.
    words.push("--verbose".to_owned());
    words.push(format!("--result-file={}", into.display()));
    words.extend(logs.iter().map(|path| path.display().to_string()));
    CommandLine::new(words, patience)
}
