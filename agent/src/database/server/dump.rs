//! The dump tool and the client that reads dumps: their command lines, how they reach a server, where a dump was made.
//!
//! Not what is done with a dump: that is for those who copy servers and those who keep snapshots.

use std::path::Path;
use std::time::Duration;

use super::super::gtid::{Flavour, Gtids};
use super::credentials::Account;
use super::error::ServerError;
use super::instance::Server;
use super::session::{Place, Session, Statement, Target};
use crate::system::command::{CommandError, CommandLine, Running};

/// One step of a dump without any progress, and one question that may be long.
pub(in crate::database) const LONG: Duration = Duration::from_mins(10);
/// So much of a dump is looked through for its position.
pub(in crate::database) const HEAD: usize = 64 * 1024;

/// What is each server's own, and no part of a copy.
pub(in crate::database) const OWN_SCHEMAS: &str =
    "'mysql', 'information_schema', 'performance_schema', 'sys', 'agentd_local'";

/// The tools, by their new names and the old ones.
const DUMP: [&str; 2] = ["/usr/bin/mariadb-dump", "/usr/bin/mysqldump"];
const CLIENT: [&str; 2] = ["/usr/bin/mariadb", "/usr/bin/mysql"];

/// Where in a server's binary log a dump was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinates {
    /// The binary log's file.
    pub file: String,
    /// The offset in it, in bytes.
    pub offset: u64,
}

/// The names in a table of `information_schema`, without what is each server's own.
pub(in crate::database) async fn names(
    session: &Session,
    column: &str,
    table: &str,
    condition: &str,
) -> Result<Vec<String>, ServerError> {
    let schema = if table == "SCHEMATA" {
        "SCHEMA_NAME"
    } else {
        "TABLE_SCHEMA"
    };
    let question = Statement::new(format!(
        "SELECT {column} AS name FROM information_schema.{table} WHERE {schema} NOT IN ({OWN_SCHEMAS}) AND {condition} \
         ORDER BY 1"
    ));
    let rows = session.ask(&question, LONG).await?;
    let names = rows.iter().filter_map(|row| row.get("name"));
    Ok(names.map(str::to_owned).collect())
}

/// The tables of which no copy as of one moment can be made while they are written: those that are not in `InnoDB`.
pub(in crate::database) async fn not_of_one_moment(
    session: &Session,
) -> Result<Vec<String>, ServerError> {
    names(
        session,
        "CONCAT(TABLE_SCHEMA, '.', TABLE_NAME)",
        "TABLES",
        "TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND COALESCE(ENGINE, '') <> 'InnoDB'",
    )
    .await
}

/// A name as statements have it.
pub(in crate::database) fn ticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The first of these programs that is there. The error names them all.
pub(in crate::database) fn tool(names: &[&str]) -> Result<String, String> {
    let found = names.iter().find(|path| Path::new(path).exists());
    found
        .map(|&path| path.to_owned())
        .ok_or_else(|| format!("none of these programs is there: {}", names.join(", ")))
}

/// The variable by which a tool learns an account's password: arguments can be read by everybody.
pub(in crate::database) fn secret(account: &Account) -> Option<(&str, &str)> {
    let password = account.password.reveal();
    (!password.is_empty()).then_some(("MYSQL_PWD", password))
}

/// How a tool reaches a server. No option file of the machine has a say.
fn reach(place: &Place) -> Vec<String> {
    let mut words = vec!["--no-defaults".to_owned()];
    match &place.target {
        Target::Socket(path) => {
            words.push("--protocol=socket".to_owned());
            words.push(format!("--socket={}", path.display()));
        }
        Target::Tcp(address) => {
            words.push("--protocol=tcp".to_owned());
            words.push(format!("--host={}", address.ip()));
            words.push(format!("--port={}", address.port()));
            if let Some(tls) = &place.tls {
                // Servers are known by address, which database certificates rarely name.
                words.push(format!("--ssl-ca={}", tls.ca.display()));
                words.push("--ssl".to_owned());
                words.push("--skip-ssl-verify-server-cert".to_owned());
            }
        }
    }
    words.push(format!("--user={}", place.account.user));
    words.push("--default-character-set=utf8mb4".to_owned());
    words.push("--max-allowed-packet=1G".to_owned());
    words
}

/// The dump of these databases, as of one moment. `with_position`: its head says where in the binary log that is.
pub(in crate::database) fn dump(
    place: &Place,
    databases: &[String],
    with_position: bool,
) -> Result<CommandLine, String> {
    if databases.is_empty() {
        return Err("the server has no databases: there is nothing to copy".to_owned());
    }
    let mut words = vec![tool(&DUMP)?];
    words.extend(reach(place));
    let how = [
        "--single-transaction",
        "--quick",
        "--routines",
        "--triggers",
        "--events",
        "--hex-blob",
    ];
    words.extend(how.map(str::to_owned));
    if with_position {
        words.push("--master-data=2".to_owned());
    }
    words.extend(["--databases", "--"].map(str::to_owned));
    words.extend(databases.iter().cloned());
    Ok(CommandLine::new(words, LONG))
}

/// The client that reads a dump; what it does is not logged.
pub(in crate::database) fn client(place: &Place) -> Result<CommandLine, String> {
    let mut words = vec![tool(&CLIENT)?];
    words.extend(reach(place));
    let how = [
        "--batch",
        // Or it would change line ends within routines.
        "--binary-mode",
        "--init-command=SET SESSION sql_log_bin = 0",
    ];
    words.extend(how.map(str::to_owned));
    Ok(CommandLine::new(words, LONG))
}

/// The beginning of a dump, up to the place in the binary log at which it was made.
pub(in crate::database) async fn head(dump: &mut Running) -> Result<Vec<u8>, CommandError> {
    let mut head = Vec::new();
    let mut chunk = vec![0; HEAD];
    loop {
        let count = dump.read(&mut chunk).await?;
        head.extend(chunk.iter().take(count));
        if count == 0 || head.len() > HEAD || coordinates(&head).is_some() {
            return Ok(head);
        }
    }
}

/// The binary log's file and offset at which a dump was made, from its beginning.
pub(in crate::database) fn coordinates(head: &[u8]) -> Option<Coordinates> {
    let text = String::from_utf8_lossy(head);
    let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest.to_owned());
    let rest = after("\n-- CHANGE MASTER TO MASTER_LOG_FILE='")?;
    let (file, rest) = rest.split_once("', MASTER_LOG_POS=")?;
    let (offset, _) = rest.split_once(';')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = !file.is_empty() && file.chars().all(plain);
    is_name
        .then(|| offset.parse().ok())?
        .map(|offset| Coordinates {
            file: file.to_owned(),
            offset,
        })
}

impl Server {
    /// The position of a dump that was made at this place of this server's binary log; `None`: the server does not tell.
    pub(in crate::database) async fn position_at(
        &self,
        place: &Coordinates,
    ) -> Result<Option<Gtids>, ServerError> {
        let Coordinates { file, offset } = place;
        let question = Statement::new(format!(
            "SELECT BINLOG_GTID_POS('{file}', {offset}) AS position"
        ));
        let rows = self.observer().ask(&question, LONG).await?;
        let text = rows.first().and_then(|row| row.get("position"));
        Ok(text.and_then(|text| Gtids::parse(Flavour::MariaDb, text).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_says_where_it_was_made() {
        let head = b"-- MariaDB dump\n-- CHANGE MASTER TO MASTER_USE_GTID=slave_pos;\n\n--\n\
            \n-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000003', MASTER_LOG_POS=3491;\n\nCREATE";
        let found = coordinates(head).unwrap();
        assert_eq!((found.file.as_str(), found.offset), ("binlog.000003", 3491));
        let cut = b"\n-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000003', MASTER_LOG_POS=34";
        assert_eq!(coordinates(cut), None);
        let evil = b"\n-- CHANGE MASTER TO MASTER_LOG_FILE='b', 1); DROP', MASTER_LOG_POS=34;";
        assert_eq!(coordinates(evil), None);
        assert_eq!(ticked("a`b"), "`a``b`");
    }
}
