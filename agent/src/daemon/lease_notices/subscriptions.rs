//! The side of those who wait: a connection to each database server whose agent may have news, held, and made again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::ALIVE;
use crate::bucket::backoff;

/// Who does not answer in this time is behind a firewall, or gone.
const CONNECT: Duration = Duration::from_secs(3);
/// Who has said nothing for so long has no news to give either.
const SILENT: Duration = Duration::from_secs(3 * ALIVE.as_secs());
/// A connection that was held for so long was a good one: it is made again soon.
const STEADY: Duration = Duration::from_secs(5);
/// The time before a connection is made again: after a good one between these, so that a fleet does not come at once.
const SOON: Duration = Duration::from_millis(100);
const SPREAD: Duration = Duration::from_millis(900);
/// After others: doubled each time, up to this.
const LONGEST: Duration = Duration::from_mins(1);

/// Connections to those who tell of a new master.
#[derive(Debug)]
pub(in super::super) struct Subscriptions {
    held: BTreeMap<SocketAddr, Subscription>,
    tell: mpsc::Sender<()>,
    notices: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Subscription {
    connected: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Default for Subscriptions {
    fn default() -> Self {
        // One is enough: however many there were, the lease is read once.
        let (tell, notices) = mpsc::channel(1);
        Self {
            held: BTreeMap::new(),
            tell,
            notices,
        }
    }
}

impl Subscriptions {
    /// Holds connections to these and to no others. Needs a tokio runtime.
    pub(in super::super) fn set(&mut self, wanted: &BTreeSet<SocketAddr>) {
        self.held.retain(|address, _| wanted.contains(address));
        for address in wanted {
            if !self.held.contains_key(address) {
                let connected = Arc::new(AtomicBool::new(false));
                let work = hold(*address, Arc::clone(&connected), self.tell.clone());
                let task = tokio::spawn(work).abort_handle();
                self.held.insert(*address, Subscription { connected, task });
            }
        }
    }

    /// Whether this one would tell now, as far as can be known here.
    pub(in super::super) fn hears(&self, address: &SocketAddr) -> bool {
        let held = self.held.get(address);
        held.is_some_and(|it| it.connected.load(Ordering::Relaxed))
    }

    /// Waits until there is a reason to look at the leases now. May be dropped and called again.
    pub(in super::super) async fn notice(&mut self) {
        // There is always a sender: our own.
        let _ = self.notices.recv().await;
    }
}

/// Holds a connection, for ever.
async fn hold(address: SocketAddr, connected: Arc<AtomicBool>, tell: mpsc::Sender<()>) {
    let mut failures = 0_u32;
    loop {
        let begun = Instant::now();
        if let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(address)).await {
            listen(stream, &connected, &tell).await;
        }
        failures = if begun.elapsed() >= STEADY + CONNECT {
            0
        } else {
            failures.saturating_add(1)
        };
        let wait = match failures {
            0 => SOON + SPREAD.mul_f64(fastrand::f64()),
            some => backoff(Duration::from_secs(1), some).min(LONGEST),
        };
        sleep(wait).await;
    }
}

/// Listens until the connection ends or falls silent. Who was let in hears something at once.
async fn listen(mut stream: TcpStream, connected: &AtomicBool, tell: &mpsc::Sender<()>) {
    let mut said = [0; 16];
    let mut patience = CONNECT;
    while let Ok(Ok(1..)) = timeout(patience, stream.read(&mut said)).await {
        patience = SILENT;
        if !connected.swap(true, Ordering::Relaxed) {
            // What changed while there was no connection is seen too: first it is heard, then looked.
            let _ = tell.try_send(());
        }
    }
    if connected.swap(false, Ordering::Relaxed) {
        let _ = tell.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use serde_json::json;
    use tokio::sync::watch;

    use super::super::listener::{NoticeListener, Plan};
    use super::*;
    use crate::report::DatabaseStatus;

    fn status(epoch: u64, state: &str) -> Option<DatabaseStatus> {
        let at = "2026-11-22T20:00:00Z";
        serde_json::from_value(json!({
            "product": "shop", "part": "master", "master": "db-1",
            "lease": {"epoch": epoch, "owner": "db-1", "state": state, "gtid": "", "armed": true, "since": at, "renewed": at, "confirmed": at},
            "servers": [], "failover": {"automatic": true, "obstacles": []}, "alarms": [], "notes": [],
        }))
        .unwrap()
    }

    /// A port that is free, most likely still in a moment.
    fn free_port() -> SocketAddr {
        let probe = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        probe.local_addr().unwrap()
    }

    async fn is_heard(subscriptions: &Subscriptions, address: &SocketAddr, wanted: bool) {
        for _ in 0..500 {
            if subscriptions.hears(address) == wanted {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 5 s: {wanted}");
    }

    /// Whether something was to be looked at within this time.
    async fn noticed(subscriptions: &mut Subscriptions, within: u64) -> bool {
        let within = Duration::from_millis(within);
        timeout(within, subscriptions.notice()).await.is_ok()
    }

    #[tokio::test]
    async fn who_waits_hears_of_a_new_master_at_once_and_of_nothing_else() {
        let address = free_port();
        let (says, said) = watch::channel(status(1, "serving"));
        let plan = Plan {
            address,
            may: BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        };
        let listener = NoticeListener::start(plan.clone(), said).unwrap();
        let mut waits = Subscriptions::default();
        waits.set(&BTreeSet::from([address]));
        is_heard(&waits, &address, true).await;
        assert!(
            noticed(&mut waits, 100).await,
            "what came before is looked at"
        );
        // Renewals, and the way to another master, are none of their business.
        for (epoch, state) in [
            (1, "serving"),
            (1, "switching"),
            (1, "released"),
            (2, "promoting"),
        ] {
            says.send_replace(status(epoch, state));
        }
        assert!(!noticed(&mut waits, 300).await);
        assert!(waits.hears(&address));
        let begun = Instant::now();
        says.send_replace(status(2, "serving"));
        assert!(noticed(&mut waits, 2000).await);
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(500), "{took:?}");
        // And it is there again for the next one.
        is_heard(&waits, &address, true).await;
        // Others are let in, and out again at once.
        listener.set_plan(Plan {
            may: BTreeSet::new(),
            ..plan
        });
        let mut strangers = Subscriptions::default();
        strangers.set(&BTreeSet::from([address]));
        sleep(Duration::from_millis(300)).await;
        assert!(!strangers.hears(&address));
        assert!(!noticed(&mut strangers, 300).await);
    }

    #[tokio::test]
    async fn an_agent_that_goes_is_noticed_and_one_that_is_not_there_tells_nothing() {
        let address = free_port();
        let mut waits = Subscriptions::default();
        waits.set(&BTreeSet::from([address]));
        assert!(!noticed(&mut waits, 200).await);
        let (_says, said) = watch::channel(status(1, "serving"));
        let plan = Plan {
            address,
            may: BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        };
        let listener = NoticeListener::start(plan, said).unwrap();
        is_heard(&waits, &address, true).await;
        assert!(noticed(&mut waits, 100).await);
        drop(listener);
        assert!(noticed(&mut waits, 2000).await);
        is_heard(&waits, &address, false).await;
        waits.set(&BTreeSet::new());
        assert!(!waits.hears(&address));
    }
}
