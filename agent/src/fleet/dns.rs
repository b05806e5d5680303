//! The model of `dns` of a product, and of `public` of a server: how the records of its web servers are kept in DNS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{AbsolutePath, DnsServer, HostName, Ttl};

/// The names of a product in DNS: each of its web servers keeps its own address records there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The zone that the names are in.
    pub zone: HostName,
    /// The names.
    #[schemars(length(min = 1))]
    pub names: Vec<HostName>,
    /// How long others may remember an address, in seconds (default: 60).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// The zone's primary name server (default: `server` in `[dns]` of agentd.toml).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<DnsServer>,
    /// The key that updates are signed with (default: `key` in `[dns]` of agentd.toml).
    #[serde(
        default,
        deserialize_with = "super::strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub key: Option<DnsKey>,
}

/// Where a key is kept: the document only names the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsKey {
    /// A file on the machine that root alone may read, as `tsig-keygen` writes it.
    pub file: AbsolutePath,
}

impl Dns {
    /// How long others may remember an address where nothing is said, in seconds.
    pub const USUAL_TTL: u32 = 60;

    /// How long others may remember an address, in seconds.
    pub fn ttl_secs(&self) -> u32 {
        self.ttl.map_or(Self::USUAL_TTL, Ttl::get)
    }
}
