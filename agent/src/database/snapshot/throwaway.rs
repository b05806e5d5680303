//! A database server of our own: started in a directory by itself, reached by its socket alone, gone when it is dropped.
//!
//! For drills, and for filling a data directory that another server is to be started on later.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Uid, User, chown};
use tokio::time::{Instant, sleep};

use crate::database::server::credentials::{Account, Secret};
use crate::database::server::dump::tool;
use crate::database::server::{Place, ServerError, Session, Statement, Target};
use crate::system::command::{self, CommandError, CommandLine, End, Running};
use crate::system::{outside, tail};

const SERVER: [&str; 4] = [
    "/usr/sbin/mariadbd",
    "/usr/libexec/mariadbd",
    "/usr/bin/mariadbd",
    "/usr/sbin/mysqld",
];
const INSTALL: [&str; 2] = ["/usr/bin/mariadb-install-db", "/usr/bin/mysql_install_db"];
const SETPRIV: &str = "/usr/bin/setpriv";
/// To make its first files: some seconds, on a busy disk many.
const INSTALL_PATIENCE: Duration = Duration::from_mins(5);
/// To answer after its start.
const START_PATIENCE: Duration = Duration::from_mins(2);
/// To write everything down and end.
const STOP_PATIENCE: Duration = Duration::from_mins(10);
/// The longest path of a socket, in bytes: the kernel's limit.
const LONGEST_SOCKET: usize = 107;
/// What a server needs beside its buffer pool at most, in bytes.
const BESIDE: u64 = 768 * 1024 * 1024;
/// So much of its log is shown where it fails.
const LOG_SHOWN: u64 = 2000;

/// How a server of our own is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nature {
    /// The account that it runs as, which owns its files; only root can say another one than itself.
    pub account: String,
    /// Its buffer pool, in bytes.
    pub memory: u64,
    /// It gives way to everybody else: on a machine that has other work.
    pub is_background: bool,
}

/// A server that runs.
#[derive(Debug)]
pub struct Throwaway {
    place: Place,
    running: Running,
}

/// It could not be made, started or ended.
#[derive(Debug, thiserror::Error)]
pub enum ThrowawayError {
    /// Something that it needs is not there.
    #[error("{0}")]
    Lacks(String),
    /// A directory could not be made or be given away.
    #[error("cannot prepare {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its first files could not be made.
    #[error("the first files of a database server could not be made")]
    Install(#[source] CommandError),
    /// It did not start.
    #[error("the database server did not start: {log}")]
    Start {
        /// The end of its log.
        log: String,
    },
    /// It did not do what it was asked.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It did not end well.
    #[error("the database server did not end well")]
    End(#[source] CommandError),
}

/// The account that databases run as on this machine, where `wanted` does not say: `mysql`, where there is one and we may become
/// it; else our own.
pub fn usual_account() -> String {
    let own = || {
        let user = User::from_uid(Uid::effective()).ok().flatten();
        user.map_or_else(|| "root".to_owned(), |user| user.name)
    };
    let mysql = User::from_name("mysql").ok().flatten();
    match mysql {
        Some(user) if Uid::effective().is_root() => user.name,
        _ => own(),
    }
}

/// Whether servers can be started here: the programs are there. The error says which are missing.
pub fn programs() -> Result<(), ThrowawayError> {
    tool(&SERVER)
        .and_then(|_| tool(&INSTALL))
        .map(drop)
        .map_err(|why| {
            ThrowawayError::Lacks(format!("{why}; install the MariaDB server's package"))
        })
}

impl Throwaway {
    /// Makes first files in `data`, which must be empty or missing, and starts a server on them, whose socket, log and temporary
    /// files are in `work`. No network, no binary log, no events, no replication.
    pub async fn start(data: &Path, work: &Path, nature: &Nature) -> Result<Self, ThrowawayError> {
        programs()?;
        let program = tool(&SERVER).map_err(ThrowawayError::Lacks)?;
        let install = tool(&INSTALL).map_err(ThrowawayError::Lacks)?;
        let socket = work.join("socket");
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(ThrowawayError::Lacks(format!(
                "{} is too long a path for a socket ({LONGEST_SOCKET} bytes at most): choose a directory with a shorter one",
                socket.display()
            )));
        }
        let account = User::from_name(&nature.account).ok().flatten();
        let account = account.ok_or_else(|| {
            ThrowawayError::Lacks(format!("there is no account {}", nature.account))
        })?;
        let (tmp, files) = (work.join("tmp"), work.join("files"));
        for dir in [data, work, &tmp, &files] {
            own_directory(dir, &account)?;
        }
        let us = User::from_uid(Uid::effective()).ok().flatten();
        let us = us.map_or_else(|| "root".to_owned(), |user| user.name);
        let changes = account.uid != Uid::effective();
        let mut words = vec![
            install,
            "--no-defaults".to_owned(),
            format!("--datadir={}", data.display()),
            format!("--tmpdir={}", tmp.display()),
            "--auth-root-authentication-method=socket".to_owned(),
            format!("--auth-root-socket-user={us}"),
            "--skip-test-db".to_owned(),
            "--skip-name-resolve".to_owned(),
            format!("--user={}", account.name),
        ];
        words.push("--innodb-flush-log-at-trx-commit=0".to_owned());
        // This one is within the agent's own allowance: it ends with the unit, where that is killed.
        words.push("--innodb-buffer-pool-size=16M".to_owned());
        let line = CommandLine::new(words, INSTALL_PATIENCE);
        let line = quiet(line, nature);
        let done = command::run(&line).await;
        done.and_then(|output| output.checked(&line))
            .map_err(ThrowawayError::Install)?;
        let log = work.join("log");
        let mut words: Vec<String> = Vec::new();
        if Path::new(SETPRIV).exists() {
            // It ends with us, also where we are killed. Not the server's own --user: that would forget it.
            words.extend([SETPRIV, "--pdeathsig", "KILL"].map(str::to_owned));
            if changes {
                words.push(format!("--reuid={}", account.name));
                words.push(format!("--regid={}", account.gid));
                words.push("--clear-groups".to_owned());
            }
            words.push("--".to_owned());
        }
        words.push(program);
        words.push("--no-defaults".to_owned());
        if account.uid.is_root() || !Path::new(SETPRIV).exists() {
            words.push(format!("--user={}", account.name));
        }
        let paths = [
            ("datadir", data),
            ("socket", &socket),
            ("pid-file", &work.join("pid")),
            ("log-error", &log),
            ("tmpdir", &tmp),
            // Whatever a dump says, it reads and writes no files elsewhere.
            ("secure-file-priv", &files),
        ];
        words.extend(paths.map(|(option, path)| format!("--{option}={}", path.display())));
        let how = [
            "--skip-networking",
            "--skip-log-bin",
            "--skip-slave-start",
            "--skip-name-resolve",
            "--event-scheduler=OFF",
            "--local-infile=0",
            "--performance-schema=OFF",
            "--innodb-flush-log-at-trx-commit=0",
            "--max-allowed-packet=1G",
            "--max-connections=10",
            // Only a number, which no chain has: nothing is replicated here.
            "--server-id=4294967295",
        ];
        words.extend(how.map(str::to_owned));
        words.push(format!("--innodb-buffer-pool-size={}", nature.memory));
        let line = quiet(CommandLine::new(words, STOP_PATIENCE), nature);
        // Not out of the agent's own allowance, which is small.
        let line = outside::in_scope(line, nature.memory.saturating_add(BESIDE));
        let running = Running::start(line, End::Input, None).map_err(ThrowawayError::End)?;
        let place = Place {
            target: Target::Socket(socket),
            account: Account {
                user: us,
                password: Secret::default(),
            },
            tls: None,
        };
        let server = Self { place, running };
        server.answering(&log).await
    }

    /// Itself, once it answers.
    async fn answering(mut self, log: &Path) -> Result<Self, ThrowawayError> {
        let session = Session::new(self.place.clone(), Vec::new());
        let until = Instant::now() + START_PATIENCE;
        loop {
            let asked = session
                .ask(&Statement::new("SELECT 1 AS one"), Duration::from_secs(5))
                .await;
            let Err(error) = asked else {
                return Ok(self);
            };
            let has_ended = self.running.has_ended();
            if has_ended || Instant::now() >= until {
                let mut said = tail::last(log, LOG_SHOWN).trim().to_owned();
                if said.is_empty() && has_ended {
                    let ended = self.running.finish().await;
                    said = ended.map_or_else(|error| error.to_string(), |()| String::new());
                }
                let log = if said.is_empty() {
                    error.to_string()
                } else {
                    said
                };
                return Err(ThrowawayError::Start { log });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How it is reached.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Has it write everything down and end; its files can be used by another server then.
    pub async fn stop(self) -> Result<(), ThrowawayError> {
        let session = Session::new(self.place.clone(), Vec::new());
        let slow = Statement::new("SET GLOBAL innodb_fast_shutdown = 1");
        session.tell(&slow, Duration::from_secs(10)).await?;
        let shutdown = Statement::new("SHUTDOWN");
        match session.tell(&shutdown, Duration::from_mins(1)).await {
            // It may be gone before it has answered.
            Ok(_) | Err(ServerError::Lost { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.running.finish().await.map_err(ThrowawayError::End)
    }
}

fn quiet(line: CommandLine, nature: &Nature) -> CommandLine {
    if nature.is_background {
        command::in_the_background(line)
    } else {
        line
    }
}

/// Makes a directory that is this account's alone. One that is there already keeps its mode: a package has made it as its service
/// wants it.
fn own_directory(dir: &Path, account: &User) -> Result<(), ThrowawayError> {
    let failed = |source| ThrowawayError::Directory {
        path: dir.into(),
        source,
    };
    if !dir.is_dir() {
        std::fs::create_dir_all(dir).map_err(failed)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    let owner = std::fs::metadata(dir).map_err(failed)?.uid();
    if Uid::effective().is_root() && owner != account.uid.as_raw() {
        chown(dir, Some(account.uid), Some(account.gid)).map_err(|errno| failed(errno.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_started_is_told_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let nature = |account: &str| Nature {
            account: account.to_owned(),
            memory: 16 << 20,
            is_background: false,
        };
        let deep = dir.path().join("d".repeat(100));
        let error = Throwaway::start(&deep.join("data"), &deep, &nature("root"))
            .await
            .unwrap_err();
        assert!(matches!(error, ThrowawayError::Lacks(_)), "{error}");
        let data = dir.path().join("data");
        let error = Throwaway::start(&data, &dir.path().join("work"), &nature("no-such-account"))
            .await
            .unwrap_err();
        assert!(matches!(error, ThrowawayError::Lacks(_)), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_there_keeps_its_mode_and_a_new_one_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let account = User::from_uid(Uid::effective()).unwrap().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (there, new) = (dir.path().join("there"), dir.path().join("new"));
        std::fs::create_dir(&there).unwrap();
        std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o750)).unwrap();
        for path in [&there, &new] {
            own_directory(path, &account).unwrap();
        }
        assert_eq!((mode(&there), mode(&new)), (0o750, 0o700));
    }
}
