//! What machines say of themselves, and small things done to them.

use std::time::Duration;

use serde_json::Value;

use crate::database::try_sql;
use crate::machine::{Machine, Output, Trouble};

/// What a server said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) writable: bool,
    pub(super) replicates: bool,
    pub(super) semi_sync: bool,
    /// How many replicas give their word to it.
    pub(super) words: u32,
    pub(super) gtid: String,
}

/// What a server says of itself; `None`: it does not answer.
pub(super) fn said(machine: &Machine) -> Option<Said> {
    let statement = "SELECT @@global.read_only, (SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
         WHERE VARIABLE_NAME = 'SLAVE_RUNNING'), @@global.rpl_semi_sync_master_enabled, (SELECT VARIABLE_VALUE FROM \
         information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'RPL_SEMI_SYNC_MASTER_CLIENTS'), @@global.gtid_binlog_pos";
    let said = try_sql(machine, statement).ok().filter(Output::success)?;
    let mut words = said.stdout.trim_end_matches('\n').split('\t');
    Some(Said {
        writable: words.next()? == "0",
        replicates: words.next()? == "ON",
        semi_sync: words.next()? == "1",
        words: words.next()?.parse().ok()?,
        gtid: words.next()?.to_owned(),
    })
}

/// Whether a machine's agent says that its server is kept out.
pub(super) fn is_quarantined(machine: &Machine) -> bool {
    let status = machine.run_with(
        &["agentctl", "--output", "json", "db", "status", "shop"],
        b"",
        Duration::from_secs(5),
    );
    let status = status.map(|said| said.stdout).unwrap_or_default();
    let status: Value = serde_json::from_str(&status).unwrap_or_default();
    status.pointer("/databases/0/part").and_then(Value::as_str) == Some("quarantined")
}

/// The address that a web machine has for the master; `None`: none.
pub(super) fn leads_to(web: &Machine) -> Option<String> {
    let hosts = web.read("/etc/hosts").ok()?;
    let line = hosts.lines().find(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == "mysql-master")
    })?;
    line.split_whitespace().next().map(str::to_owned)
}

/// Does the same on several machines at once; the first trouble counts.
pub(super) fn each(
    machines: &[&Machine],
    work: impl Fn(&Machine) -> Result<(), Trouble> + Sync,
) -> Result<(), Trouble> {
    std::thread::scope(|scope| {
        let work = &work;
        let all: Vec<_> = machines
            .iter()
            .map(|machine| scope.spawn(move || work(machine)))
            .collect();
        all.into_iter().try_for_each(|one| {
            one.join()
                .unwrap_or_else(|_| Err(Trouble::new("work on a machine panicked")))
        })
    })
}

/// Swallows on one machine what comes from an address, in a table of this number.
pub(super) fn swallow(number: usize, on: &Machine, from: &str) -> Result<(), Trouble> {
    let table = format!("inet cuts{number}");
    let rules = format!(
        "add table {table}; add chain {table} received {{ type filter hook input priority 0; }}; \
         add rule {table} received ip saddr {from} drop"
    );
    on.must(&["nft", &rules]).map(drop)
}

/// Lets through what [`swallow`] swallows.
pub(super) fn mend(number: usize, on: &Machine) -> Result<(), Trouble> {
    // Added first, so that deleting what is not there is no error.
    let table = format!("inet cuts{number}");
    on.must(&["nft", &format!("add table {table}; delete table {table}")])
        .map(drop)
}
