//! One connection to a server, made when it is needed, given up when it misses a deadline.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::credentials::{Account, Tls};
use super::error::ServerError;

/// The longest row: positions and error texts fit.
const PACKET: usize = 16 * 1024 * 1024;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// On this machine.
    Socket(PathBuf),
    /// On another (or on this one's `extra_port`).
    Tcp(SocketAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(out, "the database at {}", path.display()),
            Self::Tcp(address) => write!(out, "the database at {address}"),
        }
    }
}

/// Where, as whom and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub target: Target,
    /// As whom.
    pub account: Account,
    /// Encrypted, with servers of these authorities only. Never over a unix socket.
    pub tls: Option<Tls>,
}

/// A statement, and how it is shown to people.
#[derive(Clone, PartialEq, Eq)]
pub struct Statement {
    sql: String,
    shown: Option<String>,
}

impl Statement {
    /// A statement without secrets.
    pub fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            shown: None,
        }
    }

    /// One that holds a secret, and the same without it.
    pub fn secret(sql: String, shown: String) -> Self {
        Self {
            sql,
            shown: Some(shown),
        }
    }

    /// What is sent.
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.shown.as_deref().unwrap_or(&self.sql))
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// A row by the names of its columns. What is NULL is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(BTreeMap<String, String>);

impl Row {
    /// A column's text; `None` for NULL, or where there is no such column.
    pub fn get(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str)
    }

    /// The first of these columns that there is: names change between versions.
    pub fn any(&self, columns: &[&str]) -> Option<&str> {
        columns.iter().find_map(|column| self.get(column))
    }

    /// The text of a row of one column, whatever that is called.
    pub fn only(&self) -> Option<&str> {
        self.0.values().next().map(String::as_str)
    }

    /// A column that is a number.
    pub fn number<N: std::str::FromStr>(&self, column: &str) -> Option<N> {
        self.get(column)?.trim().parse().ok()
    }

    /// A column that is a switch: `1`, `ON`, `Yes`.
    pub fn switch(&self, column: &str) -> Option<bool> {
        match self.get(column)?.trim() {
            "1" | "ON" | "On" | "on" | "Yes" | "YES" => Some(true),
            "0" | "OFF" | "Off" | "off" | "No" | "NO" => Some(false),
            _ => None,
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Row {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(columns: I) -> Self {
        Self(
            columns
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

/// One connection. Statements on it follow each other; whoever must not wait for another has a session of his own.
#[derive(Debug)]
pub struct Session {
    place: Place,
    name: String,
    setup: Vec<String>,
    connection: Mutex<Option<Conn>>,
    /// The number of the last connection; 0 for none, or one that is being made.
    id: AtomicU32,
}

impl Session {
    /// A session that is not connected yet; `setup` is sent first, each time that it connects.
    pub fn new(place: Place, setup: Vec<String>) -> Self {
        Self {
            name: place.target.to_string(),
            place,
            setup,
            connection: Mutex::new(None),
            id: AtomicU32::new(0),
        }
    }

    /// Which server, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it goes, and as whom.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The rows that a statement answers with. A connection that broke since it was last used is made anew once:
    /// only for what may be asked twice.
    pub async fn ask(
        &self,
        statement: &Statement,
        deadline: Duration,
    ) -> Result<Vec<Row>, ServerError> {
        let until = Instant::now() + deadline;
        match self.once(statement, until, deadline).await {
            Err((ServerError::Lost { .. }, true)) => {
                let again = self.once(statement, until, deadline).await;
                again.map(|(rows, _)| rows).map_err(|(error, _)| error)
            }
            Err((error, _)) => Err(error),
            Ok((rows, _)) => Ok(rows),
        }
    }

    /// Sends a statement once, and says how many rows it changed. `Lost` and `Hangs` mean that it may have been done.
    pub async fn tell(
        &self,
        statement: &Statement,
        deadline: Duration,
    ) -> Result<u64, ServerError> {
        let until = Instant::now() + deadline;
        let answer = self.once(statement, until, deadline).await;
        answer
            .map(|(_, changed)| changed)
            .map_err(|(error, _)| error)
    }

    /// The number by which the server knows the connection, or knew the last one; without waiting for it. `None` before
    /// the first one, and while a new one is being made.
    pub fn last_id(&self) -> Option<u32> {
        match self.id.load(Ordering::Relaxed) {
            0 => None,
            id => Some(id),
        }
    }

    /// Whether it is connected, as far as is known without asking; `None` while a statement is under way.
    pub fn connected(&self) -> Option<bool> {
        self.connection.try_lock().ok().map(|held| held.is_some())
    }

    /// Closes the connection: locks held by it are free.
    pub async fn close(&self) {
        drop(self.connection.lock().await.take());
    }

    /// The error, and whether the connection had been used before.
    async fn once(
        &self,
        statement: &Statement,
        until: Instant,
        deadline: Duration,
    ) -> Result<(Vec<Row>, u64), (ServerError, bool)> {
        let shown = statement.to_string();
        let hangs = |_| {
            let error = ServerError::Hangs {
                place: self.name.clone(),
                statement: shown.clone(),
                millis: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            };
            (error, false)
        };
        let mut held = timeout_at(until, self.connection.lock())
            .await
            .map_err(hangs)?;
        // Taken out: a statement that misses its deadline, or is cancelled, takes its connection with it.
        let taken = held.take();
        let used = taken.is_some();
        let mut connection = match taken {
            Some(connection) => connection,
            None => timeout_at(until, self.connect())
                .await
                .map_err(hangs)?
                .map_err(|error| (error, false))?,
        };
        let sent = timeout_at(until, send(&mut connection, statement.sql()));
        match sent.await.map_err(hangs)? {
            Ok(answer) => {
                *held = Some(connection);
                Ok(answer)
            }
            Err(error) => {
                let told = ServerError::of(&self.name, Some(&shown), &error);
                if matches!(told, ServerError::Said { .. } | ServerError::Denied { .. }) {
                    *held = Some(connection);
                }
                Err((told, used))
            }
        }
    }

    async fn connect(&self) -> Result<Conn, ServerError> {
        self.id.store(0, Ordering::Relaxed);
        let mut options = OptsBuilder::default()
            .user(Some(self.place.account.user.clone()))
            .pass(Some(self.place.account.password.reveal().to_owned()))
            // Given here, or the library asks the server for both with a statement of its own.
            .max_allowed_packet(Some(PACKET))
            .wait_timeout(Some(28_800))
            // Or it would look for a socket behind the port that it was told.
            .prefer_socket(false)
            .stmt_cache_size(0)
            .setup(self.setup.clone());
        match &self.place.target {
            Target::Socket(path) => options = options.socket(Some(path.display().to_string())),
            Target::Tcp(address) => {
                options = options
                    .ip_or_hostname(address.ip().to_string())
                    .tcp_port(address.port())
                    .tcp_nodelay(true);
                if let Some(tls) = &self.place.tls {
                    let trusted = SslOpts::default()
                        .with_root_certs(vec![tls.ca.clone().into()])
                        .with_disable_built_in_roots(true)
                        // Servers are known by address, which database certificates rarely name. Not heard by this version of
                        // the library, which looks for other words in the error: such a certificate is refused.
                        .with_danger_skip_domain_validation(true);
                    options = options.ssl_opts(Some(trusted));
                }
            }
        }
        let connection = Conn::new(Opts::from(options))
            .await
            .map_err(|error| ServerError::of(&self.name, None, &error))?;
        self.id.store(connection.id(), Ordering::Relaxed);
        Ok(connection)
    }
}

async fn send(connection: &mut Conn, sql: &str) -> mysql_async::Result<(Vec<Row>, u64)> {
    let mut result = connection.query_iter(sql).await?;
    let rows = result.collect::<mysql_async::Row>().await?;
    let changed = result.affected_rows();
    result.drop_result().await?;
    Ok((rows.into_iter().map(row).collect(), changed))
}

fn row(row: mysql_async::Row) -> Row {
    let columns = row.columns();
    let values = row.unwrap();
    columns
        .iter()
        .zip(values)
        .filter_map(|(column, value)| {
            let text = match value {
                Value::NULL => return None,
                Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                other => other.as_sql(true),
            };
            Some((column.name_str().into_owned(), text))
        })
        .collect()
}
