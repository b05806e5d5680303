//! Promise: boxes keep their own addresses in DNS and nobody else's, and never take the last one of a name. Against a real BIND.

#![cfg(test)]

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use node_agent::dns::{DnsError, Key, Left, NameServer};
use node_agent_tests::bind::{Bind, KEY, NAME, UNKNOWN_KEY, WRONG_KEY, ZONE};
use node_agent_tests::machine::run;

/// So many rounds of ten boxes that leave at once.
const ROUNDS: u8 = 5;

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|one| one.parse().unwrap()).collect()
}

fn asked(server: &str, zone: &str, key: &str) -> NameServer {
    let key = Key::parse(key).unwrap();
    NameServer::new(server.parse().unwrap(), zone, &key).unwrap()
}

#[tokio::test]
async fn a_box_joins_and_leaves_by_value_and_never_as_the_last() {
    let bind = Bind::start().unwrap();
    let server = asked(&bind.server(), ZONE, KEY);
    assert_eq!(server.addresses(NAME).await.unwrap(), set(&[]));
    let (one, two) = (
        set(&["198.51.100.11", "2001:db8::11"]),
        set(&["198.51.100.12"]),
    );
    assert!(server.join(NAME, &one, 60).await.unwrap());
    assert!(
        !server.join(NAME, &one, 60).await.unwrap(),
        "it is there already"
    );
    // Alone it stays, also where only one of its addresses is to go and the other goes with it.
    assert_eq!(server.leave(NAME, &one).await.unwrap(), Left::Last);
    assert!(server.join(NAME, &two, 60).await.unwrap());
    let both: BTreeSet<IpAddr> = one.union(&two).copied().collect();
    assert_eq!(server.addresses(NAME).await.unwrap(), both);
    // The other one's stays, whichever type it is of.
    assert_eq!(server.leave(NAME, &one).await.unwrap(), Left::Gone);
    assert_eq!(server.addresses(NAME).await.unwrap(), two);
    assert_eq!(
        server.leave(NAME, &one).await.unwrap(),
        Left::Absent,
        "again is no matter"
    );
    assert_eq!(server.leave(NAME, &two).await.unwrap(), Left::Last);
    assert_eq!(server.addresses(NAME).await.unwrap(), two);
    // An address of before goes where the box has another.
    assert!(
        server
            .join(NAME, &set(&["198.51.100.13"]), 60)
            .await
            .unwrap()
    );
    assert_eq!(server.leave(NAME, &two).await.unwrap(), Left::Gone);
}

#[tokio::test]
async fn ten_boxes_that_leave_at_once_leave_exactly_one() {
    let bind = Bind::start().unwrap();
    for round in 0..ROUNDS {
        let server = Arc::new(asked(&bind.server(), ZONE, KEY));
        let own = |number: u8| BTreeSet::from([IpAddr::from([198, 51, 100, number])]);
        for number in 1..=10 {
            server.join(NAME, &own(number), 60).await.unwrap();
        }
        let leaving: Vec<_> = (1..=10)
            .map(|number| {
                let server = Arc::clone(&server);
                tokio::spawn(async move { server.leave(NAME, &own(number)).await.unwrap() })
            })
            .collect();
        let mut last = 0;
        for left in leaving {
            last += usize::from(left.await.unwrap() == Left::Last);
        }
        let standing = server.addresses(NAME).await.unwrap();
        assert_eq!(
            (standing.len(), last),
            (1, 1),
            "round {round}: {standing:?}"
        );
    }
}

#[tokio::test]
async fn each_way_in_which_it_is_refused_is_told_apart() {
    let bind = Bind::start().unwrap();
    let address = set(&["198.51.100.11"]);
    let at = bind.server();
    let join = async |zone: &str, key: &str, name: &str| {
        let error = asked(&at, zone, key).join(name, &address, 60).await;
        error.unwrap_err()
    };
    let wrong = join(ZONE, WRONG_KEY, NAME).await;
    assert!(matches!(wrong, DnsError::WrongKey { .. }), "{wrong}");
    let unknown = join(ZONE, UNKNOWN_KEY, NAME).await;
    assert!(matches!(unknown, DnsError::UnknownKey { .. }), "{unknown}");
    let refused = join(ZONE, KEY, "other.shop.test").await;
    assert!(matches!(refused, DnsError::Refused { .. }), "{refused}");
    let foreign = join("example.org", KEY, "www.example.org").await;
    assert!(
        matches!(
            foreign,
            DnsError::NotItsZone { .. } | DnsError::Refused { .. }
        ),
        "{foreign}"
    );
    let alias = join(ZONE, KEY, "alias.shop.test").await;
    assert!(matches!(alias, DnsError::NotKept { .. }), "{alias}");
    // Somebody else at its place, who says nothing; and nobody.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let there = silent.local_addr().unwrap().to_string();
    let error = asked(&there, ZONE, KEY).addresses(NAME).await.unwrap_err();
    assert!(matches!(error, DnsError::Silent { .. }), "{error}");
    drop(silent);
    let error = asked(&there, ZONE, KEY).addresses(NAME).await.unwrap_err();
    assert!(matches!(error, DnsError::Unreachable { .. }), "{error}");
}

/// In which process the clock is wrong: it is told where the server is.
const IN_CHILD: &str = "TEST_DNS_SERVER";

#[test]
#[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
fn a_clock_that_is_an_hour_off_is_told() {
    if let Ok(server) = std::env::var(IN_CHILD) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = asked(&server, ZONE, KEY);
        let error = runtime.block_on(server.addresses(NAME)).unwrap_err();
        let words = error.to_string();
        assert!(
            matches!(
                error,
                DnsError::Clock {
                    off: 3590..=3610,
                    ..
                }
            ),
            "{words}"
        );
        assert!(words.contains("s ahead of its own"), "{words}");
        return;
    }
    let bind = Bind::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong-by");
    std::fs::write(&wrong, "3600").unwrap();
    let wrong = format!(
        "{}={}",
        node_agent::system::clock::WRONG_BY,
        wrong.display()
    );
    let there = format!("{IN_CHILD}={}", bind.server());
    let own = std::env::current_exe().unwrap().display().to_string();
    let line = [
        "env",
        &wrong,
        &there,
        &own,
        "--exact",
        "a_clock_that_is_an_hour_off_is_told",
    ];
    let child = run(&line, b"", Duration::from_secs(30)).unwrap();
    assert!(
        child.success() && child.stdout.contains("1 passed"),
        "{child:?}"
    );
}
