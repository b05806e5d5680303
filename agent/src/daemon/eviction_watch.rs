//! Watching over the other servers of this box's products: they are asked what visitors and clients would ask them, and what is seen is
//! agreed on in the bucket. A task of its own: neither a dead server nor a bucket that does not answer holds anything up.
//!
//! What follows from what was seen and read is decided in `node::eviction`; here it is only asked, read and written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::bucket::{Bucket, BucketError, BucketErrorKind, Tag, phase};
use crate::converge::eviction::{self, HealthRead};
use crate::converge::{LivenessQuestion, is_alive, liveness_questions};
use crate::fleet::{EvictPart, Fleet, Name, ServerState};
use crate::node::eviction::{
    Evictions, Health, Here, Memory, Pace, Record, Target, by_whom, decide, left_out, observers,
    targets,
};
use crate::report::EvictionStatus;
use crate::system::{chain, clock};

/// So many servers are asked at once.
const AT_ONCE: usize = 32;
/// A box with many products reads their objects more slowly: one each so often.
const READ_PAUSE: Duration = Duration::from_secs(5);
/// So long after the start it is waited for the first answer of the bucket before the box puts itself into DNS: others may have taken it
/// out while it was down.
const FIRST_ANSWER: Duration = Duration::from_mins(1);
/// Two who write at once: the second one reads again, so often.
const TRIES: usize = 3;
/// How long a bucket that refuses is left alone: its rules change by a person's hand only.
const REFUSED: Duration = Duration::from_mins(5);

/// What this box says of itself, by product and part: `Err` says what is wrong.
pub(super) type Words = BTreeMap<Name, BTreeMap<EvictPart, Result<(), String>>>;

/// What is watched.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) fleet: Arc<Fleet>,
    pub(super) node: Name,
    pub(super) words: Words,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fleet, &other.fleet)
            && self.node == other.node
            && self.words == other.words
    }
}

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The bucket was asked since the start.
    pub(super) asked: bool,
    /// Who is left out.
    pub(super) evictions: Evictions,
    /// Who is left out or accused, for people.
    pub(super) rows: Vec<EvictionStatus>,
    /// Products of which it is not known yet who is left out.
    pub(super) unknown: BTreeSet<Name>,
    /// Why nobody would be taken out: what the bucket says.
    pub(super) error: Option<String>,
}

/// The side of the event loop.
pub(super) struct EvictionWatch {
    wanted: watch::Sender<Option<Watched>>,
    told: watch::Receiver<Told>,
    task: tokio::task::JoinHandle<()>,
}

impl EvictionWatch {
    /// Begins to watch what is asked for. `known`: who was left out when this box last heard of it.
    pub(super) fn start(bucket: Arc<Bucket>, known: &Evictions) -> Self {
        let (wanted, watched) = watch::channel(None);
        let (tell, told) = watch::channel(Told {
            evictions: known.clone(),
            ..Told::default()
        });
        let watcher = Watcher {
            bucket,
            known: known.clone(),
            products: BTreeMap::new(),
            tell,
            began: Instant::now(),
        };
        Self {
            wanted,
            told,
            task: tokio::spawn(watcher.run(watched)),
        }
    }

    /// Watches this from now on.
    pub(super) fn follow(&self, watched: Watched) {
        self.wanted.send_if_modified(|last| {
            let is_news = last.as_ref() != Some(&watched);
            if is_news {
                *last = Some(watched);
            }
            is_news
        });
    }

    /// What is known.
    pub(super) fn told(&self) -> Told {
        self.told.borrow().clone()
    }
}

impl Drop for EvictionWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until something else is known; forever, where nothing is watched. May be dropped and called again.
pub(super) async fn news(watch: &mut Option<EvictionWatch>) {
    let changed = match watch {
        Some(watch) => watch.told.changed().await,
        None => return std::future::pending().await,
    };
    if changed.is_err() {
        // The task never ends; should it, nobody waits for it in a circle.
        std::future::pending::<()>().await;
    }
}

/// The task.
struct Watcher {
    bucket: Arc<Bucket>,
    /// Of before the start.
    known: Evictions,
    products: BTreeMap<Name, Watching>,
    tell: watch::Sender<Told>,
    began: Instant,
}

/// One product.
struct Watching {
    pace: Pace,
    memory: Memory,
    /// What was read last, with its tag; `None`: nothing was read yet.
    read: Option<(Health, Option<Tag>)>,
    next_look: Instant,
    next_read: Instant,
    error: Option<String>,
    /// An observer finds somebody dead.
    in_doubt: bool,
}

impl Watcher {
    async fn run(mut self, mut watched: watch::Receiver<Option<Watched>>) {
        loop {
            let due = (self.products.values())
                .map(|product| product.next_look.min(product.next_read))
                .min();
            tokio::select! {
                changed = watched.changed() => if changed.is_err() { return },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let Some(now) = watched.borrow_and_update().clone() else {
                continue;
            };
            self.take(&now);
            self.look(&now).await;
            let due: Vec<Name> = (self.products.iter())
                .filter(|(_, product)| product.next_read <= Instant::now())
                .map(|(name, _)| name.clone())
                .collect();
            for product in due {
                self.agree(&now, &product).await;
            }
            self.tell(&now);
        }
    }

    /// Takes in which products there are to watch.
    fn take(&mut self, watched: &Watched) {
        let fleet = &watched.fleet;
        let server = fleet.servers.get(&watched.node);
        let server = server.filter(|server| server.state != ServerState::Retired);
        let products: BTreeMap<&Name, Pace> = server
            .into_iter()
            .flat_map(|server| &server.products)
            .filter_map(|name| Some((name, Pace::of(fleet.products.get(name)?)?)))
            // Nobody takes out the only one.
            .filter(|(name, _)| {
                let several = |part| targets(fleet, name, part).nth(1).is_some();
                EvictPart::ALL.into_iter().any(several)
            })
            .collect();
        self.products.retain(|name, _| products.contains_key(name));
        for (name, pace) in products {
            let now = Instant::now();
            let watching = self
                .products
                .entry(name.clone())
                .or_insert_with(|| Watching {
                    pace,
                    memory: Memory::default(),
                    read: None,
                    next_look: now + phase(watched.node.as_str(), pace.look),
                    next_read: now,
                    error: None,
                    in_doubt: false,
                });
            watching.pace = pace;
        }
    }

    /// Asks the servers of all products whose turn it is: where this box is one of their observers.
    async fn look(&mut self, watched: &Watched) {
        let fleet = &watched.fleet;
        let mut asked = JoinSet::new();
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        for (name, watching) in &mut self.products {
            if watching.next_look > Instant::now() {
                continue;
            }
            watching.next_look = Instant::now() + watching.pace.look;
            let Some((health, _)) = &watching.read else {
                continue;
            };
            if !observers(fleet, name, health).contains(&watched.node) {
                continue;
            }
            let mut all = BTreeSet::new();
            for (target, address, questions) in questions(fleet, name, &watched.node) {
                all.insert(target.clone());
                let (name, at_once) = (name.clone(), Arc::clone(&at_once));
                asked.spawn(async move {
                    let _one = at_once.acquire_owned().await;
                    let found = is_alive(address, &questions).await;
                    (name, target, found, clock::boottime())
                });
            }
            watching.memory.keep(&all);
            watching.in_doubt = false;
        }
        while let Some(answer) = asked.join_next().await {
            // Only a panic could be an error, and nothing in there does.
            let Ok((name, target, found, at)) = answer else {
                continue;
            };
            if let Some(watching) = self.products.get_mut(&name) {
                watching.in_doubt |= found.is_err();
                let longest = watching.pace.longest();
                watching.memory.asked(target, found, at, longest);
                if watching.in_doubt {
                    // What follows from that is agreed on now.
                    watching.next_read = watching.next_read.min(Instant::now());
                }
            }
        }
    }

    /// Reads what was agreed on of a product, and adds what this box has to say.
    async fn agree(&mut self, watched: &Watched, product: &Name) {
        let products = u32::try_from(self.products.len()).unwrap_or(u32::MAX);
        let Some(watching) = self.products.get_mut(product) else {
            return;
        };
        let mut wait = watching.pace.read.max(READ_PAUSE.saturating_mul(products));
        match watching.agree(&self.bucket, watched, product).await {
            Ok(()) => {
                if watching.error.take().is_some() {
                    tracing::info!(
                        event = "health-read",
                        product = product.as_str(),
                        "how the servers of {product} are is known again"
                    );
                }
                let is_restless =
                    (watching.read.as_ref()).is_some_and(|(health, _)| health.is_restless());
                if is_restless {
                    wait = wait.min(watching.pace.look.max(READ_PAUSE));
                }
            }
            Err((why, refused)) => {
                if watching.error.is_none() {
                    tracing::warn!(
                        event = "health-unread",
                        product = product.as_str(),
                        error = why,
                        "dead servers of {product} are not taken out, for what its servers find cannot be read or written: {why}"
                    );
                }
                watching.error = Some(why);
                if refused {
                    wait = REFUSED;
                }
            }
        }
        watching.next_read = Instant::now() + wait;
    }

    /// Says what is known, and the log what is new.
    fn tell(&self, watched: &Watched) {
        let mut told = Told {
            asked: true,
            ..Told::default()
        };
        for (product, watching) in &self.products {
            let Some((health, _)) = &watching.read else {
                if let Some(known) = self.known.get(product) {
                    told.evictions.insert(product.clone(), known.clone());
                } else if self.began.elapsed() < FIRST_ANSWER {
                    told.unknown.insert(product.clone());
                }
                told.error = told.error.or_else(|| watching.error.clone());
                continue;
            };
            let left = left_out(&watched.fleet, product, health);
            told.rows.extend(rows(product, health, &left));
            if !left.is_empty() {
                told.evictions.insert(product.clone(), left);
            }
            told.error = told.error.or_else(|| watching.error.clone());
        }
        self.tell.send_if_modified(|last| {
            let is_news = *last != told;
            if is_news {
                log_changes(last, &told);
                *last = told;
            }
            is_news
        });
    }
}

impl Watching {
    /// Reads and, where there is something to say, writes. The error says why that is not possible, and whether the bucket refuses it.
    async fn agree(
        &mut self,
        bucket: &Bucket,
        watched: &Watched,
        product: &Name,
    ) -> Result<(), (String, bool)> {
        let failed = |error: BucketError| {
            let refused = error.kind == BucketErrorKind::Denied;
            (chain(&error), refused)
        };
        let fleet = &watched.fleet;
        for _ in 0..TRIES {
            let known = self.read.as_ref().and_then(|(_, tag)| tag.as_ref());
            match eviction::read(bucket, product, known)
                .await
                .map_err(failed)?
            {
                HealthRead::Unchanged => {}
                HealthRead::Absent => {
                    let none = Health::new(fleet.fleet.clone(), product.clone());
                    self.read = Some((none, None));
                }
                HealthRead::Object(bytes, tag) => {
                    let health = eviction::parse(&bytes, &fleet.fleet, product)
                        .map_err(|wrong| (wrong.to_string(), false))?;
                    self.read = Some((health, Some(tag)));
                }
            }
            let Some((health, tag)) = &self.read else {
                return Ok(());
            };
            self.memory.read(health, clock::boottime());
            let word = self_examination(
                &mut self.memory,
                watched,
                product,
                health,
                self.pace.longest(),
            )
            .await;
            let here = Here {
                fleet,
                product,
                node: &watched.node,
                at: clock::now(),
                now: clock::boottime(),
                word: &word,
            };
            let next = decide(&here, &self.memory, health);
            if next == *health {
                return Ok(());
            }
            match eviction::write(bucket, &next, tag.as_ref()).await {
                Ok(tag) => {
                    log_own(&watched.node, product, health, &next);
                    self.memory.read(&next, clock::boottime());
                    self.read = Some((next, Some(tag)));
                    return Ok(());
                }
                // Somebody else was faster: what it wrote may change what is to be said.
                Err(error) if error.kind == BucketErrorKind::Conflict => {}
                Err(error) => {
                    // It may have been written all the same: read it as new.
                    self.read = Some((health.clone(), None));
                    return Err(failed(error));
                }
            }
        }
        Ok(())
    }
}

/// What this box says of itself, in the parts in which others accuse it: what it knows, and what it answers itself.
async fn self_examination(
    memory: &mut Memory,
    watched: &Watched,
    product: &Name,
    health: &Health,
    longest: Duration,
) -> BTreeMap<EvictPart, Result<(), String>> {
    let mut words = BTreeMap::new();
    for part in EvictPart::ALL {
        let record = health.of(part).get(&watched.node);
        let is_asked =
            record.is_some_and(|record| record.out.is_some() || !record.seen_dead.is_empty());
        let known = (watched.words.get(product)).and_then(|words| words.get(&part));
        let (Some(known), true) = (known, is_asked) else {
            memory.is_well(part, false, clock::boottime(), longest);
            continue;
        };
        let mut word = known.clone();
        if word.is_ok()
            && let (Some(server), Some(parts)) = (
                watched.fleet.servers.get(&watched.node),
                watched.fleet.products.get(product),
            )
        {
            word = is_alive(server.address, &liveness_questions(parts, part)).await;
        }
        memory.is_well(part, word.is_ok(), clock::boottime(), longest);
        words.insert(part, word);
    }
    words
}

/// Whom an observer asks what.
fn questions(
    fleet: &Fleet,
    product: &Name,
    node: &Name,
) -> Vec<(Target, IpAddr, Vec<LivenessQuestion>)> {
    let Some(parts) = fleet.products.get(product) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for part in EvictPart::ALL {
        let questions = liveness_questions(parts, part);
        let others = targets(fleet, product, part).filter(|name| *name != node);
        let others = others.filter_map(|name| Some((name, fleet.servers.get(name)?)));
        all.extend(
            others.map(|(name, server)| ((part, name.clone()), server.address, questions.clone())),
        );
    }
    all
}

/// Who is left out or accused, for people.
fn rows(
    product: &Name,
    health: &Health,
    left: &crate::node::eviction::LeftOut,
) -> Vec<EvictionStatus> {
    let mut rows = Vec::new();
    for part in EvictPart::ALL {
        for (server, record) in health.of(part) {
            let out = left.of(part).get(server);
            rows.extend(row((product, part, server), record, out));
        }
    }
    rows
}

fn row(
    (product, part, server): (&Name, EvictPart, &Name),
    record: &Record,
    out: Option<&crate::node::eviction::Out>,
) -> Option<EvictionStatus> {
    let seen = out.map_or(&record.seen_dead, |out| &out.by);
    let first = seen.iter().map(|one| one.since).min();
    let says = match (out, &record.word) {
        (Some(out), _) => Some(out.word.clone()),
        (None, Some(word)) if word.well => Some("it is well".to_owned()),
        (None, word) => word.as_ref().map(|word| word.why.clone()),
    };
    Some(EvictionStatus {
        product: product.clone(),
        part,
        server: server.clone(),
        out: out.is_some(),
        since: out.map_or(first, |out| Some(out.since))?,
        by: seen.iter().map(|one| one.by.clone()).collect(),
        why: seen.first().map(|one| one.why.clone()).unwrap_or_default(),
        says: says.filter(|says| !says.is_empty()),
    })
}

/// Tells of servers that go and come, whoever took them out.
fn log_changes(before: &Told, now: &Told) {
    let all = |told: &Told| -> BTreeSet<(Name, EvictPart, Name)> {
        let out = told.rows.iter().filter(|row| row.out);
        out.map(|row| (row.product.clone(), row.part, row.server.clone()))
            .collect()
    };
    let (before, present) = (all(before), all(now));
    for row in now.rows.iter().filter(|row| row.out) {
        if !before.contains(&(row.product.clone(), row.part, row.server.clone())) {
            let by = by_whom(row.by.iter());
            tracing::warn!(
                event = "server-left-out",
                product = row.product.as_str(),
                part = row.part.as_str(),
                server = row.server.as_str(),
                by,
                why = row.why,
                "{} ({} of {}) is left out: {by} found it dead ({})",
                row.server,
                row.part,
                row.product,
                row.why
            );
        }
    }
    for (product, part, server) in before.difference(&present) {
        tracing::info!(
            event = "server-returned",
            product = product.as_str(),
            part = part.as_str(),
            server = server.as_str(),
            "{server} ({part} of {product}) is no longer left out"
        );
    }
}

/// Tells what this box itself has added.
fn log_own(node: &Name, product: &Name, before: &Health, after: &Health) {
    for part in EvictPart::ALL {
        for (server, record) in after.of(part) {
            let known = before.of(part).get(server);
            let mine =
                |record: &Record| record.seen_dead.iter().find(|one| one.by == *node).cloned();
            let is_new = known.and_then(mine).is_none();
            if let Some(sighting) = mine(record).filter(|_| is_new) {
                tracing::warn!(
                    event = "server-in-doubt",
                    product = product.as_str(),
                    part = part.as_str(),
                    server = server.as_str(),
                    why = sighting.why,
                    "{server} ({part} of {product}) does not answer this box: {}",
                    sighting.why
                );
            }
            let took_out = record.out.is_some() && known.is_none_or(|known| known.out.is_none());
            if took_out {
                tracing::warn!(
                    event = "server-taken-out",
                    product = product.as_str(),
                    part = part.as_str(),
                    server = server.as_str(),
                    "this box has taken {server} ({part} of {product}) out, for others find it dead too"
                );
            }
        }
    }
}
