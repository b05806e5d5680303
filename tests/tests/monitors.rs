//! The monitors that people have, asked as they ask: munin-node over TCP, NRPE from another machine, an NSCA daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use node_agent_tests::machine::{
    AddedFile, Fleet, FleetBucket, Image, Machine, MachineSpec, Output, repository, wait_until,
    with_agent,
};
use serde_json::{Value, json};

/// Longer than any step should take on a busy host.
const SOON: Duration = Duration::from_secs(30);

const WEB: &str = "10.77.0.11";
const MONITOR: &str = "10.77.0.41";

fn document(version: u64) -> Value {
    json!({"signatures": [], "signed": {
        "format": 1, "fleet": "test", "version": version,
        "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": {"web-1": {"address": WEB}, "monitor": {"address": MONITOR}},
        "roles": {}, "products": {},
    }})
}

#[expect(clippy::panic, reason = "a test cannot go on without it")]
fn packaged(path: &str) -> Vec<u8> {
    let path = repository().join("packaging").join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A file of `packaging/`, where a package puts it.
fn add(mut spec: MachineSpec, from: &str, to: &str, mode: u32) -> MachineSpec {
    spec.files.push(AddedFile {
        path: to.into(),
        bytes: packaged(from),
        mode,
    });
    spec
}

#[expect(clippy::panic, reason = "a test cannot go on without its machine")]
fn web(image: Image) -> MachineSpec {
    with_agent(MachineSpec::new("web-1", image, WEB)).unwrap_or_else(|e| panic!("{e}"))
}

fn monitor() -> MachineSpec {
    MachineSpec::new("monitor", Image::Debian, MONITOR)
}

#[track_caller]
#[expect(
    clippy::panic,
    reason = "the test fails here, with the machine's own words"
)]
fn see(machine: &Machine, what: &str, holds: impl FnMut() -> bool) -> Duration {
    wait_until(what, SOON, holds).unwrap_or_else(|e| {
        let log = machine.journal("agentd.service").unwrap_or_default();
        panic!("{e}\n{log}")
    })
}

/// `agentctl check` says that all is well, and of which version.
fn on_version(machine: &Machine, version: u64) -> bool {
    let said = machine.run(&["agentctl", "check"]);
    said.is_ok_and(|said| {
        said.code == Some(0) && said.stdout.contains(&format!("version {version},"))
    })
}

/// What munin-node at `machine` answers to these lines, from outside.
#[expect(clippy::panic, reason = "a test cannot go on without an answer")]
fn ask_munin(fleet: &Fleet, machine: &Machine, lines: &str) -> String {
    let script = r#"exec 3<>"/dev/tcp/$1/4949" && printf '%s\nquit\n' "$2" >&3 && cat <&3"#;
    let argv = ["bash", "-c", script, "ask", machine.address(), lines];
    let said = fleet.run(&argv, SOON).unwrap_or_else(|e| panic!("{e}"));
    let log = || machine.read("/var/log/munin/munin-node.log");
    assert!(said.success(), "{said:?}\n{}", log().unwrap_or_default());
    said.stdout
}

/// Fields with the values after them, by `graph.field`.
fn munin_lines(text: &str, attribute: &str) -> BTreeMap<String, String> {
    let mut graph = "";
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("multigraph ") {
            graph = name;
        } else if let Some((field, value)) = line.split_once(&format!(".{attribute} ")) {
            found.insert(format!("{graph}.{field}"), value.to_owned());
        }
    }
    found
}

#[test]
fn munin_node_draws_the_agent() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&document(7)).unwrap();
    let config = "port 4949\nhost 0.0.0.0\nuser root\ngroup root\nbackground 0\nsetsid 0\n\
        log_file /var/log/munin/munin-node.log\npid_file /run/munin/munin-node.pid\nallow ^10\\.77\\.0\\.\\d+$\n";
    let spec = web(Image::Debian).file("/etc/munin/munin-node.conf", config);
    let spec = add(
        spec,
        "munin/agentd",
        "/usr/share/munin/plugins/agentd",
        0o755,
    );
    let spec = add(
        spec,
        "munin/agentd.conf",
        "/etc/munin/plugin-conf.d/agentd",
        0o644,
    );
    let web = fleet.boot(spec).unwrap();
    see(&web, "version 7", || on_version(&web, 7));

    // Munin's own tool finds the plugin of use, has nothing to say against it, and links it.
    web.must(&["sh", "-c", "rm -f /etc/munin/plugins/*"])
        .unwrap();
    // It ends with an error, for plugins of servers that are not here.
    let said = web.run(&["munin-node-configure", "--suggest", "--families", "auto"]);
    let said = said.unwrap().stdout;
    let line = said.lines().find(|line| line.starts_with("agentd "));
    let columns: Vec<_> = line.unwrap().split('|').map(str::trim).collect();
    assert_eq!(columns, ["agentd", "no", "yes"], "{said}");
    let debug = "munin-node-configure --debug --shell --families auto 2>&1";
    let debug = web.run(&["sh", "-c", debug]).unwrap().stdout;
    assert!(!debug.contains("'suggest' capability"), "{debug}");
    let link = debug
        .lines()
        .find(|line| line.starts_with("ln -s") && line.contains("/agentd'"));
    web.must(&["sh", "-c", link.unwrap()]).unwrap();
    web.must(&["systemctl", "start", "munin-node.service"])
        .unwrap();

    // A master that knows no multigraphs is not offered it.
    let said = ask_munin(&fleet, &web, "list");
    assert!(said.starts_with("# munin node at web-1"), "{said}");
    assert!(!said.contains("agentd"), "{said}");
    let said = ask_munin(&fleet, &web, "cap multigraph\nlist");
    assert!(said.lines().any(|line| line.trim() == "agentd"), "{said}");

    let config = ask_munin(&fleet, &web, "cap multigraph\nconfig agentd");
    assert!(config.contains("\nmultigraph agentd_runs\n"), "{config}");
    assert!(munin_lines(&config, "value").is_empty(), "{config}");
    let fetch = ask_munin(&fleet, &web, "cap multigraph\nfetch agentd");
    let values = munin_lines(&fetch, "value");
    let fields: BTreeSet<_> = munin_lines(&config, "label").into_keys().collect();
    assert_eq!(fields, values.keys().cloned().collect());
    assert_eq!(values["agentd_up.up"], "1");
    assert_eq!(values["agentd_document_version.document_version"], "7");
    let number =
        |values: &BTreeMap<String, String>, name: &str| values[name].parse::<f64>().unwrap();
    assert!(number(&values, "agentd_runs.runs") >= 1.0);
    assert!(number(&values, "agentd_memory.memory") > 1e6);
    assert!(number(&values, "agentd_document_age.document_age") < 120.0);
    assert_eq!(munin_lines(&config, "type")["agentd_runs.runs"], "DERIVE");
    assert_eq!(munin_lines(&config, "min")["agentd_runs.runs"], "0");

    // With dirtyconfig, one question is enough.
    let dirty = ask_munin(&fleet, &web, "cap multigraph dirtyconfig\nconfig agentd");
    let dirty: BTreeSet<_> = munin_lines(&dirty, "value").into_keys().collect();
    assert_eq!(dirty, fields);

    // What happens is seen: somebody edits a file, and it is repaired.
    web.must(&["sed", "-i", "/10.77.0.11/d", "/etc/hosts"])
        .unwrap();
    see(&web, "the repair to be counted", || {
        let fetch = ask_munin(&fleet, &web, "cap multigraph\nfetch agentd");
        number(&munin_lines(&fetch, "value"), "agentd_runs.repairs") >= 1.0
    });

    // A dead agent is 0, and its numbers are none.
    web.must(&["systemctl", "stop", "agentd.service"]).unwrap();
    let fetch = ask_munin(&fleet, &web, "cap multigraph\nfetch agentd");
    let values = munin_lines(&fetch, "value");
    assert_eq!(values["agentd_up.up"], "0");
    assert_eq!(values["agentd_runs.runs"], "U");
    assert_eq!(fields, values.into_keys().collect());
}

/// Asks NRPE at `machine`, from `monitor`.
#[expect(clippy::panic, reason = "a test cannot go on without an answer")]
fn check_nrpe(monitor: &Machine, machine: &Machine, more: &[&str]) -> Output {
    let argv = [
        "/usr/lib/nagios/plugins/check_nrpe",
        "-t",
        "15",
        "-H",
        machine.address(),
    ];
    let said = monitor.run(&[&argv[..], more].concat());
    said.unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn nrpe_tells_the_monitor_machine() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&document(3)).unwrap();
    let allow = format!("allowed_hosts={MONITOR}\n");
    // Beside what is shipped, checks that are wrong on purpose, or short of patience.
    let more = "command[check_wrong]=/usr/bin/agentctl check --frobnicate\n\
        command[check_range]=/usr/bin/agentctl check -w ten\n\
        command[check_reading]=/usr/bin/agentctl check -w no_such_reading=10\n\
        command[check_help]=/usr/bin/agentctl check --help\n\
        command[check_version]=/usr/bin/agentctl check -V\n\
        command[check_silence]=/usr/bin/agentctl check bucket -w bucket_silence=62 -c bucket_silence=66\n";
    let spec = web(Image::Debian)
        .file("/etc/nagios/nrpe_local.cfg", allow)
        .file("/etc/nagios/nrpe.d/test.cfg", more)
        .enable("nagios-nrpe-server.service");
    let spec = add(
        spec,
        "nagios/nrpe.cfg",
        "/etc/nagios/nrpe.d/agentd.cfg",
        0o644,
    );
    let mut machines = fleet.boot_all(vec![spec, monitor()]).unwrap();
    let (monitor, web) = (machines.pop().unwrap(), machines.pop().unwrap());
    see(&web, "version 3", || on_version(&web, 3));

    // NRPE runs it as somebody who may read little.
    let uid = web.must(&[
        "sh",
        "-c",
        "ps -o user= -p $(systemctl show -P MainPID nagios-nrpe-server)",
    ]);
    assert_eq!(uid.unwrap().trim(), "nagios");
    let said = check_nrpe(&monitor, &web, &["-c", "check_agentd"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout
            .starts_with("AGENTD OK - web-1 on test version 3, confirmed "),
        "{said:?}"
    );
    assert!(said.stdout.contains(" | up=1;;1:;0 "), "{said:?}");
    // Also over version 2 of the protocol, which carries 1024 bytes.
    let old = check_nrpe(&monitor, &web, &["-2", "-c", "check_agentd"]);
    assert_eq!(old.code, Some(0), "{old:?}");
    let labels = |text: &str| text.matches('=').count();
    assert_eq!(labels(&old.stdout), labels(&said.stdout), "{old:?}");

    for (name, begins) in [
        (
            "check_wrong",
            "AGENTD UNKNOWN - wrong usage: unexpected argument '--frobnicate' found",
        ),
        (
            "check_range",
            "AGENTD UNKNOWN - wrong usage: invalid value 'ten'",
        ),
        (
            "check_reading",
            "AGENTD UNKNOWN - there is no reading `no_such_reading`",
        ),
        ("check_help", "Say to Nagios how this box is"),
        ("check_version", "agentctl"),
    ] {
        let said = check_nrpe(&monitor, &web, &["-c", name]);
        assert_eq!(said.code, Some(3), "{name}: {said:?}");
        assert!(said.stdout.starts_with(begins), "{name}: {said:?}");
    }

    // A document that is refused.
    let mut wrong = document(4);
    wrong["signed"]["servers"]["web-1"]["adress"] = json!("10.77.0.12");
    bucket.publish(&wrong).unwrap();
    see(&web, "the refusal to be a warning", || {
        let said = check_nrpe(&monitor, &web, &["-c", "check_agentd_document"]);
        said.code == Some(1)
            && said
                .stdout
                .starts_with("AGENTD DOCUMENT WARNING - version 4 was refused")
    });
    bucket.publish(&document(5)).unwrap();
    see(&web, "all to be well again", || {
        check_nrpe(&monitor, &web, &["-c", "check_agentd"]).code == Some(0)
    });

    // A bucket that hangs: a warning first, then critical. The status file may be a minute old.
    bucket.freeze().unwrap();
    let mut codes = Vec::new();
    let long = Duration::from_mins(2);
    wait_until("the silence to be critical", long, || {
        let code = check_nrpe(&monitor, &web, &["-c", "check_silence"]).code;
        if codes.last() != Some(&code) {
            codes.push(code);
        }
        code == Some(2)
    })
    .unwrap();
    assert_eq!(codes, [Some(0), Some(1), Some(2)]);
    bucket.thaw().unwrap();
    // The agent has become patient meanwhile: it is told to ask now.
    web.must(&["systemctl", "reload", "agentd.service"])
        .unwrap();
    see(&web, "the bucket to be heard again", || {
        check_nrpe(&monitor, &web, &["-c", "check_silence"]).code == Some(0)
    });

    // An agent that hangs does not hang the check; one that is dead is critical.
    web.kill_unit("agentd.service", "STOP").unwrap();
    let start = std::time::Instant::now();
    let said = check_nrpe(&monitor, &web, &["-c", "check_agentd"]);
    assert!(
        start.elapsed() < Duration::from_secs(10) && said.code == Some(0),
        "{said:?}"
    );
    web.kill_unit("agentd.service", "CONT").unwrap();
    web.must(&["systemctl", "stop", "agentd.service"]).unwrap();
    let said = check_nrpe(&monitor, &web, &["-c", "check_agentd"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stdout
            .starts_with("AGENTD CRITICAL - agentd is not running: systemctl start agentd | "),
        "{said:?}"
    );
    // As after a reboot at which it did not start.
    web.must(&["rm", "-r", "/run/agentd"]).unwrap();
    let said = check_nrpe(&monitor, &web, &["-c", "check_agentd"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stdout.contains("agentd has left no status since boot"),
        "{said:?}"
    );
    let said = check_nrpe(&monitor, &web, &["-c", "check_agentd_run"]);
    assert_eq!(said.code, Some(3), "{said:?}");
}

#[test]
fn passive_results_reach_an_nsca_daemon() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let bucket = FleetBucket::start(&fleet).unwrap();
        bucket.publish(&document(1)).unwrap();
        // Encrypted, with a password that only root may read.
        let secret = "password=only-for-tests\nencryption_method=16\n";
        let spec = add(
            web(image),
            "nagios/agentd-nsca.service",
            "/usr/lib/systemd/system/agentd-nsca.service",
            0o644,
        );
        let spec = add(
            spec,
            "nagios/agentd-nsca.timer",
            "/usr/lib/systemd/system/agentd-nsca.timer",
            0o644,
        );
        let env = String::from_utf8(packaged("nagios/nsca.env")).unwrap();
        let env = env.replace("monitor.example.net", MONITOR);
        let mut spec = spec.file("/etc/agentd/nsca.env", env);
        spec.files.push(AddedFile {
            path: "/etc/send_nsca.cfg".into(),
            bytes: secret.into(),
            mode: 0o600,
        });
        let daemon = "server_port=5667\nnsca_user=nagios\nnsca_group=nagios\ndebug=0\nmax_packet_age=30\n\
            command_file=/nowhere\nalternate_dump_file=/run/nagios/results\naggregate_writes=0\nappend_to_file=0\n\
            password=only-for-tests\ndecryption_method=16\npid_file=/run/nagios/nsca.pid\n";
        let monitor = monitor()
            .file("/etc/nsca.cfg", daemon)
            .file(
                "/usr/lib/tmpfiles.d/nagios-test.conf",
                "d /run/nagios 0755 nagios nagios\n",
            )
            .enable("nsca.service");
        let mut machines = fleet.boot_all(vec![spec, monitor]).unwrap();
        let (monitor, web) = (machines.pop().unwrap(), machines.pop().unwrap());
        see(&web, "version 1", || on_version(&web, 1));
        web.must(&["systemctl", "enable", "--now", "agentd-nsca.timer"])
            .unwrap();

        let results = || monitor.read("/run/nagios/results").unwrap_or_default();
        let result = |begins: &str| {
            results().lines().any(|line| {
                line.split_once("] ")
                    .is_some_and(|(_, line)| line.starts_with(begins))
            })
        };
        see(&web, "a result that all is well", || {
            result(
                "PROCESS_SERVICE_CHECK_RESULT;web-1;agentd;0;AGENTD OK - web-1 on test version 1, confirmed ",
            )
        });
        // Performance data come along.
        assert!(results().contains(" | up=1;;1:;0 "), "{}", results());

        // A dead agent is told too, and parts by themselves, under a name of one's own.
        web.must(&["systemctl", "stop", "agentd.service"]).unwrap();
        web.must(&["systemctl", "start", "agentd-nsca.service"])
            .unwrap();
        see(&web, "a result that the agent is dead", || {
            result(
                "PROCESS_SERVICE_CHECK_RESULT;web-1;agentd;2;AGENTD CRITICAL - agentd is not running",
            )
        });
        let options =
            "echo 'CHECK_OPTIONS=agent document --host www --service box' >>/etc/agentd/nsca.env";
        web.must(&["sh", "-c", options]).unwrap();
        web.must(&["systemctl", "start", "agentd-nsca.service"])
            .unwrap();
        for begins in [
            "PROCESS_SERVICE_CHECK_RESULT;www;box agent;2;AGENTD AGENT CRITICAL",
            "PROCESS_SERVICE_CHECK_RESULT;www;box document;0;AGENTD DOCUMENT OK",
        ] {
            see(&web, begins, || result(begins));
        }
        // A daemon that is away is a failed unit, not a hang.
        monitor
            .must(&["systemctl", "stop", "nsca.service"])
            .unwrap();
        let said = web
            .run(&["systemctl", "start", "agentd-nsca.service"])
            .unwrap();
        assert!(!said.success(), "{said:?}");
    }
}

#[test]
fn the_journal_has_events_with_fields() {
    let fleet = Fleet::new().unwrap();
    let bucket = FleetBucket::start(&fleet).unwrap();
    bucket.publish(&document(1)).unwrap();
    let web = fleet.boot(web(Image::CentosLayout)).unwrap();
    see(&web, "version 1", || on_version(&web, 1));
    web.must(&["sed", "-i", "/10.77.0.11/d", "/etc/hosts"])
        .unwrap();
    let mut wrong = document(2);
    wrong["signed"]["servers"]["web-1"]["adress"] = json!("10.77.0.12");
    bucket.publish(&wrong).unwrap();
    let events = |query: &[&str]| -> Vec<Value> {
        let argv = [
            "journalctl",
            "--no-pager",
            "--output=json",
            "--unit=agentd.service",
        ];
        let text = web.must(&[&argv[..], query].concat()).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    see(&web, "the refusal", || {
        !events(&["F_EVENT=document-refused"]).is_empty()
    });
    see(&web, "the repair", || {
        !events(&["F_EVENT=step-changed", "F_CAUSE=drift"]).is_empty()
    });
    let refused = events(&["F_EVENT=document-refused"]);
    assert_eq!(refused[0]["PRIORITY"], "3");
    assert_eq!(refused[0]["F_VERSION"], "2");
    assert_eq!(refused[0]["SYSLOG_IDENTIFIER"], "agentd");
    assert!(
        refused[0]["MESSAGE"].as_str().unwrap().contains("adress"),
        "{refused:?}"
    );
    let accepted = events(&["F_EVENT=document-accepted"]);
    assert_eq!(
        (&accepted[0]["PRIORITY"], &accepted[0]["F_FLEET"]),
        (&json!("5"), &json!("test"))
    );
    let changed = events(&["F_EVENT=step-changed", "F_CAUSE=drift"]);
    assert_eq!(changed[0]["F_STEP"], "hosts");
    // The message alone says it all: so does what people type.
    let repaired = "hosts: repaired: update /etc/hosts (somebody else changed it); agentctl show ";
    let said = web.must(&["journalctl", "--no-pager", "--unit=agentd.service"]);
    let said = said.unwrap();
    assert!(said.contains(repaired), "{said}");
    let accepted = "a new document: test version 1\n";
    assert!(said.contains(accepted), "{said}");
    // Each line of the daemon's own is an event with a name.
    for event in events(&["_COMM=agentd", "SYSLOG_IDENTIFIER=agentd"]) {
        assert!(event["F_EVENT"].is_string(), "{event}");
    }
}

#[test]
fn packaging_names_what_exists() {
    // The objects for Nagios ask for a command that the snippet for NRPE defines.
    let nrpe = String::from_utf8(packaged("nagios/nrpe.cfg")).unwrap();
    let objects = String::from_utf8(packaged("nagios/objects.cfg")).unwrap();
    assert!(nrpe.contains("command[check_agentd]=") && objects.contains("-c check_agentd\n"));
    assert!(Path::new(&repository().join("docs/monitoring.md")).exists());
}
