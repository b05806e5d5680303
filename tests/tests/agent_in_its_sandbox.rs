//! Promise: the agent's unit gives up what the work does not need, and nothing that it does.
//!
//! What children may and may not is tried in a unit with the very directives of `agentd.service`. Whatever must be
//! refused there is first seen to succeed without them. That the agent's own work is done under the unit as shipped is
//! shown by all tests that boot machines.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::fmt::Write as _;
use std::time::Duration;

use node_agent_tests::machine::watch::{Story, converged, sample, see};
use node_agent_tests::machine::{Fleet, FleetBucket, Image, Machine, MachineSpec, with_agent};
use serde_json::json;

/// What `systemd-analyze security` of systemd 252 may say at most, in tenths. Without a sandbox it said 8.3.
const EXPOSURE: &str = "33";

/// Directives of the unit that say what is run and when, not with which rights.
const NOT_RIGHTS: [&str; 8] = [
    "Type=",
    "NotifyAccess=",
    "Exec",
    "EnvironmentFile=",
    "Restart",
    "Watchdog",
    "Timeout",
    "KillMode=",
];

/// Runs a shell script with the rights of the agent's children: whether it ended well, and what it said.
fn in_sandbox(machine: &Machine, script: &str) -> (bool, String) {
    let shipped = machine
        .read("/usr/lib/systemd/system/agentd.service")
        .unwrap();
    let mut unit = String::from(
        "[Service]\nType=oneshot\nTimeoutStartSec=60s\nExecStart=/bin/sh /run/probe.sh\n",
    );
    for line in shipped
        .lines()
        .skip_while(|line| *line != "[Service]")
        .skip(1)
    {
        if line.starts_with('[') {
            break;
        }
        if !line.starts_with('#') && !NOT_RIGHTS.iter().any(|other| line.starts_with(other)) {
            let _ = writeln!(unit, "{line}");
        }
    }
    // A directory of its own: the daemon's would be removed with the probe.
    let unit = unit.replace("Directory=agentd", "Directory=probe");
    machine
        .write("/run/systemd/system/probe.service", unit.as_bytes())
        .unwrap();
    machine
        .write(
            "/run/probe.sh",
            format!("exec >/run/probe.said 2>&1\nset -e\n{script}\n").as_bytes(),
        )
        .unwrap();
    machine.must(&["systemctl", "daemon-reload"]).unwrap();
    let done = machine
        .run_with(
            &["systemctl", "start", "probe.service"],
            b"",
            Duration::from_mins(1),
        )
        .unwrap();
    let said = machine.read("/run/probe.said").unwrap_or_default();
    (done.success(), said)
}

#[track_caller]
fn works(machine: &Machine, what: &str, script: &str) {
    let (success, said) = in_sandbox(machine, script);
    assert!(success, "{:?}: {what}: {said}", machine.image());
}

/// Refused in the sandbox, and not only for want of something.
#[track_caller]
fn is_refused(machine: &Machine, what: &str, script: &str) {
    let outside = machine.run(&["sh", "-ec", script]).unwrap();
    assert!(outside.success(), "{what} fails outside too: {outside:?}");
    let (success, said) = in_sandbox(machine, script);
    assert!(
        !success,
        "{:?}: {what} works in the sandbox: {said}",
        machine.image()
    );
}

#[test]
fn the_work_of_all_children_is_possible_and_little_else() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let spec = MachineSpec::new("box", image, "10.77.0.11")
            .enable(image.apache_unit())
            .with_agent_installed("trust = \"none\"\nfleet = \"file:///srv/bucket\"\n")
            .unwrap();
        let machine = fleet.boot(spec).unwrap();

        let apache = image.apache_unit();
        let test = match image {
            Image::Debian => "/usr/sbin/apache2ctl -t -D AGENTD_STAGED",
            Image::CentosLayout => "/usr/sbin/httpd -t -D AGENTD_STAGED",
        };
        works(&machine, "Apache's configuration test", test);
        machine
            .write(
                "/home/somebody/cert/site.conf",
                b"# a part of a vhost in a home\n",
            )
            .unwrap();
        machine.must(&["chmod", "700", "/home/somebody"]).unwrap();
        works(
            &machine,
            "a home is read",
            "cat /home/somebody/cert/site.conf",
        );
        works(
            &machine,
            "systemctl",
            &format!(
                "systemctl show --property=ActiveState {apache}\nsystemctl reload {apache}\nsystemctl restart {apache}\n\
             systemctl is-active {apache}\nsystemctl disable {apache}\nsystemctl enable {apache}"
            ),
        );
        works(
            &machine,
            "files of any owner, replaced by a rename",
            r"
            for dir in /etc /srv /var/lib /opt /run; do
                echo old >$dir/file; chown nobody $dir/file; chmod 0600 $dir/file
                echo new >$dir/.file; chown nobody:nogroup $dir/.file; mv $dir/.file $dir/file
                chmod 0400 $dir/file; grep -q new $dir/file; rm $dir/file
            done
            cp -p /etc/hosts /etc/.hosts; mv /etc/.hosts /etc/hosts",
        );
        works(
            &machine,
            "a user's home",
            "mkdir /home/probe; chown nobody /home/probe; rmdir /home/probe",
        );
        works(
            &machine,
            "another's process is signalled",
            "pid=$(systemctl show --value --property=MainPID dbus.service)\nkill -0 $pid",
        );
        works(
            &machine,
            "another account is taken on",
            "test $(setpriv --reuid=65534 --regid=65534 --clear-groups id -u) = 65534",
        );
        works(
            &machine,
            "a firewall's rules",
            "nft add table inet probe\nnft list table inet probe\nnft delete table inet probe",
        );
        works(
            &machine,
            "processes, ports and mounts are seen",
            "ls /proc/1/task\ncat /proc/net/tcp /proc/sys/kernel/random/boot_id\ngrep -q ' / ' /proc/self/mountinfo",
        );
        works(
            &machine,
            "names, addresses",
            "getent hosts localhost\nip addr show lo",
        );
        // What changes the base system gets out.
        works(
            &machine,
            "an account and a package's file, outside",
            r"
            systemd-run --quiet --pipe --wait --collect useradd --create-home probe
            getent passwd probe
            systemd-run --quiet --pipe --wait --collect touch /usr/lib/probe
            test -e /usr/lib/probe -a -d /home/probe
            systemd-run --quiet --pipe --wait --collect userdel --remove probe
            ! systemd-run --quiet --pipe --wait --collect false",
        );

        for (what, script) in [
            ("writing to /usr", "touch /usr/bin/probe; rm /usr/bin/probe"),
            (
                "writing to /boot",
                "mkdir -p /boot; touch /boot/probe; rm /boot/probe",
            ),
            (
                "writing to root's home",
                "touch /root/probe; rm /root/probe",
            ),
            (
                "a set-user-ID program",
                "cp /bin/true /run/probe-suid; chmod 4755 /run/probe-suid; rm /run/probe-suid",
            ),
            ("mounting", "mount -t tmpfs probe /mnt; umount /mnt"),
            ("a name space", "unshare --mount true"),
            (
                "a device",
                "mknod /run/probe-null c 1 3; rm /run/probe-null",
            ),
            ("the host name", "hostname box"),
            ("another root", "chroot / true"),
            ("niceness", "nice -n -5 sh -c 'test $(nice) = -5'"),
            (
                "a raw socket",
                "perl -MSocket -e 'socket(my $s, 17, SOCK_RAW, 0) or die $!'",
            ),
            (
                "others' files in /tmp",
                "systemd-run --quiet --wait touch /tmp/probe; test -e /tmp/probe",
            ),
        ] {
            is_refused(&machine, what, script);
        }
    }
}

#[test]
fn a_database_can_be_asked_and_killed() {
    let fleet = Fleet::new().unwrap();
    let spec = MachineSpec::new("db", Image::Debian, "10.77.0.31")
        .with_agent_installed("trust = \"none\"\nfleet = \"file:///srv/bucket\"\n")
        .unwrap();
    let machine = fleet.boot(spec).unwrap();
    machine
        .must(&["systemctl", "start", "mariadb.service"])
        .unwrap();
    machine
        .write("/etc/agentd/database.cnf", b"[client]\nuser=root\n")
        .unwrap();
    machine
        .must(&["chmod", "600", "/etc/agentd/database.cnf"])
        .unwrap();
    works(
        &machine,
        "SQL over the socket",
        "mariadb --defaults-file=/etc/agentd/database.cnf -e 'SELECT 1; SET GLOBAL read_only = 1'",
    );
    works(
        &machine,
        "a dump",
        "mariadb-dump --defaults-file=/etc/agentd/database.cnf --all-databases >/var/lib/probe/dump && test -s /var/lib/probe/dump",
    );
    works(
        &machine,
        "mysqld is killed by its pid",
        "kill -KILL $(systemctl show --value --property=MainPID mariadb.service)",
    );
    see(&machine, "systemd to start mysqld again", || {
        machine
            .property("mariadb.service", "NRestarts")
            .is_ok_and(|number| number == "1")
            && machine.is_active("mariadb.service")
    });
    works(
        &machine,
        "mysqld is killed by systemctl",
        "systemctl kill --signal=KILL mariadb.service",
    );
    works(
        &machine,
        "mysqld is stopped",
        "systemctl stop mariadb.service",
    );
}

#[test]
fn the_sandbox_is_as_tight_as_it_was_when_it_was_measured() {
    let fleet = Fleet::new().unwrap();
    let spec = MachineSpec::new("box", Image::CentosLayout, "10.77.0.11")
        .with_agent_installed("trust = \"none\"\nfleet = \"file:///srv/bucket\"\n")
        .unwrap();
    let machine = fleet.boot(spec).unwrap();
    let threshold = format!("--threshold={EXPOSURE}");
    let analyzed = machine
        .run(&[
            "systemd-analyze",
            "security",
            "--no-pager",
            &threshold,
            "agentd.service",
        ])
        .unwrap();
    println!("{}", analyzed.stdout.lines().last().unwrap_or_default());
    assert!(analyzed.success(), "{}{}", analyzed.stdout, analyzed.stderr);
    // Nothing in it that this systemd does not know, or knows otherwise. Its manual pages are in the packages.
    let verified = machine
        .run(&[
            "systemd-analyze",
            "verify",
            "--man=no",
            "agentd.service",
            "agentd-memcached@shop.service",
        ])
        .unwrap();
    assert!(verified.success(), "{}", verified.stderr);
    let own: Vec<_> = verified
        .stderr
        .lines()
        .filter(|line| line.contains("agentd"))
        .collect();
    assert_eq!(own, Vec::<&str>::new());
}

#[test]
fn labels_of_a_disk_that_once_had_selinux_keep_nobody_from_writing() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    let spec = with_agent(MachineSpec::new("web-1", Image::CentosLayout, "10.77.0.11")).unwrap();
    let web = fleet.boot(spec).unwrap();
    web.must(&["perl", "-e", SET_LABEL]).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    see(&web, "the hosts to be written", || {
        web.read("/etc/hosts")
            .is_ok_and(|hosts| hosts.contains("mysql-master"))
    });
}

/// setxattr(2) by its number on x86-64: the image has no setfattr.
const SET_LABEL: &str = r#"my ($path, $name, $value) = ("/etc/hosts", "security.selinux", "system_u:object_r:net_conf_t:s0\0");
syscall(188, $path, $name, $value, length $value, 0) == 0 or die "setxattr: $!";"#;

#[test]
fn a_host_name_that_is_set_late_is_seen() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&sample(1, |_| ())).unwrap();
    let spec = with_agent(MachineSpec::new("nobody", Image::Debian, "10.77.0.21")).unwrap();
    let machine = fleet.boot(spec).unwrap();
    assert!(!converged(&machine), "{}", Story(&machine));
    machine.must(&["hostname", "cache-1"]).unwrap();
    // A HUP makes a run now; who it is is asked once a minute.
    let soon = Duration::from_secs(90);
    node_agent_tests::machine::wait_until("the agent to find itself", soon, || converged(&machine))
        .unwrap_or_else(|e| panic!("{e}\n{}", Story(&machine)));
}

#[test]
fn a_file_in_a_place_of_its_own_wants_a_drop_in_and_the_report_says_which() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket
        .publish(&sample(1, |signed| {
            signed["products"]["shop"]["cache"]["list"]["path"] = json!("/data/shop/nodes.json");
        }))
        .unwrap();
    let spec = with_agent(MachineSpec::new("web-1", Image::Debian, "10.77.0.11"))
        .unwrap()
        .file("/data/README", "the data");
    let web = fleet.boot(spec).unwrap();
    let said = || web.run(&["agentctl", "status"]).unwrap().stdout;
    see(&web, "the status to say what to do", || {
        said().contains("ReadWritePaths=/data (it must exist)")
    });
    // As `systemctl edit` would.
    let drop_in = "/etc/systemd/system/agentd.service.d/override.conf";
    web.write(drop_in, b"[Service]\nReadWritePaths=/data\n")
        .unwrap();
    web.must(&["systemctl", "daemon-reload"]).unwrap();
    web.must(&["systemctl", "restart", "agentd"]).unwrap();
    see(&web, "the list in its place", || {
        web.exists("/data/shop/nodes.json")
    });
}
