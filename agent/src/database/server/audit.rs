//! What a server's own configuration must say before anything is staked on it: checked, and told with the line to write.
//!
//! Two kinds of settings: those that hold now (variables of the running server) and those that hold at its next start
//! (option files). The second matter as much: a server that is killed and started again by its unit must come up
//! read-only, and not follow anybody, or it is a second master for as long as nobody looks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::gtid::Flavour;
use super::error::ServerError;
use super::instance::Server;
use super::session::{Row, Statement};
use crate::system::command::{self, CommandError, CommandLine};

/// One setting that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// Its name.
    pub setting: String,
    /// What it is.
    pub is: String,
    /// What it must be, as a line of the option file.
    pub want: String,
    /// What happens otherwise.
    pub why: String,
    /// No automation with this: two masters, or lost transactions, could come of it.
    pub grave: bool,
}

/// A setting, how it must be, and why.
struct Rule {
    setting: &'static str,
    right: fn(&str) -> bool,
    want: &'static str,
    why: &'static str,
    grave: bool,
}

fn on(value: &str) -> bool {
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "")
}

fn one(value: &str) -> bool {
    value == "1"
}

const LOGGED: &str = "without a binary log nothing can replicate";
const CHAINED: &str = "without it the second of the chain receives nothing from the first";
const STRICT: &str = "without it two histories mix without a word";
const DURABLE: &str =
    "a power cut loses transactions that were acknowledged, and replicas may have them";

const MARIADB: [Rule; 7] = [
    Rule {
        setting: "log_bin",
        right: on,
        want: "log_bin = binlog",
        why: LOGGED,
        grave: true,
    },
    Rule {
        setting: "log_slave_updates",
        right: on,
        want: "log_slave_updates = 1",
        why: CHAINED,
        grave: true,
    },
    Rule {
        setting: "gtid_strict_mode",
        right: on,
        want: "gtid_strict_mode = 1",
        why: STRICT,
        grave: true,
    },
    Rule {
        setting: "sync_binlog",
        right: one,
        want: "sync_binlog = 1",
        why: DURABLE,
        grave: false,
    },
    Rule {
        setting: "innodb_flush_log_at_trx_commit",
        right: one,
        want: "innodb_flush_log_at_trx_commit = 1",
        why: DURABLE,
        grave: false,
    },
    Rule {
        setting: "binlog_format",
        right: |value| value != "STATEMENT",
        want: "binlog_format = ROW",
        why: "statements may do something else on a replica",
        grave: false,
    },
    Rule {
        setting: "server_id",
        right: |value| !matches!(value, "0" | "1"),
        want: "server_id = a number of its own, such as its IPv4 address as one number",
        why: "it is the default, which the next server has as well",
        grave: false,
    },
];

const MYSQL: [Rule; 7] = [
    Rule {
        setting: "log_bin",
        right: on,
        want: "log_bin = binlog",
        why: LOGGED,
        grave: true,
    },
    Rule {
        setting: "log_replica_updates",
        right: on,
        want: "log_replica_updates = ON",
        why: CHAINED,
        grave: true,
    },
    Rule {
        setting: "gtid_mode",
        right: |value| value == "ON",
        want: "gtid_mode = ON",
        why: STRICT,
        grave: true,
    },
    Rule {
        setting: "enforce_gtid_consistency",
        right: on,
        want: "enforce_gtid_consistency = ON",
        why: STRICT,
        grave: true,
    },
    Rule {
        setting: "sync_binlog",
        right: one,
        want: "sync_binlog = 1",
        why: DURABLE,
        grave: false,
    },
    Rule {
        setting: "innodb_flush_log_at_trx_commit",
        right: one,
        want: "innodb_flush_log_at_trx_commit = 1",
        why: DURABLE,
        grave: false,
    },
    Rule {
        setting: "server_id",
        right: |value| !matches!(value, "0" | "1"),
        want: "server_id = a number of its own, such as its IPv4 address as one number",
        why: "it is the default, which the next server has as well",
        grave: false,
    },
];

/// What must stand in an option file, for the next start.
const AT_BOOT: [Rule; 2] = [
    Rule {
        setting: "read_only",
        right: on,
        want: "read_only = 1",
        why: "after a crash its unit starts it again, writable, while another one may be the master",
        grave: true,
    },
    Rule {
        setting: "skip_slave_start",
        right: on,
        want: "skip_slave_start",
        why: "at its start it throws away what it received and had not applied, even if its source is gone",
        grave: false,
    },
];

/// What the running server's variables say wrongly.
pub async fn running(
    server: &Server,
    deadline: Duration,
) -> Result<Vec<AuditFinding>, ServerError> {
    let flavour = server.dialect(deadline).await?.flavour();
    let rules = rules(flavour);
    let names: Vec<String> = rules
        .iter()
        .map(|rule| format!("'{}'", rule.setting))
        .collect();
    let question = format!(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
        names.join(", ")
    );
    let rows = server
        .observer()
        .ask(&Statement::new(question), deadline)
        .await?;
    Ok(judge(
        rules,
        |setting| variable(&rows, setting),
        "not there",
    ))
}

/// Accounts other than our own that can write to a read-only server: a fence ends their connections, and cannot keep
/// them from coming back.
pub async fn privileged(
    server: &Server,
    ours: &[&str],
    deadline: Duration,
) -> Result<Vec<String>, ServerError> {
    let question = Statement::new(
        "SELECT DISTINCT GRANTEE AS grantee FROM information_schema.USER_PRIVILEGES \
         WHERE PRIVILEGE_TYPE IN ('READ_ONLY ADMIN', 'READ ONLY ADMIN', 'CONNECTION_ADMIN', 'SUPER') \
         ORDER BY GRANTEE",
    );
    let rows = server.observer().ask(&question, deadline).await?;
    let grantees = rows.iter().filter_map(|row| row.get("grantee"));
    Ok(grantees
        .filter(|grantee| !is_known(grantee, ours))
        .map(str::to_owned)
        .collect())
}

/// Whether an account is ours, or one of the server's own that only this machine itself can use. `root` from elsewhere is
/// anybody's.
fn is_known(grantee: &str, ours: &[&str]) -> bool {
    const SYSTEM: [&str; 5] = ["root", "mysql", "mariadb.sys", "mysql.sys", "mysql.session"];
    const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
    let (user, host) = grantee.split_once("'@'").unwrap_or((grantee, ""));
    let (user, host) = (user.trim_matches('\''), host.trim_matches('\''));
    ours.contains(&user) || SYSTEM.contains(&user) && LOCAL.contains(&host)
}

/// What the option files say wrongly for the next start: read with the server's own tool, which knows where they are.
pub async fn at_boot(program: &str, patience: Duration) -> Result<Vec<AuditFinding>, CommandError> {
    let groups = ["mysqld", "server", "mysqld_safe", "mariadb", "mariadbd"];
    let argv = std::iter::once(program).chain(groups);
    let line = CommandLine::new(argv, patience);
    let output = command::run(&line).await?.checked(&line)?;
    Ok(options(&output.stdout))
}

fn options(text: &str) -> Vec<AuditFinding> {
    // A later line wins. `skip_replica_start` is MySQL's and newer MariaDB's name of the other.
    let said = |setting: &str| {
        let mut lines = text.lines().filter_map(|line| {
            let line = line.trim().strip_prefix("--")?;
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            let name = name
                .replace('-', "_")
                .replace("replica_start", "slave_start");
            (name == setting).then(|| value.trim().to_owned())
        });
        lines.next_back()
    };
    judge(&AT_BOOT, said, "not in any option file")
}

fn rules(flavour: Flavour) -> &'static [Rule] {
    match flavour {
        Flavour::MariaDb => &MARIADB,
        Flavour::MySql => &MYSQL,
    }
}

fn variable(rows: &[Row], setting: &str) -> Option<String> {
    let named = |row: &&Row| row.get("Variable_name") == Some(setting);
    // An empty value is not a bare option: it is no.
    let value = rows.iter().find(named)?.get("Value").unwrap_or_default();
    Some(if value.is_empty() { "OFF" } else { value }.to_owned())
}

fn judge(rules: &[Rule], said: impl Fn(&str) -> Option<String>, absent: &str) -> Vec<AuditFinding> {
    let wrong = rules.iter().filter_map(|rule| {
        let is = said(rule.setting);
        (!is.as_deref().is_some_and(rule.right)).then(|| AuditFinding {
            setting: rule.setting.to_owned(),
            is: is.unwrap_or_else(|| absent.to_owned()),
            want: rule.want.to_owned(),
            why: rule.why.to_owned(),
            grave: rule.grave,
        })
    });
    wrong.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that the package brings, as the server's own tool prints it.
    fn printed(text: &str) -> String {
        let lines = text.lines().map(str::trim);
        let options = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        let options = options.map(|line| format!("--{}\n", line.replace(" = ", "=")));
        options.collect()
    }

    #[test]
    fn the_packaged_file_says_all_that_must_be_said_at_boot() {
        let packaged = include_str!("../../../../packaging/mariadb/agentd.cnf");
        let printed = printed(packaged);
        assert_eq!(options(&printed), []);
        for rule in MARIADB.iter().filter(|rule| rule.setting != "server_id") {
            let said = printed.lines().any(|line| {
                let line = line.strip_prefix("--").unwrap_or_default();
                let (name, value) = line.split_once('=').unwrap_or((line, "1"));
                name == rule.setting && (rule.right)(value)
                    || (name == "log_bin" && rule.setting == "log_bin")
            });
            assert!(said, "{} is not in the packaged file", rule.setting);
        }
    }

    #[test]
    fn the_last_word_of_the_option_files_counts() {
        let text = "--read-only=1\n--skip-slave-start\n--read_only=0\n";
        let found = options(text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].setting.as_str(), found[0].is.as_str()),
            ("read_only", "0")
        );
        assert!(found[0].grave);
        assert_eq!(options("").len(), 2);
        assert_eq!(options("--read_only\n--skip-replica-start=ON\n"), []);
    }

    #[test]
    fn root_from_elsewhere_is_not_the_systems_own() {
        let known = |grantee| is_known(grantee, &["agentd"]);
        assert!(known("'root'@'localhost'") && known("'mariadb.sys'@'localhost'"));
        assert!(known("'agentd'@'10.77.0.%'"));
        assert!(
            !known("'root'@'%'") && !known("'root'@'10.0.0.5'") && !known("'admin'@'localhost'")
        );
    }

    #[test]
    fn variables_are_judged_by_flavour() {
        let row = |name: &str, value: &str| -> Row {
            [("Variable_name", name), ("Value", value)]
                .into_iter()
                .collect()
        };
        let rows = [
            row("log_bin", "ON"),
            row("sync_binlog", "0"),
            row("server_id", "1"),
        ];
        let found = judge(&MARIADB, |setting| variable(&rows, setting), "not there");
        let names: Vec<&str> = found
            .iter()
            .map(|finding| finding.setting.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "log_slave_updates",
                "gtid_strict_mode",
                "sync_binlog",
                "innodb_flush_log_at_trx_commit",
                "binlog_format",
                "server_id"
            ]
        );
        let found = judge(&MYSQL, |setting| variable(&rows, setting), "not there");
        assert!(
            found
                .iter()
                .any(|finding| finding.setting == "gtid_mode" && finding.grave)
        );
    }
}
