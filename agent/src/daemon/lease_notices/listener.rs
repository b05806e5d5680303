//! The server's side: a port of the agent's on which the fleet's machines wait.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{interval, sleep, timeout};

use super::ALIVE;
use crate::database::lease::LeaseState;
use crate::report::DatabaseStatus;

/// The most machines that wait at a time: each is a descriptor and some hundred bytes. Others look at the lease as ever.
const MOST: usize = 4096;
/// An address that is not there yet is tried again after this, and a process without a descriptor left waits so long.
const AGAIN: Duration = Duration::from_secs(5);
/// Who does not take a byte in this time is gone.
const TAKEN: Duration = Duration::from_secs(5);

/// Where machines wait, and which may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Plan {
    pub(in super::super) address: SocketAddr,
    /// The addresses of the fleet's servers.
    pub(in super::super) may: BTreeSet<IpAddr>,
}

/// A listener that runs, in a thread of its own: a run that takes long delays no notice, and many who wait no renewal.
#[derive(Debug)]
pub(in super::super) struct NoticeListener {
    /// `None` ends it.
    plan: watch::Sender<Option<Plan>>,
    _thread: JoinHandle<()>,
}

impl NoticeListener {
    /// Starts one that tells what `status` says of the lease.
    pub(in super::super) fn start(
        plan: Plan,
        status: watch::Receiver<Option<DatabaseStatus>>,
    ) -> std::io::Result<Self> {
        let (plan, plans) = watch::channel(Some(plan));
        let thread = std::thread::Builder::new()
            .name("lease-notices".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(run(plans, status)),
                    Err(error) => not_served(&error),
                }
            })?;
        Ok(Self {
            plan,
            _thread: thread,
        })
    }

    /// The document has another address for this server, or other machines.
    pub(in super::super) fn set_plan(&self, plan: Plan) {
        self.plan.send_if_modified(|present| {
            let news = present.as_ref() != Some(&plan);
            if news {
                *present = Some(plan);
            }
            news
        });
    }
}

fn not_served(error: &std::io::Error) {
    tracing::warn!(
        event = "lease-notices-not-served",
        error = %error,
        "machines are not told of a new master from here, and look at the lease instead: {error}"
    );
}

async fn run(
    mut plans: watch::Receiver<Option<Plan>>,
    status: watch::Receiver<Option<DatabaseStatus>>,
) {
    let mut told = false;
    loop {
        let Some(plan) = plans.borrow_and_update().clone() else {
            return;
        };
        match TcpListener::bind(plan.address).await {
            Ok(listener) => {
                told = false;
                if serve(listener, &mut plans, status.clone()).await.is_none() {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    not_served(&error);
                }
                tokio::select! {
                    changed = plans.changed() => if changed.is_err() { return },
                    () = sleep(AGAIN) => {}
                }
            }
        }
    }
}

/// Serves until the address is another one; `None`: until the end.
async fn serve(
    listener: TcpListener,
    plans: &mut watch::Receiver<Option<Plan>>,
    mut status: watch::Receiver<Option<DatabaseStatus>>,
) -> Option<()> {
    let address = plans.borrow().as_ref()?.address;
    let room = Arc::new(Semaphore::new(MOST));
    let mut epoch = served_epoch(status.borrow_and_update().as_ref());
    let (notices, _) = watch::channel(epoch);
    loop {
        tokio::select! {
            changed = plans.changed() => {
                changed.ok()?;
                let plan = plans.borrow_and_update();
                if plan.as_ref()?.address != address {
                    return Some(());
                }
            }
            changed = status.changed() => {
                changed.ok()?;
                let now = served_epoch(status.borrow_and_update().as_ref());
                // While nobody serves there is nothing to lead to.
                if now.is_some() && now != epoch {
                    epoch = now;
                    notices.send_replace(epoch);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let may = plans.borrow().as_ref()?.may.contains(&from.ip().to_canonical());
                    if may && let Ok(place) = Arc::clone(&room).try_acquire_owned() {
                        tokio::spawn(keep(stream, notices.subscribe(), place));
                    }
                }
                // No descriptor left, most likely. Who waits already is told a second later at the most.
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

/// Keeps a connection until there is news, its other end says anything or goes, or no byte gets there any more.
async fn keep(
    mut stream: TcpStream,
    mut notices: watch::Receiver<Option<u64>>,
    _place: OwnedSemaphorePermit,
) {
    let mut alive = interval(ALIVE);
    let mut said = [0; 1];
    loop {
        tokio::select! {
            // Nobody has anything to say here.
            _ = stream.read(&mut said) => return,
            _ = notices.changed() => return,
            // The first one at once: by it is known who was let in.
            _ = alive.tick() => match timeout(TAKEN, stream.write_all(b".")).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }
}

/// The epoch in which somebody serves.
fn served_epoch(status: Option<&DatabaseStatus>) -> Option<u64> {
    let lease = status?.lease.as_ref()?;
    (lease.state == LeaseState::Serving.as_str()).then_some(lease.epoch)
}
