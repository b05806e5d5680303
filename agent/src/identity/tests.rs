use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::metadata::{Asked, ask};
use super::*;

/// How the fake metadata service behaves.
#[derive(Clone, Copy, PartialEq)]
enum Fake {
    /// As the real one: a token is required; the tag is there.
    Full,
    /// As the real one where tags are not allowed in metadata.
    WithoutTags,
    /// Knows nothing of tokens, and answers without one.
    VersionOne,
    /// Accepts connections and says nothing.
    Hangs,
}

async fn serve(fake: Fake) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(fake, stream));
        }
    });
    url
}

/// Speaks enough HTTP/1.1 for one request after another over a connection.
async fn answer(fake: Fake, mut stream: TcpStream) {
    let mut read = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return;
        }
        read.extend_from_slice(&buffer[..length]);
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        read.drain(..end + 4);
        if fake == Fake::Hangs {
            tokio::time::sleep(Duration::from_secs(30)).await;
            return;
        }
        let has_token =
            fake == Fake::VersionOne || head.contains("x-aws-ec2-metadata-token: t0ken");
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match target {
            "/latest/api/token" if fake == Fake::VersionOne => ("404 Not Found", ""),
            "/latest/api/token"
                if head.starts_with("put ") && head.contains("token-ttl-seconds:") =>
            {
                ("200 OK", "t0ken")
            }
            _ if !has_token => ("401 Unauthorized", ""),
            "/latest/meta-data/instance-id" => ("200 OK", "i-0a11"),
            "/latest/meta-data/tags/instance/agentd-node" if fake == Fake::Full => {
                ("200 OK", "web-2")
            }
            _ => ("404 Not Found", ""),
        };
        let ttl = match body {
            "t0ken" => "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n",
            _ => "",
        };
        let text = format!(
            "HTTP/1.1 {status}\r\n{ttl}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn asked(fake: Fake) -> Asked {
    ask(Some(&serve(fake).await), "agentd-node").await
}

#[test]
fn the_metadata_service_is_asked_with_a_token() {
    let full = block_on(asked(Fake::Full));
    assert_eq!(
        full,
        Asked::Answered {
            instance_id: "i-0a11".into(),
            tag: Ok("web-2".into())
        }
    );
    let Asked::Answered { tag: Err(why), .. } = block_on(asked(Fake::WithoutTags)) else {
        panic!("the id must be known without tags")
    };
    assert_eq!(why, "not set, or tags are not allowed in instance metadata");
}

#[test]
fn a_service_of_version_one_is_not_believed() {
    let Asked::NoAnswer(why) = block_on(asked(Fake::VersionOne)) else {
        panic!("must not be asked without a token")
    };
    assert!(why.starts_with("it gives no token for IMDSv2"), "{why}");
}

#[test]
fn a_service_that_hangs_is_given_up_in_time() {
    let started = Instant::now();
    let clues = block_on(async {
        let url = serve(Fake::Hangs).await;
        let mut clues = Clues::default();
        let asking = ask(Some(&url), "agentd-node");
        let asked = tokio::time::timeout(GATHER_DEADLINE, asking).await;
        clues.note(
            asked.unwrap_or_else(|_| Asked::NoAnswer("late".into())),
            "agentd-node",
        );
        clues
    });
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert!(clues.metadata_failed);
    assert_eq!(clues.tried.len(), 1);
}

fn fleet() -> Fleet {
    let text = r#"{
        "format": 1, "fleet": "test", "version": 7,
        "issued": "2026-01-01T00:00:00Z", "expires": "2046-01-01T00:00:00Z",
        "servers": {
            "web-1": {"address": "10.0.0.1", "instance": "i-0a11"},
            "web-2": {"address": "10.0.0.2"},
            "web-3": {"address": "10.0.0.3", "state": "retired"}
        }
    }"#;
    serde_json::from_str(text).unwrap()
}

fn found(clues: &Clues) -> Option<(String, String)> {
    clues
        .find(&fleet())
        .map(|(name, by)| (name.as_str().to_owned(), by))
}

fn pair(name: &str, by: &str) -> (String, String) {
    (name.into(), by.into())
}

/// Clues that point at three different servers.
fn torn() -> Clues {
    Clues {
        setting: Some("web-3".parse().unwrap()),
        instance_id: Some("i-0a11".into()),
        tag: Some(("agentd-node".into(), "web-2".into())),
        hostnames: vec!["web-3.example.com".into(), "web-3".into()],
        ..Clues::default()
    }
}

#[test]
fn clues_count_in_their_order() {
    let mut clues = torn();
    assert_eq!(found(&clues), Some(pair("web-3", "the setting node")));
    clues.setting = None;
    assert_eq!(found(&clues), Some(pair("web-1", "the instance id i-0a11")));
    clues.instance_id = Some("i-unknown".into());
    assert_eq!(found(&clues), Some(pair("web-2", "the tag agentd-node")));
    clues.tag = Some(("agentd-node".into(), "nobody".into()));
    assert_eq!(found(&clues), Some(pair("web-3", "the host name web-3")));
    clues.hostnames = vec!["WEB_9".into()];
    assert_eq!(found(&clues), None);
}

/// A fleet of servers with these fields.
fn fleet_of(servers: &str) -> Fleet {
    let text = format!(
        r#"{{"format": 1, "fleet": "test", "version": 7,
            "issued": "2026-01-01T00:00:00Z", "expires": "2046-01-01T00:00:00Z", "servers": {{{servers}}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_a_machine_was_once_does_not_count_over_what_it_is_now() {
    let server = |name: &str, state: &str| {
        format!(r#""{name}": {{"address": "10.0.0.1", "instance": "i-0a11", "state": "{state}"}}"#)
    };
    let clues = Clues {
        instance_id: Some("i-0a11".into()),
        ..Clues::default()
    };
    for (states, expected) in [
        (["retired", "active", "draining"], "web-2"),
        (["retired", "retired", "draining"], "web-3"),
        (["draining", "retired", "active"], "web-3"),
        (["retired", "retired", "retired"], "web-1"),
    ] {
        let [one, two, three] = states;
        let fleet = fleet_of(
            &[
                server("web-1", one),
                server("web-2", two),
                server("web-3", three),
            ]
            .join(","),
        );
        let (name, _) = clues.find(&fleet).unwrap();
        assert_eq!(name.as_str(), expected, "{states:?}");
    }
}

#[test]
fn of_two_host_names_the_active_servers_counts() {
    let fleet = fleet_of(
        r#""old": {"address": "10.0.0.1", "state": "retired"}, "web-1": {"address": "10.0.0.1"}"#,
    );
    let clues = Clues {
        hostnames: vec!["old".into(), "web-1".into()],
        ..Clues::default()
    };
    let (name, by) = clues.find(&fleet).unwrap();
    assert_eq!(
        (name.as_str(), by.as_str()),
        ("web-1", "the host name web-1")
    );
}

#[test]
fn a_machine_that_was_replaced_is_not_the_one_that_took_its_name() {
    let fleet = fleet_of(r#""web-1": {"address": "10.0.0.1", "instance": "i-0b22"}"#);
    let old = Clues {
        instance_id: Some("i-0a11".into()),
        tag: Some(("agentd-node".into(), "web-1".into())),
        hostnames: vec!["web-1".into()],
        ..Clues::default()
    };
    assert_eq!(old.find(&fleet), None);
    insta::assert_snapshot!(
        old.not_found(&fleet),
        @r#"no server in version 7 of fleet test is this box, whose instance id is i-0a11: web-1 is i-0b22 there; if this box is web-1, correct "instance" of web-1 in the document"#
    );
    let without_metadata = Clues {
        instance_id: None,
        ..old.clone()
    };
    assert!(without_metadata.find(&fleet).is_some());
    let new = Clues {
        instance_id: Some("i-0b22".into()),
        ..old
    };
    assert!(new.find(&fleet).is_some());
}

#[test]
fn a_setting_that_the_document_does_not_have_is_nobody() {
    let clues = Clues {
        setting: Some("web-9".parse().unwrap()),
        ..torn()
    };
    assert_eq!(found(&clues), None);
}

#[test]
fn not_found_says_what_was_tried_and_what_to_do() {
    let mut clues = Clues {
        setting: Some("wbe-1".parse().unwrap()),
        ..Clues::default()
    };
    let set = clues.not_found(&fleet());
    clues = Clues {
        instance_id: Some("i-0b22".into()),
        hostnames: vec!["ip-10-0-0-5.ec2.internal".into(), "ip-10-0-0-5".into()],
        tried: vec![
            "the instance tag agentd-node (not set, or tags are not allowed in instance metadata)"
                .into(),
        ],
        ..Clues::default()
    };
    let cloud = clues.not_found(&fleet());
    clues = Clues {
        hostnames: vec!["localhost".into()],
        tried: vec!["instance metadata (no answer within 3 s)".into()],
        ..Clues::default()
    };
    let plain = clues.not_found(&fleet());
    insta::assert_snapshot!(format!("{set}\n\n{cloud}\n\n{plain}"));
}

#[expect(
    clippy::disallowed_methods,
    reason = "a scratch file needs no durability"
)]
fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn firmware_and_host_name_are_read_under_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::under(dir.path()).unwrap();
    assert!(!is_ec2(&root));
    assert!(hostname(&root).is_err());
    put(&dir.path().join("etc/hostname"), "Web-1.Example.com\n");
    assert_eq!(hostname(&root).unwrap(), "Web-1.Example.com");
    put(
        &dir.path().join("sys/class/dmi/id/sys_vendor"),
        "Amazon EC2\n",
    );
    assert!(is_ec2(&root));
}
