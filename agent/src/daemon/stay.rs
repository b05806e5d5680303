//! From the daemon's start to its end: signals, the socket, the loop between them.

use std::error::Error;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::agent::Agent;
use super::drift::Drift;
use super::fights::Fights;
use super::keepers::Keepers;
use super::leases::Leases;
use super::picture::Picture;
use super::running::LOOK;
use super::services::Services;
use super::showing::HEARTBEAT;
use super::signals::{StopSignals, hup};
use super::signs::Signs;
use super::systemd;
use crate::control::server::{Desk, Server};
use crate::converge::Session;
use crate::settings::{RUN_DIR, Settings};
use crate::system::file::Files;
use crate::system::lock::Lock;

/// The first run waits so long for the bucket, then it goes by the kept document: a boot does not wait for a bucket.
const FIRST_POLL: Duration = Duration::from_secs(3);
/// A run that goes on when the daemon is to stop has this long; then it is dropped, and made good at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long those who wait at the socket may take to hear that the daemon stops.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Stays and keeps the machine, until SIGTERM. Returns the exit code.
pub(super) async fn stay(settings: Settings) -> Result<u8, Box<dyn Error>> {
    let root = settings.root.clone();
    let Some(_only) = Lock::try_take(&root, &Path::new(RUN_DIR).join("daemon.lock"))? else {
        let ask = if root.is_machine() {
            "agentctl status".into()
        } else {
            format!("agentctl --root {} status", root.dir().display())
        };
        return Err(format!("agentd runs already on this machine: see {ask}").into());
    };
    // Before anything else: a signal during the start must end or reload the daemon, not kill it.
    let (mut stop_signals, hup) = (StopSignals::new()?, hup()?);
    let (status, status_seen) = watch::channel(None);
    let (doing, doing_seen) = watch::channel(String::from("starting"));
    let (wishes, applies) = mpsc::channel(8);
    let (ordering, orders) = mpsc::channel(4);
    let desk = Desk {
        status: status_seen,
        doing: doing_seen,
        applies: wishes,
        orders: ordering,
    };
    let serving = tokio::spawn(Server::listen(&root)?.serve(desk));
    tracing::info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        "agentd is up"
    );

    systemd::status("finding out which server this is");
    let session = tokio::select! {
        session = Session::open(settings) => session?,
        () = stop_signals.next() => {
            systemd::stopping();
            return Ok(0);
        }
    };
    session.converger.set_booting(true);
    let (stop, stopped) = watch::channel(false);
    let now = Instant::now();
    let mut agent = Agent {
        files: Files::new(root.clone()),
        picture: Picture::new(&session),
        drift: Drift::new(&root),
        fights: Fights::default(),
        services: Services::default(),
        booting: true,
        overtaken: false,
        heard_once: false,
        asking: None,
        leases: Leases::new(),
        keepers: Keepers::default(),
        next_poll: now,
        next_look: now + FIRST_POLL,
        next_write: now + HEARTBEAT,
        next_clues: now + LOOK,
        applies,
        orders,
        status,
        signs: Rc::new(Signs::new(doing)),
        stopped: stopped.clone(),
        session,
    };
    {
        let turning = agent.turn(hup, stopped);
        tokio::pin!(turning);
        tokio::select! {
            () = &mut turning => {}
            () = stop_signals.next() => {
                systemd::stopping();
                stop.send_replace(true);
                tokio::select! {
                    () = &mut turning => {}
                    () = stop_signals.next() => {}
                    () = sleep(STOP_PATIENCE) => {
                        tracing::warn!(event = "run-cut-off", "the run did not end in time; the next start makes it good");
                    }
                }
            }
        }
    }
    agent.keepers.stop().await;
    // Closes the desk: the server ends by itself, once who waits has been told.
    drop(agent);
    let _ = timeout(LAST_WORDS, serving).await;
    tracing::info!(event = "stopped", "agentd ends");
    Ok(0)
}
