//! Watching the leases of this box's databases: when they are read, who tells of a change, and whose connections are cut then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::lease_notices::Subscriptions;
use super::poll_interval::{Pace, PollInterval};
use crate::bucket::{backoff, phase};
use crate::converge::Session;
use crate::converge::follow::{Answers, Unrest};
use crate::fleet::Name;
use crate::node::databases;
use crate::system::{chain, connections};

/// However long a bucket has been away: a master may change in the moment in which it is back.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The first run, and the first one with a new product, waits so long for leases that were never read.
const FIRST_READ: Duration = Duration::from_secs(3);
/// Old connections are cut a second time after this: by then also who had asked for the old address before.
const SECOND_CUT: Duration = Duration::from_secs(3);

/// However many notices there are, no two reads are closer than this.
const LEAST: Duration = Duration::from_millis(100);
/// Servers' agents have this long to be there, before a person is told that none would tell of a change.
const UNHEARD: Duration = Duration::from_mins(1);

/// The master of each database that this box only uses, with its address.
type Masters = BTreeMap<Name, (Name, SocketAddr)>;

/// What the watch has to say.
pub(super) enum LeaseEvent {
    /// The bucket has answered.
    Answers(Answers),
    /// A database server's agent has let go of this machine, or is there again: the lease is to be read.
    Notice,
}

/// Who tells of a change of one cluster's master.
struct Tellers {
    master: Option<SocketAddr>,
    /// All servers of the chain, at the port of notices.
    chain: Vec<(Name, SocketAddr)>,
}

/// The request for leases under way, when the next is due, and the connections still to be cut.
pub(super) struct LeaseWatch {
    request: Option<Pin<Box<dyn Future<Output = Answers>>>>,
    /// When the last request was sent.
    asked: Instant,
    /// When leases are read again; `None`: none of this box's products has a database.
    next: Option<Instant>,
    interval: PollInterval,
    subscriptions: Subscriptions,
    tellers: Vec<Tellers>,
    /// Since when, without a break, some cluster's master would change without a word.
    untold: Option<Instant>,
    /// There was a notice while the request was under way.
    again: bool,
    /// Whether the bucket has ever answered.
    answered_once: bool,
    /// The masters as the last run left them in `/etc/hosts`.
    applied: Masters,
    /// Addresses to which connections are cut once more.
    cut_again: Vec<(SocketAddr, Instant)>,
    /// Why connections could not be cut.
    pub(super) cut_failure: Option<String>,
}

impl LeaseWatch {
    pub(super) fn new() -> Self {
        Self {
            request: None,
            asked: Instant::now(),
            next: None,
            interval: PollInterval::default(),
            subscriptions: Subscriptions::default(),
            tellers: Vec::new(),
            untold: None,
            again: false,
            answered_once: false,
            applied: Masters::new(),
            cut_again: Vec::new(),
            cut_failure: None,
        }
    }

    /// When something is due: leases to be read, connections to be cut. An hour from now where nothing is.
    pub(super) fn due(&self) -> Instant {
        let idle = self.next.filter(|_| self.request.is_none());
        let again = self.cut_again.iter().map(|(_, at)| *at).min();
        let far = || Instant::now() + Duration::from_hours(1);
        idle.into_iter().chain(again).min().unwrap_or_else(far)
    }

    /// Reads leases and cuts connections, as far as that is due.
    pub(super) async fn do_due(&mut self, session: &Session) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) =
            self.cut_again.drain(..).partition(|(_, at)| *at <= now);
        self.cut_again = later;
        for (address, _) in due {
            self.cut(address).await;
        }
        if self.request.is_none() && self.next.is_some_and(|next| next <= now) {
            let round = session.leases();
            if round.is_empty() {
                self.next = None;
                return;
            }
            self.asked = now;
            self.request = Some(Box::pin(round.ask(Arc::clone(&session.bucket))));
        }
    }

    /// Before a run: reads leases that were never read, so that a new box never leads to a former master.
    pub(super) async fn before_run(&mut self, session: &mut Session) {
        let round = session.unheard_leases();
        if round.is_empty() {
            return;
        }
        let asked = round.ask(Arc::clone(&session.bucket));
        if let Ok(answers) = timeout(FIRST_READ, asked).await {
            take_in(session, answers);
        }
        self.next = Some(Instant::now());
    }

    /// Takes answers in, and sets when leases are read next. Returns whether the box goes by another lease than before.
    /// `phase_name`: spreads the reads of boxes that booted together.
    pub(super) fn take_answers(
        &mut self,
        session: &mut Session,
        answers: Answers,
        phase_name: &str,
    ) -> bool {
        let changed = take_in(session, answers);
        session.forget_other_leases();
        self.subscribe(session);
        let told = self.is_told();
        let poll = session.settings.lease_poll;
        let usual = if session.follower.has_none() {
            session.settings.poll.max(poll)
        } else if told {
            session.settings.lease_poll_idle.max(poll)
        } else {
            poll
        };
        let first = !std::mem::replace(&mut self.answered_once, true);
        let unrest = session.follower.unrest(Instant::now());
        let hurried = unrest != Unrest::None;
        let poll = self.interval.next(Pace { poll, usual, told }, unrest);
        self.next = Some(match session.follower.failures() {
            // As for the document: who booted together does not ask together.
            0 if first && !hurried => self.asked + phase(phase_name, poll),
            0 => self.asked + poll,
            // Also where somebody would tell: what was told may be the very thing that could not be read.
            failures => {
                let poll = session.settings.lease_poll;
                Instant::now() + backoff(poll, failures).min(LONGEST_WAIT.max(poll))
            }
        });
        if std::mem::take(&mut self.again) {
            self.noticed();
        }
        changed
    }

    /// There is a reason to read the leases now. What is being asked already may be older than that.
    pub(super) fn noticed(&mut self) {
        if self.request.is_some() {
            self.again = true;
        } else if let Some(next) = self.next {
            self.next = Some(next.min((self.asked + LEAST).max(Instant::now())));
        }
    }

    /// Waits for a word of the agents of those servers that the document has now.
    fn subscribe(&mut self, session: &Session) {
        let port = session.settings.database.notice_port;
        self.tellers = if port == 0 || !session.settings.root.is_machine() {
            Vec::new()
        } else {
            tellers(session, port)
        };
        let all = self.tellers.iter().flat_map(|tellers| &tellers.chain);
        let all: BTreeSet<SocketAddr> = all.map(|(_, address)| *address).collect();
        self.subscriptions.set(&all);
        self.untold = if self.is_told() || self.tellers.is_empty() {
            None
        } else {
            self.untold.or(Some(Instant::now()))
        };
    }

    /// Whether a change of any cluster's master would be told: by its next master, or another one that sees it. The present one
    /// alone is no help when it dies.
    fn is_told(&self) -> bool {
        let is_told = |tellers: &Tellers| {
            let alone = tellers.chain.len() == 1;
            let mut others = (tellers.chain.iter())
                .filter(|(_, address)| alone || Some(*address) != tellers.master);
            others.any(|(_, address)| self.subscriptions.hears(address))
        };
        !self.tellers.is_empty() && self.tellers.iter().all(is_told)
    }

    /// Why leases are read so often: nobody would tell of a change. For people; nothing in the first minute.
    pub(super) fn untold(&self, poll: Duration) -> Option<String> {
        let since = self.untold?;
        if since.elapsed() < UNHEARD {
            return None;
        }
        let deaf = (self.tellers.iter().flat_map(|tellers| &tellers.chain))
            .filter(|(_, address)| !self.subscriptions.hears(address));
        let names: Vec<String> = deaf
            .map(|(name, address)| format!("{name} ({address})"))
            .collect();
        Some(format!(
            "no other server than the master would tell this machine of a new one, so the lease is read each {poll:?}: not heard from {}. \
             The agents there listen on `notice_port`, which a firewall must let through",
            names.join(", ")
        ))
    }

    /// After a run: a product may have come with it whose lease is to be read.
    pub(super) fn after_run(&mut self, session: &Session) {
        self.subscribe(session);
        if self.next.is_none() && !session.leases().is_empty() {
            self.next = Some(Instant::now());
        }
    }

    /// `/etc/hosts` leads to the present masters. Connections to former masters are cut, so that clients look the name up
    /// again; a fenced server would let them wait for their own timeout, which may be a day.
    pub(super) async fn names_lead(&mut self, session: &Session) {
        let masters = masters(session);
        let former: Vec<SocketAddr> = (self.applied.iter())
            .filter(|(product, (server, _))| {
                masters.get(*product).is_some_and(|(now, _)| now != server)
            })
            .map(|(_, (_, address))| *address)
            .collect();
        self.applied = masters;
        for address in former {
            if self
                .applied
                .values()
                .any(|(_, present)| *present == address)
            {
                // Another product's master: its connections cannot be told apart.
                continue;
            }
            self.cut(address).await;
            self.cut_again.push((address, Instant::now() + SECOND_CUT));
        }
    }

    async fn cut(&mut self, address: SocketAddr) {
        match connections::cut(address).await {
            Ok(0) => self.cut_failure = None,
            Ok(number) => {
                self.cut_failure = None;
                tracing::info!(event = "connections-cut", %address, number, "{number} connections to the last master, {address}, were cut");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(event = "connections-not-cut", %address, error, "connections to the last master, {address}, stay until they end by themselves: {error}");
                self.cut_failure = Some(format!(
                    "connections to the last master, {address}, could not be cut: {error}"
                ));
            }
        }
    }
}

/// Waits for the answers to the request under way, or a notice. May be dropped and called again.
pub(super) async fn next_event(lease_watch: &mut LeaseWatch) -> LeaseEvent {
    let LeaseWatch {
        request,
        subscriptions,
        ..
    } = lease_watch;
    let event = match request {
        None => {
            subscriptions.notice().await;
            LeaseEvent::Notice
        }
        Some(under_way) => tokio::select! {
            biased;
            answers = under_way.as_mut() => LeaseEvent::Answers(answers),
            () = subscriptions.notice() => LeaseEvent::Notice,
        },
    };
    if let LeaseEvent::Answers(_) = event {
        *request = None;
    }
    event
}

fn take_in(session: &mut Session, answers: Answers) -> bool {
    let before = session.follower.elections();
    if let Err(error) = session.follower.take_answers(answers) {
        tracing::error!(
            event = "epochs-not-kept",
            error = chain(&error),
            "the epochs that were heard would not survive a restart: {}",
            chain(&error)
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
        .filter(|cluster| !cluster.has(&intent.node))
        .filter_map(|cluster| {
            let lease = databases::lease(&cluster, &intent.elections);
            let master = databases::master(&cluster, intent.elections.get(lease))?;
            let server = fleet.servers.get(master.server)?;
            let address = SocketAddr::new(server.address, databases::port(&cluster, port));
            Some((lease.clone(), (master.server.clone(), address)))
        })
        .collect()
}

/// Who tells of changes of the masters of all databases that this box has to do with.
fn tellers(session: &Session, port: u16) -> Vec<Tellers> {
    let Ok((intent, _)) = session.intent() else {
        return Vec::new();
    };
    let fleet = &intent.document.fleet;
    let address = |name: &Name| {
        let server = fleet.servers.get(name)?;
        Some(SocketAddr::new(server.address, port))
    };
    (databases::of_server(fleet, &intent.node).iter())
        .map(|cluster| {
            let lease = databases::lease(cluster, &intent.elections);
            let master = databases::master(cluster, intent.elections.get(lease));
            let chain = cluster.chain.iter();
            Tellers {
                master: master.and_then(|master| address(master.server)),
                chain: chain
                    .filter_map(|name| Some((name.clone(), address(name)?)))
                    .collect(),
            }
        })
        .collect()
}
