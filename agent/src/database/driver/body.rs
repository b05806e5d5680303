//! The server on this machine: looked at, made to beat, closed, opened, led to its source.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::seat::Seat;
use crate::database::deadman::{Armed, DeadMan, Gate, NftGate};
use crate::database::gtid::{Containment, Gtids};
use crate::database::lease::Lease;
use crate::database::protocol::{Beat, Health, History, Life, Ms, Replica, ServerId};
use crate::database::server::{
    self, Log, Observation, Place, Process, Progress, Server, ServerError, Target, ThreadState,
};
use crate::settings::DeadmanUse;
use crate::system::clock;
use crate::system::crash;
use crate::system::process::Identity;

/// How often a question may last longer than a request to the bucket: a look is several statements.
const PATIENCE: u32 = 2;
/// How often, and how far apart, is looked whether a process that has closed a connection ends.
const DYING: u32 = 10;
const DYING_PAUSE: Duration = Duration::from_millis(20);
/// A master waits for so long for a replica's word: for ever.
const NO_FALLBACK: Duration = Duration::from_hours(24 * 30);
/// A server is led to its source within this time.
const FOLLOW: Duration = Duration::from_secs(10);

/// The server on this machine.
#[derive(Debug)]
pub(super) struct Body {
    server: Arc<Server>,
    process: Process,
    deadman: Option<Arc<dyn DeadMan>>,
    /// The process that was last seen to answer: one that has closed its socket may still write.
    known: Mutex<Option<Identity>>,
    /// Events that ran on the master before were enabled here.
    enabled: AtomicBool,
    progress: Progress,
    seat: Arc<Seat>,
}

/// Now, as the protocol counts.
pub(super) fn now() -> Ms {
    ms(clock::boottime())
}

fn ms(span: Duration) -> Ms {
    Ms::try_from(span.as_millis()).unwrap_or(Ms::MAX)
}

impl Body {
    pub(super) fn new(seat: &Arc<Seat>) -> Self {
        let place = Self::place(seat);
        let peers: Vec<IpAddr> = seat.members().map(|member| member.address).collect();
        let gate = Gate {
            product: seat.product.to_string(),
            port: seat.port,
            peers,
        };
        let deadman = (seat.settings.deadman == DeadmanUse::Nft)
            .then(|| Arc::new(NftGate::new(gate)) as Arc<dyn DeadMan>);
        Self {
            server: Arc::new(Server::new(&place, &seat.credentials.peer.user)),
            process: Process::of(&seat.socket),
            deadman,
            known: Mutex::default(),
            enabled: AtomicBool::new(false),
            progress: Progress::default(),
            seat: Arc::clone(seat),
        }
    }

    /// The server itself.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn place(seat: &Seat) -> Place {
        Place {
            target: Target::Socket(seat.socket.clone()),
            account: seat.credentials.local.clone(),
            tls: None,
        }
    }

    fn timeout(&self) -> Duration {
        self.seat.settings.times.timeout
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
        let seen = self.server.observe(self.timeout() * PATIENCE).await;
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
            if self.known().is_none_or(|known| !known.runs())
                && let Ok(Some(found)) = self.process.find()
            {
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
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
        let Some(known) = self.known() else {
            return false;
        };
        // A process that is being killed closes its connections first, and then gives back its memory.
        let dying = matches!(error, ServerError::Lost { .. });
        for _ in 0..DYING {
            if !known.runs() || !dying {
                break;
            }
            tokio::time::sleep(DYING_PAUSE).await;
        }
        self.has_ended()
    }

    /// Whether the process that was last seen to answer has ended, and no other runs in its place.
    fn has_ended(&self) -> bool {
        self.known().is_some_and(|known| !known.runs()) && matches!(self.process.find(), Ok(None))
    }

    fn known(&self) -> Option<Identity> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// Commits a heartbeat.
    pub(super) async fn beat(&self, epoch: u64, seq: u64) -> Beat {
        let product = self.seat.product.as_str();
        // Never a transaction: one that no replica had received would keep this server out once it is an old master. And
        // with semi-synchronous replication a master whose replicas are gone waits for them; it must not look dead meanwhile.
        let logged = false;
        let timeout = self.timeout();
        match self
            .server
            .heartbeat(product, epoch, seq, logged, timeout)
            .await
        {
            Ok(server::Beat::Written) => {
                match self.server.log(self.seat.semi_sync, timeout).await {
                    Ok(Log::Takes) => Beat::Done,
                    Ok(Log::WaitsForReplicas) => {
                        self.free_stranded();
                        Beat::Done
                    }
                    Err(error) => self.missed(&error).await,
                }
            }
            Ok(server::Beat::ReadOnly) => Beat::ReadOnly,
            // Full; or (1205) somebody holds all writes back, a backup or a person: their doing, and no dead server.
            Err(ServerError::Full { .. } | ServerError::Said { code: 1205, .. }) => Beat::Full,
            Err(ServerError::NoProcess { .. }) => Beat::Gone,
            Err(error) => self.missed(&error).await,
        }
    }

    /// Frees writers that wait for a word that was lost, in the background: a heartbeat waits for nobody.
    fn free_stranded(&self) {
        let givers: Vec<IpAddr> = self
            .seat
            .chain
            .iter()
            .filter(|member| member.name != self.seat.me && !self.seat.never.contains(&member.name))
            .map(|member| member.address)
            .collect();
        let (server, product, timeout) = (
            Arc::clone(&self.server),
            self.seat.product.clone(),
            self.timeout(),
        );
        tokio::spawn(async move {
            match server.free_stranded(&givers, timeout, timeout).await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(
                    event = "database-writers-freed",
                    product = %product,
                    count,
                    "a replica's word was lost with its connection, and writers waited for it: their connections were ended"
                ),
                Err(error) => tracing::warn!(
                    event = "database-writers-wait",
                    product = %product,
                    error = %error,
                    "whether writers wait for a replica's word in vain could not be seen"
                ),
            }
        });
    }

    async fn missed(&self, error: &ServerError) -> Beat {
        if self.is_gone(error).await {
            return Beat::Gone;
        }
        tracing::warn!(
            event = "database-heartbeat-failed",
            product = %self.seat.product,
            error = %error,
            "a heartbeat was not committed"
        );
        Beat::Failed
    }

    /// Closes the gate, then the server.
    pub(super) async fn close(self: &Arc<Self>) -> Result<(), String> {
        crash::point("database: close");
        if let Some(deadman) = &self.deadman
            && let Ok(Armed::Open(_) | Armed::Closed) = deadman.check().await
        {
            let _ = deadman.close().await;
        }
        let budget = self.seat.settings.times.fence_budget;
        let closed = self
            .server
            .close(budget)
            .await
            .map_err(|error| error.to_string())?;
        // Those that may write in spite of it would go on by the clock. Beside: the fence waits for nothing.
        let body = Arc::clone(self);
        tokio::spawn(async move { body.disable_events().await });
        tracing::info!(
            event = "database-closed",
            product = %self.seat.product,
            took_ms = ms(closed.took),
            killed = closed.killed,
            "the database server refuses writes"
        );
        Ok(())
    }

    /// Kills the process, and confirms that it is gone.
    pub(super) async fn kill(self: Arc<Self>) -> Result<(), String> {
        crash::point("database: kill");
        let product = self.seat.product.clone();
        let killing = tokio::task::spawn_blocking(move || {
            let known = self.known();
            self.process.kill(known.as_ref(), Duration::from_secs(2))
        });
        match killing.await {
            Ok(Ok(pid)) => {
                tracing::warn!(
                    event = "database-killed",
                    product = %product,
                    pid,
                    "the database server's process is gone"
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

    pub(super) async fn drain(&self, patience: Ms) -> Result<(), String> {
        crash::point("database: drain");
        let patience = Duration::from_millis(patience);
        let applied = self.server.wait_applied(patience).await;
        applied.map(drop).map_err(|error| error.to_string())
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

    /// Replication that waits, where the document wants that; elsewhere what is set up there is left alone.
    async fn prepare_semi_sync(&self, master: bool) -> Result<(), String> {
        if !self.seat.semi_sync {
            return Ok(());
        }
        self.switch_semi_sync(self.wanted_semi_sync(master), false)
            .await
    }

    /// What semi-synchronous replication should be, as a source and as a replica.
    pub(super) fn wanted_semi_sync(&self, master: bool) -> (bool, bool) {
        let semi = self.seat.semi_sync;
        (
            semi && master && self.seat.chain.len() > 1,
            semi && !master && self.gives_its_word(),
        )
    }

    /// Switches it. A replica's word counts from its next connection to the source on: where it receives, that one
    /// is made anew, while what was received goes on being applied.
    pub(super) async fn switch_semi_sync(
        &self,
        (source, replica): (bool, bool),
        receives: bool,
    ) -> Result<(), String> {
        let (server, deadline) = (&self.server, self.timeout() * 3);
        let switching = async {
            server
                .semi_sync(source, replica, NO_FALLBACK, deadline)
                .await?;
            if receives {
                server.receive_anew(deadline).await?;
            }
            Ok::<_, ServerError>(())
        };
        switching
            .await
            .map_err(|error| format!("semi-synchronous replication could not be switched: {error}"))
    }

    /// Whether a master may take this replica's word for a candidate's: whoever is never made master must not give it.
    fn gives_its_word(&self) -> bool {
        let seat = &self.seat;
        seat.chain.iter().any(|member| member.name == seat.me) && !seat.never.contains(&seat.me)
    }

    /// Has no event run by the clock here: that is the master's. Best effort, for it must not stand in the way of more.
    async fn disable_events(&self) {
        self.enabled.store(false, Ordering::Relaxed);
        match self.server.disable_events(self.timeout()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                event = "database-events-disabled",
                product = %self.seat.product,
                count,
                "events of the server's scheduler run on the master only"
            ),
            Err(error) => self.events_failed(&error),
        }
    }

    /// On the master: enables the events that ran on the one before, once; then notes which run.
    pub(super) async fn mind_events(&self) {
        let timeout = self.timeout();
        if !self.enabled.load(Ordering::Relaxed) {
            match self.server.enable_events(timeout).await {
                Ok(count) => {
                    self.enabled.store(true, Ordering::Relaxed);
                    if count > 0 {
                        tracing::info!(
                            event = "database-events-enabled",
                            product = %self.seat.product,
                            count,
                            "events of the server's scheduler that ran on the master before run here now"
                        );
                    }
                }
                Err(error) => {
                    // What the server refused it would refuse again; the others are enabled.
                    let refused = matches!(error, ServerError::Said { .. });
                    self.enabled.store(refused, Ordering::Relaxed);
                    return self.events_failed(&error);
                }
            }
        }
        if let Err(error) = self.server.note_events(timeout).await {
            self.events_failed(&error);
        }
    }

    fn events_failed(&self, error: &ServerError) {
        tracing::warn!(
            event = "database-events-failed",
            product = %self.seat.product,
            error = %error,
            "events of the server's scheduler could not be enabled, disabled or noted"
        );
    }

    /// How far a copy of the master is.
    pub(super) fn progress(&self) -> Option<(u64, u64)> {
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
        if self.server.wants_copy(upstream, FOLLOW).await == Ok(true) {
            return self.reseed(upstream, source).await;
        }
        let followed = self.server.follow(upstream, source, FOLLOW).await;
        followed.map_err(|error| error.to_string())
    }

    pub(super) async fn start(&self, upstream: &Server) -> Result<(), String> {
        crash::point("database: start replication");
        self.disable_events().await;
        self.prepare_semi_sync(false).await?;
        let started = self.server.start_replication(upstream, FOLLOW).await;
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

    pub(super) async fn disarm(&self) {
        if let Some(deadman) = &self.deadman
            && let Err(error) = deadman.disarm().await
        {
            tracing::warn!(
                event = "database-disarm-failed",
                product = %self.seat.product,
                error = %error,
                "the dead-man could not be taken away: clients may not reach this replica"
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

/// Whether what has stopped the applying thread is in the data. A disk that was full, memory that was short, a lock that
/// was waited for too long are over one day, and the same transaction goes through then.
fn is_of_the_data((code, _): &(u16, String)) -> bool {
    !matches!(code, 1021 | 1026 | 1037 | 1038 | 1041 | 1114 | 1205 | 1213)
}

/// How the server looks to the protocol.
pub(super) fn health(
    seen: &Result<Observation, ServerError>,
    lease: Option<&Lease>,
    source: impl Fn(&str) -> Option<ServerId>,
    errant: u64,
) -> Health {
    let dead = |life| Health {
        life,
        read_only: true,
        replica: None,
        missing: 0,
        errant: 0,
        sane: false,
        history: History::Blank,
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(ServerError::Full { .. }) => return dead(Life::Full),
        Err(ServerError::NoProcess { .. }) => return dead(Life::Gone),
        Err(ServerError::Hangs { .. } | ServerError::Lost { .. }) => return dead(Life::Hangs),
        Err(_) => return dead(Life::Denied),
    };
    let goal = lease.filter(|lease| !lease.gtid.is_empty());
    let missing = goal.map_or(0, |lease| {
        // A position of another flavour cannot be compared: nobody takes over from what he does not understand.
        Gtids::parse(seen.flavour, &lease.gtid).map_or(u64::MAX, |goal| goal.beyond(&seen.reach()))
    });
    Health {
        life: Life::Answers,
        read_only: seen.read_only,
        replica: seen.replication.as_ref().map(|replication| Replica {
            source: source(&replication.host),
            receives: replication.io.state == ThreadState::Running,
            stopped: replication.io.state == ThreadState::Stopped,
            applies: replication.sql.state == ThreadState::Running,
            broken: replication.io.state == ThreadState::Stopped && replication.io.error.is_some()
                || replication.sql.state == ThreadState::Stopped
                    && replication.sql.error.as_ref().is_some_and(is_of_the_data),
        }),
        missing,
        errant,
        sane: seen.strict,
        history: history(seen, lease),
    }
}

/// How what a server has compares with what the lease's last owner had.
fn history(seen: &Observation, lease: Option<&Lease>) -> History {
    if seen.executed.is_empty() {
        return History::Blank;
    }
    let last = lease
        .and_then(|lease| lease.previous.as_ref())
        .and_then(|previous| Gtids::parse(seen.flavour, &previous.gtid).ok());
    match last.map(|last| last.contains(&seen.executed.tip())) {
        Some(Containment::Yes) => History::Contained,
        _ => History::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_one_day_is_told_from_what_is_in_the_data() {
        let of_the_data = |code| is_of_the_data(&(code, String::new()));
        // A full table space, a full disk, a lock's timeout.
        assert!(![1114, 1021, 1205].into_iter().any(of_the_data));
        // A row that is there already, one that is not there, a GTID out of order, a syntax error.
        assert!([1062, 1032, 1950, 1064].into_iter().all(of_the_data));
    }
}
