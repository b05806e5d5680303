use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::client::{self, ControlError};
use super::messages::{Applied, Reply};
use super::server::{ApplyRequest, ControlServer, DaemonChannels};
use super::*;
use crate::report::{
    AgentStatus, BucketStatus, Counters, DocumentId, Health, NodeStatus, RunRecord, Status,
    StepCounts, Trigger,
};
use crate::system::root::Root;

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("run/agentd")).unwrap();
    let root = Root::under(dir.path()).unwrap();
    (dir, root)
}

fn a_status() -> Status {
    Status {
        format: 1,
        written: Timestamp::UNIX_EPOCH,
        health: Health::Waiting,
        reasons: vec!["no document yet".into()],
        agent: AgentStatus {
            version: "0.1.0".into(),
            pid: 42,
            started: Timestamp::UNIX_EPOCH,
            poll_ms: None,
            memory_bytes: None,
            trouble: None,
        },
        node: NodeStatus {
            name: None,
            found_by: "nothing".into(),
        },
        document: None,
        trust: None,
        refused: None,
        bucket: BucketStatus {
            url: "file:///srv/fleet".into(),
            last_answer: None,
            error: None,
            failures: 0,
            latency_ms: None,
        },
        problems: Vec::new(),
        steps: StepCounts::default(),
        drift: Vec::new(),
        readiness: Vec::new(),
        evictions: vec![],
        dns: vec![],
        hold: None,
        drain: None,
        undone: None,
        jobs: vec![],
        certificates: Vec::new(),
        services: Vec::new(),
        retired: None,
        rollout: None,
        stands_on: None,
        well_since: None,
        latest_run: None,
        changed: None,
        last_run: None,
        databases: vec![],
        report: crate::report::ReportStatus::default(),
        counters: Counters::default(),
    }
}

fn a_run() -> RunRecord {
    RunRecord {
        format: 1,
        outstanding: Vec::new(),
        id: 7,
        node: "web-1".parse().unwrap(),
        document: DocumentId {
            fleet: "test".parse().unwrap(),
            version: 3,
            digest: "00".into(),
        },
        signers: Vec::new(),
        trigger: Trigger::Person,
        started: Timestamp::UNIX_EPOCH,
        took_ms: 12,
        steps: Vec::new(),
        problems: Vec::new(),
    }
}

/// The daemon's ends of the channels.
struct DaemonSide {
    _status: watch::Sender<Option<Arc<Status>>>,
    doing: watch::Sender<String>,
    applies: mpsc::Receiver<ApplyRequest>,
}

/// Runs a server on its own runtime, `behind` beside it, and `ask` against them.
fn with_server<T: Send + 'static>(
    root: &Root,
    behind: impl AsyncFnOnce(DaemonSide),
    ask: impl FnOnce(Root) -> T + Send + 'static,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (status, status_seen) = watch::channel(Some(Arc::new(a_status())));
        let (doing, doing_seen) = watch::channel("idle".to_owned());
        let (applies, wishes) = mpsc::channel(4);
        let channels = DaemonChannels {
            status: status_seen,
            doing: doing_seen,
            applies,
            orders: mpsc::channel(1).0,
            acknowledgements: mpsc::channel(1).0,
        };
        tokio::spawn(ControlServer::listen(root).unwrap().serve(channels));
        let asked_root = root.clone();
        let asker = tokio::task::spawn_blocking(move || ask(asked_root));
        behind(DaemonSide {
            _status: status,
            doing,
            applies: wishes,
        })
        .await;
        asker.await.unwrap()
    })
}

/// Stays until the asker is done, at most 3 s: dropping them early would answer for it.
async fn idle(behind: DaemonSide) {
    let mut behind = behind;
    let _ = tokio::time::timeout(Duration::from_secs(3), behind.applies.recv()).await;
}

fn raw(root: &Root, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(root.real(Path::new(SOCKET))).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let _ = stream.write_all(request);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_status_is_told_as_of_now() {
    let (_dir, root) = root();
    let status = with_server(&root, idle, |root| client::status(&root).unwrap());
    assert!(status.written > Timestamp::UNIX_EPOCH);
    let expected = Status {
        written: status.written,
        ..a_status()
    };
    assert_eq!(status, expected);
}

#[test]
fn the_socket_is_for_root_and_its_group_and_replaces_a_dead_one() {
    let (_dir, root) = root();
    let path = root.real(Path::new(SOCKET));
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(
        client::status(&root),
        Err(ControlError::NotRunning { .. })
    ));
    let mode = with_server(&root, idle, move |root| {
        client::status(&root).unwrap();
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    });
    assert_eq!(mode, 0o660);
    let left: Vec<_> = std::fs::read_dir(root.real(Path::new("/run/agentd")))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn nobody_listening_says_how_to_start_it() {
    let (_dir, root) = root();
    let error = client::status(&root).unwrap_err().to_string();
    assert!(error.starts_with("agentd is not running"), "{error}");
    assert!(
        error.ends_with(&format!("agentd --root {}", root.dir().display())),
        "{error}"
    );
}

#[test]
fn a_daemon_that_hangs_is_given_up_in_time() {
    let (_dir, root) = root();
    let _listener = UnixListener::bind(root.real(Path::new(SOCKET))).unwrap();
    let started = Instant::now();
    assert!(matches!(
        client::status(&root),
        Err(ControlError::Silent { secs: 2 })
    ));
    assert!(started.elapsed() < Duration::from_millis(2_500));
}

#[test]
fn a_full_queue_does_not_hang_the_asker() {
    let (_dir, root) = root();
    let path = root.real(Path::new(SOCKET));
    let listener = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = crate::system::socket::connect(&path) {
        held.push(stream);
        assert!(held.len() < 100, "the queue never fills");
    }
    let started = Instant::now();
    assert!(matches!(
        client::status(&root),
        Err(ControlError::Silent { .. })
    ));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    let (_dir, root) = root();
    let told = with_server(&root, idle, |root| {
        let long = vec![b'x'; 80 * 1024];
        [
            raw(&root, b"hello\n"),
            raw(&root, b"{\"format\": 2, \"ask\": \"status\"}\n"),
            raw(&root, b"{\"format\": 1, \"ask\": \"reboot\"}\n"),
            raw(&root, &long),
            raw(&root, b"{\"format\": 1"),
        ]
    });
    insta::assert_snapshot!(told.concat());
}

#[test]
fn idle_connections_do_not_keep_others_out() {
    let (_dir, root) = root();
    with_server(&root, idle, |root| {
        let path = root.real(Path::new(SOCKET));
        let _idlers: Vec<_> = (0..20)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        // Each idler is thrown out after a second, eight at a time.
        std::thread::sleep(Duration::from_millis(2_100));
        client::status(&root).unwrap();
    });
}

#[test]
fn who_applies_hears_what_is_done_and_then_the_run() {
    let (_dir, root) = root();
    let behind = async |mut behind: DaemonSide| {
        let wish = behind.applies.recv().await.unwrap();
        assert!(wish.retry_quarantined);
        behind.doing.send_replace("asking the bucket".into());
        tokio::time::sleep(Duration::from_millis(50)).await;
        behind.doing.send_replace("checking httpd".into());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let applied = Applied {
            run: a_run(),
            refused: None,
            unreachable: Some("no route".into()),
        };
        wish.answer.send(Reply::Applied(Box::new(applied))).unwrap();
    };
    let (applied, heard) = with_server(&root, behind, |root| {
        let mut heard = Vec::new();
        let applied = client::apply(&root, true, &mut |doing| heard.push(doing.to_owned()));
        (applied.unwrap(), heard)
    });
    assert_eq!(applied.run, a_run());
    assert_eq!(applied.unreachable.as_deref(), Some("no route"));
    assert_eq!(heard, ["idle", "asking the bucket", "checking httpd"]);
}

#[test]
fn a_daemon_that_stops_tells_who_waits() {
    let (_dir, root) = root();
    let behind = async |mut behind: DaemonSide| drop(behind.applies.recv().await);
    let error = with_server(&root, behind, |root| {
        client::apply(&root, false, &mut |_| {}).unwrap_err()
    });
    assert!(
        error.to_string().starts_with("agentd is stopping"),
        "{error}"
    );
}

#[test]
fn a_root_too_deep_for_a_socket_address_works() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120));
    std::fs::create_dir_all(deep.join("run/agentd")).unwrap();
    let root = Root::under(&deep).unwrap();
    with_server(&root, idle, |root| client::status(&root).unwrap());
}
