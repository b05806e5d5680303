//! Asking the daemon, with deadlines: a daemon that hangs never hangs the asker. Blocking; no runtime needed.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::SOCKET;
use super::messages::{
    ANSWER_LIMIT, Applied, Ask, DatabaseReply, DatabaseRequest, FORMAT, Reply, Request, Response,
};
use crate::report::Status;
use crate::system::root::Root;
use crate::system::socket;

/// How long the answer to a status may take, connecting included.
pub const STATUS_DEADLINE: Duration = Duration::from_secs(2);
/// How long the daemon may be silent while it applies. It speaks every few seconds.
pub const SILENCE_DEADLINE: Duration = Duration::from_mins(1);

/// The daemon could not be asked, or did not do what was asked. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("agentd is not running (nobody answers at {socket}): {start}")]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// How to start it.
        start: String,
    },
    /// The socket is there, but not for this user.
    #[error("not allowed to ask agentd at {socket}: run this as root (sudo)")]
    Denied {
        /// The socket.
        socket: PathBuf,
    },
    /// It listens and says nothing.
    #[error(
        "agentd does not answer within {secs} s; see what it is doing with: systemctl status agentd"
    )]
    Silent {
        /// The deadline, in seconds.
        secs: u64,
    },
    /// The connection failed.
    #[error(
        "the connection to agentd at {socket} failed; try again, then see: journalctl -u agentd"
    )]
    Connection {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answered with something that this version does not know.
    #[error(
        "agentd's answer is not understood; the daemon and agentctl may be of different versions: systemctl restart agentd"
    )]
    Foreign {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answered that it could not.
    #[error("{0}")]
    Failed(String),
}

/// How the box is, as its daemon says. Answers within [`STATUS_DEADLINE`].
pub fn status(root: &Root) -> Result<Status, ControlError> {
    let answer = ask(root, Ask::Status, STATUS_DEADLINE, &mut |_| {})?;
    match answer {
        Reply::Status { status } => Ok(*status),
        other => Err(unexpected(&other)),
    }
}

/// Has the daemon forget the fights over files that have ended: how the box is then. A run may be going on.
pub fn acknowledge(root: &Root) -> Result<Status, ControlError> {
    let answer = ask(root, Ask::Acknowledge, SILENCE_DEADLINE, &mut |_| {})?;
    match answer {
        Reply::Status { status } => Ok(*status),
        other => Err(unexpected(&other)),
    }
}

/// Whether a daemon listens. One that hangs does too.
pub fn is_running(root: &Root) -> bool {
    socket::connect(&root.real(Path::new(SOCKET))).is_ok()
}

/// Has the daemon poll and run now. `progress` hears what it is doing meanwhile.
///
/// Takes as long as the run, but never longer than [`SILENCE_DEADLINE`] without a sign of life.
pub fn apply(
    root: &Root,
    retry_quarantined: bool,
    progress: &mut dyn FnMut(&str),
) -> Result<Applied, ControlError> {
    let request = Ask::Apply { retry_quarantined };
    match ask(root, request, SILENCE_DEADLINE, progress)? {
        Reply::Applied(applied) => Ok(*applied),
        other => Err(unexpected(&other)),
    }
}

/// Gives an order to a database. `progress` hears what is being done meanwhile.
///
/// Takes as long as the order, but never longer than [`SILENCE_DEADLINE`] without a sign of life.
pub fn order(
    root: &Root,
    order: DatabaseRequest,
    progress: &mut dyn FnMut(&str),
) -> Result<DatabaseReply, ControlError> {
    match ask(root, Ask::Database(order), SILENCE_DEADLINE, progress)? {
        Reply::Database(done) => Ok(done),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Reply) -> ControlError {
    ControlError::Foreign {
        source: io::Error::other(format!("an answer to another question: {answer:.80?}")),
    }
}

/// Asks, and returns the last answer. `silence` bounds the time between two answers.
fn ask(
    root: &Root,
    ask: Ask,
    silence: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<Reply, ControlError> {
    let path = root.real(Path::new(SOCKET));
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning {
            socket: path.clone(),
            start: start_command(root),
        },
        io::ErrorKind::PermissionDenied => ControlError::Denied {
            socket: path.clone(),
        },
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ControlError::Silent {
            secs: silence.as_secs(),
        },
        io::ErrorKind::InvalidData => ControlError::Foreign { source },
        _ => ControlError::Connection {
            socket: path.clone(),
            source,
        },
    };
    let mut lines = Lines::new(socket::connect(&path).map_err(failed)?);
    lines.send(&Request::new(ask), silence).map_err(failed)?;
    loop {
        let line = lines.next(silence).map_err(failed)?;
        let response: Response = serde_json::from_slice(&line)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        if response.format != FORMAT {
            let message = format!("format {}, expected {FORMAT}", response.format);
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, message)));
        }
        match response.answer {
            Reply::Progress { doing } => progress(&doing),
            Reply::Failed { message } => return Err(ControlError::Failed(message)),
            answer => return Ok(answer),
        }
    }
}

fn start_command(root: &Root) -> String {
    if root.is_machine() {
        "systemctl start agentd".into()
    } else {
        format!("agentd --root {}", root.dir().display())
    }
}

/// Lines over a socket, each with its deadline.
struct Lines {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Lines {
    const fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    fn send(&mut self, request: &Request, within: Duration) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.set_write_timeout(Some(within))?;
        self.stream.write_all(&line)
    }

    fn next(&mut self, within: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + within;
        let mut buffer = [0; 16 * 1024];
        let mut searched = 0;
        loop {
            let fresh = self.read.get(searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(searched + end + 1);
                return Ok(std::mem::replace(&mut self.read, rest));
            }
            searched = self.read.len();
            if searched > ANSWER_LIMIT {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the answer is too long",
                ));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.read.extend(buffer.iter().take(length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
