//! The model of the `signed` member of a fleet document, as types. Not how it is read or checked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::account::{Group, User};
use super::cron_run::CronRun;
use super::dns::Dns;
use super::evict::{Evict, EvictPart};
use super::file::FileEntry;
use super::names::{
    AbsolutePath, AccountName, Addresses, ByteSize, Connections, CronSchedule, EvictAfter,
    HostAlias, HostName, ItemSize, MailTo, Name, Niceness, Port, ShellCommand, Span, Stamp,
    Threads, TimeZoneName, UnitName, UserName, VariableName, VariableValue, Weight, ZoneName,
};
use super::package::Package;
use super::php::Php;
use super::release::{Release, SmokeTest};
use super::rollout::Rollout;
use super::service::Service;
use super::site::Site;
use super::strict;

/// The role whose servers serve sites.
pub const WEB: &str = "web";
/// The role whose servers run memcached.
pub const MEMCACHED: &str = "memcached";
/// The role whose servers watch the fleet.
pub const MONITOR: &str = "monitor";

/// What the fleet should be: the operator's intent, one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// The format of this document. Only 1 exists.
    #[schemars(extend("minimum" = 1, "maximum" = 1))]
    pub format: u32,
    /// The fleet's name. `agentd.toml` may pin it, so that one fleet's document is never applied in another.
    pub fleet: Name,
    /// Strictly grows with each publication. A box refuses a lower version, and the same version with other bytes.
    pub version: u64,
    /// When this version was issued (RFC 3339, UTC).
    pub issued: Stamp,
    /// After this moment a box with no state refuses the document, and a running box reports it.
    pub expires: Stamp,
    /// The DNS domain of the servers. Their names are then known with it too, and written with it first:
    /// `10.77.0.11 web-1.example.com web-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<HostName>,
    /// Lets this version shrink a list (memcached nodes, vhosts, hosts) past the guard's share.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirm: bool,
    /// How versions go out: to some servers first. Without it all take a version at once.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub rollout: Option<Rollout>,
    /// Every machine of the fleet, by name.
    #[serde(deserialize_with = "strict::objects")]
    pub servers: BTreeMap<Name, Server>,
    /// What each role means, by name.
    #[serde(default, deserialize_with = "strict::objects")]
    pub roles: BTreeMap<Name, Role>,
    /// Chains of database servers that several products use, by name.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub clusters: BTreeMap<Name, Cluster>,
    /// What each product is, by name.
    #[serde(default, deserialize_with = "strict::objects")]
    pub products: BTreeMap<Name, Product>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The address that the other servers reach it at.
    #[schemars(schema_with = "super::schema::address")]
    pub address: IpAddr,
    /// The addresses that the world reaches it at, for DNS (default: `address`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::addresses")]
    pub public: Vec<IpAddr>,
    /// The availability zone or rack it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneName>,
    /// The roles its image was built for.
    #[serde(default)]
    pub roles: Vec<Name>,
    /// The products it carries.
    #[serde(default)]
    pub products: Vec<Name>,
    /// The cloud's instance id, by which a machine can find itself in the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<super::names::InstanceId>,
    /// Whether it takes part, is on its way out, or is gone.
    #[serde(default, deserialize_with = "strict::word")]
    pub state: ServerState,
}

/// Whether a server takes part in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Takes part.
    #[default]
    Active,
    /// Keeps running, but is left out of node lists and DNS.
    Draining,
    /// As if absent; its agent removes what it owns.
    Retired,
}

/// What every server of a role gets, whatever its products.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Groups of accounts, by name.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub groups: BTreeMap<AccountName, Group>,
    /// Users' accounts, by name.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub users: BTreeMap<AccountName, User>,
    /// Cron jobs of the role, by name.
    #[serde(default, deserialize_with = "strict::objects")]
    pub cron: BTreeMap<Name, CronJob>,
    /// Packages that the role needs, or that must not be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// Files, directories and links, by path.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub files: BTreeMap<AbsolutePath, FileEntry>,
    /// Services: whether they run, and start at boot, by CentOS's names of their units.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub services: BTreeMap<UnitName, Service>,
}

/// A product: web sites with their caches, databases and cron jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Groups of accounts, by name.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub groups: BTreeMap<AccountName, Group>,
    /// Users' accounts, by name.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub users: BTreeMap<AccountName, User>,
    /// Apache virtual hosts on the product's `web` servers, by name.
    #[serde(default, deserialize_with = "strict::objects")]
    pub sites: BTreeMap<Name, Site>,
    /// The pool of php-fpm that runs the PHP of those sites.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub php: Option<Php>,
    /// The product's memcached cluster.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache: Option<Cache>,
    /// More memcached clusters of the product, by name: sessions beside pages.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub caches: BTreeMap<Name, Cache>,
    /// The product's database servers and their aliases.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub database: Option<Database>,
    /// Cron jobs of the product, by name.
    #[serde(default, deserialize_with = "strict::objects")]
    pub cron: BTreeMap<Name, CronJob>,
    /// Packages that the product needs, or that must not be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// Files, directories and links, by path.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub files: BTreeMap<AbsolutePath, FileEntry>,
    /// Services: whether they run, and start at boot, by CentOS's names of their units.
    #[serde(
        default,
        deserialize_with = "strict::objects",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub services: BTreeMap<UnitName, Service>,
    /// The release of the product's code.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub release: Option<Release>,
    /// Its names in DNS, where each of its web servers keeps its own records.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub dns: Option<Dns>,
    /// After how long its web and memcached servers are taken out by the others, where they are found dead.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub evict: Option<Evict>,
    /// What shows that the product works, asked of each of its web servers.
    #[serde(
        default,
        deserialize_with = "strict::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub smoke: Vec<SmokeTest>,
}

/// A product's memcached cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// The TCP port of the product's instance on each memcached server; none where it has a Unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Memory of each instance.
    pub memory: ByteSize,
    /// The addresses each instance listens on (default: the server's own address).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Addresses>,
    /// Whether each instance listens on a Unix socket instead of a port: for programs on its own server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub socket: bool,
    /// The largest item (default: memcached's, 1 MiB). At most half of `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_size: Option<ItemSize>,
    /// The most connections of each instance (default: 4096).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// The threads of each instance (default: memcached's, 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<Threads>,
    /// How much of the keys a server gets in proportion to the others, by server (default: 1).
    #[serde(
        default,
        deserialize_with = "strict::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub weights: BTreeMap<Name, Weight>,
    /// The node list file that the product's code reads.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub list: Option<CacheList>,
}

/// The file that names a product's memcached nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheList {
    /// Where it stands.
    pub path: AbsolutePath,
    /// What the product's code reads.
    #[serde(deserialize_with = "strict::word")]
    pub format: ListFormat,
    /// A service to reload when the list changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<UnitName>,
    /// Whether it may take the place of something else that stands there already and is no such list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// A node list file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListFormat {
    /// A JSON array of objects with `name`, `host` and `port`.
    Json,
    /// A PHP file that returns an array of arrays.
    Php,
    /// An INI file with a section a node.
    Ini,
    /// `host:port`, one a line.
    Text,
    /// The options of libmemcached's configuration files: `--SERVER=host:port/?weight`.
    Libmemcached,
    /// Settings of PHP: sessions of the extension `memcached`.
    #[serde(rename = "php-session")]
    PhpSession,
    /// Settings of PHP: sessions of the extension `memcache`, the older one.
    #[serde(rename = "php-memcache-session")]
    PhpMemcacheSession,
}

impl Product {
    /// All caches: the one without a name of its own first.
    pub fn all_caches(&self) -> impl Iterator<Item = (Option<&Name>, &Cache)> {
        let named = self.caches.iter().map(|(name, cache)| (Some(name), cache));
        (self.cache.iter()).map(|cache| (None, cache)).chain(named)
    }

    /// How long a server must be found dead before it is taken out. `None`: it never is.
    pub fn evict_after(&self, part: EvictPart) -> Option<Duration> {
        let said = self.evict.as_ref().and_then(|evict| evict.said(part));
        match part {
            // It would have nowhere to be taken out of.
            EvictPart::Web if self.dns.is_none() || self.sites.is_empty() => None,
            EvictPart::Web => said.and_then(EvictAfter::duration),
            EvictPart::Cache => said
                .and_then(EvictAfter::duration)
                .filter(|_| self.all_caches().any(|(_, cache)| cache.port.is_some())),
        }
    }
}

/// A chain of database servers: one server process on each of them, with the databases of all products that name it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Master, candidate, second, …: each replicates from the one before.
    #[schemars(length(min = 1))]
    pub chain: Vec<Name>,
    /// Servers of the chain that never become the master by themselves: too small, too far away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<Name>,
    /// The TCP port of the database on all of its servers (default: `port` in agentd.toml, 3306).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Whether a COMMIT waits until a replica has it: then no acknowledged write is lost by a failover.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub semi_sync: bool,
    /// The server that takes snapshots, outside the chain.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub snapshots: Option<Snapshots>,
    /// The name of its lease in the bucket (default: the cluster's own). For servers that have a lease already, under the name
    /// of a product: a lease never moves to another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Name>,
}

/// A product's database: the cluster that it is on, or a chain of its own, and the names that follow it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// The cluster that the database is on: one of `clusters`, or a product that has a chain of its own. In place of `chain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Name>,
    /// Master, candidate, second, …: each replicates from the one before. It is a cluster of the product's name; several products
    /// with the same chain are one cluster, of the first one's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub chain: Vec<Name>,
    /// Servers of the chain that never become the master by themselves: too small, too far away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<Name>,
    /// The TCP port of the database on all of its servers (default: `port` in agentd.toml, 3306).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Whether a COMMIT waits until a replica has it: then no acknowledged write is lost by a failover.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub semi_sync: bool,
    /// The server that takes snapshots, outside the chain.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub snapshots: Option<Snapshots>,
    /// The name of the chain's lease in the bucket (default: the product's own). For a product that was renamed: a lease never
    /// moves to another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Name>,
    /// Host names that follow the database's roles.
    #[serde(default, deserialize_with = "strict::object")]
    pub aliases: Aliases,
}

/// Where and how often snapshots are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// The snapshot server.
    pub server: Name,
    /// The time between two snapshots, a minute at least.
    pub every: Span,
    /// The time between two drills, each of which restores the newest snapshot into a server of its own and compares
    /// (default: 1h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prove: Option<Span>,
    /// Which snapshots are kept: one of each stretch of the first length for the second one (default: of 15m for 1d, 1h for 7d,
    /// 1d for 5w, 30d for 1y).
    #[serde(
        default,
        deserialize_with = "strict::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub keep: BTreeMap<Span, Span>,
    /// Whether what is committed between two snapshots is kept too: the snapshot server's binary log, within some ten seconds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archive: bool,
}

/// Host names in `/etc/hosts` that follow a database's roles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aliases {
    /// Names of the present master.
    #[serde(default)]
    pub master: Vec<HostAlias>,
    /// Names of a replica: the first of the chain that is not the master, or the master where it is alone.
    #[serde(default)]
    pub replica: Vec<HostAlias>,
}

/// One cron job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CronJob {
    /// Five cron fields, or `@hourly` and the like, or `@reboot`. `H` in a field is a value that differs from server to
    /// server.
    pub schedule: CronSchedule,
    /// The account it runs as.
    pub user: UserName,
    /// A shell command as a person would type it; the agent escapes what crontab needs escaped.
    pub command: ShellCommand,
    /// The roles it runs on. Empty: every server it belongs to.
    #[serde(default)]
    pub on: Vec<Name>,
    /// On each of those servers, or on one.
    #[serde(default, deserialize_with = "strict::word")]
    pub run: CronRun,
    /// Variables of the command's environment.
    #[serde(
        default,
        deserialize_with = "strict::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub environment: BTreeMap<VariableName, VariableValue>,
    /// The shell that the command is for (default: `/bin/sh`, which is no bash on Debian).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<AbsolutePath>,
    /// Who gets what the job prints: addresses, separated by commas; empty: nobody. Default: the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailto: Option<MailTo>,
    /// The time zone of the schedule (default: the machine's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<TimeZoneName>,
    /// Whether the job is left out while the one before it still runs on that server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lock: bool,
    /// How long the command may run: then it gets SIGTERM, and SIGKILL ten seconds later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How much it lets others go before it, 1 to 19 (default: 0, like everybody).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<Niceness>,
    /// Whether each run is recorded, so that one that fails, takes too long, or does not come is told. Implies `lock`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record: bool,
}
