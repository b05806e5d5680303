//! Promise: with the archive, what is lost with all of a product's servers is seconds; a restore stops at the very transaction that is
//! wanted; whatever is killed, nothing is archived twice or left out, and a gap is noticed. On real `MariaDB` servers of the host's
//! package, with the S3 server of the tests.

#![cfg(test)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use node_agent::bucket::Bucket;
use node_agent::database::archive::reach::{ReachError, Target, reach};
use node_agent::database::archive::replay::replay;
use node_agent::database::archive::search::search;
use node_agent::database::archive::ship::{Shipper, Source as Shipped, Turn};
use node_agent::database::archive::{Gtid, Tips, segment, store};
use node_agent::database::server::{Session, Statement};
use node_agent::database::snapshot::prove::Ground;
use node_agent::database::snapshot::restore::{Extent, restore};
use node_agent::database::snapshot::retention::usual;
use node_agent::database::snapshot::take::{Source, take};
use node_agent::database::snapshot::worker::{EpochNow, Plan, Worker};
use node_agent::database::snapshot::{Manifest, catalog};
use node_agent::fleet::Name;
use node_agent::settings::{BucketUrl, S3Settings};
use node_agent::system::clock;
use node_agent_tests::database::{Alone, PEER, chain, pause, settled};
use node_agent_tests::machine::{built, run, wait_until};
use node_agent_tests::s3::S3Server;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_mins(3);

fn shop() -> Name {
    "shop".parse().unwrap()
}

fn shipper(server: &Alone) -> Shipper {
    Shipper::new(Shipped {
        product: shop(),
        server: "db-4".parse().unwrap(),
        place: server.local_place(),
    })
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

async fn snapshot(server: &Alone, bucket: &Bucket) -> Manifest {
    let source = source(server);
    take(&source, bucket, &|| Ok(3), &|_, _| ()).await.unwrap()
}

/// Ships until nothing is left.
async fn ship(shipper: &mut Shipper, bucket: &Bucket) -> Turn {
    loop {
        let turn = shipper.turn(bucket, 3).await.unwrap();
        if !turn.is_more {
            return turn;
        }
    }
}

/// What a writer was told: its last number at each transaction, and when.
type Told = Arc<Mutex<BTreeMap<u64, (Gtid, Instant)>>>;

/// Writes a row and hears the transaction's number.
async fn write(app: &Session, id: u64) -> Option<Gtid> {
    let sql = format!(
        "INSERT INTO shop.orders VALUES ({id}, REPEAT('x', {}))",
        id % 90
    );
    app.tell(&Statement::new(sql), SOON).await.ok()?;
    let asked = app
        .ask(&Statement::new("SELECT @@last_gtid AS gtid"), SOON)
        .await
        .ok()?;
    asked.first()?.get("gtid")?.parse().ok()
}

struct Writer {
    stop: Arc<AtomicBool>,
    told: Told,
    task: tokio::task::JoinHandle<()>,
}

/// Writes rows from `first` on until it is stopped, or the server is gone.
fn writer(server: &Alone, first: u64, told: &Told) -> Writer {
    let (stop, app) = (Arc::new(AtomicBool::new(false)), server.app());
    let task = {
        let (stop, told) = (Arc::clone(&stop), Arc::clone(told));
        tokio::spawn(async move {
            let mut id = first;
            while !stop.load(Ordering::Relaxed) {
                let Some(gtid) = write(&app, id).await else {
                    return;
                };
                told.lock().unwrap().insert(id, (gtid, Instant::now()));
                id += 1;
            }
        })
    };
    Writer {
        stop,
        told: Arc::clone(told),
        task,
    }
}

impl Writer {
    async fn until(&self, count: usize) {
        while self.told.lock().unwrap().len() < count {
            assert!(!self.task.is_finished(), "the writer has failed");
            pause(5).await;
        }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// A master, a replica that could take over, and the server that copies; with a bucket.
async fn world() -> (Vec<Alone>, Alone, S3Server, Bucket) {
    let mut chain = chain(3).await.unwrap();
    settled(&chain).await.unwrap();
    let copies = chain.pop().unwrap();
    // From the master, not from the one that could take over.
    copies
        .sql(&["STOP SLAVE", "RESET SLAVE ALL"])
        .await
        .unwrap();
    follow(&copies, &chain[0]).await;
    let s3 = S3Server::start().unwrap();
    let bucket = s3.store().agent(SOON);
    (chain, copies, s3, bucket)
}

async fn follow(server: &Alone, master: &Alone) {
    let (remote, source) = (master.remote(), master.source());
    server.local().follow(&remote, &source, SOON).await.unwrap();
    caught_up(server, master).await;
}

async fn caught_up(server: &Alone, master: &Alone) {
    let goal = master.local().position(SOON).await.unwrap();
    server.local().wait_has(&goal, SOON).await.unwrap();
}

/// Restores into a server of its own, and says what it has: rows and their digest, the last number, the position.
async fn restored(bucket: &Bucket, manifest: &Manifest, target: Target) -> (Vec<String>, Tips) {
    let fresh = Alone::start(9, &[]).unwrap();
    let extent = Extent {
        accounts: true,
        is_background: false,
    };
    let place = fresh.local_place();
    restore(bucket, manifest, &place, extent, &|_| ())
        .await
        .unwrap();
    let begin: Tips = manifest.gtid.parse().unwrap();
    let way = reach(bucket, &shop(), &begin, target).await.unwrap();
    let spool = fresh.dir().join("spool");
    replay(bucket, &shop(), &way, &begin, &place, &spool, &|_| ())
        .await
        .unwrap();
    assert!(!spool.exists());
    let said = fresh.value("SELECT @@GLOBAL.gtid_slave_pos").await.unwrap();
    assert_eq!(said, way.position.to_string());
    (content(&fresh).await, way.position)
}

async fn content(server: &Alone) -> Vec<String> {
    let mut all = Vec::new();
    for question in [
        "SELECT COUNT(*) AS x FROM shop.orders",
        "SELECT IFNULL(MAX(id), 0) AS x FROM shop.orders",
        "SELECT IFNULL(SUM(CRC32(CONCAT(id, note))), 0) AS x FROM shop.orders",
        "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY 1) AS x FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop'",
    ] {
        let rows = server.sql(&[question]).await.unwrap();
        all.push(rows[0].get("x").unwrap_or("NULL").to_owned());
    }
    all
}

fn agentctl(s3: &S3Server, dir: &Path, words: &[&str]) -> (bool, String) {
    let desk = dir.join("desk.toml");
    let text = format!(
        "fleet = \"s3://{}\"\n[s3]\nendpoint = \"{}\"\nregion = \"us-east-1\"\npath_style = true\n",
        s3.bucket, s3.endpoint
    );
    #[expect(clippy::disallowed_methods, reason = "a scratch file")]
    std::fs::write(&desk, text).unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_to_any_transaction_is_what_its_writer_was_told() {
    // More of them: docs/testing.md.
    let tries =
        std::env::var("TEST_ARCHIVE_POINTS").map_or(2, |text| text.parse::<usize>().unwrap());
    let (chain, copies, s3, bucket) = world().await;
    let master = &chain[0];
    let mut shipping = shipper(&copies);
    let begun = ship(&mut shipping, &bucket).await;
    assert_eq!(begun.gap.as_deref(), Some("the archive begins"));
    let told = Told::default();
    let writer = writer(master, 1000, &told);
    writer.until(40).await;
    let manifest = snapshot(&copies, &bucket).await;
    let mut seen = 0;
    for more in [120, 200, 280] {
        writer.until(more).await;
        seen += ship(&mut shipping, &bucket).await.bytes;
        // A new file, and an agent that was killed in between.
        copies.sql(&["FLUSH BINARY LOGS"]).await.unwrap();
        shipping = shipper(&copies);
    }
    let calm = clock::now();
    pause(2100).await;
    writer.stop().await;
    for sql in [
        "CREATE TABLE shop.gone (id INT PRIMARY KEY) ENGINE=InnoDB",
        "INSERT INTO shop.gone VALUES (1), (2)",
        "CREATE USER later@'10.%' IDENTIFIED BY 'hush'",
        "GRANT SELECT ON shop.* TO later@'10.%'",
        "DROP TABLE shop.gone",
    ] {
        master.sql(&[sql]).await.unwrap();
    }
    write(&master.app(), 7).await.unwrap();
    caught_up(&copies, master).await;
    let end = ship(&mut shipping, &bucket).await;
    seen += end.bytes;
    assert!(seen > 0 && end.gap.is_none(), "{end:?}");
    assert!(end.safe_until.is_some());

    // To its end it is the server that was copied.
    let (all, position) = restored(&bucket, &manifest, Target::End).await;
    assert_eq!(all, content(&copies).await);
    assert_eq!(position.to_string(), end.tips.to_string());
    // Just before any of the transactions it is what had been acknowledged.
    let points: Vec<(u64, Gtid)> = {
        let begin: Tips = manifest.gtid.parse().unwrap();
        let told = told.lock().unwrap();
        let later = told
            .iter()
            .filter(|(_, (gtid, _))| gtid.sequence > begin.of(0).unwrap().sequence);
        later.map(|(id, (gtid, _))| (*id, *gtid)).collect()
    };
    for turn in 0..tries {
        // All over them, and never the same.
        let (id, gtid) = points[(turn * 7919 + points.len() / 3) % points.len()];
        let (has, position) = restored(&bucket, &manifest, Target::Before(gtid)).await;
        assert_eq!(
            (has[0].as_str(), has[1].as_str()),
            (&*(id - 1000).to_string(), &*(id - 1).to_string())
        );
        assert_eq!(position.of(0).unwrap().sequence + 1, gtid.sequence);
    }
    // At a moment: nothing that was acknowledged two seconds later, everything of two seconds before.
    let begin: Tips = manifest.gtid.parse().unwrap();
    let way = reach(&bucket, &shop(), &begin, Target::At(calm))
        .await
        .unwrap();
    let (last, committed) = way.last.unwrap();
    assert!(
        committed <= calm && way.stop.unwrap().1 > calm,
        "{last} {committed} {calm}"
    );
    // What is not there, and what the snapshot has already.
    let beyond = reach(
        &bucket,
        &shop(),
        &begin,
        Target::Before("0-11-999999".parse().unwrap()),
    )
    .await;
    assert!(matches!(beyond, Err(ReachError::Short { .. })));
    let before = reach(
        &bucket,
        &shop(),
        &begin,
        Target::Before("0-11-2".parse().unwrap()),
    )
    .await;
    assert!(matches!(before, Err(ReachError::Beyond(_))));

    // A person: which one was it, and back to before it.
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    let found = search(&bucket, &shop(), "drop  TABLE", since, 10, &|_| ())
        .await
        .unwrap();
    assert_eq!((found.hits.len(), found.unread.len()), (1, 0), "{found:?}");
    let gtid = found.hits[0].gtid.to_string();
    let bare = TempDir::new().unwrap();
    let (done, said) = agentctl(&s3, bare.path(), &["db", "find", "shop", "drop table"]);
    assert!(done && said.contains(&format!("--before {gtid}")), "{said}");
    let (done, said) = agentctl(&s3, bare.path(), &["db", "find", "shop", "no such thing"]);
    assert!(!done && said.contains("--since"), "{said}");
    let into = bare.path().join("data").display().to_string();
    let words = [
        "db",
        "restore",
        "shop",
        "--into",
        &into,
        "--account",
        "root",
        "--memory",
        "16",
        "--before",
        &gtid,
    ];
    let (done, said) = agentctl(&s3, bare.path(), &[&words[..], &["--noop"]].concat());
    assert!(
        done && said.contains(&format!("it stops before {gtid}")),
        "{said}"
    );
    assert!(!Path::new(&into).exists());
    let (done, said) = agentctl(&s3, bare.path(), &words);
    let tip = found.hits[0].before.to_string();
    assert!(
        done && said.contains(&format!("gtid_slave_pos = '{tip}'")),
        "{said}"
    );
    assert!(Path::new(&into).join("shop/gone.ibd").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_the_archive_is_the_server_s_own_log_byte_for_byte() {
    let kills = std::env::var("TEST_ARCHIVE_KILLS").map_or(25, |text| text.parse::<u64>().unwrap());
    let (chain, copies, _s3, bucket) = world().await;
    ship(&mut shipper(&copies), &bucket).await;
    let told = Told::default();
    let writer = writer(&chain[0], 1, &told);
    let mut broken = 0;
    for turn in 0..kills {
        // An agent that was started, and ends at any point of its work.
        let mut shipping = shipper(&copies);
        let after = Duration::from_millis(turn * 97 % 700);
        broken += u64::from(
            tokio::time::timeout(after, shipping.turn(&bucket, 3))
                .await
                .is_err(),
        );
        if turn % 5 == 4 {
            copies.sql(&["FLUSH BINARY LOGS"]).await.unwrap();
        }
        pause(20).await;
    }
    writer.stop().await;
    caught_up(&copies, &chain[0]).await;
    let end = ship(&mut shipper(&copies), &bucket).await;
    assert_eq!(end.gap, None, "it began anew although nothing was missing");
    let logs = store::logs(&bucket, &shop()).await.unwrap();
    let (mut bytes, mut segments) = (0, 0);
    for log in &logs {
        let mut archived = Vec::new();
        for offset in store::offsets(&bucket, &shop(), log).await.unwrap() {
            assert_eq!(
                offset,
                archived.len() as u64,
                "a gap, or one twice, in {}",
                log.file
            );
            let (header, piece) = store::segment(&bucket, &shop(), log, offset)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(header.bytes, piece.len() as u64);
            archived.extend(piece);
            segments += 1;
        }
        let mut own = std::fs::read(copies.dir().join("data").join(&log.file)).unwrap();
        // One flag says whether a file is in use.
        own[21] = archived[21];
        assert!(archived == own, "{} is not as the server has it", log.file);
        bytes += own.len();
    }
    println!(
        "{kills} agents, {broken} of them killed at work: {bytes} bytes in {segments} segments of {} files",
        logs.len()
    );
    assert!(logs.len() as u64 > kills / 5 && broken > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_servers_are_lost_in_a_change_of_master_and_seconds_of_writes_with_them() {
    let (mut chain, copies, _s3, bucket) = world().await;
    let mut shipping = shipper(&copies);
    ship(&mut shipping, &bucket).await;
    let manifest = snapshot(&copies, &bucket).await;
    let told = Told::default();
    let first = writer(&chain[0], 1, &told);
    first.until(100).await;
    ship(&mut shipping, &bucket).await;
    // The master dies; the next one has all that the copying server has, which goes on with it.
    first.stop().await;
    let old = chain.remove(0);
    caught_up(&chain[0], &old).await;
    caught_up(&copies, &old).await;
    drop(old);
    chain[0]
        .sql(&["STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0"])
        .await
        .unwrap();
    copies
        .sql(&["STOP SLAVE", "RESET SLAVE ALL"])
        .await
        .unwrap();
    // Between the two masters it goes on, and does not say that more is safe.
    assert_eq!(shipping.turn(&bucket, 3).await.unwrap().safe_until, None);
    follow(&copies, &chain[0]).await;
    let second = writer(&chain[0], 1001, &told);
    second.until(150).await;
    ship(&mut shipping, &bucket).await;
    second.until(250).await;
    let shipped_at = Instant::now();
    ship(&mut shipping, &bucket).await;
    second.until(300).await;
    // Everything is gone.
    let died = Instant::now();
    second.stop().await;
    drop((chain, copies));
    let (has, position) = restored(&bucket, &manifest, Target::End).await;
    assert!(position.to_string().starts_with("0-12-"), "{position}");
    let last: u64 = has[1].parse().unwrap();
    let told = told.lock().unwrap();
    let kept = told.range(..=last).count();
    assert_eq!(has[0], kept.to_string(), "rows are missing in between");
    let lost = told
        .range(last + 1..)
        .filter(|(_, (_, at))| *at <= died)
        .count();
    let since = told[&last].1;
    println!(
        "{kept} of {} acknowledged writes restored, {lost} lost: the last {:?} before the end",
        told.len(),
        died - since
    );
    assert!(kept >= 250 && since + Duration::from_secs(1) >= shipped_at);
}

/// Takes away all that the server has logged so far.
async fn purge(server: &Alone) {
    // Servers of some versions keep what no replica has fetched, and others do not know that.
    let _ = server
        .sql(&["SET GLOBAL slave_connections_needed_for_purge = 0"])
        .await;
    server
        .sql(&["FLUSH BINARY LOGS", "FLUSH BINARY LOGS"])
        .await
        .unwrap();
    let rows = server.sql(&["SHOW MASTER STATUS"]).await.unwrap();
    let newest = rows[0].get("File").unwrap().to_owned();
    let purge = format!("PURGE BINARY LOGS TO '{newest}'");
    let until = Instant::now() + SOON;
    loop {
        // Files that a crash would need are kept for a moment.
        let left = server.sql(&[&purge, "SHOW BINARY LOGS"]).await.unwrap();
        if left.len() == 1 {
            return;
        }
        assert!(Instant::now() < until, "{left:?}");
        pause(200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_s_part_archives_proves_and_closes_a_gap_by_itself() {
    let (chain, copies, _s3, _) = world().await;
    let (store, drills) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let plan = Plan {
        product: shop(),
        every: Duration::from_hours(24 * 7),
        prove: Duration::from_secs(1),
        tiers: usual(),
        archive: true,
        source: source(&copies),
        ground: Ground {
            dir: drills.path().join("shop"),
            account: Some("root".to_owned()),
            memory: 16 << 20,
            archive: true,
            patience: LONG,
            me: "db-4".parse().unwrap(),
        },
        bucket: BucketUrl::Directory(store.path().into()),
        s3: settings(),
    };
    let app = chain[0].app();
    write(&app, 1).await.unwrap();
    let worker = Worker::start(plan.clone(), EpochNow(Arc::new(|| Ok(7)))).unwrap();
    let archived = |worker: &Worker| {
        worker
            .status()
            .and_then(|it| Some((it.archive.as_ref()?.safe_until?, it)))
    };
    wait_until("an archive and a snapshot that was restored", LONG, || {
        archived(&worker)
            .is_some_and(|(safe, it)| it.restorable.is_some() && it.safe_until() == safe)
    })
    .unwrap();
    let count = worker.status().unwrap().count;
    worker.stop(SOON).await;
    // While no agent ran, something was written and purged.
    write(&app, 2).await.unwrap();
    caught_up(&copies, &chain[0]).await;
    purge(&copies).await;
    let worker = Worker::start(plan.clone(), EpochNow(Arc::new(|| Ok(7)))).unwrap();
    wait_until("another snapshot, at once", LONG, || {
        archived(&worker).is_some_and(|(safe, it)| {
            it.count > count && it.safe_until() == safe && it.alarms(clock::now()).is_empty()
        })
    })
    .unwrap();
    worker.stop(SOON).await;
    let bucket = Bucket::open(&plan.bucket, &plan.s3).await;
    let found = catalog::list(&bucket, &shop()).await.unwrap();
    let proof = catalog::proof(&bucket, &shop(), &found[0].id)
        .await
        .unwrap()
        .unwrap();
    assert!(proof.archive.is_some(), "{proof:?}");
}

fn settings() -> S3Settings {
    S3Settings {
        endpoint: None,
        region: None,
        path_style: false,
        timeout: SOON,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_noticed_told_and_never_crossed() {
    let (chain, copies, _s3, bucket) = world().await;
    let mut shipping = shipper(&copies);
    let begun = ship(&mut shipping, &bucket).await;
    let manifest = snapshot(&copies, &bucket).await;
    let app = chain[0].app();
    for id in 1..20 {
        write(&app, id).await.unwrap();
    }
    caught_up(&copies, &chain[0]).await;
    ship(&mut shipping, &bucket).await;
    // While no agent runs, what it had not shipped is purged.
    for id in 20..30 {
        write(&app, id).await.unwrap();
    }
    caught_up(&copies, &chain[0]).await;
    purge(&copies).await;
    pause(1100).await;
    let again = ship(&mut shipper(&copies), &bucket).await;
    assert!(
        again.gap.is_some() && again.unbroken_since > begun.unbroken_since,
        "{again:?}"
    );
    write(&app, 30).await.unwrap();
    caught_up(&copies, &chain[0]).await;
    ship(&mut shipper(&copies), &bucket).await;
    let begin: Tips = manifest.gtid.parse().unwrap();
    let way = reach(&bucket, &shop(), &begin, Target::End).await.unwrap();
    assert!(way.gap.is_some(), "{way:?}");
    let (has, _) = restored(&bucket, &manifest, Target::End).await;
    assert_eq!(has[1], "19");
    // From a snapshot that is newer it goes on.
    let newer = snapshot(&copies, &bucket).await;
    write(&app, 31).await.unwrap();
    caught_up(&copies, &chain[0]).await;
    ship(&mut shipper(&copies), &bucket).await;
    let (has, _) = restored(&bucket, &newer, Target::End).await;
    assert_eq!(has[1], "31");

    // A segment that was changed, and one that is gone.
    let logs = store::logs(&bucket, &shop()).await.unwrap();
    let log = logs.last().unwrap();
    let offsets = store::offsets(&bucket, &shop(), log).await.unwrap();
    let key = segment::key(&shop(), log, offsets[1]);
    bucket.delete(&key, None).await.unwrap();
    let begin: Tips = newer.gtid.parse().unwrap();
    let way = reach(&bucket, &shop(), &begin, Target::End).await.unwrap();
    assert!(
        way.gap.unwrap().contains("lacks the bytes"),
        "a hole in a file"
    );
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

/// `cargo test --workspace --test database_archive -- --ignored --nocapture what_it_costs`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: docs/benchmarks.md"]
async fn what_it_costs() {
    let (chain, copies, _s3, _) = world().await;
    let store = TempDir::new().unwrap();
    let url = BucketUrl::Directory(store.path().into());
    let bucket = Bucket::open(&url, &settings()).await;
    let mut shipping = shipper(&copies);
    ship(&mut shipping, &bucket).await;
    let empty = snapshot(&copies, &bucket).await;
    // Rows that compress as texts do: two digests in hexadecimal digits, and as many spaces.
    for part in 0..20_u64 {
        let from = part * 50_000;
        let fill = format!(
            "INSERT INTO shop.orders SELECT seq + {from}, RPAD(SHA2(seq + {from}, 256), 100, ' ') FROM shop.seq_1_to_50000"
        );
        chain[0].sql(&[&fill]).await.unwrap();
    }
    caught_up(&copies, &chain[0]).await;
    let mib = |bytes: u64, took: Duration| {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = bytes as f64 / f64::from(1 << 20) / took.as_secs_f64();
        rate
    };
    let before = peak_mib();
    let began = Instant::now();
    let mut bytes = 0;
    loop {
        let turn = shipping.turn(&bucket, 3).await.unwrap();
        bytes += turn.bytes;
        if !turn.is_more {
            break;
        }
    }
    let took = began.elapsed();
    println!(
        "shipping {} MiB: {:.0} MiB/s; peak memory {before} -> {} MiB",
        bytes >> 20,
        mib(bytes, took),
        peak_mib()
    );
    let began = Instant::now();
    let manifest = snapshot(&copies, &bucket).await;
    let took = began.elapsed();
    println!(
        "a snapshot of {} MiB: {:.1} s, {:.0} MiB/s; peak memory {} MiB",
        manifest.bytes >> 20,
        took.as_secs_f64(),
        mib(manifest.bytes, took),
        peak_mib()
    );
    let socket = copies.socket().display().to_string();
    let file = store.path().join("plain.zst").display().to_string();
    let pipe = format!(
        "nice -n 19 mariadb-dump --no-defaults --socket={socket} -uroot --single-transaction --quick --hex-blob --databases shop | zstd -3 -q > {file}"
    );
    let began = Instant::now();
    assert!(run(&["sh", "-c", &pipe], b"", LONG).unwrap().success());
    println!(
        "mariadb-dump | zstd: {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    let (has, _) = restored(&bucket, &empty, Target::End).await;
    let took = began.elapsed();
    assert_eq!(has, content(&copies).await);
    println!(
        "an empty snapshot and {} MiB of the archive restored: {:.1} s, {:.0} MiB/s",
        bytes >> 20,
        took.as_secs_f64(),
        mib(bytes, took)
    );
}
