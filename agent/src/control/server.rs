//! The daemon's end of the control socket: bounded in number, bytes and time, so that no asker can hold it up.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::SOCKET;
use super::messages::{Ask, DatabaseRequest, FORMAT, REQUEST_LIMIT, Reply, Request, Response};
use crate::report::Status;
use crate::system::clock;
use crate::system::root::Root;
use crate::system::socket;

/// Connections at a time that have not asked yet, or are being answered.
const CONNECTIONS: usize = 32;
/// People waiting for a run at a time; more are told so.
const WAITING: usize = 4;
/// How long a request may take to arrive.
const READ_DEADLINE: Duration = Duration::from_secs(1);
/// Who waits for an order hears at least this often what is being done.
const STILL_DOING: Duration = Duration::from_secs(5);
/// How long an answer may take to be taken.
const WRITE_DEADLINE: Duration = Duration::from_secs(2);

/// Somebody wants a run now. Dropped without an answer: told that the daemon stops.
#[derive(Debug)]
pub struct ApplyRequest {
    /// Whether to try a quarantined document again.
    pub retry_quarantined: bool,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Reply>,
}

/// Somebody gives an order to a database. Dropped without an answer: told that the daemon stops.
#[derive(Debug)]
pub struct OrderRequest {
    /// What is ordered.
    pub ask: DatabaseRequest,
    /// Where what is being done is told meanwhile. Full: whoever waits is slow; what is told is lost, and no more.
    pub progress: mpsc::Sender<String>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Reply>,
}

/// What an asker waits for.
enum LongRequest {
    Run { retry_quarantined: bool },
    Order(DatabaseRequest),
    Acknowledge,
}

/// What the daemon lets askers see and do.
#[derive(Debug, Clone)]
pub struct DaemonChannels {
    /// How the box is; `None` until the daemon knows.
    pub status: watch::Receiver<Option<Arc<Status>>>,
    /// What the daemon is doing: a change of it is a sign of life for who waits.
    pub doing: watch::Receiver<String>,
    /// Where wishes for a run go.
    pub applies: mpsc::Sender<ApplyRequest>,
    /// Where orders to databases go.
    pub orders: mpsc::Sender<OrderRequest>,
    /// Where a person's word goes that they know of the fights over files; the answer is how the box is then.
    pub acknowledgements: mpsc::Sender<oneshot::Sender<Reply>>,
}

/// The listening socket. Dropped: its file is removed.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlServer {
    /// Listens, for root and root's group only. A socket that a dead daemon left is replaced.
    ///
    /// Only for who holds the daemon's lock: a living daemon's socket would be replaced too. Needs a tokio runtime.
    pub fn listen(root: &Root) -> io::Result<Self> {
        let path = root.real(Path::new(SOCKET));
        // Made aside and renamed: at no moment does it stand there with another mode.
        let aside = path.with_extension(format!("sock.{}", std::process::id()));
        remove(&aside)?;
        let listener = socket::listen(&aside)?;
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o660))?;
        std::fs::rename(&aside, &path)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path,
        })
    }

    /// Answers until the other end of `channels.applies` is gone; then those who wait are told, and it ends.
    ///
    /// Whoever connects is listened to at once: where too many are silent, the longest silent one is thrown out.
    pub async fn serve(self, channels: DaemonChannels) {
        let waiting = Arc::new(Semaphore::new(WAITING));
        let mut readers: VecDeque<AbortHandle> = VecDeque::new();
        // Dropped with this: nobody is answered by a daemon that is gone.
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = channels.applies.closed() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    readers.retain(|reader| !reader.is_finished());
                    if readers.len() >= CONNECTIONS
                        && let Some(longest) = readers.pop_front()
                    {
                        longest.abort();
                    }
                    let (wishes, wish) = oneshot::channel();
                    let looked_at = channels.clone();
                    readers.push_back(tasks.spawn(async move {
                        if let Some(wish) = answer(stream, &looked_at).await {
                            // Who waits for a run is not silent: it must not be thrown out.
                            let _ = wishes.send(wish);
                        }
                    }));
                    let (channels, waiting) = (channels.clone(), Arc::clone(&waiting));
                    tasks.spawn(async move {
                        match wish.await {
                            Ok((LongRequest::Run { retry_quarantined }, stream)) => {
                                apply(retry_quarantined, stream, channels, &waiting).await;
                            }
                            Ok((LongRequest::Order(ask), stream)) => {
                                order(ask, stream, &channels).await;
                            }
                            Ok((LongRequest::Acknowledge, stream)) => {
                                acknowledge(stream, &channels).await;
                            }
                            Err(_) => {}
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: they come back.
                    tracing::warn!(event = "socket-trouble", %error, "cannot accept on the control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        drop(self);
        while tasks.join_next().await.is_some() {}
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Answers what can be answered at once. Returns what takes longer, if that is what came.
async fn answer(
    mut stream: UnixStream,
    channels: &DaemonChannels,
) -> Option<(LongRequest, UnixStream)> {
    let request = match tokio::time::timeout(READ_DEADLINE, read(&mut stream)).await {
        Ok(Ok(line)) => parse(&line),
        Ok(Err(error)) => Err(format!("the request cannot be read: {error}")),
        Err(_) => Err(format!("no request within {} s", READ_DEADLINE.as_secs())),
    };
    let answer = match request {
        Ok(Ask::Apply { retry_quarantined }) => {
            return Some((LongRequest::Run { retry_quarantined }, stream));
        }
        Ok(Ask::Database(order)) => return Some((LongRequest::Order(order), stream)),
        Ok(Ask::Acknowledge) => return Some((LongRequest::Acknowledge, stream)),
        Ok(Ask::Status) => status(channels),
        Err(message) => Reply::Failed { message },
    };
    let _ = send(&mut stream, answer).await;
    None
}

fn status(channels: &DaemonChannels) -> Reply {
    match &*channels.status.borrow() {
        Some(status) => {
            let mut status = Status::clone(status);
            // The daemon publishes each change of the facts, so they are as true now as then.
            status.written = clock::now();
            Reply::Status {
                status: Box::new(status),
            }
        }
        None => Reply::Failed {
            message: "agentd is just starting: ask again in a moment".into(),
        },
    }
}

async fn apply(
    retry_quarantined: bool,
    mut stream: UnixStream,
    mut channels: DaemonChannels,
    waiting: &Semaphore,
) {
    let busy = || Reply::Failed {
        message: format!(
            "{WAITING} others are waiting for a run already: try again when they are served"
        ),
    };
    let Ok(_permit) = waiting.try_acquire() else {
        let _ = send(&mut stream, busy()).await;
        return;
    };
    let (reply, mut reply_to) = oneshot::channel();
    let wish = ApplyRequest {
        retry_quarantined,
        answer: reply,
    };
    if channels.applies.try_send(wish).is_err() {
        let _ = send(&mut stream, busy()).await;
        return;
    }
    channels.doing.mark_changed();
    let stopping = |_| Reply::Failed {
        message: "agentd is stopping and made no run: start it, then try again".into(),
    };
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut reply_to => break answer.unwrap_or_else(stopping),
            changed = channels.doing.changed() => {
                if changed.is_err() {
                    break reply_to.await.unwrap_or_else(stopping);
                }
                let doing = channels.doing.borrow_and_update().clone();
                if send(&mut stream, Reply::Progress { doing }).await.is_err() {
                    return; // Nobody waits any more; the run goes on all the same.
                }
            }
        }
    };
    let _ = send(&mut stream, answer).await;
}

async fn acknowledge(mut stream: UnixStream, channels: &DaemonChannels) {
    let (reply, answer) = oneshot::channel();
    let busy = || Reply::Failed {
        message: "others are acknowledging just now: try again in a moment".into(),
    };
    let answer = if channels.acknowledgements.try_send(reply).is_err() {
        busy()
    } else {
        answer.await.unwrap_or_else(|_| Reply::Failed {
            message: "agentd is stopping: what it knew of fights over files goes with it".into(),
        })
    };
    let _ = send(&mut stream, answer).await;
}

async fn order(ask: DatabaseRequest, mut stream: UnixStream, channels: &DaemonChannels) {
    let (reply, mut reply_to) = oneshot::channel();
    let (progress, mut doing) = mpsc::channel(16);
    let request = OrderRequest {
        ask,
        progress,
        answer: reply,
    };
    if channels.orders.try_send(request).is_err() {
        let message =
            "other orders are waiting already: try again when they are carried out".into();
        let _ = send(&mut stream, Reply::Failed { message }).await;
        return;
    }
    let mut last = String::from("waiting for the agent");
    let answer = loop {
        let told = tokio::select! {
            biased;
            answer = &mut reply_to => break answer.unwrap_or_else(|_| Reply::Failed {
                message: "agentd is stopping; see what came of the order: agentctl db status".into(),
            }),
            Some(told) = doing.recv() => { last.clone_from(&told); told }
            // A sign of life: it goes on.
            () = tokio::time::sleep(STILL_DOING) => last.clone(),
        };
        if send(&mut stream, Reply::Progress { doing: told })
            .await
            .is_err()
        {
            return; // Nobody waits any more; the order is carried out all the same.
        }
    };
    let _ = send(&mut stream, answer).await;
}

async fn read(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend(buffer.iter().take(length));
        if line.contains(&b'\n') {
            return Ok(line);
        }
        if line.len() > REQUEST_LIMIT {
            return Err(io::Error::other(format!(
                "it is longer than {REQUEST_LIMIT} bytes"
            )));
        }
    }
}

fn parse(line: &[u8]) -> Result<Ask, String> {
    let request: Request = serde_json::from_slice(line)
        .map_err(|error| format!("the request is not understood: {error}"))?;
    if request.format == FORMAT {
        Ok(request.ask)
    } else {
        Err(format!(
            "the request is of format {}, this agentd speaks {FORMAT}: use the agentctl of the same version",
            request.format
        ))
    }
}

async fn send(stream: &mut UnixStream, answer: Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Response::from(answer))?;
    line.push(b'\n');
    tokio::time::timeout(WRITE_DEADLINE, stream.write_all(&line))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
