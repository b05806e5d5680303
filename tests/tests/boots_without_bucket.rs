//! Promise: no boot waits for the bucket, whatever is wrong with it, and Apache starts with the sites that were kept.

use std::time::{Duration, Instant};

use node_agent_tests::machine::watch::{Story, converged, sample, see, serves, web_1};
use node_agent_tests::machine::{Fleet, FleetBucket, Image, Machine, TEST_ADDRESS};

/// The agent waits 3 s for the bucket, then it goes by what it has; the boot itself takes half a second.
/// The rest is for a busy host.
const AT_MOST: Duration = Duration::from_secs(15);

/// Boots it; how long it took until systemd had started everything.
fn boot(machine: &Machine, how: &str) -> String {
    let start = Instant::now();
    machine.power_on().unwrap_or_else(|e| unready(&e));
    let took = start.elapsed();
    assert!(machine.is_active("multi-user.target"));
    assert!(machine.is_active("agentd.service"));
    assert!(took < AT_MOST, "{how}: {took:?}\n{}", Story(machine));
    assert_eq!(
        machine.property("agentd.service", "NRestarts").ok(),
        Some("0".into())
    );
    format!("{:?}, {how}: booted in {took:?}", machine.image())
}

#[expect(clippy::panic, reason = "a test cannot go on without its machine")]
fn unready(why: &dyn std::error::Error) -> ! {
    panic!("{why}")
}

/// Apache was started by systemd itself, once, after the agent had said that it is up; with the sites.
#[track_caller]
fn serves_what_was_kept(machine: &Machine) {
    let stamp = |unit, property| -> u64 {
        let stamp = machine.property(unit, property);
        stamp.map_or(0, |stamp| stamp.parse().unwrap_or_default())
    };
    let apache = machine.image().apache_unit();
    let agent = stamp("agentd.service", "ActiveEnterTimestampMonotonic");
    let started = stamp(apache, "ExecMainStartTimestampMonotonic");
    assert!(agent > 0 && agent <= started, "{agent} {started}");
    assert!(
        serves(machine, "shop.example.com", "the shop"),
        "{}",
        Story(machine)
    );
}

#[test]
fn a_boot_is_not_held_up_by_a_bucket_that_is_away() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let start = Instant::now();
        let web = fleet.boot(web_1(image).unwrap()).unwrap();
        println!(
            "{image:?}, first boot, nobody listens: {:?}",
            start.elapsed()
        );
        assert!(start.elapsed() < AT_MOST, "{}", Story(&web));
        assert!(web.is_active(image.apache_unit()));
        assert!(!converged(&web));

        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&sample(1, |_| ())).unwrap();
        see(&web, "the shop", || {
            serves(&web, "shop.example.com", "the shop")
        });
        see(&web, "agentctl status to be 0", || converged(&web));

        bucket.freeze().unwrap();
        web.shut_down().unwrap();
        println!(
            "{}",
            boot(&web, "the bucket takes requests and answers none")
        );
        serves_what_was_kept(&web);
        bucket.thaw().unwrap();
        see(&web, "agentctl status to be 0", || converged(&web));

        web.shut_down().unwrap();
        fleet.cut(&web).unwrap();
        println!("{}", boot(&web, "the cable is cut"));
        serves_what_was_kept(&web);
        fleet.heal(&web).unwrap();
        see(&web, "agentctl status to be 0", || converged(&web));

        // The way to the bucket is closed: each request fails at once.
        let route = |verb| {
            let address = format!("{TEST_ADDRESS}/32");
            web.must(&["ip", "route", verb, "unreachable", &address])
                .unwrap();
        };
        route("add");
        web.shut_down().unwrap();
        println!("{}", boot(&web, "no route"));
        serves_what_was_kept(&web);
        see(&web, "the status to say that the bucket is away", || {
            !converged(&web)
        });
        route("del");
        see(&web, "agentctl status to be 0", || converged(&web));

        drop(bucket);
        web.shut_down().unwrap();
        println!("{}", boot(&web, "nobody listens"));
        serves_what_was_kept(&web);
    }
}
