//! A request as a proxy passes it on with the PROXY protocol: a line before it says whom it is from.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::http_answer::HttpAnswer;

/// Asks for a page in the name of this machine itself: see [`HttpAnswer::to`].
pub(super) async fn get(
    at: SocketAddr,
    host: &str,
    path: &str,
    limit: usize,
) -> io::Result<Option<HttpAnswer>> {
    let stream = TcpStream::connect(at).await?;
    let from = stream.local_addr()?;
    let family = if at.is_ipv4() { "TCP4" } else { "TCP6" };
    let request = format!(
        "PROXY {family} {} {} {} {}\r\nGET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        from.ip(),
        at.ip(),
        from.port(),
        at.port()
    );
    HttpAnswer::to(&request, stream, limit).await
}
