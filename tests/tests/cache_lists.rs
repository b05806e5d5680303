//! Promise: node lists are what their clients read: PHP's sessions with both of its extensions, libmemcached.
//!
//! Real memcached on loopback, real PHP, the real library. Needs what `tests/setup` installs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, and what they share"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use node_agent::fleet::Pointer;
use node_agent::node::{CacheName, CacheView, View};
use node_agent::resource::{CacheLists, Resource, Wish};
use node_agent::system::platform::{Family, Platform};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

const NODES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

/// Stores fifty sessions, each in a request of its own as it were.
const SESSIONS: &str = r#"
for ($i = 0; $i < 50; $i++) {
    session_id("session$i");
    if (!session_start()) { exit(1); }
    $_SESSION["number"] = $i;
    session_write_close();
    $_SESSION = array();
    session_start();
    if ($_SESSION["number"] !== $i) { exit(2); }
    session_write_close();
}
echo "kept";
"#;

/// Reads a configuration file as libmemcached's clients do, and stores fifty values.
const LIBRARY: &str = r#"
import ctypes, sys
lib = ctypes.CDLL("libmemcached.so.11")
lib.memcached.restype = ctypes.c_void_p
lib.memcached_server_count.argtypes = [ctypes.c_void_p]
lib.memcached_set.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long, ctypes.c_uint32]
said = ('--CONFIGURE-FILE="%s"' % sys.argv[1]).encode()
servers = lib.memcached(said, ctypes.c_size_t(len(said)))
if not servers: sys.exit("not read")
for number in range(50):
    key = b"key%d" % number
    if lib.memcached_set(servers, key, len(key), b"x", 1, 0, 0) != 0: sys.exit("not stored")
print(lib.memcached_server_count(servers))
"#;

/// A list as the agent writes it, of `port` on both nodes or of the socket.
fn list(format: &str, port: u16, weights: &Value) -> String {
    let cache = json!({
        "port": port, "memory": "64M", "weights": weights,
        "list": {"path": "/etc/shop/nodes", "format": format},
    });
    let name = |text: &str| serde_json::from_value(text.into()).unwrap();
    let nodes = NODES.iter().zip(1..);
    let view = CacheView {
        cache: serde_json::from_value(cache).unwrap(),
        nodes: nodes
            .map(|(address, number)| (name(&format!("cache-{number}")), address.parse().unwrap()))
            .collect(),
        left_out: BTreeMap::new(),
        instance: false,
        origin: Pointer("/signed/products/shop/cache".into()),
    };
    let shop = CacheName {
        product: name("shop"),
        name: None,
    };
    let view = View {
        name: name("web-1"),
        server: serde_json::from_value(json!({"address": "127.0.0.3"})).unwrap(),
        groups: Vec::new(),
        users: Vec::new(),
        hosts: Vec::new(),
        withheld: Vec::new(),
        caches: BTreeMap::from([(shop, view)]),
        sites: Vec::new(),
        php: Vec::new(),
        cron: Vec::new(),
        packages: Vec::new(),
        services: Vec::new(),
        releases: Vec::new(),
        smoke: Vec::new(),
        masters: Vec::new(),
        files: Vec::new(),
    };
    let desired = CacheLists.desired(&view, &Platform::of(Family::Debian), &());
    assert!(desired.problems.is_empty(), "{:?}", desired.problems);
    match &desired.steps[0].wants[0].wish {
        Wish::File { text, .. } => text.exposed().to_owned(),
        other => panic!("a list is no {other:?}"),
    }
}

/// memcached on both nodes, until dropped.
async fn serve(port: u16) -> Vec<Child> {
    let mut servers = Vec::new();
    for address in NODES {
        let server = Command::new("/usr/bin/memcached")
            .args([
                "-u",
                "nobody",
                "-l",
                address,
                "-p",
                &port.to_string(),
                "-U",
                "0",
            ])
            .kill_on_drop(true)
            .spawn();
        servers.push(server.unwrap());
        for _ in 0..100 {
            if TcpStream::connect((address, port)).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    servers
}

/// How many values each node keeps.
fn kept(port: u16) -> Vec<u32> {
    let of = |address: &&str| {
        let mut stream = TcpStream::connect((*address, port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.write_all(b"stats\r\nquit\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let items = said
            .lines()
            .find_map(|line| line.strip_prefix("STAT curr_items "));
        items.unwrap().trim().parse().unwrap()
    };
    NODES.iter().map(of).collect()
}

async fn run(command: &mut Command) -> String {
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(30), ended).await;
    let output = output.unwrap().expect("what tests/setup installs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn sessions(dir: &Path, text: &str) -> String {
    tokio::fs::write(dir.join("zz-sessions.ini"), text)
        .await
        .unwrap();
    run(Command::new("/usr/bin/php")
        // The packages' own directory, then this one.
        .env("PHP_INI_SCAN_DIR", format!(":{}", dir.display()))
        .args([
            "-d",
            "session.use_cookies=0",
            "-d",
            "session.cache_limiter=",
            "-r",
            SESSIONS,
        ]))
    .await
}

#[tokio::test]
async fn sessions_and_values_lie_on_the_nodes_of_the_list() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let weights = json!({"cache-2": 4});
    for (port, format) in [(23_411, "php-session"), (23_412, "php-memcache-session")] {
        for weights in [json!({}), weights.clone()] {
            let servers = serve(port).await;
            let text = list(format, port, &weights);
            let said = sessions(dir, &text).await;
            assert_eq!(said, "kept", "{text}");
            let kept = kept(port);
            assert!(kept.iter().sum::<u32>() >= 50, "{format}: {kept:?}");
            assert!(
                kept.iter().all(|one| *one > 0),
                "{format} {weights}: {kept:?}"
            );
            for mut server in servers {
                server.kill().await.unwrap();
            }
        }
    }
    let port = 23_413;
    for weights in [json!({}), weights] {
        let _servers = serve(port).await;
        let file = dir.join("libmemcached.conf");
        tokio::fs::write(&file, list("libmemcached", port, &weights))
            .await
            .unwrap();
        let said = run(Command::new("/usr/bin/python3")
            .args(["-c", LIBRARY])
            .arg(&file))
        .await;
        assert_eq!(said, "2\n");
        let kept = kept(port);
        assert!(kept.iter().all(|one| *one > 0), "{kept:?}");
    }
}
