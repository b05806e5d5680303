use std::path::Path;

use super::*;
use crate::system::platform::{Apache, Family};

const REQUIRED: &str = "fleet = \"s3://fleet/prod\"\ntrust = \"none\"\n";

/// Loads a root whose agentd.toml is `text`; with `None` there is no file.
fn load(text: Option<&str>, mut overrides: Overrides) -> Result<Settings, SettingsError> {
    let root = tempfile::tempdir().unwrap();
    if let Some(text) = text {
        put(&root.path().join("etc/agentd/agentd.toml"), text);
    }
    overrides.root = Some(root.path().into());
    Settings::load(&overrides)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a scratch file needs no durability"
)]
fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The error's text, the scratch directory's name left out.
fn refused(text: Option<&str>, overrides: Overrides) -> String {
    let error = load(text, overrides).expect_err("must be refused");
    let text = error.to_string();
    let (path, rest) = text.split_once(": ").unwrap();
    assert!(path.ends_with("/etc/agentd/agentd.toml"), "{path}");
    format!("agentd.toml: {rest}")
}

fn told(text: &str) -> String {
    refused(Some(text), Overrides::default())
}

fn with(more: &str) -> Result<Settings, SettingsError> {
    load(Some(&format!("{REQUIRED}{more}")), Overrides::default())
}

#[test]
fn the_sample_is_read_and_says_the_defaults() {
    let sample = include_str!("../../../packaging/agentd.toml");
    // As it is installed it trusts nobody's bucket: a daemon that was started by mistake ends.
    let unedited = told(sample);
    assert!(
        unedited.contains("fleet") && unedited.contains("trust"),
        "{unedited}"
    );
    let written = with(sample).unwrap();

    // What the sample shows commented out must be right too, and be the default.
    let plain = |line: &str| {
        line.strip_prefix("# ")
            .filter(|rest| {
                rest.split_once(" = ").is_some_and(|(key, _)| {
                    key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                })
            })
            .unwrap_or(line)
            .to_owned()
    };
    let all: Vec<_> = sample.lines().map(plain).collect();
    let shown = load(Some(&all.join("\n")), Overrides::default()).unwrap();
    assert_eq!(shown.bucket.to_string(), "s3://example-fleet/prod");
    assert_eq!(shown.node.as_ref().map(Name::as_str), Some("web-1"));
    assert_eq!(shown.poll, written.poll);
    assert_eq!(shown.hosts, written.hosts);
    assert_eq!(shown.reports, written.reports);
    assert_eq!(shown.document_limit, written.document_limit);
    assert_eq!(shown.guard, written.guard);
    assert_eq!(shown.packages, written.packages);
    assert_eq!(shown.identity.metadata, written.identity.metadata);
    assert_eq!(shown.identity.tag, written.identity.tag);
    assert_eq!(shown.journal, written.journal);
    assert_eq!(shown.log, written.log);
    assert_eq!(shown.s3.timeout, written.s3.timeout);
    assert_eq!(shown.s3.path_style, written.s3.path_style);
    assert_eq!(shown.lease_poll, written.lease_poll);
    assert_eq!(shown.lease_poll_idle, written.lease_poll_idle);
    // A unit that nobody renamed has no line to show: the sample's is an example.
    let mut platform = shown.platform.clone();
    assert_eq!(platform.units.remove("redis").as_deref(), Some("redis6"));
    assert_eq!(platform, written.platform);
    let default = DatabaseSettings {
        credentials: None,
        socket: None,
        snapshots: SnapshotSettings {
            upload_limit: None,
            drill_account: None,
            ..shown.database.snapshots.clone()
        },
        ..shown.database.clone()
    };
    assert_eq!(default, written.database);
}

#[test]
fn a_platform_is_what_the_file_says_and_else_the_distributions() {
    let odd = r#"
        [platform]
        family = "debian"
        cron_dir = "/opt/etc/cron.d"
        systemctl = "/opt/bin/systemctl"
        memcached_dir = "/opt/etc/memcached"
        memcached_template = "memcached-of@"
        templates_dir = "/opt/etc/templates"
        [platform.apache]
        dir = "/opt/httpd/agentd"
        include = "/opt/httpd/conf.d/zz.conf"
        main_config = "/opt/httpd/httpd.conf"
        log_dir = "/opt/httpd/logs"
        test = ["/opt/httpd/bin/apachectl", "-t", "-D", "WHATEVER IT NEEDS"]
        unit = "web.service"
        [platform.units]
        php-fpm = "php-fpm83"
        "redis.service" = "redis6.service"
        "#;
    let platform = with(odd).unwrap().platform;
    let mut expected = Platform::of(Family::Debian);
    expected.cron_dir = "/opt/etc/cron.d".into();
    expected.systemctl = "/opt/bin/systemctl".into();
    expected.memcached_dir = "/opt/etc/memcached".into();
    expected.memcached_template = "memcached-of@".into();
    expected.templates_dir = "/opt/etc/templates".into();
    expected.apache = Apache {
        dir: "/opt/httpd/agentd".into(),
        include: "/opt/httpd/conf.d/zz.conf".into(),
        main_config: "/opt/httpd/httpd.conf".into(),
        log_dir: "/opt/httpd/logs".into(),
        test: ["/opt/httpd/bin/apachectl", "-t", "-D", "WHATEVER IT NEEDS"]
            .map(str::to_owned)
            .to_vec(),
        unit: "web.service".into(),
    };
    expected.units.insert("php-fpm".into(), "php-fpm83".into());
    expected.units.insert("redis".into(), "redis6".into());
    assert_eq!(platform, expected);
    assert_eq!(platform.unit("redis"), "redis6.service");

    let plain = with("").unwrap().platform;
    assert_eq!(plain, Platform::of(Family::Centos));
}

#[test]
fn what_is_wrong_in_a_platform_is_told_line_by_line() {
    insta::assert_snapshot!(told(&format!(
        r#"{REQUIRED}
[platform]
family = "gentoo"
cron-dir = "/etc/cron.d"
systemctl = "systemctl"
memcached_dir = "/etc/../memcached"
memcached_template = "memcached"
templates_dir = 7

[platform.apache]
dirs = "/etc/httpd/agentd"
include = "conf.d/zz.conf"
log_dir = "/var/log/my logs"
test = []
unit = "httpd"

[platform.units]
"a b" = "c"
redis = "re dis"
mysqld = true

[platform.cron]
dir = "/etc/cron.d"
"#
    )));
    let command = |test: &str| told(&format!("{REQUIRED}[platform.apache]\ntest = {test}\n"));
    insta::assert_snapshot!(
        [
            command("\"/usr/sbin/httpd -t\""),
            command("[\"httpd\", \"-t\"]"),
            command("[\"/usr/sbin/httpd\", 7]"),
            command("[\"/usr/sbin/httpd\", \"-t\\n\"]"),
            told(&format!("{REQUIRED}[platform]\napache = \"/etc/httpd\"\n")),
        ]
        .join("\n")
    );
}

#[test]
fn times_that_could_make_two_masters_are_refused_with_all_their_numbers() {
    insta::assert_snapshot!(told(&format!(
        "{REQUIRED}[database]\ncredentials = \"/etc/agentd/database.toml\"\nttl = \"8s\"\nclock_error = 0.02\n"
    )));
    insta::assert_snapshot!(told(&format!(
        "{REQUIRED}[database]\nrenew = \"3s\"\ntimeout = \"2s\"\nclock_error = 0.1\nfailover = \"yes\"\n"
    )));
}

#[test]
fn the_rule_of_the_times_is_met_exactly_or_not_at_all() {
    let times = Times {
        stop_serving: Duration::from_secs(5),
        fence_budget: Duration::from_secs(3),
        ttl: Duration::from_secs(8),
        clock_error: 0.0,
        ..Times::default()
    };
    assert_eq!(times.timing().mistakes(), []);
    let drifting = Times {
        clock_error: 0.001,
        ..times
    };
    assert_eq!(drifting.timing().mistakes().len(), 1);
    assert_eq!(Times::default().timing().mistakes(), []);
}

#[test]
fn all_mistakes_are_told_at_once() {
    insta::assert_snapshot!(told(
        r#"
flet = "s3://fleet/prod"
trust = "operators"
node = "Web_1"
poll = "5"
hosts = "everyone"

[s3]
endpoint = "minio:9000"
path-style = true
timeout = 10

[guard]
share = 50
from = 0

[identity]
metadata = true

[journals]
runs = 3
"#
    ));
}

#[test]
fn what_is_required_is_said() {
    insta::assert_snapshot!(told("poll = \"10s\"\n"));
}

#[test]
fn a_file_that_is_not_toml_shows_its_lines() {
    insta::assert_snapshot!(told("fleet = s3://fleet/prod\ntrust = \"none\n"));
}

#[test]
fn a_section_written_as_a_value_is_told_how_to_write_it() {
    insta::assert_snapshot!(told(&format!("{REQUIRED}guard = 0.5\n")));
}

#[test]
fn no_file_and_no_options() {
    insta::assert_snapshot!(refused(None, Overrides::default()));
}

#[test]
fn wrong_options_are_named() {
    let overrides = Overrides {
        fleet: Some("https://fleet.s3.amazonaws.com/prod".into()),
        node: Some("WEB-1".into()),
        trust_none: true,
        ..Overrides::default()
    };
    insta::assert_snapshot!(refused(None, overrides));
}

#[test]
fn the_command_line_is_enough_and_wins() {
    let overrides = Overrides {
        fleet: Some("file:///srv/fleet".into()),
        node: Some("web-2".into()),
        trust_none: true,
        ..Overrides::default()
    };
    let alone = load(None, overrides.clone()).unwrap();
    assert_eq!(alone.file, None);
    assert_eq!(alone.bucket, BucketUrl::Directory("/srv/fleet".into()));

    let file = "fleet = \"s3://fleet/prod\"\nnode = \"web-1\"\ntrust = \"none\"\n";
    let over = load(Some(file), overrides).unwrap();
    assert_eq!(over.bucket, BucketUrl::Directory("/srv/fleet".into()));
    assert_eq!(over.node.unwrap().as_str(), "web-2");
    assert!(over.file.is_some());
}

#[test]
fn a_named_file_must_exist_and_lies_where_it_is_said() {
    let elsewhere = tempfile::tempdir().unwrap();
    let config = elsewhere.path().join("mine.toml");
    let overrides = Overrides {
        config: Some(config.clone()),
        fleet: Some("file:///srv/fleet".into()),
        trust_none: true,
        ..Overrides::default()
    };
    let error = load(Some(REQUIRED), overrides.clone()).unwrap_err();
    assert!(matches!(error, SettingsError::Read { .. }), "{error}");
    put(&config, "poll = \"2s\"\n");
    let settings = load(Some(REQUIRED), overrides).unwrap();
    assert_eq!(settings.poll, Duration::from_secs(2));
    assert_eq!(settings.file, Some(config));
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    for root in ["/nonexistent-root", "/etc/passwd"] {
        let overrides = Overrides {
            root: Some(root.into()),
            ..Overrides::default()
        };
        let error = Settings::load(&overrides).unwrap_err();
        assert!(matches!(error, SettingsError::Root { .. }), "{error}");
    }
}

#[test]
fn bucket_urls() {
    let right = [
        ("s3://fleet", "fleet", ""),
        ("s3://fleet/", "fleet", ""),
        ("s3://my.fleet-1/a/b/", "my.fleet-1", "a/b"),
    ];
    for (text, name, below) in right {
        let url = text.parse::<BucketUrl>().unwrap();
        let BucketUrl::S3 { bucket, prefix } = &url else {
            panic!("{url:?}")
        };
        assert_eq!((bucket.as_str(), prefix.as_str()), (name, below));
        assert_eq!(url.to_string().parse(), Ok(url));
    }
    let wrong = [
        "",
        "fleet",
        "s3://",
        "s3://Fleet",
        "s3://ab",
        "s3://fleet//a",
        "s3://fleet/a//b",
        "s3://fleet/a/../b",
        "s3://fleet/a b",
        "s3:///fleet",
        "file://srv",
        "file:/srv",
        "file://",
        "gs://fleet",
        "http://fleet",
    ];
    let told: Vec<_> = wrong
        .iter()
        .map(|text| format!("{text:24} {}", text.parse::<BucketUrl>().unwrap_err()))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn bounds_hold() {
    for poll in ["99ms", "61m", "10", "", "-1s", "99999999999999999999s"] {
        assert!(with(&format!("poll = \"{poll}\"")).is_err(), "{poll}");
    }
    for poll in ["100ms", "1h", "1m 30s"] {
        assert!(with(&format!("poll = \"{poll}\"")).is_ok(), "{poll}");
    }
    assert!(with("[guard]\nshare = 1").is_ok());
    assert!(with("[guard]\nshare = nan").is_err());
    assert!(with("[guard]\nfrom = -1").is_err());
    assert!(with("[journal]\nruns = 0x10").is_ok());
    assert!(with("[journal]\nruns = 99999999999999999999999").is_err());
}

mod any_text {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|\n|[\\[\\]=\"#.])*") {
            let mut mistakes = crate::settings::mistakes::Mistakes::of(&text);
            crate::settings::file::FileSettings::read(&text, &mut mistakes);
            let _ = mistakes.into_list();
        }
    }
}

const OPS: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGo21rqKaqL6BrVGF5Oz5i60f6kQlHEnHZFgitN77gcP";
const DEV: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKk+IeB4Z1WGgS2zbL/6H0jVQGgeGnfaO0zr+UsBXNDf";

fn trusting(section: &str) -> Result<Settings, SettingsError> {
    let file = format!("fleet = \"s3://fleet/prod\"\n[trust]\n{section}\n");
    load(Some(&file), Overrides::default())
}

#[test]
fn trusted_keys_are_read_with_their_threshold() {
    let one = trusting(&format!("keys = [\"{OPS} ops\"]")).unwrap();
    assert_eq!(one.trust.in_short(), "1 of 1 key");
    assert_eq!(one.version_step, VERSION_STEP);
    let section =
        format!("keys = [\"{OPS} ops\", \"{DEV} dev\"]\nthreshold = 2\nversion_step = 10");
    let two = trusting(&section).unwrap();
    assert_eq!(two.trust.in_short(), "2 of 2 keys");
    assert_eq!(two.version_step, 10);
    let overrides = Overrides {
        trust_none: true,
        ..Overrides::default()
    };
    let file = format!("fleet = \"s3://fleet/prod\"\n[trust]\nkeys = [\"{OPS} ops\"]");
    assert_eq!(load(Some(&file), overrides).unwrap().trust, Trust::Nobody);
}

#[test]
fn a_trust_that_cannot_be_is_told() {
    let told: Vec<String> = [
        String::new(),
        "threshold = 1".into(),
        "keys = []".into(),
        "keys = \"ops\"".into(),
        format!("keys = [\"{OPS} ops\"]\nthreshold = 0"),
        format!("keys = [\"{OPS} ops\"]\nthreshold = 2"),
        format!("keys = [\"{OPS} ops\", \"{DEV} dev\"]"),
        format!("keys = [\"{OPS} ops\", \"{OPS} dev\"]\nthreshold = 1"),
        format!("keys = [\"{OPS}\", \"ssh-rsa AAAA dev\", 3]\nthreshhold = 1"),
    ]
    .iter()
    .map(|section| {
        let text = trusting(section).unwrap_err().to_string();
        text.split_once(": ").unwrap().1.to_owned()
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"));
}
