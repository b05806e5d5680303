//! Asking a running service whether a change took effect.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{fastcgi, proxied, tls};
use crate::resource::{Probe, Question, Refusal};
use crate::system::chain;
use crate::system::ports;
use crate::system::tail::Tail;

/// How long a service has to give the expected answer: a graceful reload takes effect only by and by.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How long one try may take.
const ONE_TRY: Duration = Duration::from_secs(3);
/// The pause between two looks at whether the service is still there.
const LOOK: Duration = Duration::from_millis(400);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the right one may refuse before that is its answer: what it was asked before the reload may have been written down late.
const REFUSES: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 1 });
/// Lines of a log that are quoted.
const QUOTED: usize = 2;
/// The most bytes of an answer that are looked at.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Why a service did not answer as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unproven {
    /// It gave another answer.
    Otherwise(String),
    /// The right one was asked, and refuses.
    Refused(String),
    /// It gave none at all: nobody there, or nobody with time.
    Silent(String),
    /// It has ended.
    Ended(String),
}

impl Unproven {
    pub(super) fn into_sentence(self) -> String {
        match self {
            Self::Otherwise(why) | Self::Refused(why) | Self::Silent(why) | Self::Ended(why) => why,
        }
    }

    fn named(self, question: &Question) -> Self {
        let named = |why: String| format!("{}: {why}", what(question));
        match self {
            Self::Otherwise(why) => Self::Otherwise(named(why)),
            Self::Refused(why) => Self::Refused(named(why)),
            Self::Silent(why) => Self::Silent(named(why)),
            ended @ Self::Ended(_) => ended,
        }
    }
}

/// Where the right one says why it refuses, from a moment on.
#[derive(Debug)]
pub(super) struct RefusalLog(Option<(Tail, Refusal)>);

/// The logs in which those who are asked would say why they refuse, from now on: one a probe, in their order.
pub(super) fn refusals(probes: &[Probe]) -> Vec<RefusalLog> {
    let log = |probe: &Probe| {
        let refusal = probe.refusal.clone()?;
        Some((Tail::now(&refusal.log), refusal))
    };
    probes.iter().map(|probe| RefusalLog(log(probe))).collect()
}

impl RefusalLog {
    /// Whether what is asked may refuse by rules that it brings along.
    pub(super) fn by_own_rules(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|(_, refusal)| refusal.by_own_rules)
    }

    /// What it says of the question. `None`: nothing, so that it may not even have been asked.
    fn said(&self) -> Option<String> {
        let (tail, refusal) = self.0.as_ref()?;
        let added = tail.added();
        let mut lines: Vec<&str> = (added.lines())
            .filter(|line| line.contains(&refusal.mark))
            .collect();
        lines.dedup_by_key(|line| line.rsplit(']').next().unwrap_or_default());
        lines.truncate(QUOTED);
        (!lines.is_empty()).then(|| {
            format!(
                "it is the right virtual host that refuses; its own error log ({}) says:\n{}",
                refusal.log.display(),
                lines.join("\n")
            )
        })
    }
}

/// Whether anybody gives any answer where this question is asked, right or wrong. Asked once.
pub(super) async fn answers(question: &Question) -> bool {
    matches!(
        try_in_time(question).await,
        Ok(()) | Err(Unproven::Otherwise(_) | Unproven::Refused(_))
    )
}

/// Where a question is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Where {
    Port(SocketAddr),
    Socket(PathBuf),
}

impl Where {
    pub(super) fn of(question: &Question) -> Self {
        match question {
            Question::Http { address, port, .. } | Question::Memcached { address, port } => {
                Self::Port(SocketAddr::new(*address, *port))
            }
            Question::FastCgi { socket, .. } => Self::Socket(socket.clone()),
        }
    }

    /// Whether somebody takes connections there, with or without an answer to them.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Port(at) => ports::listened().contains(&at.port()),
            Self::Socket(path) => path.exists(),
        }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(at) => write!(out, "{at}"),
            Self::Socket(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Asks until the answer is the expected one, or `deadline`. The error says what the last answer was.
///
/// Meanwhile `ended` is asked now and then whether the service is gone: every second of patience would be one
/// without it.
pub(super) async fn ask<E>(
    question: &Question,
    deadline: Instant,
    ended: &impl Fn() -> E,
    refusal: &RefusalLog,
    progress: &dyn Fn(),
) -> Result<(), Unproven>
where
    E: Future<Output = Option<String>>,
{
    let mut next_look = Instant::now() + LOOK;
    let mut refuses: Option<Instant> = None;
    loop {
        let tried = try_in_time(question).await;
        let now = Instant::now();
        if let Err(Unproven::Otherwise(error)) = &tried
            && let Some(said) = refusal.said()
        {
            let since = *refuses.get_or_insert(now);
            if now.saturating_duration_since(since) >= REFUSES || now >= deadline {
                let (answered, _) = error.split_once(" with ").unwrap_or((error, ""));
                return Err(Unproven::Refused(format!("{answered}: {said}")).named(question));
            }
        }
        match tried {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error.named(question)),
            Err(error) => {
                progress();
                if Instant::now() >= next_look {
                    next_look = Instant::now() + LOOK;
                    if let Some(why) = ended().await {
                        let error = error.named(question).into_sentence();
                        return Err(Unproven::Ended(format!("{why} ({error})")));
                    }
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Until when a service that was asked to take a change on may give other answers.
pub(super) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

async fn try_in_time(question: &Question) -> Result<(), Unproven> {
    match timeout(ONE_TRY, try_once(question)).await {
        Ok(answer) => answer,
        Err(_) => Err(Unproven::Silent(format!(
            "no answer within {} s",
            ONE_TRY.as_secs()
        ))),
    }
}

fn what(question: &Question) -> String {
    match question {
        Question::Http {
            address,
            port,
            tls,
            host,
            path,
            ..
        } => {
            let scheme = if *tls { "https" } else { "http" };
            format!(
                "{scheme}://{host}{path} asked at {}",
                SocketAddr::new(*address, *port)
            )
        }
        Question::FastCgi { socket, .. } => format!("php-fpm at {}", socket.display()),
        Question::Memcached { address, port } => {
            format!("memcached at {}", SocketAddr::new(*address, *port))
        }
    }
}

async fn try_once(question: &Question) -> Result<(), Unproven> {
    match question {
        Question::Http {
            address,
            port,
            tls: true,
            host,
            path,
            body,
        } => {
            over_tls(
                SocketAddr::new(*address, *port),
                host,
                path,
                body.as_deref(),
            )
            .await
        }
        Question::Http {
            address,
            port,
            tls: false,
            host,
            path,
            body,
        } => http(*address, *port, host, path, body.as_deref()).await,
        Question::FastCgi { socket, path, body } => fast_cgi(socket, path, body).await,
        Question::Memcached { address, port } => memcached(SocketAddr::new(*address, *port)).await,
    }
}

async fn http(
    address: IpAddr,
    port: u16,
    host: &str,
    path: &str,
    body: Option<&str>,
) -> Result<(), Unproven> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ONE_TRY)
        .build()
        .map_err(|error| Unproven::Silent(chain(&error)))?;
    let at = SocketAddr::new(address, port);
    let host = if port == 80 {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let sent = client
        .get(format!("http://{at}{path}"))
        .header(reqwest::header::HOST, &host)
        .send()
        .await;
    let mut answer = match sent {
        Ok(answer) => answer,
        Err(error) => {
            // Who expects to hear from a proxy whom the request is from closes the connection at once.
            let hung_up = !error.is_connect() && !error.is_timeout();
            let silent = Unproven::Silent(chain(&error));
            if !hung_up {
                return Err(silent);
            }
            return match proxied::get(at, &host, path, ANSWER_LIMIT).await {
                Ok(Some(answer)) => judge(answer.status, "", &answer.body, body),
                _ => Err(silent),
            };
        }
    };
    let status = answer.status();
    let mut got = Vec::new();
    while let Some(chunk) =
        (answer.chunk().await).map_err(|error| Unproven::Silent(chain(&error)))?
    {
        got.extend_from_slice(&chunk);
        if got.len() > ANSWER_LIMIT || body.is_none() {
            break;
        }
    }
    let reason = status.canonical_reason().unwrap_or_default();
    judge(status.as_u16(), reason, &got, body)
}

/// A request over TLS, as a browser makes it but for its doubts about certificates.
async fn over_tls(
    at: SocketAddr,
    host: &str,
    path: &str,
    body: Option<&str>,
) -> Result<(), Unproven> {
    match tls::get(at, host, path, ANSWER_LIMIT).await {
        Ok(Some(answer)) => judge(answer.status, "", &answer.body, body),
        Ok(None) => Err(Unproven::Otherwise(
            "answered over TLS, and not as HTTP does".to_owned(),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(Unproven::Otherwise(
            format!("does not speak TLS as it should: {error}"),
        )),
        Err(error) => Err(silent(error)),
    }
}

/// Whether this is the expected answer.
fn judge(status: u16, reason: &str, got: &[u8], expected: Option<&str>) -> Result<(), Unproven> {
    let answered = format!("answered {status} {reason}");
    let answered = answered.trim_end();
    let Some(expected) = expected else {
        return if status >= 500 {
            Err(Unproven::Otherwise(answered.to_owned()))
        } else {
            Ok(())
        };
    };
    let got = String::from_utf8_lossy(got);
    if (200..300).contains(&status) && got.trim_end() == expected.trim_end() {
        return Ok(());
    }
    let shown: String = got
        .trim()
        .chars()
        .take(60)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Err(Unproven::Otherwise(format!(
        "{answered} with {shown:?}, not with {:?}: another virtual host or an older configuration answers there",
        expected.trim_end()
    )))
}

/// Only the pool itself, with the configuration that it is to have, knows the answer.
async fn fast_cgi(socket: &Path, path: &str, body: &str) -> Result<(), Unproven> {
    let got = match fastcgi::get(socket, path, ANSWER_LIMIT).await {
        Ok(got) => got,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(Unproven::Otherwise(error.to_string()));
        }
        Err(error) => return Err(silent(error)),
    };
    if got.trim_end() == body {
        return Ok(());
    }
    let shown: String = got.trim().chars().take(60).collect();
    Err(Unproven::Otherwise(format!(
        "answered {shown:?}, not {body:?}: it has not taken the pool's configuration on"
    )))
}

async fn memcached(address: SocketAddr) -> Result<(), Unproven> {
    let mut stream = TcpStream::connect(address).await.map_err(silent)?;
    stream.write_all(b"version\r\n").await.map_err(silent)?;
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).await.map_err(silent)?;
    let answer = String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned();
    if answer.starts_with("VERSION ") {
        Ok(())
    } else {
        Err(Unproven::Otherwise(format!("answered {:?}", answer.trim())))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn silent(error: std::io::Error) -> Unproven {
    Unproven::Silent(error.to_string())
}
