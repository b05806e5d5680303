//! What a document asks for and nobody does: sites, caches, cron jobs and accounts that no server has. No mistakes, for a fleet
//! may be about to grow, and yet rarely meant: a role that was renamed takes everything away that hung on its name.

use std::collections::BTreeSet;

use super::{Advice, MOST};
use crate::fleet::model::{Fleet, MEMCACHED, Server, ServerState, WEB};
use crate::fleet::names::Name;
use crate::fleet::pointer::Pointer;
use crate::system::spelling::nearest;

/// What nobody does, at most 50 things. Pure, and linear in the size of the fleet.
pub fn unserved(fleet: &Fleet) -> Vec<Advice> {
    let mut roles: BTreeSet<&str> = BTreeSet::new();
    // Which product meets which role on a server that is not retired; a draining one goes on serving sites.
    let mut pairs: BTreeSet<(&Name, &str)> = BTreeSet::new();
    // The products whose caches an active server is a node of.
    let mut cached: BTreeSet<&Name> = BTreeSet::new();
    let mut products: BTreeSet<&Name> = BTreeSet::new();
    let servers = fleet.servers.values();
    for server in servers.filter(|server| server.state != ServerState::Retired) {
        if server.state == ServerState::Active && has(server, MEMCACHED) {
            cached.extend(&server.products);
        }
        roles.extend(server.roles.iter().map(Name::as_str));
        products.extend(&server.products);
        for product in &server.products {
            pairs.extend(server.roles.iter().map(|role| (product, role.as_str())));
        }
    }
    let mut found = Vec::new();
    let mut add = |path: &[&str], message: String| {
        let signed = ["signed"].into_iter().chain(path.iter().copied());
        found.push(Advice {
            pointer: Pointer::of(signed),
            message,
        });
    };
    for (name, product) in &fleet.products {
        let at = name.as_str();
        let (sites, cache) = (!product.sites.is_empty(), product.cache.is_some());
        for (part, role, unserved) in [
            ("sites", WEB, sites && !pairs.contains(&(name, WEB))),
            ("cache", MEMCACHED, cache && !cached.contains(name)),
            (
                "caches",
                MEMCACHED,
                !product.caches.is_empty() && !cached.contains(name),
            ),
        ] {
            if unserved {
                add(
                    &["products", at, part],
                    format!(
                        "nobody serves the {part} of `{name}`: no active server carries it and has the role `{role}`{}",
                        renamed(role, &roles, fleet)
                    ),
                );
            }
        }
        if product.php.is_some() && product.sites.values().all(|site| site.root.is_none()) {
            add(
                &["products", at, "php"],
                format!(
                    "`{name}` has no site with a root, so no code runs in its PHP pool: none is made"
                ),
            );
        }
        let is_somewhere = |on: &[Name]| match on {
            [] => products.contains(name),
            roles => (roles.iter()).any(|role| pairs.contains(&(name, role.as_str()))),
        };
        let jobs = product.cron.iter();
        let jobs = jobs.map(|(job, of)| ("cron", "nobody runs this job", job.as_str(), &of.on));
        let groups = product.groups.iter();
        let groups = groups
            .map(|(group, of)| ("groups", "no server has this group", group.as_str(), &of.on));
        let users = product.users.iter();
        let users =
            users.map(|(user, of)| ("users", "no server has this user", user.as_str(), &of.on));
        for (part, what, item, on) in jobs.chain(groups).chain(users) {
            if !is_somewhere(on) {
                add(
                    &["products", at, part, item],
                    format!("{what}: no active server carries `{name}` and has one of its roles"),
                );
            }
        }
    }
    for (name, role) in &fleet.roles {
        for (part, is_there, what) in [
            ("cron", !role.cron.is_empty(), "nobody runs these jobs"),
            (
                "groups",
                !role.groups.is_empty(),
                "no server has these groups",
            ),
            ("users", !role.users.is_empty(), "no server has these users"),
        ] {
            if is_there && !roles.contains(name.as_str()) {
                add(
                    &["roles", name.as_str(), part],
                    format!("{what}: no active server has the role `{name}`"),
                );
            }
        }
    }
    found.truncate(MOST);
    found
}

fn has(server: &Server, role: &str) -> bool {
    server.roles.iter().any(|name| name.as_str() == role)
}

/// A role of the document that might be the one that was meant: names alone decide what a role does.
fn renamed(role: &str, used: &BTreeSet<&str>, fleet: &Fleet) -> String {
    let others = || used.iter().copied().filter(|used| *used != role);
    let alike = others().find(|used| used.contains(role) || role.contains(used));
    match alike.or_else(|| nearest(role, others())) {
        Some(other) if !fleet.roles.contains_key(role) || !used.contains(role) => {
            format!("; there is the role `{other}`, but only one of the name `{role}` does that")
        }
        _ => String::new(),
    }
}
