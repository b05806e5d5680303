//! Promise: packages come, stay at their version and go as the document says, with the real dnf and the real apt; what goes
//! wrong with them is told for what it is, and mended where it can be.

#![cfg(test)]

use std::cell::Cell;
use std::time::{Duration, Instant};

use node_agent::database::lease::{self, Lease, LeaseState, Nonce, Previous};
use node_agent::fleet::Name;
use node_agent_tests::machine::watch::{Story, see};
use node_agent_tests::machine::{Fleet, Image, Machine, MachineSpec, Output};
use node_agent_tests::repository::{Made, ON_MACHINE, Repository};
use serde_json::{Value, json};

/// Each promise on machines of both layouts.
macro_rules! on_both {
    ($($promise:ident),+ $(,)?) => {
        mod dnf {
            $(#[test]
            fn $promise() {
                super::$promise(super::Image::CentosLayout);
            })+
        }

        mod apt {
            $(#[test]
            fn $promise() {
                super::$promise(super::Image::Debian);
            })+
        }
    };
}

on_both!(
    missing_packages_come_in_one_transaction_and_a_second_run_asks_nobody,
    a_version_is_kept_whoever_upgrades_moves_and_goes_back_only_with_a_word,
    one_wrong_name_does_not_keep_the_others,
    a_repository_that_is_away_is_waited_for,
    a_full_disk_is_told_and_nothing_is_half_there,
    who_holds_the_database_is_told_and_waited_for,
    a_script_that_hangs_is_ended_at_the_deadline_with_all_it_started,
    a_manager_that_is_killed_in_the_middle_is_told_to_go_on,
    an_agent_that_is_killed_in_the_middle_leaves_the_transaction_whole,
    what_is_absent_goes_and_takes_nothing_along,
    the_name_of_the_master_follows_while_packages_come,
);

/// The real Apache, of Debian's own packages.
#[test]
fn what_a_package_brings_serves_in_the_same_run() {
    let node = Box::new(Image::Debian, &[]);
    let machine = &node.machine;
    for package in ["apache2", "apache2-data"] {
        node.repository.add_fetched(package).unwrap();
    }
    node.repository.publish(machine).unwrap();
    let purge = [
        "dpkg",
        "--purge",
        "--force-depends",
        "apache2",
        "apache2-data",
    ];
    machine.must(&purge).unwrap();
    machine.write("/srv/www/index.html", b"it came\n").unwrap();
    assert!(!machine.exists("/usr/sbin/apache2ctl"));
    node.publish_fleet(&json!({
        "servers": {"web-1": {"address": "10.77.0.11", "roles": ["web"], "products": ["shop"]}},
        "roles": {"web": {
            "packages": ["httpd", "mod_ssl"],
            "services": {"httpd": {"running": true, "enabled": true}},
        }},
        "products": {"shop": {"sites": {"www": {"domains": ["shop.example.com"], "root": "/srv/www"}}}},
    }));
    let (code, said) = told(&node.apply());
    assert_eq!(code, Some(2), "{said}\n{}", Story(machine));
    let page = machine
        .get("http://10.77.0.11/", Some("shop.example.com"))
        .unwrap();
    assert_eq!(page, (200, "it came\n".to_owned()));
    let state = machine
        .property("apache2.service", "UnitFileState")
        .unwrap();
    assert_eq!(state, "enabled");
    assert_eq!(told(&node.apply()).0, Some(0));
}

/// Longer than any run takes here.
const LONG: Duration = Duration::from_mins(3);

/// A machine with the agent, which runs when it is told to, and a repository.
struct Box {
    machine: Machine,
    repository: Repository,
    version: Cell<u64>,
    _fleet: Fleet,
}

impl Box {
    fn new(image: Image, packages: &[Made<'_>]) -> Self {
        Self::with(image, packages, "", |spec| spec)
    }

    fn with(
        image: Image,
        packages: &[Made<'_>],
        settings: &str,
        change: impl FnOnce(MachineSpec) -> MachineSpec,
    ) -> Self {
        let repository = Repository::new(image).unwrap();
        for made in packages {
            repository.add(made).unwrap();
        }
        let fleet = Fleet::new().unwrap();
        let config =
            format!("fleet = \"file:///srv/bucket\"\ntrust = \"none\"\npoll = \"1h\"\n{settings}");
        let spec = MachineSpec::new("web-1", image, "10.77.0.11");
        let spec = change(spec.agent(&config).unwrap());
        let spec = spec.file("/srv/bucket/.keep", "");
        let machine = fleet.rack(spec).unwrap();
        let made = Self {
            machine,
            repository,
            version: Cell::new(0),
            _fleet: fleet,
        };
        made.machine.power_on().unwrap();
        made.repository.publish(&made.machine).unwrap();
        made
    }

    /// Publishes the next version, which wants these packages.
    fn publish(&self, packages: &Value) {
        self.publish_fleet(&json!({
            "servers": {"web-1": {"address": "10.77.0.11", "roles": ["web"]}},
            "roles": {"web": {"packages": packages}},
        }));
    }

    /// Publishes the next version, of which only the header is missing.
    fn publish_fleet(&self, parts: &Value) {
        self.version.set(self.version.get() + 1);
        let mut signed = json!({
            "format": 1, "fleet": "test", "version": self.version.get(),
            "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
        });
        for (name, part) in parts.as_object().unwrap() {
            signed[name] = part.clone();
        }
        let document = json!({"signatures": [], "signed": signed});
        let path = "/srv/bucket/fleet.json";
        self.machine
            .write(path, document.to_string().as_bytes())
            .unwrap();
    }

    fn apply(&self) -> Output {
        self.machine
            .run_with(&["agentctl", "apply"], b"", LONG)
            .unwrap()
    }

    /// The next version, with these packages, is applied: exit code and what was said.
    fn wants(&self, packages: &Value) -> (Option<i32>, String) {
        self.publish(packages);
        told(&self.apply())
    }

    /// The version of a package that is installed, with release.
    fn has(&self, name: &str) -> Option<String> {
        let argv: &[&str] = match self.machine.image() {
            Image::CentosLayout => &["rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}", name],
            Image::Debian => &[
                "dpkg-query",
                "-W",
                "-f",
                "${db:Status-Status} ${Version}",
                name,
            ],
        };
        let output = self.machine.run(argv).unwrap();
        let said = output.success().then_some(output.stdout)?;
        match self.machine.image() {
            Image::CentosLayout => Some(said),
            Image::Debian => said.strip_prefix("installed ").map(str::to_owned),
        }
    }

    /// Runs the manager as a person would.
    fn by_hand(&self, words: &[&str]) -> Output {
        let manager: &[&str] = match self.machine.image() {
            Image::CentosLayout => &["dnf", "-y"],
            Image::Debian => &["apt-get", "-y", "-o", "Dpkg::Options::=--force-confold"],
        };
        self.machine
            .run_with(&[manager, words].concat(), b"", LONG)
            .unwrap()
    }

    /// How many transactions there were so far.
    fn transactions(&self) -> usize {
        match self.machine.image() {
            Image::CentosLayout => {
                let said = self.machine.run(&["dnf", "history", "list"]).unwrap();
                let lines = said.stdout.lines();
                lines
                    .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()))
                    .count()
            }
            Image::Debian => {
                let log = self
                    .machine
                    .read("/var/log/apt/history.log")
                    .unwrap_or_default();
                log.matches("Start-Date:").count()
            }
        }
    }
}

fn has_failed((code, said): &(Option<i32>, String)) {
    assert_eq!(code.map(|code| code & 4), Some(4), "{said}");
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.code, format!("{}{}", output.stdout, output.stderr))
}

/// Programs that ask the package database, or change it, write down that they were called.
const COUNT: &str = r#"for program in rpm dpkg-query dpkg dnf apt-get; do
    path=/usr/bin/$program
    [ -e "$path" ] || continue
    mv "$path" "$path.real"
    printf '#!/bin/bash\necho "%s" >>/var/log/asked\nexec -a %s %s.real "$@"\n' "$program" "$path" "$path" >"$path"
    chmod 755 "$path"
done"#;

fn missing_packages_come_in_one_transaction_and_a_second_run_asks_nobody(image: Image) {
    let node = Box::new(
        image,
        &[
            Made::new("alpha", "1.0"),
            Made {
                requires: &["alpha"],
                ..Made::new("beta", "1.0")
            },
            Made::new("gamma", "1.0"),
        ],
    );
    node.by_hand(&["update"]);
    node.by_hand(&["install", "gamma"]);
    let before = node.transactions();
    let (code, said) = node.wants(&json!(["beta", "gamma", "alpha"]));
    assert_eq!(code, Some(2), "{said}\n{}", Story(&node.machine));
    assert!(
        said.contains("install alpha") && said.contains("install beta"),
        "{said}"
    );
    assert!(!said.contains("install gamma"), "{said}");
    assert_eq!(node.transactions(), before + 1);
    assert_eq!(node.has("beta").as_deref(), Some("1.0-1"));

    node.machine.must(&["bash", "-c", COUNT]).unwrap();
    let asked = || node.machine.read("/var/log/asked").unwrap_or_default();
    for _ in 0..3 {
        let (code, said) = told(&node.apply());
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(asked(), "");
    node.machine
        .must(&["systemctl", "restart", "agentd.service"])
        .unwrap();
    assert_eq!(told(&node.apply()).0, Some(0));
    assert_eq!(asked(), "", "what was answered last is kept on disk");
    // Somebody else changes the database: it is asked, and then no more.
    let removed = match image {
        Image::CentosLayout => node.machine.run(&["/usr/bin/rpm.real", "-e", "gamma"]),
        Image::Debian => node
            .machine
            .run(&["/usr/bin/dpkg.real", "--remove", "gamma"]),
    };
    assert!(removed.unwrap().success());
    let (code, said) = told(&node.apply());
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(
        node.has("gamma").as_deref(),
        Some("1.0-1"),
        "drift is mended: {said}"
    );
    assert!(asked().contains(if image == Image::Debian {
        "dpkg-query"
    } else {
        "rpm"
    }));
    node.machine.must(&["rm", "/var/log/asked"]).unwrap();
    assert_eq!(told(&node.apply()).0, Some(0));
    assert_eq!(asked(), "");

    let why = node.machine.run(&["agentctl", "why", "beta"]).unwrap();
    assert!(
        why.stdout.contains("/signed/roles/web/packages/0"),
        "{why:?}"
    );
    let why = node.machine.run(&["agentctl", "why", "alpha"]).unwrap();
    assert!(why.stdout.contains("run "), "{why:?}");
    // What leaves the document stays.
    let (_, said) = node.wants(&json!(["beta"]));
    assert_eq!(node.has("gamma").as_deref(), Some("1.0-1"), "{said}");
}

fn a_version_is_kept_whoever_upgrades_moves_and_goes_back_only_with_a_word(image: Image) {
    let made = |version| Made {
        configured: true,
        ..Made::new("alpha", version)
    };
    let name = |version| Made {
        ..Made::new("alpha-tools", version)
    };
    let node = Box::new(image, &[made("1.0"), made("2.0"), made("3.0"), name("2.0")]);
    let (code, said) = node.wants(&json!([{"name": "alpha", "version": "1.0"}, "alpha-tools"]));
    assert_eq!(code, Some(2), "{said}\n{}", Story(&node.machine));
    assert_eq!(node.has("alpha").as_deref(), Some("1.0-1"), "{said}");
    // A person's upgrade leaves it alone.
    let upgrade = node.by_hand(&["upgrade"]);
    assert!(upgrade.success(), "{upgrade:?}");
    assert_eq!(node.has("alpha").as_deref(), Some("1.0-1"), "{upgrade:?}");
    assert_eq!(told(&node.apply()).0, Some(0));

    // It moves, and what a person had edited stays, with a word about the new one.
    node.machine
        .write("/etc/alpha.conf", b"version=mine\n")
        .unwrap();
    let (code, said) = node.wants(&json!([{"name": "alpha", "version": "2.0-1"}, "alpha-tools"]));
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(node.has("alpha").as_deref(), Some("2.0-1"), "{said}");
    assert_eq!(
        node.machine.read("/etc/alpha.conf").unwrap(),
        "version=mine\n"
    );
    let appeared = match image {
        Image::CentosLayout => "/etc/alpha.conf.rpmnew",
        Image::Debian => "/etc/alpha.conf.dpkg-dist",
    };
    assert!(said.contains(&format!("{appeared} appeared")), "{said}");

    // Going back is refused, in the plan too, and nothing else waits for it.
    let packages = json!([{"name": "alpha", "version": "1.0"}, "alpha-tools"]);
    let run = node.wants(&packages);
    has_failed(&run);
    let (_, said) = run;
    assert!(said.contains("\"downgrade\": true"), "{said}");
    assert_eq!(node.has("alpha").as_deref(), Some("2.0-1"));
    let plan = node.machine.run(&["agentctl", "plan"]).unwrap();
    assert!(plan.stdout.contains("\"downgrade\": true"), "{plan:?}");
    let (code, said) = node.wants(&json!([{"name": "alpha", "version": "1.0", "downgrade": true}]));
    assert_eq!(code, Some(2), "{said}\n{}", Story(&node.machine));
    assert_eq!(node.has("alpha").as_deref(), Some("1.0-1"), "{said}");
    // Without a pin an upgrade is a person's business again.
    let (_, said) = node.wants(&json!(["alpha"]));
    let upgrade = node.by_hand(&["upgrade"]);
    assert_eq!(
        node.has("alpha").as_deref(),
        Some("3.0-1"),
        "{said}{upgrade:?}"
    );
}

fn one_wrong_name_does_not_keep_the_others(image: Image) {
    let node = Box::new(
        image,
        &[
            Made::new("alpha", "1.0"),
            Made {
                before: "echo it is broken >&2; exit 3",
                ..Made::new("broken", "1.0")
            },
            Made::new("beta", "1.0"),
        ],
    );
    let (code, said) = node.wants(&json!(["alpha", "nothere", {"name": "beta", "version": "9.9"}]));
    assert_eq!(code, Some(6), "{said}\n{}", Story(&node.machine));
    assert_eq!(node.has("alpha").as_deref(), Some("1.0-1"), "{said}");
    assert_eq!(node.has("beta"), None);
    assert!(
        said.contains("packages/nothere") && said.contains("packages/beta"),
        "{said}"
    );
    assert!(
        said.contains("no repository of this machine has it"),
        "{said}"
    );
    // A script that fails is told for what it is, and not run again and again.
    let (code, said) = node.wants(&json!(["alpha", "broken", "beta"]));
    assert_eq!(code, Some(6), "{said}");
    assert_eq!(node.has("beta").as_deref(), Some("1.0-1"), "{said}");
    assert!(
        said.contains("packages/broken") && said.contains("exit status 3"),
        "{said}"
    );
    let before = node.transactions();
    has_failed(&told(&node.apply()));
    assert_eq!(node.transactions(), before);
}

fn a_repository_that_is_away_is_waited_for(image: Image) {
    let node = Box::new(image, &[Made::new("alpha", "1.0")]);
    let away = format!("{ON_MACHINE}.away");
    node.machine.must(&["mv", ON_MACHINE, &away]).unwrap();
    let run = node.wants(&json!(["alpha"]));
    has_failed(&run);
    let (_, said) = run;
    assert!(
        said.contains("repository") && said.contains("reached"),
        "{said}"
    );
    assert!(!said.contains("QUARANTINED"), "{said}");
    node.machine.must(&["mv", &away, ON_MACHINE]).unwrap();
    see(&node.machine, "the next run has it", || {
        told(&node.apply()).0 == Some(2) && node.has("alpha").is_some()
    });
}

fn a_full_disk_is_told_and_nothing_is_half_there(image: Image) {
    let node = Box::with(
        image,
        &[
            Made {
                megabytes: 24,
                ..Made::new("big", "1.0")
            },
            Made::new("alpha", "1.0"),
        ],
        "",
        |spec| spec.data("/usr/share/big", 8),
    );
    let run = node.wants(&json!(["alpha", "big"]));
    has_failed(&run);
    let (_, said) = run;
    assert!(said.contains("not enough room"), "{said}");
    assert_eq!(node.has("big"), None);
}

fn who_holds_the_database_is_told_and_waited_for(image: Image) {
    let node = Box::with(
        image,
        &[
            Made {
                after: "sleep 300 || true",
                ..Made::new("slow", "1.0")
            },
            Made::new("alpha", "1.0"),
        ],
        "[packages]\nlock_timeout = \"2s\"\n",
        |spec| spec,
    );
    node.by_hand(&["update"]);
    let manager = match image {
        Image::CentosLayout => "dnf",
        Image::Debian => "apt-get",
    };
    let hand = [
        "systemd-run",
        "--unit=hand",
        manager,
        "-y",
        "install",
        "slow",
    ];
    node.machine.must(&hand).unwrap();
    let busy = |node: &Box| {
        let said = node.machine.run(&["pgrep", "-f", "sleep 300"]);
        said.is_ok_and(|said| said.success())
    };
    see(&node.machine, "somebody else's transaction", || busy(&node));
    let run = node.wants(&json!(["alpha"]));
    has_failed(&run);
    let (_, said) = run;
    assert!(said.contains(&format!("({manager})")), "who: {said}");
    assert!(said.contains("within 2 s"), "{said}");
    node.machine.must(&["pkill", "-f", "sleep 300"]).unwrap();
    see(&node.machine, "the next run has it", || {
        told(&node.apply()).0 == Some(2) && node.has("alpha").is_some()
    });
}

fn a_script_that_hangs_is_ended_at_the_deadline_with_all_it_started(image: Image) {
    let node = Box::with(
        image,
        &[
            Made {
                after: "echo waiting; sleep 400",
                ..Made::new("hangs", "1.0")
            },
            Made::new("alpha", "1.0"),
        ],
        "[packages]\ntimeout = \"8s\"\n",
        |spec| spec,
    );
    let began = Instant::now();
    let (code, said) = node.wants(&json!(["hangs", "alpha"]));
    assert!(began.elapsed() < Duration::from_mins(1), "{said}");
    assert_eq!(code.map(|code| code & 4), Some(4), "{said}");
    assert!(
        said.contains("packages/hangs") && said.contains("did not end within 8 s"),
        "{said}"
    );
    let left = node.machine.run(&["pgrep", "-f", "sleep 400"]).unwrap();
    assert!(!left.success(), "{left:?}");
    assert_eq!(node.has("alpha").as_deref(), Some("1.0-1"), "{said}");
}

/// The script of a package takes its time, once.
const SLOWLY: &str = "echo begun >>/var/log/scripts; [ -e /var/log/hurry ] || sleep 500; echo ended >>/var/log/scripts";

fn a_manager_that_is_killed_in_the_middle_is_told_to_go_on(image: Image) {
    let node = Box::new(
        image,
        &[
            Made {
                after: SLOWLY,
                ..Made::new("slow", "1.0")
            },
            Made::new("alpha", "1.0"),
        ],
    );
    node.publish(&json!(["slow", "alpha"]));
    let applying = ["systemd-run", "--unit=applying", "agentctl", "apply"];
    node.machine.must(&applying).unwrap();
    let begun = || node.machine.exists("/var/log/scripts");
    see(&node.machine, "the script begins", begun);
    node.machine.write("/var/log/hurry", b"").unwrap();
    let manager = match image {
        Image::CentosLayout => "/usr/bin/dnf",
        Image::Debian => "/usr/bin/(apt-get|dpkg)",
    };
    node.machine
        .must(&["pkill", "-KILL", "-f", manager])
        .unwrap();
    node.machine
        .run(&["pkill", "-KILL", "-f", "sleep 500"])
        .unwrap();
    see(
        &node.machine,
        "all is there, scripts run to their end",
        || {
            let scripts = node.machine.read("/var/log/scripts").unwrap_or_default();
            node.has("slow").is_some() && node.has("alpha").is_some() && scripts.contains("ended")
        },
    );
    see(&node.machine, "the agent is content", || {
        told(&node.apply()).0 == Some(0)
    });
}

fn an_agent_that_is_killed_in_the_middle_leaves_the_transaction_whole(image: Image) {
    let node = Box::new(
        image,
        &[
            Made {
                after: SLOWLY,
                ..Made::new("slow", "1.0")
            },
            Made::new("alpha", "1.0"),
        ],
    );
    node.publish(&json!(["slow", "alpha"]));
    node.machine
        .must(&["systemd-run", "--unit=applying", "agentctl", "apply"])
        .unwrap();
    see(&node.machine, "the script begins", || {
        node.machine.exists("/var/log/scripts")
    });
    node.machine.kill_unit("agentd.service", "SIGKILL").unwrap();
    see(&node.machine, "the agent is back", || {
        node.machine.is_active("agentd.service")
            && node.machine.is_active("agentd-packages.service")
    });
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        node.machine.is_active("agentd-packages.service"),
        "it goes on without its agent"
    );
    node.machine.must(&["pkill", "-f", "sleep 500"]).unwrap();
    see(&node.machine, "all is there", || {
        node.has("slow").is_some()
            && node.has("alpha").is_some()
            && told(&node.apply()).0 == Some(0)
    });
    let scripts = node.machine.read("/var/log/scripts").unwrap();
    assert_eq!(scripts, "begun\nended\n", "once");
}

fn what_is_absent_goes_and_takes_nothing_along(image: Image) {
    let node = Box::new(
        image,
        &[
            Made::new("alpha", "1.0"),
            Made {
                requires: &["alpha"],
                ..Made::new("beta", "1.0")
            },
            Made::new("gamma", "1.0"),
        ],
    );
    node.by_hand(&["update"]);
    node.by_hand(&["install", "beta", "gamma"]);
    let gone = |name: &str| json!({"name": name, "absent": true});
    let (code, said) = node.wants(&json!([gone("alpha"), gone("gamma"), gone("nothere")]));
    assert_eq!(code, Some(6), "{said}\n{}", Story(&node.machine));
    assert_eq!(node.has("gamma"), None, "{said}");
    assert_eq!(node.has("beta").as_deref(), Some("1.0-1"), "{said}");
    assert_eq!(node.has("alpha").as_deref(), Some("1.0-1"), "{said}");
    assert!(
        said.contains("packages/alpha") && said.contains("beta"),
        "{said}"
    );
    let (code, said) = node.wants(&json!([gone("alpha"), gone("beta")]));
    assert_eq!(code, Some(2), "{said}");
    assert_eq!((node.has("alpha"), node.has("beta")), (None, None));
    let (code, said) = told(&node.apply());
    assert_eq!(code, Some(0), "{said}");
}

/// A lease of the shop's database.
fn lease(epoch: u64, owner: &str) -> Vec<u8> {
    let name = |text: &str| text.parse::<Name>().unwrap();
    let lease = Lease {
        format: lease::FORMAT,
        product: name("shop"),
        epoch,
        owner: name(owner),
        seq: 1,
        nonce: Nonce::fresh().unwrap(),
        state: LeaseState::Serving,
        gtid: format!("0-{epoch}-42"),
        armed: true,
        held: Vec::new(),
        to: None,
        since: "2026-11-22T20:00:00Z".parse().unwrap(),
        renewed: "2026-11-22T20:00:01Z".parse().unwrap(),
        ttl_ms: 10_000,
        planned: false,
        opening: false,
        observed: false,
        unopened: false,
        machine: Vec::new(),
        previous: (epoch > 1).then(|| Previous {
            owner: name("db-1"),
            epoch: epoch - 1,
            gtid: "0-1-41".into(),
            complete: false,
        }),
    };
    lease.bytes().unwrap()
}

fn the_name_of_the_master_follows_while_packages_come(image: Image) {
    let node = Box::new(
        image,
        &[Made {
            after: "sleep 600 || true",
            ..Made::new("slow", "1.0")
        }],
    );
    let put = |epoch, owner| {
        let path = "/srv/bucket/leases/shop.json";
        node.machine.write(path, &lease(epoch, owner)).unwrap();
    };
    let leads_to = |address: &str| {
        let said = node.machine.run(&["getent", "hosts", "mysql-master"]);
        said.is_ok_and(|said| said.stdout.starts_with(address))
    };
    let database = |name: &str, address: &str| {
        (
            name.to_owned(),
            json!({"address": address, "roles": ["database"], "products": ["shop"]}),
        )
    };
    let fleet = |packages: Value| {
        let mut servers = serde_json::Map::from_iter([
            database("db-1", "10.77.0.31"),
            database("db-2", "10.77.0.32"),
        ]);
        let web = json!({"address": "10.77.0.11", "roles": ["web"], "products": ["shop"]});
        servers.insert("web-1".to_owned(), web);
        node.publish_fleet(&json!({
            "servers": servers,
            "roles": {"web": {"packages": packages}, "database": {}},
            "products": {"shop": {"database": {"chain": ["db-1", "db-2"], "aliases": {"master": ["mysql-master"]}}}},
        }));
    };
    put(1, "db-1");
    fleet(json!([]));
    let (code, said) = told(&node.apply());
    assert_eq!(code, Some(2), "{said}");
    assert!(leads_to("10.77.0.31"), "{said}");
    fleet(json!(["slow"]));
    node.machine
        .must(&["systemd-run", "--unit=applying", "agentctl", "apply"])
        .unwrap();
    let busy = || {
        let said = node.machine.run(&["pgrep", "-f", "sleep 600"]);
        said.is_ok_and(|said| said.success())
    };
    see(&node.machine, "the transaction", busy);
    for (epoch, owner, address) in [(2, "db-2", "10.77.0.32"), (3, "db-1", "10.77.0.31")] {
        put(epoch, owner);
        let took = see(&node.machine, "the name follows", || leads_to(address));
        assert!(took < Duration::from_secs(6), "{took:?}");
        assert!(busy(), "the transaction has ended: this shows nothing");
    }
    node.machine.must(&["pkill", "-f", "sleep 600"]).unwrap();
    see(&node.machine, "the package", || node.has("slow").is_some());
    see(&node.machine, "the run's end", || {
        told(&node.apply()).0 == Some(0)
    });
    assert!(leads_to("10.77.0.31"));
}
