//! Promise: a dead, crashing or stuck agent is started again, always, and nobody but the agent notices.

use std::time::{Duration, Instant};

use node_agent_tests::machine::watch::{
    Apache, Story, converged, sample, see, serves, settled, web_1,
};
use node_agent_tests::machine::{Fleet, FleetBucket, Image, Machine};
use serde_json::json;

/// How often the agent is killed. systemd gives up after 5 starts in 10 s, unless the unit says otherwise.
const CRASHES: usize = 20;

fn unit(machine: &Machine, property: &str) -> String {
    machine
        .property("agentd.service", property)
        .unwrap_or_default()
}

#[test]
fn a_crash_loop_neither_ends_the_agent_nor_reloads_apache() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&sample(1, |_| ())).unwrap();
        // Faster than the unit as shipped, so that all of it is one burst.
        let spec = web_1(image).unwrap().file(
            "/etc/systemd/system/agentd.service.d/faster.conf",
            "[Service]\nRestartSec=50ms\n",
        );
        let web = fleet.boot(spec).unwrap();
        see(&web, "agentctl status to be 0", || settled(&web));
        see(&web, "the shop", || {
            serves(&web, "shop.example.com", "the shop")
        });
        // The count of reloads counts.
        let before = Apache::of(&web).unwrap();
        bucket
            .publish(&sample(2, |signed| {
                signed["products"]["shop"]["sites"]["www"]["domains"] =
                    json!(["shop.example.com", "two.example.com"]);
            }))
            .unwrap();
        see(&web, "a reload for a change", || {
            Apache::of(&web).is_ok_and(|apache| apache.reloads() == before.reloads() + 1)
        });
        see(&web, "agentctl status to be 0", || settled(&web));
        let before = Apache::of(&web).unwrap();

        let mut pid = String::from("0");
        for crash in 1..=CRASHES {
            see(&web, "a new agent", || {
                let now = unit(&web, "MainPID");
                let new = now != "0" && now != pid;
                if new {
                    pid = now;
                }
                new
            });
            // Sooner and later after its start: while it starts, in its first run, after it.
            std::thread::sleep(Duration::from_millis(15 * crash as u64));
            web.must(&["kill", "-KILL", &pid]).unwrap();
        }
        // The last one is not gone yet when it has been killed: what it said must not be taken for its successor's word.
        see(&web, "a restart after each crash", || {
            unit(&web, "NRestarts")
                .parse()
                .is_ok_and(|restarts: usize| restarts >= CRASHES)
        });
        see(&web, "agentctl status to be 0 after all crashes", || {
            converged(&web)
        });
        assert_eq!(Apache::of(&web).unwrap(), before, "{}", Story(&web));
        assert!(serves(&web, "shop.example.com", "the shop"));
    }
}

#[test]
fn a_stuck_loop_is_replaced_by_the_watchdog_and_apache_serves_on() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let image = Image::CentosLayout;
    let spec = web_1(image).unwrap().file(
        "/etc/systemd/system/agentd.service.d/stuck.conf",
        "[Service]\nWatchdogSec=2s\nEnvironment=AGENTD_HANG_WHILE=/run/hang\n",
    );
    let web = fleet.boot(spec).unwrap();
    see(&web, "agentctl status to be 0", || settled(&web));
    see(&web, "the shop", || {
        serves(&web, "shop.example.com", "the shop")
    });
    let before = Apache::of(&web).unwrap();

    // Its only thread gets stuck in the middle of a repair.
    web.write("/run/hang", b"").unwrap();
    web.must(&["rm", "/etc/cron.d/agentd-shop_tick"]).unwrap();
    let took = see(&web, "the watchdog to bite", || {
        // The signal comes first, the next start two seconds later.
        unit(&web, "Result") == "watchdog" || unit(&web, "NRestarts") == "1"
    });
    println!("a stuck loop was ended after {took:?}");
    assert!(
        took >= Duration::from_secs(1),
        "sooner than the watchdog: {took:?}\n{}",
        Story(&web)
    );
    assert!(serves(&web, "shop.example.com", "the shop"));
    web.must(&["rm", "/run/hang"]).unwrap();
    see(&web, "the next agent to do the repair", || {
        web.exists("/etc/cron.d/agentd-shop_tick") && converged(&web)
    });
    assert_eq!(unit(&web, "NRestarts"), "1", "{}", Story(&web));
    let log = web.journal("agentd.service").unwrap();
    assert!(log.contains("Watchdog timeout"), "{log}");

    // Stopped where it is: SIGABRT alone would not reach it.
    web.must(&["kill", "-STOP", &unit(&web, "MainPID")])
        .unwrap();
    let took = see(&web, "the watchdog to bite", || {
        unit(&web, "NRestarts") == "2"
    });
    println!("a stopped agent was replaced after {took:?}");
    see(&web, "agentctl status to be 0", || settled(&web));
    assert_eq!(Apache::of(&web).unwrap(), before, "{}", Story(&web));
}

#[test]
fn an_agent_that_starts_late_reloads_apache_without_waiting_for_itself() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&sample(1, |_| ())).unwrap();
        let web = fleet.boot(web_1(image).unwrap()).unwrap();
        see(&web, "agentctl status to be 0", || settled(&web));

        // Apache is ordered after the agent: a job of it waits until the agent is up, which waits for its first run.
        web.must(&["systemctl", "stop", "agentd.service"]).unwrap();
        bucket
            .publish(&sample(2, |signed| {
                signed["products"]["shop"]["sites"]["www"]["domains"] = json!(["two.example.com"]);
            }))
            .unwrap();
        let start = Instant::now();
        web.must(&["systemctl", "start", "agentd.service"]).unwrap();
        let took = start.elapsed();
        println!("{image:?}: the agent was up, and the new site served, after {took:?}");
        assert!(
            serves(&web, "two.example.com", "the shop"),
            "{}",
            Story(&web)
        );
        assert!(took < Duration::from_secs(10), "{took:?}\n{}", Story(&web));
    }
}
