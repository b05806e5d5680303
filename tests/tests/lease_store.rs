//! Whatever becomes of a request, who writes a lease knows exactly what is known, and never thinks that he owns what
//! he may not own. And a bucket that takes writes which it should refuse is found out before it is trusted.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use node_agent::bucket::{Bucket, Tag};
use node_agent::database::event::{Cause, Event, EventError};
use node_agent::database::hold::{Hold, HoldError};
use node_agent::database::lease::{self, Lease, LeaseState, Nonce};
use node_agent::database::semantics::{Semantics, probe};
use node_agent::database::store::{LeaseStore, Read, StoreError, Written};
use node_agent::fleet::Name;
use node_agent::settings::{BucketUrl, S3Settings};
use node_agent_tests::moto::Moto;
use node_agent_tests::proxy::{Mode, Proxy};
use node_agent_tests::s3::{Mistake, S3Server};

const TIMEOUT: Duration = Duration::from_millis(400);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn first(owner: &str) -> Lease {
    Lease {
        format: lease::FORMAT,
        product: name("shop"),
        epoch: 1,
        owner: name(owner),
        machine: Vec::new(),
        seq: 1,
        nonce: Nonce::fresh().unwrap(),
        state: LeaseState::Serving,
        gtid: "0-1-42".into(),
        armed: false,
        held: Vec::new(),
        to: None,
        since: "2026-11-22T20:00:00Z".parse().unwrap(),
        renewed: "2026-11-22T20:00:00Z".parse().unwrap(),
        ttl_ms: 10_000,
        planned: false,
        opening: false,
        observed: false,
        unopened: false,
        previous: None,
    }
}

fn renewed(lease: &Lease) -> Lease {
    Lease {
        seq: lease.seq + 1,
        nonce: Nonce::fresh().unwrap(),
        ..lease.clone()
    }
}

fn done(written: Written) -> Tag {
    match written {
        Written::Done(tag) => tag,
        other => panic!("{other:?}"),
    }
}

fn store(bucket: Bucket) -> LeaseStore {
    LeaseStore::new(Arc::new(bucket), &name("shop"))
}

async fn stands(store: &LeaseStore) -> (Lease, Tag) {
    match store.read(None).await.unwrap() {
        Read::Lease(stored) => (stored.lease, stored.tag),
        other => panic!("{other:?}"),
    }
}

/// A proxied store, and one that goes past the proxy: another server's.
struct Two {
    server: S3Server,
    proxy: Proxy,
    ours: LeaseStore,
    theirs: LeaseStore,
}

impl Two {
    fn start() -> Self {
        let server = S3Server::start().unwrap();
        let proxy = Proxy::start(server.address).unwrap();
        Self {
            ours: store(server.client(&proxy.endpoint, TIMEOUT)),
            theirs: store(server.client(&server.endpoint, TIMEOUT)),
            server,
            proxy,
        }
    }
}

#[tokio::test]
async fn created_once_renewed_by_its_tag_and_taken_over_once() {
    let two = Two::start();
    let (ours, theirs) = (&two.ours, &two.theirs);
    assert_eq!(ours.read(None).await.unwrap(), Read::Absent);
    let one = first("db-1");
    let tag = done(ours.write(&one, None).await);
    assert_eq!(ours.read(Some(&tag)).await.unwrap(), Read::Unchanged);
    match theirs.write(&first("db-2"), None).await {
        Written::Lost(Some(found)) => assert_eq!(found.lease, one),
        other => panic!("{other:?}"),
    }
    let second = renewed(&one);
    let next = done(ours.write(&second, Some(&tag)).await);
    assert_ne!(next, tag);
    // Whoever saw the older one comes too late.
    match theirs.write(&renewed(&one), Some(&tag)).await {
        Written::Lost(Some(found)) => assert_eq!(found.lease, second),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lost_reply_or_a_proxy_that_tries_again_is_no_lost_lease() {
    let two = Two::start();
    let mut lease = first("db-1");
    let mut tag = done(two.ours.write(&lease, None).await);
    for mode in [Mode::LostReply, Mode::Twice] {
        two.proxy.set(Mode::Puts(Box::new(mode.clone())));
        lease = renewed(&lease);
        tag = done(two.ours.write(&lease, Some(&tag)).await);
        assert_eq!(
            stands(&two.ours).await,
            (lease.clone(), tag.clone()),
            "{mode:?}"
        );
        assert!(!two.ours.is_doubtful(&lease.nonce));
    }
}

#[tokio::test]
async fn no_answer_at_all_is_doubt_until_the_bucket_says_which() {
    let two = Two::start();
    let lease = first("db-1");
    let tag = done(two.ours.write(&lease, None).await);

    // It never arrives.
    two.proxy.set(Mode::Stall);
    let lost = renewed(&lease);
    match two.ours.write(&lost, Some(&tag)).await {
        Written::Doubt(error) => assert!(error.is_unavailable(), "{error:?}"),
        other => panic!("{other:?}"),
    }
    assert!(two.ours.is_doubtful(&lost.nonce));
    two.proxy.set(Mode::Pass);
    assert_eq!(stands(&two.ours).await.0, lease);

    // It arrives, late: after it was given up, and after a look that still saw the old one.
    two.proxy
        .set(Mode::Puts(Box::new(Mode::Delay(TIMEOUT * 2))));
    let late = renewed(&lease);
    match two.ours.write(&late, Some(&tag)).await {
        Written::Doubt(_) => {}
        other => panic!("{other:?}"),
    }
    two.proxy.set(Mode::Pass);
    tokio::time::sleep(TIMEOUT * 2).await;
    let (there, _) = stands(&two.ours).await;
    assert_eq!(there, late);
    assert!(two.ours.is_doubtful(&there.nonce), "it is known again");

    // The next renewal meets its own forerunner, not a thief.
    let next = renewed(&late);
    let found = match two.ours.write(&next, Some(&tag)).await {
        Written::Earlier(found) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found.lease, late);
    done(two.ours.write(&next, Some(&found.tag)).await);
}

#[tokio::test]
async fn taken_over_while_a_write_is_in_doubt_is_lost() {
    let two = Two::start();
    let lease = first("db-1");
    let tag = done(two.ours.write(&lease, None).await);
    let taken = Lease {
        previous: Some(lease::Previous {
            owner: name("db-1"),
            epoch: 1,
            gtid: "0-1-42".into(),
            complete: false,
        }),
        epoch: 2,
        ..first("db-2")
    };
    done(two.theirs.write(&taken, Some(&tag)).await);
    let late = renewed(&lease);
    two.proxy.set(Mode::Puts(Box::new(Mode::LostReply)));
    match two.ours.write(&late, Some(&tag)).await {
        Written::Lost(Some(found)) => assert_eq!(found.lease, taken),
        other => panic!("{other:?}"),
    }
    // Refused for sure, by whom cannot be read: lost all the same, never a case for locks in place of the bucket.
    two.proxy.set(Mode::Pass);
    two.server
        .put(&lease::key(&name("shop")), "x".repeat(100_000));
    match two.ours.write(&late, Some(&tag)).await {
        Written::Lost(None) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_way_to_fail_says_what_is_known() {
    let two = Two::start();
    let mut lease = first("db-1");
    let mut tag = done(two.ours.write(&lease, None).await);
    let mut told = Vec::new();
    let faults = [
        Mode::Refuse,
        Mode::Stall,
        Mode::Garbage,
        Mode::Status(500),
        Mode::Status(503),
        Mode::Status(403),
        Mode::Page,
        Mode::Truncate(0),
    ];
    for fault in faults {
        two.proxy.set(fault.clone());
        let next = renewed(&lease);
        let written = two.ours.write(&next, Some(&tag)).await;
        two.proxy.set(Mode::Pass);
        let (there, now) = stands(&two.theirs).await;
        let arrived = there.nonce == next.nonce;
        let what = match &written {
            Written::Done(_) => {
                assert!(arrived, "{fault:?}: nobody can know that it was written");
                "done: there is no body to cut"
            }
            Written::Doubt(error) if error.is_unavailable() => "doubt",
            Written::Doubt(_) => "doubt, and the bucket answers something",
            Written::Failed(_) => {
                assert!(
                    !arrived,
                    "{fault:?}: said to have failed, and it has arrived"
                );
                "failed"
            }
            other => panic!("{fault:?}: {other:?}"),
        };
        told.push(format!("{fault:?}: {what}"));
        if arrived {
            lease = next;
        }
        tag = now;
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn two_at_once_is_contention_and_a_deleted_lease_is_gone() {
    let two = Two::start();
    let lease = first("db-1");
    two.server.conflict_once();
    assert!(matches!(
        two.ours.write(&lease, None).await,
        Written::Contended
    ));
    let tag = done(two.ours.write(&lease, None).await);
    two.server.conflict_once();
    let next = renewed(&lease);
    assert!(matches!(
        two.ours.write(&next, Some(&tag)).await,
        Written::Contended
    ));
    let tag = done(two.ours.write(&next, Some(&tag)).await);
    two.server.delete(&lease::key(&name("shop")));
    assert!(matches!(
        two.ours.write(&next, Some(&tag)).await,
        Written::Gone
    ));
    assert_eq!(two.server.get(&lease::key(&name("shop"))), None);
}

#[tokio::test]
async fn what_is_no_lease_of_the_product_is_neither_followed_nor_overwritten() {
    let two = Two::start();
    let video = Lease {
        product: name("video"),
        ..first("db-1")
    };
    for wrong in [
        String::from_utf8(video.bytes().unwrap()).unwrap(),
        "{".into(),
        String::new(),
    ] {
        two.server.put(&lease::key(&name("shop")), wrong.clone());
        let error = two.ours.read(None).await.unwrap_err();
        assert!(matches!(error, StoreError::Wrong { .. }), "{error:?}");
        assert!(!error.is_unavailable());
        match two.ours.write(&first("db-1"), None).await {
            Written::Failed(StoreError::Wrong { .. }) => {}
            other => panic!("{other:?}"),
        }
        let there = two.server.get(&lease::key(&name("shop"))).unwrap();
        assert_eq!(there, wrong.as_bytes());
    }
}

fn event(owner: &str) -> Event {
    Event {
        format: 1,
        product: name("shop"),
        epoch: 2,
        nonce: Nonce::fresh().unwrap(),
        owner: name(owner),
        from: Some(name("db-1")),
        at: "2026-11-22T20:00:00Z".parse().unwrap(),
        cause: Cause::Expired,
        seen: vec!["db-1 does not answer".into()],
        steps: Vec::new(),
        loss: None,
    }
}

#[tokio::test]
async fn an_event_is_written_once() {
    let two = Two::start();
    let bucket = two.server.client(&two.proxy.endpoint, TIMEOUT);
    let ours = event("db-2");
    two.proxy.set(Mode::Puts(Box::new(Mode::LostReply)));
    ours.record(&bucket).await.unwrap_err();
    two.proxy.set(Mode::Pass);
    ours.record(&bucket).await.unwrap();
    let error = event("db-3").record(&bucket).await.unwrap_err();
    assert!(
        matches!(error, EventError::Taken { ref owner, .. } if owner.as_str() == "db-2"),
        "{error}"
    );
    assert_eq!(
        Event::read(&bucket, &name("shop"), 2).await.unwrap(),
        Some(ours)
    );
    assert_eq!(Event::read(&bucket, &name("shop"), 3).await.unwrap(), None);
}

#[tokio::test]
async fn a_hold_is_said_and_let_go_and_a_strange_one_counts() {
    let server = S3Server::start().unwrap();
    let bucket = server.client(&server.endpoint, TIMEOUT);
    let (shop, db_1) = (name("shop"), name("db-1"));
    assert_eq!(Hold::read(&bucket, &shop).await.unwrap(), None);
    let set = |held, reason| Hold::set(&bucket, &shop, held, &db_1, reason, None);
    let held = set(true, Some(" new disks ")).await.unwrap();
    assert_eq!(held.reason.as_deref(), Some("new disks"));
    assert_eq!(Hold::read(&bucket, &shop).await.unwrap(), Some(held));
    server.conflict_once();
    assert!(
        set(true, None).await.unwrap().held,
        "said twice at once is said"
    );
    assert!(!set(false, None).await.unwrap().held);
    assert!(!Hold::read(&bucket, &shop).await.unwrap().unwrap().held);
    let error = set(true, Some("two\nlines")).await.unwrap_err();
    assert!(matches!(error, HoldError::Reason(_)), "{error}");
    server.put("holds/shop.json", "{}");
    let error = Hold::read(&bucket, &shop).await.unwrap_err();
    assert!(matches!(error, HoldError::Wrong { .. }), "{error}");
}

#[tokio::test]
async fn our_server_a_directory_and_a_proxy_in_between_pass_the_probe() {
    let two = Two::start();
    let bucket = two.server.client(&two.proxy.endpoint, TIMEOUT * 5);
    let server = name("db-1");
    assert_eq!(probe(&bucket, &server).await, Semantics::Right);
    assert_eq!(
        probe(&bucket, &server).await,
        Semantics::Right,
        "the second time"
    );
    assert_eq!(
        two.server.keys(),
        ["probes/db-1/lease.json"],
        "nothing is left but one object"
    );
    two.proxy.set(Mode::Puts(Box::new(Mode::Stall)));
    assert!(matches!(
        probe(&bucket, &server).await,
        Semantics::Unknown(_)
    ));

    let dir = tempfile::tempdir().unwrap();
    let url = BucketUrl::Directory(dir.path().into());
    let settings = S3Settings {
        endpoint: None,
        region: None,
        path_style: false,
        timeout: Duration::from_secs(5),
    };
    let bucket = Bucket::open(&url, &settings).await;
    assert_eq!(probe(&bucket, &server).await, Semantics::Right);
    let store = store(bucket);
    let lease = first("db-1");
    let tag = done(store.write(&lease, None).await);
    done(store.write(&renewed(&lease), Some(&tag)).await);
    assert!(matches!(
        store.write(&renewed(&lease), Some(&tag)).await,
        Written::Lost(Some(_))
    ));
}

/// A bucket that answers conditional writes wrongly is told apart: each of these was a real S3 server's mistake.
#[tokio::test]
async fn a_bucket_that_takes_what_it_should_refuse_is_found_out() {
    let mut told = Vec::new();
    for mistake in [
        Mistake::IgnoresIfNoneMatch,
        Mistake::IgnoresIfMatch,
        Mistake::CreatesForIfMatch,
        Mistake::InvertsIfNoneMatch,
    ] {
        let server = S3Server::start().unwrap();
        server.mistake(mistake);
        let bucket = server.client(&server.endpoint, TIMEOUT * 5);
        // The second time there is an object already.
        for _ in 0..2 {
            match probe(&bucket, &name("db-1")).await {
                Semantics::Wrong(findings) => {
                    told.push(format!("{mistake:?}: {}", findings.join("; ")));
                }
                other => panic!("{mistake:?}: {other:?}"),
            }
            server.put("probes/db-1/lease.json", "left by the one before");
        }
    }
    insta::assert_snapshot!(told.join("\n"));
}

/// Somebody else's server. What it does is written down here: a new version that does otherwise is news.
#[tokio::test]
async fn moto_is_judged_by_what_it_does() {
    let moto = Moto::start().unwrap();
    let sdk = moto.store.sdk();
    sdk.create_bucket()
        .bucket(&moto.store.bucket)
        .send()
        .await
        .unwrap();
    let bucket = moto.store.agent(Duration::from_secs(10));
    // Its threads look and write in two steps: who asks often enough at once sees two writes taken, and not each time.
    let raced = "of two writes at once with If-Match on one tag, both were taken";
    let mut verdict = format!("{:?}", probe(&bucket, &name("db-1")).await);
    for _ in 0..5 {
        if !verdict.contains(raced) {
            break;
        }
        verdict = format!("{:?}", probe(&bucket, &name("db-1")).await);
    }
    insta::assert_snapshot!(verdict);
}
