//! What a document means: references that lead nowhere, two owners of one thing, contradictions. Not its types.
//!
//! Pure, and linear in the size of the fleet: ten thousand servers are checked at each change of the document.

mod accounts;
mod boxes;
mod bundles;
mod caches;
mod clusters;
mod dns;
mod files;
mod packages;
mod paths;
mod php;
mod products;
mod releases;
mod rollout;
mod servers;
mod services;
pub(super) mod sites;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use super::bundle::Bundle;
use super::clusters::Clusters;
use super::findings::Findings;
use super::model::{CronJob, Fleet};
use super::names::Name;
use super::pointer::Place;
use super::wording::listed;
use crate::system::spelling::nearest;

/// Entries that are few enough to be compared one by one, and to be listed in a message.
const FEW: usize = 8;

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
    let roles = fleet.roles.keys().map(|name| (ROLES.noun, name.as_str()));
    let products = fleet
        .products
        .keys()
        .map(|name| (PRODUCTS.noun, name.as_str()));
    let mut check = Check {
        fleet,
        findings,
        named: roles.chain(products).collect(),
        clusters: Clusters::of(fleet),
    };
    check.header();
    check.domain();
    check.servers();
    check.rollout();
    check.roles();
    check.products();
    check.clusters();
    check.packages();
    check.all_services();
    check.boxes();
    check.files_agree();
    check.accounts_agree();
}

struct Check<'f> {
    fleet: &'f Fleet,
    findings: &'f mut Findings,
    /// The roles and products, each with its noun: every server refers to some.
    named: HashSet<(&'static str, &'f str)>,
    clusters: Clusters<'f>,
}

/// What the fleet should be.
const SIGNED: Place<'static> = Place::TOP.then("signed");

/// Parts of the document whose entries are named elsewhere in it.
struct Kind {
    place: Place<'static>,
    noun: &'static str,
}

const SERVERS: Kind = Kind {
    place: SIGNED.then("servers"),
    noun: "server",
};
const ROLES: Kind = Kind {
    place: SIGNED.then("roles"),
    noun: "role",
};
const CLUSTERS: Kind = Kind {
    place: SIGNED.then("clusters"),
    noun: "cluster",
};
const PRODUCTS: Kind = Kind {
    place: SIGNED.then("products"),
    noun: "product",
};

impl<'f> Check<'f> {
    fn header(&mut self) {
        let fleet = self.fleet;
        if fleet.format != 1 {
            self.findings.add(&SIGNED.then("format"), || {
                format!("expected 1, the only format; found {}", fleet.format)
            });
        }
        let expires = SIGNED.then("expires");
        let known = !self.findings.is_doubtful(&expires)
            && !self.findings.is_doubtful(&SIGNED.then("issued"));
        if known && fleet.expires <= fleet.issued {
            self.findings.add(&expires, || {
                format!(
                    "expected a moment after `issued` ({}); found {}",
                    fleet.issued, fleet.expires
                )
            });
        }
    }

    fn domain(&mut self) {
        // A server's name of 63 characters and the dot must fit before it.
        const LONGEST: usize = 253 - 64;
        let Some(domain) = &self.fleet.domain else {
            return;
        };
        if products::is_of_the_cloud(domain.as_str()) {
            self.findings.add(&SIGNED.then("domain"), || {
                format!("`{domain}` is the cloud's own domain, in which machines reach the bucket: name one of yours")
            });
        }
        let length = domain.as_str().len();
        if length > LONGEST {
            self.findings.add(&SIGNED.then("domain"), || {
                format!("expected a domain of at most {LONGEST} characters, so that servers' names fit before it; found {length}")
            });
        }
    }

    fn job(&mut self, job: &CronJob, at: &Place<'_>) {
        let environment = at.then("environment");
        self.at_most(job.environment.len(), 50, &environment);
        for name in job.environment.keys() {
            let instead = match name.as_str() {
                "SHELL" => "it is `shell` that says which shell runs the command",
                "MAILTO" => "it is `mailto` that says who gets what the job prints",
                "CRON_TZ" => "it is `timezone` that says where the schedule's hours are",
                "RANDOM_DELAY" => "it is `H` in the schedule that spreads jobs over servers",
                "LOGNAME" | "USER" => "cron itself sets it, to the job's account",
                _ => continue,
            };
            self.findings.add(&environment.then(name.as_str()), || {
                format!("`{name}` cannot be set here: {instead}")
            });
        }
        if job.schedule.is_reboot() && job.timezone.is_some() {
            self.findings.add(&at.then("timezone"), || {
                "@reboot has no hours: take the time zone out".to_owned()
            });
        }
    }

    fn roles(&mut self) {
        for (name, role) in &self.fleet.roles {
            let at = ROLES.place.then(name.as_str());
            self.cron(&role.cron, &at.then("cron"));
            self.files(Bundle::Role(name, role), &at);
            self.accounts(Bundle::Role(name, role), &at);
        }
    }

    fn cron(&mut self, jobs: &'f BTreeMap<Name, CronJob>, at: &Place<'_>) {
        for (name, job) in jobs {
            let at = at.then(name.as_str());
            self.job(job, &at);
            let on = at.then("on");
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
        at: &Place<'_>,
        index: usize,
    ) -> bool {
        // First what nearly always holds: a place costs an allocation.
        self.named.contains(&(kind.noun, name.as_str())) || {
            let at = self.findings.item(at, index);
            self.refers_at(known, kind, name, &at)
        }
    }

    fn refers_at<T>(
        &mut self,
        known: &BTreeMap<Name, T>,
        kind: &Kind,
        name: &Name,
        at: &Place<'_>,
    ) -> bool {
        if known.contains_key(name) {
            return true;
        }
        if self.findings.may_hide(&kind.place, name.as_str()) {
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
                None => format!("there is no {noun} `{name}` in {}", kind.place),
            }
        });
        false
    }

    /// Checks that a list names nothing twice and has at most `most` entries.
    fn list<T: Ord + fmt::Display>(&mut self, list: &[T], at: &Place<'_>, most: usize) {
        if list.len() < 2 {
            return;
        }
        self.at_most(list.len(), most, at);
        let mut seen = BTreeSet::new();
        for (index, entry) in list.iter().enumerate() {
            // Most lists have a few entries: a set of them would cost more than the whole check.
            let twice = if list.len() <= FEW {
                list.iter().take(index).any(|earlier| earlier == entry)
            } else {
                !seen.insert(entry)
            };
            if twice {
                let place = self.findings.item(at, index);
                self.findings
                    .add(&place, || format!("`{entry}` is listed twice"));
            }
        }
    }

    fn at_most(&mut self, found: usize, most: usize, at: &Place<'_>) {
        if found > most {
            self.findings.add(at, || {
                format!("expected at most {most} entries; found {found}")
            });
        }
    }
}

#[cfg(test)]
mod tests;
