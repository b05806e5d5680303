//! The product's other servers: the locks that a master holds there, and what a candidate sees of an old master.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::local_server::LocalServer;
use crate::database::protocol::{OldMaster, OwnLock, PeerAnswer};
use crate::database::server::{Lock, Place, Server, ServerError, Source, Target};
use crate::fleet::Name;

/// The other servers, and the lock on the own one.
#[derive(Debug)]
pub(super) struct Peers {
    others: BTreeMap<Name, Arc<Peer>>,
    own: Arc<Lock>,
    timeout: Duration,
}

/// Another server.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) server: Server,
    lock: Lock,
}

impl Peers {
    pub(super) fn new(context: &Context) -> Self {
        let product = context.product.as_str();
        let ttl = context.settings.times.ttl;
        let others = context.members().filter(|member| member.name != context.me);
        let peer = |name: &Name| {
            let place = Place {
                target: Target::Tcp(context.address(name)?),
                account: context.credentials.peer.clone(),
                tls: context.credentials.tls.clone(),
            };
            Some(Arc::new(Peer {
                server: Server::new(&place, &context.credentials.peer.user),
                lock: Lock::new(&place, product, ttl),
            }))
        };
        Self {
            others: others
                .filter_map(|member| Some((member.name.clone(), peer(&member.name)?)))
                .collect(),
            // Its own agent says nothing for longer than that only when it is stopped; then the lock is worth nothing.
            own: Arc::new(Lock::new(&LocalServer::place(context), product, ttl)),
            timeout: context.settings.times.timeout,
        }
    }

    pub(super) fn get(&self, name: &Name) -> Option<Arc<Peer>> {
        self.others.get(name).cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<Peer>)> {
        self.others.iter()
    }

    /// Lets go of the locks on others' servers.
    pub(super) fn drop_locks(&self) {
        for peer in self.others.values() {
            let peer = Arc::clone(peer);
            tokio::spawn(async move { peer.lock.release().await });
        }
    }

    pub(super) fn own_lock(&self) -> (Arc<Lock>, Duration) {
        (Arc::clone(&self.own), self.timeout)
    }
}

impl Peer {
    /// Holds the lock, and shows that it is held.
    pub(super) async fn ping(&self, timeout: Duration) -> PeerAnswer {
        match hold(&self.lock, timeout).await {
            Ok(true) => PeerAnswer::Held,
            Ok(false) => PeerAnswer::Silent,
            Err(error) => {
                // A session that does not answer may be half open: the next ping begins anew.
                self.lock.release().await;
                match error {
                    ServerError::NoProcess { .. } => PeerAnswer::Down,
                    _ => PeerAnswer::Silent,
                }
            }
        }
    }

    /// What it is, as an old master.
    pub(super) async fn look(&self, timeout: Duration) -> OldMaster {
        match self.server.writable(timeout).await {
            Ok(true) => OldMaster::Open,
            Ok(false) => OldMaster::Closed,
            // A connection that is refused may be a firewall's word, not that of a machine without a server.
            Err(_) => OldMaster::Unreachable,
        }
    }

    /// Has it refuse writes, over SQL.
    pub(super) async fn fence(&self, budget: Duration, timeout: Duration) -> OldMaster {
        if let Err(error) = self.server.close(budget).await {
            tracing::warn!(
                event = "database-old-master-open",
                server = self.server.name(),
                error = %error,
                "the old master, {}, could not be told to refuse writes: {error}",
                self.server.name()
            );
        }
        self.look(timeout).await
    }
}

async fn hold(lock: &Lock, timeout: Duration) -> Result<bool, ServerError> {
    if lock.ping(timeout).await? {
        return Ok(true);
    }
    lock.take(timeout).await
}

/// Takes the lock on the own server, or sees who has it.
pub(super) async fn take(lock: &Lock, timeout: Duration) -> OwnLock {
    match hold(lock, timeout).await {
        Ok(true) => OwnLock::Held,
        Ok(false) => match lock.silence(timeout).await {
            Ok(Some(silent)) => OwnLock::Taken {
                silent: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
            },
            Ok(None) => OwnLock::Taken { silent: 0 },
            Err(_) => OwnLock::Unknown,
        },
        Err(_) => {
            lock.release().await;
            OwnLock::Unknown
        }
    }
}

/// Whom to replicate from, as whom.
pub(super) fn source(context: &Context, name: &Name) -> Option<Source> {
    Some(Source {
        address: context.address(name)?,
        account: context.credentials.replication().clone(),
        tls: context.credentials.tls.clone(),
    })
}
