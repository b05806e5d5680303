//! Versions that take from most of a fleet most of what it is: a mistake far more often than a wish. Pure.

use std::collections::BTreeSet;

use crate::fleet::{Fleet, Name, Server, ServerState};

/// So many servers are named.
const FEW: usize = 3;

/// Why nothing may be removed from any server before the document confirms it: `after` takes from more than half of the servers
/// that take part in `before` (two at least) more than half of their roles and products, or retires them. `None`: it does not.
///
/// What each server loses of the things *in* its products is the guard's business on that server.
pub fn sweeping(before: &Fleet, after: &Fleet) -> Option<String> {
    let takes_part = |server: &Server| server.state != ServerState::Retired;
    let mut all = 0_usize;
    let mut lost: Vec<&Name> = Vec::new();
    for (name, server) in before.servers.iter().filter(|(_, one)| takes_part(one)) {
        all += 1;
        let now = after.servers.get(name).filter(|server| takes_part(server));
        if loses_most(before, server, after, now) {
            lost.push(name);
        }
    }
    if lost.len() < 2 || lost.len() * 2 <= all {
        return None;
    }
    let named: Vec<&str> = lost.iter().take(FEW).map(|name| name.as_str()).collect();
    let more = if lost.len() > FEW { ", …" } else { "" };
    Some(format!(
        "held: this version retires, or takes most roles and products from, {} of {all} servers ({}{more}); if that is meant, publish \
         the next version with \"confirm\": true",
        lost.len(),
        named.join(", ")
    ))
}

/// Whether a server is left with less than half of the roles and products that mean something.
fn loses_most(before: &Fleet, server: &Server, after: &Fleet, now: Option<&Server>) -> bool {
    let Some(now) = now else {
        return true;
    };
    let parts = |fleet: &Fleet, server: &Server| -> BTreeSet<(bool, Name)> {
        let roles = server.roles.iter().map(|role| (false, role.clone()));
        let products = (server.products.iter())
            .filter(|product| fleet.products.contains_key(*product))
            .map(|product| (true, product.clone()));
        roles.chain(products).collect()
    };
    let (had, has) = (parts(before, server), parts(after, now));
    let kept = had.intersection(&has).count();
    kept * 2 < had.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: &str = r#""roles": ["web"], "products": ["shop", "blog"]"#;

    /// Servers `s0`, `s1`, …, each as it is said, and these products.
    fn fleet(servers: &[&str], products: &str) -> Fleet {
        let servers: Vec<String> = (servers.iter().enumerate())
            .map(|(index, what)| {
                format!(
                    r#""s{index}": {{"address": "10.0.0.{}", {what}}}"#,
                    index + 1
                )
            })
            .collect();
        let json = format!(
            r#"{{"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
                "servers": {{{}}}, "roles": {{"web": {{}}}}, "products": {{{products}}}}}"#,
            servers.join(",")
        );
        serde_json::from_str(&json).unwrap()
    }

    fn all(count: usize) -> Fleet {
        fleet(&vec![ROLES; count], r#""shop": {}, "blog": {}"#)
    }

    const RETIRED: &str = r#""roles": ["web"], "state": "retired""#;
    const DRAINING: &str = r#""roles": ["web"], "products": ["shop", "blog"], "state": "draining""#;

    #[test]
    fn one_after_the_other_is_a_days_work_and_most_at_once_is_not() {
        let shop = r#""shop": {}, "blog": {}"#;
        assert_eq!(sweeping(&all(4), &all(4)), None);
        let half = fleet(&[RETIRED, RETIRED, ROLES, ROLES], shop);
        assert_eq!(sweeping(&all(4), &half), None);
        let most = fleet(&[RETIRED, RETIRED, RETIRED, ROLES], shop);
        let why = sweeping(&all(4), &most).unwrap();
        assert!(why.contains("3 of 4 servers (s0, s1, s2)"), "{why}");
        // Who had gone before does not count.
        assert_eq!(sweeping(&most, &most), None);
        let drained = fleet(&[DRAINING, DRAINING, DRAINING, DRAINING], shop);
        assert_eq!(sweeping(&all(4), &drained), None);
        // A fleet's last server may go.
        assert_eq!(sweeping(&all(1), &fleet(&[RETIRED], shop)), None);
        assert!(sweeping(&all(2), &fleet(&[RETIRED, RETIRED], shop)).is_some());
        assert!(sweeping(&all(3), &fleet(&[ROLES], shop)).is_some());
    }

    #[test]
    fn products_and_roles_that_go_from_most_servers_count_too() {
        let none = r#""roles": ["web"], "products": []"#;
        let gone = fleet(&[none; 5], "");
        assert!(sweeping(&all(5), &gone).is_some());
        let other = r#""roles": [], "products": ["shop"]"#;
        let renamed = fleet(&[other; 5], r#""shop": {}"#);
        assert!(sweeping(&all(5), &renamed).is_some());
        // One of three parts.
        let one = r#""roles": ["web"], "products": ["shop"]"#;
        assert_eq!(sweeping(&all(5), &fleet(&[one; 5], r#""shop": {}"#)), None);
    }
}
