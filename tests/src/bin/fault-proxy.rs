//! The proxy that fails on purpose as a program, for the networks of booted machines: a file says whom it treats how.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use node_agent_tests::proxy::{Mode, ORDERS_EVERY, Proxy};

/// A proxy before an S3-protocol server that fails as a file says.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The server.
    #[arg(long)]
    upstream: SocketAddr,
    /// A line each: a client's address or `*` for all others, and how it is treated: `10.77.0.31 status:503`.
    #[arg(long)]
    orders: PathBuf,
    /// Stop after so many seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 86_400)]
    seconds: u64,
}

/// How all are treated, and how some are; `None`: a line is not understood, or is still being written.
fn read(text: &str) -> Option<(Mode, HashMap<IpAddr, Mode>)> {
    let mut usual = Mode::Pass;
    let mut clients = HashMap::new();
    for line in text.lines() {
        let (who, how) = line.split_once(' ')?;
        let how = how.parse().ok()?;
        if who == "*" {
            usual = how;
        } else {
            clients.insert(who.parse().ok()?, how);
        }
    }
    Some((usual, clients))
}

#[expect(clippy::print_stdout, reason = "its starter waits for it")]
fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let proxy = Proxy::start_at(options.listen, options.upstream)?;
    println!("listens");
    let mut last = String::new();
    let rounds = Duration::from_secs(options.seconds).as_millis() / ORDERS_EVERY.as_millis();
    for _ in 0..rounds {
        let text = std::fs::read_to_string(&options.orders).unwrap_or_default();
        if text != last
            && let Some((usual, clients)) = read(&text)
        {
            proxy.set_for(clients);
            proxy.set(usual);
            last = text;
        }
        std::thread::sleep(ORDERS_EVERY);
    }
    Ok(())
}
