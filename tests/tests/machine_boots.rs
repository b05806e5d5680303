//! The machines that other tests stand on: they boot, keep their disks, reach each other, and leave nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use node_agent_tests::machine::{Fleet, Image, Machine, MachineSpec, TEST_ADDRESS, wait_until};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn each_image_boots_to_running() {
    let fleet = Fleet::new().unwrap();
    let specs = [
        MachineSpec::new("plain", Image::Debian, "10.77.0.11"),
        MachineSpec::new("home", Image::CentosLayout, "10.77.0.12"),
    ];
    for spec in specs {
        let (name, image, start) = (spec.name.clone(), spec.image, Instant::now());
        // A unit that fails at boot is an error of `boot`.
        let machine = fleet.boot(spec).unwrap();
        println!("{image:?}: running after {:?}", start.elapsed());
        assert_eq!(machine.read("/proc/1/comm").unwrap(), "systemd\n");
        assert_eq!(machine.must(&["hostname"]).unwrap().trim(), name);
        assert!(machine.is_active(image.cron_unit()));
        assert!(!machine.is_active(image.apache_unit()));
        let release = machine.read("/etc/os-release").unwrap();
        assert_eq!(
            release.contains("ID=\"centos\""),
            image == Image::CentosLayout
        );
        let test = match image {
            Image::Debian => ["apache2ctl", "-t", "-D", "AGENTD_STAGED"],
            Image::CentosLayout => ["/usr/sbin/httpd", "-t", "-D", "AGENTD_STAGED"],
        };
        let checked = machine.run(&test).unwrap();
        assert!(checked.success(), "{}", checked.stderr);
    }
}

#[test]
fn apache_answers_another_machine_until_the_cable_is_cut() {
    let fleet = Fleet::new().unwrap();
    let machines = fleet
        .boot_all(vec![
            MachineSpec::new("home", Image::CentosLayout, "10.77.0.11")
                .enable("httpd.service")
                .file("/var/www/html/hello", "hello from home"),
            MachineSpec::new("plain", Image::Debian, "10.77.0.12")
                .enable("apache2.service")
                .file("/var/www/html/hello", "hello from plain"),
        ])
        .unwrap();
    let [home, plain] = machines.as_slice() else {
        panic!("asked for two machines");
    };
    let answer = |from: &Machine, to: &Machine| {
        let url = format!("http://{}/hello", to.address());
        from.get(&url, None)
            .ok()
            .map(|(code, body)| format!("{code} {body}"))
    };
    assert_eq!(answer(plain, home).as_deref(), Some("200 hello from home"));
    assert_eq!(answer(home, plain).as_deref(), Some("200 hello from plain"));

    fleet.cut(home).unwrap();
    assert_eq!(answer(plain, home), None);
    assert!(home.get("http://127.0.0.1/hello", None).is_ok());
    fleet.heal(home).unwrap();
    wait_until("the network to heal", SOON, || {
        answer(plain, home).is_some()
    })
    .unwrap();

    home.freeze().unwrap();
    assert_eq!(answer(plain, home), None);
    home.thaw().unwrap();
    assert_eq!(answer(plain, home).as_deref(), Some("200 hello from home"));

    home.must(&["systemctl", "reload", "httpd.service"])
        .unwrap();
    home.kill_unit("httpd.service", "KILL").unwrap();
    wait_until("httpd to be gone", SOON, || {
        !home.is_active("httpd.service")
    })
    .unwrap();
    assert_eq!(answer(plain, home), None);
}

#[test]
fn a_disk_survives_a_reboot_and_a_power_cut() {
    let fleet = Fleet::new().unwrap();
    let machine = fleet
        .boot(MachineSpec::new("box", Image::Debian, "10.77.0.11").enable("memcached.service"))
        .unwrap();
    machine
        .write("/var/lib/kept/file", b"\0written before\n")
        .unwrap();
    machine.write("/run/lost", b"not on the disk").unwrap();
    let boot = || machine.read("/proc/sys/kernel/random/boot_id").unwrap();
    let identity = || machine.read("/etc/machine-id").unwrap();
    let (first, id) = (boot(), identity());

    let took = machine.reboot().unwrap();
    println!("reboot: {took:?}");
    let second = boot();
    assert_ne!(first, second);
    assert_eq!(id, identity());
    assert_eq!(
        machine.read("/var/lib/kept/file").unwrap(),
        "\0written before\n"
    );
    assert!(!machine.exists("/run/lost"));

    machine.power_off().unwrap();
    assert!(machine.run(&["true"]).is_err());
    machine.power_on().unwrap();
    assert_ne!(second, boot());
    assert!(machine.exists("/var/lib/kept/file"));
    // The journal too: three starts, and one proper stop.
    let journal = machine.journal("memcached.service").unwrap();
    assert_eq!(journal.matches("Started memcached").count(), 3, "{journal}");
    assert_eq!(journal.matches("Stopped memcached").count(), 1, "{journal}");
}

#[test]
fn a_server_of_the_test_is_reached_by_machines_and_by_nobody_else() {
    let fleet = Fleet::new().unwrap();
    let machine = fleet
        .boot(MachineSpec::new("box", Image::Debian, "10.77.0.11"))
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let listing = ["python3", "-u", "-m", "http.server", "9000"];
    let place = ["--bind", TEST_ADDRESS, "--directory"];
    let path = directory.path().to_str().unwrap();
    let argv = [&listing[..], &place, &[path]].concat();
    let mut server = fleet.spawn_in_net(&argv, &[]).unwrap();
    server.wait_for("Serving HTTP", SOON).unwrap();

    let url = format!("http://{TEST_ADDRESS}:9000/");
    assert_eq!(machine.get(&url, None).unwrap().0, 200);
    let elsewhere = Fleet::new().unwrap();
    let curl = ["curl", "--silent", "--max-time", "5", &url];
    assert!(fleet.run(&curl, SOON).unwrap().success());
    assert!(!elsewhere.run(&curl, SOON).unwrap().success());

    drop(server);
    assert!(machine.get(&url, None).is_err());
}

#[test]
fn nothing_is_left_even_by_a_killed_test() {
    let own = std::env::current_exe().unwrap();
    let mut victim = Command::new(own)
        .args(["--ignored", "--exact", "victim", "--nocapture"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = victim.id();
    let mut said = std::io::BufReader::new(victim.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("victim: up") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        assert_ne!(read, 0, "the victim ended before its machine was up");
    }
    let left = || traces(pid);
    assert!(left().len() > 5, "cannot see a fleet at work: {:?}", left());
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the processes of the fleet to end", SOON, || {
        left().is_empty()
    })
    .unwrap();

    // Its control groups are all that is left, and the next fleet sweeps them away.
    drop(Fleet::new().unwrap());
    assert_eq!(groups(pid), Vec::<PathBuf>::new());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("/run/machines"), "{mounts}");
    let links = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    assert!(!links.contains("port1"), "{links}");
}

/// Killed by `nothing_is_left_even_by_a_killed_test`.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn victim() {
    let fleet = Fleet::new().unwrap();
    let _machine = fleet
        .boot(MachineSpec::new("box", Image::Debian, "10.77.0.11"))
        .unwrap();
    let _server = fleet.spawn_in_net(&["sleep", "60"], &[]).unwrap();
    println!("victim: up");
    std::thread::sleep(Duration::from_mins(1));
}

/// The control groups of the fleets of a process.
fn groups(owner: u32) -> Vec<PathBuf> {
    let prefix = format!("node-agent-fleet-{owner}-");
    let of_owner = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(&prefix)
    };
    let mut all = Vec::new();
    let mut rest = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = rest.pop() {
        let (found, more): (Vec<_>, Vec<_>) = below(&directory).into_iter().partition(of_owner);
        all.extend(found);
        rest.extend(more);
    }
    all
}

/// The processes in the fleets of a process.
fn traces(owner: u32) -> Vec<String> {
    let mut rest = groups(owner);
    let mut found = Vec::new();
    while let Some(group) = rest.pop() {
        let listed = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        found.extend(listed.lines().map(str::to_owned));
        rest.extend(below(&group));
    }
    found
}

/// The directories in a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}
