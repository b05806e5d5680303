//! The agent on real machines: what it makes of them at boot, while it runs, and when the bucket is away.

use std::time::{Duration, Instant};

use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, ask_memcached, wait_until, with_agent,
};
use serde_json::{Value, json};

/// Longer than any step should take on a busy host.
const SOON: Duration = Duration::from_secs(30);

/// The sample fleet, at a version, changed as the test wants.
fn document(version: u64, change: impl FnOnce(&mut Value)) -> Value {
    let sample = include_str!("../fleets/heavy.json");
    let mut document: Value = serde_json::from_str(sample).unwrap_or_default();
    if let Some(signed) = document.get_mut("signed") {
        change(signed);
    }
    if let Some(said) = document.pointer_mut("/signed/version") {
        *said = json!(version);
    }
    document
}

/// A web server's own part of the fleet: Apache, and the sites' code.
fn web(image: Image) -> MachineSpec {
    let spec = MachineSpec::new("web-1", image, "10.77.0.11")
        .enable(image.apache_unit())
        .file("/srv/shop/current/public/index.html", "the shop")
        .file("/srv/shop/current/admin/index.html", "the shop's office")
        .file("/srv/shop/current/beta/index.html", "the next shop")
        .file("/srv/video/current/public/index.html", "the videos");
    with_agent(spec).unwrap_or_else(|e| unready(&e))
}

fn cache(image: Image) -> MachineSpec {
    let spec = MachineSpec::new("cache-1", image, "10.77.0.21");
    with_agent(spec).unwrap_or_else(|e| unready(&e))
}

#[expect(clippy::panic, reason = "a test cannot go on without its machine")]
fn unready(why: &dyn std::error::Error) -> ! {
    panic!("{why}")
}

/// What a site of `machine` answers: status code and body.
fn site(machine: &Machine, domain: &str) -> Option<(u16, String)> {
    let url = format!("http://{}/", machine.address());
    machine.get(&url, Some(domain)).ok()
}

fn serves(machine: &Machine, domain: &str, body: &str) -> bool {
    site(machine, domain) == Some((200, body.to_owned()))
}

/// `agentctl status` says that all is as it should be.
fn converged(machine: &Machine) -> bool {
    machine
        .run(&["agentctl", "status"])
        .is_ok_and(|said| said.code == Some(0))
}

/// What to print when a wait was in vain.
fn story(machine: &Machine) -> String {
    let status = machine.run(&["agentctl", "status"]);
    let status = status.map_or_else(|e| e.to_string(), |said| said.stdout + &said.stderr);
    let log = machine.journal("agentd.service").unwrap_or_default();
    format!("{}\n{status}\n{log}", machine.name())
}

#[track_caller]
#[expect(
    clippy::panic,
    reason = "the test fails here, with the machine's own words"
)]
fn see(machine: &Machine, what: &str, holds: impl FnMut() -> bool) -> Duration {
    match wait_until(what, SOON, holds) {
        Ok(took) => took,
        Err(e) => panic!("{e}\n{}", story(machine)),
    }
}

#[test]
fn a_web_box_serves_its_sites_from_its_first_boot_on() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&document(1, |_| ())).unwrap();
        let start = Instant::now();
        let web = fleet.boot(web(image)).unwrap();
        let booted = start.elapsed();
        see(&web, "the shop", || {
            serves(&web, "shop.example.com", "the shop")
        });
        println!(
            "{image:?}: booted after {booted:?}, served after {:?}",
            start.elapsed()
        );
        see(&web, "agentctl status to be 0", || converged(&web));
        started_in_order(&web);
        nothing_is_left_undone(&web);
        assert!(serves(&web, "www.shop.example.com", "the shop"));
        assert!(serves(&web, "video.example.com", "the videos"));
        // On its own port, for the addresses that the document allows.
        let office = web.get("http://127.0.0.1:8080/", Some("admin.shop.example.com"));
        assert_eq!(office.unwrap(), (200, "the shop's office".to_owned()));
        let office = web.get("http://10.77.0.11:8080/", Some("admin.shop.example.com"));
        assert_eq!(office.unwrap().0, 200);
        let stranger = [
            "curl",
            "-s",
            "-H",
            "Host: admin.shop.example.com",
            "http://10.77.0.11:8080/",
        ];
        let stranger = fleet.run(&stranger, SOON).unwrap();
        assert!(
            stranger.stdout.contains("office"),
            "10.77.0.1 is in 10.0.0.0/8: {stranger:?}"
        );

        let hosts = web.read("/etc/hosts").unwrap();
        // Somebody's lines are theirs. The agent's stand before them, where nothing shadows them.
        assert!(hosts.contains("\n127.0.0.1\tlocalhost\n"), "{hosts}");
        assert!(
            hosts.contains("10.77.0.31") && hosts.contains("mysql-master"),
            "{hosts}"
        );
        assert_eq!(
            web.must(&["getent", "hosts", "cache-1"])
                .unwrap()
                .split_whitespace()
                .next(),
            Some("10.77.0.21")
        );
        assert!(
            web.read("/etc/shop/memcached.json")
                .unwrap()
                .contains("10.77.0.22")
        );
        let jobs = web.must(&["sh", "-c", "cat /etc/cron.d/agentd-*"]).unwrap();
        assert!(jobs.contains("/srv/shop/current/bin/tick"), "{jobs}");
        assert!(jobs.contains(r"date +\%F"), "{jobs}");
        // cron took them: it complains in its log of those that it cannot read.
        let log = web.journal(image.cron_unit()).unwrap();
        assert!(!log.contains("agentd-"), "{log}");

        // Another site, while requests go on: none fails, for the reload is graceful.
        let asking = r"while [ ! -e /run/enough ]; do
            curl -sf --max-time 5 -H 'Host: shop.example.com' http://10.77.0.11/ >/dev/null || echo failed; done";
        let failures = std::thread::scope(|scope| {
            let asked = scope.spawn(|| web.run_with(&["sh", "-c", asking], b"", SOON).unwrap());
            bucket
                .publish(&document(2, |signed| {
                    signed["products"]["shop"]["sites"]["beta"] =
                        json!({"domains": ["beta.shop.example.com"], "root": "/srv/shop/current/beta"});
                }))
                .unwrap();
            let took = see(&web, "the new site", || {
                serves(&web, "beta.shop.example.com", "the next shop")
            });
            println!("{image:?}: a new site served {took:?} after it was published");
            web.write("/run/enough", b"").unwrap();
            asked.join().unwrap().stdout
        });
        assert_eq!(failures, "");

        // A reboot of a machine with all of it in place.
        let took = web.reboot().unwrap();
        println!("{image:?}: rebooted in {took:?}");
        see(&web, "the shop after a reboot", || {
            serves(&web, "shop.example.com", "the shop")
        });
        see(&web, "agentctl status to be 0", || converged(&web));
        started_in_order(&web);
        nothing_is_left_undone(&web);
    }
}

/// Apache was started by systemd itself, once, after the agent had written what it serves.
#[track_caller]
fn started_in_order(web: &Machine) {
    let apache = web.image().apache_unit();
    let stamp = |unit, property| -> u64 {
        let stamp = web.property(unit, property);
        stamp.map_or(0, |stamp| stamp.parse().unwrap_or_default())
    };
    let agent = stamp("agentd.service", "ActiveEnterTimestampMonotonic");
    let started = stamp(apache, "ExecMainStartTimestampMonotonic");
    assert!(agent > 0 && agent <= started, "{agent} {started}");
}

/// What the first run had to leave to systemd is done: activations, jobs.
#[track_caller]
fn nothing_is_left_undone(machine: &Machine) {
    see(machine, "nothing to be pending", || {
        !machine.exists("/var/lib/agentd/pending")
    });
    assert_eq!(
        machine
            .must(&["systemctl", "list-jobs", "--no-legend"])
            .unwrap_or_else(|e| unready(&e)),
        ""
    );
}

#[test]
fn a_memcached_box_runs_one_instance_a_product() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&document(1, |_| ())).unwrap();
        let cache = fleet.boot(cache(image)).unwrap();
        let ask =
            |port, words| ask_memcached(&cache, "10.77.0.21", port, words).unwrap_or_default();
        let megabytes = |port| {
            let stats = ask(port, "stats");
            let line = stats
                .lines()
                .find_map(|line| line.strip_prefix("STAT limit_maxbytes "));
            line.and_then(|bytes| bytes.trim().parse::<u64>().ok())
                .map(|bytes| bytes >> 20)
        };
        see(&cache, "shop's instance", || megabytes(11211) == Some(64));
        see(&cache, "video's instance", || megabytes(11311) == Some(128));
        assert!(ask(11211, "version").starts_with("VERSION "));
        let elsewhere = ask_memcached(&cache, "127.0.0.1", 11211, "version");
        assert!(
            elsewhere.is_err(),
            "listens where it should not: {elsewhere:?}"
        );
        see(&cache, "agentctl status to be 0", || converged(&cache));
        let pid = |product: &str| {
            cache
                .property(&format!("agentd-memcached@{product}.service"), "MainPID")
                .unwrap()
        };
        let (shop, video) = (pid("shop"), pid("video"));

        bucket
            .publish(&document(2, |signed| {
                signed["products"]["shop"]["cache"]["memory"] = json!("96M");
            }))
            .unwrap();
        see(&cache, "shop's new memory", || megabytes(11211) == Some(96));
        assert_ne!(pid("shop"), shop);
        assert_eq!(
            pid("video"),
            video,
            "video's instance was restarted for nothing"
        );

        // One that died is started again, by systemd.
        let shop = pid("shop");
        cache.must(&["kill", "-KILL", &shop]).unwrap();
        see(&cache, "shop's instance to come back", || {
            megabytes(11211) == Some(96)
        });

        bucket
            .publish(&document(3, |signed| {
                signed["products"]["shop"]["cache"]["memory"] = json!("96M");
                signed["servers"]["cache-1"]["products"] = json!(["shop"]);
            }))
            .unwrap();
        see(&cache, "video's instance to be gone", || {
            ask(11311, "version").is_empty()
        });
        see(&cache, "its environment file to be gone", || {
            !cache.exists("/etc/agentd/memcached/video.env")
        });
        see(&cache, "its unit to be stopped", || {
            !cache.is_active("agentd-memcached@video.service")
        });
        see(&cache, "agentctl status to be 0", || converged(&cache));
        assert_eq!(megabytes(11211), Some(96));

        let took = cache.reboot().unwrap();
        println!("{image:?}: rebooted in {took:?}");
        see(&cache, "shop's instance after a reboot", || {
            megabytes(11211) == Some(96)
        });
        assert!(ask(11311, "version").is_empty());
    }
}

#[test]
fn a_boot_does_not_wait_for_the_bucket_and_goes_by_the_last_good_document() {
    let fleet = Fleet::new().unwrap();
    // `boot` returns when multi-user.target is reached and no job is left; nothing listens where the bucket should be.
    let start = Instant::now();
    let web = fleet.boot(web(Image::CentosLayout)).unwrap();
    println!("booted without a bucket in {:?}", start.elapsed());
    assert!(web.is_active("multi-user.target"));
    assert!(web.is_active("agentd.service"));
    let said = web.run(&["agentctl", "status"]).unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");

    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&document(1, |_| ())).unwrap();
    let took = see(&web, "the shop", || {
        serves(&web, "shop.example.com", "the shop")
    });
    println!("served {took:?} after the bucket came");
    see(&web, "agentctl status to be 0", || converged(&web));

    // The bucket goes; while the machine is off, somebody damages what the agent keeps.
    drop(bucket);
    web.must(&["systemctl", "stop", "agentd.service"]).unwrap();
    web.must(&[
        "sh",
        "-c",
        "rm /etc/cron.d/agentd-* && sed -i /cache-1/d /etc/hosts",
    ])
    .unwrap();
    let took = web.reboot().unwrap();
    println!("rebooted without a bucket in {took:?}");
    see(&web, "the hosts to be mended", || {
        web.read("/etc/hosts")
            .is_ok_and(|hosts| hosts.contains("cache-1"))
    });
    see(&web, "the cron jobs to be mended", || {
        web.run(&["sh", "-c", "cat /etc/cron.d/agentd-*"])
            .is_ok_and(|said| said.stdout.contains("bin/tick"))
    });
    assert!(serves(&web, "shop.example.com", "the shop"));
    // It says so, too.
    see(
        &web,
        "agentctl status to say that the bucket is away",
        || {
            web.run(&["agentctl", "status"])
                .is_ok_and(|said| said.code == Some(1))
        },
    );

    // The plug is pulled while the bucket hangs instead of refusing.
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.freeze().unwrap();
    web.power_off().unwrap();
    let start = Instant::now();
    web.power_on().unwrap();
    println!("booted with a hung bucket in {:?}", start.elapsed());
    assert!(serves(&web, "shop.example.com", "the shop"));
    bucket.thaw().unwrap();
    bucket.publish(&document(2, |_| ())).unwrap();
    see(&web, "agentctl status to be 0", || converged(&web));
}

#[test]
fn an_apache_that_starts_slowly_holds_nothing_up() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&document(1, |_| ())).unwrap();
    let spec = web(Image::CentosLayout).file(
        "/etc/systemd/system/httpd.service.d/slow.conf",
        "[Service]\nExecStartPre=/bin/sleep 5\n",
    );
    // The agent looks after what it left to systemd while Apache is not up yet.
    let web = fleet.boot(spec).unwrap();
    see(&web, "agentctl status to be 0", || converged(&web));
    nothing_is_left_undone(&web);
    assert!(serves(&web, "shop.example.com", "the shop"));
    assert_eq!(web.property("agentd.service", "NRestarts").unwrap(), "0");

    // One that cannot start is told, and does not keep the machine from booting, nor the rest from being kept.
    web.write(
        "/etc/systemd/system/httpd.service.d/slow.conf",
        b"[Service]\nExecStartPre=/bin/false\n",
    )
    .unwrap();
    web.must(&["systemctl", "stop", "httpd.service"]).unwrap();
    web.must(&["sh", "-c", "rm /etc/cron.d/agentd-*"]).unwrap();
    web.shut_down().unwrap();
    web.switch_on().unwrap();
    see(&web, "the cron jobs to be mended", || {
        web.exists("/etc/cron.d/agentd-shop_tick")
    });
    see(&web, "the boot to end", || {
        web.is_active("multi-user.target")
    });
    assert!(!web.is_active("httpd.service"));
}

#[test]
fn drift_is_repaired_within_a_second() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    let many = document(1, |signed| {
        for number in 1..=20 {
            signed["products"]["shop"]["cron"][format!("job-{number}")] = json!({"schedule": "0 4 * * *", "user": "root", "command": "/bin/true", "on": ["web"]});
        }
    });
    bucket.publish(&many).unwrap();
    let web = fleet.boot(web(Image::CentosLayout)).unwrap();
    see(&web, "agentctl status to be 0", || converged(&web));
    // The bucket away: what repairs is the watch, not the poll.
    drop(bucket);

    // Each line: what was done to which file, and after how many milliseconds it was whole again.
    let script = r##"
        once() {
            cp -p "$2" /run/whole
            from=${EPOCHREALTIME/./}
            case $1 in
            edited) echo "# by hand" >>"$2" ;;
            shortened) sed -i /cache-1/d "$2" ;;
            removed) rm "$2" ;;
            replaced) echo other >"$2.other" && mv "$2.other" "$2" ;;
            esac
            until cmp -s "$2" /run/whole; do sleep 0.002; done
            echo "$1 $2 $(( (${EPOCHREALTIME/./} - from) / 1000 ))"
        }
        # Three times each: with more, the agent would call it a fight and take its time.
        for file in /etc/shop/memcached.json /etc/cron.d/agentd-*; do
            for how in edited removed replaced; do once $how $file; done
            sleep 0.$((RANDOM % 10))
            # In /etc/hosts only the lines between the markers are the agent's.
            [ $((turn++)) -ge 3 ] || once shortened /etc/hosts
        done"##;
    let said = web
        .run_with(&["bash", "-c", script], b"", Duration::from_mins(2))
        .unwrap();
    assert!(said.success(), "{said:?}\n{}", story(&web));
    let mut times: Vec<u64> = said
        .stdout
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    times.sort_unstable();
    let slowest = *times.last().unwrap();
    println!(
        "{} repairs: median {} ms, p99 {} ms, slowest {slowest} ms",
        times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    assert!(times.len() >= 40, "{}", said.stdout);
    assert!(slowest < 1000, "{}\n{}", said.stdout, story(&web));
    // Somebody's lines in /etc/hosts are theirs: they stay.
    let hosts = web.read("/etc/hosts").unwrap();
    assert!(hosts.contains("\n127.0.0.1\tlocalhost\n"), "{hosts}");
}

#[test]
fn systemd_keeps_the_agent_alive_and_stops_it_cleanly() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&document(1, |_| ())).unwrap();
    let shorter = "[Service]\nWatchdogSec=3s\n";
    let spec = cache(Image::Debian).file(
        "/etc/systemd/system/agentd.service.d/watchdog.conf",
        shorter,
    );
    let cache = fleet.boot(spec).unwrap();
    see(&cache, "agentctl status to be 0", || converged(&cache));
    let unit = |property| cache.property("agentd.service", property).unwrap();

    // The unit as it is shipped asks for a watchdog.
    let shipped = cache
        .read("/usr/lib/systemd/system/agentd.service")
        .unwrap();
    assert!(
        shipped.contains("\nWatchdogSec=") && shipped.contains("\nType=notify"),
        "{shipped}"
    );
    // Fed by progress: also while the bucket hangs for longer than the watchdog waits.
    bucket.freeze().unwrap();
    std::thread::sleep(Duration::from_secs(8));
    bucket.thaw().unwrap();
    assert_eq!(unit("NRestarts"), "0", "{}", story(&cache));
    assert_ne!(unit("StatusText"), "");

    // Nor is it stuck while it waits for a unit that takes its time to start.
    let slow = "[Service]\nExecStartPre=/bin/sleep 7\n";
    cache
        .write(
            "/etc/systemd/system/agentd-memcached@.service.d/slow.conf",
            slow.as_bytes(),
        )
        .unwrap();
    cache.must(&["systemctl", "daemon-reload"]).unwrap();
    bucket
        .publish(&document(2, |signed| {
            signed["products"]["shop"]["cache"]["memory"] = json!("96M");
        }))
        .unwrap();
    let took = see(&cache, "the slow restart", || {
        cache
            .read("/etc/agentd/memcached/shop.env")
            .is_ok_and(|env| env.contains("96"))
            && cache.is_active("agentd-memcached@shop.service")
    });
    assert!(took > Duration::from_secs(6), "{took:?}");
    see(&cache, "agentctl status to be 0", || converged(&cache));
    assert_eq!(unit("NRestarts"), "0", "{}", story(&cache));

    // An agent that hangs is killed and started again.
    cache.must(&["kill", "-STOP", &unit("MainPID")]).unwrap();
    let took = see(&cache, "the watchdog to bite", || unit("NRestarts") == "1");
    println!("a hung agent was replaced after {took:?}");
    see(&cache, "agentctl status to be 0", || converged(&cache));
    // One that is killed, too.
    let instance = cache
        .property("agentd-memcached@shop.service", "MainPID")
        .unwrap();
    cache.kill_unit("agentd.service", "KILL").unwrap();
    see(&cache, "the agent to come back", || {
        unit("NRestarts") == "2" && converged(&cache)
    });
    assert_eq!(
        cache
            .property("agentd-memcached@shop.service", "MainPID")
            .unwrap(),
        instance
    );

    // A stop is clean, quick, and leaves what it keeps running.
    let start = Instant::now();
    cache
        .must(&["systemctl", "stop", "agentd.service"])
        .unwrap();
    println!("stopped in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(unit("Result"), "success", "{}", story(&cache));
    assert_eq!(unit("ExecMainStatus"), "0");
    assert!(cache.is_active("agentd-memcached@shop.service"));
    let said = cache.run(&["agentctl", "status"]).unwrap();
    assert_eq!(said.code, Some(3), "{said:?}");
}
