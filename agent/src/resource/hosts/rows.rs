//! Which lines the agent writes, so that nobody's first name changes: what `hostname -f` says of the box, and what a
//! look-up says whose an address is.
//!
//! The C library answers both from the first line that has the name or the address, with the first name there. The
//! agent's lines stand before all others, so they must begin with the name that such a look-up gave without them: a
//! database's grants for `'shop'@'%.example.com'` go by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{HostsFacts, HostsLine};
use crate::fleet::Pointer;
use crate::node::{HostEntry, View};

/// A line to write, and all who ask for it.
pub(super) struct Row<'a> {
    pub(super) address: IpAddr,
    /// Its names, the first one first.
    pub(super) names: Vec<&'a str>,
    pub(super) origins: BTreeSet<&'a Pointer>,
}

/// Servers first, aliases after them, each sorted by name: the resolver answers "whose address is this" with the
/// first line that has it, and that should be the server's own name.
///
/// A name of the box itself that leads to the box without the agent is left out.
pub(super) fn rows<'a>(view: &'a View, facts: &'a HostsFacts) -> Vec<Row<'a>> {
    let others = Others::of(view, facts);
    let mut wanted: BTreeMap<(bool, &str, IpAddr), Wanted<'a>> = BTreeMap::new();
    for host in &view.hosts {
        let wanted = wanted
            .entry((is_alias(host), &host.name, host.address))
            .or_default();
        wanted.fqdn = wanted.fqdn.or(host.fqdn.as_deref());
        wanted
            .origins
            .extend(std::iter::once(&host.origin).chain(&host.elected));
    }
    let mut rows = Vec::with_capacity(wanted.len());
    let mut named: BTreeSet<IpAddr> = BTreeSet::new();
    // What the line of the box itself would be, for a line of an alias that comes first for its address.
    let mut own_origins = BTreeSet::new();
    for ((is_alias, name, address), Wanted { fqdn, origins }) in wanted {
        let is_box = !is_alias && name == view.name.as_str();
        let mut names: Vec<&str> = fqdn.into_iter().chain([name]).collect();
        if is_box {
            own_origins.clone_from(&origins);
            if others.leads_to_the_box(name) {
                names.retain(|name| !others.leads_to_the_box(name));
            }
            if names.is_empty() {
                continue;
            }
        }
        let is_first = named.insert(address.to_canonical());
        let by_address = is_first.then(|| others.name_of(address)).flatten();
        // Of the box's own name another line of this file may speak, with an address that it had once.
        let speaks = is_box && names.contains(&name);
        let by_name = speaks.then(|| others.canonical(name)).flatten();
        match (by_name, by_address) {
            (Some(by_name), Some(by_address)) if by_name != by_address => {
                put_first(&mut names, by_name);
                rows.push(Row {
                    address,
                    names: vec![by_address],
                    origins: origins.clone(),
                });
            }
            (Some(first), _) | (None, Some(first)) => put_first(&mut names, first),
            (None, None) if is_alias && is_first && others.is_of_the_box(address) => {
                // Without its own name before it the box's address would be called by the alias.
                if let Some(own) = others.own_name() {
                    rows.push(Row {
                        address,
                        names: vec![own],
                        origins: own_origins.clone(),
                    });
                }
            }
            (None, None) => {}
        }
        if is_alias && names.len() > 1 {
            // Aliases keep a line of their own, which names them first.
            let first = names.remove(0);
            rows.push(Row {
                address,
                names: vec![first],
                origins: origins.clone(),
            });
        }
        rows.push(Row {
            address,
            names,
            origins,
        });
    }
    rows
}

/// Who asks for a name, and what it is with the fleet's domain.
#[derive(Default)]
struct Wanted<'a> {
    fqdn: Option<&'a str>,
    origins: BTreeSet<&'a Pointer>,
}

fn is_alias(host: &HostEntry) -> bool {
    !host.origin.0.starts_with("/signed/servers/")
}

fn put_first<'a>(names: &mut Vec<&'a str>, first: &'a str) {
    names.retain(|name| !name.eq_ignore_ascii_case(first));
    names.insert(0, first);
}

/// What the lines of others say, each thing as the first line has it that says so.
struct Others<'a> {
    view: &'a View,
    by_address: BTreeMap<IpAddr, &'a HostsLine>,
    by_name: BTreeMap<&'a str, &'a HostsLine>,
    /// Names that some line gives a loopback address.
    loopback: BTreeSet<&'a str>,
    /// The addresses of each name that the agent would write.
    ours: BTreeMap<&'a str, BTreeSet<IpAddr>>,
}

impl<'a> Others<'a> {
    fn of(view: &'a View, facts: &'a HostsFacts) -> Self {
        let mut others = Self {
            view,
            by_address: BTreeMap::new(),
            by_name: BTreeMap::new(),
            loopback: BTreeSet::new(),
            ours: BTreeMap::new(),
        };
        for line in &facts.outside {
            let address = line.address.to_canonical();
            others.by_address.entry(address).or_insert(line);
            for name in &line.names {
                others.by_name.entry(name).or_insert(line);
                if address.is_loopback() {
                    others.loopback.insert(name);
                }
            }
        }
        for host in &view.hosts {
            for name in host.fqdn.as_deref().into_iter().chain([&*host.name]) {
                let addresses = others.ours.entry(name).or_default();
                addresses.insert(host.address.to_canonical());
            }
        }
        others
    }

    fn is_of_the_box(&self, address: IpAddr) -> bool {
        address.to_canonical() == self.view.server.address.to_canonical()
    }

    /// Whether `name`, one of the box's own, leads to the box by the lines of others.
    fn leads_to_the_box(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|line| {
            line.address.to_canonical().is_loopback() || self.is_of_the_box(line.address)
        })
    }

    /// What `name` is called in full: the first name of the first line that has it, if it may stand first in a line of
    /// the box's own address.
    fn canonical(&self, name: &str) -> Option<&'a str> {
        let line = self.by_name.get(name)?;
        let is_usable = self.may_be_written(line, self.view.server.address);
        is_usable.then_some(line.first.as_str())
    }

    /// The name by which a look-up of `address` finds it, if that may be written.
    fn name_of(&self, address: IpAddr) -> Option<&'a str> {
        let line = self.by_address.get(&address.to_canonical())?;
        self.may_be_written(line, address)
            .then_some(line.first.as_str())
    }

    /// What the box calls itself, where others' lines lead its name to it.
    fn own_name(&self) -> Option<&'a str> {
        let name = self.view.name.as_str();
        let line = self.by_name.get(name)?;
        // Old installers wrote `127.0.0.1 localhost localhost.localdomain web-1.example.com web-1`.
        let in_full = |other: &&String| {
            other
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        let fqdn = (self.view.hosts.iter())
            .find(|host| !is_alias(host) && host.name == name)
            .and_then(|host| host.fqdn.as_deref());
        (line.names.iter().find(in_full).map(String::as_str))
            .or(fqdn)
            .or(Some(name))
    }

    /// Whether the first name of `line` may be written for `address` without leading somebody astray: not a name that
    /// the document leads elsewhere, and no name of the loopback for another address.
    fn may_be_written(&self, line: &HostsLine, address: IpAddr) -> bool {
        let first = line.first.to_ascii_lowercase();
        let is_name = first.len() <= 253
            && (first.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let leads_here = (self.ours.get(first.as_str()))
            .is_none_or(|addresses| addresses.contains(&address.to_canonical()));
        let is_free = address.to_canonical().is_loopback()
            || self.is_of_the_box(address) && self.is_of_the_box_by_name(&first)
            || !self.loopback.contains(first.as_str());
        is_name && leads_here && is_free
    }

    /// Whether `name` is the box's own, with any domain or none.
    fn is_of_the_box_by_name(&self, name: &str) -> bool {
        name.split('.').next() == Some(self.view.name.as_str())
    }
}
