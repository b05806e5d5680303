//! `[database]`: how this box takes part in keeping its products' databases. Its times are checked against each other.

use std::path::PathBuf;
use std::time::Duration;

use super::mistakes::Mistakes;
use super::section::Section;
use super::timing::Timing;
use super::values::Span;
use crate::fleet::names::{AbsolutePath, ByteSize, UserName};

/// No machine's clock runs so wrong: the share by which its rate may be off.
const WORST_CLOCK: f64 = 0.2;

fn bytes(size: ByteSize) -> u64 {
    u64::from(size.mebibytes()) << 20
}

/// The smallest buffer pool that the server takes, in bytes.
const LEAST_MEMORY: u64 = 8 * 1024 * 1024;

/// The usual port of notices.
const NOTICE_PORT: u16 = 7306;

/// How this box takes part in keeping its products' databases.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseSettings {
    /// The file with the accounts. Without it nothing is done to any database here.
    pub credentials: Option<PathBuf>,
    /// The server's Unix socket; `None`: where the distribution puts it.
    pub socket: Option<PathBuf>,
    /// The port on which the chain's servers are asked, where the document does not say.
    pub port: u16,
    /// The port on which the agents of database servers tell of a new master; 0: none.
    pub notice_port: u16,
    /// Whether this machine must have the address that the document gives its name.
    pub address: AddressUse,
    /// What closes the server when the agent is dead or stuck.
    pub deadman: DeadmanUse,
    /// Whether a master is ever changed without a person.
    pub failover: FailoverUse,
    /// The times of the protocol.
    pub times: Times,
    /// After a change of master by itself none follows by itself for so long.
    pub cooldown: Duration,
    /// A candidate that lacks more transactions of the last master than this does not take over by itself.
    pub max_lost: u64,
    /// How much longer than the first candidate each further one waits.
    pub second_wait: Duration,
    /// How snapshots are taken, where this box takes them.
    pub snapshots: SnapshotSettings,
}

/// How snapshots are taken and drills are made. When, and of what, the document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// A server that is farther behind its master takes none.
    pub max_lag: Duration,
    /// So many bytes a second at most go into the bucket; `None`: as many as there is room for.
    pub upload_limit: Option<u64>,
    /// Where drills restore to.
    pub drill_dir: PathBuf,
    /// The account that the drills' servers run as; `None`: `mysql`, where there is one.
    pub drill_account: Option<String>,
    /// The buffer pool of the drills' servers, in bytes.
    pub drill_memory: u64,
    /// A drill that takes longer is given up.
    pub drill_timeout: Duration,
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self {
            max_lag: Duration::from_mins(5),
            upload_limit: None,
            drill_dir: PathBuf::from("/var/lib/agentd-drills"),
            drill_account: None,
            drill_memory: 128 * 1024 * 1024,
            drill_timeout: Duration::from_hours(6),
        }
    }
}

/// The times of the protocol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// The time between two renewals.
    pub renew: Duration,
    /// How long a request to the bucket, or a question to a database server, may take.
    pub timeout: Duration,
    /// L: how long after the sending of the last renewal that was confirmed the master stops serving.
    pub stop_serving: Duration,
    /// F: how long that may take, its process killed at the end.
    pub fence_budget: Duration,
    /// TTL: how long a candidate waits after it first saw the last renewal.
    pub ttl: Duration,
    /// ρ: by what share one machine's clock may run faster or slower than right.
    pub clock_error: f64,
}

/// What closes the server when the agent is dead or stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadmanUse {
    /// A rule of the kernel's packet filter that runs out.
    Nft,
    /// Nothing.
    Off,
}

/// Whether this machine must have the address that the document gives its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressUse {
    /// Yes: a machine without it is another one, with a wrong name.
    Own,
    /// No: it is led here by somebody who translates addresses.
    Translated,
}

/// Whether a master is ever changed without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverUse {
    /// Yes, where the protocol allows it.
    Automatic,
    /// No: this box never takes over by itself.
    Manual,
}

impl Default for Times {
    fn default() -> Self {
        let timing = Timing::regional();
        Self {
            renew: Duration::from_millis(timing.renew),
            timeout: Duration::from_millis(timing.timeout),
            stop_serving: Duration::from_millis(timing.stop_serving),
            fence_budget: Duration::from_millis(timing.fence_budget),
            ttl: Duration::from_millis(timing.ttl),
            clock_error: Duration::from_micros(timing.clock_error_ppm).as_secs_f64(),
        }
    }
}

impl Times {
    /// As the protocol counts. What no setting says is derived from these, or as it is everywhere.
    pub fn timing(&self) -> Timing {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let defaults = Timing::regional();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the settings bound it to between 0 and 0.2"
        )]
        let clock_error_ppm = (self.clock_error * 1_000_000.0).round() as u64;
        Timing {
            renew: ms(self.renew),
            timeout: ms(self.timeout),
            stop_serving: ms(self.stop_serving),
            fence_budget: ms(self.fence_budget),
            kill_after: ms(self.fence_budget) / 3,
            ttl: ms(self.ttl),
            clock_error_ppm,
            // It must be possible to order what waits for the lease to run out.
            order: defaults.order.max(ms(self.ttl).saturating_mul(3)),
            ..defaults
        }
    }
}

/// What the section says.
#[derive(Debug, Default)]
pub(super) struct Said {
    credentials: Option<AbsolutePath>,
    socket: Option<AbsolutePath>,
    port: Option<usize>,
    notice_port: Option<usize>,
    address: Option<AddressUse>,
    deadman: Option<DeadmanUse>,
    failover: Option<FailoverUse>,
    renew: Option<Span<100, 60_000>>,
    timeout: Option<Span<100, 30_000>>,
    stop_serving: Option<Span<500, 300_000>>,
    fence_budget: Option<Span<200, 300_000>>,
    ttl: Option<Span<1000, 600_000>>,
    clock_error: Option<f64>,
    cooldown: Option<Span<0, 86_400_000>>,
    max_lost: Option<usize>,
    second_wait: Option<Span<0, 600_000>>,
    snapshots: SaidOfSnapshots,
}

/// What it says of snapshots.
#[derive(Debug, Default)]
struct SaidOfSnapshots {
    max_lag: Option<Span<1000, 86_400_000>>,
    upload_limit: Option<ByteSize>,
    drill_dir: Option<AbsolutePath>,
    drill_account: Option<UserName>,
    drill_memory: Option<ByteSize>,
    drill_timeout: Option<Span<60_000, 604_800_000>>,
}

impl SaidOfSnapshots {
    fn read(section: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Self {
        Self {
            max_lag: section.parsed("snapshot_max_lag", mistakes),
            upload_limit: section.parsed("snapshot_upload_limit", mistakes),
            drill_dir: section.parsed("drill_dir", mistakes),
            drill_account: section.parsed("drill_account", mistakes),
            drill_memory: section.parsed("drill_memory", mistakes),
            drill_timeout: section.parsed("drill_timeout", mistakes),
        }
    }

    fn complete(self) -> SnapshotSettings {
        let usual = SnapshotSettings::default();
        let path = |path: AbsolutePath| PathBuf::from(path.as_str());
        SnapshotSettings {
            max_lag: self.max_lag.map_or(usual.max_lag, |span| span.0),
            upload_limit: self.upload_limit.map(bytes),
            drill_dir: self.drill_dir.map_or(usual.drill_dir, path),
            drill_account: self.drill_account.map(|name| name.to_string()),
            // Less is no server.
            drill_memory: self
                .drill_memory
                .map_or(usual.drill_memory, |size| bytes(size).max(LEAST_MEMORY)),
            drill_timeout: self
                .drill_timeout
                .map_or(usual.drill_timeout, |span| span.0),
        }
    }
}

impl Said {
    pub(super) fn read(top: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Self {
        let mut section = top.section("database", mistakes);
        let place = section.place();
        let said = Self {
            credentials: section.parsed("credentials", mistakes),
            socket: section.parsed("socket", mistakes),
            port: section.number("port", (1, 65_535), mistakes),
            notice_port: section.number("notice_port", (0, 65_535), mistakes),
            address: section.word(
                "address",
                &[
                    ("own", AddressUse::Own),
                    ("translated", AddressUse::Translated),
                ],
                mistakes,
            ),
            deadman: section.word(
                "deadman",
                &[("nft", DeadmanUse::Nft), ("off", DeadmanUse::Off)],
                mistakes,
            ),
            failover: section.word(
                "failover",
                &[
                    ("automatic", FailoverUse::Automatic),
                    ("manual", FailoverUse::Manual),
                ],
                mistakes,
            ),
            renew: section.parsed("renew", mistakes),
            timeout: section.parsed("timeout", mistakes),
            stop_serving: section.parsed("stop_serving", mistakes),
            fence_budget: section.parsed("fence_budget", mistakes),
            ttl: section.parsed("ttl", mistakes),
            clock_error: section.share("clock_error", mistakes),
            cooldown: section.parsed("cooldown", mistakes),
            max_lost: section.number("max_lost", (0, 1_000_000_000), mistakes),
            second_wait: section.parsed("second_wait", mistakes),
            snapshots: SaidOfSnapshots::read(&mut section, mistakes),
        };
        section.finish(mistakes);
        if said.clock_error.is_some_and(|error| error > WORST_CLOCK) {
            mistakes.at(
                place,
                format!("clock_error: a clock that is wrong by more than {WORST_CLOCK} is broken"),
            );
        } else {
            for mistake in said.times().timing().mistakes() {
                mistakes.at(place.clone(), mistake.to_string());
            }
        }
        said
    }

    fn times(&self) -> Times {
        let default = Times::default();
        Times {
            renew: self.renew.map_or(default.renew, |span| span.0),
            timeout: self.timeout.map_or(default.timeout, |span| span.0),
            stop_serving: self
                .stop_serving
                .map_or(default.stop_serving, |span| span.0),
            fence_budget: self
                .fence_budget
                .map_or(default.fence_budget, |span| span.0),
            ttl: self.ttl.map_or(default.ttl, |span| span.0),
            clock_error: self.clock_error.unwrap_or(default.clock_error),
        }
    }

    pub(super) fn complete(self) -> DatabaseSettings {
        let times = self.times();
        let defaults = Timing::regional();
        let path = |path: AbsolutePath| PathBuf::from(path.as_str());
        DatabaseSettings {
            credentials: self.credentials.map(path),
            socket: self.socket.map(path),
            port: self
                .port
                .and_then(|port| port.try_into().ok())
                .unwrap_or(3306),
            notice_port: self
                .notice_port
                .and_then(|port| port.try_into().ok())
                .unwrap_or(NOTICE_PORT),
            address: self.address.unwrap_or(AddressUse::Own),
            deadman: self.deadman.unwrap_or(DeadmanUse::Nft),
            failover: self.failover.unwrap_or(FailoverUse::Automatic),
            times,
            cooldown: self
                .cooldown
                .map_or(Duration::from_millis(defaults.cooldown), |span| span.0),
            max_lost: self.max_lost.map_or(defaults.max_lost, |number| {
                u64::try_from(number).unwrap_or(u64::MAX)
            }),
            second_wait: self
                .second_wait
                .map_or(Duration::from_millis(defaults.second_wait), |span| span.0),
            snapshots: self.snapshots.complete(),
        }
    }
}
