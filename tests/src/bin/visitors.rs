//! Visitors of a site, who ask for one page again and again: half of them keep their connections, half do not. For tests of what
//! a switch costs them.
//!
//! One line a request, when its answer is whole: `SENT ok BODY` or `SENT failed WHY`, the moment in microseconds by `CLOCK_BOOTTIME`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Parser;
use node_agent::system::clock::boottime;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for a page until it is killed.
#[derive(Debug, Parser)]
struct Options {
    /// Where the server listens.
    at: SocketAddr,
    /// The site.
    host: String,
    /// What is asked.
    path: String,
    /// How many visitors there are.
    number: usize,
}

fn main() {
    let options = Options::parse();
    let (at, host, path) = (options.at, &options.host, &options.path);
    std::thread::scope(|scope| {
        for visitor in 0..options.number {
            scope.spawn(move || visit(at, host, path, visitor % 2 == 0));
        }
    });
}

fn visit(at: SocketAddr, host: &str, path: &str, keeps: bool) {
    let mut kept: Option<BufReader<TcpStream>> = None;
    loop {
        let sent = boottime();
        let is_old = kept.is_some();
        let asked = ask(&mut kept, at, host, path, keeps);
        // A server may close a connection that nothing is under way on; browsers ask again on a new one.
        let asked = match asked {
            Err(_) if is_old => {
                kept = None;
                ask(&mut kept, at, host, path, keeps)
            }
            asked => asked,
        };
        let said = match asked {
            Ok((200, body)) => format!("ok {}", body.trim()),
            Ok((status, _)) => format!("failed status {status}"),
            Err(error) => {
                kept = None;
                format!("failed {error}")
            }
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{} {said}", sent.as_micros()).is_err() {
            return;
        }
        drop(out);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ask(
    kept: &mut Option<BufReader<TcpStream>>,
    at: SocketAddr,
    host: &str,
    path: &str,
    keeps: bool,
) -> io::Result<(u16, String)> {
    let mut stream = if let Some(stream) = kept.take() {
        stream
    } else {
        let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        BufReader::new(stream)
    };
    let connection = if keeps { "keep-alive" } else { "close" };
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no answer"))?;
    let (mut length, mut closes) = (None, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the answer ended in its headers"));
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok();
        }
        closes |= line == "connection: close";
    }
    let length = length.ok_or_else(|| io::Error::other("no length"))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    if keeps && !closes {
        *kept = Some(stream);
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
