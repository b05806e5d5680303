//! Packages: what one place says of one, and what two say on a server that has both.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::bundles::{Claim, Said};
use super::{Check, PRODUCTS, ROLES};
use crate::fleet::bundle::Bundle;
use crate::fleet::package::Package;
use crate::fleet::pointer::{Place, Pointer};
use crate::system::platform::debian_package;

/// The most packages of one role or product.
const MOST: usize = 500;
/// The agent's own package.
const OWN: &str = "node-agent";

/// What can be said of a package, and must be said by all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aspect {
    /// Whether it is there.
    Presence,
    /// At which version it is kept.
    Version,
    /// What it is called on Debian.
    Debian,
    /// Whether what is called so on Debian is there.
    PresenceOnDebian,
}

impl Check<'_> {
    pub(super) fn packages(&mut self) {
        for (name, role) in &self.fleet.roles {
            let at = ROLES.place.then(name.as_str());
            self.list_of_packages(&role.packages, &at.then("packages"));
        }
        for (name, product) in &self.fleet.products {
            let at = PRODUCTS.place.then(name.as_str());
            self.list_of_packages(&product.packages, &at.then("packages"));
        }
        // Of a list with mistakes nobody knows which places its items have.
        let findings = &*self.findings;
        let lists = self.fleet.products.iter();
        let lists = lists.map(|(name, product)| Bundle::Product(name, product));
        let roles = self.fleet.roles.iter();
        let lists = lists.chain(roles.map(|(name, role)| Bundle::Role(name, role)));
        let doubtful: BTreeSet<Pointer> = lists
            .map(|by| by.origin().then("packages"))
            .filter(|list| findings.is_doubtful_at(list))
            .collect();
        self.agree(
            |by| {
                if doubtful.contains(&by.origin().then("packages")) {
                    return Vec::new();
                }
                claims(by)
            },
            contradiction,
        );
    }

    fn list_of_packages(&mut self, packages: &[Package], at: &Place<'_>) {
        self.at_most(packages.len(), MOST, at);
        for (index, package) in packages.iter().take(MOST).enumerate() {
            let place = self.findings.item(at, index);
            self.package(package, &place);
        }
    }

    fn package(&mut self, package: &Package, at: &Place<'_>) {
        let Package {
            name,
            debian: _,
            version,
            downgrade,
            absent,
            on,
        } = package;
        if *absent && (version.is_some() || *downgrade) {
            self.findings.add(&at.then("absent"), || {
                format!("`{name}` cannot be absent and kept at a version: take one of them out")
            });
        } else if *downgrade && version.is_none() {
            self.findings.add(&at.then("downgrade"), || {
                "there is no `version` that it could go back to: add it, or take this out"
                    .to_owned()
            });
        }
        if *absent && name.as_str() == OWN {
            self.findings.add(at, || {
                format!("`{OWN}` is the agent itself: it does not remove itself")
            });
        }
        let roles = at.then("on");
        self.list(on, &roles, 64);
        for (index, role) in on.iter().enumerate() {
            self.refers(&self.fleet.roles, &ROLES, role, &roles, index);
        }
    }
}

/// What each package of a bundle says, where others could say otherwise.
fn claims<'f>(by: Bundle<'f>) -> Vec<Claim<'f, (Aspect, &'f str), &'f str>> {
    let mut claims = Vec::new();
    for (index, package) in by.packages().iter().enumerate() {
        let name = package.name.as_str();
        let debian = package.debian.as_ref();
        let debian = debian.map_or_else(|| debian_package(name), AsRef::as_ref);
        let presence = if package.absent { "absent" } else { "wanted" };
        let mut claim = |aspect, of, value| {
            let index: Cow<'f, str> = Cow::Owned(index.to_string());
            claims.push(Claim {
                key: (aspect, of),
                value,
                on: &package.on,
                path: vec!["packages".into(), index],
            });
        };
        claim(Aspect::Presence, name, presence);
        if let Some(version) = &package.version {
            claim(Aspect::Version, name, version.as_str());
        }
        claim(Aspect::Debian, name, debian);
        claim(Aspect::PresenceOnDebian, debian, presence);
    }
    claims
}

type Word<'f> = Said<'f, (Aspect, &'f str), &'f str>;

fn contradiction(this: &Word<'_>, first: &Word<'_>) -> String {
    let (aspect, name) = this.claim.key;
    let (here, there, by) = (this.claim.value, first.claim.value, first.by);
    match aspect {
        Aspect::Presence => format!("`{name}` is {here} here, and {there} in {by}"),
        Aspect::Version => {
            format!("`{name}` is kept at version {here} here, and at {there} in {by}")
        }
        Aspect::Debian => {
            format!("`{name}` is called {here} on Debian here, and {there} in {by}")
        }
        Aspect::PresenceOnDebian => {
            format!("what Debian calls `{name}` is {here} here, and {there} in {by}")
        }
    }
}
