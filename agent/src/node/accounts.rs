//! The users and groups of one box, of all its products and roles: those that speak of one account, as one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::names::{AccountName, PublicKey, SudoRule};
use crate::fleet::{Fleet, Pointer, Server, User, applies, bundles};

/// A group that a box has.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupView {
    /// Its name.
    pub name: AccountName,
    /// Its number.
    pub gid: u32,
    /// All who ask for it.
    pub origins: Vec<Pointer>,
}

/// A user that a box has.
#[derive(Debug, Clone, PartialEq)]
pub struct UserView {
    /// Its name.
    pub name: AccountName,
    /// What the document says, but for what each place may add to: keys and sudo.
    pub user: User,
    /// The keys of all who ask for it, each once, with where it stands.
    pub keys: Vec<(PublicKey, Pointer)>,
    /// The same of what it may do by sudo.
    pub sudo: Vec<(SudoRule, Pointer)>,
    /// All who ask for it.
    pub origins: Vec<Pointer>,
}

/// The groups and users of `server`, by name. A user without a primary group brings one of its own.
pub(super) fn accounts(fleet: &Fleet, server: &Server) -> (Vec<GroupView>, Vec<UserView>) {
    let mut groups: BTreeMap<&AccountName, GroupView> = BTreeMap::new();
    let mut users: BTreeMap<&AccountName, UserView> = BTreeMap::new();
    let mut add_group = |name, gid, origin| {
        let group = groups.entry(name).or_insert_with(|| GroupView {
            name: AccountName::clone(name),
            gid,
            origins: Vec::new(),
        });
        group.origins.push(origin);
    };
    for bundle in bundles(fleet, server) {
        let origin = bundle.origin();
        let at = origin.then("groups");
        for (name, group) in bundle.groups() {
            if applies(&group.on, server) {
                add_group(name, group.gid.get(), at.then(name));
            }
        }
        let at = origin.then("users");
        for (name, user) in bundle.users() {
            if !applies(&user.on, server) {
                continue;
            }
            let origin = at.then(name);
            if user.group.is_none() && !user.remove {
                add_group(name, user.uid.get(), origin.clone());
            }
            add_user(
                users.entry(name).or_insert_with(|| UserView {
                    name: name.clone(),
                    user: User {
                        keys: Vec::new(),
                        sudo: Vec::new(),
                        ..user.clone()
                    },
                    keys: Vec::new(),
                    sudo: Vec::new(),
                    origins: Vec::new(),
                }),
                user,
                origin,
            );
        }
    }
    (
        groups.into_values().collect(),
        users.into_values().collect(),
    )
}

fn add_user(view: &mut UserView, user: &User, origin: Pointer) {
    let known: BTreeSet<String> = view
        .keys
        .iter()
        .map(|(key, _)| key.blob().to_owned())
        .collect();
    let keys = origin.then("keys");
    for (index, key) in user.keys.iter().enumerate() {
        if !known.contains(key.blob()) {
            view.keys.push((key.clone(), keys.item(index)));
        }
    }
    let sudo = origin.then("sudo");
    for (index, rule) in user.sudo.iter().enumerate() {
        if !view.sudo.iter().any(|(known, _)| known == rule) {
            view.sudo.push((rule.clone(), sudo.item(index)));
        }
    }
    view.origins.push(origin);
}
