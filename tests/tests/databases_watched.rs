//! What people and monitors see of a product's database, on booted machines: at rest, while agents are started again,
//! while a person holds it. And what following its lease costs, and how long it takes, with two products on the same servers.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::database::{DatabaseFleet, rows, try_sql};
use node_agent_tests::machine::{Fleet, Machine, Output, wait_until};

/// Longer than anything should take on a busy host.
const SOON: Duration = Duration::from_mins(1);

fn ran(machine: &Machine, arguments: &[&str]) -> Output {
    machine.run(arguments).unwrap()
}

fn db(machine: &Machine, arguments: &[&str]) -> Output {
    let all: Vec<&str> = ["agentctl", "db"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let said = ran(machine, &all);
    println!(
        "{}$ agentctl db {}   → {:?}\n{}{}",
        machine.name(),
        arguments.join(" "),
        said.code,
        said.stdout,
        said.stderr
    );
    said
}

fn check(machine: &Machine) -> Output {
    let said = ran(machine, &["agentctl", "check"]);
    println!(
        "{}$ agentctl check   → {:?}\n{}",
        machine.name(),
        said.code,
        said.stdout
    );
    said
}

/// A reading of the product's, as `agentctl metrics` says it.
fn metric(machine: &Machine, name: &str) -> Option<f64> {
    let said = ran(machine, &["agentctl", "metrics"]);
    let head = format!("agentd_{name}");
    let line = said.stdout.lines().find(|line| {
        line.strip_prefix(&head)
            .is_some_and(|rest| rest.starts_with('{') && rest.contains("shop"))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The same of `agentctl munin`: the values of a graph.
fn munin(machine: &Machine, graph: &str) -> Vec<String> {
    let said = ran(machine, &["agentctl", "munin"]);
    let mut inside = false;
    let mut values = Vec::new();
    for line in said.stdout.lines() {
        if let Some(name) = line.strip_prefix("multigraph ") {
            inside = name == graph;
        } else if inside {
            values.push(line.to_owned());
        }
    }
    values
}

fn writable(machine: &Machine) -> bool {
    try_sql(machine, "SELECT @@global.read_only").is_ok_and(|said| said.stdout.trim() == "0")
}

fn replicates(machine: &Machine) -> bool {
    try_sql(machine, "SHOW GLOBAL STATUS LIKE 'Slave_running'")
        .is_ok_and(|said| said.stdout.contains("ON"))
}

fn until(world: &DatabaseFleet<'_>, what: &str, is: impl Fn() -> bool) -> Duration {
    wait_until(what, SOON, is).unwrap_or_else(|trouble| {
        for machine in world.databases.iter().chain([&world.web]) {
            db(machine, &["status"]);
            check(machine);
        }
        let logs = world
            .databases
            .iter()
            .map(|machine| machine.journal("agentd.service").unwrap_or_default());
        let logs: Vec<String> = logs
            .map(|log| {
                log.lines()
                    .rev()
                    .take(40)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join("\n")
            })
            .collect();
        panic!("{trouble}\n{}", logs.join("\n\n"))
    })
}

#[test]
fn at_rest_while_agents_start_again_and_while_a_person_holds_it() {
    let fleet = Fleet::new().unwrap();
    let world = DatabaseFleet::boot(&fleet, 2, "cooldown = \"1s\"\n", true).unwrap();
    let (one, two, web) = (world.db(1).unwrap(), world.db(2).unwrap(), &world.web);
    let all = [one, two, web];
    until(&world, "db-1 to be the master", || writable(one));
    until(&world, "db-2 to replicate", || replicates(two));
    world.make_table(one).unwrap();
    until(&world, "all to be well", || {
        all.iter()
            .all(|machine| ran(machine, &["agentctl", "check"]).code == Some(0))
            && metric(one, "database_candidates_ready") == Some(1.0)
    });

    // At rest.
    for machine in all {
        db(machine, &["status"]);
        check(machine);
        println!("{}", ran(machine, &["agentctl", "status"]).stdout);
        assert_eq!(
            metric(machine, "database_epoch"),
            Some(1.0),
            "{}",
            machine.name()
        );
    }
    for machine in [one, two] {
        let now = |name| metric(machine, name);
        assert_eq!(now("database_writable_servers"), Some(1.0));
        assert_eq!(now("database_quarantined_servers"), Some(0.0));
        assert_eq!(now("database_replication_lag_seconds"), Some(0.0));
        assert_eq!(munin(machine, "agentd_db_lag"), ["db_lag_shop.value 0"]);
        let text = db(machine, &["status"]).stdout;
        assert!(text.contains("db-2 would take over by itself"), "{text}");
    }
    assert_eq!(metric(two, "database_candidates_ready"), Some(1.0));

    agents_start_again(&world);
    orders_in_the_wrong_place(&world);
    a_person_holds_it(&world);
    two_products_on_one_chain_are_told_of_a_new_master(&world);
}

fn agents_start_again(world: &DatabaseFleet<'_>) {
    let (one, two, web) = (world.db(1).unwrap(), world.db(2).unwrap(), &world.web);
    // Agents are started again, the master's too, while clients write: nobody notices.
    world.write(2, 20).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    for machine in [one, two, web, one] {
        machine.must(&["systemctl", "restart", "agentd"]).unwrap();
        std::thread::sleep(Duration::from_secs(3));
    }
    let record = world.record(2, SOON).unwrap();
    println!(
        "agents started again: longest pause of writes {} ms, reigns {:?}",
        record.outage(),
        record.reigns()
    );
    assert!(record.lost(&rows(one).unwrap()).is_empty());
    assert_eq!(record.reigns().len(), 1, "{:?}", record.reigns());
    assert!(record.outage() < 1000, "{} ms", record.outage());
    assert_eq!(metric(two, "database_epoch"), Some(1.0));
    let lease = metric(one, "database_change_timestamp_seconds");
    assert!(lease.is_some(), "a new agent knows since when");
}

fn orders_in_the_wrong_place(world: &DatabaseFleet<'_>) {
    let (one, two, web) = (world.db(1).unwrap(), world.db(2).unwrap(), &world.web);
    // Orders where they cannot be given say where they can.
    for (machine, order, says) in [
        (web, &["switchover", "shop"][..], "on one of db-1, db-2"),
        (web, &["pause", "shop"], "on one of db-1, db-2"),
        (two, &["switchover", "shop", "--noop"], "type this on db-1"),
        (two, &["switchover", "shop"], "the master is db-1"),
        (
            one,
            &["switchover", "shop", "--to", "db-9", "--noop"],
            "those are db-1, db-2",
        ),
        (
            one,
            &["takeover", "shop", "--noop"],
            "is the master of shop already",
        ),
        (two, &["rejoin", "shop", "--noop"], "not kept out"),
    ] {
        let said = db(machine, order);
        assert_eq!(said.code, Some(1));
        assert!(said.stderr.contains(says), "{}", said.stderr);
    }
    let said = db(one, &["switchover", "shop", "--noop"]);
    assert!(
        said.success() && said.stdout.contains("1. db-1 announces db-2"),
        "{}",
        said.stdout
    );
    assert!(writable(one));
}

fn a_person_holds_it(world: &DatabaseFleet<'_>) {
    let (one, two) = (world.db(1).unwrap(), world.db(2).unwrap());
    // A person holds it.
    let said = db(two, &["pause", "shop", "--reason", "new disks in db-2"]);
    assert_eq!(said.code, Some(0));
    for machine in [one, two] {
        until(world, "the hold to be told", || {
            ran(machine, &["agentctl", "db", "status"])
                .stdout
                .contains("new disks in db-2")
        });
        let text = db(machine, &["status"]).stdout;
        assert!(text.contains("nobody would take over by itself"), "{text}");
        assert!(
            !text.contains("could not:"),
            "nothing is wrong with db-2: {text}"
        );
        assert_eq!(check(machine).code, Some(0), "a person wanted it so");
    }
    let there = || metric(two, "database_hold_timestamp_seconds").is_some();
    until(world, "the hold in the monitors", there);
    db(one, &["resume", "shop"]);
    until(world, "the hold to be gone", || {
        !ran(one, &["agentctl", "db", "status"])
            .stdout
            .contains("new disks in db-2")
    });
}

/// The moment of a line of the agent's journal, the last with these words, in seconds.
fn logged(machine: &Machine, words: &str) -> f64 {
    let script =
        format!("journalctl -u agentd -o short-unix --no-pager | grep -F '{words}' | tail -1");
    let line = machine.must(&["sh", "-c", &script]).unwrap();
    let moment = line.split_whitespace().next().unwrap_or_default();
    moment
        .parse()
        .unwrap_or_else(|_| panic!("{words}: {line:?}"))
}

/// How many GETs and PUTs a machine has sent to the bucket since they are counted. Each begins a packet of its own.
fn requests(machine: &Machine) -> u32 {
    let table = machine
        .must(&["nft", "list", "table", "inet", "count"])
        .unwrap();
    let counts = table.split("packets ").skip(1);
    let counts = counts.filter_map(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
    counts.sum()
}

fn two_products_on_one_chain_are_told_of_a_new_master(world: &DatabaseFleet<'_>) {
    const REST: Duration = Duration::from_secs(30);
    let (one, two, web) = (world.db(1).unwrap(), world.db(2).unwrap(), &world.web);
    // Another product comes to the same servers, with a name that stands before. The lease stays where it is.
    let text = world.bucket.get("prod/fleet.json").unwrap().unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let signed = &mut document["signed"];
    signed["version"] = (signed["version"].as_u64().unwrap() + 1).into();
    let chain = signed["products"]["shop"]["database"]["chain"].clone();
    signed["products"]["blog"] =
        serde_json::json!({"database": {"chain": chain, "aliases": {"master": ["blog-db"]}}});
    for (_, server) in signed["servers"].as_object_mut().unwrap() {
        server["products"] = serde_json::json!(["blog", "shop"]);
    }
    world.bucket.publish(&document).unwrap();
    let leads = |name: &str| {
        let found = ran(web, &["getent", "hosts", name]).stdout;
        found
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    until(world, "the other product's name", || {
        leads("blog-db") == one.address()
    });

    // As people have it, but for the fleet's own document, which is polled as usual.
    let usual = "sed -i '/^poll/d' /etc/agentd/agentd.toml && systemctl restart agentd && nft -f - <<'E'\ntable inet count { chain out { \
         type filter hook output priority 0; tcp dport 9000 @th,256,32 0x47455420 counter; tcp dport 9000 @th,256,32 0x50555420 counter; }; }\nE";
    web.must(&["sh", "-c", usual]).unwrap();
    std::thread::sleep(Duration::from_secs(12));
    let before = requests(web);
    assert!(before > 0, "they are counted");
    std::thread::sleep(REST);
    let at_rest = requests(web) - before;
    println!("{at_rest} requests in {REST:?} at rest, with two products on one chain");
    assert!(at_rest <= 4, "{at_rest}");

    for (from, to) in [(one, two), (two, one)] {
        let before = requests(web);
        until(world, "both to be ready", || {
            metric(from, "database_candidates_ready") == Some(1.0) && replicates(to)
        });
        // The cluster is meant, whichever of its products is said.
        let said = db(from, &["switchover", "blog"]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        until(world, "both names to lead there", || {
            ["mysql-master", "blog-db"]
                .iter()
                .all(|name| leads(name) == to.address())
        });
        let took = logged(web, "the master of shop is") - logged(to, "to Serving");
        let drawn = requests(web) - before;
        println!("followed {took:.3} s after it served, {drawn} requests");
        assert!(took < 1.0, "{took}");
        assert!(drawn <= 12, "{drawn}");
    }
    assert!(db(web, &["status", "blog"]).stdout.contains("blog, shop"));
    assert_eq!(world.bucket.get("prod/leases/blog.json").unwrap(), None);
}
