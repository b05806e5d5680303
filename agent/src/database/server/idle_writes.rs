//! Transactions of a replica's own that change nothing: `FLUSH TABLES`, `mariadb-check --analyze`, typed by root on the wrong
//! server. Each has a number in the binary log, so that a strict replica stops at the next transaction of its master.
//!
//! Whether they are of that kind is read from the log as the server's own tool prints it. Whatever is not known to change
//! nothing is taken for a change.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use super::super::gtid::Flavour;
use super::error::ServerError;
use super::instance::{Server, within};
use super::observation::ThreadState;
use super::session::Statement;

/// What statements begin with that change no row, in upper case.
const IDLE: [&str; 6] = [
    "FLUSH ",
    // `ANALYZE UPDATE` is an update.
    "ANALYZE TABLE ",
    "BEGIN",
    "START TRANSACTION",
    "COMMIT",
    "ROLLBACK",
];
/// What the tool writes around them: variables of the session alone, for `SET PASSWORD` is a change.
const FRAME: [&str; 8] = [
    "SET @",
    "SET TIMESTAMP=",
    "SET INSERT_ID=",
    "SET LAST_INSERT_ID=",
    "SET COMPLETION_TYPE=",
    "USE ",
    "DELIMITER ",
    "\\C ",
];
/// Databases whose rows are the server's own, or the agent's.
const OWN: [&str; 2] = ["agentd", "agentd_local"];
/// Tables of statistics, which are each server's own.
const STATISTICS: [&str; 5] = [
    "table_stats",
    "column_stats",
    "index_stats",
    "innodb_table_stats",
    "innodb_index_stats",
];

/// Whether the transactions that a tool has printed into this file change nothing that people have.
pub fn change_nothing(file: &Path) -> io::Result<bool> {
    let mut statement = String::new();
    for line in BufReader::new(File::open(file)?).lines() {
        let line = line?;
        let line = line.trim();
        if let Some(row) = line.strip_prefix("### ") {
            if !is_own_row(row) {
                return Ok(false);
            }
        } else if line.is_empty() || line.starts_with(['#', '-']) {
            // Comments.
        } else {
            // A statement of several lines is judged as one: it ends with the delimiter.
            let ends = line == "/*!*/;" || line.ends_with(';');
            if line != "/*!*/;" {
                statement.push_str(line);
                statement.push(' ');
            }
            if ends && !is_idle(&std::mem::take(&mut statement)) {
                return Ok(false);
            }
        }
    }
    Ok(is_idle(&statement))
}

/// A line of a row: of its head it is said whose row it is; what follows says no more.
fn is_own_row(line: &str) -> bool {
    let head = ["INSERT INTO ", "UPDATE ", "DELETE FROM "];
    let Some(table) = head.iter().find_map(|head| line.strip_prefix(head)) else {
        return true;
    };
    let names: Vec<&str> = table
        .split('.')
        .map(|name| name.trim_matches('`'))
        .collect();
    match names[..] {
        [database, table] => {
            OWN.contains(&database) || database == "mysql" && STATISTICS.contains(&table)
        }
        _ => false,
    }
}

fn is_idle(statement: &str) -> bool {
    let mut rest = statement.trim();
    // `/*!50003 SET … */` and `/*M!100001 SET … */` are statements in comments; other comments are none.
    while let Some((comment, after)) = rest
        .strip_prefix("/*")
        .and_then(|rest| rest.split_once("*/"))
    {
        if let Some(inner) = comment
            .strip_prefix('!')
            .or_else(|| comment.strip_prefix("M!"))
        {
            let inner = inner.trim_start_matches(|c: char| c.is_ascii_digit());
            if !is_idle(inner) {
                return false;
            }
        }
        rest = after.trim_start_matches([';', ' ']);
    }
    let upper = rest.to_ascii_uppercase();
    // The rows of a `BINLOG` statement are told as comments, too.
    upper.is_empty()
        || upper.starts_with("BINLOG '")
        || IDLE
            .iter()
            .chain(&FRAME)
            .any(|word| upper.starts_with(word))
}

impl Server {
    /// Forgets what this replica has and `upstream`, the master, lacks, without a copy of anything: its binary log is emptied and
    /// begins where the two part. Only where what it has too much changes nothing.
    ///
    /// Replicas that hang on this one go on where they hang only if they are level with it.
    pub async fn forget_idle_writes(
        &self,
        upstream: &Self,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let refuse = |why: &str| ServerError::Unsafe {
            place: self.name().to_owned(),
            why: why.to_owned(),
        };
        let forget = async {
            let own = self.observe(deadline).await?;
            let Some(replication) = &own.replication else {
                return Err(refuse("it has no source configured"));
            };
            if own.flavour != Flavour::MariaDb {
                return Err(refuse(
                    "this is not known to be safe with MySQL: agentctl db rejoin --discard",
                ));
            }
            if !own.read_only {
                return Err(refuse("it accepts writes; SET GLOBAL read_only = 1 first"));
            }
            let tell = async |sql: &str| self.admin().tell(&Statement::new(sql), deadline).await;
            if replication.io.state != ThreadState::Stopped
                || replication.sql.state != ThreadState::Stopped
            {
                tell("STOP SLAVE").await?;
            }
            // Looked at when it stands, and the source after it, or it would ask for the last transactions once more. What it
            // applied of another replica's own writes counts as replicated to it, and not to the source.
            let own = self.observe(deadline).await?;
            let other = upstream.observe(deadline).await?;
            let position = own.executed.common(&other.executed);
            if position.is_empty() {
                return Err(refuse("it shares no transaction with its source"));
            }
            for statement in [
                "RESET MASTER".to_owned(),
                format!("SET GLOBAL gtid_slave_pos = '{position}'"),
                format!("SET GLOBAL gtid_binlog_state = '{position}'"),
                "START SLAVE".to_owned(),
            ] {
                tell(&statement).await?;
            }
            Ok(())
        };
        within(deadline, self.name(), "forgetting its own writes", forget).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harmless(text: &str) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("surplus.sql");
        #[expect(clippy::disallowed_methods, reason = "a scratch file")]
        std::fs::write(&file, text).unwrap();
        change_nothing(&file).unwrap()
    }

    const HEAD: &str = "/*!50530 SET @@SESSION.PSEUDO_SLAVE_MODE=1*/;\n/*!40019 SET @@session.max_delayed_threads=0*/;\n\
        /*!50003 SET @OLD_COMPLETION_TYPE=@@COMPLETION_TYPE,COMPLETION_TYPE=0*/;\nDELIMITER /*!*/;\n# at 4\n#261130 14:00:00 server id 32  end_log_pos 256 CRC32 0x1 \tStart: binlog v 4\nROLLBACK/*!*/;\n";

    #[test]
    fn what_changes_no_row_is_told_from_what_does() {
        assert!(harmless(HEAD));
        assert!(harmless(&format!(
            "{HEAD}# GTID 0-32-7\n/*M!100001 SET @@session.gtid_seq_no=7*//*!*/;\nSET TIMESTAMP=1/*!*/;\n/*!\\C utf8mb3 *//*!*/;\nFLUSH TABLES\n/*!*/;\n\
             use `shop`/*!*/;\nSET TIMESTAMP=2/*!*/;\nANALYZE TABLE `orders`\n/*!*/;\nDELIMITER ;\n# End of log file\n\
             ROLLBACK /* added by mysqlbinlog */;\n/*!50003 SET COMPLETION_TYPE=@OLD_COMPLETION_TYPE*/;\n"
        )));
        assert!(harmless(&format!(
            "{HEAD}START TRANSACTION\n/*!*/;\nBINLOG '\nAAAA\nBBBB\n'/*!*/;\n### UPDATE `agentd`.`heartbeat`\n### WHERE\n###   @1='shop'\nCOMMIT\n/*!*/;\n"
        )));
        for statement in [
            "CREATE TABLE x (id INT)",
            "INSERT INTO shop.orders VALUES (1)",
            "DROP TABLE\nshop.orders",
            "/*!40000 DROP TABLE x */",
            "FLUSHED",
            "SET PASSWORD FOR 'a'@'b' = 'c'",
            "SET STATEMENT max_statement_time=1 FOR DELETE FROM shop.orders",
            "ANALYZE UPDATE shop.orders SET id = 1",
            "/*M!100100 DROP TABLE x */",
        ] {
            assert!(
                !harmless(&format!("{HEAD}{statement}\n/*!*/;\n")),
                "{statement}"
            );
        }
        for row in [
            "INSERT INTO `shop`.`orders`",
            "DELETE FROM `mysql`.`global_priv`",
            "UPDATE `a.b`.`agentd`",
        ] {
            let text = format!("{HEAD}BINLOG '\nAAAA\n'/*!*/;\n### {row}\n### SET\n###   @1=1\n");
            assert!(!harmless(&text), "{row}");
        }
    }
}
