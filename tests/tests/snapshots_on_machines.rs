//! Promise: on a machine as it really boots, the agent takes snapshots and restores them in its sandbox, within its allowance of
//! memory, as the account of databases; killed in the middle of either, it leaves nothing that runs or counts.
//!
//! Needs what `tests/setup` makes.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::database::{DatabaseFleet, Setup, document, sql};
use node_agent_tests::machine::{Fleet, Machine, Trouble, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);
/// A snapshot and a drill on a busy host.
const LONG: Duration = Duration::from_mins(3);

/// What the agent there says of its snapshots.
fn snapshots(machine: &Machine) -> Value {
    let status = machine.read("/run/agentd/status.json").unwrap_or_default();
    let status: Value = serde_json::from_str(&status).unwrap_or_default();
    status["databases"][0]["snapshots"].clone()
}

/// The database server of a drill, and the cgroup that it is in.
fn drill_server(machine: &Machine) -> Option<(String, String)> {
    // Not the one that makes its first files, nor who speaks to it.
    let words = "mariadbd .*socket=/var/lib/agentd-drills";
    let found = machine.run(&["pgrep", "--full", words]).ok()?;
    let mut ids = found.stdout.lines().map(str::trim);
    let id = ids.find(|id| {
        let name = machine.read(&format!("/proc/{id}/comm"));
        name.is_ok_and(|name| name.trim() == "mariadbd")
    })?;
    let cgroup = machine.read(&format!("/proc/{id}/cgroup")).ok()?;
    let user = machine
        .must(&["stat", "-c", "%U", &format!("/proc/{id}")])
        .ok()?;
    Some((user.trim().to_owned(), cgroup))
}

fn kill_agent(machine: &Machine) -> Result<(), Trouble> {
    machine.kill_unit("agentd.service", "KILL")
}

#[test]
fn an_agent_in_its_sandbox_takes_snapshots_and_restores_them() {
    let fleet = Fleet::new().unwrap();
    let setup = Setup::new(2);
    let all = DatabaseFleet::boot_as(&fleet, &setup).unwrap();
    let (master, snapshot_server) = (all.db(1).unwrap(), all.db(2).unwrap());
    let mut changed = document(&setup, 2, false);
    changed["signed"]["products"]["shop"]["database"]["chain"] = json!(["db-1"]);
    changed["signed"]["products"]["shop"]["database"]["snapshots"] =
        json!({"server": "db-2", "every": "15m", "prove": "1h"});
    wait_until("db-1 to be the master", SOON, || {
        sql(master, "SELECT @@read_only").is_ok_and(|text| text == "0")
    })
    .unwrap();
    // Before there is anything: a replica that has nothing follows a master that has nothing.
    wait_until("db-2 to follow", SOON, || {
        sql(snapshot_server, "SHOW SLAVE STATUS").is_ok_and(|text| text.contains("Yes\tYes"))
    })
    .unwrap();
    all.make_table(master).unwrap();
    sql(
        master,
        "INSERT INTO shop.orders SELECT seq, REPEAT('x', 90) FROM shop.seq_1_to_100000",
    )
    .unwrap();
    wait_until("db-2 to have it all", SOON, || {
        sql(snapshot_server, "SELECT COUNT(*) FROM shop.orders").is_ok_and(|text| text == "100000")
    })
    .unwrap();
    all.bucket.publish(&changed).unwrap();

    // The agent is killed in the middle of the first drill: nothing of it goes on, and the next agent makes another.
    let mut seen = None;
    wait_until("a drill's server", LONG, || {
        seen = drill_server(snapshot_server);
        seen.is_some()
    })
    .unwrap();
    let (user, cgroup) = seen.unwrap();
    assert_eq!(user, "mysql");
    assert!(
        cgroup.contains(".scope") && !cgroup.contains("agentd.service"),
        "{cgroup}"
    );
    kill_agent(snapshot_server).unwrap();
    wait_until("the drill's server to be gone", SOON, || {
        drill_server(snapshot_server).is_none()
    })
    .unwrap();
    wait_until("a restorable snapshot", LONG, || {
        !snapshots(snapshot_server)["restorable"].is_null()
    })
    .unwrap();
    let told = snapshots(snapshot_server);
    assert_eq!(told["count"], 1, "{told}");
    assert_eq!(told["newest"], told["restorable"], "{told}");
    let left = snapshot_server
        .must(&["ls", "-A", "/var/lib/agentd-drills/shop"])
        .unwrap();
    assert_eq!(left.trim(), "");

    // At a person's word, another one: with its owner's position.
    let order = ["agentctl", "db", "snapshot", "now", "shop"];
    let said = snapshot_server.run_with(&order, b"", LONG).unwrap();
    assert!(said.success(), "{said:?}");
    let rows = said.stdout.split("tables with ").nth(1).unwrap_or_default();
    let rows: u64 = rows.split(' ').next().unwrap().parse().unwrap();
    assert!(rows >= 100_000, "{said:?}");
    let elsewhere = master.run(&order).unwrap();
    assert!(
        !elsewhere.success() && elsewhere.stderr.contains("db-2 takes the snapshots"),
        "{elsewhere:?}"
    );
    // Its exit code is that of all that is to be said of the database.
    let shown = snapshot_server
        .run(&["agentctl", "db", "status", "shop"])
        .unwrap();
    assert!(
        shown.stdout.contains("restored by a drill: 20"),
        "{shown:?}"
    );
    let listed = snapshot_server
        .must(&["agentctl", "db", "snapshots", "shop"])
        .unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let check = snapshot_server.run(&["agentctl", "check"]).unwrap();
    assert!(check.stdout.contains("db_restorable_age"), "{check:?}");
    let journal = snapshot_server.journal("agentd.service").unwrap();
    assert!(
        !journal.contains("snapshot-failed") && !journal.contains("drill-failed"),
        "{journal}"
    );
}
