//! The machines that histories play on: booted once, put back to the beginning where a history leaves damage.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use node_agent::database::lease::{Lease, LeaseState};
use node_agent::fleet::Name;

use super::ask::{each, is_quarantined, leads_to, said};
use super::fault::Target;
use super::play::wall_micros;
use super::times::Times;
use crate::database::{DATA, DatabaseFleet, SERVERS, Setup, document, sql};
use crate::machine::{Fleet, Machine, TEST_ADDRESS, Trouble, wait_until};

/// Small and many-sided: a server that is soon full of clients, whose template is copied soon.
const CNF: &str = "innodb_log_file_size = 8M\nmax_connections = 60\nmax_connect_errors = 1000000\n";
/// A server's disk, in megabytes.
const DISK: u32 = 512;
/// Where an empty server's data is kept.
const PRISTINE: &str = "/var/lib/mysql-pristine";
/// Where an agent is told at which step to die.
pub(super) const CRASH: &str = "/run/agentd-crash";
/// By how many seconds an agent's wall clock is wrong.
pub(super) const CLOCK: &str = "/run/agentd-clock";
/// How long the fleet may take to become whole from nothing.
const WHOLE: Duration = Duration::from_mins(1);

/// The machines.
#[derive(Debug)]
pub struct Stage<'fleet> {
    pub(super) fleet: &'fleet Fleet,
    pub(super) world: DatabaseFleet<'fleet>,
    pub(super) times: Times,
    setup: Setup,
    version: u64,
    semi_sync: bool,
    /// The tables are there.
    furnished: bool,
    /// Whom the bucket's proxy treats how, by the number of whoever asked for it.
    orders: Mutex<BTreeMap<usize, Vec<(String, String)>>>,
}

impl<'fleet> Stage<'fleet> {
    /// Boots four database machines and two web machines, and waits for a master with replicas.
    pub fn boot(fleet: &'fleet Fleet, times: Times) -> Result<Self, Trouble> {
        let setup = Setup {
            webs: 2,
            top: times.top(),
            database: times.database(),
            cnf: CNF.into(),
            agents: false,
            fragile: Some(DISK),
            ..Setup::new(SERVERS.len())
        };
        let world = DatabaseFleet::boot_as(fleet, &setup)?;
        let mut stage = Self {
            fleet,
            world,
            times,
            setup,
            version: 1,
            semi_sync: false,
            furnished: false,
            orders: Mutex::default(),
        };
        each(&stage.databases(), |machine| {
            let unit = format!(
                "[Service]\nEnvironment=AGENTD_CRASH_IF={CRASH} AGENTD_CLOCK_WRONG_BY={CLOCK}\n"
            );
            let path = "/etc/systemd/system/agentd.service.d/crash.conf";
            machine.write(path, unit.as_bytes())?;
            let script = format!(
                "systemctl daemon-reload && systemctl --quiet enable agentd && systemctl stop mariadb && cp -a {DATA} {PRISTINE} \
                 && rm -f {PRISTINE}/ib_buffer_pool {PRISTINE}/binlog.* && systemctl start mariadb agentd"
            );
            machine.must(&["sh", "-c", &script]).map(drop)
        })?;
        stage.begin()?;
        Ok(stage)
    }

    /// Everything as it was after the boot: empty servers, an empty bucket, agents that know nothing.
    pub fn reset(&mut self) -> Result<(), Trouble> {
        self.heal()?;
        let stop = "systemctl stop 'writer-*' agentd; systemctl kill --signal=KILL mariadb; systemctl stop mariadb.socket mariadb; \
             rm -rf /var/lib/agentd/* /run/agentd/status.json; nft flush ruleset";
        each(&self.machines(), |machine| {
            machine.must(&["sh", "-c", stop]).map(drop)
        })?;
        self.world.bucket.empty()?;
        self.publish()?;
        let start = format!(
            "if [ -d {PRISTINE} ]; then find {DATA} -mindepth 1 -delete; cp -a {PRISTINE}/. {DATA}; \
             systemctl reset-failed; systemctl start mariadb; fi; systemctl start --no-block agentd"
        );
        each(&self.machines(), |machine| {
            machine.must(&["sh", "-c", &start]).map(drop)
        })?;
        self.begin()
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        let since = wall_micros();
        self.furnished = false;
        // Servers join while there is nothing on the master that they could lack.
        let begun = self.whole().and_then(|()| {
            let tables = "CREATE DATABASE shop; \
                 CREATE TABLE shop.orders (id BIGINT UNSIGNED PRIMARY KEY, note VARCHAR(100)) ENGINE=InnoDB; \
                 CREATE TABLE shop.others (id BIGINT UNSIGNED PRIMARY KEY, note VARCHAR(100)) ENGINE=InnoDB";
            sql(self.master()?, tables)
        });
        self.furnished = begun.is_ok();
        begun
            .and_then(|_| self.whole())
            .map_err(|e| Trouble::caused(e, format!("\n{}", self.timeline(since, &[]))))
    }

    fn whole(&self) -> Result<(), Trouble> {
        self.settle(WHOLE).map(drop).map_err(Trouble::new)
    }

    /// Makes tables empty and semi-synchronous replication as it is to be, on a fleet that is whole.
    pub(super) fn prepare(&mut self, semi_sync: bool) -> Result<(), Trouble> {
        if semi_sync != self.semi_sync {
            // On servers that run: the agents switch it.
            self.semi_sync = semi_sync;
            self.publish()?;
        }
        let words = if semi_sync { 2 } else { 0 };
        wait_until("semi-synchronous replication as asked for", WHOLE, || {
            let said = self.master().ok().and_then(said);
            said.is_some_and(|said| (said.semi_sync, said.words) == (semi_sync, words))
        })?;
        sql(
            self.master()?,
            "TRUNCATE TABLE shop.orders; TRUNCATE TABLE shop.others",
        )?;
        self.settle(WHOLE).map(drop).map_err(Trouble::new)
    }

    fn publish(&mut self) -> Result<(), Trouble> {
        self.version += 1;
        let document = document(&self.setup, self.version, self.semi_sync);
        self.world.bucket.publish(&document)
    }

    pub(super) fn databases(&self) -> Vec<&Machine> {
        self.world.databases.iter().collect()
    }

    pub(super) fn webs(&self) -> Vec<&Machine> {
        std::iter::once(&self.world.web)
            .chain(&self.world.second_web)
            .collect()
    }

    pub(super) fn machines(&self) -> Vec<&Machine> {
        [self.databases(), self.webs()].concat()
    }

    /// The lease, as the bucket has it.
    pub(super) fn lease(&self) -> Result<Option<Lease>, Trouble> {
        let product: Name = "shop".parse().map_err(|e| Trouble::caused("shop", e))?;
        let text = self.world.bucket.get("prod/leases/shop.json")?;
        text.map(|text| Lease::read(text.as_bytes(), &product))
            .transpose()
            .map_err(|e| Trouble::caused("the lease", e))
    }

    /// The owner of the lease.
    pub(super) fn master(&self) -> Result<&Machine, Trouble> {
        let lease = self.lease()?.ok_or_else(|| Trouble::new("no lease"))?;
        let mut all = self.world.databases.iter();
        all.find(|machine| machine.name() == lease.owner.as_str())
            .ok_or_else(|| Trouble::new("the lease names nobody"))
    }

    /// Who has this part now.
    pub(super) fn who(&self, target: Target) -> Result<&Machine, Trouble> {
        let master = self.master()?;
        let chain: Vec<_> = self.world.databases.iter().take(3).collect();
        let mut others = chain
            .into_iter()
            .filter(|machine| machine.name() != master.name());
        let found = match target {
            Target::Master | Target::All => Some(master),
            Target::Candidate => others.next(),
            Target::Second => others.nth(1),
            Target::Snapshots => self.world.databases.get(3),
            Target::Web => Some(&self.world.web),
        };
        found.ok_or_else(|| Trouble::new(format!("there is no {target}")))
    }

    /// Why the fleet is not whole: one writable master that owns the lease, all others replicating or kept out, web machines
    /// led to it. `None`: it is.
    pub(super) fn missing(&self) -> Option<String> {
        let lease = match self.lease() {
            Ok(Some(lease)) => lease,
            Ok(None) => return Some("there is no lease".into()),
            Err(trouble) => return Some(trouble.to_string()),
        };
        if lease.state != LeaseState::Serving {
            return Some(format!("the lease of {} is {}", lease.owner, lease.state));
        }
        let mut address = None;
        for machine in &self.world.databases {
            let name = machine.name();
            let Some(said) = said(machine) else {
                return Some(format!("{name} does not answer"));
            };
            if name == lease.owner.as_str() {
                address = Some(machine.address());
                if !said.writable {
                    return Some(format!("{name} owns the lease and refuses writes"));
                }
            } else if said.writable {
                return Some(format!("{name} takes writes and does not own the lease"));
            } else if !said.replicates && !is_quarantined(machine) {
                return Some(format!("{name} does not replicate"));
            }
        }
        if let Some(why) = self.takes_no_write(&lease) {
            return Some(why);
        }
        let mut astray = self.webs().into_iter();
        let astray = astray.find(|web| leads_to(web).as_deref() != address)?;
        Some(format!("{} is not led to {}", astray.name(), lease.owner))
    }

    /// Why a client's write on the owner of the lease does not come back, once the tables are there.
    fn takes_no_write(&self, lease: &Lease) -> Option<String> {
        if !self.furnished {
            return None;
        }
        let master = self.databases().into_iter();
        let master = master
            .filter(|it| it.name() == lease.owner.as_str())
            .last()?;
        let write = "REPLACE INTO shop.others VALUES (0, UUID())";
        let account = ["--host", master.address(), "--user=app", "--password=app"];
        let argv = [&["mariadb"], &account[..], &["-e", write]].concat();
        let patience = Duration::from_millis(self.times.ttl.min(2000));
        match self.world.web.run_with(&argv, b"", patience) {
            Ok(said) if said.success() => None,
            Ok(said) => Some(format!(
                "{} takes no write: {}",
                lease.owner,
                said.stderr.trim()
            )),
            Err(trouble) => Some(trouble.to_string()),
        }
    }

    /// Waits until the fleet is whole: how long that took. An error says what is missing.
    pub(super) fn settle(&self, patience: Duration) -> Result<Duration, String> {
        let started = Instant::now();
        loop {
            let Some(missing) = self.missing() else {
                return Ok(started.elapsed());
            };
            if started.elapsed() > patience {
                return Err(format!(
                    "not whole after {} s: {missing}",
                    patience.as_secs()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Has the bucket's proxy treat some clients so, until the same number asks for something else; empty: nothing.
    pub(super) fn treat(
        &self,
        number: usize,
        orders: Vec<(String, String)>,
    ) -> Result<(), Trouble> {
        let mut all = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(number, orders);
        let all: Vec<_> = all.values().flatten().cloned().collect();
        self.world.bucket.treat(&all)
    }

    /// Mends everything that faults may have left, on all machines; does not wait for what the agents make of it.
    pub(super) fn heal(&self) -> Result<(), Trouble> {
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.world.bucket.treat(&[])?;
        let mend = format!(
            "for table in $(nft list tables inet | awk '$3 ~ /^cuts/ {{ print $3 }}'); do nft delete table inet $table; done; \
             rm -f {CRASH} {CLOCK} {DATA}/filler; systemctl stop 'fault-*' 2>/dev/null; \
             systemctl kill --signal=CONT agentd mariadb 2>/dev/null; \
             systemctl start --no-block agentd; [ ! -d {PRISTINE} ] || systemctl start --no-block mariadb"
        );
        let databases: Vec<_> = self.databases().iter().map(|it| it.name()).collect();
        each(&self.machines(), |machine| {
            self.fleet.heal(machine)?;
            if machine.is_on() {
                machine.thaw()?;
            } else {
                machine.switch_on()?;
            }
            if databases.contains(&machine.name()) {
                machine.thaw_disk(DATA)?;
            }
            // Again and again: one that is booting takes no orders yet.
            let mut said = String::new();
            let done = wait_until("what was broken to be mended", WHOLE, || {
                match machine.must(&["sh", "-c", &mend]) {
                    Ok(_) => true,
                    Err(trouble) => {
                        said = trouble.to_string();
                        false
                    }
                }
            });
            done.map(drop).map_err(|e| Trouble::caused(e, said))
        })
    }

    /// The bucket's address, as machines see it.
    pub(super) const BUCKET: &'static str = TEST_ADDRESS;
}
