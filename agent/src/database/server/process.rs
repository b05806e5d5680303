//! The server's process on this machine. Killing it is the fence that needs nobody's consent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::system::process::{Identity, listener};

/// What a server's process may be called.
const NAMES: [&str; 2] = ["mariadbd", "mysqld"];

/// The server that listens on a unix socket of this machine.
#[derive(Debug, Clone)]
pub struct Process {
    socket: PathBuf,
}

/// The process could not be ended, or not be found.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The socket belongs to something else: systemd with socket activation, a proxy.
    #[error("{socket} is held by `{name}` (process {pid}), not by mariadbd or mysqld")]
    Stranger {
        /// The socket.
        socket: PathBuf,
        /// Who holds it.
        name: String,
        /// Its number.
        pid: i32,
    },
    /// The kernel would not say, or would not do it.
    #[error("cannot end the database server behind {socket}")]
    System {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It waits for a disk, and cannot be ended before that answers.
    #[error(
        "process {pid} was killed and is not gone yet: it waits for a disk that does not answer"
    )]
    Stays {
        /// Its number.
        pid: i32,
    },
}

impl Process {
    /// Of the server with this socket.
    pub fn of(socket: &Path) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The running server; `None` where nobody listens.
    pub fn find(&self) -> Result<Option<Identity>, ProcessError> {
        let system = |source| ProcessError::System {
            socket: self.socket.clone(),
            source,
        };
        let found = match listener(&self.socket) {
            Ok(found) => found,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                None
            }
            Err(error) => return Err(system(error)),
        };
        match found {
            Some(identity) if !NAMES.contains(&identity.name.as_str()) => {
                Err(ProcessError::Stranger {
                    socket: self.socket.clone(),
                    name: identity.name,
                    pid: identity.pid,
                })
            }
            found => Ok(found),
        }
    }

    /// Kills the server and confirms that it is gone; the number of the process, or `None` where none ran.
    ///
    /// `known` is one that was found earlier: a server that has closed its socket may still be writing. What a
    /// supervisor starts afterwards is another process, and read-only as its configuration says (see `audit`).
    pub fn kill(
        &self,
        known: Option<&Identity>,
        patience: Duration,
    ) -> Result<Option<i32>, ProcessError> {
        let found = match known {
            Some(known) if known.runs() => Some(known.clone()),
            _ => self.find()?,
        };
        let Some(victim) = found else { return Ok(None) };
        let gone = victim
            .kill(patience)
            .map_err(|source| ProcessError::System {
                socket: self.socket.clone(),
                source,
            })?;
        if gone {
            Ok(Some(victim.pid))
        } else {
            Err(ProcessError::Stays { pid: victim.pid })
        }
    }
}
