//! A client of a product's database that writes and reads back, as web servers do, and records what became of each
//! write: for tests of failovers. It finds the master by name each time that it connects.
//!
//! One JSON line a write: `{"id":…,"sent":…,"ended":…,"result":"ok|failed|unknown","server":…,"why":…}`, times in
//! milliseconds by `CLOCK_BOOTTIME`, which all machines of a fleet share. `unknown`: the connection broke or fell silent
//! with the write under way.

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use node_agent::database::server::credentials::{Account, Secret};
use node_agent::database::server::{Place, ServerError, Session, Statement, Target};
use node_agent::system::clock::boottime;
use tokio::signal::unix::{SignalKind, signal};

/// Writes numbered rows into shop.orders until its time is over.
#[derive(Debug, Parser)]
struct Options {
    /// The master's name, looked up at each connection.
    #[arg(long, default_value = "mysql-master")]
    host: String,
    /// Its port.
    #[arg(long, default_value_t = 3306)]
    port: u16,
    /// The account, and its password.
    #[arg(long, default_value = "app")]
    user: String,
    /// The first number; each writer needs a range of its own.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Between two writes, in milliseconds.
    #[arg(long, default_value_t = 20)]
    pause: u64,
    /// How long an answer is waited for, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    patience: u64,
    /// How long it goes on, in seconds, unless SIGTERM ends it: then the write under way is still recorded.
    #[arg(long = "for", default_value_t = 30)]
    seconds: u64,
    /// Writes nothing, and holds as many connections as it gets, at most so many.
    #[arg(long, default_value_t = 0)]
    hold: usize,
}

/// Holds connections until its time is over.
async fn hold(options: &Options) {
    let mut held = Vec::new();
    let end = boottime() + Duration::from_secs(options.seconds);
    while boottime() < end {
        match connect(options).await {
            Ok(session) if held.len() < options.hold => held.push(session),
            // Full: as soon as somebody else's place becomes free it is taken too.
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn millis() -> u64 {
    u64::try_from(boottime().as_millis()).unwrap_or(u64::MAX)
}

/// A session with whoever has the name now, and that server's number.
async fn connect(options: &Options) -> Result<(Session, u32), ServerError> {
    let place = options.host.clone();
    let unreachable = |cause: String| ServerError::Unreachable {
        place: place.clone(),
        cause,
    };
    let address: SocketAddr = (options.host.as_str(), options.port)
        .to_socket_addrs()
        .map_err(|error| unreachable(error.to_string()))?
        .next()
        .ok_or_else(|| unreachable("no address".to_owned()))?;
    let session = Session::new(
        Place {
            target: Target::Tcp(address),
            account: Account {
                user: options.user.clone(),
                password: Secret::new(options.user.clone()),
            },
            tls: None,
        },
        Vec::new(),
    );
    let patience = Duration::from_millis(options.patience);
    let who = Statement::new("SELECT @@server_id AS id");
    let rows = session.ask(&who, patience).await?;
    let id = rows.first().and_then(|row| row.number("id"));
    Ok((session, id.unwrap_or(0)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::parse();
    let patience = Duration::from_millis(options.patience);
    let end = boottime() + Duration::from_secs(options.seconds);
    if options.hold > 0 {
        return hold(&options).await;
    }
    let ended = Arc::new(AtomicBool::new(false));
    if let Ok(mut term) = signal(SignalKind::terminate()) {
        let ended = Arc::clone(&ended);
        tokio::spawn(async move {
            term.recv().await;
            ended.store(true, Ordering::Relaxed);
        });
    }
    let mut out = std::io::stdout().lock();
    let mut held: Option<(Session, u32)> = None;
    let mut id = options.first;
    while boottime() < end && !ended.load(Ordering::Relaxed) {
        let sent = millis();
        let mut server = 0;
        let done = match held.take() {
            Some(connection) => Ok(connection),
            // Nothing was sent: whatever happened, this row was not written.
            None => connect(&options).await.map_err(|error| ("failed", error)),
        };
        let done = match done {
            Err(failed) => Err(failed),
            Ok((session, id_of)) => {
                server = id_of;
                let write = Statement::new(format!("INSERT INTO shop.orders VALUES ({id}, 'w')"));
                match session.tell(&write, patience).await {
                    Ok(_) => {
                        held = Some((session, id_of));
                        Ok(())
                    }
                    Err(error @ (ServerError::Lost { .. } | ServerError::Hangs { .. })) => {
                        Err(("unknown", error))
                    }
                    Err(error) => Err(("failed", error)),
                }
            }
        };
        let (result, why) = match &done {
            Ok(()) => ("ok", String::new()),
            Err((result, error)) => (*result, error.to_string()),
        };
        let line = serde_json::json!({
            "id": id, "sent": sent, "ended": millis(), "result": result, "server": server, "why": why,
        });
        // Whoever started it has gone.
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return;
        }
        id += 1;
        tokio::time::sleep(Duration::from_millis(options.pause)).await;
    }
}
