//! Each check on a box that is broken as it should find, and on one that is not.
//!
//! Boxes are scratch roots; what needs systemd is judged on what systemd says, and seen whole on booted machines.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::examined_box::{ExaminedBox, Unit};
use super::finding::{Diagnosis, Findings, Severity};
use super::{CHECKS, Check, examine};
use crate::bucket::{BucketError, BucketErrorKind as Kind};
use crate::report::text::Paint;
use crate::settings::{Overrides, Settings};
use crate::system::disk::Room;
use crate::system::root::Root;

/// A web server of the sample fleet, with a directory as its bucket.
struct ScratchBox {
    dir: tempfile::TempDir,
}

impl ScratchBox {
    fn new() -> Self {
        let scratch = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        scratch.put("box/etc/os-release", "ID=centos\n");
        scratch.put("box/etc/hosts", "127.0.0.1 localhost\n");
        scratch.put("box/etc/nsswitch.conf", "hosts: files dns myhostname\n");
        scratch.put(
            "box/etc/httpd/conf/httpd.conf",
            "Listen 80\nIncludeOptional conf.d/*.conf\n",
        );
        scratch.put("box/etc/httpd/conf.d/welcome.conf", "");
        scratch.put("box/etc/cron.d/0hourly", "");
        scratch.configure("");
        scratch.publish(|_| ());
        scratch
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a scratch file of a test")]
        std::fs::write(path, text).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("box").join(path)
    }

    fn configure(&self, more: &str) {
        let bucket = self.dir.path().join("bucket");
        let text = format!(
            "fleet = \"file://{}\"\ntrust = \"none\"\nnode = \"web-1\"\n{more}",
            bucket.display()
        );
        self.put("box/etc/agentd/agentd.toml", &text);
    }

    fn publish(&self, change: impl FnOnce(&mut Value)) {
        let sample = include_str!("../../../../tests/fleets/heavy.json");
        let mut document: Value = serde_json::from_str(sample).unwrap();
        change(&mut document["signed"]);
        self.put("bucket/fleet.json", &document.to_string());
    }

    fn examined(&self) -> Arc<ExaminedBox> {
        let root = Root::under(&self.path("")).unwrap();
        let settings = Settings::load(&Overrides {
            root: Some(self.path("")),
            ..Overrides::default()
        });
        Arc::new(ExaminedBox::with(root, settings))
    }

    /// What one check finds: severity and message, or `not seen` and why.
    fn found_by(&self, name: &str) -> Vec<String> {
        let check = CHECKS.iter().filter(|(known, _)| *known == name);
        let checks: Vec<_> = check.copied().collect();
        assert_eq!(checks.len(), 1, "{name}");
        self.lines(&examine(&self.examined(), &checks, Duration::from_secs(20)))
    }

    fn lines(&self, diagnosis: &Diagnosis) -> Vec<String> {
        let found = diagnosis.findings.iter().map(|finding| {
            assert!(!finding.hint.is_empty(), "{finding:?}");
            let word = match finding.severity {
                Severity::Broken => "broken",
                Severity::Warning => "warning",
            };
            format!("{word}: {}", finding.message)
        });
        let skipped = diagnosis
            .skipped
            .iter()
            .map(|skipped| format!("not seen: {}", skipped.why));
        let dir = self.dir.path().display().to_string();
        found
            .chain(skipped)
            .map(|line| line.replace(&dir, ""))
            .collect()
    }
}

fn told(look: impl FnOnce(&mut Findings)) -> Vec<String> {
    let mut findings = Findings::of("a check");
    look(&mut findings);
    let lines = findings.found.iter();
    lines
        .map(|finding| {
            format!(
                "{:?}: {} | {}",
                finding.severity, finding.message, finding.hint
            )
        })
        .collect()
}

#[test]
fn on_a_healthy_box_nothing_is_found() {
    let scratch = ScratchBox::new();
    let diagnosis = examine(&scratch.examined(), &CHECKS, Duration::from_secs(20));
    assert_eq!(diagnosis.findings, [], "{diagnosis:?}");
    assert_eq!(diagnosis.exit_code(), 0);
    insta::assert_snapshot!("healthy", super::text::text(&diagnosis, Paint::PLAIN));
}

#[test]
fn a_box_in_a_bad_state_is_told_about_in_full() {
    let scratch = ScratchBox::new();
    scratch.put("box/etc/nsswitch.conf", "hosts: dns files\n");
    scratch.put("box/etc/httpd/conf/httpd.conf", "Listen 80\n");
    scratch.put(
        "box/etc/hosts",
        "127.0.0.1 localhost\n10.9.9.9 mysql-master\n",
    );
    std::fs::rename(scratch.path("etc/cron.d"), scratch.path("etc/cron.real")).unwrap();
    symlink("cron.real", scratch.path("etc/cron.d")).unwrap();
    std::fs::set_permissions(
        scratch.path("etc/agentd/agentd.toml"),
        PermissionsExt::from_mode(0o666),
    )
    .unwrap();
    let diagnosis = examine(&scratch.examined(), &CHECKS, Duration::from_secs(20));
    assert_eq!(diagnosis.exit_code(), 2);
    let text = super::text::text(&diagnosis, Paint::PLAIN);
    insta::assert_snapshot!(
        "broken",
        text.replace(&scratch.dir.path().display().to_string(), "")
    );
    let json = serde_json::to_value(&diagnosis).unwrap();
    assert_eq!(json["format"], 1);
    assert_eq!(json["worst"], "broken");
    assert!(
        json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|each| each["hint"] != "")
    );
}

#[test]
fn each_mistake_in_the_configuration_is_a_finding() {
    let scratch = ScratchBox::new();
    scratch.configure("pol = \"10s\"\n[guard]\nshare = 7\n");
    let found = scratch.found_by("configuration");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("broken: /box/etc/agentd/agentd.toml:4: `pol = \"10s\"`: "),
        "{found:?}"
    );
    // What depends on it says that it was not looked at.
    assert_eq!(
        scratch.found_by("bucket"),
        ["not seen: the configuration cannot be used"]
    );

    std::fs::remove_file(scratch.path("etc/agentd/agentd.toml")).unwrap();
    let found = scratch.found_by("configuration");
    assert!(found[0].contains("there is no such file"), "{found:?}");
    scratch.put("box/etc/agentd/agentd.toml", "fleet = \"s3://example-fleet/prod\"\ntrust = \"none\"\n[s3]\nendpoint = \"http://127.0.0.1:1\"\nregion = \"x\"\n");
    assert_eq!(
        scratch.found_by("configuration"),
        ["broken: the configuration is still the sample: fleet is in the bucket example-fleet"]
    );
}

#[test]
fn the_agents_own_directories_must_be_its_own() {
    let scratch = ScratchBox::new();
    scratch.put("box/var/lib/agentd/x", "");
    let open = |mode| {
        std::fs::set_permissions(
            scratch.path("var/lib/agentd"),
            PermissionsExt::from_mode(mode),
        )
        .unwrap();
    };
    open(0o750);
    assert_eq!(scratch.found_by("directories"), Vec::<String>::new());
    open(0o777);
    assert_eq!(
        scratch.found_by("directories"),
        ["broken: /var/lib/agentd may be written by others than its owner (mode 0777)"]
    );
    std::fs::remove_dir_all(scratch.path("var/lib/agentd")).unwrap();
    symlink("/tmp", scratch.path("var/lib/agentd")).unwrap();
    assert_eq!(
        scratch.found_by("directories"),
        ["broken: /var/lib/agentd is not a directory, and links are not followed"]
    );
}

#[test]
fn full_disks_are_told_by_bytes_and_by_inodes() {
    let room = |free, free_inodes| Room {
        size: 10 << 30,
        free,
        inodes: 1000,
        free_inodes,
        read_only: false,
    };
    let judge = |room| told(|found| super::disk::judge("/etc", room, found));
    assert_eq!(judge(room(1 << 30, 5)), Vec::<String>::new());
    assert!(
        judge(room(5 << 20, 5))[0]
            .starts_with("Warning: the disk of /etc is nearly full: 5 MiB are free")
    );
    assert!(judge(room(1000, 5))[0].starts_with("Broken: the disk of /etc is full"));
    assert!(judge(room(1 << 30, 0))[0].starts_with("Broken: the disk of /etc has no inodes left"));
    // btrfs counts none; a small /run is small.
    assert_eq!(
        judge(Room {
            inodes: 0,
            ..room(1 << 30, 0)
        }),
        Vec::<String>::new()
    );
    assert_eq!(
        judge(Room {
            size: 100 << 20,
            ..room(50 << 20, 1)
        }),
        Vec::<String>::new()
    );
}

#[test]
fn wrong_labels_are_read_from_both_forms_of_restorecon() {
    let said = "Would relabel /etc/hosts from unconfined_u:object_r:user_tmp_t:s0 to system_u:object_r:net_conf_t:s0\n\
        restorecon reset /var/lib/agentd/a b context unconfined_u:object_r:tmp_t:s0->system_u:object_r:var_lib_t:s0\n\
        something else\n";
    assert_eq!(
        super::selinux::mislabelled(said),
        ["/etc/hosts", "/var/lib/agentd/a b"]
    );
}

#[test]
fn the_units_state_is_judged() {
    let judge = |lines: &str| told(|found| super::unit::judge(&Unit(lines.into()), found));
    let well = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nSubState=running\nNRestarts=0\nResult=success\nExecMainStatus=0\nNeedDaemonReload=no\n";
    assert_eq!(judge(well), Vec::<String>::new());
    let mut all = Vec::new();
    for (from, to) in [
        ("=loaded", "=masked"),
        ("=loaded", "=not-found"),
        ("=loaded", "=bad-setting"),
        ("=enabled", "=disabled"),
        (
            "=running\nNRestarts=0\nResult=success",
            "=auto-restart\nNRestarts=47\nResult=exit-code",
        ),
        ("ActiveState=active", "ActiveState=failed"),
        ("NRestarts=0", "NRestarts=9"),
        ("NeedDaemonReload=no", "NeedDaemonReload=yes"),
    ] {
        let found = judge(&well.replace(from, to));
        assert_eq!(found.len(), 1, "{to}: {found:?}");
        all.extend(found);
    }
    insta::assert_snapshot!("unit", all.join("\n"));
}

#[test]
fn each_failure_of_the_bucket_has_its_own_advice() {
    let hint = |kind, cause: &str| {
        let error = BucketError {
            operation: "get",
            url: "s3://fleet/prod/fleet.json".into(),
            kind,
            source: Some(cause.into()),
        };
        super::bucket::hint(&error, false)
    };
    let unavailable = |cause| hint(Kind::Unavailable, cause);
    assert!(
        unavailable("dns error: failed to lookup address information").contains("/etc/resolv.conf")
    );
    assert!(
        unavailable("tcp connect error: Connection refused (os error 111)").contains("ip route")
    );
    assert!(unavailable("invalid peer certificate: UnknownIssuer").contains("ca-certificates"));
    assert!(unavailable("no complete answer within 5s").contains("last good document"));
    assert!(hint(Kind::Denied, "S3 answered 403 RequestTimeTooSkewed").contains("chronyc"));
    assert!(hint(Kind::Denied, "S3 answered 403 AccessDenied").contains("s3:GetObject"));
    assert!(hint(Kind::Credentials, "").contains("/etc/agentd/environment"));

    let scratch = ScratchBox::new();
    assert_eq!(scratch.found_by("bucket"), Vec::<String>::new());
    std::fs::remove_file(scratch.dir.path().join("bucket/fleet.json")).unwrap();
    let found = scratch.found_by("bucket");
    assert!(
        found[0]
            .starts_with("broken: cannot get file:///bucket/fleet.json: there is no such object"),
        "{found:?}"
    );
    assert_eq!(
        scratch.found_by("identity"),
        ["not seen: there is no document yet"]
    );
    std::fs::remove_dir(scratch.dir.path().join("bucket")).unwrap();
    assert!(scratch.found_by("bucket")[0].contains("there is no such bucket"));
}

#[test]
fn a_clock_is_judged_by_how_far_off_it_is() {
    let at = |secs: i64| Timestamp::from_second(1_800_000_000 + secs).unwrap();
    let judge = |here| told(|found| super::clock::judge(at(0), at(here), found));
    assert_eq!(judge(59), Vec::<String>::new());
    assert!(judge(-90)[0].starts_with("Warning: this box's clock is 90 s behind the bucket's"));
    assert!(
        judge(7200)[0]
            .starts_with("Broken: this box's clock is 2 h ahead of the bucket's: S3 refuses")
    );
    // A directory has no clock.
    assert_eq!(
        ScratchBox::new().found_by("clock"),
        ["not seen: the bucket did not tell the time"]
    );
}

#[test]
fn a_refused_or_expiring_document_is_told() {
    let scratch = ScratchBox::new();
    scratch.publish(|signed| signed["products"]["shop"]["sites"]["www"]["prot"] = json!(80));
    let found = scratch.found_by("document");
    assert!(found[0].contains("unknown field `prot`"), "{found:?}");
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let expiry = |left: i64| {
        let expires = Timestamp::from_second(1_800_000_000 + left).unwrap();
        told(|found| super::document::expiry(expires, now, found))
    };
    assert_eq!(expiry(4 * 86_400), Vec::<String>::new());
    assert!(expiry(86_400)[0].starts_with("Warning: the document expires in 24 h"));
    assert!(expiry(-7200)[0].starts_with("Broken: the document expired 2 h ago"));
}

#[test]
fn a_box_that_is_not_in_the_document_is_told_how_it_gets_there() {
    let scratch = ScratchBox::new();
    scratch.publish(|signed| {
        let servers = signed["servers"].as_object_mut().unwrap();
        servers.remove("web-1");
    });
    let found = scratch.found_by("identity");
    assert!(
        found[0].starts_with("broken: ") && found[0].contains("has no server web-1"),
        "{found:?}"
    );
}

#[test]
fn the_order_of_name_services_is_judged() {
    let order = |text: &str| told(|found| super::names::order(text, found));
    for good in [
        "hosts: files dns\n",
        "passwd: files\nhosts:   files mdns4_minimal [NOTFOUND=return] dns # as it came\n",
        "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n",
        "hosts: resolve\n",
        "passwd: sss\n",
    ] {
        assert_eq!(order(good), Vec::<String>::new(), "{good}");
    }
    assert!(order("hosts: dns\n")[0].starts_with("Broken: "));
    assert!(order("hosts: dns files\n")[0].starts_with("Warning: "));
    assert!(order("#hosts: files\nhosts: dns\n")[0].starts_with("Broken: "));
}

#[test]
fn a_forgotten_line_for_one_of_the_agents_names_is_told() {
    let scratch = ScratchBox::new();
    scratch.put(
        "box/etc/hosts",
        "127.0.0.1 localhost\n10.9.9.9 mysql-master\n",
    );
    let found = scratch.found_by("names");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("warning: line 2 of /etc/hosts says that mysql-master is 10.9.9.9"),
        "{found:?}"
    );
}

#[test]
fn targets_that_cannot_be_written_are_told() {
    let scratch = ScratchBox::new();
    assert_eq!(scratch.found_by("targets"), Vec::<String>::new());
    std::fs::rename(scratch.path("etc/cron.d"), scratch.path("etc/cron.real")).unwrap();
    symlink("cron.real", scratch.path("etc/cron.d")).unwrap();
    let found = scratch.found_by("targets");
    assert!(found[0].contains("symlink /etc/cron.d"), "{found:?}");
    std::fs::remove_file(scratch.path("etc/cron.d")).unwrap();
    std::fs::rename(scratch.path("etc/cron.real"), scratch.path("etc/cron.d")).unwrap();
    std::fs::set_permissions(scratch.path("etc/cron.d"), PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(
        scratch.found_by("targets"),
        ["broken: everybody may write to /etc/cron.d (mode 0777): the agent writes nothing there"]
    );
}

#[test]
fn what_a_platform_of_ones_own_names_must_be_there() {
    let scratch = ScratchBox::new();
    let none: [&str; 0] = [];
    assert_eq!(scratch.found_by("platform"), none);
    scratch.configure(
        "[platform]\ncron_dir = \"/opt/cron.d\"\nsystemctl = \"/opt/bin/systemctl\"\n\
         [platform.apache]\ninclude = \"/opt/web/conf.d/zz.conf\"\nmain_config = \"/opt/web/web.conf\"\n\
         log_dir = \"/opt/web/logs\"\ntest = [\"/opt/web/bin/httpd\", \"-t\"]\n",
    );
    assert_eq!(
        scratch.found_by("platform"),
        [
            "broken: [platform] systemctl: /opt/bin/systemctl is not there",
            "broken: [platform] apache.test: /opt/web/bin/httpd is not there",
            "warning: [platform] cron_dir: /opt/cron.d is not there",
            "warning: [platform] apache.main_config: /opt/web/web.conf is not there",
            "warning: [platform] apache.log_dir: /opt/web/logs is not there",
            "warning: [platform] apache.include: /opt/web/conf.d is not there",
        ]
    );
    // The other checks look there too.
    let found = scratch.found_by("apache");
    assert!(
        found[0].starts_with("broken: this box has sites and no Apache: /opt/web/web.conf"),
        "{found:?}"
    );
    scratch.put("box/opt/web/web.conf", "IncludeOptional conf.d/*.conf\n");
    for there in [
        "opt/cron.d/x",
        "opt/bin/systemctl",
        "opt/web/conf.d/x",
        "opt/web/logs/x",
        "opt/web/bin/httpd",
    ] {
        scratch.put(&format!("box/{there}"), "");
    }
    assert_eq!(scratch.found_by("platform"), none);
    // Names of services are systemd's to know.
    scratch.configure("[platform.units]\nredis = \"redis6\"\n");
    assert_eq!(
        scratch.found_by("platform"),
        ["not seen: under --root no command is run"]
    );
}

#[test]
fn apache_must_be_there_and_read_the_agents_file() {
    let scratch = ScratchBox::new();
    assert_eq!(
        scratch.found_by("apache"),
        ["not seen: under --root no command is run"]
    );
    scratch.put(
        "box/etc/httpd/conf/httpd.conf",
        "Listen 80\nIncludeOptional other.d/*.conf\n",
    );
    let found = scratch.found_by("apache");
    assert_eq!(
        found[0],
        "broken: /etc/httpd/conf/httpd.conf does not include /etc/httpd/conf.d/zz-agentd.conf: Apache will not see the sites"
    );
    std::fs::remove_file(scratch.path("etc/httpd/conf/httpd.conf")).unwrap();
    let found = scratch.found_by("apache");
    assert!(
        found[0].starts_with("broken: this box has sites and no Apache"),
        "{found:?}"
    );
    // Without sites it may lack anything.
    scratch.publish(|signed| signed["servers"]["web-1"]["products"] = json!([]));
    assert_eq!(scratch.found_by("apache"), Vec::<String>::new());
}

#[test]
fn memcached_must_be_there_where_instances_run() {
    let scratch = ScratchBox::new();
    assert_eq!(scratch.found_by("memcached"), Vec::<String>::new());
    scratch.publish(|signed| signed["servers"]["web-1"]["roles"] = json!(["web", "memcached"]));
    let found = scratch.found_by("memcached");
    assert!(
        found[0].contains("/usr/bin/memcached is not there"),
        "{found:?}"
    );
}

#[test]
fn leftovers_are_told_once_they_are_old() {
    let scratch = ScratchBox::new();
    let name = "etc/.hosts.agentd-abcdefgh";
    scratch.put(&format!("box/{name}"), "half");
    assert_eq!(scratch.found_by("leftovers"), Vec::<String>::new());
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let file = std::fs::File::options()
        .write(true)
        .open(scratch.path(name))
        .unwrap();
    file.set_modified(long_ago).unwrap();
    assert_eq!(
        scratch.found_by("leftovers"),
        ["warning: /etc/.hosts.agentd-abcdefgh: temporary files of a run that was killed"]
    );
}

#[test]
fn a_stale_status_file_without_an_agent_is_not_news() {
    let scratch = ScratchBox::new();
    assert_eq!(scratch.found_by("status file"), Vec::<String>::new());
    scratch.put("box/run/agentd/status.json", "{half");
    let found = scratch.found_by("status file");
    assert!(
        found[0].starts_with("warning: /run/agentd/status.json is not understood"),
        "{found:?}"
    );
    std::fs::remove_file(scratch.path("run/agentd/status.json")).unwrap();
    std::fs::create_dir(scratch.path("run/agentd/status.json")).unwrap();
    assert_eq!(
        scratch.found_by("status file"),
        ["broken: /run/agentd/status.json is not a file"]
    );
}

#[test]
fn a_check_that_hangs_or_breaks_off_does_not_hold_the_others_up() {
    fn hangs(_: &ExaminedBox, _: &mut Findings) {
        std::thread::sleep(Duration::from_mins(1));
    }
    fn finds(_: &ExaminedBox, found: &mut Findings) {
        found.broken("it is broken", "mend it");
    }
    let scratch = ScratchBox::new();
    let checks: [(&str, Check); 2] = [("hung", hangs), ("other", finds)];
    let start = std::time::Instant::now();
    let diagnosis = examine(&scratch.examined(), &checks, Duration::from_secs(1));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(
        scratch.lines(&diagnosis),
        ["broken: it is broken", "warning: not done after 1 s"]
    );
}
