//! Items of products and roles that meet on one server: what two of them say of one thing must agree.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Check, SERVERS};
use crate::fleet::bundle::Bundle;
use crate::fleet::model::{Server, ServerState};
use crate::fleet::names::Name;
use crate::fleet::pointer::Pointer;

/// What an item says of one thing: under one key, on one server, there must be one value.
#[derive(Debug, Clone)]
pub(super) struct Claim<'f, K, V> {
    /// The thing, or that part of it which the value is of: a user's name and its field.
    pub(super) key: K,
    /// What is said of it.
    pub(super) value: V,
    /// The roles that the item is for. Empty: all servers of its bundle.
    pub(super) on: &'f [Name],
    /// Where that is said, in the bundle: `["users", "deploy", "uid"]`, `["packages", "3"]`.
    pub(super) path: Vec<Cow<'f, str>>,
}

/// A claim with who makes it.
#[derive(Debug)]
pub(super) struct Said<'f, K, V> {
    /// In whose name.
    pub(super) by: Bundle<'f>,
    /// What.
    pub(super) claim: Claim<'f, K, V>,
}

impl<K, V> Said<'_, K, V> {
    fn pointer(&self) -> Pointer {
        let path = self.claim.path.iter();
        path.fold(self.by.origin(), |at, segment| at.then(segment))
    }

    fn is_on(&self, load: &Load<'_>) -> bool {
        let is_carried = match self.by {
            Bundle::Product(name, _) => load.products.contains(name),
            Bundle::Role(name, _) => load.roles.contains(name),
        };
        let on = self.claim.on;
        is_carried && (on.is_empty() || on.iter().any(|role| load.roles.contains(role)))
    }
}

/// What decides which items meet: servers alike in this are alike in their contradictions.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Load<'f> {
    products: BTreeSet<&'f Name>,
    roles: BTreeSet<&'f Name>,
}

impl<'f> Load<'f> {
    /// What matters of a server, of those that matter at all.
    fn of(server: &'f Server, matters: &Self) -> Self {
        let products = server.products.iter();
        let roles = server.roles.iter();
        Self {
            products: products
                .filter(|name| matters.products.contains(name))
                .collect(),
            roles: roles.filter(|name| matters.roles.contains(name)).collect(),
        }
    }
}

impl<'f> Check<'f> {
    /// Says of each server on which two items claim another value of one key that they contradict each other; once,
    /// on however many servers they meet. `words` puts that of a key into words: the claim, then the one before it.
    ///
    /// What costs is the document, and each combination of products and roles of which some contradict each other
    /// somewhere; in a fleet without a mistake there are none.
    pub(super) fn agree<K: Ord, V: PartialEq>(
        &mut self,
        claims: impl Fn(Bundle<'f>) -> Vec<Claim<'f, K, V>>,
        words: impl Fn(&Said<'f, K, V>, &Said<'f, K, V>) -> String,
    ) {
        let disputed = self.disputed(claims);
        if disputed.is_empty() {
            return;
        }
        let mut matters = Load {
            products: BTreeSet::new(),
            roles: BTreeSet::new(),
        };
        for said in disputed.iter().flatten() {
            match said.by {
                Bundle::Product(name, _) => matters.products.insert(name),
                Bundle::Role(name, _) => matters.roles.insert(name),
            };
            matters.roles.extend(said.claim.on);
        }
        let mut loads: BTreeMap<Load<'f>, &'f Name> = BTreeMap::new();
        for (name, server) in &self.fleet.servers {
            let is_there = server.state != ServerState::Retired;
            if is_there
                && !self
                    .findings
                    .is_doubtful(&SERVERS.place.then(name.as_str()))
            {
                loads.entry(Load::of(server, &matters)).or_insert(name);
            }
        }
        let mut told = BTreeSet::new();
        for (load, server) in &loads {
            for said in &disputed {
                let mut here = said.iter().filter(|said| said.is_on(load));
                let Some(first) = here.next() else { continue };
                for other in here.filter(|other| other.claim.value != first.claim.value) {
                    let (at, there) = (other.pointer(), first.pointer());
                    let is_doubtful = [&at, &there]
                        .into_iter()
                        .any(|pointer| self.findings.is_doubtful_at(pointer));
                    if is_doubtful || !told.insert((at.clone(), there.clone())) {
                        continue;
                    }
                    self.findings.clash_of(at, there, || {
                        format!("{} (they meet on `{server}`)", words(other, first))
                    });
                }
            }
        }
    }

    /// The claims under each key that not all say the same of.
    fn disputed<K: Ord, V: PartialEq>(
        &self,
        claims: impl Fn(Bundle<'f>) -> Vec<Claim<'f, K, V>>,
    ) -> Vec<Vec<Said<'f, K, V>>> {
        let products = self.fleet.products.iter();
        let products = products.map(|(name, product)| Bundle::Product(name, product));
        let roles = self.fleet.roles.iter();
        let roles = roles.map(|(name, role)| Bundle::Role(name, role));
        let mut said: Vec<Said<'f, K, V>> = products
            .chain(roles)
            .flat_map(|by| claims(by).into_iter().map(move |claim| Said { by, claim }))
            .collect();
        // Stable: what stands first in the document stays first.
        said.sort_by(|a, b| a.claim.key.cmp(&b.claim.key));
        let mut disputed = Vec::new();
        let mut rest = said.into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut alike = vec![first];
            while let Some(next) = rest.next_if(|next| {
                alike
                    .first()
                    .is_some_and(|first| first.claim.key == next.claim.key)
            }) {
                alike.push(next);
            }
            let all_agree = alike
                .windows(2)
                .all(|pair| matches!(pair, [a, b] if a.claim.value == b.claim.value));
            if !all_agree {
                disputed.push(alike);
            }
        }
        disputed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Document;
    use crate::fleet::findings::Findings;

    /// Cron jobs of one name whose commands differ: any map serves.
    fn contradictions(servers: &str) -> Vec<String> {
        let text = format!(
            r#"{{"signatures": [], "signed": {{"format": 1, "fleet": "f", "version": 1,
            "issued": "2026-11-22T20:00:00Z", "expires": "2027-11-22T20:00:00Z",
            "servers": {{{servers}}},
            "roles": {{"web": {{"cron": {{"a": {{"schedule": "@daily", "user": "root", "command": "1"}}}}}}, "db": {{}}, "cache": {{}}}},
            "products": {{
              "one": {{"cron": {{"a": {{"schedule": "@daily", "user": "root", "command": "1"}},
                                 "b": {{"schedule": "@daily", "user": "root", "command": "1", "on": ["db"]}}}}}},
              "two": {{"cron": {{"a": {{"schedule": "@daily", "user": "root", "command": "2", "on": ["web", "cache"]}},
                                 "b": {{"schedule": "@daily", "user": "root", "command": "2", "on": ["cache"]}}}}}}
            }}}}}}"#
        );
        let fleet = Document::read(text.as_bytes()).unwrap().fleet;
        let mut findings = Findings::default();
        let mut check = Check {
            fleet: &fleet,
            findings: &mut findings,
            named: std::collections::HashSet::new(),
            clusters: crate::fleet::Clusters::default(),
        };
        check.agree(
            |by| {
                by.cron()
                    .iter()
                    .map(|(name, job)| Claim {
                        key: name,
                        value: job.command.as_str(),
                        on: &job.on,
                        path: vec!["cron".into(), name.as_str().into()],
                    })
                    .collect()
            },
            |other, first| format!("{} is not as {} has it", other.claim.key, first.by),
        );
        let mistakes = findings.into_mistakes("", None);
        mistakes
            .iter()
            .map(|mistake| {
                let there = mistake.other.as_ref().map(|other| &other.pointer.0);
                format!(
                    "{}: {} [{}]",
                    mistake.pointer,
                    mistake.message,
                    there.unwrap()
                )
            })
            .collect()
    }

    fn server(name: &str, last: u8, roles: &str, products: &str) -> String {
        format!(
            r#""{name}": {{"address": "10.0.0.{last}", "roles": [{roles}], "products": [{products}]}}"#
        )
    }

    #[test]
    fn what_contradicts_on_a_common_server_is_told_once_with_both_places() {
        let servers = [
            server("w1", 1, r#""web""#, r#""one", "two""#),
            server("w2", 2, r#""web""#, r#""one", "two""#),
        ];
        insta::assert_snapshot!(contradictions(&servers.join(", ")).join("\n"), @"
        /signed/products/two/cron/a: a is not as the product `one` has it (they meet on `w1`) [/signed/products/one/cron/a]
        ");
    }

    #[test]
    fn a_role_and_a_product_meet_too() {
        let servers = [server("w1", 1, r#""web""#, r#""two""#)];
        insta::assert_snapshot!(contradictions(&servers.join(", ")).join("\n"), @"
        /signed/roles/web/cron/a: a is not as the product `two` has it (they meet on `w1`) [/signed/products/two/cron/a]
        ");
    }

    #[test]
    fn what_agrees_or_never_meets_is_right() {
        // The role and the product `one` say the same; `two` has it on none of these, or is alone there.
        let servers = [
            server("w1", 1, r#""web""#, r#""one""#),
            server("d1", 2, r#""db""#, r#""one", "two""#),
            server("c1", 3, r#""cache""#, r#""two""#),
        ];
        assert_eq!(contradictions(&servers.join(", ")), [""; 0]);
        let retired = r#""w1": {"address": "10.0.0.1", "roles": ["web"], "products": ["one", "two"], "state": "retired"}"#;
        assert_eq!(contradictions(retired), [""; 0]);
    }

    #[test]
    fn an_item_that_is_for_either_of_two_roles_meets_what_is_for_one() {
        let servers = [server("x", 1, r#""db", "cache""#, r#""one", "two""#)];
        assert_eq!(contradictions(&servers.join(", ")).len(), 2);
    }
}
