//! One set of requests, held against every bucket that the tests trust: our own S3-protocol server, a directory, moto.

#![cfg(test)]

use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_async::time::StaticTimeSource;
use bytes::Bytes;
use node_agent::bucket::{
    Bucket, BucketErrorKind as Kind, Condition, Fetched, PIECE, SMALLEST_PART, Tag,
};
use node_agent::settings::{BucketUrl, S3Settings};
use node_agent::system::clock;
use node_agent_tests::moto::Moto;
use node_agent_tests::s3::S3Server;
use node_agent_tests::store::Store;

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

/// Lists, deletion and ranges. `conditional`: whether the bucket heeds the condition of a deletion.
async fn the_agents_other_requests(bucket: &Bucket, conditional: bool) {
    let put = |key: &'static str, text: &'static str| async move {
        bucket.put(key, text.into(), None).await.unwrap()
    };
    let kind = |error: node_agent::bucket::BucketError| error.kind;

    // In the order of the bytes: a minus and a dot stand before a slash.
    let all = ["o/a-b/c", "o/a.b", "o/a/b", "o/a/c/d", "o/b"];
    for key in ["o/b", "o/a/c/d", "o/a.b", "o/a-b/c", "o/a/b", "p/1"] {
        put(key, "text").await;
    }
    for most in [1, 2, 5, 1000] {
        let (mut keys, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = bucket.list("o/", after.as_deref(), most).await.unwrap();
            assert!(page.entries.len() <= most);
            for entry in &page.entries {
                assert_eq!(entry.size, 4);
                assert!(
                    entry
                        .modified
                        .unwrap()
                        .duration_until(clock::now())
                        .as_secs()
                        < 600
                );
                keys.push(entry.key.clone());
            }
            if !page.more {
                break;
            }
            after = keys.last().cloned();
        }
        assert_eq!(keys, all, "{most} a page");
    }
    let keys = async |prefix: &str, after: Option<&str>| {
        let page = bucket.list(prefix, after, 1000).await.unwrap();
        page.entries
            .into_iter()
            .map(|entry| entry.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(keys("o/a/", None).await, ["o/a/b", "o/a/c/d"]);
    assert_eq!(keys("o/a", Some("o/a/b")).await, ["o/a/c/d"]);
    assert_eq!(keys("none/", None).await, [""; 0]);

    // Deletion: of exactly one key, and quiet about what is not there.
    for _ in 0..2 {
        bucket.delete("o/a/c/d", None).await.unwrap();
    }
    assert_eq!(keys("o/a/", None).await, ["o/a/b"]);
    let tag = put("o/a/b", "new").await;
    if conditional {
        let stale = Tag("\"00000000000000000000000000000000\"".into());
        let refused = bucket.delete("o/a/b", Some(&stale)).await;
        assert_eq!(kind(refused.unwrap_err()), Kind::Conflict);
        assert_eq!(keys("o/a/", None).await, ["o/a/b"]);
        bucket.delete("o/none", Some(&stale)).await.unwrap();
    }
    bucket.delete("o/a/b", Some(&tag)).await.unwrap();
    assert_eq!(keys("o/a/", None).await, [""; 0]);

    // Ranges.
    let tag = put("r/object", "0123456789").await;
    let range = |from, length, tag| bucket.get_range("r/object", from, length, tag);
    let piece = range(2, 3, None).await.unwrap();
    assert_eq!((piece.bytes.as_slice(), piece.size), (&b"234"[..], 10));
    assert_eq!(piece.tag, tag);
    assert_eq!(range(7, 100, Some(&tag)).await.unwrap().bytes, b"789");
    assert_eq!(range(0, 10, None).await.unwrap().bytes, b"0123456789");
    assert_eq!(
        kind(range(10, 1, None).await.unwrap_err()),
        Kind::OutOfRange
    );
    assert_eq!(
        kind(range(0, 0, None).await.unwrap_err()),
        Kind::InvalidRequest
    );
    put("r/object", "another").await;
    assert_eq!(
        kind(range(2, 3, Some(&tag)).await.unwrap_err()),
        Kind::Conflict
    );
    let missing = bucket.get_range("r/none", 0, 1, None).await;
    assert_eq!(kind(missing.unwrap_err()), Kind::Missing);
    let tag = put("r/empty", "").await;
    let piece = bucket.get_range("r/empty", 0, 5, Some(&tag)).await.unwrap();
    assert_eq!(
        (piece.bytes.len(), piece.size, piece.tag),
        (0, 0, tag.clone())
    );
    assert_eq!(bucket.reader("r/empty", LIMIT).next().await.unwrap(), None);

    // What is no key is asked of nobody.
    for key in [
        "",
        "/o",
        "../o",
        "o/../../p",
        "o//a",
        "o/.agentd.lock",
        "o/a\n",
    ] {
        let error = bucket.get(key, None, LIMIT).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest, "{key:?}");
        assert_eq!(
            kind(bucket.delete(key, None).await.unwrap_err()),
            Kind::InvalidRequest
        );
    }
}

/// Uploads in parts, and reading what they made in pieces.
async fn the_agents_large_requests(bucket: &Bucket) {
    let kind = |error: node_agent::bucket::BucketError| error.kind;
    let key = "s/shop/data";
    let keys = async || {
        let page = bucket.list("s/", None, 1000).await.unwrap();
        page.entries
            .into_iter()
            .map(|entry| entry.key)
            .collect::<Vec<_>>()
    };
    let pending = async |prefix: &str| bucket.pending_uploads(prefix).await.unwrap();
    let first = Bytes::from(vec![b'a'; SMALLEST_PART]);
    let second = Bytes::from(vec![b'b'; SMALLEST_PART]);
    let third = Bytes::from_static(b"the end");

    let mut upload = bucket.begin_upload(key).await.unwrap();
    upload.put_part(first.clone()).await.unwrap();
    upload.put_part(second.clone()).await.unwrap();
    upload.put_part(third.clone()).await.unwrap();
    let whole = [first, second, third].concat();
    assert_eq!(upload.size(), whole.len() as u64);
    assert_eq!(
        keys().await,
        [""; 0],
        "nothing stands there before it is complete"
    );
    let mut other = bucket.begin_upload("s/shop2").await.unwrap();
    let found = pending("s/shop/").await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].key, &found[0].id),
        (&upload.pending().key, &upload.pending().id)
    );
    // When it was begun is not compared: moto says the same of all.
    assert!(found[0].begun.is_some());
    assert_eq!(pending("s/").await.len(), 2);
    let tag = upload.complete(Some(&Condition::Absent)).await.unwrap();
    assert_eq!(keys().await, [key]);
    assert_eq!(pending("s/shop/").await, []);

    // Read in pieces, by two readers of which the second goes on where the first was stopped.
    let limit = whole.len() as u64;
    let mut reader = bucket.reader(key, limit);
    let mut read = reader.next().await.unwrap().unwrap();
    assert_eq!(read.len() as u64, PIECE);
    assert_eq!((reader.size(), reader.tag()), (Some(limit), Some(&tag)));
    let mut reader = bucket.resume(key, reader.position(), tag.clone(), limit);
    while let Some(piece) = reader.next().await.unwrap() {
        read.extend(piece);
    }
    assert!(read == whole, "it is not what was uploaded");
    assert_eq!(reader.next().await.unwrap(), None);
    let mut at_the_end = bucket.resume(key, limit, tag.clone(), limit);
    assert_eq!(at_the_end.next().await.unwrap(), None);
    let too_large = bucket.reader(key, limit - 1).next().await;
    assert_eq!(kind(too_large.unwrap_err()), Kind::TooLarge);

    // A second one that must be the first is refused when it completes, and leaves what it has taken until it is aborted.
    other.put_part(Bytes::from_static(b"short")).await.unwrap();
    let more = other.put_part(Bytes::from_static(b"one too many")).await;
    assert_eq!(kind(more.unwrap_err()), Kind::InvalidRequest);
    let mut late = bucket.begin_upload(key).await.unwrap();
    assert_eq!(
        kind(late.complete(None).await.unwrap_err()),
        Kind::InvalidRequest
    );
    late.put_part(Bytes::from_static(b"late")).await.unwrap();
    let refused = late.complete(Some(&Condition::Absent)).await;
    assert_eq!(kind(refused.unwrap_err()), Kind::Conflict);
    assert_eq!(pending("s/shop/").await.len(), 1);
    let left = late.pending().clone();
    late.abort().await.unwrap();
    bucket.abort_upload(&left).await.unwrap();
    assert_eq!(pending("s/shop/").await, []);
    assert_eq!(keys().await, [key]);

    // Without a condition it replaces, and who reads the old one notices.
    let mut reader = bucket.reader(key, limit);
    reader.next().await.unwrap();
    let mut new = bucket.begin_upload(key).await.unwrap();
    new.put_part(Bytes::from_static(b"new")).await.unwrap();
    let made = new
        .complete(Some(&Condition::Matches(tag.clone())))
        .await
        .unwrap();
    assert_ne!(made, tag);
    assert_eq!(kind(reader.next().await.unwrap_err()), Kind::Conflict);
    assert_eq!(
        bucket.get(key, None, LIMIT).await.unwrap(),
        Fetched::Object {
            bytes: b"new".to_vec(),
            tag: made
        }
    );

    // What was aborted cannot go on.
    let left = other.pending().clone();
    bucket.abort_upload(&left).await.unwrap();
    let mut gone = bucket.begin_upload(key).await.unwrap();
    bucket.abort_upload(gone.pending()).await.unwrap();
    let refused = gone.put_part(Bytes::from_static(b"x")).await;
    // moto breaks off with 500. What counts: nothing came of it.
    let refused = kind(refused.unwrap_err());
    assert!(
        matches!(refused, Kind::Missing | Kind::Unavailable),
        "{refused:?}"
    );
    assert_eq!(pending("").await, []);
}

/// The status of an answer that is no success, and S3's code where it has a body.
fn refused<T: std::fmt::Debug, E>(
    result: Result<T, SdkError<E, HttpResponse>>,
) -> (u16, Option<String>)
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    let error = result.unwrap_err();
    let status = error.raw_response().unwrap().status().as_u16();
    (status, error.code().map(str::to_owned))
}

fn code(status: u16, code: &str) -> (u16, Option<String>) {
    (status, Some(code.into()))
}

/// What agents and operators ask of an S3 server besides: through the SDK.
async fn the_other_requests(store: &Store) {
    let sdk = store.sdk();
    let bucket = store.bucket.as_str();
    let put = |key: &str, text: &str| {
        let body = text.as_bytes().to_vec();
        sdk.put_object().bucket(bucket).key(key).body(body.into())
    };
    let head = |key: &str| sdk.head_object().bucket(bucket).key(key);
    let get = |key: &str| sdk.get_object().bucket(bucket).key(key);
    let text = async |key: &str| {
        let body = get(key).send().await.unwrap().body;
        String::from_utf8(body.collect().await.unwrap().to_vec()).unwrap()
    };

    // Conditional reads.
    let tag = put("r/a", "one").send().await.unwrap();
    let tag = tag.e_tag().unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(
        head("r/a").send().await.unwrap().e_tag(),
        Some(tag.as_str())
    );
    assert_eq!(refused(head("r/a").if_none_match(&tag).send().await).0, 304);
    assert_eq!(refused(get("r/a").if_none_match(&tag).send().await).0, 304);
    assert!(get("r/a").if_match(&tag).send().await.is_ok());
    let other = "\"00000000000000000000000000000000\"";
    assert_eq!(
        refused(get("r/a").if_match(other).send().await),
        code(412, "PreconditionFailed")
    );
    assert_eq!(refused(head("r/none").send().await).0, 404);
    let part = get("r/a").range("bytes=1-").send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 1-2/3"));
    assert_eq!(part.body.collect().await.unwrap().to_vec(), b"ne");

    // Conditional writes.
    assert_eq!(
        refused(put("r/a", "two").if_none_match("*").send().await),
        code(412, "PreconditionFailed")
    );
    assert_eq!(
        refused(put("r/a", "two").if_match(other).send().await),
        code(412, "PreconditionFailed")
    );
    assert_eq!(
        refused(put("r/none", "two").if_match(other).send().await),
        code(404, "NoSuchKey")
    );
    assert_eq!(text("r/a").await, "one");

    // Deletion is quiet about what is not there.
    for _ in 0..2 {
        let delete = sdk.delete_object().bucket(bucket).key("r/a");
        delete.send().await.unwrap();
    }
    assert_eq!(refused(get("r/a").send().await), code(404, "NoSuchKey"));

    // Lists, by pages, in the order of the keys.
    for n in [3, 1, 5, 2, 4] {
        put(&format!("l/{n}"), "x").send().await.unwrap();
    }
    put("m/1", "x").send().await.unwrap();
    let (mut keys, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let list = sdk
            .list_objects_v2()
            .bucket(bucket)
            .prefix("l/")
            .max_keys(2);
        let page = list.set_continuation_token(token).send().await.unwrap();
        keys.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
        pages += 1;
        token = page.next_continuation_token().map(str::to_owned);
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["l/1", "l/2", "l/3", "l/4", "l/5"]);
    assert_eq!(pages, 3);

    the_multipart_requests(store).await;
}

/// Uploads in parts, which is how snapshots come into the bucket.
async fn the_multipart_requests(store: &Store) {
    let sdk = store.sdk();
    let (bucket, key) = (store.bucket.as_str(), "mp/whole");
    // All parts but the last have S3's least size.
    let parts = ["a".repeat(5 * 1024 * 1024), "b".into()];
    let upload = async || {
        let begun = sdk.create_multipart_upload().bucket(bucket).key(key);
        let id = begun.send().await.unwrap().upload_id().unwrap().to_owned();
        let mut done = Vec::new();
        for (number, part) in (1..).zip(&parts) {
            let put = sdk.upload_part().bucket(bucket).key(key).upload_id(&id);
            let body = part.clone().into_bytes().into();
            let answer = put.part_number(number).body(body).send().await.unwrap();
            let part = CompletedPart::builder().part_number(number);
            done.push(part.set_e_tag(answer.e_tag).build());
        }
        let whole = CompletedMultipartUpload::builder().set_parts(Some(done));
        let complete = sdk.complete_multipart_upload().bucket(bucket).key(key);
        (
            id.clone(),
            complete.upload_id(id).multipart_upload(whole.build()),
        )
    };

    let (_, complete) = upload().await;
    complete.if_none_match("*").send().await.unwrap();
    let got = sdk
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .unwrap();
    assert_eq!(
        got.body.collect().await.unwrap().to_vec(),
        parts.concat().into_bytes()
    );

    // A second one that must be the first is refused when it completes, not before.
    let (id, complete) = upload().await;
    assert_eq!(
        refused(complete.clone().if_none_match("*").send().await),
        code(412, "PreconditionFailed")
    );
    let abort = sdk.abort_multipart_upload().bucket(bucket).key(key);
    abort.upload_id(&id).send().await.unwrap();
    let late = complete.send().await;
    // S3 and ours say 404 NoSuchUpload; moto breaks off with 500. What counts: nothing was made of it.
    assert!(matches!(refused(late).0, 404 | 500));
}

/// Of many conditional writes at once, one wins.
async fn the_races(store: &Store) {
    let bucket = store.agent(TIMEOUT);
    let first = bucket.put("race", b"start".to_vec(), None).await.unwrap();
    let mut present = first;
    for round in 0..10 {
        let create = format!("race/{round}");
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let bucket = store.agent(TIMEOUT);
            let (key, condition) = if writer % 2 == 0 {
                (create.clone(), Condition::Absent)
            } else {
                ("race".into(), Condition::Matches(present.clone()))
            };
            let bytes = format!("{round} {writer}").into_bytes();
            writers.spawn(
                async move { (key.clone(), bucket.put(&key, bytes, Some(&condition)).await) },
            );
        }
        let results = writers.join_all().await;
        for key in [create.as_str(), "race"] {
            let won: Vec<&Tag> = results
                .iter()
                .filter(|(of, _)| of == key)
                .filter_map(|(_, result)| result.as_ref().ok())
                .collect();
            assert_eq!(won.len(), 1, "{key}: {results:?}");
            if key == "race" {
                present = won[0].clone();
            }
        }
        for (_, result) in results {
            if let Err(error) = result {
                assert_eq!(error.kind, Kind::Conflict);
            }
        }
    }
}

#[tokio::test]
async fn our_server_keeps_the_contract() {
    let server = S3Server::start().unwrap();
    let store = server.store();
    the_agents_requests(&store.agent(TIMEOUT), "agent").await;
    the_agents_other_requests(&store.agent(TIMEOUT), true).await;
    the_agents_large_requests(&store.agent(TIMEOUT)).await;
    let hurried = store.agent(TIMEOUT).within(Duration::ZERO);
    let late = hurried.list("o/", None, 1).await.unwrap_err();
    assert_eq!(late.kind, Kind::Unavailable);
    let cause = late.source.unwrap().to_string();
    assert_eq!(cause, "no complete answer within 0s");
    // Under a prefix, beside what lies in the rest of the bucket.
    let under = store.agent_under("prod", TIMEOUT);
    the_agents_other_requests(&under, true).await;
    the_agents_large_requests(&under).await;
    the_other_requests(&store).await;
    the_races(&store).await;
}

#[tokio::test]
async fn moto_keeps_the_contract_as_far_as_it_can() {
    let moto = Moto::start().unwrap();
    let sdk = moto.store.sdk();
    let bucket = moto.store.bucket.as_str();
    sdk.create_bucket().bucket(bucket).send().await.unwrap();
    the_agents_requests(&moto.store.agent(TIMEOUT), "agent").await;
    // It deletes whatever the condition says.
    the_agents_other_requests(&moto.store.agent(TIMEOUT), false).await;
    the_agents_large_requests(&moto.store.agent(TIMEOUT)).await;
    the_other_requests(&moto.store).await;
    wrong_secret_is_denied(&moto.store).await;
}

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    let dir = tempfile::TempDir::new().unwrap();
    let settings = S3Settings {
        endpoint: None,
        region: None,
        path_style: false,
        timeout: TIMEOUT,
    };
    let url = BucketUrl::Directory(dir.path().into());
    let bucket = Bucket::open(&url, &settings).await;
    the_agents_requests(&bucket, "agent").await;
    the_agents_other_requests(&bucket, true).await;
    the_agents_large_requests(&bucket).await;
}

async fn wrong_secret_is_denied(store: &Store) {
    let mut store = store.clone();
    store.secret_key = "wrong".into();
    let error = store
        .agent(TIMEOUT)
        .get("any", None, LIMIT)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Denied, "{error:?}");
}

#[tokio::test]
async fn our_server_checks_who_asks_and_when() {
    let server = S3Server::start().unwrap();
    server.put("any", "x");
    let store = server.store();
    wrong_secret_is_denied(&store).await;

    let get = store
        .anonymous()
        .get_object()
        .bucket(&store.bucket)
        .key("any");
    assert_eq!(refused(get.send().await).0, 403);

    let an_hour_ago = clock::now().as_second() - 3600;
    let then = UNIX_EPOCH + Duration::from_secs(an_hour_ago.unsigned_abs());
    let late = store.sdk_config().time_source(StaticTimeSource::new(then));
    let late = aws_sdk_s3::Client::from_conf(late.build());
    let get = late.get_object().bucket(&store.bucket).key("any");
    assert_eq!(refused(get.send().await), code(403, "RequestTimeTooSkewed"));
}

#[tokio::test]
async fn two_conditional_writes_that_overlap_conflict() {
    let server = S3Server::start().unwrap();
    let bucket = server.store().agent(TIMEOUT);
    let tag = Tag(server.put("lease", "one"));
    server.conflict_once();
    let on = Condition::Matches(tag);
    let first = bucket.put("lease", b"two".to_vec(), Some(&on)).await;
    let error = first.unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    let cause = error.source.unwrap().to_string();
    assert!(
        cause.starts_with("S3 answered 409 ConditionalRequestConflict"),
        "{cause}"
    );
    bucket
        .put("lease", b"two".to_vec(), Some(&on))
        .await
        .unwrap();
    assert_eq!(server.history("lease").len(), 2);
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
