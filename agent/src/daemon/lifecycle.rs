//! The daemon's life: start, the event loop, stop on SIGTERM.

use std::error::Error;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::box_state::BoxState;
use super::certificate_watch::CertificateWatch;
use super::database_drivers::DatabaseDrivers;
use super::dns_keeper::DnsKeeper;
use super::drift::DriftWatch;
use super::event_loop::EventLoop;
use super::eviction_watch::EvictionWatch;
use super::flapping::Flapping;
use super::fleet_summary::FleetSummary;
use super::lease_watch::LeaseWatch;
use super::publish_status::HEARTBEAT;
use super::readiness::Readiness;
use super::report_upload::ReportUpload;
use super::rollout_watch::RolloutWatch;
use super::run::CHECK_INTERVAL;
use super::service_health::ServiceHealth;
use super::signals::{StopSignals, hup};
use super::systemd;
use super::watchdog::Watchdog;
use crate::control::server::{ControlServer, DaemonChannels};
use crate::converge::intake::note_start;
use crate::converge::{ORDERS, Session, set_aside_damaged};
use crate::identity::hostname;
use crate::settings::{RUN_DIR, Settings};
use crate::system::chain;
use crate::system::file::Files;
use crate::system::lock::Lock;

/// The first run waits so long for the bucket, then it goes by the kept document: a boot does not wait for a bucket.
const FIRST_POLL: Duration = Duration::from_secs(3);
/// A run that goes on when the daemon is to stop has this long; then it is dropped, and made good at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long those who wait at the socket may take to hear that the daemon stops.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(300);

/// Stays and keeps the machine, until SIGTERM. Returns the exit code.
pub(super) async fn run_until_stopped(settings: Settings) -> Result<u8, Box<dyn Error>> {
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
    let (applies_in, applies) = mpsc::channel(8);
    let (orders_in, orders) = mpsc::channel(4);
    let (acknowledgements_in, acknowledgements) = mpsc::channel(4);
    let channels = DaemonChannels {
        status: status_seen,
        doing: doing_seen,
        applies: applies_in,
        orders: orders_in,
        acknowledgements: acknowledgements_in,
    };
    let serving = tokio::spawn(ControlServer::listen(&root)?.serve(channels));
    tracing::info!(
        event = "started",
        version = env!("CARGO_PKG_VERSION"),
        "agentd {} is up",
        env!("CARGO_PKG_VERSION")
    );

    // So that it can be watched before anybody has given an order.
    Files::new(root.clone()).create_dir(Path::new(ORDERS), 0o750)?;
    set_aside_damaged(&Files::new(root.clone()));
    // Before any document is read: it may be the one that the daemon before this one died of.
    note_start(&Files::new(root.clone()))?;
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
    let mut event_loop = EventLoop {
        files: Files::new(root.clone()),
        state: BoxState::new(&session),
        drift: DriftWatch::new(session.converger.files().clone()),
        flapping: Flapping::default(),
        service_health: ServiceHealth::default(),
        certificates: CertificateWatch::default(),
        readiness: Readiness::new(),
        booting: true,
        master_changed: false,
        evictions_changed: false,
        answered_once: false,
        request: None,
        lease_watch: LeaseWatch::new(),
        drivers: DatabaseDrivers::default(),
        dns_keeper: root.is_machine().then(|| {
            let name = hostname(&root).unwrap_or_default();
            DnsKeeper::start(Files::new(root.clone()), session.settings.dns.clone(), name)
        }),
        report_upload: session
            .settings
            .reports
            .then(|| ReportUpload::start(Arc::clone(&session.bucket), &root)),
        rollout_watch: session
            .settings
            .reports
            .then(|| RolloutWatch::start(Arc::clone(&session.bucket))),
        eviction_watch: root
            .is_machine()
            .then(|| EvictionWatch::start(Arc::clone(&session.bucket), session.evictions())),
        fleet_summary: FleetSummary::default(),
        next_poll: now,
        next_check: now + FIRST_POLL,
        next_write: now + HEARTBEAT,
        next_identity_check: now + CHECK_INTERVAL,
        applies,
        orders,
        acknowledgements,
        status,
        watchdog: Rc::new(Watchdog::new(doing)),
        stopped: stopped.clone(),
        session,
    };
    {
        let running = event_loop.run_until_stopped(hup, stopped);
        tokio::pin!(running);
        tokio::select! {
            () = &mut running => {}
            () = stop_signals.next() => {
                systemd::stopping();
                stop.send_replace(true);
                tokio::select! {
                    () = &mut running => {}
                    () = stop_signals.next() => {}
                    () = sleep(STOP_PATIENCE) => {
                        tracing::warn!(event = "run-cut-off", "the run did not end in time; the next start makes it good");
                    }
                }
            }
        }
    }
    event_loop.drivers.stop().await;
    // Told to stop: nobody died of anything.
    event_loop.session.intake.give_up_reading();
    if let Err(error) = event_loop.session.intake.settle() {
        tracing::warn!(
            event = "state-not-read",
            error = chain(&error),
            "{}",
            chain(&error)
        );
    }
    // Closes the channels: the control server ends by itself, once who waits has been told.
    drop(event_loop);
    let _ = timeout(GOODBYE_PATIENCE, serving).await;
    tracing::info!(event = "stopped", "agentd ends");
    Ok(0)
}
