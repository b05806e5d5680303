//! Masters of booted machines, with the product's own times: made from nothing, handed over by a person, and dying in one
//! way after the other while clients write.

#![cfg(test)]

use std::cell::Cell;
use std::time::{Duration, Instant};

use node_agent_tests::database::{DatabaseFleet, Record, rows, try_sql};
use node_agent_tests::machine::{Fleet, Machine, wait_until};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(40);
/// The writers of a trial.
const WRITERS: u32 = 2;

fn writable(machine: &Machine) -> bool {
    try_sql(machine, "SELECT @@global.read_only").is_ok_and(|said| said.stdout.trim() == "0")
}

fn replicates(machine: &Machine) -> bool {
    try_sql(machine, "SHOW GLOBAL STATUS LIKE 'Slave_running'")
        .is_ok_and(|said| said.stdout.contains("ON"))
}

fn is_kept_out(machine: &Machine) -> bool {
    machine
        .run(&["agentctl", "db", "status"])
        .is_ok_and(|said| said.stdout.contains("kept out"))
}

/// What this machine's agent says, and the last lines of its journal with their fields.
fn told(machine: &Machine) -> String {
    let status = machine.run(&["agentctl", "db", "status"]);
    let status = status.map_or_else(|trouble| trouble.to_string(), |said| said.stdout);
    let journal = machine
        .run(&[
            "journalctl",
            "-u",
            "agentd",
            "-o",
            "json",
            "--no-pager",
            "-n",
            "60",
        ])
        .map(|said| said.stdout)
        .unwrap_or_default();
    let line = |line: &str| -> String {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let field = |name: &str| {
            value
                .get(name)
                .and_then(|it| it.as_str())
                .unwrap_or_default()
        };
        let rest: Vec<_> = ["BEFORE", "AFTER", "TASK", "ERROR", "WHY", "VERDICT"]
            .into_iter()
            .flat_map(|name| [field(name), field(&format!("F_{name}"))].map(str::to_owned))
            .filter(|it| !it.is_empty())
            .collect();
        let at = field("__REALTIME_TIMESTAMP");
        format!("{at} {} {}\n", field("MESSAGE"), rest.join(" | "))
    };
    let journal: String = journal.lines().map(line).collect();
    format!("{}\n{status}\n{journal}", machine.name())
}

/// A fleet on which masters die.
struct Trials<'fleet> {
    world: DatabaseFleet<'fleet>,
    round: Cell<u64>,
}

impl<'fleet> Trials<'fleet> {
    fn boot(fleet: &'fleet Fleet, count: usize, more: &str) -> Self {
        let world = DatabaseFleet::boot(fleet, count, more, true).unwrap();
        Self {
            world,
            round: Cell::new(0),
        }
    }

    fn db(&self, number: usize) -> &Machine {
        self.world.db(number).unwrap()
    }

    fn until(&self, what: &str, is: impl Fn() -> bool) -> Duration {
        let began = Instant::now();
        if let Err(trouble) = wait_until(what, SOON, is) {
            let words: Vec<_> = self.world.databases.iter().map(told).collect();
            panic!("{trouble}\n{}", words.join("\n\n"));
        }
        began.elapsed()
    }

    /// Waits for this master, with all others as its replicas.
    fn settle(&self, master: usize) {
        self.until(
            &format!("db-{master} to be the master of the others"),
            || {
                writable(self.db(master))
                    && (1..=self.world.databases.len())
                        .filter(|&number| number != master)
                        .all(|number| !writable(self.db(number)) && replicates(self.db(number)))
            },
        );
    }

    fn write(&self) {
        let round = self.round.get() + 1;
        self.round.set(round);
        for writer in 0..WRITERS {
            let first = (round * 100 + u64::from(writer)) * 1_000_000 + 1;
            let log = format!("--property=StandardOutput=file:/run/trial-{round}-{writer}.log");
            let unit = format!("--unit=trial-{round}-{writer}");
            self.world
                .web
                .must(&[
                    "systemd-run",
                    "--quiet",
                    &unit,
                    &log,
                    "/usr/local/bin/writer",
                    "--first",
                    &first.to_string(),
                    "--for",
                    "120",
                ])
                .unwrap();
        }
        std::thread::sleep(Duration::from_secs(3));
    }

    /// Ends this round's writers.
    fn record(&self) -> Record {
        let round = self.round.get();
        let logs: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let unit = format!("trial-{round}-{writer}.service");
                self.world.web.must(&["systemctl", "stop", &unit]).unwrap();
                let log = format!("/run/trial-{round}-{writer}.log");
                self.world.web.read(&log).unwrap()
            })
            .collect();
        Record::read(&logs).unwrap()
    }

    /// With writers at work: something happens to a master, and the next one takes writes. At no moment two of them
    /// acknowledge.
    fn trial(&self, what: &str, next: usize, happens: impl FnOnce()) {
        self.write();
        let began = Instant::now();
        happens();
        let took = self.until(&format!("{what}: db-{next} to take writes"), || {
            writable(self.db(next))
        });
        std::thread::sleep(Duration::from_secs(4));
        let record = self.record();
        let present = rows(self.db(next)).unwrap();
        eprintln!(
            "{what}: writable after {took:?} ({:?}), {} ms without an acknowledged write, reigns {:?}, lost {}",
            began.elapsed(),
            record.outage(),
            record.reigns(),
            record.lost(&present).len(),
        );
        assert_eq!(record.reigns().len(), 2, "{what}: {:?}", record.reigns());
    }
}

#[test]
fn masters_die_and_others_take_over() {
    let fleet = Fleet::new().unwrap();
    let trials = Trials::boot(&fleet, 3, "cooldown = \"1s\"\n");
    trials.settle(1);
    trials.world.make_table(trials.db(1)).unwrap();

    trials.trial("switchover", 2, || {
        let said = trials
            .db(1)
            .run(&["agentctl", "db", "switchover", "shop"])
            .unwrap();
        assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    });
    trials.settle(2);

    trials.trial("mysqld killed", 1, || {
        trials
            .db(2)
            .kill_unit("mariadb.service", "SIGKILL")
            .unwrap();
    });
    eprintln!(
        "{}\n{}\n{}",
        told(trials.db(1)),
        told(trials.db(2)),
        told(trials.db(3))
    );
    trials.settle(1);

    trials.trial("host lost", 2, || trials.db(1).power_off().unwrap());
    trials.db(1).power_on().unwrap();
    eprintln!(
        "{}\n{}\n{}",
        told(trials.db(1)),
        told(trials.db(2)),
        told(trials.db(3))
    );
    trials.settle(2);

    trials.trial("agent killed and kept down", 1, || {
        let agent = trials.db(2);
        agent
            .must(&["systemctl", "mask", "--runtime", "agentd"])
            .unwrap();
        agent.kill_unit("agentd.service", "SIGKILL").unwrap();
    });
    trials
        .db(2)
        .must(&["systemctl", "unmask", "--runtime", "agentd"])
        .unwrap();
    trials
        .db(2)
        .must(&["systemctl", "restart", "agentd"])
        .unwrap();
    trials.settle(1);

    trials.trial("agent stopped", 2, || {
        trials.db(1).kill_unit("agentd.service", "SIGSTOP").unwrap();
    });
    trials.db(1).kill_unit("agentd.service", "SIGCONT").unwrap();
    trials.settle(2);

    trials.trial("mysqld stopped", 1, || {
        trials
            .db(2)
            .kill_unit("mariadb.service", "SIGSTOP")
            .unwrap();
    });
    trials.settle(1);

    trials.trial("machine frozen", 2, || trials.db(1).freeze().unwrap());
    trials.db(1).thaw().unwrap();
    // What was in the middle of its commit when it froze may have ended after it woke: then it is kept out.
    trials.until("db-1 to replicate, or to be kept out", || {
        !writable(trials.db(1)) && (replicates(trials.db(1)) || is_kept_out(trials.db(1)))
    });
    trials.until("db-3 to replicate", || replicates(trials.db(3)));
    assert!(writable(trials.db(2)));
}
