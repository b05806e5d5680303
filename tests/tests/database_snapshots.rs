//! Promise: a snapshot is what was committed at its position, or there is none; what is called restorable was restored; nothing is
//! ever restored over data. On real `MariaDB` servers of the host's package, with the S3 server of the tests.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node_agent::bucket::{Bucket, Fetched};
use node_agent::database::server::{Place, Session, Statement, Target};
use node_agent::database::snapshot::content::Scan;
use node_agent::database::snapshot::outgoing::Outgoing;
use node_agent::database::snapshot::prove::{Ground, ProveError, prove};
use node_agent::database::snapshot::restore::{Extent, RestoreError, check_empty, restore};
use node_agent::database::snapshot::retention::usual;
use node_agent::database::snapshot::take::{Source, TakeError, take};
use node_agent::database::snapshot::worker::{EpochNow, Plan, Worker};
use node_agent::database::snapshot::{Manifest, SnapshotId, catalog, id};
use node_agent::fleet::Name;
use node_agent::settings::{BucketUrl, S3Settings};
use node_agent_tests::database::{Alone, PEER, chain, insert, pause, settled};
use node_agent_tests::machine::{built, run, wait_until};
use node_agent_tests::proxy::{Mode, Proxy};
use node_agent_tests::s3::S3Server;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(10);
/// A restore on a busy machine.
const LONG: Duration = Duration::from_mins(2);

fn shop() -> Name {
    "shop".parse().unwrap()
}

fn source(server: &Alone) -> Source {
    Source {
        product: shop(),
        server: "db-4".parse().unwrap(),
        place: server.local_place(),
        own_accounts: vec!["root".to_owned(), PEER.0.to_owned()],
        max_lag: Duration::from_mins(1),
        upload_limit: None,
    }
}

fn ground(dir: &TempDir) -> Ground {
    Ground {
        dir: dir.path().join("shop"),
        account: Some("root".to_owned()),
        memory: 16 << 20,
        archive: false,
        patience: LONG,
        me: "db-4".parse().unwrap(),
    }
}

async fn snapshot(server: &Alone, bucket: &Bucket) -> Result<Manifest, TakeError> {
    take(&source(server), bucket, &|| Ok(3), &|_, _| ()).await
}

/// What a product may have: keys, bytes, definitions, odd names, accounts.
const WORLD: [&str; 13] = [
    "INSERT INTO shop.orders VALUES (1, 'one'), (2, 'zw\u{00f6}lf; ('')\\n')",
    "CREATE DATABASE `odd``name`",
    "CREATE DATABASE nothing_in_it",
    "CREATE TABLE `odd``name`.`b``b` (bytes VARBINARY(20), twice INT AS (LENGTH(bytes) * 2), f FLOAT, d DOUBLE) ENGINE=InnoDB",
    "INSERT INTO `odd``name`.`b``b` (bytes, f, d) VALUES (X'000A0D5C27FF1A', 1.1234567, 0.1), (NULL, NULL, NULL), ('', 0, -1e300)",
    "CREATE TABLE shop.no_rows (o BIGINT UNSIGNED, FOREIGN KEY (o) REFERENCES shop.orders (id)) ENGINE=InnoDB",
    "CREATE ROLE clerk",
    "GRANT SELECT ON shop.* TO clerk",
    "CREATE USER late@'10.%' IDENTIFIED BY 'hush'",
    "CREATE DEFINER = app@'%' TRIGGER shop.t BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.note = NEW.note",
    "CREATE VIEW shop.v AS SELECT id FROM shop.orders",
    "CREATE PROCEDURE shop.p()\r\nBEGIN\r\nINSERT INTO `orders` VALUES (7, 'in a body');\r\nEND",
    "CREATE DEFINER = app@'%' EVENT shop.hourly ON SCHEDULE EVERY 1 HOUR DO SELECT 1",
];

/// A master and the replica that is copied, with something in them, and a bucket.
async fn world() -> (Vec<Alone>, S3Server, Bucket) {
    let chain = chain(2).await.unwrap();
    for statement in WORLD {
        chain[0].sql(&[statement]).await.unwrap();
    }
    settled(&chain).await.unwrap();
    let s3 = S3Server::start().unwrap();
    let bucket = s3.store().agent(SOON);
    (chain, s3, bucket)
}

/// Everything that a restored server must have as the other one has it.
async fn content(server: &Alone) -> Vec<String> {
    let mut all = Vec::new();
    for question in [
        "SELECT CONCAT(id, HEX(note)) AS x FROM shop.orders ORDER BY id",
        "SELECT CONCAT_WS('|', HEX(bytes), twice, f, d) AS x FROM `odd``name`.`b``b` ORDER BY 1",
        "SELECT CONCAT(ROUTINE_NAME, DEFINER, HEX(ROUTINE_DEFINITION)) AS x FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'shop'",
        "SELECT CONCAT(TRIGGER_NAME, DEFINER, ACTION_STATEMENT) AS x FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop'",
        "SELECT CONCAT(EVENT_NAME, DEFINER, EVENT_DEFINITION) AS x FROM information_schema.EVENTS",
        "SELECT CONCAT(User, '@', Host, is_role, authentication_string) AS x FROM mysql.user ORDER BY 1",
        "SELECT CONCAT(GRANTEE, PRIVILEGE_TYPE, TABLE_SCHEMA) AS x FROM information_schema.SCHEMA_PRIVILEGES ORDER BY 1",
        "SELECT SCHEMA_NAME AS x FROM information_schema.SCHEMATA ORDER BY 1",
    ] {
        let rows = server.sql(&[question]).await.unwrap();
        all.extend(rows.iter().map(|row| format!("{row:?}")));
        all.push(format!("{} rows", rows.len()));
    }
    all
}

fn sequence(gtid: &str) -> u64 {
    gtid.rsplit('-').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_under_load_is_what_was_committed_at_its_position_and_replicates_from_there() {
    let (chain, _s3, bucket) = world().await;
    let (master, replica) = (&chain[0], &chain[1]);
    let before = master.local().position(SOON).await.unwrap().to_string();
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = {
        let (stop, acknowledged, app) =
            (Arc::clone(&stop), Arc::clone(&acknowledged), master.app());
        tokio::spawn(async move {
            let mut id = 1000;
            while !stop.load(Ordering::Relaxed) {
                insert(&app, id).await.unwrap();
                acknowledged.fetch_add(1, Ordering::Relaxed);
                id += 1;
            }
        })
    };
    while acknowledged.load(Ordering::Relaxed) < 50 {
        pause(5).await;
    }
    let manifest = snapshot(replica, &bucket).await.unwrap();
    let until = acknowledged.load(Ordering::Relaxed) + 20;
    while acknowledged.load(Ordering::Relaxed) < until {
        pause(5).await;
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();

    // Each write was one transaction, in this order.
    let writes = sequence(&manifest.gtid) - sequence(&before);
    assert!(
        writes >= 1,
        "nothing was written before the copy: {before} {}",
        manifest.gtid
    );
    assert!(writes < acknowledged.load(Ordering::Relaxed));
    let orders = &manifest.content.schemas["shop"].tables["orders"];
    assert_eq!(orders.rows, 2 + writes);
    assert_eq!((manifest.epoch, manifest.server_id), (3, 12));
    assert_eq!(manifest.empty, ["nothing_in_it"]);
    // The replica was not held up.
    settled(&chain).await.unwrap();

    let drills = TempDir::new().unwrap();
    let proof = prove(&bucket, &shop(), &manifest.id(), &ground(&drills))
        .await
        .unwrap();
    assert_eq!((proof.tables, proof.rows), manifest.content.size());
    assert!(proof.rows > writes);
    let found = catalog::list(&bucket, &shop()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].is_proven && found[0].has_manifest);
    let left: Vec<_> = std::fs::read_dir(drills.path().join("shop"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");

    // Into a server that has nothing: then it follows the master from there, and is equal.
    let fresh = Alone::start(9, &[]).unwrap();
    let extent = Extent {
        accounts: true,
        is_background: false,
    };
    let restored = restore(&bucket, &manifest, &fresh.local_place(), extent, &|_| ())
        .await
        .unwrap();
    assert_eq!((restored.tables, restored.rows), manifest.content.size());
    let ids = fresh
        .value("SELECT CONCAT(COUNT(*), ' ', MAX(id)) FROM shop.orders")
        .await
        .unwrap();
    assert_eq!(ids, format!("{} {}", 2 + writes, 999 + writes));
    fresh
        .local()
        .follow(&master.remote(), &master.source(), SOON)
        .await
        .unwrap();
    let goal = master.local().position(SOON).await.unwrap();
    fresh.local().wait_has(&goal, SOON).await.unwrap();
    fresh.sql(&["STOP SLAVE", "RESET SLAVE ALL"]).await.unwrap();
    assert_eq!(content(&fresh).await, content(replica).await);
    // And it is not restored over what it has now.
    let refused = restore(&bucket, &manifest, &fresh.local_place(), extent, &|_| ())
        .await
        .unwrap_err();
    assert!(matches!(refused, RestoreError::Refused(_)), "{refused}");

    // An account that is there already keeps its password and its rights: grants stand apart from what makes accounts.
    let own = Alone::start(8, &[]).unwrap();
    own.sql(&[
        "SET SESSION sql_log_bin = 0",
        "CREATE USER late@'10.%' IDENTIFIED BY 'another'",
        "GRANT INSERT ON *.* TO late@'10.%'",
    ])
    .await
    .unwrap();
    let grants = async || {
        format!(
            "{:?}",
            own.sql(&["SHOW GRANTS FOR late@'10.%'"]).await.unwrap()
        )
    };
    let before = grants().await;
    let restored = restore(&bucket, &manifest, &own.local_place(), extent, &|_| ())
        .await
        .unwrap();
    // Each once; the other one every server of the tests has.
    assert_eq!(restored.accounts_left, ["'app'@'%'", "'late'@'10.%'"]);
    assert_eq!(grants().await, before);
}

#[tokio::test]
async fn a_server_that_has_anything_is_never_restored_into() {
    let chain = chain(2).await.unwrap();
    let refused = async |server: &Alone| match check_empty(&server.local_place()).await {
        Err(RestoreError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&chain[1]).await.contains("replicates"));
    assert!(refused(&chain[0]).await.contains("has databases (shop)"));
    let fresh = Alone::start(9, &[]).unwrap();
    check_empty(&fresh.local_place()).await.unwrap();
    fresh
        .sql(&["CREATE DATABASE gone", "DROP DATABASE gone"])
        .await
        .unwrap();
    assert!(refused(&fresh).await.contains("a history of its own"));
}

#[tokio::test]
async fn what_cannot_be_a_copy_of_one_moment_is_not_kept() {
    let (chain, s3, bucket) = world().await;
    let (master, replica) = (&chain[0], &chain[1]);
    let told = |done: Result<Manifest, TakeError>| done.unwrap_err().to_string();

    // A table is altered while the dump runs.
    let altered = AtomicBool::new(false);
    let progress = |_, _| {
        if !altered.swap(true, Ordering::Relaxed) {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        // CREATE_TIME has whole seconds.
                        pause(1100).await;
                        let alter =
                            "ALTER TABLE shop.no_rows ADD COLUMN more INT, ALGORITHM = COPY";
                        master.sql(&[alter]).await.unwrap();
                        settled(&chain).await.unwrap();
                    });
                });
            });
        }
    };
    let done = take(&source(replica), &bucket, &|| Ok(3), &progress).await;
    assert!(told(done).contains("shop.no_rows"), "{:?}", s3.keys());
    // The master changes meanwhile.
    let asked = AtomicU64::new(0);
    let epoch = || Ok(3 + asked.fetch_add(1, Ordering::Relaxed));
    let done = take(&source(replica), &bucket, &epoch, &|_, _| ()).await;
    assert!(told(done).contains("the master changed meanwhile"));
    assert!(s3.keys().is_empty(), "{:?}", s3.keys());
    // What is not in InnoDB, a replica that has stopped, a server that is none.
    master
        .sql(&["CREATE TABLE shop.m (id INT) ENGINE=MyISAM"])
        .await
        .unwrap();
    settled(&chain).await.unwrap();
    assert!(told(snapshot(replica, &bucket).await).contains("shop.m"));
    replica.sql(&["STOP SLAVE SQL_THREAD"]).await.unwrap();
    assert!(told(snapshot(replica, &bucket).await).contains("does not apply"));
    assert!(told(snapshot(master, &bucket).await).contains("replicates from nobody"));
    assert!(s3.keys().is_empty(), "{:?}", s3.keys());
    assert!(bucket.pending_uploads("").await.unwrap().is_empty());
}

/// The dump that reads this server, once there is one.
fn dump_of(server: &Alone) -> Option<i32> {
    let socket = server.socket().display().to_string();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.find(|id| {
        let words = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        words.contains("-dump") && words.contains(&socket)
    })
}

/// All manifests in the bucket name objects that are there, whole, as they say.
fn check_manifests(s3: &S3Server) -> usize {
    let mut whole = 0;
    for key in s3.keys() {
        let Some((snapshot, id::MANIFEST)) = id::parse_key(&shop(), &key) else {
            continue;
        };
        let manifest = Manifest::read(&s3.get(&key).unwrap(), &shop(), &snapshot).unwrap();
        for (name, facts) in &manifest.objects {
            let object = s3.get(&id::key(&shop(), &snapshot, name)).unwrap();
            assert_eq!(object.len() as u64, facts.bytes);
            assert_eq!(
                node_agent::system::digest::sha256_hex(&object),
                facts.sha256
            );
        }
        whole += 1;
    }
    whole
}

#[tokio::test]
async fn whatever_is_killed_there_is_no_manifest_without_its_copy_and_the_next_run_clears_up() {
    // More of them: docs/testing.md.
    let tries = std::env::var("TEST_SNAPSHOT_KILLS").map_or(8, |text| text.parse::<u32>().unwrap());
    let (mut chain, s3, bucket) = world().await;
    // Some 20 MB, which compress badly: several parts.
    let fill = "INSERT INTO shop.orders SELECT seq + 10, CONCAT(SHA2(seq, 256), LEFT(SHA2(-seq, 256), 30)) FROM shop.seq_1_to_200000";
    chain[0].sql(&[fill]).await.unwrap();
    settled(&chain).await.unwrap();
    let mut ends: BTreeSet<&str> = BTreeSet::new();
    for turn in 0..tries {
        let replica = &chain[1];
        let source = Source {
            server: "db-4".parse().unwrap(),
            ..source(replica)
        };
        let after = Duration::from_millis(u64::from(turn) * 97 % 1500);
        let epoch = || Ok(u64::from(turn));
        let taking = take(&source, &bucket, &epoch, &|_, _| ());
        let end = match turn % 4 {
            // The agent: nothing of what it would do afterwards is done.
            0 => tokio::time::timeout(after, taking)
                .await
                .map_or(
                    "agent",
                    |done| if done.is_ok() { "whole" } else { "failed" },
                ),
            // The tool.
            1 => {
                let killing = async {
                    tokio::time::sleep(after / 2).await;
                    for _ in 0..100 {
                        if let Some(id) = dump_of(replica) {
                            kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
                            return;
                        }
                        pause(10).await;
                    }
                };
                let (done, ()) = tokio::join!(taking, killing);
                if done.is_ok() { "whole" } else { "tool" }
            }
            // The database server.
            2 => {
                let (done, ()) = tokio::join!(taking, async {
                    tokio::time::sleep(after).await;
                    replica.signal(Signal::SIGKILL).unwrap();
                });
                chain[1].restart().unwrap();
                chain[1].sql(&["START SLAVE"]).await.unwrap();
                settled(&chain).await.unwrap();
                if done.is_ok() { "whole" } else { "server" }
            }
            // What the bucket has of it vanishes under the agent's hands.
            _ => {
                let (done, ()) = tokio::join!(taking, async {
                    tokio::time::sleep(after).await;
                    for upload in bucket.pending_uploads("").await.unwrap() {
                        bucket.abort_upload(&upload).await.unwrap();
                    }
                });
                if done.is_ok() { "whole" } else { "bucket" }
            }
        };
        ends.insert(end);
        check_manifests(&s3);
        // A second's grain: no two have one name.
        pause(200).await;
    }
    // The last one is surely killed in the middle of its upload.
    {
        let source = source(&chain[1]);
        let taking = take(&source, &bucket, &|| Ok(99), &|_, _| ());
        let begun = async {
            while bucket.pending_uploads("").await.unwrap().is_empty() {
                pause(5).await;
            }
        };
        tokio::select! {
            done = taking => panic!("too fast for this test: {done:?}"),
            () = begun => {}
        }
    }
    assert!(!bucket.pending_uploads("").await.unwrap().is_empty());
    println!("{tries} tries ended so: {ends:?}");
    for wanted in ["agent", "tool", "server"] {
        assert!(ends.contains(wanted), "{ends:?}");
    }
    let manifest = snapshot(&chain[1], &bucket).await.unwrap();
    assert!(bucket.pending_uploads("").await.unwrap().is_empty());
    let with_manifest = check_manifests(&s3);
    let found = catalog::list(&bucket, &shop()).await.unwrap();
    assert!(found.iter().all(|found| found.has_manifest), "{found:?}");
    assert_eq!(found.len(), with_manifest);
    assert_eq!(
        manifest.content.schemas["shop"].tables["orders"].rows,
        200_002
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_fails_now_and_then_has_whole_snapshots_or_none() {
    let (chain, s3, bucket) = world().await;
    let proxy = Proxy::start(s3.address).unwrap();
    let behind = s3.client(&proxy.endpoint, Duration::from_secs(2));
    let modes = [
        Mode::Status(503),
        Mode::Reset,
        Mode::LostReply,
        Mode::Twice,
        Mode::Corrupt,
    ];
    let mut whole = 0;
    for turn in 0..10_usize {
        let mode = modes[turn % modes.len()].clone();
        let failing = async {
            loop {
                proxy.set(mode.clone());
                pause(60).await;
                proxy.set(Mode::Pass);
                pause(250).await;
            }
        };
        let epoch = move || Ok(turn as u64);
        let source = source(&chain[1]);
        let done = tokio::select! {
            done = take(&source, &behind, &epoch, &|_, _| ()) => done,
            () = failing => unreachable!("it has no end"),
        };
        proxy.set(Mode::Pass);
        whole += usize::from(done.is_ok());
        // Of what was said to be taken there is a manifest, and of what was not there may be one whose answer was lost.
        assert!(check_manifests(&s3) >= whole, "{done:?}");
    }
    println!("{whole} of 10 were taken while the bucket failed");
    assert!(whole > 0, "the faults were too many to see anything");
    // Of an epoch of its own: all of it may have been within one second.
    let last = take(&source(&chain[1]), &bucket, &|| Ok(99), &|_, _| ()).await;
    last.unwrap();
    assert!(bucket.pending_uploads("").await.unwrap().is_empty());
    let found = catalog::list(&bucket, &shop()).await.unwrap();
    assert!(found.iter().all(|found| found.has_manifest), "{found:?}");
}

#[tokio::test]
async fn a_drill_notices_what_was_damaged() {
    let (chain, s3, bucket) = world().await;
    let drills = TempDir::new().unwrap();
    let manifest = snapshot(&chain[1], &bucket).await.unwrap();
    let snapshot = manifest.id();
    let manifest_key = id::key(&shop(), &snapshot, id::MANIFEST);
    let dump_key = id::key(&shop(), &snapshot, id::DUMP);
    let (text, dump) = (s3.get(&manifest_key).unwrap(), s3.get(&dump_key).unwrap());
    let damage = async || match prove(&bucket, &shop(), &snapshot, &ground(&drills)).await {
        Err(ProveError::Damaged(why)) => why,
        other => panic!("not noticed: {other:?}"),
    };

    let mut flipped = dump.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    s3.put(&dump_key, flipped);
    let why = damage().await;
    assert!(
        why.contains("decompressed") || why.contains("SHA-256"),
        "{why}"
    );
    s3.put(&dump_key, dump.clone());

    // One at which the client gives up before its end: that is no fault of the server.
    let mut outgoing = Outgoing::begin(&bucket, "scratch/no-sql", None)
        .await
        .unwrap();
    outgoing
        .write(&b"this is no statement;\n".repeat(400_000))
        .await
        .unwrap();
    outgoing.finish().await.unwrap();
    s3.put(&dump_key, s3.get("scratch/no-sql").unwrap());
    let why = damage().await;
    assert!(why.contains("SHA-256"), "{why}");
    s3.put(&dump_key, dump.clone());

    // A manifest that says of the rows what is not so.
    let mut other = manifest.clone();
    let tables = &mut other.content.schemas.get_mut("shop").unwrap().tables;
    tables.get_mut("orders").unwrap().digest = "0".repeat(32);
    s3.put(&manifest_key, serde_json::to_vec(&other).unwrap());
    assert!(damage().await.contains("shop.orders has other rows"));

    // A copy that is whole and says what its manifest says, and yet is something else once it is restored.
    s3.delete(&dump_key);
    let forged = "-- Current Database: `shop`\nCREATE DATABASE `shop`;\nUSE `shop`;\n-- Dumping data for table `orders`\n\
        CREATE TABLE `orders` (id INT PRIMARY KEY, note VARCHAR(9)) ENGINE=InnoDB;\n\
        INSERT INTO `orders` VALUES (1,'a');\nUPDATE `orders` SET note = 'b';\n-- Dump completed\n";
    let mut outgoing = Outgoing::begin(&bucket, &dump_key, None).await.unwrap();
    outgoing.write(forged.as_bytes()).await.unwrap();
    let uploaded = outgoing.finish().await.unwrap();
    let mut scan = Scan::default();
    scan.feed(forged.as_bytes());
    let other = Manifest {
        objects: [(id::DUMP.to_owned(), uploaded.object)].into(),
        bytes: uploaded.bytes,
        content: scan.finish().unwrap(),
        ..manifest.clone()
    };
    s3.put(&manifest_key, serde_json::to_vec(&other).unwrap());
    let why = damage().await;
    assert!(why.contains("shop.orders has other rows"), "{why}");

    s3.put(&manifest_key, text);
    s3.delete(&dump_key);
    damage().await;
    assert!(
        !s3.keys().iter().any(|key| key.ends_with(id::PROOF)),
        "{:?}",
        s3.keys()
    );
    s3.put(&dump_key, dump);
    prove(&bucket, &shop(), &snapshot, &ground(&drills))
        .await
        .unwrap();
    assert!(s3.keys().iter().any(|key| key.ends_with(id::PROOF)));
}

fn plan(server: &Alone, store: &TempDir, drills: &TempDir) -> Plan {
    Plan {
        product: shop(),
        // No slot begins during the test, or one test of some ten thousand.
        every: Duration::from_hours(24 * 7),
        prove: Duration::from_hours(1),
        tiers: usual(),
        archive: false,
        source: source(server),
        ground: ground(drills),
        bucket: BucketUrl::Directory(store.path().into()),
        s3: S3Settings {
            endpoint: None,
            region: None,
            path_style: false,
            timeout: SOON,
        },
    }
}

fn agentctl(s3: &S3Server, dir: &Path, words: &[&str]) -> (bool, String) {
    let desk = dir.join("desk.toml");
    let text = format!(
        "fleet = \"s3://{}\"\n[s3]\nendpoint = \"{}\"\nregion = \"us-east-1\"\npath_style = true\n",
        s3.bucket, s3.endpoint
    );
    write(&desk, &text);
    let env = s3.env().map(|(name, value)| format!("{name}={value}"));
    let program = built("agentctl").unwrap().display().to_string();
    let desk = desk.display().to_string();
    let mut argv: Vec<&str> = vec!["env"];
    argv.extend(env.iter().map(String::as_str));
    argv.push(&program);
    argv.extend(words);
    argv.extend(["--desk", &desk]);
    let output = run(&argv, b"", LONG).unwrap();
    (
        output.success(),
        format!("{}{}", output.stdout, output.stderr),
    )
}

#[expect(clippy::disallowed_methods, reason = "a scratch file")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A person's own server on a restored directory.
fn serve(data: &Path, socket: &Path) -> Server {
    let child = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "mariadbd",
            "--no-defaults",
            "--user=root",
            "--skip-networking",
        ])
        .args([
            "--log-bin=binlog",
            "--server-id=77",
            "--gtid-strict-mode=1",
            "--read-only=1",
        ])
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--socket={}", socket.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    wait_until("the restored server", LONG, || {
        std::os::unix::net::UnixStream::connect(socket).is_ok()
    })
    .unwrap();
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_s_part_takes_and_proves_and_a_bare_machine_restores_by_agentctl() {
    let (chain, s3, bucket) = world().await;
    let drills = TempDir::new().unwrap();
    // Its threads read no environment of ours: a directory is a bucket too, and asks for no credentials.
    let store = TempDir::new().unwrap();
    let plan = plan(&chain[1], &store, &drills);
    let worker = Worker::start(plan.clone(), EpochNow(Arc::new(|| Ok(7)))).unwrap();
    let status = || worker.status();
    wait_until("a restorable snapshot", LONG, || {
        status().is_some_and(|it| it.restorable.is_some())
    })
    .unwrap();
    let first = status().unwrap();
    assert_eq!(first.count, 1);
    assert_eq!(first.newest, first.restorable);
    assert!(
        first.failure.is_none() && first.drill_failure.is_none(),
        "{first:?}"
    );
    // Not another one in the same slot, but at a person's word.
    pause(1500).await;
    assert_eq!(status().unwrap().count, 1);
    let said = worker.handle().take_now().await.unwrap();
    assert!(said.contains("-e7-db-4"), "{said}");
    assert_eq!(status().unwrap().count, 2);
    // A restart goes by what is in the bucket.
    worker.stop(SOON).await;
    let worker = Worker::start(plan, EpochNow(Arc::new(|| Ok(7)))).unwrap();
    wait_until("the bucket's list", SOON, || {
        worker.status().is_some_and(|it| it.count == 2)
    })
    .unwrap();
    pause(1500).await;
    assert_eq!(worker.status().unwrap().count, 2);
    worker.stop(SOON).await;

    // A machine with a bucket, a key and MariaDB's programs.
    let manifest = snapshot(&chain[1], &bucket).await.unwrap();
    let bare = TempDir::new().unwrap();
    let (done, said) = agentctl(&s3, bare.path(), &["db", "snapshots"]);
    assert!(
        done && said.contains(&manifest.id().to_string()) && said.contains("not tried"),
        "{said}"
    );
    let into = bare.path().join("data");
    let data = into.display().to_string();
    let (done, said) = agentctl(
        &s3,
        bare.path(),
        &[
            "db",
            "restore",
            "shop",
            "--into",
            &data,
            "--account",
            "root",
            "--noop",
        ],
    );
    assert!(
        done && said.contains("nothing was done") && !into.exists(),
        "{said}"
    );
    let (done, said) = agentctl(
        &s3,
        bare.path(),
        &[
            "db",
            "restore",
            "shop",
            "--into",
            &data,
            "--account",
            "root",
            "--memory",
            "16",
        ],
    );
    assert!(done, "{said}");
    assert!(
        said.contains(&format!("SET GLOBAL gtid_slave_pos = '{}'", manifest.gtid)),
        "{said}"
    );
    assert!(!bare.path().join("data.restoring").exists());
    let socket = bare.path().join("s");
    let _server = serve(&into, &socket);
    let place = Place {
        target: Target::Socket(socket),
        ..chain[1].local_place()
    };
    let session = Session::new(place, Vec::new());
    let question = Statement::new(
        "SELECT CONCAT(COUNT(*), ' ', @@global.gtid_slave_pos, ' ', (SELECT COUNT(*) FROM mysql.user WHERE User IN ('late', 'clerk', 'app'))) AS x FROM shop.orders",
    );
    let rows = session.ask(&question, SOON).await.unwrap();
    assert_eq!(rows[0].get("x").unwrap(), format!("2 {} 3", manifest.gtid));
    // Never over data.
    let (done, said) = agentctl(
        &s3,
        bare.path(),
        &[
            "db",
            "restore",
            "shop",
            "--into",
            &data,
            "--account",
            "root",
        ],
    );
    assert!(!done && said.contains("is not empty"), "{said}");
    let (done, said) = agentctl(
        &s3,
        bare.path(),
        &[
            "db",
            "restore",
            "shop",
            "--socket",
            &chain[0].socket().display().to_string(),
        ],
    );
    assert!(!done && said.contains("has databases"), "{said}");
    // Nothing of one snapshot alone may go.
    let (done, said) = agentctl(
        &s3,
        bare.path(),
        &["db", "prune", "shop", "--keep", "1h=1h", "--yes"],
    );
    assert!(done && said.contains("kept: the newest"), "{said}");
    let key = id::key(&shop(), &manifest.id(), id::MANIFEST);
    assert!(matches!(
        bucket.get(&key, None, 1 << 20).await,
        Ok(Fetched::Object { .. })
    ));
    let unknown: SnapshotId = "20260101T000000Z-e1-db-4".parse().unwrap();
    let (done, said) = agentctl(
        &s3,
        bare.path(),
        &[
            "db",
            "restore",
            "shop",
            "--into",
            "/nowhere",
            "--snapshot",
            &unknown.to_string(),
        ],
    );
    assert!(
        !done && said.contains("agentctl db snapshots shop"),
        "{said}"
    );
}
