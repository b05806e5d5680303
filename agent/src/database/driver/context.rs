//! What a driver is started with: the cluster's servers, as the document has them, and the settings.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::database::protocol::Timing;
use crate::database::server::credentials::Credentials;
use crate::fleet::{DatabaseCluster, Fleet, Name};
use crate::settings::{BucketUrl, DatabaseSettings, FailoverUse, S3Settings};

/// A server of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: Name,
    /// Its address.
    pub address: IpAddr,
}

/// A cluster as one of its servers sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The name of the cluster's lease: the product's, where it has a chain of its own.
    pub product: Name,
    /// The products whose databases are on it.
    pub products: Vec<Name>,
    /// This server.
    pub me: Name,
    /// A lease of another name may stand in the bucket that one of these servers owns: it is not known yet, or so.
    pub other_lease: bool,
    /// This machine's marks: see [`crate::system::machine_marks`].
    pub machine: Vec<String>,
    /// The chain, in the document's order.
    pub chain: Vec<Member>,
    /// The snapshot server.
    pub snapshots: Option<Member>,
    /// Those of the chain that are never made master by themselves.
    pub never: Vec<Name>,
    /// The port of all of them.
    pub port: u16,
    /// The local server's Unix socket.
    pub socket: PathBuf,
    /// A commit waits for a replica.
    pub semi_sync: bool,
    /// The settings.
    pub settings: DatabaseSettings,
    /// The accounts.
    pub credentials: Credentials,
    /// The bucket.
    pub bucket: BucketUrl,
    /// How it is spoken to; the timeout is replaced by the protocol's.
    pub s3: S3Settings,
    /// Where files may be kept.
    pub state_dir: PathBuf,
}

impl Context {
    /// The cluster's servers, in the document's order, the snapshot server last.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        let apart = self.snapshots.iter();
        let apart = apart.filter(|it| !self.chain.iter().any(|member| member.name == it.name));
        self.chain.iter().chain(apart)
    }

    /// A server of the cluster.
    pub fn member(&self, name: &Name) -> Option<&Member> {
        self.members().find(|member| member.name == *name)
    }

    /// Where a server is asked.
    pub fn address(&self, name: &Name) -> Option<SocketAddr> {
        self.member(name)
            .map(|member| SocketAddr::new(member.address, self.port))
    }

    /// The members that the document names for `cluster`: those that have an address in the fleet.
    pub fn members_of(
        fleet: &Fleet,
        cluster: &DatabaseCluster<'_>,
    ) -> (Vec<Member>, Option<Member>) {
        let member = |name: &Name| {
            let server = fleet.servers.get(name)?;
            Some(Member {
                name: name.clone(),
                address: server.address,
            })
        };
        let chain = cluster.chain.iter().filter_map(member).collect();
        (chain, cluster.snapshots.and_then(|it| member(&it.server)))
    }

    /// The protocol's times.
    pub fn timing(&self) -> Timing {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Timing {
            cooldown: ms(self.settings.cooldown),
            second_wait: ms(self.settings.second_wait),
            max_lost: self.settings.max_lost,
            ..self.settings.times.timing()
        }
    }

    /// Whether masters change without a person, by the settings of this server.
    pub fn automatic(&self) -> bool {
        self.settings.failover == FailoverUse::Automatic
    }
}
