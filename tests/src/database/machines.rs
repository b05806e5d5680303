//! A product's database on booted machines: a chain of three, a snapshot server, a web machine, a bucket, agents.
//!
//! ```text
//! db-1 10.77.0.31 ◄── db-2 .32 ◄── db-3 .33      web-1 .11, web-2 .12: writers, mysql-master in /etc/hosts
//!        ▲
//!        └── db-4 .34 (snapshots)                the test .1: the bucket
//! ```
//!
//! Each database machine has `MariaDB` as its package brings it, `packaging/mariadb/agentd.cnf`, and accounts that a
//! person would make. Cables are cut in pieces: one direction, one pair.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::PEER;
use super::record::Record;
use crate::machine::{
    AddedFile, Fleet, FleetBucket, Image, Machine, MachineSpec, Output, TEST_ADDRESS, Trouble,
    agent_config, built, wait_until, with_agent_and, with_credentials,
};

/// The database servers: the chain, then the snapshot server.
pub const SERVERS: [(&str, &str); 4] = [
    ("db-1", "10.77.0.31"),
    ("db-2", "10.77.0.32"),
    ("db-3", "10.77.0.33"),
    ("db-4", "10.77.0.34"),
];
/// The web machines.
pub const WEBS: [(&str, &str); 2] = [("web-1", "10.77.0.11"), ("web-2", "10.77.0.12")];
/// Where the servers' data lies: a disk of its own where [`Setup::fragile`] says so.
pub const DATA: &str = "/var/lib/mysql";

/// What the test needs of the packaged file's comments: a number of its own, the network, and accounts.
const CNF: &str = include_str!("../../../packaging/mariadb/agentd.cnf");

/// As a person makes them, on each server, outside of the binary log.
const ACCOUNTS: &str = "SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS 'agentd'@'10.77.0.%' IDENTIFIED BY 'only-for-tests';
GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR, PROCESS, SHOW DATABASES, CONNECTION ADMIN, READ_ONLY ADMIN ON *.* TO 'agentd'@'10.77.0.%';
CREATE USER IF NOT EXISTS 'app'@'10.77.0.%' IDENTIFIED BY 'app';
GRANT ALL PRIVILEGES ON shop.* TO 'app'@'10.77.0.%';
";

/// The `[database]` section of a database machine; `more` is appended to it.
pub fn database_config(more: &str) -> String {
    agent_config(&format!(
        "\n[database]\ncredentials = \"/etc/agentd/database.toml\"\n{more}"
    ))
}

/// What fleet is to be booted.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many database machines: db-1 to db-4.
    pub databases: usize,
    /// How many web machines: one or two.
    pub webs: usize,
    /// More of agentd.toml's top, on all machines: whole lines.
    pub top: String,
    /// More of `[database]`, on the database machines.
    pub database: String,
    /// More of the servers' configuration.
    pub cnf: String,
    /// Whether the database machines run agents from their boot on.
    pub agents: bool,
    /// The bucket stands behind a proxy that fails on purpose, and each server has a disk of its own, of so many megabytes.
    pub fragile: Option<u32>,
}

impl Setup {
    /// So many database machines, one web machine, agents everywhere.
    pub fn new(databases: usize) -> Self {
        Self {
            databases,
            webs: 1,
            top: String::new(),
            database: String::new(),
            cnf: String::new(),
            agents: true,
            fragile: None,
        }
    }

    fn config(&self, more: &str) -> String {
        // The top of the file comes before its first section.
        format!("{}{more}", self.top)
    }
}

/// The machines, running.
#[derive(Debug)]
pub struct DatabaseFleet<'fleet> {
    /// db-1 to db-4, as many as were asked for.
    pub databases: Vec<Machine>,
    /// web-1.
    pub web: Machine,
    /// web-2, if it was asked for.
    pub second_web: Option<Machine>,
    /// The bucket.
    pub bucket: FleetBucket<'fleet>,
}

impl<'fleet> DatabaseFleet<'fleet> {
    /// Boots the first `count` database machines and web-1, with the document published. `more` goes into the database
    /// machines' `[database]`, and `agents` says whether they run agents.
    pub fn boot(
        fleet: &'fleet Fleet,
        count: usize,
        more: &str,
        agents: bool,
    ) -> Result<Self, Trouble> {
        let mut setup = Setup::new(count);
        more.clone_into(&mut setup.database);
        setup.agents = agents;
        Self::boot_as(fleet, &setup)
    }

    /// Boots what `setup` says, with the document published.
    pub fn boot_as(fleet: &'fleet Fleet, setup: &Setup) -> Result<Self, Trouble> {
        let bucket = if setup.fragile.is_some() {
            FleetBucket::start_behind_proxy(fleet)?
        } else {
            FleetBucket::start(fleet)?
        };
        bucket.publish(&document(setup, 1, false))?;
        let mut specs = Vec::new();
        for &(name, address) in SERVERS.iter().take(setup.databases) {
            specs.push(database(name, address, setup)?);
        }
        for (name, address) in WEBS.iter().take(setup.webs.max(1)) {
            let web = MachineSpec::new(name, Image::Debian, address);
            let mut web = with_agent_and(web, &setup.config(&agent_config("")))?;
            web.files.push(AddedFile {
                path: "/usr/local/bin/writer".into(),
                bytes: std::fs::read(built("writer")?)
                    .map_err(|e| Trouble::caused("cannot read the writer", e))?,
                mode: 0o755,
            });
            specs.push(web);
        }
        let mut databases = fleet.boot_all(specs)?;
        let mut webs = databases.split_off(setup.databases.min(databases.len()));
        let second_web = (setup.webs > 1).then(|| webs.pop()).flatten();
        let web = webs
            .pop()
            .ok_or_else(|| Trouble::new("no machine was booted"))?;
        Ok(Self {
            databases,
            web,
            second_web,
            bucket,
        })
    }

    /// A database machine by its number, from 1 on.
    pub fn db(&self, number: usize) -> Result<&Machine, Trouble> {
        self.databases
            .get(number.wrapping_sub(1))
            .ok_or_else(|| Trouble::new(format!("there is no db-{number}")))
    }

    /// Makes the product's table, on the master.
    pub fn make_table(&self, master: &Machine) -> Result<(), Trouble> {
        sql(
            master,
            "CREATE DATABASE IF NOT EXISTS shop; CREATE TABLE IF NOT EXISTS shop.orders \
             (id BIGINT UNSIGNED PRIMARY KEY, note VARCHAR(100)) ENGINE=InnoDB",
        )
        .map(drop)
    }

    /// Starts writers on web-1 for so many seconds, each with a range of its own.
    pub fn write(&self, writers: u32, seconds: u32) -> Result<(), Trouble> {
        for writer in 0..writers {
            let first = u64::from(writer) * 10_000_000 + 1;
            let unit = format!("--unit=writer-{writer}");
            let output = format!("--property=StandardOutput=file:/run/writer-{writer}.log");
            let (first, seconds) = (first.to_string(), seconds.to_string());
            self.web.must(&[
                "systemd-run",
                "--quiet",
                &unit,
                &output,
                "/usr/local/bin/writer",
                "--first",
                &first,
                "--for",
                &seconds,
            ])?;
        }
        Ok(())
    }

    /// What the writers recorded, once they have ended.
    pub fn record(&self, writers: u32, patience: Duration) -> Result<Record, Trouble> {
        let mut texts = Vec::new();
        for writer in 0..writers {
            let unit = format!("writer-{writer}.service");
            wait_until("a writer to end", patience, || !self.web.is_active(&unit))?;
            texts.push(self.web.read(&format!("/run/writer-{writer}.log"))?);
        }
        Record::read(&texts)
    }

    /// Swallows what goes from one machine to the other; the way back stays open.
    pub fn cut_one_way(&self, from: &Machine, to: &Machine) -> Result<(), Trouble> {
        swallow(to, from.address())
    }

    /// Swallows what goes between the two.
    pub fn cut_pair(&self, one: &Machine, other: &Machine) -> Result<(), Trouble> {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// Swallows what the bucket answers to one machine.
    pub fn cut_bucket(&self, machine: &Machine) -> Result<(), Trouble> {
        swallow(machine, TEST_ADDRESS)
    }

    /// Mends everything that was cut at this machine's end.
    pub fn mend(&self, machine: &Machine) -> Result<(), Trouble> {
        // Added first, so that deleting what is not there is no error.
        let mend = "add table inet cuts; delete table inet cuts";
        machine.must(&["nft", mend]).map(drop)
    }
}

/// In a table of the test's own, after the dead-man's: what is swallowed there is as if it had never come.
fn swallow(machine: &Machine, from: &str) -> Result<(), Trouble> {
    let rules = format!(
        "add table inet cuts; add chain inet cuts received {{ type filter hook input priority 0; }}; \
         add rule inet cuts received ip saddr {from} drop"
    );
    machine.must(&["nft", &rules]).map(drop)
}

fn database(name: &str, address: &str, setup: &Setup) -> Result<MachineSpec, Trouble> {
    let number = server_id(address);
    let cnf = format!(
        "{CNF}\nserver_id = {number}\nbind_address = 0.0.0.0\nskip_name_resolve\n\
         init_file = /etc/mysql/accounts.sql\ninnodb_buffer_pool_size = 32M\n{}",
        setup.cnf
    );
    let credentials = format!("[peer]\nuser = \"{}\"\npassword = \"{}\"\n", PEER.0, PEER.1);
    let mut spec = MachineSpec::new(name, Image::Debian, address)
        .file("/etc/mysql/mariadb.conf.d/zz-agentd.cnf", cnf)
        .file("/etc/mysql/accounts.sql", ACCOUNTS)
        .enable("mariadb.service");
    if let Some(megabytes) = setup.fragile {
        spec = spec.data(DATA, megabytes);
    }
    let config = setup.config(&database_config(&setup.database));
    let mut spec = if setup.agents {
        with_agent_and(spec, &config)?
    } else {
        with_credentials(spec.with_agent_installed(&config)?)
    };
    spec.files.push(AddedFile {
        path: "/etc/agentd/database.toml".into(),
        bytes: credentials.into(),
        mode: 0o600,
    });
    Ok(spec)
}

/// The `server_id` of the server at this address: its last number.
pub fn server_id(address: &str) -> u32 {
    let last = address.rsplit('.').next();
    last.and_then(|last| last.parse().ok()).unwrap_or(0)
}

/// The fleet document: the product `shop` with its database servers, the fourth of them for snapshots.
pub fn document(setup: &Setup, version: u64, semi_sync: bool) -> Value {
    let mut servers = serde_json::Map::new();
    let mut chain = Vec::new();
    for &(name, address) in SERVERS.iter().take(setup.databases) {
        servers.insert(
            name.into(),
            json!({"address": address, "zone": "test", "roles": ["db"], "products": ["shop"]}),
        );
        if name != "db-4" {
            chain.push(name);
        }
    }
    for &(name, address) in WEBS.iter().take(setup.webs.max(1)) {
        servers.insert(
            name.into(),
            json!({"address": address, "zone": "test", "roles": ["web"], "products": ["shop"]}),
        );
    }
    let mut database = json!({"chain": chain, "aliases": {"master": ["mysql-master"]}});
    if let Some(fields) = database.as_object_mut() {
        if setup.databases > 3 {
            let snapshots = json!({"server": "db-4", "every": "15m"});
            fields.insert("snapshots".into(), snapshots);
        }
        if semi_sync {
            fields.insert("semi_sync".into(), true.into());
        }
    }
    json!({"signatures": [], "signed": {
        "format": 1, "fleet": "test", "version": version,
        "issued": "2026-01-01T00:00:00Z", "expires": "2036-01-01T00:00:00Z",
        "servers": servers,
        "roles": {"db": {}, "web": {}},
        "products": {"shop": {"database": database}}
    }})
}

/// Runs SQL on a machine's own server as root: one column a line, no headings.
pub fn sql(machine: &Machine, statements: &str) -> Result<String, Trouble> {
    let said = machine.must(&[
        "mariadb",
        "--batch",
        "--skip-column-names",
        "-e",
        statements,
    ])?;
    Ok(said.trim_end().to_owned())
}

/// The same, whatever comes of it.
pub fn try_sql(machine: &Machine, statements: &str) -> Result<Output, Trouble> {
    machine.run_with(
        &[
            "mariadb",
            "--batch",
            "--skip-column-names",
            "-e",
            statements,
        ],
        b"",
        Duration::from_secs(5),
    )
}

/// The rows that a machine's server has.
pub fn rows(machine: &Machine) -> Result<BTreeSet<u64>, Trouble> {
    let text = sql(machine, "SELECT id FROM shop.orders")?;
    text.lines()
        .map(|line| {
            line.parse()
                .map_err(|e| Trouble::caused(format!("row {line}"), e))
        })
        .collect()
}
