//! Asking a running service whether a change took effect.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::resource::Question;
use crate::system::chain;

/// How long a service has to give the expected answer: a graceful reload takes effect only by and by.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How long one try may take.
const ONE_TRY: Duration = Duration::from_secs(3);
/// The pause between two looks at whether the service is still there.
const LOOK: Duration = Duration::from_millis(400);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// The most bytes of an answer that are looked at.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Why a service did not answer as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unproven {
    /// It gave another answer.
    Otherwise(String),
    /// It gave none at all: nobody there, or nobody with time.
    Silent(String),
    /// It has ended.
    Ended(String),
}

impl Unproven {
    pub(super) fn into_sentence(self) -> String {
        match self {
            Self::Otherwise(why) | Self::Silent(why) | Self::Ended(why) => why,
        }
    }

    fn named(self, question: &Question) -> Self {
        let named = |why: String| format!("{}: {why}", what(question));
        match self {
            Self::Otherwise(why) => Self::Otherwise(named(why)),
            Self::Silent(why) => Self::Silent(named(why)),
            ended @ Self::Ended(_) => ended,
        }
    }
}

/// Whether anybody gives any answer where this question is asked, right or wrong. Asked once.
pub(super) async fn answers(question: &Question) -> bool {
    matches!(
        try_in_time(question).await,
        Ok(()) | Err(Unproven::Otherwise(_))
    )
}

/// Where a question is asked.
pub(super) const fn place(question: &Question) -> SocketAddr {
    match question {
        Question::Http { address, port, .. } | Question::Memcached { address, port } => {
            SocketAddr::new(*address, *port)
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
    progress: &dyn Fn(),
) -> Result<(), Unproven>
where
    E: Future<Output = Option<String>>,
{
    let mut next_look = Instant::now() + LOOK;
    loop {
        match try_in_time(question).await {
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
            host,
            path,
            ..
        } => {
            format!(
                "http://{host}{path} asked at {}",
                SocketAddr::new(*address, *port)
            )
        }
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
            host,
            path,
            body,
        } => http(*address, *port, host, path, body.as_deref()).await,
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
    let url = format!("http://{}{path}", SocketAddr::new(address, port));
    let mut answer = client
        .get(url)
        .header(
            reqwest::header::HOST,
            if port == 80 {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            },
        )
        .send()
        .await
        .map_err(|error| Unproven::Silent(chain(&error)))?;
    let status = answer.status();
    let Some(expected) = body else {
        return if status.is_server_error() {
            Err(Unproven::Otherwise(format!("answered {status}")))
        } else {
            Ok(())
        };
    };
    let mut got = Vec::new();
    while let Some(chunk) =
        (answer.chunk().await).map_err(|error| Unproven::Silent(chain(&error)))?
    {
        got.extend_from_slice(&chunk);
        if got.len() > ANSWER_LIMIT {
            break;
        }
    }
    let got = String::from_utf8_lossy(&got);
    if status.is_success() && got.trim_end() == expected.trim_end() {
        Ok(())
    } else {
        let shown: String = got
            .trim()
            .chars()
            .take(60)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Err(Unproven::Otherwise(format!(
            "answered {status} with {shown:?}, not with {:?}: another virtual host or an older configuration answers there",
            expected.trim_end()
        )))
    }
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
