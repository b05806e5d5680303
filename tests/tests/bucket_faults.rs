//! A bucket that fails in any way costs the box nothing but freshness: it keeps its last good document, says what is
//! wrong, and goes on by itself once the bucket answers again.

#![cfg(test)]

use std::error::Error;
use std::time::{Duration, Instant};

use node_agent::bucket::{BucketErrorKind as Kind, Tag};
use node_agent::converge::intake::{Intake, KEY, Polled, Terms};
use node_agent::fleet::signing::Trust;
use node_agent::system::file::Files;
use node_agent::system::root::Root;
use node_agent_tests::proxy::{Mode, Proxy};
use node_agent_tests::s3::{Access, S3Server};
use tempfile::TempDir;

const LIMIT: u64 = 1024 * 1024;

fn terms() -> Terms {
    Terms {
        pinned: None,
        limit: LIMIT,
        trust: Trust::Nobody,
        generation: 0,
        version_step: 1,
    }
}
/// Short, so that the slow faults are met soon; still far more than an answer over loopback needs.
const TIMEOUT: Duration = Duration::from_millis(1500);

fn document(version: u64) -> String {
    let servers: Vec<String> = (1..200)
        .map(|n| format!(r#""web-{n}": {{"address": "10.0.0.{n}"}}"#))
        .collect();
    let servers = servers.join(", ");
    format!(
        r#"{{"signatures": [], "signed": {{
  "format": 1, "fleet": "small", "version": {version},
  "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
  "servers": {{{servers}}}
}}}}"#
    )
}

/// What a fault must look like from the box.
enum Expected {
    /// The bucket did not answer as it should.
    Unreachable(Kind),
    /// It answered, with what is no document.
    Refused,
    /// It answered with an older document than the accepted one.
    Rollback,
    /// All is well, only slow.
    New,
}

#[tokio::test]
async fn the_box_keeps_its_last_good_document_through_every_fault_and_recovers() {
    let faults = [
        (Mode::Refuse, Expected::Unreachable(Kind::Unavailable)),
        (Mode::Reset, Expected::Unreachable(Kind::Unavailable)),
        (Mode::Stall, Expected::Unreachable(Kind::Unavailable)),
        (Mode::Truncate(0), Expected::Unreachable(Kind::Unavailable)),
        (
            Mode::Truncate(1000),
            Expected::Unreachable(Kind::Unavailable),
        ),
        (
            Mode::ResetInBody(1000),
            Expected::Unreachable(Kind::Unavailable),
        ),
        (
            Mode::Drip(Duration::from_millis(2)),
            Expected::Unreachable(Kind::Unavailable),
        ),
        (
            Mode::Delay(TIMEOUT * 2),
            Expected::Unreachable(Kind::Unavailable),
        ),
        (Mode::Delay(Duration::from_millis(200)), Expected::New),
        (Mode::Garbage, Expected::Unreachable(Kind::Unavailable)),
        (Mode::Status(500), Expected::Unreachable(Kind::Unavailable)),
        (Mode::Status(503), Expected::Unreachable(Kind::Unavailable)),
        (Mode::Status(403), Expected::Unreachable(Kind::Denied)),
        (Mode::Status(404), Expected::Unreachable(Kind::Missing)),
        (Mode::Empty, Expected::Refused),
        (Mode::Page, Expected::Refused),
        (Mode::Stale, Expected::Rollback),
    ];
    let dir = TempDir::new().unwrap();
    let files = Files::new(Root::under(dir.path()).unwrap());
    let server = S3Server::start().unwrap();
    let proxy = Proxy::start(server.address).unwrap();
    let bucket = server.client(&proxy.endpoint, TIMEOUT);
    let mut intake = Intake::open(&files, terms()).unwrap();

    let mut told = Vec::new();
    let mut version = 1;
    server.put(KEY, document(version));
    assert!(matches!(intake.poll(&bucket).await.unwrap(), Polled::New));
    for (fault, expected) in faults {
        let stands = version;
        version += 1;
        if matches!(expected, Expected::Rollback) {
            // The box has the newest, and the proxy then answers with the one before.
            server.put(KEY, document(version));
            let direct = server.client(&server.endpoint, TIMEOUT);
            assert!(matches!(intake.poll(&direct).await.unwrap(), Polled::New));
        } else {
            server.put(KEY, document(version));
        }
        let before = proxy.taken();
        proxy.set(fault.clone());
        let since = Instant::now();
        let polled = intake.poll(&bucket).await.unwrap();
        assert!(
            since.elapsed() < TIMEOUT + Duration::from_secs(1),
            "{fault:?}"
        );
        assert!(
            proxy.taken() <= before + 1,
            "{fault:?}: it tried again by itself"
        );
        let accepted = || intake.accepted().unwrap().document.id.version;
        match (&expected, &polled) {
            (Expected::New, Polled::New) => assert_eq!(accepted(), version, "{fault:?}"),
            (Expected::Rollback, Polled::Refused(refusal)) => {
                assert_eq!(accepted(), version, "{fault:?}");
                assert!(refusal.errors.concat().contains("rollback"), "{refusal:?}");
            }
            (Expected::Refused, Polled::Refused(_)) => assert_eq!(accepted(), stands, "{fault:?}"),
            (Expected::Unreachable(kind), Polled::Unreachable(error)) => {
                assert_eq!(error.error.kind, *kind, "{fault:?}: {error:?}");
                assert!(error.source().is_some(), "{fault:?} has no cause");
                // What a reset looks like depends on who was writing just then.
                if !matches!(fault, Mode::Reset | Mode::ResetInBody(_)) {
                    told.push(format!("{fault:?}: {}", causes(error)));
                }
                assert_eq!(accepted(), stands, "{fault:?}");
            }
            _ => panic!("{fault:?}: {polled:?}"),
        }
        // The box that is rebooted in the middle of it has the same document.
        let rebooted = Intake::open(&files, terms()).unwrap();
        let has = rebooted.accepted().unwrap().document.id.version;
        assert_eq!(has, accepted(), "{fault:?}");

        proxy.set(Mode::Pass);
        let polled = intake.poll(&bucket).await.unwrap();
        assert!(
            matches!(polled, Polled::New | Polled::Unchanged),
            "after {fault:?}: {polled:?}"
        );
        let has = intake.accepted().unwrap().document.id.version;
        assert_eq!(has, version, "after {fault:?}");
    }
    // Would a person at 3 a.m. understand it?
    insta::assert_snapshot!(told.join("\n"));
}

/// The causes of an error, as the log has them.
fn causes(error: &dyn Error) -> String {
    let mut text = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push(error.to_string());
        cause = error.source();
    }
    text.join(": ")
}

#[tokio::test]
async fn a_wrong_secret_is_denied_and_the_cause_says_so() {
    let mut server = S3Server::start().unwrap();
    server.put(KEY, "x");
    server.secret_key = "wrong".into();
    let bucket = server.client(&server.endpoint, TIMEOUT);
    let error = bucket.get(KEY, None, LIMIT).await.unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    let cause = error.source.unwrap().to_string();
    assert!(
        cause.starts_with("S3 answered 403 SignatureDoesNotMatch") && cause.contains("secret"),
        "{cause}"
    );
}

#[tokio::test]
async fn an_unknown_key_a_missing_bucket_and_a_closed_port_have_their_kinds() {
    let mut server = S3Server::start().unwrap();
    let right = server.access_key.clone();
    server.access_key = "AKIAUNKNOWN000000000".into();
    let bucket = server.client(&server.endpoint, TIMEOUT);
    let error = bucket.get(KEY, None, LIMIT).await.unwrap_err();
    assert_eq!(error.kind, Kind::Denied, "{error:?}");

    server.access_key = right;
    server.bucket = "elsewhere".into();
    let bucket = server.client(&server.endpoint, TIMEOUT);
    let error = bucket.get(KEY, None, LIMIT).await.unwrap_err();
    assert_eq!(error.kind, Kind::MissingBucket, "{error:?}");
    assert_eq!(
        error.to_string(),
        "cannot get s3://elsewhere/fleet.json: there is no such bucket"
    );
}

#[tokio::test]
async fn a_server_that_comes_back_on_its_port_is_found_again() {
    let server = S3Server::start().unwrap();
    let (address, tag) = (server.address, Tag(server.put(KEY, "one")));
    let bucket = server.client(&server.endpoint, TIMEOUT);
    bucket.get(KEY, Some(&tag), LIMIT).await.unwrap();
    drop(server);
    let error = bucket.get(KEY, Some(&tag), LIMIT).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    let server = S3Server::start_at(address, Access::default()).unwrap();
    server.put(KEY, "two");
    bucket.get(KEY, Some(&tag), LIMIT).await.unwrap();
}

#[tokio::test]
async fn an_error_without_an_end_is_cut_and_still_has_its_kind() {
    let server = S3Server::start().unwrap();
    let proxy = Proxy::start(server.address).unwrap();
    let bucket = server.client(&proxy.endpoint, Duration::from_secs(20));
    for (status, kind) in [
        (500, Kind::Unavailable),
        (403, Kind::Denied),
        (404, Kind::Missing),
        (412, Kind::Conflict),
    ] {
        proxy.set(Mode::Endless(status));
        let since = Instant::now();
        let error = bucket.get(KEY, None, LIMIT).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert_eq!(error.response().unwrap().status, status);
        assert!(since.elapsed() < Duration::from_secs(10), "{error:?}");
    }
    // A list is kept in memory as well; it ends at its own limit, and not in the middle of what was asked.
    proxy.set(Mode::Endless(200));
    let error = bucket.list("", None, 1000).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error:?}");
    assert!(causes(&error).contains("too long"), "{error:?}");
    // 64 KiB of each error, 16 MiB of the list; the rest lies in the kernel's buffers.
    let taken = proxy.endless_taken();
    assert!(taken < 60 << 20, "{taken} bytes");
}

#[tokio::test]
async fn what_is_changed_on_its_way_is_not_taken() {
    let server = S3Server::start().unwrap();
    let proxy = Proxy::start(server.address).unwrap();
    let bucket = server.client(&proxy.endpoint, TIMEOUT);
    proxy.set(Mode::Puts(Box::new(Mode::Corrupt)));
    assert!(bucket.put(KEY, b"abc".to_vec(), None).await.is_err());
    let mut upload = bucket.begin_upload("whole").await.unwrap();
    assert!(upload.put_part("abc".into()).await.is_err());
    assert_eq!(upload.size(), 0);
    proxy.set(Mode::Pass);
    // The part that failed is put again.
    upload.put_part("abc".into()).await.unwrap();
    upload.complete(None).await.unwrap();
    assert_eq!(server.get("whole").unwrap(), "abc");
    assert_eq!(server.keys(), ["whole"]);
}

#[tokio::test]
async fn a_range_that_is_not_the_one_asked_for_is_a_wrong_answer() {
    let server = S3Server::start().unwrap();
    let proxy = Proxy::start(server.address).unwrap();
    let bucket = server.client(&proxy.endpoint, TIMEOUT);
    server.put(KEY, "0123456789");
    proxy.set(Mode::Empty);
    let error = bucket.get_range(KEY, 2, 3, None).await.unwrap_err();
    assert_eq!(error.kind, Kind::WrongAnswer, "{error:?}");
    // Every object has an answer of its own: a page is no list that has an end.
    proxy.set(Mode::Page);
    assert!(bucket.list("", None, 10).await.is_err());
}
