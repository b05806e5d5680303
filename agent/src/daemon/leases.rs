//! Following the leases of this box's databases: when they are asked for, and whose connections are cut when a master
//! was changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::pace::Pace;
use crate::bucket::{backoff, phase};
use crate::converge::Session;
use crate::converge::follow::Answers;
use crate::fleet::Name;
use crate::node::databases;
use crate::system::{chain, connections};

/// However long a bucket has been away: a master may change in the moment in which it is back.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The first run, and the first one with a new product, waits so long for leases it has never seen.
const FIRST: Duration = Duration::from_secs(3);
/// Old connections are cut a second time after this: by then also who had asked for the old address before.
const AGAIN: Duration = Duration::from_secs(3);

/// The master of each database that this box only uses, with its address.
type Masters = BTreeMap<Name, (Name, SocketAddr)>;

/// What is under way and what is due.
pub(super) struct Leases {
    asking: Option<Pin<Box<dyn Future<Output = Answers>>>>,
    asked: Instant,
    /// When they are asked for again; `None`: none of this box's products has a database.
    next: Option<Instant>,
    pace: Pace,
    /// Whether they were ever heard.
    heard_once: bool,
    /// The masters as the last run left them in `/etc/hosts`.
    applied: Masters,
    /// Addresses to which connections are cut once more.
    again: Vec<(SocketAddr, Instant)>,
    /// Why connections could not be cut.
    pub(super) uncut: Option<String>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            asking: None,
            asked: Instant::now(),
            next: None,
            pace: Pace::default(),
            heard_once: false,
            applied: Masters::new(),
            again: Vec::new(),
            uncut: None,
        }
    }

    /// When something is due: leases to be asked for, connections to be cut. Far away where nothing is.
    pub(super) fn due(&self) -> Instant {
        let idle = self.next.filter(|_| self.asking.is_none());
        let again = self.again.iter().map(|(_, at)| *at).min();
        let far = || Instant::now() + Duration::from_hours(1);
        idle.into_iter().chain(again).min().unwrap_or_else(far)
    }

    /// Does what is due.
    pub(super) async fn turn(&mut self, session: &Session) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.again.drain(..).partition(|(_, at)| *at <= now);
        self.again = later;
        for (address, _) in due {
            self.cut(address).await;
        }
        if self.asking.is_none() && self.next.is_some_and(|next| next <= now) {
            let round = session.leases();
            if round.is_empty() {
                self.next = None;
                return;
            }
            self.asked = now;
            self.asking = Some(Box::pin(round.ask(Arc::clone(&session.bucket))));
        }
    }

    /// Before a run: asks for leases that were never asked for, so that a new box never leads to a master of the past.
    pub(super) async fn before_run(&mut self, session: &mut Session) {
        let round = session.unheard_leases();
        if round.is_empty() {
            return;
        }
        let asked = round.ask(Arc::clone(&session.bucket));
        if let Ok(answers) = timeout(FIRST, asked).await {
            hear(session, answers);
        }
        self.next = Some(Instant::now());
    }

    /// Takes answers in, and says when to ask again. Returns whether the box goes by another lease than before.
    pub(super) fn hear(&mut self, session: &mut Session, answers: Answers, who: &str) -> bool {
        let changed = hear(session, answers);
        let poll = if session.follower.has_none() {
            session.settings.poll.max(session.settings.lease_poll)
        } else {
            session.settings.lease_poll
        };
        let first = !std::mem::replace(&mut self.heard_once, true);
        let restless = session.follower.is_restless(Instant::now());
        let poll = self.pace.pause(poll, restless);
        self.next = Some(match session.follower.failures() {
            // As for the document: who booted together does not ask together.
            0 if first && !restless => self.asked + phase(who, poll),
            0 => self.asked + poll,
            failures => Instant::now() + backoff(poll, failures).min(LONGEST_WAIT.max(poll)),
        });
        changed
    }

    /// After a run: `/etc/hosts` leads where it should. Whoever still talks to a master of the past is cut off, so
    /// that he asks again; a fenced server would let him wait for his own timeout, which may be a day.
    pub(super) async fn after_run(&mut self, session: &Session) {
        if self.next.is_none() && !session.leases().is_empty() {
            self.next = Some(Instant::now());
        }
        let masters = masters(session);
        let gone: Vec<SocketAddr> = (self.applied.iter())
            .filter(|(product, (server, _))| {
                masters.get(*product).is_some_and(|(now, _)| now != server)
            })
            .map(|(_, (_, address))| *address)
            .collect();
        self.applied = masters;
        for address in gone {
            if self
                .applied
                .values()
                .any(|(_, present)| *present == address)
            {
                // Another product's master: its connections cannot be told apart.
                continue;
            }
            self.cut(address).await;
            self.again.push((address, Instant::now() + AGAIN));
        }
    }

    async fn cut(&mut self, address: SocketAddr) {
        match connections::cut(address).await {
            Ok(0) => self.uncut = None,
            Ok(number) => {
                self.uncut = None;
                tracing::info!(event = "connections-cut", %address, number, "connections to the last master were cut");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(event = "connections-not-cut", %address, error, "connections to the last master stay until they end by themselves");
                self.uncut = Some(format!(
                    "connections to the last master, {address}, could not be cut: {error}"
                ));
            }
        }
    }
}

/// Waits for the answers; forever, where nothing is asked. May be dropped and called again.
pub(super) async fn heard(leases: &mut Leases) -> Answers {
    let Some(under_way) = &mut leases.asking else {
        return std::future::pending().await;
    };
    let answers = under_way.as_mut().await;
    leases.asking = None;
    answers
}

fn hear(session: &mut Session, answers: Answers) -> bool {
    let before = session.follower.elections();
    if let Err(error) = session.follower.hear(answers) {
        tracing::error!(
            event = "epochs-not-kept",
            error = chain(&error),
            "the epochs that were heard would not survive a restart"
        );
    }
    before != session.follower.elections()
}

/// Masters of databases that this box uses and is no server of: their replication must not be cut.
fn masters(session: &Session) -> Masters {
    let port = session.settings.database.port;
    let Ok((intent, _)) = session.intent() else {
        return Masters::new();
    };
    let fleet = &intent.document.fleet;
    if !session.settings.root.is_machine() {
        return Masters::new();
    }
    databases::of_server(fleet, &intent.node)
        .into_iter()
        .filter(|(_, database)| !databases::names(database, &intent.node))
        .filter_map(|(product, database)| {
            let master = databases::master(database, intent.elections.get(product))?;
            let server = fleet.servers.get(master.server)?;
            let address = SocketAddr::new(server.address, databases::port(database, port));
            Some((product.clone(), (master.server.clone(), address)))
        })
        .collect()
}
