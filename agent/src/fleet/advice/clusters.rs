//! Chains that several products write out, and clusters that nobody is on.

use std::collections::BTreeMap;

use super::Advice;
use crate::fleet::clusters::Clusters;
use crate::fleet::model::Fleet;
use crate::fleet::names::Name;

/// Adds what is worth a second look in the clusters of `fleet`.
pub(super) fn advise(fleet: &Fleet, advice: &mut Vec<Advice>) {
    for cluster in Clusters::of(fleet).iter() {
        if cluster.shared && cluster.products.is_empty() {
            advice.push(Advice {
                pointer: cluster.pointer(),
                message: format!("no product is on the cluster `{}`", cluster.name),
            });
        }
        let writes_it = |name: &&&Name| {
            let database = fleet
                .products
                .get(**name)
                .and_then(|it| it.database.as_ref());
            database.is_some_and(|it| it.cluster.is_none()) && **name != cluster.name
        };
        for product in cluster.products.iter().filter(writes_it) {
            let instead = if cluster.shared {
                String::new()
            } else {
                format!(
                    ". Its lease is named for `{}`, the first of them by name, and a lease does not move to another name: so that a product \
                     with a name before that changes nothing",
                    cluster.name
                )
            };
            let pointer = crate::fleet::Pointer::of([
                "signed",
                "products",
                product.as_str(),
                "database",
                "chain",
            ]);
            advice.push(Advice {
                pointer,
                message: format!(
                    "this is the chain of `{}` too: they are one cluster, with one lease{instead}, write \"cluster\": \"{}\" in its place",
                    cluster.name, cluster.name
                ),
            });
        }
    }
}

/// Leases that `new` would have move to another name, as against `before`: agents that know the old one go on by it, and others
/// would take the first of the chain for the master.
pub fn moved_leases(before: &Fleet, new: &Fleet) -> Vec<Advice> {
    let (before, new) = (Clusters::of(before), Clusters::of(new));
    let mut by_server: BTreeMap<&Name, &Name> = BTreeMap::new();
    for cluster in before.iter() {
        for server in cluster.chain {
            by_server.entry(server).or_insert(cluster.lease);
        }
    }
    let goes_on = |lease: &Name| new.iter().any(|cluster| cluster.lease == lease);
    let mut found = Vec::new();
    for cluster in new.iter() {
        let was = cluster.chain.iter().find_map(|server| {
            let lease = *by_server.get(server)?;
            (lease != cluster.lease && !goes_on(lease)).then_some((server, lease))
        });
        if let Some((server, lease)) = was {
            found.push(Advice {
                pointer: cluster.pointer(),
                message: format!(
                    "{server} and its chain have the lease `{lease}` by what is published, and this would name it `{}`: a lease does not move \
                     to another name. Write \"lease\": \"{lease}\" here, beside the chain",
                    cluster.lease
                ),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(clusters: &str, products: &str) -> Fleet {
        let json = format!(
            r#"{{"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
                "servers": {{}}, "clusters": {{{clusters}}}, "products": {{{products}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    const SHOP: &str = r#""shop": {"database": {"chain": ["db-1", "db-2"]}}"#;

    fn moved(clusters: &str, products: &str) -> Vec<String> {
        let found = moved_leases(&fleet("", SHOP), &fleet(clusters, products));
        found
            .into_iter()
            .map(|one| format!("{}: {}", one.pointer, one.message))
            .collect()
    }

    #[test]
    fn a_lease_that_would_move_is_told_and_how_it_stays() {
        let blog = r#", "blog": {"database": {"chain": ["db-1", "db-2"]}}"#;
        let [one] = &moved("", &format!("{SHOP}{blog}"))[..] else {
            panic!("blog stands before shop");
        };
        assert!(
            one.starts_with("/signed/products/blog/database: db-1"),
            "{one}"
        );
        assert!(one.contains(r#"Write "lease": "shop" here"#), "{one}");
        let on_main = r#""shop": {"database": {"cluster": "main"}}"#;
        assert_eq!(
            moved(r#""main": {"chain": ["db-1", "db-2"]}"#, on_main).len(),
            1
        );
        let renamed = r#""store": {"database": {"chain": ["db-1", "db-2"]}}"#;
        assert_eq!(moved("", renamed).len(), 1);
        // All of these leave it where it is.
        let by_name = r#", "blog": {"database": {"cluster": "shop"}}"#;
        assert_eq!(moved("", &format!("{SHOP}{by_name}")), [""; 0]);
        let kept = r#""main": {"chain": ["db-1", "db-2"], "lease": "shop"}"#;
        assert_eq!(moved(kept, on_main), [""; 0]);
        assert_eq!(moved("", SHOP), [""; 0]);
        // A server that goes to a new chain leaves its lease behind.
        let split = r#""shop": {"database": {"chain": ["db-1"]}}, "blog": {"database": {"chain": ["db-2"]}}"#;
        assert_eq!(moved("", split), [""; 0]);
        assert_eq!(moved("", ""), [""; 0]);
    }

    #[test]
    fn a_chain_that_is_written_twice_and_a_cluster_that_nobody_is_on_are_told() {
        let mut advice = Vec::new();
        let blog = r#", "blog": {"database": {"chain": ["db-1", "db-2"]}}"#;
        let spare = r#""spare": {"chain": ["db-9"]}"#;
        advise(&fleet(spare, &format!("{SHOP}{blog}")), &mut advice);
        let told: Vec<_> = advice.iter().map(|one| one.pointer.0.as_str()).collect();
        assert_eq!(
            told,
            [
                "/signed/clusters/spare",
                "/signed/products/shop/database/chain"
            ]
        );
        let mut none = Vec::new();
        advise(&fleet("", SHOP), &mut none);
        assert_eq!(none, []);
    }
}
