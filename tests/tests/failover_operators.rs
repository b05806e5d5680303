//! Promise: failover survives its operators. A bucket that lets nobody in, a replica that is down, a machine with another's name,
//! an account that writes whatever it is told, a gate that was left behind: on booted machines with real servers, while clients
//! write. Times are short, their inequality kept.
//!
//! Needs what `tests/setup` makes.

#![cfg(test)]

use std::cell::Cell;
use std::time::{Duration, Instant};

use node_agent::database::lease::Lease;
use node_agent_tests::database::{DatabaseFleet, Record, Setup, rows, sql, try_sql};
use node_agent_tests::histories::Times;
use node_agent_tests::machine::{Fleet, Machine, wait_until};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(40);
/// The account that ignores `read_only`, and the way it writes.
const ROOT: [&str; 6] = [
    "mariadb",
    "--user=boss",
    "--password=boss",
    "--connect-timeout=1",
    "--batch",
    "--skip-column-names",
];

/// The writers of a part.
const WRITERS: u32 = 2;

struct World<'fleet> {
    all: DatabaseFleet<'fleet>,
    /// How often clients have begun to write.
    round: Cell<u32>,
}

impl<'fleet> World<'fleet> {
    /// Three database servers and a web machine, and a bucket that can be made to fail.
    fn boot(fleet: &'fleet Fleet) -> Self {
        let times = Times::FAST;
        let setup = Setup {
            top: times.top(),
            database: times.database(),
            fragile: Some(512),
            ..Setup::new(3)
        };
        let world = Self {
            all: DatabaseFleet::boot_as(fleet, &setup).unwrap(),
            round: Cell::new(0),
        };
        world.settle(1);
        world.all.make_table(world.db(1)).unwrap();
        world
    }

    fn db(&self, number: usize) -> &Machine {
        self.all.db(number).unwrap()
    }

    fn lease(&self) -> Lease {
        let text = self.all.bucket.get("prod/leases/shop.json").unwrap();
        Lease::read(text.unwrap().as_bytes(), &"shop".parse().unwrap()).unwrap()
    }

    fn held(&self) -> Vec<String> {
        self.lease().held.iter().map(ToString::to_string).collect()
    }

    fn until(&self, what: &str, is: impl Fn() -> bool) {
        if let Err(trouble) = wait_until(what, SOON, is) {
            let told: Vec<_> = self.all.databases.iter().map(told).collect();
            panic!("{trouble}\n{}", told.join("\n\n"));
        }
    }

    /// Waits for this master, with all others as its replicas, and a lease that lists them.
    fn settle(&self, master: usize) {
        self.until(
            &format!("db-{master} to be the master of the others"),
            || {
                writable(self.db(master))
                    && (1..=3)
                        .filter(|&number| number != master)
                        .all(|number| !writable(self.db(number)) && replicates(self.db(number)))
                    && self.held().len() == 2
            },
        );
    }

    /// Treats all machines' requests to the bucket so.
    fn treat(&self, how: &str) {
        let orders: Vec<_> = [("*".to_owned(), how.to_owned())]
            .into_iter()
            .filter(|(_, how)| !how.is_empty())
            .collect();
        self.all.bucket.treat(&orders).unwrap();
    }

    /// What clients saw for so many seconds, while something is done.
    fn writes(&self, seconds: u32, meanwhile: impl FnOnce()) -> Record {
        let round = self.round.get() + 1;
        self.round.set(round);
        let unit = |writer: u32| format!("trial-{round}-{writer}");
        for writer in 0..WRITERS {
            let unit = unit(writer);
            let first = (u64::from(round) * 100 + u64::from(writer)) * 1_000_000 + 1;
            let argv = [
                "systemd-run",
                "--quiet",
                &format!("--unit={unit}"),
                &format!("--property=StandardOutput=file:/run/{unit}.log"),
                "/usr/local/bin/writer",
                "--first",
                &first.to_string(),
                "--for",
                &seconds.to_string(),
            ];
            self.all.web.must(&argv).unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
        meanwhile();
        let logs: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let unit = unit(writer);
                let ended = || !self.all.web.is_active(&format!("{unit}.service"));
                wait_until("a writer to end", SOON, ended).unwrap();
                self.all.web.read(&format!("/run/{unit}.log")).unwrap()
            })
            .collect();
        Record::read(&logs).unwrap()
    }

    /// One write of the account that ignores `read_only`, straight to a machine: whether it was acknowledged.
    fn boss_writes(&self, machine: &Machine, number: u64) -> bool {
        let host = format!("--host={}", machine.address());
        let write = format!("INSERT INTO shop.orders VALUES ({number}, 'boss')");
        let argv = [&ROOT[..], &[host.as_str(), "-e", write.as_str()]].concat();
        let said = self.all.web.run_with(&argv, b"", Duration::from_secs(5));
        said.is_ok_and(|said| said.success())
    }
}

fn told(machine: &Machine) -> String {
    let status = machine.run(&["agentctl", "db", "status"]);
    let status = status.map_or_else(|trouble| trouble.to_string(), |said| said.stdout);
    let journal = machine.journal("agentd.service").unwrap_or_default();
    let lines: Vec<_> = journal.lines().rev().take(40).collect();
    let lines: Vec<_> = lines.into_iter().rev().collect();
    format!("{}\n{status}\n{}", machine.name(), lines.join("\n"))
}

fn writable(machine: &Machine) -> bool {
    try_sql(machine, "SELECT @@global.read_only").is_ok_and(|said| said.stdout.trim() == "0")
}

fn replicates(machine: &Machine) -> bool {
    try_sql(machine, "SHOW GLOBAL STATUS LIKE 'Slave_running'")
        .is_ok_and(|said| said.stdout.contains("ON"))
}

fn status(machine: &Machine) -> String {
    machine.run(&["agentctl", "db", "status"]).unwrap().stdout
}

/// What Nagios is told of the machine: its code, and its text.
fn check(machine: &Machine) -> (Option<i32>, String) {
    let said = machine.run(&["agentctl", "check", "-vv"]).unwrap();
    (said.code, said.stdout)
}

fn gates(machine: &Machine) -> String {
    machine.must(&["nft", "list", "tables", "inet"]).unwrap()
}

fn is_gated(machine: &Machine) -> bool {
    gates(machine).contains("agentd_")
}

#[test]
fn failover_survives_its_operators() {
    let fleet = Fleet::new().unwrap();
    let world = World::boot(&fleet);

    step("a bucket that lets nobody in", || {
        a_bucket_that_lets_nobody_in_closes_nothing(&world);
    });
    step("a replica that is down", || {
        a_dead_replica_takes_the_protection_from_nobody_and_is_told(&world);
    });
    step("another's name", || {
        a_machine_with_anothers_name_keeps_no_database(&world);
    });
    step("a clone", || a_clone_keeps_out(&world));
    step("a gate left behind", || {
        a_gate_that_was_left_behind_shuts_nobody_out(&world);
    });
    step("an account that ignores read_only", || {
        who_ignores_read_only_does_not_write_beside_the_master(&world);
    });
}

/// One part, and how long it took.
fn step(what: &str, part: impl FnOnce()) {
    let began = Instant::now();
    part();
    eprintln!("{what}: {:.1} s", began.elapsed().as_secs_f64());
}

fn a_bucket_that_lets_nobody_in_closes_nothing(world: &World<'_>) {
    let record = world.writes(7, || {
        world.treat("status:403");
        std::thread::sleep(Duration::from_secs(4));
        let said = status(world.db(1));
        assert!(said.contains("takes no renewal of the lease"), "{said}");
        world.treat("");
    });
    assert!(record.outage() < 1000, "{} ms", record.outage());
    assert_eq!(record.reigns(), [31]);
    world.settle(1);
}

/// Its socket too, or whoever asks starts it again.
fn stop_server(machine: &Machine) {
    machine
        .must(&["systemctl", "stop", "mariadb.socket", "mariadb"])
        .unwrap();
}

fn a_dead_replica_takes_the_protection_from_nobody_and_is_told(world: &World<'_>) {
    stop_server(world.db(3));
    world.until("the lease to list db-2 alone", || world.held() == ["db-2"]);
    world.until("the status to say what is lost", || {
        status(world.db(1)).contains("the lock is not held on db-3")
    });
    let record = world.writes(6, || {
        world.treat("status:503");
        std::thread::sleep(Duration::from_secs(4));
        world.treat("");
    });
    assert!(record.outage() < 1000, "{} ms", record.outage());
    assert_eq!(record.reigns(), [31]);

    // The other one too: nobody is left who could take over, and that is proven by the list alone.
    stop_server(world.db(2));
    world.until("the lease to list nobody else", || world.held() == ["db-1"]);
    world.treat("status:503");
    std::thread::sleep(Duration::from_secs(4));
    assert!(writable(world.db(1)));
    world.treat("");
    for number in [2, 3] {
        world
            .db(number)
            .must(&["systemctl", "start", "mariadb"])
            .unwrap();
    }
    world.settle(1);
}

/// Sets the first lines of agentd.toml and what its `[database]` begins with, and starts the agent anew.
fn reconfigure(machine: &Machine, edit: &str) {
    let script = format!(
        "cp -n /etc/agentd/agentd.toml /etc/agentd/agentd.toml.before; cp /etc/agentd/agentd.toml.before /etc/agentd/agentd.toml; \
         sed -i '{edit}' /etc/agentd/agentd.toml; systemctl restart agentd"
    );
    machine.must(&["sh", "-c", &script]).unwrap();
}

fn as_it_was(machine: &Machine) {
    reconfigure(machine, "");
}

fn a_machine_with_anothers_name_keeps_no_database(world: &World<'_>) {
    reconfigure(world.db(3), "1i node = \"db-1\"");
    world.until("db-3 to be critical", || check(world.db(3)).0 == Some(2));
    let (_, said) = check(world.db(3));
    assert!(said.contains("does not have that server"), "{said}");
    assert!(replicates(world.db(3)), "its server is left as it is");
    assert!(writable(world.db(1)) && !writable(world.db(3)));
    assert_eq!(world.lease().epoch, 1);
    as_it_was(world.db(3));
    world.settle(1);
}

fn a_clone_keeps_out(world: &World<'_>) {
    // It is told that its address is translated, so that nothing but the machine itself tells the two apart.
    let record = world.writes(8, || {
        reconfigure(
            world.db(3),
            "1i node = \"db-1\"\ns/^\\[database\\]/&\\naddress = \"translated\"/",
        );
        world.until("db-3 to be critical", || check(world.db(3)).0 == Some(2));
        let (_, said) = check(world.db(3));
        assert!(said.contains("another machine"), "{said}");
        assert!(!writable(world.db(3)));
    });
    assert!(record.outage() < 1000, "{} ms", record.outage());
    assert_eq!(record.reigns(), [31]);
    assert_eq!(world.lease().epoch, 1);
    as_it_was(world.db(3));
    world.settle(1);
}

fn a_gate_that_was_left_behind_shuts_nobody_out(world: &World<'_>) {
    // As an agent for a product of another name would have left it, its time over.
    let left = |table: &str| {
        format!(
            "table inet {table} {{ chain received {{ type filter hook input priority -310; \
             ip saddr != {{ 10.77.0.31, 10.77.0.32, 10.77.0.33 }} tcp dport 3306 reject with tcp reset; }}; }}"
        )
    };
    let master = world.db(1);
    let record = world.writes(9, || {
        master.must(&["nft", &left("agentd_0123456789ab")]).unwrap();
        master.must(&["systemctl", "restart", "agentd"]).unwrap();
        world.until("the gate to be gone", || {
            !gates(master).contains("0123456789ab")
        });
        // Somebody else's is not ours to remove: it is told.
        master.must(&["nft", &left("of_somebody")]).unwrap();
        master.must(&["systemctl", "restart", "agentd"]).unwrap();
        world.until("the master to say that no client reaches it", || {
            let (code, said) = check(master);
            code == Some(2) && said.contains("no client reaches it")
        });
        master
            .must(&["nft", "delete table inet of_somebody"])
            .unwrap();
    });
    assert_eq!(record.reigns(), [31]);
    world.until("the master to be well", || check(master).0 == Some(0));

    // Its agent was down for longer than the lease lived: an old master that came back replicates, and its clients read.
    master.must(&["systemctl", "stop", "agentd"]).unwrap();
    world.until("db-2 to take over", || writable(world.db(2)));
    assert!(is_gated(master), "its dead-man has shut it");
    master.must(&["systemctl", "start", "agentd"]).unwrap();
    world.settle(2);
    world.until("the gate to be gone", || !is_gated(master));
}

fn who_ignores_read_only_does_not_write_beside_the_master(world: &World<'_>) {
    let old = world.db(2);
    let others = [world.db(1), world.db(3)];
    sql(
        old,
        "CREATE USER boss@'%' IDENTIFIED BY 'boss'; GRANT ALL PRIVILEGES ON *.* TO boss@'%'",
    )
    .unwrap();
    for machine in [old, others[0]] {
        machine.must(&["systemctl", "restart", "agentd"]).unwrap();
        world.until("the account to be named", || {
            status(machine).contains("'boss'@'%'")
        });
    }
    world.settle(2);
    assert!(world.boss_writes(old, 1));
    // The master loses the bucket and its peers; clients still reach it.
    for other in others {
        world.all.cut_pair(old, other).unwrap();
    }
    world.all.cut_bucket(old).unwrap();
    let began = Instant::now();
    let mut late = Vec::new();
    let mut number = 1;
    while began.elapsed() < Duration::from_secs(12) {
        number += 1;
        let beside = others.into_iter().any(writable);
        if world.boss_writes(old, number) && beside {
            late.push(began.elapsed());
        }
    }
    assert!(others.into_iter().any(writable), "{}", told(others[0]));
    assert!(late.is_empty(), "written beside the new master: {late:?}");
    for machine in [world.db(1), world.db(2), world.db(3)] {
        world.all.mend(machine).unwrap();
    }
    // It follows, or is kept out for what was written before it was shut; its gate goes only in the first case.
    world.until("db-2 to replicate or to be kept out", || {
        replicates(old) && !is_gated(old) || status(old).contains("kept out") && is_gated(old)
    });
}

#[test]
fn what_people_do_to_replication_costs_no_master() {
    let fleet = Fleet::new().unwrap();
    let world = World::boot(&fleet);

    step("a password is changed", || a_password_is_changed(&world));
    step("a pause", || a_pause_only_watches(&world));
    step("maintenance", || {
        a_master_under_maintenance_stays_the_master(&world);
    });
    step("a switchover to one that does not apply", || {
        a_switchover_to_one_that_does_not_apply_closes_nothing(&world);
    });
    step("a filter", || {
        a_replica_with_a_filter_is_no_candidate(&world);
    });
    step("a candidate that applies late", || {
        a_candidate_that_applies_late_yields_to_one_that_has_applied(&world);
    });
}

/// Gives an order to a machine's agent: its exit code and its words.
fn order(machine: &Machine, arguments: &[&str]) -> (Option<i32>, String) {
    let argv = [&["agentctl", "db"], arguments].concat();
    let said = machine.run_with(&argv, b"", SOON).unwrap();
    (said.code, format!("{}{}", said.stdout, said.stderr))
}

fn a_password_is_changed(world: &World<'_>) {
    let record = world.writes(8, || {
        // As docs/database-servers.md says: on the master, then the file on each server.
        sql(
            world.db(1),
            "ALTER USER 'agentd'@'10.77.0.%' IDENTIFIED BY 'another-one'",
        )
        .unwrap();
        for machine in &world.all.databases {
            let file = "[peer]\nuser = \"agentd\"\npassword = \"another-one\"\n";
            machine
                .write("/etc/agentd/database.toml", file.as_bytes())
                .unwrap();
            machine
                .must(&["chmod", "600", "/etc/agentd/database.toml"])
                .unwrap();
            machine.must(&["systemctl", "reload", "agentd"]).unwrap();
        }
        // Whoever has to connect anew is let in.
        for number in [2, 3] {
            sql(
                world.db(number),
                "STOP SLAVE IO_THREAD; START SLAVE IO_THREAD",
            )
            .unwrap();
        }
    });
    assert!(record.outage() < 1000, "{} ms", record.outage());
    assert_eq!(record.reigns(), [31]);
    world.settle(1);
    let user = sql(world.db(2), "SELECT COUNT(*) FROM shop.orders").unwrap();
    assert!(user.parse::<u64>().unwrap() > 100, "{user}");
}

fn a_pause_only_watches(world: &World<'_>) {
    let master = world.db(1);
    let (code, said) = order(master, &["pause", "shop", "--reason", "new disks"]);
    assert_eq!(code, Some(0), "{said}");
    world.until("the lease to say that it is only watched", || {
        world.lease().observed
    });
    assert!(!is_gated(master));
    // Nobody is let in, and the locks are gone: that would close it.
    for number in [2, 3] {
        world.all.cut_pair(master, world.db(number)).unwrap();
    }
    world.treat("status:403");
    std::thread::sleep(Duration::from_secs(5));
    assert!(writable(master));
    world.treat("");
    for machine in &world.all.databases {
        world.all.mend(machine).unwrap();
    }
    // A person closes it: that stays, and is told at once.
    sql(master, "SET GLOBAL read_only = 1").unwrap();
    let began = Instant::now();
    world.until("the monitors to say so", || check(master).0 == Some(2));
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    let (_, said) = check(master);
    assert!(said.contains("nothing is done about it"), "{said}");
    std::thread::sleep(Duration::from_secs(4));
    assert!(!writable(master) && !writable(world.db(2)));
    sql(master, "SET GLOBAL read_only = 0").unwrap();
    let (code, said) = order(master, &["resume", "shop"]);
    assert_eq!(code, Some(0), "{said}");
    world.settle(1);
    world.until("its gate to be armed again", || is_gated(master));
    assert_eq!(world.lease().epoch, 1);
}

fn a_master_under_maintenance_stays_the_master(world: &World<'_>) {
    let master = world.db(1);
    let (code, said) = order(master, &["maintenance", "shop", "--for", "5m"]);
    assert_eq!(code, Some(0), "{said}");
    let before = sql(master, "SHOW GLOBAL STATUS LIKE 'Uptime'").unwrap();
    master.must(&["systemctl", "restart", "mariadb"]).unwrap();
    let began = Instant::now();
    world.until("it to go on by itself", || writable(master));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?} {before}",
        began.elapsed()
    );
    assert_eq!(world.lease().epoch, 1);
    let (code, said) = order(master, &["resume", "shop"]);
    assert_eq!(code, Some(0), "{said}");
    world.settle(1);
}

fn a_switchover_to_one_that_does_not_apply_closes_nothing(world: &World<'_>) {
    let target = world.db(2);
    target
        .must(&[
            "systemd-run",
            "--quiet",
            "--collect",
            "--unit=blocker",
            "mariadb",
            "-e",
            "LOCK TABLES shop.orders READ; SELECT SLEEP(60)",
        ])
        .unwrap();
    let record = world.writes(10, || {
        let (code, said) = order(world.db(1), &["switchover", "shop", "--to", "db-2"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("has not applied"), "{said}");
    });
    assert!(record.outage() < 1000, "{} ms", record.outage());
    assert_eq!(record.reigns(), [31]);
    target.must(&["systemctl", "stop", "blocker"]).unwrap();
    world.settle(1);
}

fn a_replica_with_a_filter_is_no_candidate(world: &World<'_>) {
    let replica = world.db(3);
    let set = |filter: &str| {
        let statements =
            format!("STOP SLAVE; SET GLOBAL replicate_wild_ignore_table = '{filter}'; START SLAVE");
        sql(replica, &statements).unwrap();
        replica.must(&["systemctl", "restart", "agentd"]).unwrap();
    };
    set("shop.cache%");
    world.until("the filter to be named", || {
        status(replica).contains("replicate_wild_ignore_table")
    });
    world.until("it to be no candidate", || {
        status(replica).contains("db-3 could not: its settings, filters or tables")
    });
    set("");
    world.until("it to be one again", || {
        !status(replica).contains("replicate_wild_ignore_table")
    });
    world.settle(1);
}

fn a_candidate_that_applies_late_yields_to_one_that_has_applied(world: &World<'_>) {
    sql(
        world.db(2),
        "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 120; START SLAVE",
    )
    .unwrap();
    let began = Cell::new(Instant::now());
    let record = world.writes(28, || {
        // db-3 hangs on db-2, and turns to the master when nothing comes.
        world.until("db-3 to be level all the same", || {
            let source = sql(world.db(3), "SHOW SLAVE STATUS").unwrap_or_default();
            source.contains("10.77.0.31") && replicates(world.db(3))
        });
        std::thread::sleep(Duration::from_secs(2));
        world.db(1).power_off().unwrap();
        began.set(Instant::now());
        world.until("db-3 to take over", || writable(world.db(3)));
        eprintln!("it took over after {:?}", began.get().elapsed());
    });
    assert!(!writable(world.db(2)));
    assert!(record.outage() < 25_000, "{} ms", record.outage());
    assert_eq!(record.reigns(), [31, 33]);
    let lost = record.lost(&rows(world.db(3)).unwrap()).len();
    assert!(lost < 100, "{lost}");
}
