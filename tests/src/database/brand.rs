//! What differs between the servers that tests start by themselves: the program, its options, its first files, its accounts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::{Output, Trouble, repository, run};

const PATIENCE: Duration = Duration::from_mins(2);

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brand {
    /// Of the host's own package.
    MariaDb,
    /// Of an image that `tests/run-mysql` makes; which, the variable `TEST_MYSQL` says.
    MySql,
}

/// Accounts, without a trace in the binary log: they are each server's own.
const MARIADB_ACCOUNTS: &str = "SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS 'agentd'@'%' IDENTIFIED BY 'only-for-tests';
GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR, PROCESS, SHOW DATABASES, CONNECTION ADMIN, READ_ONLY ADMIN ON *.* TO 'agentd'@'%';
GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO 'agentd'@'%';
CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED BY 'app';
GRANT ALL PRIVILEGES ON shop.* TO 'app'@'%';
";

/// The same, with the rights that docs/database-servers.md asks for, and root known by the socket as packages have it.
const MYSQL_ACCOUNTS: &str = "SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS 'agentd'@'%' IDENTIFIED BY 'only-for-tests';
GRANT REPLICATION SLAVE, REPLICATION CLIENT, PROCESS, SHOW DATABASES, CONNECTION_ADMIN, SYSTEM_VARIABLES_ADMIN, SYSTEM_USER ON *.* TO 'agentd'@'%';
CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED BY 'app';
GRANT ALL PRIVILEGES ON shop.* TO 'app'@'%';
ALTER USER 'root'@'localhost' IDENTIFIED WITH auth_socket;
";

impl Brand {
    /// The command line of a program of this brand, so far.
    fn program(self, name: &str) -> Vec<String> {
        match self {
            Self::MariaDb => vec![name.to_owned()],
            Self::MySql => vec![
                repository().join("tests/in-mysql").display().to_string(),
                name.to_owned(),
            ],
        }
    }

    /// What starts a server, without what is one server's own.
    pub(super) fn server(self) -> Vec<String> {
        let mut words = match self {
            Self::MariaDb => self.program("/usr/sbin/mariadbd"),
            Self::MySql => self.program("/usr/sbin/mysqld"),
        };
        let options = match self {
            // What packaging/mariadb/agentd.cnf asks for; then small.
            Self::MariaDb => &[
                "--no-defaults",
                "--skip-slave-start",
                "--log-slave-updates=1",
                "--binlog-format=ROW",
                "--gtid-strict-mode=1",
                "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
                "--slave-net-timeout=4",
                "--innodb-log-file-size=8M",
                "--performance-schema=0",
                "--aria-pagecache-buffer-size=2M",
            ][..],
            // What docs/database-servers.md asks for; then small.
            Self::MySql => &[
                "--no-defaults",
                "--skip-replica-start",
                "--log-replica-updates=ON",
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--replica-net-timeout=4",
                "--plugin-load-add=auth_socket.so",
                "--secure-file-priv=",
                "--mysqlx=OFF",
                "--innodb-redo-log-capacity=8M",
                "--table-open-cache=200",
            ][..],
        };
        words.extend(options.iter().map(|&word| word.to_owned()));
        words
    }

    /// What a server runs at each start.
    pub(super) fn accounts(self) -> &'static str {
        match self {
            Self::MariaDb => MARIADB_ACCOUNTS,
            Self::MySql => MYSQL_ACCOUNTS,
        }
    }

    /// Where data directories are kept in the cache.
    pub(super) fn shelf(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
        }
    }

    /// The version of its server, as that says it.
    pub(super) fn version(self) -> Result<String, Trouble> {
        let mut words = self.server();
        words.push("--version".to_owned());
        let said = run_words(&words)?;
        if said.success() {
            Ok(said.stdout)
        } else {
            Err(Trouble::caused(
                "there is no database server (tests/setup installs MariaDB, tests/run-mysql has MySQL)",
                said.stderr,
            ))
        }
    }

    /// Makes the files of a server that never ran. `scratch` is a directory that nobody else uses.
    pub(super) fn install(self, data: &Path, scratch: &Path) -> Result<(), Trouble> {
        let mut words = match self {
            Self::MariaDb => self.program("mariadb-install-db"),
            Self::MySql => self.program("/usr/sbin/mysqld"),
        };
        let options = match self {
            Self::MariaDb => &[
                "--no-defaults",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-log-file-size=8M",
            ][..],
            Self::MySql => &[
                "--no-defaults",
                "--initialize-insecure",
                "--secure-file-priv=",
                "--innodb-redo-log-capacity=8M",
            ][..],
        };
        words.extend(options.iter().map(|&word| word.to_owned()));
        words.push("--user=root".to_owned());
        words.push(format!("--datadir={}", data.display()));
        // In /tmp two that run at once, each as the same process number of its own namespace, take each other's tables.
        words.push(format!("--tmpdir={}", scratch.display()));
        let output = run_words(&words)?;
        if !output.success() {
            return Err(Trouble::caused(
                "cannot make a database's first files",
                format!("{}{}", output.stdout, output.stderr),
            ));
        }
        if self == Self::MySql {
            // It names this one server, and its copies are others.
            std::fs::remove_file(data.join("auto.cnf"))
                .map_err(|e| Trouble::caused("no auto.cnf to remove", e))?;
        }
        Ok(())
    }

    /// A program that reads this brand's binary logs, made in `dir` where there is none on this host.
    pub fn log_reader(self, dir: &Path) -> Result<PathBuf, Trouble> {
        match self {
            Self::MariaDb => Ok("/usr/bin/mariadb-binlog".into()),
            Self::MySql => {
                let path = dir.join("mysqlbinlog");
                let variable = |name| std::env::var(name).map(|value| format!("{name}={value} "));
                let text = format!(
                    "#!/bin/sh\n{}{}exec {} \"$@\"\n",
                    variable("TEST_CACHE").unwrap_or_default(),
                    variable("TEST_MYSQL").unwrap_or_default(),
                    self.program("mysqlbinlog").join(" ")
                );
                super::alone::write(&path, &text)?;
                run(
                    &["chmod", "755", &path.display().to_string()],
                    b"",
                    PATIENCE,
                )?;
                Ok(path)
            }
        }
    }
}

fn run_words(words: &[String]) -> Result<Output, Trouble> {
    let argv: Vec<&str> = words.iter().map(String::as_str).collect();
    run(&argv, b"", PATIENCE)
}
