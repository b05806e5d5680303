//! Promise: an old master that comes back with transactions that the new one lacks is kept out; they are saved to the bucket;
//! and when a person gives them up it is made anew, and follows.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::database::{DatabaseFleet, sql, try_sql};
use node_agent_tests::machine::{Fleet, Machine, wait_until};

const SOON: Duration = Duration::from_secs(40);

fn said(machine: &Machine, arguments: &[&str]) -> (Option<i32>, String) {
    let argv = [&["agentctl", "db"], arguments].concat();
    let output = machine.run_with(&argv, b"", SOON);
    output.map_or_else(
        |trouble| (None, trouble.to_string()),
        |it| (it.code, it.stdout + &it.stderr),
    )
}

fn until(machines: &[&Machine], what: &str, is: impl Fn() -> bool) {
    if let Err(trouble) = wait_until(what, SOON, is) {
        let words = machines.iter().map(|machine| {
            let journal = machine.run(&["journalctl", "-u", "agentd", "--no-pager", "-n", "60"]);
            let journal = journal.map(|it| it.stdout).unwrap_or_default();
            format!(
                "{}\n{}\n{journal}",
                machine.name(),
                said(machine, &["status"]).1
            )
        });
        panic!("{trouble}\n{}", words.collect::<Vec<_>>().join("\n\n"));
    }
}

fn is(machine: &Machine, question: &str, answer: &str) -> bool {
    try_sql(machine, question).is_ok_and(|it| it.stdout.trim() == answer)
}

/// A reading of the product's, as `agentctl metrics` says it.
fn reading(machine: &Machine, name: &str) -> Option<f64> {
    let said = machine.run(&["agentctl", "metrics"]).ok()?.stdout;
    let head = format!("agentd_{name}{{");
    let line = said
        .lines()
        .find(|line| line.starts_with(&head) && line.contains("shop"))?;
    line.rsplit(' ').next()?.parse().ok()
}

const OPEN: &str = "SELECT @@global.read_only";
const COUNT: &str = "SELECT COUNT(*) FROM shop.orders";

#[test]
fn an_old_master_with_a_surplus_is_kept_out_and_made_anew_when_a_person_says_so() {
    let fleet = Fleet::new().unwrap();
    let world = DatabaseFleet::boot(&fleet, 2, "cooldown = \"1s\"\n", true).unwrap();
    let (one, two) = (world.db(1).unwrap(), world.db(2).unwrap());
    let both = [one, two];
    until(&both, "db-1 to be the master", || is(one, OPEN, "0"));
    until(&both, "db-2 to be led to db-1", || {
        is(
            two,
            "SHOW GLOBAL STATUS LIKE 'Slave_running'",
            "Slave_running\tON",
        )
    });
    world.make_table(one).unwrap();
    sql(one, "CREATE USER late@'10.77.0.%' IDENTIFIED BY 'x'; INSERT INTO shop.orders VALUES (1, 'one'); \
              CREATE EVENT shop.often ON SCHEDULE EVERY 1 HOUR DO SELECT 1")
        .unwrap();
    until(&both, "db-2 to replicate", || is(two, COUNT, "1"));
    // What runs is noted within some seconds.
    until(&both, "the event to be noted", || {
        is(two, "SELECT COUNT(*) FROM agentd.events", "1")
    });
    let (code, words) = said(one, &["switchover", "shop"]);
    assert_eq!(code, Some(0), "{words}");
    until(&both, "db-2 to be the master", || is(two, OPEN, "0"));
    let state = "SELECT STATUS FROM information_schema.EVENTS";
    until(&both, "the event to run on db-2 alone", || {
        is(two, state, "ENABLED") && is(one, state, "SLAVESIDE_DISABLED")
    });

    // It was away, and wrote.
    one.must(&["systemctl", "stop", "agentd"]).unwrap();
    sql(
        one,
        "STOP SLAVE; INSERT INTO shop.orders VALUES (100, 'surplus')",
    )
    .unwrap();
    sql(two, "INSERT INTO shop.orders VALUES (2, 'two')").unwrap();
    one.must(&["systemctl", "restart", "mariadb"]).unwrap();
    one.must(&["systemctl", "start", "agentd"]).unwrap();
    until(&both, "db-1 to be kept out", || {
        said(one, &["status"]).1.contains("it is kept out")
    });
    // Nothing is down: a warning, until somebody has looked.
    until(&both, "the monitors to tell of it", || {
        reading(one, "database_quarantined_servers") == Some(1.0)
    });
    let nagios = one.run(&["agentctl", "check"]).unwrap();
    assert_eq!(nagios.code, Some(1), "{}", nagios.stdout);
    assert!(
        nagios.stdout.contains("db_quarantined_shop=1;"),
        "{}",
        nagios.stdout
    );
    let key = "prod/surplus/shop/2-db-1.sql";
    until(&both, "the surplus in the bucket", || {
        world.bucket.get(key).unwrap().is_some()
    });
    let saved = world.bucket.get(key).unwrap().unwrap();
    assert!(saved.contains("GTID 0-31-"), "{saved}");
    assert!(
        saved.contains("surplus"),
        "nobody can read the rows: {saved}"
    );
    assert!(
        !saved.contains("GTID 0-32-"),
        "more than the surplus: {saved}"
    );

    // Without a person's word it stays as it is.
    let (code, words) = said(one, &["rejoin", "shop"]);
    assert_eq!(code, Some(1), "{words}");
    assert!(
        is(one, COUNT, "2") && words.contains("--discard"),
        "{words}"
    );

    // A master has nobody to follow.
    let (code, words) = said(two, &["rejoin", "shop", "--discard"]);
    assert_eq!(code, Some(1), "{words}");

    // The account may not read the master's data: told with what to do, and nothing is changed.
    let (code, words) = said(one, &["rejoin", "shop", "--discard"]);
    assert_eq!(code, Some(1), "{words}");
    assert!(
        words.contains("GRANT SELECT, SHOW VIEW, TRIGGER, EVENT"),
        "{words}"
    );
    assert!(is(one, COUNT, "2"));
    sql(two, "SET SESSION sql_log_bin = 0; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO 'agentd'@'10.77.0.%'").unwrap();

    let (code, words) = said(one, &["rejoin", "shop", "--discard"]);
    assert_eq!(code, Some(0), "{words}");
    sql(two, "INSERT INTO shop.orders VALUES (3, 'three')").unwrap();
    until(&both, "db-1 to have what db-2 has", || {
        is(
            one,
            "SELECT GROUP_CONCAT(id ORDER BY id) FROM shop.orders",
            "1,2,3",
        )
    });
    assert!(is(
        one,
        "SELECT COUNT(*) FROM mysql.user WHERE User = 'late'",
        "1"
    ));
    until(&both, "db-1 to be a candidate", || {
        !said(one, &["status"]).1.contains("kept out")
    });
    // And it can be the master again.
    let (code, words) = said(two, &["switchover", "shop"]);
    assert_eq!(code, Some(0), "{words}");
    until(&both, "db-1 to be the master again", || is(one, OPEN, "0"));
    until(&both, "db-2 to replicate", || {
        is(
            two,
            "SHOW GLOBAL STATUS LIKE 'Slave_running'",
            "Slave_running\tON",
        )
    });

    // Cut off from the bucket alone it goes on by its lock on db-2, and monitors see how the lease grows old.
    let renewed = || reading(one, "database_lease_renewed_timestamp_seconds");
    std::thread::sleep(Duration::from_secs(5));
    world.cut_bucket(one).unwrap();
    std::thread::sleep(Duration::from_secs(14));
    let last = renewed();
    std::thread::sleep(Duration::from_secs(12));
    assert!(last.is_some() && renewed() == last, "{last:?}");
    assert!(is(one, OPEN, "0") && is(two, OPEN, "1"));
    world.mend(one).unwrap();
    until(&both, "the lease to be renewed again", || renewed() > last);
    assert!(is(one, OPEN, "0"));
}
