//! The threads that keep snapshots on this machine, one a cluster: started, told of changes and stopped as the document says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::control::messages::{DatabaseReply, DatabaseRequest, Reply};
use crate::control::server::OrderRequest;
use crate::database::driver::{Context, Handle};
use crate::database::server::{Place, Target};
use crate::database::snapshot::prove::Ground;
use crate::database::snapshot::take::Source;
use crate::database::snapshot::worker::{self, EpochNow, Plan, Worker};
use crate::fleet::{Name, Snapshots};
use crate::report::SnapshotStatus;

/// Between two looks at the progress of a snapshot that a person waits for.
const POLL: Duration = Duration::from_millis(200);

/// The threads that run.
#[derive(Debug, Default)]
pub(super) struct SnapshotWorkers {
    running: BTreeMap<Name, Worker>,
    /// Why one that should run does not.
    failed: Option<String>,
}

impl SnapshotWorkers {
    /// Starts the product's thread, or tells it what has changed. `snapshots`: as the document has them, where this server takes
    /// them.
    pub(super) fn reconcile(
        &mut self,
        context: &Context,
        snapshots: Option<&Snapshots>,
        driver: Handle,
    ) {
        let Some(snapshots) = snapshots else {
            self.forget(&context.product);
            return;
        };
        let plan = plan(context, snapshots);
        if let Some(worker) = self.running.get(&context.product) {
            worker.set_plan(plan);
            return;
        }
        match Worker::start(plan, epoch_by(driver)) {
            Ok(worker) => {
                self.failed = None;
                self.running.insert(context.product.clone(), worker);
            }
            Err(error) => {
                let why = format!("no snapshots of {} are taken: {error}", context.product);
                if self.failed.as_ref() != Some(&why) {
                    tracing::error!(event = "snapshots-failed", "{why}");
                }
                self.failed = Some(why);
            }
        }
    }

    /// No snapshots of this product are taken here any more.
    pub(super) fn forget(&mut self, product: &Name) {
        if let Some(worker) = self.running.remove(product) {
            tokio::spawn(worker.stop(Duration::from_secs(3)));
        }
    }

    /// How a product's are, where they are taken here.
    pub(super) fn status(&self, product: &Name) -> Option<SnapshotStatus> {
        self.running.get(product)?.status()
    }

    /// Has one taken now; returns the order where none are taken here.
    pub(super) fn take_now(&self, request: OrderRequest) -> Option<OrderRequest> {
        let Some(worker) = self.running.get(&request.ask.product) else {
            return Some(request);
        };
        let handle = worker.handle();
        tokio::spawn(async move {
            let answer = if request.ask.noop {
                steps(&request.ask)
            } else {
                follow(&request, &handle).await
            };
            let _ = request.answer.send(answer);
        });
        None
    }

    /// Stops all of them together.
    pub(super) async fn stop(&mut self, patience: Duration) {
        let stopping: Vec<_> = std::mem::take(&mut self.running)
            .into_values()
            .map(|worker| tokio::spawn(worker.stop(patience)))
            .collect();
        for stopped in stopping {
            let _ = stopped.await;
        }
    }
}

fn steps(ask: &DatabaseRequest) -> Reply {
    let product = &ask.product;
    Reply::Database(DatabaseReply {
        steps: vec![
            format!(
                "this server's databases are dumped as of one moment, compressed and uploaded under snapshots/{product}/"
            ),
            "its manifest is put last; replication goes on meanwhile".to_owned(),
        ],
        said: Vec::new(),
    })
}

/// Waits for a snapshot, and tells of its progress.
async fn follow(request: &OrderRequest, handle: &worker::Handle) -> Reply {
    let taken = handle.take_now();
    tokio::pin!(taken);
    let mut told = String::new();
    loop {
        tokio::select! {
            done = &mut taken => {
                return match done {
                    Ok(said) => Reply::Database(DatabaseReply::said(said)),
                    Err(message) => Reply::Failed { message },
                };
            }
            () = tokio::time::sleep(POLL) => {
                if let Some(doing) = handle.doing().filter(|doing| *doing != told) {
                    told.clone_from(&doing);
                    let _ = request.progress.try_send(doing);
                }
            }
        }
    }
}

/// In which epoch the chain is, as the driver of this machine's database knows.
fn epoch_by(driver: Handle) -> EpochNow {
    EpochNow(Arc::new(move || {
        let Some(status) = driver.status() else {
            return Err("the agent has just started and does not know the lease yet".to_owned());
        };
        match status.lease {
            None => Ok(0),
            Some(lease) if lease.state == "promoting" || lease.state == "switching" => {
                Err(format!(
                    "a change of master is under way (epoch {}, {})",
                    lease.epoch, lease.state
                ))
            }
            Some(lease) => Ok(lease.epoch),
        }
    }))
}

fn plan(context: &Context, snapshots: &Snapshots) -> Plan {
    let settings = &context.settings.snapshots;
    let (every, prove, tiers) = worker::times(snapshots);
    let accounts = &context.credentials;
    let own_accounts = [
        &accounts.local.user,
        &accounts.peer.user,
        &accounts.replication().user,
    ];
    Plan {
        product: context.product.clone(),
        every,
        prove,
        tiers,
        archive: snapshots.archive,
        source: Source {
            product: context.product.clone(),
            server: context.me.clone(),
            place: Place {
                target: Target::Socket(context.socket.clone()),
                account: accounts.local.clone(),
                tls: None,
            },
            own_accounts: own_accounts.map(Clone::clone).into(),
            max_lag: settings.max_lag,
            upload_limit: settings.upload_limit,
        },
        ground: Ground {
            dir: settings.drill_dir.join(context.product.as_str()),
            account: settings.drill_account.clone(),
            memory: settings.drill_memory,
            archive: snapshots.archive,
            patience: settings.drill_timeout,
            me: context.me.clone(),
        },
        bucket: context.bucket.clone(),
        s3: context.s3.clone(),
    }
}
