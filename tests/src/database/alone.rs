//! A database server by itself, on loopback and a unix socket, in a scratch directory: `MariaDB` of the host's own package, or
//! `MySQL`.
//!
//! It starts in about half a second (`MySQL` in two): its data directory is a copy of one that is made once and kept in the cache.
//! Nothing outlives the test: the server is killed on drop, and by the kernel when the thread that started it dies.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node_agent::database::server::credentials::{Account, Secret};
use node_agent::database::server::{Place, Row, Server, Session, Source, Statement, Target};
use tempfile::TempDir;

use super::brand::Brand;
use crate::machine::{Trouble, cache, run, wait_until};

/// The account by which the servers know each other, and its password.
pub const PEER: (&str, &str) = ("agentd", "only-for-tests");

const SOON: Duration = Duration::from_secs(30);

/// A running server, or one that was killed and can be started again on its files.
#[derive(Debug)]
pub struct Alone {
    brand: Brand,
    id: u32,
    port: u16,
    data: PathBuf,
    dir: TempDir,
    more: Vec<String>,
    child: Option<Child>,
}

impl Alone {
    /// Starts a `MariaDB` server with this `server_id`, read-only as after any boot. `more` are options of its own.
    pub fn start(id: u32, more: &[&str]) -> Result<Self, Trouble> {
        Self::start_in(id, None, more)
    }

    /// The same, with its data directory below `place`: a disk that the test can stop.
    pub fn start_in(id: u32, place: Option<&Path>, more: &[&str]) -> Result<Self, Trouble> {
        Self::start_of(Brand::MariaDb, id, place, more)
    }

    /// The same of any brand.
    pub fn start_of(
        brand: Brand,
        id: u32,
        place: Option<&Path>,
        more: &[&str],
    ) -> Result<Self, Trouble> {
        let fail = |e: &dyn std::fmt::Display| Trouble::caused("cannot prepare a database", e);
        let dir = TempDir::with_prefix("agentd-database-").map_err(|e| fail(&e))?;
        let data = place.unwrap_or(dir.path()).join("data");
        let (from, to) = (
            prepared(brand)?.display().to_string(),
            data.display().to_string(),
        );
        let copied = run(&["cp", "-a", &from, &to], b"", SOON)?;
        if !copied.success() {
            return Err(fail(&copied.stderr));
        }
        write(&dir.path().join("init.sql"), brand.accounts())?;
        // Taken by nobody else in the meantime, with any luck: ports are given out in turn.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|e| fail(&e))?
            .port();
        let mut server = Self {
            brand,
            id,
            port,
            data,
            dir,
            more: more.iter().map(|&word| word.to_owned()).collect(),
            child: None,
        };
        server.spawn()?;
        server.wait_answering()?;
        Ok(server)
    }

    fn spawn(&mut self) -> Result<(), Trouble> {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .map_err(|e| Trouble::caused("cannot open a database's log", e))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(self.brand.server())
            .args([
                "--user=root",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
            ])
            .arg(format!("--datadir={}", self.data.display()))
            .arg(format!("--tmpdir={}", self.dir.path().display()))
            .arg(format!("--socket={}", at("socket")))
            .arg(format!("--pid-file={}", at("pid")))
            .arg(format!("--init-file={}", at("init.sql")))
            .arg(format!("--port={}", self.port))
            .arg(format!("--server-id={}", self.id))
            .args(["--read-only=1", "--log-bin=binlog", "--relay-log=relay"])
            .args(["--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"])
            .args(["--innodb-buffer-pool-size=16M", "--key-buffer-size=1M"])
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(|e| Trouble::caused("cannot start a database", e))?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it again after it was killed; its port, files and options are the same.
    pub fn restart(&mut self) -> Result<(), Trouble> {
        self.end();
        self.spawn()?;
        self.wait_answering()
    }

    fn wait_answering(&mut self) -> Result<(), Trouble> {
        let socket = self.socket();
        let mut ended = false;
        let answered = wait_until("a database to answer", SOON, || {
            ended = self
                .child
                .as_mut()
                .is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            ended || std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        if ended || answered.is_err() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(15).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            return Err(Trouble::caused(
                "a database did not start",
                lines.join("\n"),
            ));
        }
        Ok(())
    }

    /// Kills it as a crash would, and waits for its end.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be stopped: SIGKILL ends it all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it a signal: SIGSTOP, SIGCONT, SIGTERM.
    ///
    /// One that is to stop has stopped, with all of its threads, when this returns: the kernel takes its time where the
    /// machine is busy, and a thread that still runs would answer.
    pub fn signal(&self, signal: Signal) -> Result<(), Trouble> {
        kill(Pid::from_raw(self.pid()), signal)
            .map_err(|e| Trouble::caused("cannot signal a database", e))?;
        if signal == Signal::SIGSTOP {
            let soon = Duration::from_secs(10);
            wait_until("the server to stop", soon, || self.has_stopped())?;
        }
        Ok(())
    }

    /// Whether no thread of its process runs any more.
    fn has_stopped(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid())) else {
            return false;
        };
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // After the name, which may have anything in it.
            let state = stat.rsplit(") ").next().unwrap_or_default();
            state.starts_with(['T', 't', 'Z', 'X']) || state.is_empty()
        })
    }

    /// Whose it is.
    pub fn brand(&self) -> Brand {
        self.brand
    }

    /// Its process, 0 where it does not run. `setpriv` became it.
    pub fn pid(&self) -> i32 {
        let id = self.child.as_ref().map(Child::id);
        id.and_then(|id| i32::try_from(id).ok()).unwrap_or(0)
    }

    /// Waits for the end of a server that somebody else killed.
    pub fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Its address on loopback.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its directory for whatever the test needs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// As the agent on its machine speaks to it.
    pub fn local(&self) -> Server {
        Server::new(&self.local_place(), PEER.0)
    }

    /// As the agent of a peer speaks to it.
    pub fn remote(&self) -> Server {
        Server::new(&self.peer_place(), PEER.0)
    }

    /// Where the local administrator finds it.
    pub fn local_place(&self) -> Place {
        Place {
            target: Target::Socket(self.socket()),
            account: Account {
                user: "root".to_owned(),
                password: Secret::default(),
            },
            tls: None,
        }
    }

    /// Where a peer finds it.
    pub fn peer_place(&self) -> Place {
        self.place_of(PEER.0, PEER.1)
    }

    fn place_of(&self, user: &str, password: &str) -> Place {
        Self::place_at(self.address(), user, password)
    }

    fn place_at(address: SocketAddr, user: &str, password: &str) -> Place {
        Place {
            target: Target::Tcp(address),
            account: Account {
                user: user.to_owned(),
                password: Secret::new(password),
            },
            tls: None,
        }
    }

    /// As a source of replication.
    pub fn source(&self) -> Source {
        Source {
            address: self.address(),
            account: self.peer_place().account,
            tls: None,
        }
    }

    /// A session of a product's code, which may not write to a read-only server.
    pub fn app(&self) -> Session {
        Session::new(self.place_of("app", "app"), Vec::new())
    }

    /// The same by another of this host's addresses, from where it then comes too.
    pub fn app_at(&self, address: &str) -> Session {
        Session::new(
            Self::place_at(self.address_at(address), "app", "app"),
            Vec::new(),
        )
    }

    /// As a peer at another of this host's addresses speaks to it.
    pub fn remote_at(&self, address: &str) -> Server {
        Server::new(
            &Self::place_at(self.address_at(address), PEER.0, PEER.1),
            PEER.0,
        )
    }

    fn address_at(&self, address: &str) -> SocketAddr {
        let ip = address.parse().unwrap_or(Ipv4Addr::LOCALHOST.into());
        SocketAddr::new(ip, self.port)
    }

    /// A session of the administrator, not one of the agent's.
    pub fn admin(&self) -> Session {
        Session::new(self.local_place(), Vec::new())
    }

    /// Has the administrator run statements, each of which must succeed: the rows of the last one.
    pub async fn sql(&self, statements: &[&str]) -> Result<Vec<Row>, Trouble> {
        let session = self.admin();
        let mut rows = Vec::new();
        for sql in statements {
            rows = session
                .ask(&Statement::new(*sql), SOON)
                .await
                .map_err(|e| Trouble::caused("a test's statement", e))?;
        }
        Ok(rows)
    }

    /// Makes semi-synchronous replication known to it, which `MariaDB` has built in.
    pub async fn install_semi_sync(&self) -> Result<(), Trouble> {
        if self.brand == Brand::MySql {
            self.sql(&[
                "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
                "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
            ])
            .await?;
        }
        Ok(())
    }

    /// One value.
    pub async fn value(&self, sql: &str) -> Result<String, Trouble> {
        let rows = self.sql(&[&format!("SELECT ({sql}) AS value")]).await?;
        let value = rows.first().and_then(|row| row.get("value"));
        Ok(value.unwrap_or("NULL").to_owned())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.end();
    }
}

/// So many fresh `MariaDB` servers, with server ids from 11 on: the first open for writes, each following the one before it.
pub async fn chain(count: u32) -> Result<Vec<Alone>, Trouble> {
    chain_of(Brand::MariaDb, count).await
}

/// The same of any brand.
pub async fn chain_of(brand: Brand, count: u32) -> Result<Vec<Alone>, Trouble> {
    let servers = (11..11 + count)
        .map(|id| Alone::start_of(brand, id, None, &[]))
        .collect::<Result<Vec<_>, _>>()?;
    let told = |e: &dyn std::fmt::Display| Trouble::caused("cannot make the chain", e);
    for pair in servers.windows(2) {
        if let [upstream, server] = pair {
            let followed = server
                .local()
                .follow(&upstream.remote(), &upstream.source(), SOON)
                .await;
            followed.map_err(|e| told(&e))?;
        }
    }
    if let Some(master) = servers.first() {
        master.local().open(SOON).await.map_err(|e| told(&e))?;
        master
            .sql(&[
                "CREATE DATABASE shop",
                "CREATE TABLE shop.orders (id BIGINT UNSIGNED PRIMARY KEY, note VARCHAR(100)) ENGINE=InnoDB",
            ])
            .await?;
    }
    Ok(servers)
}

/// A fresh data directory, made once by this version of the server and kept.
fn prepared(brand: Brand) -> Result<PathBuf, Trouble> {
    let name: String = brand
        .version()?
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        .collect();
    let cache = cache().join(brand.shelf());
    let kept = cache.join(name);
    if kept.is_dir() {
        return Ok(kept);
    }
    let fail = |e: &dyn std::fmt::Display| Trouble::caused("cannot prepare a data directory", e);
    fs::create_dir_all(&cache).map_err(|e| fail(&e))?;
    let made = TempDir::new_in(&cache).map_err(|e| fail(&e))?;
    let data = made.path().join("data");
    brand.install(&data, made.path())?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).map_err(|e| fail(&e))?;
    match fs::rename(&data, &kept) {
        // Another test made it at the same time.
        Err(_) if kept.is_dir() => Ok(kept),
        Err(e) => Err(fail(&e)),
        Ok(()) => Ok(kept),
    }
}

#[expect(clippy::disallowed_methods, reason = "a scratch directory")]
pub(super) fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    fs::write(path, text)
        .map_err(|e| Trouble::caused(format!("cannot write {}", path.display()), e))
}
