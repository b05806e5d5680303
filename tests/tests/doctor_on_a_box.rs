//! Promise: `agentctl doctor` says what on a box keeps the agent from working; it changes nothing, and nothing hangs it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests, and what they share"
)]

use std::time::{Duration, Instant};

use node_agent_tests::machine::watch::{Story, sample, see, settled, web_1};
use node_agent_tests::machine::{Fleet, FleetBucket, Image, Machine};
use serde_json::Value;

/// What the doctor answers.
struct Examined {
    code: Option<i32>,
    json: Value,
}

impl Examined {
    fn of(machine: &Machine) -> Self {
        let said = machine
            .run_with(
                &["agentctl", "doctor", "--output", "json"],
                b"",
                Duration::from_secs(40),
            )
            .unwrap();
        assert!(said.stderr.is_empty(), "{}", said.stderr);
        Self {
            code: said.code,
            json: serde_json::from_str(&said.stdout).unwrap(),
        }
    }

    /// Findings, each as `severity check: message`.
    fn findings(&self) -> Vec<String> {
        let word =
            |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let findings = self.json["findings"].as_array().unwrap();
        let line = |finding| {
            assert_ne!(word(finding, "hint"), "");
            format!(
                "{} {}: {}",
                word(finding, "severity"),
                word(finding, "check"),
                word(finding, "message")
            )
        };
        findings.iter().map(line).collect()
    }
}

/// The doctor finds this, with this exit code.
#[track_caller]
fn finds(machine: &Machine, code: i32, wanted: &str) {
    let examined = Examined::of(machine);
    let findings = examined.findings();
    assert!(
        findings.iter().any(|finding| finding.contains(wanted)),
        "not found: {wanted}\n{findings:#?}\n{}",
        Story(machine)
    );
    assert_eq!(examined.code, Some(code), "{findings:#?}");
}

#[track_caller]
fn finds_nothing(machine: &Machine) {
    let examined = Examined::of(machine);
    assert_eq!(
        examined.findings(),
        Vec::<String>::new(),
        "{}",
        Story(machine)
    );
    assert_eq!(examined.code, Some(0));
}

fn shell(machine: &Machine, script: &str) -> String {
    machine.must(&["sh", "-ec", script]).unwrap()
}

#[test]
fn what_is_broken_is_found_and_nothing_else() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&sample(1, |_| ())).unwrap();
        let web = fleet.boot(web_1(image).unwrap()).unwrap();
        see(&web, "agentctl status to be 0", || settled(&web));
        let (apache, cron) = (image.apache_unit(), image.cron_unit());

        // The bucket's credentials are the unit's, not the shell's: the doctor asks as the agent does.
        finds_nothing(&web);
        let seen = Examined::of(&web);
        assert_eq!(
            seen.json["skipped"],
            serde_json::json!([]),
            "the clock and all else are seen"
        );

        shell(&web, &format!("systemctl stop {apache}"));
        finds(
            &web,
            2,
            &format!("broken apache: {apache} does not run (inactive)"),
        );
        shell(
            &web,
            &format!("systemctl start {apache}; systemctl disable {apache}"),
        );
        finds(&web, 1, &format!("warning apache: {apache} is not enabled"));
        shell(
            &web,
            &format!("systemctl enable {apache}; systemctl stop {cron}"),
        );
        finds(&web, 2, &format!("broken cron: {cron} does not run"));
        shell(
            &web,
            &format!("systemctl start {cron}; systemctl disable agentd"),
        );
        finds(&web, 1, "warning unit: agentd.service is disabled");
        shell(&web, "systemctl enable agentd; chattr +i /etc/hosts");
        finds(&web, 2, "broken targets: /etc/hosts is immutable");
        shell(
            &web,
            "chattr -i /etc/hosts; mount --bind /etc/hosts /etc/hosts",
        );
        finds(&web, 1, "warning targets: /etc/hosts is a mount of its own");
        shell(
            &web,
            "umount /etc/hosts; mount --bind /etc/cron.d /etc/cron.d; mount -o remount,bind,ro /etc/cron.d",
        );
        finds(
            &web,
            2,
            "broken targets: /etc/cron.d is on a file system that is mounted read-only",
        );
        shell(&web, "umount /etc/cron.d");
        let conf = match image {
            Image::Debian => "/etc/apache2/conf-enabled/bad.conf",
            Image::CentosLayout => "/etc/httpd/conf.d/bad.conf",
        };
        shell(&web, &format!("echo Nonsense >{conf}"));
        finds(&web, 2, "broken apache: Apache's configuration is wrong");
        shell(&web, &format!("rm {conf}"));
        finds_nothing(&web);

        bucket.freeze().unwrap();
        let start = Instant::now();
        finds(&web, 2, "no complete answer within 2s");
        assert!(start.elapsed() < Duration::from_secs(30));
        bucket.thaw().unwrap();
        web.kill_unit("agentd.service", "STOP").unwrap();
        finds(&web, 2, "broken agent: agentd does not answer within 2 s");
        web.kill_unit("agentd.service", "CONT").unwrap();
        see(&web, "agentctl status to be 0", || settled(&web));
        finds_nothing(&web);
    }
}

#[test]
fn an_agent_that_cannot_start_is_explained_and_nothing_is_changed() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let web = fleet.boot(web_1(Image::CentosLayout).unwrap()).unwrap();
    see(&web, "agentctl status to be 0", || settled(&web));

    shell(
        &web,
        "systemctl stop agentd; sleep 1; touch /run/before; sleep 0.1",
    );
    finds(&web, 2, "broken agent: the agent does not run");
    let changed = shell(
        &web,
        "find /etc /srv /usr /var/lib /run/agentd -newer /run/before",
    );
    assert_eq!(changed, "");

    shell(
        &web,
        "cp /etc/agentd/agentd.toml /run/good; sed -i s/poll/pol/ /etc/agentd/agentd.toml",
    );
    finds(
        &web,
        2,
        "broken configuration: /etc/agentd/agentd.toml:3: `pol = \"500ms\"`",
    );
    shell(&web, "systemctl start --no-block agentd");
    see(&web, "the doctor to tell", || {
        let findings = Examined::of(&web).findings();
        findings.iter().any(|finding| {
            finding.contains("broken unit: agentd.service has failed, and is not started again")
        })
    });
    shell(
        &web,
        "cp /run/good /etc/agentd/agentd.toml; sed -i s/10.77.0.1:9000/nowhere.invalid/ /etc/agentd/agentd.toml",
    );
    finds(
        &web,
        2,
        "broken bucket: cannot get s3://fleet/prod/fleet.json",
    );
    let said = web.run(&["agentctl", "doctor"]).unwrap().stdout;
    assert!(said.contains("/etc/resolv.conf"), "{said}");
    shell(
        &web,
        "cp /run/good /etc/agentd/agentd.toml; sed -i s/^AWS_/X/ /etc/agentd/credentials; systemctl restart agentd",
    );
    finds(&web, 2, "no credentials");
    shell(
        &web,
        "sed -i s/^X/AWS_/ /etc/agentd/credentials; systemctl restart agentd",
    );
    see(&web, "agentctl status to be 0", || settled(&web));

    shell(&web, "systemctl mask --runtime --now agentd");
    finds(&web, 2, "broken unit: agentd.service is masked");
    shell(
        &web,
        "systemctl unmask --runtime agentd; sed 's/^WatchdogSec=.*/WatchdogSec=0/' /usr/lib/systemd/system/agentd.service >/etc/systemd/system/agentd.service; systemctl daemon-reload; systemctl start agentd",
    );
    finds(
        &web,
        1,
        "warning unit: /etc/systemd/system/agentd.service is not the unit of this version",
    );
    shell(&web, "rm /etc/systemd/system/agentd.service");
    finds(&web, 1, "warning unit: agentd.service was changed on disk");
    shell(&web, "systemctl daemon-reload; systemctl restart agentd");
    see(&web, "agentctl status to be 0", || settled(&web));

    // A full disk of its own.
    shell(
        &web,
        "systemctl stop agentd; mount -t tmpfs -o size=1m probe /var/lib/agentd; cat /dev/zero >/var/lib/agentd/fill 2>/dev/null || true",
    );
    finds(&web, 2, "broken disk: the disk of /var/lib/agentd is full");
    shell(&web, "umount /var/lib/agentd; systemctl start agentd");
    see(&web, "agentctl status to be 0", || settled(&web));
    finds_nothing(&web);
}

#[test]
fn the_status_tells_of_an_apache_that_stopped() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let image = Image::CentosLayout;
    let web = fleet.boot(web_1(image).unwrap()).unwrap();
    see(&web, "agentctl status to be 0", || settled(&web));
    let status = || web.run(&["agentctl", "status"]).unwrap();

    // One that could be started would be: see `read_at_night.rs`.
    shell(
        &web,
        "echo Nonsense >>/etc/httpd/conf/httpd.conf; systemctl stop httpd",
    );
    // At the next look, which a person need not wait for.
    shell(&web, "systemctl reload agentd");
    see(&web, "the status to tell", || {
        status()
            .stdout
            .contains("httpd.service does not run: no site of this box is served")
    });
    assert_eq!(status().code, Some(1));
    shell(&web, "sed -i /Nonsense/d /etc/httpd/conf/httpd.conf");
    see(&web, "the status to be good again, by itself", || {
        settled(&web)
    });
}
