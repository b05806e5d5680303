//! A proxy before an HTTP server that fails on purpose, in the ways that networks and servers do.
//!
//! Each request has a connection of its own, so that a mode holds from the next request on.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// How often the program `fault-proxy` looks into the file with its orders.
pub const ORDERS_EVERY: Duration = Duration::from_millis(20);

/// How the proxy treats requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Passes them on.
    Pass,
    /// The port is closed.
    Refuse,
    /// Takes the request, then resets the connection.
    Reset,
    /// Passes them on after a while.
    Delay(Duration),
    /// Takes the request and never answers.
    Stall,
    /// Announces the whole body, sends so many bytes of it and closes.
    Truncate(usize),
    /// Announces the whole body, sends so many bytes of it and resets the connection.
    ResetInBody(usize),
    /// Sends the answer byte by byte, with such a pause after each.
    Drip(Duration),
    /// Answers with this status and S3's error for it.
    Status(u16),
    /// Answers a GET as it was answered when the proxy last passed one of that path.
    Stale,
    /// Answers 200 with no bytes.
    Empty,
    /// Answers 200 with a web page: a captive portal, a load balancer's default site.
    Page,
    /// Answers what is no HTTP.
    Garbage,
    /// Passes them on, and resets the connection in place of the answer.
    LostReply,
    /// Passes them on twice, one after the other, and answers with the second answer: a proxy that tries again.
    Twice,
    /// Passes them on with the last bit of their bodies turned.
    Corrupt,
    /// Answers with this status and a body without an end.
    Endless(u16),
    /// Treats PUTs so, and passes everything else.
    Puts(Box<Mode>),
}

impl FromStr for Mode {
    type Err = String;

    /// `pass`, `refuse`, `reset`, `stall`, `stale`, `lost-reply`, `twice`, `delay:MILLISECONDS`, `status:CODE`,
    /// `puts:MODE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        let unknown = || format!("no mode of the proxy: {text}");
        Ok(match word {
            "pass" => Self::Pass,
            "refuse" => Self::Refuse,
            "reset" => Self::Reset,
            "stall" => Self::Stall,
            "stale" => Self::Stale,
            "lost-reply" => Self::LostReply,
            "twice" => Self::Twice,
            "delay" => Self::Delay(Duration::from_millis(rest.parse().map_err(|_| unknown())?)),
            "status" => Self::Status(rest.parse().map_err(|_| unknown())?),
            "puts" => Self::Puts(Box::new(rest.parse()?)),
            _ => return Err(unknown()),
        })
    }
}

/// A running proxy, in a thread of this process. Dropped: stopped, its connections cut.
#[derive(Debug)]
pub struct Proxy {
    /// `http://address:port`.
    pub endpoint: String,
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    taken: AtomicUsize,
    /// How many bytes of [`Mode::Endless`] clients took.
    endless: AtomicUsize,
    /// How some clients are treated, unlike the others.
    clients: Mutex<HashMap<IpAddr, Mode>>,
    /// The last answers 200 to a GET, by the request line.
    passed: Mutex<HashMap<String, Message>>,
}

impl Proxy {
    /// Starts a proxy before `upstream`, on a free port of 127.0.0.1, that passes everything.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), upstream)
    }

    /// The same, listening elsewhere.
    pub fn start_at(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(listen)?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let (stop, stopped) = oneshot::channel();
        let state = Arc::new(State {
            upstream,
            taken: AtomicUsize::new(0),
            endless: AtomicUsize::new(0),
            clients: Mutex::default(),
            passed: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("fault-proxy".into())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        _ = stopped => {}
                        () = serve(listener, address, modes, shared) => {}
                    }
                });
            })?;
        Ok(Self {
            endpoint: format!("http://{address}"),
            address,
            mode,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// From the next request on. Returns once a port that is to be closed is closed, or open again.
    pub fn set(&self, mode: Mode) {
        let refuse = mode == Mode::Refuse;
        self.mode.send_replace(mode);
        for _ in 0..500 {
            let open = std::net::TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
            if open.is_err() == refuse {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Treats these clients so from their next request on, and all others as [`Proxy::set`] says. A port cannot be
    /// closed to some: [`Mode::Refuse`] resets their connections.
    pub fn set_for(&self, clients: HashMap<IpAddr, Mode>) {
        let mut treated = self
            .state
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *treated = clients;
    }

    /// How many requests were taken so far, whatever became of them.
    pub fn taken(&self) -> usize {
        self.state.taken.load(Ordering::Relaxed)
    }
}

impl Proxy {
    /// How many bytes of bodies without an end were taken so far, those in the kernel's buffers included.
    pub fn endless_taken(&self) -> usize {
        self.state.endless.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only panics where a test has panicked already.
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: StdListener,
    address: SocketAddr,
    mut modes: watch::Receiver<Mode>,
    state: Arc<State>,
) {
    let mut connections = JoinSet::new();
    let mut listener = listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .ok();
    loop {
        let refuse = *modes.borrow_and_update() == Mode::Refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = modes.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
            accepted = accept => {
                if let Some((stream, _)) = accepted {
                    let (modes, state) = (modes.clone(), Arc::clone(&state));
                    connections.spawn(async move {
                        // Broken connections are what the proxy is for.
                        let _ = handle(stream, modes, state).await;
                    });
                }
            }
        }
    }
}

/// A whole HTTP message: its head with the empty line, and its body.
#[derive(Debug, Clone)]
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Message {
    fn new(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        Self {
            head: head.into_bytes(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn error(status: u16) -> Self {
        let code = match status {
            401 | 403 => "AccessDenied",
            404 => "NoSuchKey",
            500 => "InternalError",
            503 => "SlowDown",
            _ => "Unknown",
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>injected</Message></Error>"
        );
        Self::new(
            &format!("{status} injected"),
            "Content-Type: application/xml\r\nx-amz-request-id: PROXY\r\n",
            &body,
        )
    }
}

async fn handle(
    mut client: TcpStream,
    modes: watch::Receiver<Mode>,
    state: Arc<State>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some(request) = read_request(&mut client).await? else {
        return Ok(());
    };
    state.taken.fetch_add(1, Ordering::Relaxed);
    let line: String = String::from_utf8_lossy(&request.head)
        .lines()
        .next()
        .unwrap_or_default()
        .into();
    let own = client.peer_addr().ok().and_then(|peer| {
        let clients = state.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(&peer.ip()).cloned()
    });
    let mode = match own.unwrap_or_else(|| modes.borrow().clone()) {
        Mode::Puts(mode) if line.starts_with("PUT ") => *mode,
        Mode::Puts(_) => Mode::Pass,
        mode => mode,
    };
    let answer = match &mode {
        Mode::Refuse | Mode::Reset => {
            client.set_zero_linger()?;
            return Ok(());
        }
        Mode::Stall => {
            // Until the client gives up.
            let mut rest = [0; 64];
            while client.read(&mut rest).await? > 0 {}
            return Ok(());
        }
        Mode::Delay(time) => {
            tokio::time::sleep(*time).await;
            state.pass(&line, &request).await?
        }
        Mode::LostReply => {
            state.pass(&line, &request).await?;
            client.set_zero_linger()?;
            return Ok(());
        }
        Mode::Twice => {
            state.pass(&line, &request).await?;
            state.pass(&line, &request).await?
        }
        Mode::Corrupt => {
            let mut request = request;
            if let Some(last) = request.body.last_mut() {
                *last ^= 1;
            }
            state.pass(&line, &request).await?
        }
        Mode::Endless(status) => {
            let head =
                format!("HTTP/1.1 {status} injected\r\nContent-Type: application/xml\r\n\r\n");
            client.write_all(head.as_bytes()).await?;
            client.write_all(b"<Error><Message>").await?;
            let more = vec![b'x'; 64 * 1024];
            loop {
                client.write_all(&more).await?;
                state.endless.fetch_add(more.len(), Ordering::Relaxed);
            }
        }
        Mode::Status(status) => Message::error(*status),
        Mode::Empty => Message::new("200 OK", "ETag: \"empty\"\r\n", ""),
        Mode::Page => Message::new(
            "200 OK",
            "Content-Type: text/html\r\n",
            "<html><body>Welcome! Please sign in.</body></html>",
        ),
        Mode::Garbage => Message {
            head: b"220 mail.example.com ESMTP\r\n\r\n".to_vec(),
            body: Vec::new(),
        },
        Mode::Stale => match state.passed(&line) {
            Some(earlier) => earlier,
            None => state.pass(&line, &request).await?,
        },
        Mode::Pass | Mode::Truncate(_) | Mode::ResetInBody(_) | Mode::Drip(_) | Mode::Puts(_) => {
            state.pass(&line, &request).await?
        }
    };
    match mode {
        Mode::Drip(pause) => {
            for byte in answer.head.iter().chain(&answer.body) {
                client.write_all(&[*byte]).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Mode::Truncate(size) | Mode::ResetInBody(size) => {
            client.write_all(&answer.head).await?;
            let part = answer.body.get(..size).unwrap_or(&answer.body);
            client.write_all(part).await?;
            if matches!(mode, Mode::ResetInBody(_)) {
                // What was sent must arrive before the reset overtakes it.
                tokio::time::sleep(Duration::from_millis(50)).await;
                client.set_zero_linger()?;
                return Ok(());
            }
        }
        _ => {
            client.write_all(&answer.head).await?;
            client.write_all(&answer.body).await?;
        }
    }
    client.shutdown().await
}

impl State {
    /// Asks upstream. An answer 200 to a GET is remembered.
    async fn pass(&self, line: &str, request: &Message) -> io::Result<Message> {
        let mut upstream = TcpStream::connect(self.upstream).await?;
        let (first, rest) = split_after(&request.head, b"\r\n");
        upstream.write_all(first).await?;
        upstream.write_all(b"Connection: close\r\n").await?;
        upstream.write_all(rest).await?;
        upstream.write_all(&request.body).await?;
        let mut all = Vec::new();
        upstream.read_to_end(&mut all).await?;
        let (head, body) = split_after(&all, b"\r\n\r\n");
        let answer = Message {
            head: head.to_vec(),
            body: body.to_vec(),
        };
        if line.starts_with("GET ") && answer.head.starts_with(b"HTTP/1.1 200") {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            passed.insert(line.into(), answer.clone());
        }
        Ok(answer)
    }

    fn passed(&self, line: &str) -> Option<Message> {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.get(line).cloned()
    }
}

/// `bytes` up to and with the first `mark`, and the rest.
fn split_after<'a>(bytes: &'a [u8], mark: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)
        .map_or(bytes.len(), |at| at + mark.len());
    bytes.split_at(at)
}

/// One request with its whole body; `None` where the client closes without one.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<Message>> {
    let mut all = Vec::new();
    loop {
        let (head, body) = split_after(&all, b"\r\n\r\n");
        if head.ends_with(b"\r\n\r\n") {
            let text = String::from_utf8_lossy(head).to_ascii_lowercase();
            let length: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .and_then(|length| length.trim().parse().ok())
                .unwrap_or_default();
            if body.len() >= length {
                return Ok(Some(Message {
                    head: head.to_vec(),
                    body: body.to_vec(),
                }));
            }
        }
        if client.read_buf(&mut all).await? == 0 {
            return Ok(None);
        }
    }
}
