//! On a machine of the role `monitor`: all machines' reports put together in one object of the bucket, each minute, so that a desk reads
//! one and not thousands. Two monitors do it by turns: whoever finds a fresh one of the other leaves it.
//!
//! A task of its own: a bucket that does not answer holds up nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::bucket::{Bucket, BucketErrorKind, Tag, phase};
use crate::fleet::{MONITOR, Name, Server, ServerState};
use crate::overview::{ReportReader, Summary, SummaryError};
use crate::system::{chain, clock};

/// How often.
const EVERY: Duration = Duration::from_mins(1);
/// One of another monitor that is younger makes this one's needless.
const YOUNG: SignedDuration = SignedDuration::from_secs(50);
/// How long a bucket that refuses is left alone: its rules change by a person's hand only.
const REFUSED: Duration = Duration::from_mins(15);

/// The task, while there is one.
#[derive(Default)]
pub(super) struct FleetSummary(Option<(Name, JoinHandle<()>)>);

impl FleetSummary {
    /// Has it made on a monitor, and not made on any other machine.
    pub(super) fn keep(&mut self, bucket: &Arc<Bucket>, name: &Name, server: Option<&Server>) {
        let is_monitor = server.is_some_and(|server| {
            server.state != ServerState::Retired
                && server.roles.iter().any(|role| role.as_str() == MONITOR)
        });
        match (&self.0, is_monitor) {
            (Some((made_by, _)), true) if made_by == name => {}
            (_, true) => {
                self.stop();
                let task = tokio::spawn(make(Arc::clone(bucket), name.clone()));
                self.0 = Some((name.clone(), task));
            }
            (_, false) => self.stop(),
        }
    }

    fn stop(&mut self) {
        if let Some((_, task)) = self.0.take() {
            task.abort();
        }
    }
}

impl Drop for FleetSummary {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn make(bucket: Arc<Bucket>, name: Name) {
    let mut reader = ReportReader::new((*bucket).clone());
    let mut last: Option<(Summary, Tag)> = None;
    let mut failures = 0_u32;
    sleep(phase(name.as_str(), EVERY)).await;
    loop {
        let wait = match once(&bucket, &name, &mut reader, &mut last).await {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!(
                        event = "summary-put",
                        failures,
                        "the summary of all reports is in the bucket again, after {failures} failures"
                    );
                }
                failures = 0;
                EVERY
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    let why = chain(&error);
                    tracing::warn!(
                        event = "summary-not-put",
                        error = why,
                        "there is no summary of all reports, so that desks read them one by one: {why}"
                    );
                }
                match error {
                    SummaryError::Bucket(error) if error.kind == BucketErrorKind::Denied => REFUSED,
                    _ => EVERY,
                }
            }
        };
        sleep(wait).await;
    }
}

async fn once(
    bucket: &Bucket,
    name: &Name,
    reader: &mut ReportReader,
    last: &mut Option<(Summary, Tag)>,
) -> Result<(), SummaryError> {
    let known = last.as_ref().map(|(_, tag)| tag);
    match Summary::get(bucket, known).await {
        Ok(Some(newer)) => *last = Some(newer),
        Ok(None) => {}
        Err(SummaryError::Bucket(error)) => return Err(error.into()),
        // What is no summary is written over.
        Err(_) => *last = None,
    }
    let now = clock::now();
    if let Some((summary, _)) = last
        && summary.by != *name
        && summary.is_fresh(now)
        && now.duration_since(summary.written) < YOUNG
    {
        return Ok(());
    }
    let summary = Summary {
        format: 1,
        written: now,
        by: name.clone(),
        reports: reader.read().await?,
    };
    summary.put(bucket).await
}
