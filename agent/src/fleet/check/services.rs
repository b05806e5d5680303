//! Services: what one place says of one, and what two say on a server that has both.

use std::collections::BTreeMap;

use super::bundles::{Claim, Said};
use super::{Check, PRODUCTS, ROLES};
use crate::fleet::bundle::Bundle;
use crate::fleet::names::UnitName;
use crate::fleet::pointer::Place;
use crate::fleet::service::{AtBoot, Service};

/// The most services of one role or product.
const MOST: usize = 200;
/// What the agent's own units are called, and what they begin with.
const OWN: &str = "agentd";
const OWN_MORE: &str = "agentd-";

/// What can be said of a service, and must be said by all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aspect {
    Running,
    Enabled,
}

impl Check<'_> {
    pub(super) fn all_services(&mut self) {
        for (name, role) in &self.fleet.roles {
            let at = ROLES.place.then(name.as_str());
            self.map_of_services(&role.services, &at.then("services"));
        }
        for (name, product) in &self.fleet.products {
            let at = PRODUCTS.place.then(name.as_str());
            self.map_of_services(&product.services, &at.then("services"));
        }
        self.agree(claims, contradiction);
    }

    fn map_of_services(&mut self, services: &BTreeMap<UnitName, Service>, at: &Place<'_>) {
        self.at_most(services.len(), MOST, at);
        for (name, service) in services {
            let at = at.then(name.as_str());
            if let Some(why) = unfit(name) {
                self.findings.add(&at, || why);
            }
            if service.enabled == Some(AtBoot::Masked) && service.running == Some(true) {
                self.findings.add(&at.then("running"), || {
                    format!("`{name}` cannot be masked and run: take one of them out")
                });
            }
            let roles = at.then("on");
            self.list(&service.on, &roles, 64);
            for (index, role) in service.on.iter().enumerate() {
                self.refers(&self.fleet.roles, &ROLES, role, &roles, index);
            }
        }
    }
}

/// Kinds of units that are started and stopped as services are.
const KINDS: [&str; 4] = [".service", ".socket", ".timer", ".path"];
/// The other kinds, which systemd knows by these endings.
const OTHER_KINDS: [&str; 7] = [
    ".target",
    ".slice",
    ".scope",
    ".mount",
    ".automount",
    ".swap",
    ".device",
];
/// What no document has started, stopped or restarted: the machine would go down, or what all else on it stands on.
const REFUSED: [&str; 18] = [
    "dbus",
    "dbus-broker",
    "emergency",
    "halt",
    "kexec",
    "poweroff",
    "reboot",
    "rescue",
    "systemd-exit",
    "systemd-halt",
    "systemd-hibernate",
    "systemd-hybrid-sleep",
    "systemd-kexec",
    "systemd-poweroff",
    "systemd-reboot",
    "systemd-soft-reboot",
    "systemd-suspend",
    "systemd-suspend-then-hibernate",
];

/// Why a document cannot say anything of this unit.
pub(super) fn unfit(unit: &UnitName) -> Option<String> {
    let name = unit.as_str();
    let bare = KINDS.iter().find_map(|kind| name.strip_suffix(kind));
    let bare = bare.unwrap_or(name);
    if bare == OWN || bare.starts_with(OWN_MORE) {
        return Some(format!(
            "`{unit}` is a unit of the agent's own: it keeps those itself"
        ));
    }
    if let Some(kind) = OTHER_KINDS.iter().find(|kind| name.ends_with(*kind)) {
        return Some(format!(
            "`{unit}` is no service: a unit that ends in {kind} is not the document's; services, sockets, timers and paths are"
        ));
    }
    if REFUSED.contains(&bare) {
        return Some(format!(
            "`{unit}` is never started, stopped or restarted for a document: the machine would go down, or what all services need"
        ));
    }
    bare.ends_with('@')
        .then(|| format!("`{unit}` is a template: say which instance, as in {bare}NAME"))
}

type Key<'f> = (&'f str, Aspect);

fn claims<'f>(by: Bundle<'f>) -> Vec<Claim<'f, Key<'f>, String>> {
    let mut claims = Vec::new();
    for (name, service) in by.services() {
        // With and without its suffix it is one.
        let unit = name.as_str();
        let unit = unit.strip_suffix(".service").unwrap_or(unit);
        let mut claim = |aspect, field: &'f str, value| {
            claims.push(Claim {
                key: (unit, aspect),
                value,
                on: &service.on,
                path: vec!["services".into(), name.as_str().into(), field.into()],
            });
        };
        if let Some(running) = service.running {
            claim(Aspect::Running, "running", running.to_string());
        }
        if let Some(enabled) = service.enabled {
            claim(Aspect::Enabled, "enabled", enabled.to_string());
        }
    }
    claims
}

type Word<'f> = Said<'f, Key<'f>, String>;

fn contradiction(this: &Word<'_>, first: &Word<'_>) -> String {
    let (name, aspect) = this.claim.key;
    let field = match aspect {
        Aspect::Running => "running",
        Aspect::Enabled => "enabled",
    };
    let (here, there) = (&this.claim.value, &first.claim.value);
    format!(
        "`{field}` of `{name}` is {here} here, and {there} in {}",
        first.by
    )
}
