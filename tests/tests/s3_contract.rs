//! One set of requests, held against every bucket that the tests trust: our own S3-protocol server, a directory, moto.

use std::time::Duration;

use node_agent::bucket::{Bucket, BucketErrorKind as Kind, Condition, Fetched, Tag};
use node_agent_tests::s3::S3Server;

const LIMIT: u64 = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the agent's own client asks of a bucket. Keys are fresh where `name` is.
async fn the_agents_requests(bucket: &Bucket, name: &str) {
    let key = format!("{name}/fleet.json");
    let kind = |result: Result<Tag, _>| -> Kind {
        let error: node_agent::bucket::BucketError = result.unwrap_err();
        error.kind
    };
    let get = |known: Option<Tag>| {
        let key = key.clone();
        async move { bucket.get(&key, known.as_ref(), LIMIT).await }
    };
    let put = |text: &str, on: Option<Condition>| {
        let (key, bytes) = (key.clone(), text.as_bytes().to_vec());
        async move { bucket.put(&key, bytes, on.as_ref()).await }
    };
    let stale = Condition::Matches(Tag("\"00000000000000000000000000000000\"".into()));

    assert_eq!(get(None).await.unwrap_err().kind, Kind::Missing);
    assert_eq!(kind(put("no", Some(stale.clone())).await), Kind::Missing);

    let first = put("one", Some(Condition::Absent)).await.unwrap();
    assert_eq!(
        get(None).await.unwrap(),
        Fetched::Object {
            bytes: b"one".to_vec(),
            tag: first.clone()
        }
    );
    assert_eq!(get(Some(first.clone())).await.unwrap(), Fetched::Unchanged);
    assert_eq!(
        kind(put("no", Some(Condition::Absent)).await),
        Kind::Conflict
    );
    assert_eq!(kind(put("no", Some(stale)).await), Kind::Conflict);

    let on_first = Condition::Matches(first.clone());
    let second = put("two", Some(on_first.clone())).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(kind(put("no", Some(on_first)).await), Kind::Conflict);
    assert_eq!(
        get(Some(first)).await.unwrap(),
        Fetched::Object {
            bytes: b"two".to_vec(),
            tag: second
        }
    );

    let empty = put("", None).await.unwrap();
    assert_eq!(
        get(None).await.unwrap(),
        Fetched::Object {
            bytes: Vec::new(),
            tag: empty
        }
    );

    let most = usize::try_from(LIMIT).unwrap();
    put(&"x".repeat(most), None).await.unwrap();
    assert!(get(None).await.is_ok());
    put(&"x".repeat(most + 1), None).await.unwrap();
    assert_eq!(get(None).await.unwrap_err().kind, Kind::TooLarge);
}

#[tokio::test]
async fn our_server_does_what_the_agent_asks() {
    let server = S3Server::start().unwrap();
    let bucket = server.client(&server.endpoint, TIMEOUT);
    the_agents_requests(&bucket, "agent").await;
}

#[tokio::test]
async fn an_unchanged_object_costs_one_request_without_a_body() {
    let server = S3Server::start().unwrap();
    let bucket = server.client(&server.endpoint, TIMEOUT);
    let tag = Tag(server.put("fleet.json", "x"));
    for _ in 0..3 {
        let got = bucket.get("fleet.json", Some(&tag), LIMIT).await.unwrap();
        assert_eq!(got, Fetched::Unchanged);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "{requests:?}");
    assert!(
        requests.iter().all(|request| (
            request.method.as_str(),
            request.key.as_str(),
            request.status,
            request.sent
        ) == ("GET", "fleet.json", 304, 0)),
        "{requests:?}"
    );
}
