//! Where the agent's S3 client finds its credentials and its region: each place of the standard chain, with nothing
//! else in the environment. A place that does not answer costs a bounded time, and what is missing is said.

#![cfg(test)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use node_agent::bucket::{Bucket, Fetched};
use node_agent::settings::{BucketUrl, S3Settings};
use node_agent_tests::s3::S3Server;

const KEY: &str = "fleet.json";
const NO_METADATA: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");
/// For the child, which has an environment of its own.
const ENDPOINT: &str = "TEST_ENDPOINT";
const BUCKET: &str = "fleet";
const TIMEOUT: Duration = Duration::from_secs(6);

/// Not a test: what the tests run with an environment of its own. Prints what became of one request.
#[tokio::test]
#[ignore = "run by the other tests"]
async fn child() {
    let settings = S3Settings {
        endpoint: std::env::var(ENDPOINT).ok(),
        region: None,
        path_style: true,
        timeout: TIMEOUT,
    };
    let url = BucketUrl::S3 {
        bucket: BUCKET.into(),
        prefix: String::new(),
    };
    let bucket = Bucket::open(&url, &settings).await;
    match bucket.get(KEY, None, 1024).await {
        Ok(Fetched::Object { .. }) => println!("RESULT got it"),
        Ok(Fetched::Unchanged) => println!("RESULT unchanged"),
        Err(error) => {
            let mut chain = format!("{:?}", error.kind);
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                chain.push_str(" | ");
                chain.push_str(&error.to_string());
                cause = error.source();
            }
            println!("RESULT {chain}");
        }
    }
}

/// What became of one request with this environment, and how long it took.
fn ask(environment: &[(&str, &str)]) -> (String, Duration) {
    let since = Instant::now();
    let child = Command::new("timeout")
        .arg("60")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let result = text.lines().find_map(|line| line.split_once("RESULT "));
    let (_, result) = result.unwrap_or_else(|| panic!("no result: {text}"));
    (result.to_owned(), since.elapsed())
}

/// A server with the object, and what a client must know of it.
fn server() -> S3Server {
    let server = S3Server::start().unwrap();
    assert_eq!(server.bucket, BUCKET);
    server.put(KEY, "x");
    server
}

#[test]
fn the_environment() {
    let server = server();
    let (result, _) = ask(&[
        (ENDPOINT, &server.endpoint),
        ("AWS_ACCESS_KEY_ID", &server.access_key),
        ("AWS_SECRET_ACCESS_KEY", &server.secret_key),
        NO_METADATA,
    ]);
    assert_eq!(result, "got it");
}

#[test]
fn a_profile() {
    let server = server();
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("credentials");
    let text = format!(
        "[fleet]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        server.access_key, server.secret_key
    );
    fs::File::create(&file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .unwrap();
    let (result, _) = ask(&[
        (ENDPOINT, &server.endpoint),
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
        ("AWS_PROFILE", "fleet"),
        NO_METADATA,
    ]);
    assert_eq!(result, "got it");
}

#[test]
fn a_container() {
    let server = server();
    let metadata = Metadata::start(&server, Manner::Answers);
    let (result, _) = ask(&[
        (ENDPOINT, &server.endpoint),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            &format!("{}/container", metadata.endpoint),
        ),
        NO_METADATA,
    ]);
    assert_eq!(result, "got it");
}

#[test]
fn the_instance_role() {
    let server = server();
    let metadata = Metadata::start(&server, Manner::Answers);
    let (result, _) = ask(&[
        (ENDPOINT, &server.endpoint),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.endpoint),
    ]);
    assert_eq!(result, "got it");
}

#[test]
fn no_credentials_at_all() {
    let server = server();
    let (result, took) = ask(&[(ENDPOINT, &server.endpoint), NO_METADATA]);
    assert!(
        result.starts_with("Credentials | cannot get s3://fleet/fleet.json: no credentials | "),
        "{result}"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_metadata_service_that_never_answers() {
    let server = server();
    let metadata = Metadata::start(&server, Manner::Stalls);
    let (result, took) = ask(&[
        (ENDPOINT, &server.endpoint),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.endpoint),
    ]);
    assert!(
        result.starts_with("Credentials | ") || result.starts_with("Unavailable | "),
        "{result}"
    );
    assert!(took < TIMEOUT + Duration::from_secs(2), "{took:?}");
}

#[test]
fn no_region() {
    // Without an endpoint it is AWS itself that would be asked: nobody is, because nobody knows where.
    let (result, took) = ask(&[
        ("AWS_ACCESS_KEY_ID", "AKIATESTONLY00000000"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        NO_METADATA,
    ]);
    assert!(
        result.starts_with("Region | ") && result.contains("no region is set"),
        "{result}"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn an_endpoint_that_is_no_url() {
    let (result, _) = ask(&[
        (ENDPOINT, "http://:not a url"),
        ("AWS_ACCESS_KEY_ID", "AKIATESTONLY00000000"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
        NO_METADATA,
    ]);
    assert!(result.ends_with("was not a valid URI"), "{result}");
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Answers,
    Stalls,
}

/// A metadata service of the second version, which answers nothing without a token; and a container's.
struct Metadata {
    endpoint: String,
}

impl Metadata {
    /// Serves in a thread that ends with the process.
    fn start(server: &S3Server, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let role = format!(
            r#"{{"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
            "Expiration": "2126-01-01T00:00:00Z", "Token": "session",
            "AccessKeyId": "{}", "SecretAccessKey": "{}"}}"#,
            server.access_key, server.secret_key
        );
        thread::spawn(move || {
            let mut stalled = Vec::new();
            for connection in listener.incoming() {
                let connection = connection.unwrap();
                if manner == Manner::Stalls {
                    stalled.push(connection);
                } else {
                    let role = role.clone();
                    thread::spawn(move || answer(connection, &role));
                }
            }
        });
        Self { endpoint }
    }
}

fn answer(mut connection: TcpStream, role: &str) {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match connection.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&piece[..count]),
        }
    }
    let request = String::from_utf8(request).unwrap();
    let has_token = request
        .lines()
        .any(|line| line.eq_ignore_ascii_case("x-aws-ec2-metadata-token: token"));
    let path = request.split(' ').nth(1).unwrap();
    let credentials = "/latest/meta-data/iam/security-credentials/";
    let (status, body) = match (request.starts_with("PUT "), path) {
        (true, "/latest/api/token") => (200, "token"),
        (false, "/container") => (200, role),
        (false, _) if !has_token => (401, ""),
        (false, path) if path == credentials => (200, "web"),
        (false, path) if path == format!("{credentials}web") => (200, role),
        _ => (404, ""),
    };
    let _ = write!(
        connection,
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\
         x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n{body}",
        body.len()
    );
}
