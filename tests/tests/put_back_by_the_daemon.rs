//! What does not work is put back by the daemon as by a single run: once, without a word more than is news, while everything
//! else goes on.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::machine::{Fleet, Image, wait_until};
use node_agent_tests::web::WebBox;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// Longer than several of the daemon's looks and polls.
const QUIET: Duration = Duration::from_secs(25);
const GONE: &str = "<VirtualHost *:{{ port }}>\n    ServerName {{ server_name }}\n    RedirectMatch 410 \"^/\"\n{{ probe }}\n</VirtualHost>\n";
const WRONG: &str = "<VirtualHost *:{{ port }}>\n    ServerName {{ server_name }}\n    NoSuchDirective on\n{{ probe }}\n</VirtualHost>\n";

fn boot(fleet: &Fleet, image: Image) -> WebBox {
    let web = WebBox::boot(fleet, image, |spec| {
        spec.file("/srv/www/index.html", "the shop")
            .file("/etc/agentd/templates/gone.conf.j2", GONE)
            .file("/etc/agentd/templates/wrong.conf.j2", WRONG)
    })
    .unwrap();
    web.publish(&sites(&Value::Null)).unwrap();
    web.machine
        .must(&["systemctl", "start", "agentd.service"])
        .unwrap();
    wait_until("the first run", SOON, || {
        status(&web)["health"] == "converged"
    })
    .unwrap();
    web
}

fn sites(next: &Value) -> Value {
    let mut sites = json!({"www": {"domains": ["shop.example.com"], "root": "/srv/www"}});
    if !next.is_null() {
        sites["next"] = next.clone();
    }
    sites
}

fn status(web: &WebBox) -> Value {
    let said = web
        .machine
        .run(&["agentctl", "status", "--output", "json"])
        .unwrap();
    serde_json::from_str(&said.stdout).unwrap_or_default()
}

/// Publishes, and has the daemon ask at once.
fn publish(web: &WebBox, next: &Value) {
    web.publish(&sites(next)).unwrap();
    web.machine
        .must(&["systemctl", "reload", "agentd.service"])
        .unwrap();
}

fn serves(web: &WebBox) -> bool {
    web.ask(80, "shop.example.com", "/") == Some((200, "the shop".to_owned()))
}

fn records(web: &WebBox) -> String {
    web.machine
        .must(&[
            "find",
            "/var/lib/agentd",
            "-path",
            "*/runs/*",
            "-o",
            "-path",
            "*/backups/*",
        ])
        .unwrap()
}

#[test]
fn once_and_quietly() {
    for (image, template, switched) in [
        (Image::Debian, "gone", true),
        (Image::CentosLayout, "wrong", false),
    ] {
        let fleet = Fleet::new().unwrap();
        let web = boot(&fleet, image);
        let (generation, reloads) = (web.generation().unwrap(), web.reloads().unwrap());
        let next = |template: &str| {
            let mut next = json!({"domains": ["next.example.com"], "root": "/srv/www"});
            if !template.is_empty() {
                next["template"] = template.into();
            }
            next
        };
        publish(&web, &next(template));
        wait_until("the quarantine", SOON, || {
            status(&web)["steps"]["quarantined"] == 1
        })
        .unwrap();
        // There and back, where it came so far; and never again.
        let reloads = reloads + if switched { 2 } else { 0 };
        let kept = records(&web);
        std::thread::sleep(QUIET);
        assert_eq!(web.reloads().unwrap(), reloads, "{image:?}");
        assert_eq!(web.generation().unwrap(), generation);
        assert_eq!(
            records(&web),
            kept,
            "{image:?}: the same failure is news again"
        );
        assert!(serves(&web));
        let reasons = status(&web)["reasons"].to_string();
        assert!(reasons.contains("shop/next"), "{reasons}");

        publish(&web, &next(""));
        wait_until("the mended version", SOON, || {
            status(&web)["health"] == "converged"
                && web.proves(80, "next.example.com", "next").unwrap_or(false)
        })
        .unwrap();
    }
}
