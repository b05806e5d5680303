//! How long a machine takes from power-on until it is as the document says, beside the same machine without the agent.

use std::time::{Duration, Instant};

use node_agent_tests::machine::{
    Fleet, FleetBucket, Image, Machine, MachineSpec, run, wait_until, with_agent,
};

use crate::Result;
use crate::measure::{percentile, sorted};
use crate::table::{table, time};

/// Boots of each kind.
const BOOTS: usize = 10;
const PATIENCE: Duration = Duration::from_mins(1);
const DOCUMENT: &str = include_str!("../../../fleets/five.json");

/// What a machine is booted for.
#[derive(Clone, Copy)]
struct Case {
    role: &'static str,
    name: &'static str,
    address: &'static str,
    serves: fn(&Fleet, &Machine) -> bool,
}

const CASES: [Case; 2] = [
    Case {
        role: "web, 2 sites",
        name: "web-1",
        address: "10.77.0.11",
        serves: |fleet, machine| {
            // From outside, as a visitor asks.
            let url = format!("http://{}/", machine.address());
            let host = "Host: shop.example.com";
            let argv = ["curl", "-sf", "--max-time", "1", "-H", host, &url];
            fleet
                .run(&argv, PATIENCE)
                .is_ok_and(|said| said.stdout == "the shop")
        },
    },
    Case {
        role: "memcached, 2 instances",
        name: "cache-1",
        address: "10.77.0.21",
        serves: |fleet, machine| {
            ["11211", "11311"].iter().all(|port| {
                let script = r#"exec 3<>"/dev/tcp/$1/$2""#;
                let argv = ["bash", "-c", script, "ask", machine.address(), port];
                fleet.run(&argv, PATIENCE).is_ok_and(|said| said.success())
            })
        },
    },
];

/// The section `boot`.
pub fn report() -> Result<String> {
    let mut rows = Vec::new();
    for image in Image::ALL {
        for case in CASES {
            rows.push(measure(image, case)?);
        }
    }
    let title = format!("From power-on to as the document says, {BOOTS} boots of each kind");
    let head = [
        "machine",
        "booted, without the agent",
        "booted",
        "first boot: converged, serving",
        "worst",
        "later boots: converged, serving",
        "worst",
    ];
    let load = run(&["cat", "/proc/loadavg"], b"", PATIENCE)?.stdout;
    Ok(format!(
        "{}\nMedians, unless it says worst. A machine is a container with a systemd of its own, and the bucket is on its \
         network. \"Booted\" is systemd's word: multi-user.target is reached and no job is left. \"Converged, serving\": \
         `agentctl status` says so, and the site or the instances answer over the network; asked about every 50 ms. The load \
         was {} when these ended.\n",
        table(&title, &head, &rows),
        load.split_whitespace().next().unwrap_or_default(),
    ))
}

fn spec(image: Image, case: Case) -> MachineSpec {
    let spec = MachineSpec::new(case.name, image, case.address);
    if case.name.starts_with("web") {
        spec.enable(image.apache_unit())
            .file("/srv/shop/current/public/index.html", "the shop")
            .file("/srv/video/current/public/index.html", "the videos")
    } else {
        spec
    }
}

fn measure(image: Image, case: Case) -> Result<Vec<String>> {
    let (mut bare, mut booted, mut first, mut later) = (vec![], vec![], vec![], vec![]);
    for _ in 0..BOOTS {
        // The kinds take turns, so that a machine whose speed changes changes it for all of them.
        let fleet = Fleet::new()?;
        let machine = fleet.rack(spec(image, case))?;
        let start = Instant::now();
        machine.power_on()?;
        bare.push(start.elapsed());
        drop(machine);

        let fleet = Fleet::new()?;
        let bucket = FleetBucket::start(&fleet)?;
        bucket.publish(&serde_json::from_str(DOCUMENT)?)?;
        let machine = fleet.rack(with_agent(spec(image, case))?)?;
        first.push(boot(&fleet, &machine, case)?.1);
        machine.shut_down()?;
        let (up, converged) = boot(&fleet, &machine, case)?;
        booted.push(up);
        later.push(converged);
    }
    let layout = match image {
        Image::Debian => "Debian",
        Image::CentosLayout => "CentOS's layout",
    };
    let (first, later) = (sorted(first), sorted(later));
    Ok(vec![
        format!("{}, {layout}", case.role),
        time(percentile(&sorted(bare), 50)),
        time(percentile(&sorted(booted), 50)),
        time(percentile(&first, 50)),
        time(percentile(&first, 100)),
        time(percentile(&later, 50)),
        time(percentile(&later, 100)),
    ])
}

/// Powers on: the time until systemd is done, and until all is as the document says.
fn boot(fleet: &Fleet, machine: &Machine, case: Case) -> Result<(Duration, Duration)> {
    let start = Instant::now();
    machine.switch_on()?;
    std::thread::scope(|scope| {
        let booted = scope.spawn(|| machine.wait_running().map(|()| start.elapsed()));
        wait_until(
            "the machine to serve as the document says",
            PATIENCE,
            || {
                (case.serves)(fleet, machine)
                    && machine
                        .run(&["agentctl", "status"])
                        .is_ok_and(|said| said.code == Some(0))
            },
        )?;
        let converged = start.elapsed();
        let booted = booted.join().map_err(|_| "the boot's watcher panicked")??;
        Ok((booted, converged))
    })
}
