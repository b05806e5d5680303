//! Cutting TCP connections of this machine from the outside: they end for both sides, whoever holds them.
//!
//! With `ss` of iproute, which every distribution has; the kernel must have been built with
//! `CONFIG_INET_DIAG_DESTROY`, which theirs are. Only connections of this network namespace are seen: those of
//! containers with one of their own stay.

use std::net::SocketAddr;
use std::time::Duration;

use super::command::{self, CommandError, CommandLine};

/// How long looking and cutting may take each.
const DEADLINE: Duration = Duration::from_secs(3);

/// Connections could not be cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// `ss` could not be run, or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// They are still there.
    #[error(
        "{left} connections to {to} are still there: the kernel does not cut connections (CONFIG_INET_DIAG_DESTROY)"
    )]
    Left {
        /// How many.
        left: usize,
        /// Where they lead.
        to: SocketAddr,
    },
}

/// Cuts every TCP connection that leads from this machine to `to`. Returns how many there were.
pub async fn cut(to: SocketAddr) -> Result<usize, CutError> {
    let before = count(to).await?;
    if before == 0 {
        return Ok(0);
    }
    run(&["-K"], to).await?;
    match count(to).await? {
        // What was made meanwhile is not counted against it.
        left if left >= before => Err(CutError::Left { left, to }),
        _ => Ok(before),
    }
}

async fn count(to: SocketAddr) -> Result<usize, CutError> {
    let listed = run(&[], to).await?;
    Ok(listed
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count())
}

async fn run(options: &[&str], to: SocketAddr) -> Result<String, CutError> {
    let (address, port) = (to.ip().to_string(), to.port().to_string());
    let filter = ["dst", &address, "dport", "=", &port];
    let what = ["-Hnt", "state", "established"];
    let argv = ["ss"].iter().chain(options).chain(&what).chain(&filter);
    let line = CommandLine::new(argv.copied(), DEADLINE);
    let output = command::run(&line).await?.checked(&line)?;
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn only_connections_to_that_address_and_port_are_cut() {
        let make = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = listener.local_addr().unwrap();
            let ours = TcpStream::connect(to).unwrap();
            let (theirs, _) = listener.accept().unwrap();
            (listener, to, ours, theirs)
        };
        let (_one, to, mut ours, mut theirs) = make();
        let (_other, elsewhere, mut left, mut there) = make();
        assert_eq!(cut(to).await.unwrap(), 1);
        assert!(ours.write_all(b"x").is_err(), "our end is dead");
        assert!(
            theirs.read(&mut [0; 1]).map_or(true, |read| read == 0),
            "so is theirs"
        );
        left.write_all(b"x").unwrap();
        there.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(cut(to).await.unwrap(), 0);
        assert_eq!(cut(elsewhere).await.unwrap(), 1);
    }
}
