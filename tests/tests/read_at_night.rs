//! Promise: what a person reads at night on a real machine is enough to act on: the real reason first, how to mend it, and
//! never something that is not so.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use node_agent_tests::machine::watch::{Story, converged, sample, see, serves, settled, web_1};
use node_agent_tests::machine::{Fleet, FleetBucket, Image, Machine};
use serde_json::json;

/// The exit code of a command, and all that it said.
fn said(machine: &Machine, argv: &[&str]) -> (Option<i32>, String) {
    let output = machine.run(argv).unwrap();
    (output.code, output.stdout + &output.stderr)
}

#[track_caller]
fn says(machine: &Machine, argv: &[&str], code: i32, parts: &[&str]) -> String {
    let (ended, text) = said(machine, argv);
    for part in parts {
        assert!(
            text.contains(part),
            "{part} is not in:\n{text}\n{}",
            Story(machine)
        );
    }
    assert_eq!(ended, Some(code), "{argv:?}: {text}\n{}", Story(machine));
    text
}

/// Replaces a string in a file of the machine.
fn edit(machine: &Machine, path: &str, from: &str, to: &str) {
    let text = machine.read(path).unwrap();
    assert!(text.contains(from), "{text}");
    machine
        .write(path, text.replace(from, to).as_bytes())
        .unwrap();
}

#[test]
fn commands_ask_the_bucket_as_the_agent_does() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let web = fleet.boot(web_1(Image::Debian).unwrap()).unwrap();
    see(&web, "agentctl status to be 0", || settled(&web));

    // The credentials are the unit's, and the shell has none.
    says(&web, &["agentd", "--noop"], 0, &["nothing to do"]);
    says(&web, &["agentctl", "plan"], 0, &["nothing to do"]);
    // Half a set in the shell does not spoil them.
    let half = ["env", "AWS_SESSION_TOKEN=expired", "agentctl", "plan"];
    says(&web, &half, 0, &["nothing to do"]);
    web.must(&["systemctl", "stop", "agentd"]).unwrap();
    says(&web, &["agentctl", "apply"], 0, &["nothing to do"]);

    // Why there is no document is told as it is: by every command, and by the agent.
    web.must(&["rm", "-r", "/var/lib/agentd"]).unwrap();
    edit(
        &web,
        "/etc/agentd/credentials",
        "SECRET_ACCESS_KEY=",
        "SECRET_ACCESS_KEY=not-",
    );
    for argv in [
        &["agentd", "--noop"][..],
        &["agentd", "--once"],
        &["agentctl", "apply"],
        &["agentctl", "plan"],
    ] {
        let text = says(&web, argv, 1, &["access denied"]);
        assert!(!text.contains("no document yet"), "{argv:?}: {text}");
    }
    web.must(&["systemctl", "start", "agentd"]).unwrap();
    see(&web, "the agent to say why", || {
        let (code, text) = said(&web, &["agentctl", "status"]);
        code == Some(1) && text.contains("access denied") && !text.contains("no document yet")
    });
    // No credentials at all: in a person's words, not the library's.
    web.must(&["systemctl", "stop", "agentd"]).unwrap();
    web.write(
        "/etc/agentd/credentials",
        b"AWS_EC2_METADATA_DISABLED=true\n",
    )
    .unwrap();
    let text = says(
        &web,
        &["agentd", "--noop"],
        1,
        &["no credentials", "AWS_ACCESS_KEY_ID"],
    );
    assert!(
        !text.contains("provider") && !text.contains("CredentialsNotLoaded"),
        "{text}"
    );

    // Who may read them is minded.
    web.write("/etc/agentd/environment", b"AWS_REGION=us-east-1\n")
        .unwrap();
    web.must(&["chmod", "0644", "/etc/agentd/environment"])
        .unwrap();
    let (_, text) = said(&web, &["agentctl", "doctor"]);
    assert!(
        text.contains("/etc/agentd/environment may be read by others than its owner (mode 0644)"),
        "{text}"
    );
}

#[test]
fn a_wrong_configuration_ends_the_agent_until_it_is_mended() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let web = fleet.boot(web_1(Image::Debian).unwrap()).unwrap();
    see(&web, "agentctl status to be 0", || settled(&web));
    edit(&web, "/etc/agentd/agentd.toml", "poll =", "pol =");
    let _ = web.run(&["systemctl", "restart", "agentd"]).unwrap();
    see(&web, "systemd to give up", || {
        web.property("agentd.service", "ActiveState").unwrap() == "failed"
    });
    // Longer than it would take to be started again.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(
        web.property("agentd.service", "ActiveState").unwrap(),
        "failed"
    );
    assert_eq!(
        web.property("agentd.service", "ExecMainStatus").unwrap(),
        "78"
    );
    let text = says(
        &web,
        &["agentctl", "doctor"],
        2,
        &["did you mean poll?", "is not started again"],
    );
    // It points to a file that a package does bring.
    assert!(
        text.contains("/usr/share/doc/node-agent/examples/agentd.toml"),
        "{text}"
    );
    edit(&web, "/etc/agentd/agentd.toml", "pol =", "poll =");
    web.must(&["systemctl", "restart", "agentd"]).unwrap();
    see(&web, "agentctl status to be 0", || converged(&web));
}

#[test]
fn apache_is_started_where_it_stands_still_and_told_where_it_cannot_be() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&sample(1, |_| ())).unwrap();
        let web = fleet.boot(web_1(image).unwrap()).unwrap();
        see(&web, "agentctl status to be 0", || settled(&web));
        let apache = image.apache_unit();

        // As a memcached that somebody stopped: the next run starts it, here asked for.
        web.must(&["systemctl", "stop", apache]).unwrap();
        let started = format!("start {apache}");
        says(
            &web,
            &["agentctl", "plan"],
            2,
            &["its service does not run"],
        );
        says(
            &web,
            &["agentctl", "apply", "--simple-exit"],
            0,
            &["repaired: its service does not run", &started],
        );
        see(&web, "the shop", || {
            serves(&web, "shop.example.com", "the shop")
        });

        // One that cannot start is critical, with the reason; nothing is quarantined, and mended it is started.
        let (main, wrong) = match image {
            Image::Debian => ("/etc/apache2/apache2.conf", "Nonsense here\n"),
            Image::CentosLayout => ("/etc/httpd/conf/httpd.conf", "Nonsense here\n"),
        };
        let good = web.read(main).unwrap();
        web.write(main, (good.clone() + wrong).as_bytes()).unwrap();
        web.must(&["systemctl", "stop", apache]).unwrap();
        let _ = web.run(&["agentctl", "apply"]).unwrap();
        see(&web, "the check to be critical", || {
            let (code, text) = said(&web, &["agentctl", "check"]);
            code == Some(2) && text.contains(&format!("{apache} does not run"))
        });
        let (code, text) = said(&web, &["agentctl", "status"]);
        assert!(code == Some(1) && text.contains("Nonsense"), "{text}");
        web.write(main, good.as_bytes()).unwrap();
        see(&web, "Apache to be started again", || {
            let _ = web.run(&["agentctl", "apply"]);
            serves(&web, "shop.example.com", "the shop")
        });
        see(&web, "agentctl status to be 0", || converged(&web));

        // Masked, it is meant to stand still.
        web.must(&["systemctl", "mask", "--now", apache]).unwrap();
        says(&web, &["agentctl", "plan"], 0, &["nothing to do"]);
    }
}

#[test]
fn the_reason_of_a_refused_site_stands_first_and_once() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let web = fleet.boot(web_1(Image::Debian).unwrap()).unwrap();
    see(&web, "agentctl status to be 0", || settled(&web));
    // Debian has mod_headers only when asked to.
    bucket
        .publish(&sample(2, |signed| {
            signed["products"]["shop"]["sites"]["www"]["headers"] = json!({"X-Shop": "1"});
        }))
        .unwrap();
    let first = "  - sites/shop/www: Invalid command 'Header', perhaps misspelled";
    see(&web, "the site to be refused", || {
        said(&web, &["agentctl", "status"]).1.contains(first)
    });
    let text = says(
        &web,
        &["agentctl", "status"],
        1,
        &[
            "is `Header ",
            "a2enmod headers, then agentctl apply --retry",
        ],
    );
    assert_eq!(text.matches("Invalid command").count(), 1, "{text}");
    // Nothing is cited that is not there any more, and nobody named who did not ask.
    assert!(!text.contains("/etc/apache2/agentd/"), "{text}");
    assert!(!text.contains("asked for by"), "{text}");
    let log = web
        .must(&["journalctl", "--no-pager", "--unit=agentd.service"])
        .unwrap();
    let told = "sites: FAILED: site shop/www: Invalid command 'Header'";
    assert!(log.contains(told), "{log}");

    // Another run, which had something else to do, does not hide the one that failed.
    web.must(&["sed", "-i", "/10.77.0.21/d", "/etc/hosts"])
        .unwrap();
    see(&web, "the repair", || {
        said(&web, &["agentctl", "history"])
            .1
            .contains("repaired hosts")
    });
    says(
        &web,
        &["agentctl", "show", "failed"],
        0,
        &["Invalid command 'Header'"],
    );
    // As it says.
    web.must(&["a2enmod", "--quiet", "headers"]).unwrap();
    says(
        &web,
        &["agentctl", "apply", "--retry", "--simple-exit"],
        0,
        &[],
    );
    see(&web, "agentctl status to be 0", || converged(&web));
}

#[test]
fn a_fight_that_has_ended_can_be_acknowledged() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let web = fleet.boot(web_1(Image::Debian).unwrap()).unwrap();
    see(&web, "agentctl status to be 0", || settled(&web));
    let fight = "for i in $(seq 40); do sed -i /10.77.0.21/d /etc/hosts; sleep 0.7; done";
    let fighting = format!("systemd-run --unit=fight sh -c '{fight}'");
    web.must(&["sh", "-c", &fighting]).unwrap();
    see(&web, "the fight to be told", || {
        said(&web, &["agentctl", "status"])
            .1
            .contains("again and again, last at 20")
    });
    web.must(&["systemctl", "stop", "fight.service"]).unwrap();
    web.must(&["systemctl", "reload", "agentd"]).unwrap();
    says(&web, &["agentctl", "status"], 1, &["agentctl status --ack"]);
    says(&web, &["agentctl", "status", "--ack"], 0, &["converged"]);
    see(&web, "agentctl status to be 0", || converged(&web));
}

#[test]
fn a_retired_machine_says_when_it_may_be_switched_off() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let web = fleet.boot(web_1(Image::Debian).unwrap()).unwrap();
    see(&web, "agentctl status to be 0", || settled(&web));
    bucket
        .publish(&sample(2, |signed| {
            signed["servers"]["web-1"]["state"] = json!("retired");
        }))
        .unwrap();
    see(&web, "the machine to be empty", || {
        said(&web, &["agentctl", "status"])
            .1
            .contains("nothing of the agent's is left, may be switched off")
    });
    let doctor = said(&web, &["agentctl", "doctor"]).1;
    assert!(
        doctor.contains("retired: nothing of the agent's is left, may be switched off"),
        "{doctor}"
    );
}
