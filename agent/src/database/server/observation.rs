//! What a server says of itself: the picture on which the protocol decides. No judgement here.

use std::net::IpAddr;
use std::path::PathBuf;

use super::super::gtid::{Flavour, Gtids};

/// A server, as it answered just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Whose server.
    pub flavour: Flavour,
    /// Its version, in its own words.
    pub version: String,
    /// Its number in replication.
    pub server_id: u32,
    /// How long it has run.
    pub uptime_secs: u64,
    /// It refuses writes of ordinary accounts.
    pub read_only: bool,
    /// All transactions that it has, received and applied or its own.
    pub executed: Gtids,
    /// What it wrote itself since it last was somebody's replica, or instead of being one: errant where it is a replica. Of
    /// a replica's of `MySQL`: since it was first seen as one.
    pub local_writes: Gtids,
    /// Its place in a chain; `None` where no source is configured.
    pub replication: Option<Replication>,
    /// Semi-synchronous replication.
    pub semi_sync: SemiSync,
    /// Connections now.
    pub clients: u32,
    /// Connections at most.
    pub max_connections: u32,
    /// Where it has written the number of its process, on its own machine.
    pub pid_file: Option<PathBuf>,
    /// It refuses transactions out of order, so that two histories can never be mixed unnoticed.
    pub strict: bool,
}

impl Observation {
    /// All transactions that it has or will have when it has applied what it received.
    pub fn reach(&self) -> Gtids {
        match self
            .replication
            .as_ref()
            .and_then(|it| it.received.as_ref())
        {
            Some(received) => self.executed.union(received),
            None => self.executed.clone(),
        }
    }
}

/// How a replica is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// The source's host, as configured.
    pub host: String,
    /// The source's port.
    pub port: u16,
    /// Receiving.
    pub io: Thread,
    /// Applying.
    pub sql: Thread,
    /// How far it is behind, where the server can tell.
    pub lag_secs: Option<u64>,
    /// The last transaction received, where the server can tell.
    pub received: Option<Gtids>,
    /// It follows by GTID and not by file and offset.
    pub by_gtid: bool,
    /// Encrypted.
    pub encrypted: bool,
    /// The account by which it replicates.
    pub user: String,
}

impl Replication {
    /// Whether it is configured to follow this source.
    pub fn follows(&self, address: IpAddr, port: u16) -> bool {
        self.port == port && self.host.parse() == Ok(address)
    }

    /// Whether it is configured with credentials that are not those of `account`, or that its source does not take any more:
    /// a password was changed.
    pub fn is_locked_out(&self, account: &str) -> bool {
        // Access denied, by password or plugin; a password that has expired; an account that is locked.
        const DENIED: [u16; 4] = [1045, 1698, 1862, 4151];
        let denied = self
            .io
            .error
            .as_ref()
            .is_some_and(|(code, _)| DENIED.contains(code));
        self.user != account || denied && self.io.state != ThreadState::Running
    }
}

/// One of the two threads of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Whether it works.
    pub state: ThreadState,
    /// Its last error, number and text, until it is cured.
    pub error: Option<(u16, String)>,
}

/// Whether a thread works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadState {
    /// It works.
    Running,
    /// It tries to reach the source.
    Connecting,
    /// It stands.
    Stopped,
}

impl ThreadState {
    /// From `Yes`, `Connecting`, `No`.
    pub(super) fn parse(word: Option<&str>) -> Option<Self> {
        match word? {
            "Yes" => Some(Self::Running),
            "Connecting" | "Preparing" => Some(Self::Connecting),
            "No" => Some(Self::Stopped),
            _ => None,
        }
    }
}

/// Semi-synchronous replication, both sides of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SemiSync {
    /// As a source it waits for a replica's word, if it is on.
    pub source_enabled: bool,
    /// It waits at this moment: it has not fallen back.
    pub source_active: bool,
    /// Replicas that give their word.
    pub replicas: u32,
    /// As a replica it gives its word.
    pub replica_enabled: bool,
    /// It waits before anybody can see the transaction, not only before it answers.
    pub after_sync: bool,
}
