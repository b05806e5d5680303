//! What nft is told, and how its answers read. The kernel's own part is tested in the tests' crate.

use insta::assert_snapshot;
use serde_json::json;

use super::*;

fn gate(peers: &[&str]) -> Gate {
    Gate {
        product: "shop".to_owned(),
        port: 3306,
        peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
    }
}

#[test]
fn the_table_as_it_is_loaded() {
    let gate = gate(&["10.77.0.31", "10.77.0.32", "fd00::31"]);
    let text = ruleset(&gate, &table_of("shop"), Some(Duration::from_millis(4970)));
    assert_snapshot!(text.replace("; ", ";\n"));
}

#[test]
fn a_chain_of_one_has_no_peers() {
    let text = ruleset(&gate(&[]), "agentd_x", None);
    assert!(text.contains("set peers4 { type ipv4_addr; }"), "{text}");
    // Shut: no port is open.
    assert!(
        text.contains("set open { type inet_service; flags timeout; }"),
        "{text}"
    );
}

#[test]
fn names_of_tables_are_short_and_each_product_s_own() {
    let long = table_of(&"x".repeat(63));
    assert!(long.len() < 32 && long != table_of("shop"), "{long}");
    assert!(is_ours(&long) && is_ours(&table_of("shop")));
    // Others' tables are left alone, whatever they are called.
    assert!(!is_ours("agentd_firewall") && !is_ours("filter") && !is_ours("agentd_0123456789abc"));
}

#[test]
fn a_listing_reads() {
    let listing = |elements: Value| {
        json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "agentd_x", "handle": 2}},
            {"set": {"name": "open", "handle": 3, "flags": ["timeout"], "elem": elements}},
            {"chain": {"name": "sent", "handle": 4, "prio": -310}},
            {"rule": {"chain": "sent", "handle": 9, "expr": [{"drop": null}]}}
        ]})
    };
    let open = listing(json!([{"elem": {"val": 3306, "timeout": 5, "expires": 4}}]));
    assert_eq!(expires(&open), Some(Duration::from_secs(4)));
    let closed = json!({"nftables": [{"set": {"name": "open"}}]});
    assert_eq!(expires(&closed), None);
    // An element for ever is not one of ours.
    assert_eq!(expires(&listing(json!([3306]))), None);
    // Handles and the element are no change; a rule more or less is.
    assert_eq!(rules(&open), rules(&listing(json!([]))));
    assert_ne!(rules(&open), rules(&closed));
}

#[tokio::test]
async fn without_nft_it_says_so_and_is_not_armed() {
    let gate = NftGate::with(gate(&[]), Path::new("/nonexistent/nft"));
    let error = gate.arm(boottime() + Duration::from_secs(5)).await;
    assert!(
        matches!(error, Err(DeadManError::Unsupported(_))),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_deadline_that_is_over_opens_nothing_and_closes_what_was_open() {
    // Whatever it is told, it says what it was told.
    let dir = tempfile::tempdir().unwrap();
    let (nft, said) = (dir.path().join("nft"), dir.path().join("said"));
    let script = format!("#!/bin/sh\necho \"$*\" >>{}\n", said.display());
    #[expect(clippy::disallowed_methods, reason = "a scratch file")]
    std::fs::write(&nft, script).unwrap();
    std::fs::set_permissions(&nft, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let gate = NftGate::with(gate(&[]), &nft);
    assert_eq!(gate.feed(Duration::ZERO).await, Err(DeadManError::Late));
    let told = std::fs::read_to_string(&said).unwrap();
    assert_eq!(told, format!("flush set inet {} open\n", gate.table()));
}
