//! What was last seen of one of the chain's servers: as a row of the status, as a sentence, and why it could not take over.

use jiff::Timestamp;

use crate::database::server::{Observation, ServerError, Thread, ThreadState};
use crate::report::ServerSeen;
use crate::system::clock;

/// The last observation of a server, or why there is none.
#[derive(Debug, Clone)]
pub(super) struct LastSeen {
    at: Timestamp,
    observation: Result<Box<Observation>, String>,
}

impl LastSeen {
    pub(super) fn of(seen: &Result<Observation, ServerError>) -> Self {
        Self {
            at: clock::now(),
            observation: match seen {
                Ok(seen) => Ok(Box::new(seen.clone())),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// For the record of a change.
    pub(super) fn sentence(&self, server: &str) -> String {
        match &self.observation {
            Ok(seen) => format!(
                "{server} at {} {}, at {}",
                self.at,
                if seen.read_only {
                    "refused writes"
                } else {
                    "accepted writes"
                },
                seen.executed.tip()
            ),
            Err(error) => format!("{server} at {}: {error}", self.at),
        }
    }

    /// Why it could not be handed over to now.
    pub(super) fn why_not(&self) -> Option<String> {
        let seen = match &self.observation {
            Ok(seen) => seen,
            Err(error) => return Some(error.clone()),
        };
        let Some(replication) = &seen.replication else {
            return Some("it does not replicate".to_owned());
        };
        if replication.sql.state != ThreadState::Running {
            return Some(thread_trouble("it does not apply", &replication.sql));
        }
        if replication.io.state != ThreadState::Running {
            return Some(thread_trouble("it does not receive", &replication.io));
        }
        if !seen.strict {
            return Some("it does not keep GTIDs strictly".to_owned());
        }
        replication
            .lag_secs
            .filter(|&lag| lag > 5)
            .map(|lag| format!("it is {lag} s behind: wait until it has caught up"))
    }

    /// As a row of the status.
    pub(super) fn row(&self, source: impl Fn(&str) -> Option<String>) -> ServerSeen {
        match &self.observation {
            Ok(seen) => {
                let replication = seen.replication.as_ref();
                let running = |thread: Option<&Thread>| {
                    thread.is_some_and(|thread| thread.state == ThreadState::Running)
                };
                let error = replication.and_then(|it| {
                    let error = it.sql.error.as_ref().or(it.io.error.as_ref());
                    error.map(|(code, text)| format!("error {code}: {text}"))
                });
                ServerSeen {
                    at: self.at,
                    error: None,
                    version: seen.version.clone(),
                    writable: !seen.read_only,
                    gtid: seen.executed.tip().to_string(),
                    source: replication
                        .map(|it| source(&it.host).unwrap_or_else(|| it.host.clone())),
                    receiving: running(replication.map(|it| &it.io)),
                    applying: running(replication.map(|it| &it.sql)),
                    lag_ms: replication
                        .and_then(|it| it.lag_secs)
                        .map(|secs| secs.saturating_mul(1000)),
                    replication_error: error,
                    clients: Some(u64::from(seen.clients)),
                    semi_sync: Some(if replication.is_some() {
                        seen.semi_sync.replica_enabled
                    } else {
                        seen.semi_sync.source_active
                    }),
                }
            }
            Err(error) => ServerSeen {
                at: self.at,
                error: Some(error.clone()),
                version: String::new(),
                writable: false,
                gtid: String::new(),
                source: None,
                receiving: false,
                applying: false,
                lag_ms: None,
                replication_error: None,
                clients: None,
                semi_sync: None,
            },
        }
    }
}

fn thread_trouble(what: &str, thread: &Thread) -> String {
    match &thread.error {
        Some((code, text)) => format!("{what} (error {code}: {text})"),
        None => what.to_owned(),
    }
}
