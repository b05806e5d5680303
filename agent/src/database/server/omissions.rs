//! What makes a replica lack what its source has without a word: filters, errors that are skipped, engines that keep no rows.
//! Looked for, and told; nothing is changed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::audit::AuditFinding;
use super::error::ServerError;
use super::instance::Server;
use super::replicate::SYSTEM_SCHEMAS;
use super::session::{Row, Statement};

/// Names of tables that are told; the others are counted.
const TOLD: usize = 5;

const FILTERED: &str = "what is filtered is not here: a master with this server's data would lack it, and nobody would say so";
const UNLOGGED: &str = "what is committed there reaches no replica, and is lost when the master is";
const SKIPPED: &str =
    "a transaction that fails here is left out, and the data is another from then on";

/// A setting by which transactions are left out, its value where none is, and what it does.
const VARIABLES: [(&str, &str, &str); 13] = [
    ("replicate_do_db", "", FILTERED),
    ("replicate_do_table", "", FILTERED),
    ("replicate_ignore_db", "", FILTERED),
    ("replicate_ignore_table", "", FILTERED),
    ("replicate_wild_do_table", "", FILTERED),
    ("replicate_wild_ignore_table", "", FILTERED),
    ("replicate_rewrite_db", "", FILTERED),
    ("slave_skip_errors", "OFF", SKIPPED),
    ("replica_skip_errors", "OFF", SKIPPED),
    ("slave_exec_mode", "STRICT", SKIPPED),
    ("replica_exec_mode", "STRICT", SKIPPED),
    ("sql_slave_skip_counter", "0", SKIPPED),
    ("sql_replica_skip_counter", "0", SKIPPED),
];

/// Columns of what a replica says of its replication.
const COLUMNS: [&str; 9] = [
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
    "Replicate_Do_Domain_Ids",
    "Replicate_Ignore_Domain_Ids",
];

/// Engines of tables whose rows are not where replication puts them: whether a master with them would lack something, and why.
const ENGINES: [(&str, bool, &str); 6] = [
    (
        "BLACKHOLE",
        true,
        "it takes rows and keeps none: a master with it would have none of them",
    ),
    (
        "MEMORY",
        false,
        "it is empty after each start, and a replica that was started then lacks what the master has",
    ),
    (
        "FEDERATED",
        false,
        "its rows are on another server, and each server of the chain writes them there once more",
    ),
    (
        "CONNECT",
        false,
        "its rows are outside of this server, and each server of the chain writes them there once more",
    ),
    (
        "SPIDER",
        false,
        "its rows are on other servers, and each server of the chain writes them there once more",
    ),
    (
        "S3",
        false,
        "its rows are in a bucket, and each server of the chain writes them there once more",
    ),
];

/// What `server` leaves out of what it receives, or keeps from its replicas.
pub async fn filters(
    server: &Server,
    deadline: Duration,
) -> Result<Vec<AuditFinding>, ServerError> {
    let dialect = server.dialect(deadline).await?;
    let names: Vec<String> = (VARIABLES.iter())
        .map(|(name, ..)| format!("'{name}'"))
        .collect();
    let question = format!(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
        names.join(", ")
    );
    let variables = server
        .observer()
        .ask(&Statement::new(question), deadline)
        .await?;
    let replication = server
        .observer()
        .ask(&dialect.replication(), deadline)
        .await?;
    let log = server.observer().ask(&dialect.log_end(), deadline).await?;
    Ok(judge(&variables, &replication, &log))
}

/// Tables of `server` whose engines keep no rows, or keep them elsewhere. Looks at each table: a few times a day is enough.
pub async fn engines(
    server: &Server,
    deadline: Duration,
) -> Result<Vec<AuditFinding>, ServerError> {
    let names: Vec<String> = (ENGINES.iter())
        .map(|(name, ..)| format!("'{name}'"))
        .collect();
    let question = format!(
        "SELECT ENGINE AS engine, CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) AS name FROM information_schema.TABLES \
         WHERE ENGINE IN ({}) AND TABLE_SCHEMA NOT IN ({SYSTEM_SCHEMAS}) ORDER BY 1, 2",
        names.join(", ")
    );
    let rows = server
        .observer()
        .ask(&Statement::new(question), deadline)
        .await?;
    Ok(judge_engines(&rows))
}

fn judge(variables: &[Row], replication: &[Row], log: &[Row]) -> Vec<AuditFinding> {
    let finding = |setting: &str, is: &str, why: &str, grave| AuditFinding {
        setting: setting.to_owned(),
        is: is.to_owned(),
        want: String::new(),
        why: why.to_owned(),
        grave,
    };
    let mut findings = Vec::new();
    for row in variables {
        let name = row.get("Variable_name").unwrap_or_default();
        let is = row.get("Value").unwrap_or_default();
        let known = VARIABLES.iter().find(|(known, ..)| *known == name);
        if let Some((_, right, why)) = known
            && !is.is_empty()
            && is != *right
        {
            findings.push(finding(name, is, why, true));
        }
    }
    let told = |findings: &[AuditFinding], column: &str| {
        let same = |it: &AuditFinding| it.setting.eq_ignore_ascii_case(column);
        findings.iter().any(same)
    };
    for (row, column) in (replication.iter()).flat_map(|row| COLUMNS.map(|column| (row, column))) {
        let is = row.get(column).unwrap_or_default();
        if !is.is_empty() && !told(&findings, column) {
            findings.push(finding(column, is, FILTERED, true));
        }
    }
    for column in ["Binlog_Do_DB", "Binlog_Ignore_DB"] {
        let is = log.first().and_then(|row| row.get(column));
        if let Some(is) = is.filter(|is| !is.is_empty()) {
            findings.push(finding(column, is, UNLOGGED, true));
        }
    }
    findings
}

fn judge_engines(rows: &[Row]) -> Vec<AuditFinding> {
    let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows {
        if let (Some(engine), Some(name)) = (row.get("engine"), row.get("name")) {
            tables.entry(engine).or_default().push(name);
        }
    }
    let finding = |(engine, grave, why): &(&str, bool, &str)| {
        let names = tables.get(engine)?;
        let first: Vec<&str> = names.iter().take(TOLD).copied().collect();
        let more = names.len().saturating_sub(TOLD);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Some(AuditFinding {
            setting: format!("engine of {}{more}", first.join(", ")),
            is: (*engine).to_owned(),
            want: String::new(),
            why: (*why).to_owned(),
            grave: *grave,
        })
    };
    ENGINES.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(&'static str, &'static str)]) -> Row {
        pairs.iter().copied().collect()
    }

    fn variable(name: &'static str, value: &'static str) -> Row {
        row(&[("Variable_name", name), ("Value", value)])
    }

    #[test]
    fn a_server_that_leaves_nothing_out_has_no_findings() {
        let variables = [
            variable("replicate_do_db", ""),
            variable("slave_skip_errors", "OFF"),
            variable("slave_exec_mode", "STRICT"),
            variable("sql_slave_skip_counter", "0"),
        ];
        let replication = [row(&[
            ("Replicate_Do_DB", ""),
            ("Replicate_Do_Domain_Ids", ""),
        ])];
        let log = [row(&[("File", "binlog.1"), ("Binlog_Do_DB", "")])];
        assert_eq!(judge(&variables, &replication, &log), []);
        assert_eq!(judge(&[], &[], &[]), []);
    }

    #[test]
    fn each_way_of_leaving_something_out_is_told_once() {
        let variables = [
            variable("replicate_wild_ignore_table", "shop.cache%"),
            variable("slave_skip_errors", "1062"),
            variable("slave_exec_mode", "IDEMPOTENT"),
        ];
        let replication = [row(&[
            ("Replicate_Wild_Ignore_Table", "shop.cache%"),
            ("Replicate_Ignore_Domain_Ids", "7"),
        ])];
        let log = [row(&[("Binlog_Ignore_DB", "logs")])];
        let found = judge(&variables, &replication, &log);
        let names: Vec<&str> = found.iter().map(|it| it.setting.as_str()).collect();
        assert_eq!(
            names,
            [
                "replicate_wild_ignore_table",
                "slave_skip_errors",
                "slave_exec_mode",
                "Replicate_Ignore_Domain_Ids",
                "Binlog_Ignore_DB"
            ]
        );
        assert!(found.iter().all(|it| it.grave));
    }

    #[test]
    fn tables_without_rows_are_named_and_the_rest_counted() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let mut rows: Vec<Row> = (names.iter())
            .map(|&name| row(&[("engine", "BLACKHOLE"), ("name", name)]))
            .collect();
        rows.push(row(&[("engine", "MEMORY"), ("name", "shop.sessions")]));
        let found = judge_engines(&rows);
        assert_eq!(found[0].setting, "engine of a, b, c, d, e and 2 more");
        assert!(found[0].grave && !found[1].grave);
    }
}
