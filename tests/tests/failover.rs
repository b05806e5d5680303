//! A master on booted machines: made from nothing, handed over when a person says so, there again when its server is killed.

#![cfg(test)]

use std::time::{Duration, Instant};

use node_agent_tests::database::{DatabaseFleet, rows, try_sql};
use node_agent_tests::machine::{Fleet, Machine, wait_until};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_secs(25);

fn writable(machine: &Machine) -> bool {
    try_sql(machine, "SELECT @@global.read_only").is_ok_and(|said| said.stdout.trim() == "0")
}

fn replicates(machine: &Machine) -> bool {
    try_sql(machine, "SHOW GLOBAL STATUS LIKE 'Slave_running'")
        .is_ok_and(|said| said.stdout.contains("ON"))
}

fn told(machine: &Machine) -> String {
    let status = machine.run(&["agentctl", "db", "status"]);
    let status = status.map_or_else(|trouble| trouble.to_string(), |said| said.stdout);
    let journal = machine
        .run(&["journalctl", "-u", "agentd", "-o", "json", "--no-pager"])
        .map(|said| said.stdout)
        .unwrap_or_default();
    let fields = |line: &str| -> String {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let field = |name: &str| {
            value
                .get(name)
                .and_then(|it| it.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let all = [
            "BEFORE", "AFTER", "F_BEFORE", "F_AFTER", "TASK", "F_TASK", "ERROR", "F_ERROR", "WHY",
            "F_WHY", "VERDICT",
        ];
        let rest: Vec<_> = all
            .iter()
            .map(|name| field(name))
            .filter(|it| !it.is_empty())
            .collect();
        format!(
            "{} {} {}",
            field("__REALTIME_TIMESTAMP"),
            field("MESSAGE"),
            rest.join(" | ")
        )
    };
    let journal: String = journal.lines().map(|line| fields(line) + "\n").collect();
    let tail: Vec<_> = journal.lines().rev().take(80).collect();
    format!(
        "{}\n{status}\n{}",
        machine.name(),
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    )
}

fn until(fleet: &DatabaseFleet<'_>, what: &str, is: impl Fn() -> bool) {
    if let Err(trouble) = wait_until(what, SOON, is) {
        let words: Vec<_> = fleet.databases.iter().map(told).collect();
        panic!("{trouble}\n{}", words.join("\n\n"));
    }
}

#[test]
fn a_master_is_made_handed_over_and_there_again_when_its_server_is_killed() {
    let fleet = Fleet::new().unwrap();
    let world = DatabaseFleet::boot(&fleet, 2, "cooldown = \"1s\"\n", true).unwrap();
    let (one, two) = (world.db(1).unwrap(), world.db(2).unwrap());

    until(&world, "db-1 to be the master", || writable(one));
    until(&world, "db-2 to replicate", || replicates(two));
    assert!(!writable(two));
    world.make_table(one).unwrap();

    // A person hands over.
    world.write(2, 25).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let said = one.run(&["agentctl", "db", "switchover", "shop"]).unwrap();
    assert_eq!(
        said.code,
        Some(0),
        "{}{}\n{}",
        said.stdout,
        said.stderr,
        told(one)
    );
    until(&world, "db-2 to be the master", || {
        writable(two) && !writable(one)
    });
    until(&world, "db-1 to replicate", || replicates(one));
    let record = world.record(2, SOON).unwrap();
    let present = rows(two).unwrap();
    assert!(
        record.lost(&present).is_empty(),
        "{:?}",
        record.lost(&present)
    );
    eprintln!(
        "switchover: {} ms, reigns {:?}",
        record.outage(),
        record.reigns()
    );

    // Its server dies.
    world.write(2, 30).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let killed = Instant::now();
    two.kill_unit("mariadb.service", "SIGKILL").unwrap();
    until(&world, "db-1 or db-2 to be the master", || {
        writable(one) || writable(two)
    });
    eprintln!("mysqld killed: writable again after {:?}", killed.elapsed());
    let record = world.record(2, SOON).unwrap();
    eprintln!(
        "mysqld killed: {} ms, reigns {:?}",
        record.outage(),
        record.reigns()
    );
    // A candidate may lack what it never received: replication is asynchronous. The server itself lacks nothing.
    if writable(two) {
        assert!(record.lost(&rows(two).unwrap()).is_empty());
    }
}
