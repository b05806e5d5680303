//! What a document means: references that lead nowhere, two owners of one thing, contradictions. Not its types.
//!
//! Pure, and linear in the size of the fleet: ten thousand servers are checked at each change of the document.

mod boxes;
mod products;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::findings::Findings;
use super::model::{CronJob, Fleet};
use super::names::Name;
use super::pointer::Pointer;
use super::wording::listed;
use crate::system::spelling::nearest;

/// Names that every system gives a meaning of its own.
const RESERVED_HOSTS: [&str; 6] = [
    "localhost",
    "localhost4",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "localhost.localdomain",
];

/// Finds all mistakes in what `fleet` means, and adds them to `findings`. Nothing is said about places that
/// `findings` already doubts: their mistakes would only be echoes.
pub(super) fn check(fleet: &Fleet, findings: &mut Findings) {
    let mut check = Check { fleet, findings };
    check.header();
    check.servers();
    check.roles();
    check.products();
    check.boxes();
}

struct Check<'f> {
    fleet: &'f Fleet,
    findings: &'f mut Findings,
}

/// `/signed/` and what `path` says.
fn place<const N: usize>(path: [&str; N]) -> Pointer {
    Pointer::of(std::iter::once("signed").chain(path))
}

/// Parts of the document whose entries are named elsewhere in it.
struct Kind {
    key: &'static str,
    noun: &'static str,
}

const SERVERS: Kind = Kind {
    key: "servers",
    noun: "server",
};
const ROLES: Kind = Kind {
    key: "roles",
    noun: "role",
};
const PRODUCTS: Kind = Kind {
    key: "products",
    noun: "product",
};

impl<'f> Check<'f> {
    fn header(&mut self) {
        let fleet = self.fleet;
        if fleet.format != 1 {
            self.findings.add(&place(["format"]), || {
                format!("expected 1, the only format; found {}", fleet.format)
            });
        }
        let expires = place(["expires"]);
        let known =
            !self.findings.is_doubtful(&expires) && !self.findings.is_doubtful(&place(["issued"]));
        if known && fleet.expires <= fleet.issued {
            self.findings.add(&expires, || {
                format!(
                    "expected a moment after `issued` ({}); found {}",
                    fleet.issued, fleet.expires
                )
            });
        }
    }

    fn roles(&mut self) {
        for (name, role) in &self.fleet.roles {
            self.cron(&role.cron, &place(["roles", name.as_str(), "cron"]));
        }
    }

    fn cron(&mut self, jobs: &'f BTreeMap<Name, CronJob>, at: &Pointer) {
        for (name, job) in jobs {
            let on = at.then(name).then("on");
            self.list(&job.on, &on, 64);
            for (index, role) in job.on.iter().enumerate() {
                self.refers(&self.fleet.roles, &ROLES, role, &on, index);
            }
        }
    }

    /// Whether `name`, the `index`th of the list at `at`, is one of `known`; says so if it is not.
    fn refers<T>(
        &mut self,
        known: &BTreeMap<Name, T>,
        kind: &Kind,
        name: &Name,
        at: &Pointer,
        index: usize,
    ) -> bool {
        // First what nearly always holds: a place costs an allocation.
        known.contains_key(name) || {
            let at = self.findings.item(at, index);
            self.refers_at(known, kind, name, &at)
        }
    }

    fn refers_at<T>(
        &mut self,
        known: &BTreeMap<Name, T>,
        kind: &Kind,
        name: &Name,
        at: &Pointer,
    ) -> bool {
        const FEW: usize = 8;
        if known.contains_key(name) {
            return true;
        }
        if self.findings.may_hide(&place([kind.key]), name.as_str()) {
            return false;
        }
        self.findings.add(at, || {
            let noun = kind.noun;
            let names = || known.keys().map(Name::as_str);
            match nearest(name.as_str(), names()) {
                Some(near) => format!("there is no {noun} `{name}`; did you mean `{near}`?"),
                None if known.is_empty() => {
                    format!("there is no {noun} `{name}`: the document has no {noun}s")
                }
                None if known.len() <= FEW => {
                    format!(
                        "there is no {noun} `{name}`; the {noun}s are {}",
                        listed(names(), '`', "and")
                    )
                }
                None => format!("there is no {noun} `{name}` in {}", place([kind.key])),
            }
        });
        false
    }

    /// Checks that a list names nothing twice and has at most `most` entries.
    fn list<T: Ord + fmt::Display>(&mut self, list: &[T], at: &Pointer, most: usize) {
        if list.len() < 2 {
            return;
        }
        self.at_most(list.len(), most, at);
        let mut seen = BTreeSet::new();
        for (index, entry) in list.iter().enumerate() {
            if !seen.insert(entry) {
                let place = self.findings.item(at, index);
                self.findings
                    .add(&place, || format!("`{entry}` is listed twice"));
            }
        }
    }

    fn at_most(&mut self, found: usize, most: usize, at: &Pointer) {
        if found > most {
            self.findings.add(at, || {
                format!("expected at most {most} entries; found {found}")
            });
        }
    }
}

#[cfg(test)]
mod tests;
