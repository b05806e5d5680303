//! The server's process on this machine. Killing it is the fence that needs nobody's consent.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::system::process::{Identity, identity, listener};

/// What a server's process may be called.
const NAMES: [&str; 2] = ["mariadbd", "mysqld"];

/// The server that listens on a unix socket of this machine.
#[derive(Debug)]
pub struct Process {
    socket: PathBuf,
    /// What the server said of itself when it last answered.
    pid_file: Mutex<Option<PathBuf>>,
}

/// The process could not be ended, or not be found.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The socket belongs to something else, a proxy perhaps, and the server has not said yet where its number stands.
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
            pid_file: Mutex::default(),
        }
    }

    /// Takes note of the server's own pid file. Where systemd holds the socket for it (`mariadb.socket`), the kernel
    /// names systemd as the listener, which answers connections also while there is no server.
    pub fn note(&self, pid_file: Option<&Path>) {
        let mut noted = self.noted();
        if noted.as_deref() != pid_file && pid_file.is_some() {
            *noted = pid_file.map(Path::to_owned);
        }
    }

    fn noted(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.pid_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running server; `None` where there is none.
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
            Some(holder) if !is_server(&holder) => match self.noted().as_deref() {
                Some(file) => Ok(numbered(file)),
                None => Err(ProcessError::Stranger {
                    socket: self.socket.clone(),
                    name: holder.name,
                    pid: holder.pid,
                }),
            },
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

fn is_server(process: &Identity) -> bool {
    NAMES.contains(&process.name.as_str())
}

/// The server whose number stands in this file. A number that is left over from one that was killed is another's, or nobody's.
fn numbered(file: &Path) -> Option<Identity> {
    let text = std::fs::read_to_string(file).ok()?;
    identity(text.trim().parse().ok()?).filter(is_server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::socket;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "scratch files")]
    fn a_socket_that_systemd_holds_leads_to_the_server_by_its_pid_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        // This process stands for systemd.
        let _listening = socket::listen(&path).unwrap();
        let process = Process::of(&path);
        assert!(matches!(process.find(), Err(ProcessError::Stranger { .. })));

        // A program that is called as the server is.
        let server = dir.path().join("mariadbd");
        std::fs::copy("/bin/sleep", &server).unwrap();
        let mut child = std::process::Command::new(&server)
            .arg("60")
            .spawn()
            .unwrap();
        let file = dir.path().join("server.pid");
        std::fs::write(&file, format!("{}\n", child.id())).unwrap();
        process.note(Some(&file));
        let found = process.find().unwrap().unwrap();
        assert_eq!(u32::try_from(found.pid).unwrap(), child.id());
        assert_eq!(
            process.kill(None, Duration::from_secs(5)).unwrap(),
            Some(found.pid)
        );
        // Its number still stands there.
        assert!(process.find().unwrap().is_none());
        child.wait().unwrap();

        std::fs::write(&file, format!("{}\n", std::process::id())).unwrap();
        assert!(process.find().unwrap().is_none(), "not a server");
    }
}
