//! Semi-synchronous replication: switched, told from a dead disk, and freed of writers that wait for a word that was said.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::error::ServerError;
use super::instance::Server;
use super::session::Row;

/// How often is looked for stranded writers at once: those who stood behind the first ones are stranded too.
const ROUNDS: u32 = 5;
/// Between two such looks: a connection that is ended needs a moment.
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// Whether the binary log takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// It does.
    Takes,
    /// Somebody's transaction is in it and waits for a replica's word.
    WaitsForReplicas,
}

impl Server {
    /// Switches semi-synchronous replication: `source` where this server is the master, `replica` where it is not.
    /// After `patience` without a replica's word a master goes on without; what is longer than a day is for ever.
    pub async fn semi_sync(
        &self,
        source: bool,
        replica: bool,
        patience: Duration,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let dialect = self.dialect(deadline).await?;
        for statement in dialect.semi_sync(source, replica, patience) {
            self.admin().tell(&statement, deadline).await?;
        }
        Ok(())
    }

    /// Says whether the binary log takes writes, by asking for its end: a disk that is full under it stops every
    /// COMMIT, and then this is not answered either, for the server waits with the lock that it needs.
    ///
    /// With `semi_sync` the log waits in the same way for a replica's word, which is no dead disk: whether a session waits
    /// for one is asked too. Before, so that a master without replicas is not left a hanging connection by each
    /// heartbeat; and after, for the wait that has just begun.
    pub async fn log(&self, semi_sync: bool, deadline: Duration) -> Result<Log, ServerError> {
        if !semi_sync {
            return self.log_end(deadline).await;
        }
        if self.waits_for_replicas(deadline / 4).await? {
            return Ok(Log::WaitsForReplicas);
        }
        match self.log_end(deadline / 2).await {
            Err(ServerError::Hangs { .. }) if self.waits_for_replicas(deadline / 4).await? => {
                Ok(Log::WaitsForReplicas)
            }
            other => other,
        }
    }

    async fn log_end(&self, deadline: Duration) -> Result<Log, ServerError> {
        let dialect = self.dialect(deadline).await?;
        let heartbeat = self.heartbeat_session(dialect, false);
        let asked = heartbeat.ask(&dialect.log_end(), deadline).await;
        asked.map(|_| Log::Takes)
    }

    /// Whether a session waits for a replica's word with its transaction in the log.
    async fn waits_for_replicas(&self, deadline: Duration) -> Result<bool, ServerError> {
        let dialect = self.dialect(deadline).await?;
        let asked = dialect.waiting_for_replicas();
        let heartbeat = self.heartbeat_session(dialect, false);
        let rows = heartbeat.ask(&asked, deadline).await?;
        let counts = rows.iter().filter_map(|row| row.number::<u64>("Value"));
        Ok(counts.sum::<u64>() > 0)
    }

    /// Ends the connections of writers that wait for a word that will not come: how many.
    ///
    /// `MariaDB` forgets to ask: a replica that had received a transaction, and whose word was lost with its connection, connects
    /// anew behind that transaction and never speaks of it again. With a second writer behind the first, who holds the
    /// log, nothing is written any more that could be answered: all writes wait for ever. `givers` are the replicas whose
    /// word counts; a writer is stranded if one of them has connected since the writer began to wait, has been sent all
    /// there is, and has said nothing for `patience`.
    ///
    /// Nothing is acknowledged by this. The transaction stays, and its client is told that the connection is gone.
    pub async fn free_stranded(
        &self,
        givers: &[IpAddr],
        patience: Duration,
        deadline: Duration,
    ) -> Result<u32, ServerError> {
        let dialect = self.dialect(deadline).await?;
        let Some(question) = dialect.waiting() else {
            return Ok(0);
        };
        let mut freed = 0;
        for _ in 0..ROUNDS {
            let rows = self.observer().ask(&question, deadline).await?;
            let ids = stranded(&rows, givers, patience);
            if ids.is_empty() {
                break;
            }
            for id in ids {
                match self.killer().tell(&dialect.kill(id), deadline).await {
                    Ok(_) => freed += 1,
                    // 1094: it has gone by itself.
                    Err(ServerError::Said { code: 1094, .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            sleep(ROUND_PAUSE).await;
        }
        Ok(freed)
    }
}

/// Who waits for a word that will not come, of all connections.
fn stranded(rows: &[Row], givers: &[IpAddr], patience: Duration) -> Vec<u64> {
    let age = |row: &Row| {
        let millis: f64 = row.number("TIME_MS")?;
        Duration::try_from_secs_f64(millis / 1000.0).ok()
    };
    let says = |row: &Row, what: &str| row.get("STATE").is_some_and(|it| it.starts_with(what));
    let ready = rows.iter().filter(|row| {
        let of_a_giver = host(row).is_some_and(|host| givers.contains(&host));
        of_a_giver && says(row, "Master has sent all binlog")
    });
    let connected: Vec<Duration> = ready
        .filter_map(age)
        .filter(|age| *age >= patience)
        .collect();
    let waiting = rows
        .iter()
        .filter(|row| says(row, "Waiting for semi-sync ACK"));
    waiting
        .filter(|row| {
            let waits = age(row).unwrap_or_default();
            connected.iter().any(|since| *since < waits)
        })
        .filter_map(|row| row.number("ID"))
        .collect()
}

/// Whose connection it is: `10.0.0.7:41234`.
fn host(row: &Row) -> Option<IpAddr> {
    let (host, _) = row.get("HOST")?.rsplit_once(':')?;
    host.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, host: &str, state: &str, millis: &str) -> Row {
        [
            ("ID", id),
            ("HOST", host),
            ("STATE", state),
            ("TIME_MS", millis),
        ]
        .into_iter()
        .collect()
    }

    const WAITS: &str = "Waiting for semi-sync ACK from slave";
    const SENT: &str = "Master has sent all binlog to slave; waiting for more updates";
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_writer_is_stranded_once_a_replica_has_connected_after_it_and_says_nothing() {
        let givers = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let writer = row("7", "10.0.0.9:1000", WAITS, "3000.5");
        let other = row("8", "10.0.0.9:1001", "Commit", "3000.5");
        let of = |dump: Row| stranded(&[writer.clone(), other.clone(), dump], &givers, SECOND);
        assert_eq!(of(row("3", "10.0.0.2:4000", SENT, "2000.1")), [7]);
        assert_eq!(of(row("3", "[fd00::2]:4000", SENT, "2000.1")), [7]);
        assert_eq!(of(row("3", "fd00::2:4000", SENT, "2000.1")), [7]);
        // It was connected when the writer came: its word is on its way, or it is slow.
        assert!(of(row("3", "10.0.0.2:4000", SENT, "9000.0")).is_empty());
        // It has just come.
        assert!(of(row("3", "10.0.0.2:4000", SENT, "800.0")).is_empty());
        let sending = "Sending binlog event to slave";
        assert!(of(row("3", "10.0.0.2:4000", sending, "2000.1")).is_empty());
        // One whose word does not count.
        assert!(of(row("3", "10.0.0.4:4000", SENT, "2000.1")).is_empty());
    }
}
