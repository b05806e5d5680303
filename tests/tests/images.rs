//! Images that `packaging/image/bake` makes: clones boot from them as servers of their own, nearly converged, and nothing
//! of the machine that was baked on is in them.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, Output, agent_config, built, disks,
    image_root, run, wait_until, with_credentials,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(40);
const BAKING: Duration = Duration::from_secs(200);

fn fleet(version: u64) -> Value {
    let mut document: Value =
        serde_json::from_str(include_str!("../fleets/five.json")).unwrap_or_default();
    document["signed"]["version"] = json!(version);
    document
}

/// What a person has on the desk: the document and the machines' configuration.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new(config: &str) -> Self {
        let desk = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        desk.put("fleet.json", &fleet(3).to_string());
        desk.put("agentd.toml", config);
        desk
    }

    #[expect(clippy::disallowed_methods, reason = "a person at a desk")]
    fn put(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn bake(&self, from: &[&str], role: &str, server: &str, more: &[&str]) -> Output {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/image/bake");
        let programs = built("agentd").unwrap().parent().unwrap().to_owned();
        let config = self.dir.path().join("agentd.toml");
        let fleet = format!("file://{}", self.dir.path().display());
        let mut argv = vec![script];
        argv.extend(from);
        argv.extend(["--binaries", programs.to_str().unwrap(), "--role", role]);
        argv.extend(["--config", config.to_str().unwrap(), "--fleet", &fleet]);
        argv.extend(["--as", server]);
        argv.extend(more);
        run(&argv, b"", BAKING).unwrap()
    }
}

fn status(machine: &Machine) -> Value {
    machine
        .run(&["agentctl", "status", "--output", "json"])
        .ok()
        .and_then(|said| serde_json::from_str(&said.stdout).ok())
        .unwrap_or_default()
}

#[track_caller]
fn see(machine: &Machine, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Duration {
    let what = format!("{}: {what}", machine.name());
    wait_until(&what, SOON, || holds(&status(machine))).unwrap_or_else(|e| {
        let log = machine.journal("agentd.service").unwrap_or_default();
        panic!("{e}\n{:#}\n{log}", status(machine))
    })
}

fn clone_of(image: Image, disk: &Path, name: &str, address: &str) -> MachineSpec {
    with_credentials(MachineSpec::new(name, image, address).disk(disk))
        .file("/srv/shop/current/public/index.html", "the shop")
        .file("/srv/video/current/public/index.html", "the videos")
}

/// Every file of an image in which these words stand.
fn mentions(root: &Path, words: &str) -> Vec<PathBuf> {
    let dirs = ["etc", "var", "root", "home", "srv"].map(|dir| root.join(dir));
    let mut argv = vec!["grep", "-rIlsF", words];
    argv.extend(dirs.iter().filter_map(|dir| dir.to_str()));
    let said = run(&argv, b"", SOON).unwrap();
    said.stdout.lines().map(PathBuf::from).collect()
}

#[test]
fn clones_of_a_baked_image_are_servers_of_their_own() {
    for image in Image::ALL {
        let desk = Desk::new(&agent_config(""));
        let disks = disks().unwrap();
        let result = disks.path().join("web");
        let from = image_root(image).unwrap();
        let start = Instant::now();
        let said = desk.bake(
            &["--from", from.to_str().unwrap()],
            "web",
            "web-1",
            &["--result", result.to_str().unwrap()],
        );
        assert!(said.success(), "{said:?}");
        println!("{image:?}: baked in {:?}", start.elapsed());
        nothing_of_the_template_is_left(&result);
        let left: Vec<_> = fs::read_dir(disks.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");

        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&self::fleet(4)).unwrap();
        let clones = fleet
            .boot_all(vec![
                clone_of(image, &result, "web-1", "10.77.0.11"),
                clone_of(image, &result, "web-2", "10.77.0.12"),
            ])
            .unwrap();
        for clone in &clones {
            see(clone, "version 4 to be true", |status| {
                status["health"] == "converged" && status["document"]["version"] == 4
            });
            let url = format!("http://{}/", clone.address());
            let shop = clone.get(&url, Some("shop.example.com"));
            assert_eq!(shop.unwrap(), (200, "the shop".into()));
            // Nobody had broken anything: what the first run brought is no repair.
            assert_eq!(status(clone)["counters"]["repairs"], 0);
            assert!(clone.exists("/etc/cron.d/agentd-shop_tick"));
            let current = if image == Image::Debian {
                "/etc/apache2/agentd/current"
            } else {
                "/etc/httpd/agentd/current"
            };
            // Wherever the disk is mounted, the link means the same.
            let target = clone.must(&["readlink", current]).unwrap();
            assert!(!target.contains('/'), "{target}");
        }
        let [first, second] = clones.as_slice() else {
            panic!("asked for two machines");
        };
        // The second carries less than the server that the image was baked as.
        assert!(first.exists("/etc/video/memcached.php"));
        assert!(!second.exists("/etc/video"));
        assert!(first.exists("/etc/cron.d/agentd-shop_digest"));
        assert!(!second.exists("/etc/cron.d/agentd-shop_digest"));
        let id = |machine: &Machine| machine.read("/etc/machine-id").unwrap();
        assert_eq!(id(first).trim().len(), 32);
        assert_ne!(id(first), id(second));
    }
}

/// What the script promises of its result, looked at by other means than its own.
#[track_caller]
fn nothing_of_the_template_is_left(root: &Path) {
    assert_eq!(fs::read_to_string(root.join("etc/machine-id")).unwrap(), "");
    assert!(!root.join("etc/hostname").exists());
    let mut state: Vec<String> = fs::read_dir(root.join("var/lib/agentd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    state.sort();
    assert_eq!(
        state,
        ["document.json", "document.meta.json", "ledger.json"]
    );
    let jobs = fs::read_dir(root.join("etc/cron.d")).unwrap().flatten();
    let jobs: Vec<_> = jobs
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("agentd-"))
        .collect();
    assert!(jobs.is_empty(), "{jobs:?}");
    // The sites are prepared, and not in use before a clone has tested them.
    let apache = ["etc/httpd", "etc/apache2"].map(|dir| root.join(dir).join("agentd"));
    let apache = apache.iter().find(|path| path.is_dir()).unwrap();
    let generations: Vec<_> = fs::read_dir(apache).unwrap().flatten().collect();
    assert_eq!(generations.len(), 1, "{generations:?}");
    assert!(generations[0].path().join("shop_www.conf").is_file());
    let wants = root.join("etc/systemd/system/multi-user.target.wants/agentd.service");
    assert!(wants.is_symlink(), "not started at boot");
    // Nothing knows where it was baked.
    assert_eq!(
        mentions(root, root.to_str().unwrap()),
        Vec::<PathBuf>::new()
    );
    let logs = run(
        &["find", root.join("var/log").to_str().unwrap(), "-type", "f"],
        b"",
        SOON,
    );
    assert_eq!(logs.unwrap().stdout, "");
    // Whoever baked owns what the agent wrote: root, here and on every clone.
    for path in [
        "etc/hosts",
        "etc/shop/memcached.json",
        "var/lib/agentd/ledger.json",
    ] {
        let meta = fs::metadata(root.join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (0, 0), "{path}");
    }
}

/// A site that the image's Apache cannot serve: on a bare Debian it has no module for headers.
#[test]
fn a_clone_tests_the_baked_sites_before_apache_reads_them() {
    let desk = Desk::new(&agent_config(""));
    let mut document = fleet(3);
    document["signed"]["products"]["shop"]["sites"]["www"]["headers"] = json!({"X-Shop": "1"});
    desk.put("fleet.json", &document.to_string());
    let disks = disks().unwrap();
    let result = disks.path().join("web");
    let from = image_root(Image::Debian).unwrap();
    let said = desk.bake(
        &["--from", from.to_str().unwrap()],
        "web",
        "web-2",
        &["--result", result.to_str().unwrap()],
    );
    assert!(said.success(), "{said:?}");
    let fleet = Fleet::new().unwrap();
    let clone = fleet
        .boot(clone_of(Image::Debian, &result, "web-2", "10.77.0.12"))
        .unwrap();
    see(&clone, "the sites to be refused", |status| {
        status["reasons"].to_string().contains("sites")
    });
    assert!(clone.is_active("apache2.service"));
    assert!(!clone.exists("/etc/apache2/sites-enabled/zz-agentd.conf"));
    assert!(clone.exists("/etc/cron.d/agentd-shop_tick"));
}

#[test]
fn a_clone_whose_bucket_is_away_serves_what_was_baked() {
    let desk = Desk::new(&agent_config(""));
    let disks = disks().unwrap();
    let packed = disks.path().join("web.tar.zst");
    let from = image_root(Image::Debian).unwrap();
    let said = desk.bake(
        &["--from", from.to_str().unwrap()],
        "web",
        "web-1",
        &["--result", packed.to_str().unwrap()],
    );
    assert!(said.success(), "{said:?}");
    let root = disks.path().join("unpacked");
    fs::create_dir(&root).unwrap();
    let unpack = [
        "tar",
        "--extract",
        "--zstd",
        "--xattrs",
        "--numeric-owner",
        "--file",
    ];
    let paths = [
        packed.to_str().unwrap(),
        "--directory",
        root.to_str().unwrap(),
    ];
    let said = run(&[&unpack[..], &paths].concat(), b"", BAKING).unwrap();
    assert!(said.success(), "{said:?}");

    let fleet = Fleet::new().unwrap();
    let clone = fleet
        .boot(clone_of(Image::Debian, &root, "web-1", "10.77.0.11"))
        .unwrap();
    // One run, or two where Apache came up after the first one.
    see(&clone, "the baked document to be true", |status| {
        let served = || clone.get("http://10.77.0.11/", Some("shop.example.com"));
        status["document"]["version"] == 3
            && status["last_run"]["id"].is_u64()
            && served().is_ok_and(|answer| answer == (200, "the shop".into()))
    });
    see(&clone, "the bucket's absence to be told", |status| {
        status["health"] == "degraded" && !status["bucket"]["error"].is_null()
    });
    // One that the baked document does not know changes nothing and runs nobody's jobs.
    let stranger = fleet
        .boot(clone_of(Image::Debian, &root, "web-9", "10.77.0.19"))
        .unwrap();
    see(&stranger, "not to know who it is", |status| {
        status["health"] == "waiting"
    });
    assert!(!stranger.exists("/etc/cron.d/agentd-shop_tick"));
}

/// A root file system in which only the script's own steps can be seen.
fn tiny_root(dir: &Path) -> PathBuf {
    let root = dir.join("tiny");
    let unit = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    for (path, text) in [
        ("etc/os-release", "ID=debian\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("etc/hostname", "template\n"),
        ("etc/ssh/ssh_host_ed25519_key", "of the template\n"),
        ("var/log/syslog", "what the template did\n"),
        ("root/.bash_history", "what the template's root did\n"),
        ("etc/apache2/apache2.conf", "Listen 80\n"),
        ("usr/lib/systemd/system/apache2.service", unit),
        ("usr/lib/systemd/system/cron.service", unit),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        put(&path, text);
    }
    root
}

#[expect(clippy::disallowed_methods, reason = "a person at a desk")]
fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn what_must_not_be_cloned_is_removed_or_refused() {
    let desk = Desk::new(&agent_config(""));
    let dir = disks().unwrap();
    let root = tiny_root(dir.path());
    let place = ["--in", root.to_str().unwrap()];
    let said = desk.bake(&place, "web", "web-1", &[]);
    assert!(said.success(), "{said:?}");
    for gone in [
        "etc/hostname",
        "etc/ssh/ssh_host_ed25519_key",
        "var/log/syslog",
        "root/.bash_history",
        "run/agentd/run.lock",
    ] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
    assert_eq!(fs::read_to_string(root.join("etc/machine-id")).unwrap(), "");

    // Baked again, over itself, with secrets in it.
    let keys = "aws_access_key_id = AKIA1234567890ABCDEF\n";
    fs::create_dir_all(root.join("root/.aws")).unwrap();
    put(&root.join("root/.aws/credentials"), keys);
    put(&root.join("etc/agentd/environment"), "A=b\n");
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n";
    put(&root.join("root/id"), key);
    let said = desk.bake(&place, "web", "web-1", &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for named in ["/root/.aws", "/etc/agentd/environment", "/root/id: looks"] {
        assert!(said.stderr.contains(named), "{named}: {said:?}");
    }
    fs::remove_dir_all(root.join("root/.aws")).unwrap();
    fs::remove_file(root.join("etc/agentd/environment")).unwrap();
    let said = desk.bake(&place, "web", "web-1", &["--allow", "/root/id"]);
    assert!(said.success(), "{said:?}");
    fs::remove_file(root.join("root/id")).unwrap();

    // A configuration that names the server would make every clone that server.
    let named = Desk::new(&format!("node = \"web-1\"\n{}", agent_config("")));
    let said = named.bake(&place, "web", "web-1", &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("every clone would take itself"),
        "{said:?}"
    );

    let said = desk.bake(&place, "memcached", "cache-1", &[]);
    assert!(said.stderr.contains("memcached is missing"), "{said:?}");
    let said = desk.bake(&place, "web", "web-7", &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("web-7"), "{said:?}");
    // A document with mistakes bakes nothing, and says them.
    desk.put("fleet.json", &fleet(4).to_string().replace("www", "WWW"));
    let said = desk.bake(&place, "web", "web-1", &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("not as the document says"), "{said:?}");
}

#[test]
fn wrong_usage_says_what_is_missing() {
    let desk = Desk::new("");
    let dir = disks().unwrap();
    let there = dir.path().to_str().unwrap();
    for (from, more, code, says) in [
        (vec![], vec![], 64, "one of --suite, --from and --in"),
        (vec!["--in", "/", "--from", "/"], vec![], 64, "one of"),
        (vec!["--in", "/"], vec![], 1, "this machine itself"),
        (vec!["--from", there], vec![], 64, "--result is needed"),
        (
            vec!["--from", there],
            vec!["--result", there],
            1,
            "there already",
        ),
        (
            vec!["--from", there],
            vec!["--result", "/nowhere/x"],
            1,
            "no root file system",
        ),
        (
            vec!["--in", there],
            vec!["--frobnicate", "x"],
            64,
            "unknown option",
        ),
        (vec!["--in"], vec![], 64, ""),
    ] {
        let said = desk.bake(&from, "web", "web-1", &more);
        assert_eq!(said.code, Some(code), "{from:?} {more:?}: {said:?}");
        assert!(said.stderr.contains(says), "{from:?}: {said:?}");
    }
    let said = desk.bake(&["--in", there], "mail", "web-1", &[]);
    assert!(said.stderr.contains("not mail"), "{said:?}");
    let said = desk.bake(&["--help"], "web", "web-1", &[]);
    assert!(
        said.success() && said.stdout.contains("Example"),
        "{said:?}"
    );
}
