//! What one server makes of what it sees and reads: whom it accuses, whom it takes out, what it says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::observers::everybody;
use super::{
    Health, MOST, Memory, Out, Record, Sighting, Target, Word, most_out, observers, short, targets,
};
use crate::fleet::{EvictPart, Fleet, Name, Product};

/// Servers that can look at the others and not at so many may be cut off themselves: from this number on that is considered.
const MANY: usize = 3;
/// Who is out already says how it is so often: nobody waits for it.
const WORD_OF_OUT: Duration = Duration::from_mins(1);
/// The longest time for which a server must have been well before it comes back.
const LONGEST_WAIT: Duration = Duration::from_mins(30);
/// After so long without being taken out again, all that is forgotten.
const PEACE: SignedDuration = SignedDuration::from_hours(1);
/// A sighting by a server that is dead itself is dropped after this.
const STALE: SignedDuration = SignedDuration::from_hours(1);

/// How long a look at a server may take.
pub(super) const ONE_LOOK: Duration = Duration::from_secs(10);

/// Where and when something is decided.
#[derive(Debug, Clone)]
pub struct Here<'a> {
    /// What the fleet should be.
    pub fleet: &'a Fleet,
    /// The product.
    pub product: &'a Name,
    /// This server.
    pub node: &'a Name,
    /// The time of the wall, for people.
    pub at: Timestamp,
    /// The time since boot.
    pub now: Duration,
    /// What this server says of itself, in each part that it takes: `Err` says what is wrong.
    pub word: &'a BTreeMap<EvictPart, Result<(), String>>,
}

/// How often servers of a product are looked at, and how often the object is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks at each server.
    pub look: Duration,
    /// Between two reads of the object.
    pub read: Duration,
}

impl Pace {
    /// As the shortest time of a product's parts wants it. `None`: nobody is ever taken out there.
    pub fn of(product: &Product) -> Option<Self> {
        let after = EvictPart::ALL
            .iter()
            .filter_map(|part| product.evict_after(*part));
        let after = after.min()?;
        let (least, most) = (Duration::from_secs(5), Duration::from_secs(20));
        Some(Self {
            look: (after / 6).clamp(least, most),
            read: (after / 4).clamp(least, most),
        })
    }

    /// A look that is older says nothing of now.
    pub fn longest(self) -> Duration {
        self.look * 3 + ONE_LOOK
    }
}

/// What is to stand in the object, by what this server knows; the same as stands there: nothing is to be written.
pub fn decide(here: &Here<'_>, memory: &Memory, health: &Health) -> Health {
    let mut next = health.clone();
    let product = here.fleet.products.get(here.product);
    let Some((product, pace)) = product.and_then(|it| Some((it, Pace::of(it)?))) else {
        return next;
    };
    let observers = observers(here.fleet, here.product, health);
    let look = Look {
        here,
        memory,
        health,
        everybody: everybody(here.fleet, here.product),
        longest: pace.longest(),
        observers,
    };
    for part in EvictPart::ALL {
        match product.evict_after(part) {
            Some(after) => look.decide(part, after, &mut next),
            // What was signed counts: nobody is out where nobody is taken out.
            None if look.observes() => next.of_mut(part).clear(),
            None => {}
        }
    }
    next
}

/// All that is gone by.
struct Look<'a> {
    here: &'a Here<'a>,
    memory: &'a Memory,
    health: &'a Health,
    everybody: BTreeSet<&'a Name>,
    observers: BTreeSet<&'a Name>,
    longest: Duration,
}

impl Look<'_> {
    fn observes(&self) -> bool {
        self.observers.contains(self.here.node)
    }

    fn decide(&self, part: EvictPart, after: Duration, next: &mut Health) {
        let servers: BTreeSet<&Name> = targets(self.here.fleet, self.here.product, part).collect();
        let blind = self.is_blind();
        for server in servers.iter().filter(|server| **server != self.here.node) {
            self.accuse(part, server, after, blind, next);
        }
        if self.observes() {
            self.tidy(part, &servers, next);
            if !blind {
                for server in servers.iter().filter(|server| **server != self.here.node) {
                    self.take_out(part, server, after, &servers, next);
                }
            }
        }
        if servers.contains(self.here.node) {
            self.answer(part, after, next);
        }
    }

    /// Whether it is rather this server that is cut off: most of the others do not answer it.
    fn is_blind(&self) -> bool {
        let others = self.everybody.iter().filter(|it| **it != self.here.node);
        let (mut all, mut dead) = (0_usize, 0_usize);
        for other in others {
            all += 1;
            let is_dead = |part| self.dead(part, other).is_some();
            dead += usize::from(EvictPart::ALL.into_iter().any(is_dead));
        }
        all >= MANY && dead * 2 > all
    }

    fn dead(&self, part: EvictPart, server: &Name) -> Option<(Duration, &str)> {
        let target: Target = (part, server.clone());
        self.memory.dead(&target, self.here.now, self.longest)
    }

    fn answers(&self, part: EvictPart, server: &Name) -> bool {
        let target: Target = (part, server.clone());
        self.memory.answers(&target, self.here.now, self.longest)
    }

    /// Writes down that this server finds another one dead, or no longer.
    fn accuse(
        &self,
        part: EvictPart,
        server: &Name,
        after: Duration,
        blind: bool,
        next: &mut Health,
    ) {
        let records = next.of_mut(part);
        let node = self.here.node;
        let accused = records
            .values()
            .filter(|record| !record.seen_dead.is_empty());
        let is_full = accused.count() >= MOST;
        let dead = self
            .dead(part, server)
            .filter(|_| self.observes() && !blind);
        let known = records.get(server);
        let known = known.is_some_and(|it| it.seen_dead.iter().any(|one| one.by == *node));
        match dead {
            Some((long, why)) if !known && long >= after / 2 && !is_full => {
                let long = SignedDuration::try_from(long).unwrap_or_default();
                let zone = self.here.fleet.servers.get(node);
                let sighting = Sighting {
                    by: node.clone(),
                    zone: zone.and_then(|it| it.zone.clone()),
                    since: self.here.at.checked_sub(long).unwrap_or(self.here.at),
                    why: short(why),
                };
                let record = records.entry(server.clone()).or_default();
                record.seen_dead.push(sighting);
                record.seen_dead.sort_by(|a, b| a.by.cmp(&b.by));
            }
            // Who has begun to look a moment ago does not know better than before.
            None if known && (blind || !self.observes() || self.answers(part, server)) => {
                if let Some(record) = records.get_mut(server) {
                    record.seen_dead.retain(|one| one.by != *node);
                }
            }
            Some(_) | None => {}
        }
    }

    /// Drops what nothing follows from any more.
    fn tidy(&self, part: EvictPart, servers: &BTreeSet<&Name>, next: &mut Health) {
        let at = self.here.at;
        let is_dead = |by: &Name| {
            EvictPart::ALL
                .into_iter()
                .any(|of| self.dead(of, by).is_some())
        };
        let counts = |one: &Sighting| {
            let is_stale = at.duration_since(one.since) > STALE && is_dead(&one.by);
            self.observers.contains(&one.by) && !is_stale
        };
        let records = next.of_mut(part);
        records.retain(|server, record| {
            record.seen_dead.retain(counts);
            if record.out.is_none() && record.seen_dead.is_empty() {
                record.word = None;
            }
            let is_recent = record
                .returned
                .is_some_and(|returned| at.duration_since(returned) < PEACE);
            let says = record.out.is_some() || !record.seen_dead.is_empty() || is_recent;
            // Signed intent stands above it: who is not active any more is a matter of the document.
            says && servers.contains(server)
        });
    }

    /// Takes a server out, where all that must be true is.
    fn take_out(
        &self,
        part: EvictPart,
        server: &Name,
        after: Duration,
        servers: &BTreeSet<&Name>,
        next: &mut Health,
    ) {
        let outs = |record: &&Record| record.out.is_some();
        let is_out = |name: &Name| next.of(part).get(name).is_some_and(|it| outs(&it));
        let out = servers.iter().filter(|name| is_out(name)).count();
        let Some(record) = next.of(part).get(server).filter(|it| !outs(it)) else {
            return;
        };
        let long_enough = self
            .dead(part, server)
            .is_some_and(|(long, _)| long >= after);
        let Some(mine) = (record.seen_dead.iter()).find(|one| one.by == *self.here.node) else {
            return;
        };
        let is_known =
            |by: &Name| self.memory.known_for(part, server, by, self.here.now) >= after / 3;
        let with_me = record.seen_dead.iter().filter(|one| {
            one.by != *self.here.node
                && one.by != *server
                && self.observers.contains(&one.by)
                && is_known(&one.by)
                // Who cannot be seen from here may be on the other side of a cut.
                && EvictPart::ALL.into_iter().any(|of| self.answers(of, &one.by))
        });
        let by: Vec<Sighting> = std::iter::once(mine).chain(with_me).cloned().collect();
        let says = self.says(part, server, record, after);
        let others_remain = servers.iter().any(|other| {
            *other != server
                && !is_out(other)
                && (*other == self.here.node || self.answers(part, other))
        });
        let may = long_enough
            && is_known(self.here.node)
            && self.is_enough(server, &by)
            && says.is_some()
            && others_remain
            && out < most_out(servers.len());
        let (Some(word), true) = (says, may) else {
            return;
        };
        let at = self.here.at;
        if let Some(record) = next.of_mut(part).get_mut(server) {
            let is_recent =
                (record.returned).is_some_and(|returned| at.duration_since(returned) < PEACE);
            record.times = if is_recent {
                record.times.saturating_add(1)
            } else {
                1
            };
            record.out = Some(Out {
                since: at,
                by,
                word,
            });
        }
    }

    /// Whether these are enough to say that a server is dead: two in two zones, or all that there are.
    fn is_enough(&self, server: &Name, by: &[Sighting]) -> bool {
        let is_out = |name: &Name| {
            let mut records = EvictPart::ALL
                .into_iter()
                .filter_map(|of| self.health.of(of).get(name));
            records.any(|record| record.out.is_some())
        };
        let zone = |name: &Name| {
            self.here
                .fleet
                .servers
                .get(name)
                .and_then(|it| it.zone.clone())
        };
        let could: Vec<&Name> = (self.everybody.iter().copied())
            .filter(|name| *name != server && !is_out(name))
            .collect();
        let zones = |names: &mut dyn Iterator<Item = &Name>| {
            let zones: BTreeSet<Option<String>> = names
                .map(|name| zone(name).map(|it| it.to_string()))
                .collect();
            zones.len()
        };
        by.len() >= could.len().min(2)
            && zones(&mut by.iter().map(|one| &one.by)) >= zones(&mut could.iter().copied()).min(2)
    }

    /// What a server that others find dead says of itself: nothing, or that it is not well. `None`: it says that it is well.
    fn says(
        &self,
        part: EvictPart,
        server: &Name,
        record: &Record,
        after: Duration,
    ) -> Option<String> {
        let heard = self.memory.heard_before(part, server, self.here.now);
        let is_fresh = heard.is_some_and(|heard| heard <= after / 2 + Duration::from_secs(5));
        match record.word.as_ref().filter(|_| is_fresh) {
            None => Some(String::new()),
            Some(word) if word.well => None,
            Some(word) => Some(short(&word.why)),
        }
    }

    /// Says how this server itself is, where others find it dead; brings it back when it has been well for long enough.
    fn answer(&self, part: EvictPart, after: Duration, next: &mut Health) {
        let (node, now, at) = (self.here.node, self.here.now, self.here.at);
        let heard = self.memory.heard_before(part, node, now);
        let Some(record) = next.of_mut(part).get_mut(node) else {
            return;
        };
        if record.out.is_none() && record.seen_dead.is_empty() {
            return;
        }
        let word = self.here.word.get(&part);
        let (well, why) = match word {
            Some(Ok(())) => (true, String::new()),
            Some(Err(why)) => (false, short(why)),
            // It does not know itself yet.
            None => return,
        };
        if record.out.is_some() {
            let been_well = self.memory.well_for(part, now).filter(|_| well);
            if been_well.is_some_and(|long| long >= wait(after, record.times)) {
                *record = Record {
                    times: record.times,
                    returned: Some(at),
                    ..Record::default()
                };
                return;
            }
        }
        let pause = if record.out.is_some() {
            WORD_OF_OUT
        } else {
            after / 8
        };
        let is_due = heard.is_none_or(|heard| heard >= pause);
        let before = record.word.as_ref();
        if is_due || before.is_none_or(|word| word.well != well) {
            record.word = Some(Word {
                count: before.map_or(0, |word| word.count).wrapping_add(1),
                at,
                well,
                why,
            });
        }
    }
}

/// How long a server that was taken out so often must be well before it comes back: as long as it had to be found dead, twice as long each
/// time.
pub(super) fn wait(after: Duration, times: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(times.saturating_sub(1))
        .unwrap_or(u32::MAX);
    let wait = after.checked_mul(doubled);
    wait.map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT.max(after)))
}
