//! Putting this machine's report into the bucket: when it says something new, and every fifteen minutes.
//!
//! A task of its own: a bucket that does not answer holds up nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::bucket::{Bucket, BucketErrorKind, backoff, phase};
use crate::identity::{self, Clues};
use crate::report::{Machine, NodeReport, ReportStatus};
use crate::system::root::Root;
use crate::system::{chain, clock};

/// A report that says nothing new is put this often: its age shows that the machine lives.
const EVERY: Duration = Duration::from_mins(15);
/// Two reports are never closer than this, however much happens.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);
/// What waiting grows from where the bucket does not take it.
const RETRY: Duration = Duration::from_secs(30);
/// How long a bucket that refuses is left alone: its rules change by a person's hand only.
const REFUSED: Duration = Duration::from_mins(15);

/// The side of the event loop.
pub(super) struct ReportUpload {
    news: watch::Sender<Option<NodeReport>>,
    every: watch::Sender<Duration>,
    state: watch::Receiver<ReportStatus>,
    /// Worked out once: from two clocks it would differ by a second now and then, and be news.
    booted: Timestamp,
    hostname: Option<String>,
    task: tokio::task::JoinHandle<()>,
}

impl ReportUpload {
    /// Begins to put what is offered.
    pub(super) fn start(bucket: Arc<Bucket>, root: &Root) -> Self {
        let (news, offered) = watch::channel(None);
        let (told, state) = watch::channel(ReportStatus::default());
        let (every, interval) = watch::channel(EVERY);
        let uptime = jiff::SignedDuration::try_from(clock::boottime()).unwrap_or_default();
        Self {
            news,
            every,
            state,
            booted: clock::now() - uptime,
            hostname: identity::hostname(root).ok(),
            task: tokio::spawn(upload(bucket, offered, interval, told)),
        }
    }

    /// This machine, besides what a document says of it.
    pub(super) fn machine(&self, clues: &Clues) -> Machine {
        Machine {
            instance: clues.instance_id.clone(),
            hostname: self.hostname.clone(),
            booted: Some(self.booted),
        }
    }

    /// Has a report put, where it says something new.
    pub(super) fn offer(&self, report: NodeReport) {
        self.news.send_if_modified(|last| {
            let is_news = last.as_ref().is_none_or(|last| report.is_news_after(last));
            if is_news {
                *last = Some(report);
            }
            is_news
        });
    }

    /// Has reports put this often though they say nothing new, at most each 15 minutes: somebody waits for them.
    pub(super) fn hurry(&self, every: Option<Duration>) {
        let every = every.map_or(EVERY, |every| every.min(EVERY));
        self.every
            .send_if_modified(|present| std::mem::replace(present, every) != every);
    }

    /// How that goes.
    pub(super) fn status(&self) -> ReportStatus {
        self.state.borrow().clone()
    }
}

impl Drop for ReportUpload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn upload(
    bucket: Arc<Bucket>,
    mut offered: watch::Receiver<Option<NodeReport>>,
    mut interval: watch::Receiver<Duration>,
    told: watch::Sender<ReportStatus>,
) {
    let mut failures = 0_u32;
    let mut earliest = Instant::now();
    let mut due: Option<Instant> = None;
    loop {
        // What is new, or the time for the next one: whatever comes first, and never too soon.
        tokio::select! {
            changed = offered.changed() => if changed.is_err() { return },
            changed = interval.changed() => {
                if changed.is_err() {
                    return;
                }
                due = due.map(|due| due.min(Instant::now() + *interval.borrow_and_update()));
                continue;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        sleep_until(earliest).await;
        let Some(mut report) = offered.borrow_and_update().clone() else {
            continue;
        };
        report.written = clock::now();
        let key = report.key();
        let put = match serde_json::to_vec(&report) {
            Ok(bytes) => bucket.put(&key, bytes, None).await,
            Err(_) => continue,
        };
        let now = Instant::now();
        let wait = match put {
            Ok(_) => {
                note_success(&told, &key, report.written, failures);
                // The first one comes at once; from then on the reports of a fleet that booted together are spread.
                let first = due.is_none();
                failures = 0;
                if first {
                    SHORTEST_PAUSE.max(phase(&key, *interval.borrow()))
                } else {
                    *interval.borrow()
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let why = chain(&error);
                if failures == 1 {
                    tracing::warn!(
                        event = "report-not-put",
                        error = why,
                        "this machine's report is not in the bucket, so that whoever looks at the fleet takes it for silent: {why}"
                    );
                }
                told.send_modify(|status| status.error = Some(why));
                if error.kind == BucketErrorKind::Denied {
                    REFUSED
                } else {
                    backoff(RETRY, failures)
                }
            }
        };
        earliest = now + SHORTEST_PAUSE.max(if failures > 0 { wait } else { Duration::ZERO });
        due = Some(now + wait);
    }
}

fn note_success(told: &watch::Sender<ReportStatus>, key: &str, written: Timestamp, failures: u32) {
    told.send_modify(|status| {
        *status = ReportStatus {
            key: Some(key.to_owned()),
            put: Some(written),
            error: None,
        };
    });
    if failures > 0 {
        tracing::info!(
            event = "report-put",
            failures,
            "this machine's report is in the bucket again, after {failures} failures"
        );
    }
}
