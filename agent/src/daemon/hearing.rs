//! Hearing of documents: when the bucket is asked, what its answers mean, whether they are a reason for a run.

use std::time::Duration;

use tokio::time::Instant;

use super::agent::Agent;
use super::poll::{Asking, Heard};
use crate::bucket::{backoff, phase};
use crate::control::server::ApplyRequest;
use crate::converge::intake::Polled;
use crate::report::Trigger;
use crate::system::chain;

/// Two polls are never closer than this, however slow the bucket is.
const BREATH: Duration = Duration::from_millis(10);

impl Agent {
    /// Begins to ask the bucket. Whether it does: a routine poll under way is begun again, for its answer
    /// may be older than the wish; another wish's is not.
    pub(super) fn ask(&mut self, trigger: Trigger) -> bool {
        let busy = self
            .asking
            .as_ref()
            .is_some_and(|asking| asking.trigger != Trigger::Poll);
        if !busy {
            self.asking = Some(Asking::start(
                &mut self.session.intake,
                &self.session.bucket,
                trigger,
            ));
            if trigger != Trigger::Poll {
                self.signs.progress("asking the bucket");
            }
        }
        !busy
    }

    /// Takes the bucket's answer in, makes a run if that or somebody's wish is a reason, and tells who waits.
    pub(super) async fn hear_and_run(&mut self, heard: Heard, waiting: &mut Vec<ApplyRequest>) {
        let asked_for = match heard.trigger {
            // The kept document was applied already, for the bucket took its time.
            Trigger::Start => self.booting,
            Trigger::Poll => false,
            _ => true,
        };
        let trigger = match heard.trigger {
            Trigger::Start if !self.booting => Trigger::Poll,
            trigger => trigger,
        };
        let (fresh, trouble) = self.hear(heard);
        if fresh || asked_for || !self.picture.knows_itself() {
            let retry = waiting.iter().any(|asker| asker.retry_quarantined);
            let answer = self.run(trigger, retry, trouble).await;
            for asker in waiting.drain(..) {
                // Nobody waits any more: the run was made all the same.
                let _ = asker.answer.send(answer.clone());
            }
        } else {
            tracing::debug!(event = "polled", "nothing new");
            self.publish();
        }
    }

    /// Takes the bucket's answer in. Returns whether there is a new document, and why the newest could not be had.
    fn hear(&mut self, heard: Heard) -> (bool, Option<String>) {
        let poll = self.session.settings.poll;
        let now = Instant::now();
        let first = !std::mem::replace(&mut self.heard_once, true);
        let polled = match self.session.intake.hear(heard.question, heard.answer) {
            Ok(polled) => polled,
            Err(error) => {
                let error = format!(
                    "a new document could not be written to disk: {}",
                    chain(&error)
                );
                tracing::error!(event = "document-not-kept", "{error}");
                self.picture.not_kept(&error);
                self.next_poll = now + backoff(poll, 1);
                return (false, Some(error));
            }
        };
        self.tell(&polled, now.duration_since(heard.asked));
        self.next_poll = match self.picture.bucket_failures() {
            // The fleet's boxes booted together; from now on each asks in its own phase.
            0 if first => heard.asked + phase(&self.who(), poll),
            0 => heard.asked + poll,
            failures => now + backoff(poll, failures),
        }
        .max(now + BREATH);
        match polled {
            Polled::New => (true, None),
            Polled::Unreachable(error) => (false, Some(chain(&error))),
            Polled::Unchanged | Polled::Refused(_) => (false, None),
        }
    }

    /// Notes and logs what the bucket's answer means, where that is news.
    fn tell(&mut self, polled: &Polled, took: Duration) {
        let failures = self.picture.bucket_failures();
        let refused_before = self.picture.refused.as_ref().map(|refused| refused.since);
        self.picture.polled(&self.session, polled, Some(took));
        match polled {
            Polled::New => {
                if let Some(accepted) = self.session.intake.accepted() {
                    let id = &accepted.document.id;
                    tracing::info!(event = "document-accepted", fleet = %id.fleet, version = id.version, "a new document");
                }
            }
            Polled::Refused(refusal) if refused_before != Some(refusal.since) => {
                for error in &refusal.errors {
                    tracing::error!(
                        event = "document-refused",
                        version = refusal.version,
                        "{error}"
                    );
                }
            }
            Polled::Unreachable(error) if failures == 0 => {
                let so = if self.session.intake.accepted().is_some() {
                    "the last good document is kept"
                } else {
                    "there is no document yet"
                };
                tracing::warn!(event = "bucket-unreachable", error = chain(error), "{so}");
            }
            _ => {}
        }
        if failures > 0 && self.picture.bucket_failures() == 0 {
            tracing::info!(
                event = "bucket-answers",
                failures,
                "the bucket answers again"
            );
        }
    }

    /// Who this box is, or may be, for spreading its polls.
    pub(super) fn who(&self) -> String {
        let clues = &self.session.clues;
        let named = clues.setting.as_ref().map(ToString::to_string);
        named
            .or_else(|| clues.instance_id.clone())
            .or_else(|| clues.hostnames.first().cloned())
            .unwrap_or_default()
    }
}
