use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The first lease of `product`, for tests of all the room.
pub(crate) fn lease(product: &str, owner: &str) -> Lease {
    Lease {
        format: FORMAT,
        product: name(product),
        epoch: 1,
        owner: name(owner),
        machine: vec!["0123456789ab".into()],
        seq: 1,
        nonce: Nonce::of([7; 16]),
        state: LeaseState::Serving,
        gtid: "0-1-42".into(),
        armed: true,
        held: vec![name("db-2"), name("db-3")],
        to: None,
        since: "2026-11-22T20:00:00Z".parse().unwrap(),
        renewed: "2026-11-22T20:00:01Z".parse().unwrap(),
        ttl_ms: 10_000,
        planned: false,
        opening: false,
        observed: false,
        unopened: false,
        previous: None,
    }
}

/// A later lease than [`lease`].
pub(crate) fn successor(product: &str, owner: &str, epoch: u64) -> Lease {
    Lease {
        epoch,
        previous: Some(Previous {
            owner: name("db-1"),
            epoch: epoch - 1,
            gtid: "0-1-42".into(),
            complete: false,
        }),
        held: vec![name("db-3")],
        ..lease(product, owner)
    }
}

fn told(value: &Value) -> String {
    let error = Lease::read(value.to_string().as_bytes(), &name("shop")).unwrap_err();
    crate::system::chain(&error)
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut value = serde_json::to_value(successor("shop", "db-2", 7)).unwrap();
    change(&mut value);
    value
}

#[test]
fn the_object_as_it_stands_in_the_bucket() {
    let lease = successor("shop", "db-2", 7);
    let bytes = lease.bytes().unwrap();
    insta::assert_snapshot!(String::from_utf8(bytes.clone()).unwrap());
    assert_eq!(Lease::read(&bytes, &name("shop")).unwrap(), lease);
}

#[test]
fn what_is_no_lease_is_told() {
    let cases: [(&str, Value); 23] = [
        (
            "a machine's mark that is none",
            with(|v| v["machine"] = json!(["0123456789AB"])),
        ),
        ("no object", json!([1, "shop"])),
        ("a later format", json!({ "format": 2, "chosen": "db-1" })),
        ("another product", with(|v| v["product"] = json!("video"))),
        (
            "a field missing",
            with(|v| drop(v.as_object_mut().unwrap().remove("nonce"))),
        ),
        ("a field too many", with(|v| v["priority"] = json!(1))),
        ("no such state", with(|v| v["state"] = json!("dead"))),
        (
            "a state as an object",
            with(|v| v["state"] = json!({ "serving": null })),
        ),
        (
            "a nonce in capitals",
            with(|v| v["nonce"] = json!("AB".repeat(16))),
        ),
        ("a short nonce", with(|v| v["nonce"] = json!("07"))),
        ("epoch 0", with(|v| v["epoch"] = json!(0))),
        (
            "the highest epoch of all",
            with(|v| v["epoch"] = json!(u64::MAX)),
        ),
        ("seq 0", with(|v| v["seq"] = json!(0))),
        ("no time to live", with(|v| v["ttl_ms"] = json!(0))),
        (
            "a line break in the position",
            with(|v| v["gtid"] = json!("0-1-42\n")),
        ),
        (
            "a very long position",
            with(|v| v["gtid"] = json!("0".repeat(GTID_LIMIT + 1))),
        ),
        (
            "locks not sorted",
            with(|v| v["held"] = json!(["db-3", "db-2"])),
        ),
        (
            "a lock twice",
            with(|v| v["held"] = json!(["db-3", "db-3"])),
        ),
        (
            "a successor while promoting",
            with(|v| {
                v["state"] = json!("promoting");
                v["to"] = json!("db-3");
            }),
        ),
        (
            "switching to nobody",
            with(|v| v["state"] = json!("switching")),
        ),
        (
            "a gap of epochs",
            with(|v| v["previous"]["epoch"] = json!(4)),
        ),
        (
            "nobody before",
            with(|v| drop(v.as_object_mut().unwrap().remove("previous"))),
        ),
        (
            "previous as a list",
            with(|v| v["previous"] = json!(["db-1", 6, ""])),
        ),
    ];
    let lines: Vec<String> = cases
        .iter()
        .map(|(what, value)| format!("{what}: {}", told(value)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_field_twice_and_bytes_after_the_end_are_refused() {
    let text = String::from_utf8(lease("shop", "db-1").bytes().unwrap()).unwrap();
    assert!(Lease::read(text.as_bytes(), &name("shop")).is_ok());
    let twice = text.replacen("\"epoch\": 1", "\"epoch\": 1, \"epoch\": 9", 1);
    assert_ne!(twice, text);
    assert!(Lease::read(twice.as_bytes(), &name("shop")).is_err());
    assert!(Lease::read(format!("{text}{{}}").as_bytes(), &name("shop")).is_err());
    assert!(Lease::read(&text.as_bytes()[..text.len() / 2], &name("shop")).is_err());
}

#[test]
fn a_lease_that_could_not_be_read_back_is_not_written() {
    let mut wrong = lease("shop", "db-1");
    wrong.state = LeaseState::Switching;
    assert!(wrong.bytes().is_err());
    wrong.to = Some(name("db-2"));
    assert!(wrong.bytes().is_ok());
    wrong.opening = true;
    assert!(wrong.bytes().is_err());
    wrong.opening = false;
    wrong.unopened = true;
    assert!(wrong.bytes().is_err());
}

#[test]
fn nonces_are_fresh() {
    let (one, other) = (Nonce::fresh().unwrap(), Nonce::fresh().unwrap());
    assert_ne!(one, other);
    assert_eq!(one.to_string().parse(), Ok(one));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Lease::read(&bytes, &name("shop"));
    }

    #[test]
    fn what_is_written_is_read_back(
        epoch in 2..=HIGHEST, seq in 1..=HIGHEST, nonce: [u8; 16], ttl_ms in TTL_MS, armed: bool,
        state in prop::sample::select(vec![LeaseState::Serving, LeaseState::Promoting, LeaseState::Switching, LeaseState::Released]),
        gtid in "[ -~]{0,40}",
    ) {
        let to = (state == LeaseState::Switching).then(|| name("db-9"));
        let opening = armed && state == LeaseState::Promoting;
        let one = Lease { seq, nonce: Nonce::of(nonce), ttl_ms, armed, state, gtid, to, opening, ..successor("shop", "db-2", epoch) };
        let bytes = one.bytes().unwrap();
        prop_assert_eq!(Lease::read(&bytes, &name("shop")).unwrap(), one);
    }
}
