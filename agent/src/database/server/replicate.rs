//! Replication: stopped, waited for, forgotten, set up, started. What would lose or mix transactions is refused.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::gtid::{Containment, Flavour, Gtids};
use super::dialect::Source;
use super::error::ServerError;
use super::instance::{Server, within};
use super::observation::{Observation, Replication, ThreadState};
use super::session::Statement;

/// Between two looks at the applying thread.
const PAUSE: Duration = Duration::from_millis(50);

/// What a server has that no product put there.
pub(super) const SYSTEM_SCHEMAS: &str =
    "'mysql', 'information_schema', 'performance_schema', 'sys', 'agentd', 'agentd_local', 'test'";

impl Server {
    fn refuse<T>(&self, why: String) -> Result<T, ServerError> {
        Err(ServerError::Unsafe {
            place: self.name().to_owned(),
            why,
        })
    }

    /// Stops receiving, and nothing else.
    ///
    /// Refused where the applying thread stands and something received waits for it: with both threads standing, the
    /// next start of either throws away what was received and not applied.
    pub async fn stop_receiving(&self, deadline: Duration) -> Result<(), ServerError> {
        let seen = self.observe(deadline).await?;
        if let Some(replication) = &seen.replication
            && replication.sql.state == ThreadState::Stopped
        {
            self.drained(&seen)?;
        }
        let dialect = self.dialect(deadline).await?;
        let stop = dialect.stop_receiving();
        self.admin().tell(&stop, deadline).await.map(drop)
    }

    /// Connects to the source anew, for settings that count from then on. Only where the applying thread runs: that
    /// keeps what was received.
    pub async fn receive_anew(&self, deadline: Duration) -> Result<(), ServerError> {
        let seen = self.observe(deadline).await?;
        let applies = |it: &Replication| it.sql.state == ThreadState::Running;
        if !seen.replication.as_ref().is_some_and(applies) {
            return self.refuse("it does not apply what it receives".to_owned());
        }
        let dialect = self.dialect(deadline).await?;
        for statement in [dialect.stop_receiving(), dialect.start_receiving()] {
            self.admin().tell(&statement, deadline).await?;
        }
        Ok(())
    }

    /// Waits until all that was received is applied; the position reached. Receiving should be stopped, or the goal moves.
    ///
    /// Returns before `deadline` with an error where the applying thread stands: waiting would be in vain.
    pub async fn wait_applied(&self, deadline: Duration) -> Result<Gtids, ServerError> {
        let wait = async {
            let dialect = self.dialect(deadline).await?;
            loop {
                let seen = self.observe(deadline).await?;
                let Some(replication) = &seen.replication else {
                    return Ok(seen.executed);
                };
                let received = replication.received.clone();
                let lacking = received
                    .as_ref()
                    .filter(|received| seen.executed.contains(received) != Containment::Yes);
                let Some(goal) = lacking else {
                    return Ok(seen.executed);
                };
                if replication.sql.state == ThreadState::Stopped {
                    let cause = match &replication.sql.error {
                        Some((code, text)) => format!("error {code}: {text}"),
                        None => "somebody stopped it".to_owned(),
                    };
                    return self.refuse(format!(
                        "it received {goal} and does not apply it, for its applying thread stands ({cause})"
                    ));
                }
                // In short turns, for the thread may stop meanwhile. It keeps the session busy, so not the observer's.
                let turn = dialect.wait_applied(goal, Duration::from_secs(1));
                self.admin().ask(&turn, deadline).await?;
                sleep(PAUSE).await;
            }
        };
        within(
            deadline,
            self.name(),
            "all that was received to be applied",
            wait,
        )
        .await
    }

    /// Forgets its source, so that no restart follows it again. Refused while something received is not applied.
    pub async fn forget_source(&self, deadline: Duration) -> Result<(), ServerError> {
        let seen = self.observe(deadline).await?;
        if seen.replication.is_none() {
            return Ok(());
        }
        self.drained(&seen)?;
        let dialect = self.dialect(deadline).await?;
        for statement in dialect.forget() {
            self.admin().tell(&statement, deadline).await?;
        }
        Ok(())
    }

    fn drained(&self, seen: &Observation) -> Result<(), ServerError> {
        let received = seen
            .replication
            .as_ref()
            .and_then(|it| it.received.as_ref());
        match received {
            Some(received) if seen.executed.contains(received) != Containment::Yes => {
                self.refuse(format!(
                    "it received {received} and has applied {} only: what is between would be lost; have it applied first \
                     (START SLAVE SQL_THREAD, or START REPLICA SQL_THREAD)",
                    seen.executed.tip()
                ))
            }
            _ => Ok(()),
        }
    }

    /// Follows `source`, where `upstream` is that very server as we can ask it.
    ///
    /// Refused unless this server is read-only, strict, and has nothing that the source lacks. What it has received from
    /// another source is applied first; where it does not apply, that is refused too. A server without transactions follows
    /// only a source that has no databases either: replication brings what is written from now on, never what was there
    /// before.
    pub async fn follow(
        &self,
        upstream: &Self,
        source: &Source,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        self.check_account(&source.account)?;
        let mut own = self.observe(deadline).await?;
        let other = self.suits(&own, upstream, deadline).await?;
        if own.replication.as_ref().is_some_and(|replication| {
            replication.follows(source.address.ip(), source.address.port())
                && replication.by_gtid
                && replication.encrypted == source.tls.is_some()
                && !replication.is_locked_out(&source.account.user)
        }) {
            return self.start_replication(upstream, deadline).await;
        }
        // What a standing thread has not applied would be lost; one that runs is waited for.
        let applies = |replication: &Replication| replication.sql.state == ThreadState::Running;
        if !own.replication.as_ref().is_some_and(applies) {
            self.drained(&own)?;
        }
        if own.executed.is_empty() && !other.executed.is_empty() {
            self.fresh(upstream, deadline).await?;
        }
        let dialect = self.dialect(deadline).await?;
        if let Some(replication) = &own.replication {
            // It may have received and applied more since it was looked at. From a position before that it would ask for
            // the same once more, and stop at it for good.
            if replication.io.state != ThreadState::Stopped {
                let stop = dialect.stop_receiving();
                self.admin().tell(&stop, deadline).await?;
            }
            self.wait_applied(deadline).await?;
            self.admin().tell(&dialect.stop(), deadline).await?;
            own = self.observe(deadline).await?;
            self.suits(&own, upstream, deadline).await?;
        }
        for statement in dialect.follow(source, &own.executed) {
            self.admin().tell(&statement, deadline).await?;
        }
        Ok(())
    }

    /// Starts replication that is configured and stands, as it does after a boot.
    ///
    /// Starting throws away what was received and not applied, and asks the source for it again: so it is refused unless
    /// the source, which `upstream` is, answers and has all that this server has. While the source is away, what lies
    /// in the relay log is all there is.
    pub async fn start_replication(
        &self,
        upstream: &Self,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let own = self.observe(deadline).await?;
        let Some(replication) = &own.replication else {
            return self.refuse("it has no source configured".to_owned());
        };
        let stands = |state| state == ThreadState::Stopped;
        let dialect = self.dialect(deadline).await?;
        match (stands(replication.io.state), stands(replication.sql.state)) {
            (false, false) => return Ok(()),
            // Received things wait in the relay log: this thread alone loses none of them.
            (false, true) => {
                let start = dialect.start_applying();
                return self.admin().tell(&start, deadline).await.map(drop);
            }
            (true, _) => {}
        }
        self.suits(&own, upstream, deadline).await?;
        self.admin()
            .tell(&dialect.start(), deadline)
            .await
            .map(drop)
    }

    /// Whether this server may follow `upstream`: what that one has, if it may.
    async fn suits(
        &self,
        own: &Observation,
        upstream: &Self,
        deadline: Duration,
    ) -> Result<Observation, ServerError> {
        if !own.read_only {
            return self.refuse("it accepts writes; SET GLOBAL read_only = 1 first".to_owned());
        }
        let other = upstream.observe(deadline).await?;
        for (seen, name) in [(own, self.name()), (&other, upstream.name())] {
            if !seen.strict {
                return self.refuse(format!(
                    "{name} does not keep GTIDs strictly, and would mix two histories without a word: \
                     set gtid_strict_mode = 1 (MariaDB), or gtid_mode = ON and enforce_gtid_consistency = ON (MySQL)"
                ));
            }
        }
        if own.flavour != other.flavour {
            return self.refuse(format!(
                "it is {}, and {} is {}: a chain is of one kind",
                own.flavour,
                upstream.name(),
                other.flavour
            ));
        }
        if own.server_id == other.server_id {
            return self.refuse(format!(
                "its server_id {} is that of {} as well: give each its own",
                own.server_id,
                upstream.name()
            ));
        }
        let tip = own.executed.tip();
        match other.executed.contains(&tip) {
            Containment::Yes => Ok(other),
            Containment::No => self.refuse(format!(
                "it has transactions that {} lacks ({}): once they are saved, agentctl db rejoin --discard makes it anew from the master",
                upstream.name(),
                tip.minus(&other.executed)
            )),
            Containment::Unknown => self.refuse(format!(
                "nothing tells whether {} has all of {tip}: agentctl db rejoin --discard makes it anew from the master",
                upstream.name()
            )),
        }
    }

    /// A server without transactions, before a source that has some: only if neither has anything that was not written
    /// while it replicated.
    async fn fresh(&self, upstream: &Self, deadline: Duration) -> Result<(), ServerError> {
        for server in [self, upstream] {
            if server.schemas(deadline).await? > 0 {
                return self.refuse(format!(
                    "it has no transactions yet and {} has databases that replication alone would not bring: \
                     agentctl db rejoin --discard throws away what is here and copies them, or restore a snapshot, \
                     which tells it where to go on (SET GLOBAL gtid_slave_pos)",
                    server.name()
                ));
            }
        }
        Ok(())
    }

    /// How many databases of people it has.
    async fn schemas(&self, deadline: Duration) -> Result<u64, ServerError> {
        let question = Statement::new(format!(
            "SELECT SUM(SCHEMA_NAME NOT IN ({SYSTEM_SCHEMAS})) AS n, SUM(SCHEMA_NAME = 'mysql') AS all_seen \
             FROM information_schema.SCHEMATA"
        ));
        let rows = self.observer().ask(&question, deadline).await?;
        let number = |column| rows.first().and_then(|row| row.number::<u64>(column));
        // An account sees only what it may use, unless it may see all.
        match (number("all_seen"), number("n")) {
            (Some(1), Some(count)) => Ok(count),
            _ => self.refuse(format!(
                "our account cannot see which databases {} has: GRANT SHOW DATABASES ON *.* to it",
                self.name()
            )),
        }
    }

    /// Whether this server has nothing at all, and `upstream` has something that replication would not bring: then a copy
    /// of that one costs nothing that anybody has.
    pub async fn wants_copy(
        &self,
        upstream: &Self,
        deadline: Duration,
    ) -> Result<bool, ServerError> {
        let own = self.observe(deadline).await?;
        Ok(own.flavour == Flavour::MariaDb
            && own.executed.is_empty()
            && own.replication.is_none()
            && self.schemas(deadline).await? == 0
            && upstream.schemas(deadline).await? > 0)
    }

    /// Waits until this server has `goal`, as a switchover does before it lets the other one open.
    pub async fn wait_has(&self, goal: &Gtids, deadline: Duration) -> Result<(), ServerError> {
        let until = Instant::now() + deadline;
        let wait = async {
            loop {
                let seen = self.observe(deadline).await?;
                if seen.executed.contains(goal) == Containment::Yes {
                    return Ok(());
                }
                if Instant::now() >= until {
                    return self
                        .refuse(format!("it has {} and not {goal} yet", seen.executed.tip()));
                }
                sleep(PAUSE).await;
            }
        };
        within(
            deadline,
            self.name(),
            "the other server's transactions",
            wait,
        )
        .await
    }
}
