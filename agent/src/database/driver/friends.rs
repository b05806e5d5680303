//! The other servers of the product: the locks that a master holds there, and what a candidate sees of an old master.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::body::Body;
use super::seat::Seat;
use crate::database::protocol::{OldMaster, OwnLock};
use crate::database::server::{Lock, Place, Server, Source, Target};
use crate::fleet::Name;

/// The other servers, and the lock on the own one.
#[derive(Debug)]
pub(super) struct Friends {
    others: BTreeMap<Name, Arc<Friend>>,
    own: Arc<Lock>,
    timeout: Duration,
}

/// Another server.
#[derive(Debug)]
pub(super) struct Friend {
    pub(super) server: Server,
    lock: Lock,
}

impl Friends {
    pub(super) fn new(seat: &Seat) -> Self {
        let product = seat.product.as_str();
        let ttl = seat.settings.times.ttl;
        let others = seat.members().filter(|member| member.name != seat.me);
        let friend = |name: &Name| {
            let place = Place {
                target: Target::Tcp(seat.address(name)?),
                account: seat.credentials.peer.clone(),
                tls: seat.credentials.tls.clone(),
            };
            Some(Arc::new(Friend {
                server: Server::new(&place, &seat.credentials.peer.user),
                lock: Lock::new(&place, product, ttl),
            }))
        };
        Self {
            others: others
                .filter_map(|member| Some((member.name.clone(), friend(&member.name)?)))
                .collect(),
            // Its own agent says nothing for longer than that only when it is stopped; then the lock is worth nothing.
            own: Arc::new(Lock::new(&Body::place(seat), product, ttl)),
            timeout: seat.settings.times.timeout,
        }
    }

    pub(super) fn get(&self, name: &Name) -> Option<Arc<Friend>> {
        self.others.get(name).cloned()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Name, &Arc<Friend>)> {
        self.others.iter()
    }

    /// Lets go of the locks on others' servers.
    pub(super) fn drop_locks(&self) {
        for friend in self.others.values() {
            let friend = Arc::clone(friend);
            tokio::spawn(async move { friend.lock.release().await });
        }
    }

    pub(super) fn own_lock(&self) -> (Arc<Lock>, Duration) {
        (Arc::clone(&self.own), self.timeout)
    }
}

impl Friend {
    /// Holds the lock, and shows that it is held.
    pub(super) async fn ping(&self, timeout: Duration) -> bool {
        if let Ok(held) = hold(&self.lock, timeout).await {
            return held;
        }
        // A session that does not answer may be half open: the next ping begins anew.
        self.lock.release().await;
        false
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
                "the old master could not be told to refuse writes"
            );
        }
        self.look(timeout).await
    }
}

async fn hold(lock: &Lock, timeout: Duration) -> Result<bool, ()> {
    if lock.ping(timeout).await.map_err(drop)? {
        return Ok(true);
    }
    lock.take(timeout).await.map_err(drop)
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
        Err(()) => {
            lock.release().await;
            OwnLock::Unknown
        }
    }
}

/// Whom to replicate from, as whom.
pub(super) fn source(seat: &Seat, name: &Name) -> Option<Source> {
    Some(Source {
        address: seat.address(name)?,
        account: seat.credentials.replication().clone(),
        tls: seat.credentials.tls.clone(),
    })
}
