//! A request to php-fpm as a web server makes it, by the protocol `FastCGI`: one request, one answer.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The protocol's version, and the only request of a connection.
const VERSION: u8 = 1;
const REQUEST: u16 = 1;
/// What records are.
const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
/// The server answers requests by itself.
const RESPONDER: u8 = 1;

/// Asks for `path`. The answer is what comes after its header, at most `limit` bytes of both. Has no deadline of its own.
pub(super) async fn get(socket: &Path, path: &str, limit: usize) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(&request(path)).await?;
    let mut answer = Vec::new();
    while answer.len() < limit {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        let [_, kind, _, _, high, low, padding, _] = header;
        let mut content = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        stream.read_exact(&mut content).await?;
        let mut padded = vec![0; usize::from(padding)];
        stream.read_exact(&mut padded).await?;
        match kind {
            STDOUT => answer.extend_from_slice(&content),
            END => break,
            // What a program says on its standard error is no part of the answer.
            _ => {}
        }
    }
    answer.truncate(limit);
    let answer = String::from_utf8_lossy(&answer).replace("\r\n", "\n");
    let body = answer.split_once("\n\n").map(|(_, body)| body);
    body.map(str::to_owned)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer of FastCGI"))
}

fn request(path: &str) -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in [
        ("SCRIPT_NAME", path),
        ("SCRIPT_FILENAME", path),
        ("REQUEST_URI", path),
        ("REQUEST_METHOD", "GET"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("QUERY_STRING", ""),
    ] {
        // Lengths below 128 take a byte; the agent's own words are that short.
        for text in [name, value] {
            params.push(u8::try_from(text.len()).unwrap_or(0) & 0x7f);
        }
        params.extend_from_slice(name.as_bytes());
        params.extend_from_slice(value.as_bytes());
    }
    let mut bytes = record(BEGIN, &[0, RESPONDER, 0, 0, 0, 0, 0, 0]);
    bytes.extend(record(PARAMS, &params));
    bytes.extend(record(PARAMS, &[]));
    bytes.extend(record(STDIN, &[]));
    bytes
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [id_high, id_low] = REQUEST.to_be_bytes();
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![VERSION, kind, id_high, id_low, high, low, 0, 0];
    bytes.extend_from_slice(content);
    bytes
}
