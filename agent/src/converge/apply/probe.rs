//! Asking a running service whether a change took effect.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::resource::Probe;
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

/// Asks until the answer is the expected one. The error says what the last answer was.
///
/// Meanwhile `ended` is asked now and then whether the service is gone: every second of patience would be one
/// without it.
pub(super) async fn ask<E>(
    probe: &Probe,
    ended: &impl Fn() -> E,
    progress: &dyn Fn(&str),
) -> Result<(), String>
where
    E: Future<Output = Option<String>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut next_look = Instant::now() + LOOK;
    loop {
        let answer = match timeout(ONE_TRY, try_once(probe)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", ONE_TRY.as_secs())),
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(format!("{}: {error}", what(probe)));
            }
            Err(error) => {
                progress("probing");
                if Instant::now() >= next_look {
                    next_look = Instant::now() + LOOK;
                    if let Some(why) = ended().await {
                        return Err(format!("{why} ({}: {error})", what(probe)));
                    }
                }
                sleep(PAUSE).await;
            }
        }
    }
}

fn what(probe: &Probe) -> String {
    match probe {
        Probe::Http {
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
        Probe::Memcached { address, port } => {
            format!("memcached at {}", SocketAddr::new(*address, *port))
        }
    }
}

async fn try_once(probe: &Probe) -> Result<(), String> {
    match probe {
        Probe::Http {
            address,
            port,
            host,
            path,
            body,
        } => http(*address, *port, host, path, body.as_deref()).await,
        Probe::Memcached { address, port } => memcached(SocketAddr::new(*address, *port)).await,
    }
}

async fn http(
    address: IpAddr,
    port: u16,
    host: &str,
    path: &str,
    body: Option<&str>,
) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ONE_TRY)
        .build()
        .map_err(|error| chain(&error))?;
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
        .map_err(|error| chain(&error))?;
    let status = answer.status();
    let Some(expected) = body else {
        return if status.is_server_error() {
            Err(format!("answered {status}"))
        } else {
            Ok(())
        };
    };
    let mut got = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
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
        Err(format!(
            "answered {status} with {shown:?}, not with {:?}: another virtual host or an older configuration answers there",
            expected.trim_end()
        ))
    }
}

async fn memcached(address: SocketAddr) -> Result<(), String> {
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    stream
        .write_all(b"version\r\n")
        .await
        .map_err(|error| error.to_string())?;
    let mut answer = [0; 64];
    let read = stream
        .read(&mut answer)
        .await
        .map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned();
    if answer.starts_with("VERSION ") {
        Ok(())
    } else {
        Err(format!("answered {:?}", answer.trim()))
    }
}
