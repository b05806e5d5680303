//! A request as a proxy passes it on with the PROXY protocol: a line before it says whom it is from.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks for a page in the name of this machine itself. The answer is status and body, at most `limit` bytes of it all; `None`: it
/// is no answer of HTTP. Has no deadline of its own.
pub(super) async fn get(
    at: SocketAddr,
    host: &str,
    path: &str,
    limit: usize,
) -> io::Result<Option<(u16, Vec<u8>)>> {
    let mut stream = TcpStream::connect(at).await?;
    let from = stream.local_addr()?;
    let family = if at.is_ipv4() { "TCP4" } else { "TCP6" };
    let request = format!(
        "PROXY {family} {} {} {} {}\r\nGET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        from.ip(),
        at.ip(),
        from.port(),
        at.port()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(&mut answer).await?;
    Ok(parse(&answer))
}

/// Status and body of an answer.
pub(super) fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    let end = answer.windows(END.len()).position(|part| part == END)?;
    let head = String::from_utf8_lossy(answer.get(..end)?);
    let mut words = head.split_whitespace();
    words.next().filter(|first| first.starts_with("HTTP/"))?;
    let status = words.next()?.parse().ok()?;
    Some((status, answer.get(end + END.len()..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nshop/www\n";
        assert_eq!(parse(answer), Some((200, b"shop/www\n".to_vec())));
        assert_eq!(parse(b"HTTP/1.1 403\r\n\r\n"), Some((403, Vec::new())));
        assert_eq!(parse(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse(b""), None);
    }
}
