//! The database server on this machine: observed, heartbeats written, closed, opened, led to its source.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::context::Context;
use crate::database::deadman::{Armed, DeadMan, DeadManError, Gate, NftGate};
use crate::database::protocol::{Beat, Ms};
use crate::database::server::audit::AuditFinding;
use crate::database::server::omissions;
use crate::database::server::{
    self, Log, Observation, Place, Process, Progress, Server, ServerError, Target, ThreadState,
};
use crate::settings::DeadmanUse;
use crate::system::clock;
use crate::system::crash;
use crate::system::process::Identity;

/// An observation may take so many times the deadline of a request to the bucket: it is several statements.
const OBSERVATION_FACTOR: u32 = 2;
/// How often, and how far apart, is looked whether a process that has closed a connection ends.
const DYING_CHECKS: u32 = 10;
const DYING_PAUSE: Duration = Duration::from_millis(20);
/// How long nothing may be applied before clients are taken for what is in the way, and how often they are ended for that.
const STANDSTILL: Duration = Duration::from_secs(2);
const CLEARINGS: u32 = 3;
/// A server to which is handed over applies a small transaction within this time.
const PROOF: Duration = Duration::from_secs(3);
/// Between two looks at all tables.
const ENGINES_INTERVAL: Duration = Duration::from_mins(30);
/// A server is led to its source within this time.
const FOLLOW_LIMIT: Duration = Duration::from_secs(10);

/// The server on this machine.
#[derive(Debug)]
pub(super) struct LocalServer {
    pub(super) server: Arc<Server>,
    process: Process,
    deadman: Option<Arc<dyn DeadMan>>,
    /// The process that was last seen to answer: one that has closed its socket may still write.
    known_process: Mutex<Option<Identity>>,
    /// Tables whose engines keep no rows, and when that was looked at.
    engines: Mutex<Option<(Ms, Vec<AuditFinding>)>>,
    /// Events that ran on the master before were enabled here.
    pub(super) events_enabled: AtomicBool,
    progress: Progress,
    pub(super) context: Arc<Context>,
}

/// Now, as the protocol counts.
pub(super) fn now() -> Ms {
    ms(clock::boottime())
}

fn ms(span: Duration) -> Ms {
    Ms::try_from(span.as_millis()).unwrap_or(Ms::MAX)
}

impl LocalServer {
    pub(super) fn new(context: &Arc<Context>) -> Self {
        let place = Self::place(context);
        let peers: Vec<IpAddr> = context.members().map(|member| member.address).collect();
        let gate = Gate {
            product: context.product.to_string(),
            port: context.port,
            peers,
        };
        let deadman = (context.settings.deadman == DeadmanUse::Nft)
            .then(|| Arc::new(NftGate::new(gate)) as Arc<dyn DeadMan>);
        Self {
            server: Arc::new(Server::new(&place, &context.credentials.peer.user)),
            process: Process::of(&context.socket),
            deadman,
            known_process: Mutex::default(),
            engines: Mutex::default(),
            events_enabled: AtomicBool::new(false),
            progress: Progress::default(),
            context: Arc::clone(context),
        }
    }

    /// The same server, as another version of the document has its cluster: its process stays known.
    pub(super) fn with_context(&self, context: &Arc<Context>) -> Self {
        let next = Self::new(context);
        if context.socket == self.context.socket {
            *next
                .known_process
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = self.known_process();
        }
        next
    }

    /// The server itself.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn place(context: &Context) -> Place {
        Place {
            target: Target::Socket(context.socket.clone()),
            account: context.credentials.local.clone(),
            tls: None,
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.context.settings.times.timeout
    }

    /// Looks at the server.
    pub(super) async fn observe(&self) -> Result<Observation, ServerError> {
        if self.has_ended() {
            // Who connects to the socket of a server that is gone may wait for long: systemd may hold it.
            return Err(ServerError::NoProcess {
                place: self.server.name().to_owned(),
                cause: "its process has ended".to_owned(),
            });
        }
        let seen = self
            .server
            .observe(self.timeout() * OBSERVATION_FACTOR)
            .await;
        if let Ok(seen) = &seen {
            self.process.note(seen.pid_file.as_deref());
        }
        if let Err(error) = &seen
            && self.is_gone(error).await
        {
            return Err(ServerError::NoProcess {
                place: self.server.name().to_owned(),
                cause: error.to_string(),
            });
        }
        if seen.is_ok() {
            // Not each time: whoever connects and says nothing is a warning in the server's log.
            if self.known_process().is_none_or(|known| !known.runs())
                && let Ok(Some(found)) = self.process.find()
            {
                *self
                    .known_process
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(found);
            }
            // For the day on which it has no connection left. That it cannot be had now is no news.
            let _ = self.server.reserve(self.timeout()).await;
        }
        seen
    }

    /// Whether the process that was last seen to answer has ended, and no other runs: a client alone may take a server
    /// that is gone for one that is slow.
    async fn is_gone(&self, error: &ServerError) -> bool {
        if error.alive() {
            return false;
        }
        let Some(known) = self.known_process() else {
            return false;
        };
        // A process that is being killed closes its connections first, and then gives back its memory.
        let dying = matches!(error, ServerError::Lost { .. });
        for _ in 0..DYING_CHECKS {
            if !known.runs() || !dying {
                break;
            }
            tokio::time::sleep(DYING_PAUSE).await;
        }
        self.has_ended()
    }

    /// Whether the process that was last seen to answer has ended, and no other runs in its place.
    fn has_ended(&self) -> bool {
        self.known_process().is_some_and(|known| !known.runs())
            && matches!(self.process.find(), Ok(None))
    }

    fn known_process(&self) -> Option<Identity> {
        let known = self
            .known_process
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// Tables whose engines keep no rows, or keep them elsewhere: as they were half an hour ago at the most. Of a server that
    /// does not answer in time, what was seen last.
    pub(super) async fn engines(&self, patience: Duration) -> Vec<AuditFinding> {
        let lock = || self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().clone();
        if let Some((at, findings)) = &known
            && now().saturating_sub(*at) < ms(ENGINES_INTERVAL)
        {
            return findings.clone();
        }
        match omissions::engines(&self.server, patience).await {
            Ok(findings) => {
                *lock() = Some((now(), findings.clone()));
                findings
            }
            Err(_) => known.map(|(_, findings)| findings).unwrap_or_default(),
        }
    }

    /// Commits a heartbeat.
    pub(super) async fn heartbeat(&self, epoch: u64, seq: u64) -> Beat {
        let product = self.context.product.as_str();
        // Never a transaction: one that no replica had received would keep this server out once it is an old master. And
        // with semi-synchronous replication a master whose replicas are gone waits for them; it must not look dead meanwhile.
        let logged = false;
        let timeout = self.timeout();
        match self
            .server
            .heartbeat(product, epoch, seq, logged, timeout)
            .await
        {
            Ok(server::HeartbeatResult::Written) => {
                match self.server.log(self.context.semi_sync, timeout).await {
                    Ok(Log::Takes) => Beat::Done,
                    Ok(Log::WaitsForReplicas) => {
                        self.free_stranded();
                        Beat::Done
                    }
                    Err(error) => self.heartbeat_failed(&error).await,
                }
            }
            Ok(server::HeartbeatResult::ReadOnly) => Beat::ReadOnly,
            // Full; or (1205) somebody holds all writes back, a backup or a person: their doing, and no dead server.
            Err(ServerError::Full { .. } | ServerError::Said { code: 1205, .. }) => Beat::Full,
            Err(ServerError::NoProcess { .. }) => Beat::Gone,
            Err(error) => self.heartbeat_failed(&error).await,
        }
    }

    async fn heartbeat_failed(&self, error: &ServerError) -> Beat {
        if self.is_gone(error).await {
            return Beat::Gone;
        }
        tracing::warn!(
            event = "database-heartbeat-failed",
            product = %self.context.product,
            error = %error,
            "{}: a heartbeat was not committed: {error}",
                self.context.product
        );
        Beat::Failed
    }

    /// Closes the gate, then the server.
    pub(super) async fn close(self: &Arc<Self>) -> Result<(), String> {
        crash::point("database: close");
        self.close_gate().await;
        let budget = self.context.settings.times.fence_budget;
        let closed = self
            .server
            .close(budget)
            .await
            .map_err(|error| error.to_string())?;
        // Those that may write in spite of it would go on by the clock. Beside: the fence waits for nothing.
        let local = Arc::clone(self);
        tokio::spawn(async move { local.disable_events().await });
        tracing::info!(
            event = "database-closed",
            product = %self.context.product,
            took_ms = ms(closed.took),
            killed = closed.killed,
            "{}: the database server refuses writes, after {} ms{}",
                self.context.product, ms(closed.took), if closed.killed > 0 { " (killed)" } else { "" }
        );
        Ok(())
    }

    /// Closes the gate, where there is one.
    async fn close_gate(&self) {
        // Not asked before whether it is there: that costs time, and whoever took it over may not know its rules. Closing one that
        // is not there does nothing.
        if let Some(deadman) = &self.deadman {
            let _ = deadman.close().await;
        }
    }

    /// Closes the gate, kills the process, and confirms that it is gone. It may be started again by its unit at once.
    pub(super) async fn kill(self: Arc<Self>) -> Result<(), String> {
        crash::point("database: kill");
        self.close_gate().await;
        let product = self.context.product.clone();
        let killing = tokio::task::spawn_blocking(move || {
            let known = self.known_process();
            self.process.kill(known.as_ref(), Duration::from_secs(2))
        });
        match killing.await {
            Ok(Ok(pid)) => {
                tracing::warn!(
                    event = "database-killed",
                    product = %product,
                    pid,
                    "{product}: the database server's process is gone (pid {pid:?})"
                );
                Ok(())
            }
            Ok(Err(error)) => Err(crate::system::chain(&error)),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) async fn stop_receiving(&self) -> Result<(), String> {
        crash::point("database: stop receiving");
        let patience = self.timeout() * 3;
        let seen = self
            .server
            .observe(patience)
            .await
            .map_err(|it| it.to_string())?;
        match seen.replication {
            Some(replication) if replication.io.state != ThreadState::Stopped => self
                .server
                .stop_receiving(patience)
                .await
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    /// Applies all that was received. Where that stands still for seconds, clients here are in its way, with a table locked or
    /// a snapshot open: their connections are ended, for this server is to become the master.
    pub(super) async fn drain(&self, patience: Ms) -> Result<(), String> {
        crash::point("database: drain");
        let patience = Duration::from_millis(patience);
        let applied = self.server.wait_applied(patience);
        tokio::pin!(applied);
        let mut ended = 0;
        loop {
            let stands = tokio::time::sleep(STANDSTILL);
            tokio::select! {
                applied = &mut applied => return applied.map(drop).map_err(|error| error.to_string()),
                () = stands, if ended < CLEARINGS => {}
            }
            let before = self.server.position(self.timeout()).await.ok();
            tokio::time::sleep(DYING_PAUSE * 10).await;
            if before.is_some() && self.server.position(self.timeout()).await.ok() == before {
                ended += 1;
                self.end_clients().await;
            }
        }
    }

    async fn end_clients(&self) {
        let count = self.server.kill_clients(self.timeout()).await.unwrap_or(0);
        tracing::warn!(
            event = "database-clients-ended",
            product = %self.context.product,
            count,
            "{}: what was received is not applied, and this server is to become the master: {count} connections of clients here were ended",
            self.context.product
        );
    }

    /// Writes a transaction, and sees `other` apply it.
    pub(super) async fn prove(&self, other: &Server, epoch: u64) -> Result<(), String> {
        let (product, timeout) = (self.context.product.as_str(), self.timeout());
        let text = |error: ServerError| error.to_string();
        let beat = self.server.heartbeat(product, epoch, 0, true, timeout * 2);
        beat.await.map_err(text)?;
        let position = self.server.position(timeout).await.map_err(text)?;
        other.wait_has(&position, PROOF).await.map_err(|error| {
            format!(
                "it has not applied within {} s what was written on the master just now ({error})",
                PROOF.as_secs()
            )
        })
    }

    pub(super) async fn forget(&self) -> Result<(), String> {
        crash::point("database: forget the source");
        let forgotten = self.server.forget_source(self.timeout() * 3).await;
        forgotten.map_err(|error| error.to_string())
    }

    /// Accepts writes, unless it is too late for that.
    pub(super) async fn open(&self, until: Ms) -> Result<(), String> {
        crash::point("database: open");
        // Before the first client's commit, or that one waits for nobody.
        self.prepare_semi_sync(true).await?;
        let left = until.saturating_sub(now());
        if left <= ms(self.timeout()) / 2 {
            return Err("the lease ran out before the server could be opened".to_owned());
        }
        let patience = self.timeout().min(Duration::from_millis(left));
        let opened = self.server.open(patience).await;
        opened.map_err(|error| error.to_string())
    }

    /// How far a copy of the master is: bytes copied, and about how many there are.
    pub(super) fn copy_progress(&self) -> Option<(u64, u64)> {
        self.progress.get()
    }

    /// Makes it anew from the master.
    pub(super) async fn reseed(
        &self,
        upstream: &Server,
        source: &server::Source,
    ) -> Result<(), String> {
        crash::point("database: make anew");
        self.prepare_semi_sync(false).await?;
        let copied = self.server.reseed(upstream, source, &self.progress).await;
        copied.map_err(|error| crate::system::chain(&error))
    }

    /// Forgets what it wrote itself, which changes nothing.
    pub(super) async fn forget_idle_writes(&self, upstream: &Server) -> Result<(), String> {
        let forgotten = self.server.forget_idle_writes(upstream, FOLLOW_LIMIT).await;
        forgotten.map_err(|error| error.to_string())
    }

    /// Leads it to its source.
    pub(super) async fn follow(
        &self,
        upstream: &Server,
        source: &server::Source,
    ) -> Result<(), String> {
        crash::point("database: follow");
        self.disable_events().await;
        self.prepare_semi_sync(false).await?;
        // A new server has nothing that a copy could cost anybody.
        if self.server.wants_copy(upstream, FOLLOW_LIMIT).await == Ok(true) {
            return self.reseed(upstream, source).await;
        }
        let followed = self.server.follow(upstream, source, FOLLOW_LIMIT).await;
        followed.map_err(|error| error.to_string())
    }

    pub(super) async fn start(&self, upstream: &Server) -> Result<(), String> {
        crash::point("database: start replication");
        self.disable_events().await;
        self.prepare_semi_sync(false).await?;
        let started = self.server.start_replication(upstream, FOLLOW_LIMIT).await;
        started.map_err(|error| error.to_string())
    }

    /// Arms the dead-man.
    pub(super) async fn arm(&self, until: Ms) -> Result<(), String> {
        crash::point("database: arm");
        let Some(deadman) = &self.deadman else {
            return Err("agentd.toml says deadman = \"off\"".to_owned());
        };
        deadman
            .arm(Duration::from_millis(until))
            .await
            .map_err(|error| error.to_string())
    }

    /// Feeds it; an error means that it is not armed.
    pub(super) async fn feed(&self, until: Ms) -> Result<(), String> {
        let Some(deadman) = &self.deadman else {
            return Ok(());
        };
        deadman
            .feed(Duration::from_millis(until))
            .await
            .map_err(|error| error.to_string())
    }

    /// Puts the gate in place, shut; an error means that there is none.
    pub(super) async fn shut(&self) -> Result<(), String> {
        let Some(deadman) = &self.deadman else {
            return Err("agentd.toml says deadman = \"off\"".to_owned());
        };
        deadman.shut().await.map_err(|error| error.to_string())
    }

    /// Takes over the gate that an earlier agent left, if there is one. `None`: that could not be seen now, and is to be tried again.
    pub(super) async fn adopt_gate(&self) -> Option<bool> {
        let Some(deadman) = &self.deadman else {
            return Some(false);
        };
        match deadman.adopt().await {
            Ok(found) => {
                if found {
                    tracing::info!(
                        event = "database-gate-found",
                        product = %self.context.product,
                        "{}: an earlier agent left a dead-man's gate in place: it is taken over",
                        self.context.product
                    );
                }
                Some(found)
            }
            // There is none on this machine: told where it is to be armed.
            Err(DeadManError::Unsupported(_)) => Some(false),
            Err(_) => None,
        }
    }

    pub(super) async fn disarm(&self) {
        if let Some(deadman) = &self.deadman
            && let Err(error) = deadman.disarm().await
        {
            tracing::warn!(
                event = "database-disarm-failed",
                product = %self.context.product,
                error = %error,
                "{}: the dead-man could not be taken away: clients may not reach this replica: {error}",
                self.context.product
            );
        }
    }

    /// Whether the dead-man is in place; `None`: nobody says.
    pub(super) async fn is_armed(&self) -> Option<bool> {
        let Some(deadman) = &self.deadman else {
            return Some(false);
        };
        match timeout(self.timeout(), deadman.check()).await {
            Ok(Ok(armed)) => Some(armed != Armed::Absent),
            _ => None,
        }
    }
}
