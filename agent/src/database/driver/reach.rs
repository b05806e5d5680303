//! Whether clients reach the server on this machine: a connection as a client makes it, through whatever stands in its way.
//!
//! From an address that no gate of ours lets through by itself, over TCP, until the server has said its first word. No
//! account is used: what an account may do is another question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::context::Context;
use crate::settings::AddressUse;

/// How long a server may take for its first word. One that is busy takes its time, and is no reason to wake anybody.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries the server's own address from loopback, where peers never come from. The error is a sentence's end.
pub(super) async fn as_client(context: &Context) -> Result<(), String> {
    // An address that is translated on the way here is not this machine's own: it cannot be tried from here.
    if context.settings.address == AddressUse::Translated {
        return Ok(());
    }
    let Some(server) = context.address(&context.me) else {
        return Ok(());
    };
    match timeout(PATIENCE, greeted(server)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("a connection to {server} failed: {error}")),
        Err(_) => Err(format!(
            "a connection to {server} was not answered within {} s",
            PATIENCE.as_secs()
        )),
    }
}

async fn greeted(server: SocketAddr) -> std::io::Result<()> {
    let (socket, from): (_, IpAddr) = match server {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::LOCALHOST.into()),
    };
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(server).await?;
    // Whatever it says, be it that it has no connection left: it was reached.
    stream.read_u8().await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_word_is_enough_and_a_closed_door_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let said = tokio::spawn(async move {
            let (mut stream, from) = listener.accept().await.unwrap();
            stream.write_all(b"J").await.unwrap();
            from.ip().is_loopback()
        });
        greeted(address).await.unwrap();
        assert!(said.await.unwrap());
        // Nobody listens any more.
        assert!(greeted(address).await.is_err());
    }
}
