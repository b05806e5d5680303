//! Taking out dead servers of a product: what the servers have agreed on, and what follows from it for one box. Pure.
//!
//! A dead machine cannot leave DNS, nor the node lists of others. So the servers of a product watch each other, and write what they
//! see into one object, `health/PRODUCT.json`, by compare-and-swap ([`Health`]). Which of them look, when one is taken out and when it
//! comes back is decided in [`decide()`]; what everybody goes by is [`LeftOut`].

mod decide;
mod memory;
mod observers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::names::ZoneName;
use crate::fleet::{EvictPart, Fleet, Name};

pub use decide::{Here, Pace, decide};
pub use memory::Memory;
pub use observers::{Target, observers, targets};

/// The most servers of a product that are out, or accused, at a time, in each part.
pub const MOST: usize = 20;
/// The most characters of what is quoted.
const LONGEST: usize = 160;

/// What the servers of a product have found out about each other: `health/PRODUCT.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The format of this record: 1.
    pub format: u32,
    /// The fleet.
    pub fleet: Name,
    /// The product.
    pub product: Name,
    /// Its web servers about which there is something to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub web: BTreeMap<Name, Record>,
    /// Its memcached servers about which there is something to say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cache: BTreeMap<Name, Record>,
}

/// What is said of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who finds it dead now, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen_dead: Vec<Sighting>,
    /// What it says itself of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<Word>,
    /// It is out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Out>,
    /// How often it was taken out without an hour of peace in between: each time it has to be well for longer.
    #[serde(default)]
    pub times: u32,
    /// When it came back last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Timestamp>,
}

/// That one server finds another one dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Who.
    pub by: Name,
    /// The zone that it looks from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneName>,
    /// Since when, by its own clock.
    pub since: Timestamp,
    /// What became of the question: `connecting: no answer within 3 s`.
    pub why: String,
}

/// What an accused server says of itself. It says so again and again, as long as it is accused or out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Grows with each time: who hears the same twice has heard nothing new.
    pub count: u64,
    /// When, by its own clock.
    pub at: Timestamp,
    /// Whether it is well.
    pub well: bool,
    /// What is wrong with it; empty where it is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// That a server was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Out {
    /// When, by the clock of who wrote it.
    pub since: Timestamp,
    /// Who found it dead, with what they saw.
    pub by: Vec<Sighting>,
    /// What it said itself: empty where it was silent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub word: String,
}

impl Out {
    /// Who found it dead: `web-1 and web-2`.
    pub fn by_whom(&self) -> String {
        by_whom(self.by.iter().map(|sighting| &sighting.by))
    }
}

/// Names of servers as a person lists them.
pub fn by_whom<'a>(servers: impl Iterator<Item = &'a Name>) -> String {
    let names: Vec<&str> = servers.map(Name::as_str).collect();
    match names.as_slice() {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

impl Health {
    /// Of a product of which there is nothing to say.
    pub const fn new(fleet: Name, product: Name) -> Self {
        Self {
            format: 1,
            fleet,
            product,
            web: BTreeMap::new(),
            cache: BTreeMap::new(),
        }
    }

    /// What is said of servers in one part.
    pub const fn of(&self, part: EvictPart) -> &BTreeMap<Name, Record> {
        match part {
            EvictPart::Web => &self.web,
            EvictPart::Cache => &self.cache,
        }
    }

    /// See [`Health::of`].
    pub const fn of_mut(&mut self, part: EvictPart) -> &mut BTreeMap<Name, Record> {
        match part {
            EvictPart::Web => &mut self.web,
            EvictPart::Cache => &mut self.cache,
        }
    }

    /// Whether anybody is accused or out: then it is looked at more often.
    pub fn is_restless(&self) -> bool {
        let mut all = self.web.values().chain(self.cache.values());
        all.any(|record| record.out.is_some() || !record.seen_dead.is_empty())
    }
}

/// Who is left out of a product, and why: what a box goes by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its web servers that are out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub web: BTreeMap<Name, Out>,
    /// Its memcached servers that are out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cache: BTreeMap<Name, Out>,
}

/// Who is left out, by product.
pub type Evictions = BTreeMap<Name, LeftOut>;

impl LeftOut {
    /// Those of one part.
    pub const fn of(&self, part: EvictPart) -> &BTreeMap<Name, Out> {
        match part {
            EvictPart::Web => &self.web,
            EvictPart::Cache => &self.cache,
        }
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.web.is_empty() && self.cache.is_empty()
    }
}

/// How many servers of a part may be out at a time: a third of them, one at least.
pub const fn most_out(servers: usize) -> usize {
    let third = servers / 3;
    if third > MOST {
        MOST
    } else if third == 0 {
        1
    } else {
        third
    }
}

/// Whom a box leaves out of a product by what was agreed on.
///
/// The document stands above it, and the object is not believed further than it could rightly go: who is not active, or never taken
/// out, is not left out; nor are more than [`most_out`], those that were taken out first; and never all.
pub fn left_out(fleet: &Fleet, product: &Name, health: &Health) -> LeftOut {
    let mut left = LeftOut::default();
    let Some(parts) = fleet.products.get(product) else {
        return left;
    };
    for part in EvictPart::ALL {
        if parts.evict_after(part).is_none() {
            continue;
        }
        let servers: BTreeSet<&Name> = targets(fleet, product, part).collect();
        let mut out: Vec<(&Name, &Out)> = (health.of(part).iter())
            .filter(|(name, _)| servers.contains(name))
            .filter_map(|(name, record)| Some((name, record.out.as_ref()?)))
            .collect();
        out.sort_by_key(|(name, out)| (out.since, *name));
        let most = most_out(servers.len()).min(servers.len().saturating_sub(1));
        let out = out.into_iter().take(most);
        let out = out.map(|(name, out)| (name.clone(), out.clone())).collect();
        match part {
            EvictPart::Web => left.web = out,
            EvictPart::Cache => left.cache = out,
        }
    }
    left
}

/// A line within bounds.
fn short(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect()
}
