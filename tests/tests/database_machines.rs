//! Promise: on a machine as it really boots, with the packaged configuration, a database server that dies comes back
//! closed to writers and following nobody, and nothing that it acknowledged is lost by that.
//!
//! Needs what `tests/setup` makes.

use std::time::Duration;

use node_agent_tests::database::{Became, DatabaseFleet, rows, sql, try_sql};
use node_agent_tests::machine::{Fleet, wait_until};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_server_that_is_killed_is_started_again_by_its_unit_and_comes_up_closed() {
    let fleet = Fleet::new().unwrap();
    let all = DatabaseFleet::boot(&fleet, 2, "", false).unwrap();
    let (master, other) = (all.db(1).unwrap(), all.db(2).unwrap());
    for machine in [master, other] {
        assert_eq!(
            sql(machine, "SELECT @@read_only, @@gtid_strict_mode, @@log_bin").unwrap(),
            "1\t1\t1"
        );
    }
    assert_eq!(sql(other, "SELECT @@server_id").unwrap(), "32");
    // Replication by hand, as the agent does it: the boot after the crash must not start it.
    let follow = "CHANGE MASTER TO MASTER_HOST='10.77.0.31', MASTER_USER='agentd', \
        MASTER_PASSWORD='only-for-tests', MASTER_USE_GTID=slave_pos; START SLAVE";
    sql(other, follow).unwrap();
    sql(master, "SET GLOBAL read_only = 0").unwrap();
    all.make_table(master).unwrap();
    wait_until("web-1 to know the master", SOON, || {
        all.web
            .read("/etc/hosts")
            .is_ok_and(|hosts| hosts.contains("mysql-master"))
    })
    .unwrap();
    all.write(2, 20).unwrap();
    std::thread::sleep(Duration::from_secs(3));

    // A cable that carries one direction only: writers fall silent and come back.
    all.cut_one_way(&all.web, master).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    all.mend(master).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    for machine in [master, other] {
        machine.kill_unit("mariadb.service", "KILL").unwrap();
    }
    let record = all.record(2, SOON).unwrap();
    for machine in [master, other] {
        wait_until("its unit to start it again", SOON, || {
            try_sql(machine, "SELECT 1").is_ok_and(|output| output.success())
        })
        .unwrap();
        assert_eq!(sql(machine, "SELECT @@read_only").unwrap(), "1");
    }
    // Configured, and standing: with names, which the helper leaves out.
    let status = other
        .must(&["mariadb", "-e", "SHOW SLAVE STATUS\\G"])
        .unwrap();
    assert!(status.contains("Slave_IO_Running: No"), "{status}");
    assert!(status.contains("Slave_SQL_Running: No"), "{status}");

    assert!(
        record.acknowledged().count() > 50,
        "{}",
        record.writes.len()
    );
    assert_eq!(record.reigns(), [31]);
    let present = rows(master).unwrap();
    assert!(
        record.lost(&present).is_empty(),
        "{:?}",
        record.lost(&present)
    );
    assert!(record.ghosts(&present).is_empty());
    let refused = record.writes.last().unwrap();
    assert_eq!(refused.became, Became::Failed, "{refused:?}");
    assert!(refused.why.contains("1290"), "{refused:?}");
    assert!(
        record.outage() >= 1400,
        "the cut was no cut: {} ms",
        record.outage()
    );
}
