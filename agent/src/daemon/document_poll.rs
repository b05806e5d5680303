//! Polling the fleet document: when the bucket is asked, what its answers mean, whether they call for a run.

use std::time::Duration;

use tokio::time::Instant;

use super::document_request::{DocumentRequest, DocumentResponse, Response};
use super::event_loop::EventLoop;
use crate::bucket::{backoff, phase};
use crate::control::server::ApplyRequest;
use crate::converge::intake::{Heard, Polled, Stage};
use crate::report::{Trigger, text};
use crate::system::chain;
use crate::system::file::FileError;

/// Two polls are never closer than this, however slow the bucket is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

impl EventLoop {
    /// Begins to ask the bucket for the document. Returns whether it does: a routine poll under way is begun again, for
    /// its answer may be older than the request; a request for another trigger, or of which the answer is being read, is not.
    pub(super) fn request_document(&mut self, trigger: Trigger) -> bool {
        let busy = self
            .request
            .as_ref()
            .is_some_and(|request| request.trigger != Trigger::Poll || request.is_read);
        if !busy {
            self.request = Some(DocumentRequest::start(
                &mut self.session.intake,
                &self.session.bucket,
                trigger,
            ));
            if trigger != Trigger::Poll {
                self.watchdog.progress("asking the bucket");
            }
        }
        !busy
    }

    /// Takes the bucket's answer in, makes a run if the document or a request calls for one, and answers who waits.
    pub(super) async fn take_document_and_run(
        &mut self,
        response: DocumentResponse,
        waiting: &mut Vec<ApplyRequest>,
    ) {
        let asked_for = match response.trigger {
            // The kept document was applied already, for the bucket took its time.
            Trigger::Start => self.booting,
            Trigger::Poll => false,
            _ => true,
        };
        let trigger = match response.trigger {
            Trigger::Start if !self.booting => Trigger::Poll,
            trigger => trigger,
        };
        let (asked, took) = (response.asked, response.took);
        let polled = match response.what {
            Response::Answered(both) => {
                let (question, answer) = *both;
                match self.session.intake.receive(question, answer) {
                    Ok(Heard::Polled(polled)) => Ok(polled),
                    Ok(Heard::News(reading)) => {
                        let request = DocumentRequest::read(reading, response.trigger, asked, took);
                        self.request = Some(request);
                        return;
                    }
                    Err(error) => Err(error),
                }
            }
            Response::Read(read) => self.session.intake.conclude(*read),
        };
        let (fresh, trouble) = self.take_document(polled, asked, took);
        let stage = self.stage();
        if stage == Stage::Undecided && trouble.is_none() && self.request_document(trigger) {
            // Which document this box stands on is known in a moment: who waits goes on to wait.
            return;
        }
        if fresh || stage == Stage::JustTaken || asked_for || !self.state.knows_itself() {
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

    /// Works out whether this box may take the accepted document.
    pub(super) fn stage(&mut self) -> Stage {
        match self.session.stage() {
            Ok(stage) => {
                if let (Stage::JustTaken, Some(accepted)) = (stage, self.session.intake.accepted())
                {
                    let version = accepted.document.id.version;
                    tracing::info!(
                        event = "wave-open",
                        version,
                        "this box takes version {version}: its wave is open"
                    );
                }
                stage
            }
            Err(error) => {
                tracing::warn!(
                    event = "state-not-read",
                    error = chain(&error),
                    "whether this box may take its document could not be noted: {}",
                    chain(&error)
                );
                Stage::Waiting
            }
        }
    }

    /// Takes the bucket's answer in. Returns whether there is a new document, and why the newest could not be had.
    fn take_document(
        &mut self,
        polled: Result<Polled, FileError>,
        asked: Instant,
        took: Duration,
    ) -> (bool, Option<String>) {
        let poll = self.session.settings.poll;
        let now = Instant::now();
        let first = !std::mem::replace(&mut self.answered_once, true);
        let polled = match polled {
            Ok(polled) => polled,
            Err(error) => {
                let error = format!(
                    "a new document could not be written to disk: {}",
                    chain(&error)
                );
                tracing::error!(event = "document-not-kept", "{error}");
                self.state.not_kept(&error);
                self.next_poll = now + backoff(poll, 1);
                return (false, Some(error));
            }
        };
        self.note_poll(&polled, took);
        self.next_poll = match self.state.bucket_failures() {
            // The fleet's boxes booted together; from now on each asks in its own phase.
            0 if first => asked + phase(&self.phase_name(), poll),
            0 => asked + poll,
            failures => now + backoff(poll, failures),
        }
        .max(now + SHORTEST_PAUSE);
        match polled {
            Polled::New => (true, None),
            Polled::Unreachable(error) => (false, Some(chain(&error))),
            Polled::Unchanged | Polled::Refused(_) => (false, None),
        }
    }

    /// Notes and logs what the bucket's answer means, where that is news.
    fn note_poll(&mut self, polled: &Polled, took: Duration) {
        let failures = self.state.bucket_failures();
        let refused_before = self.state.refused.as_ref().map(|refused| refused.since);
        self.state.polled(&self.session, polled, Some(took));
        match polled {
            Polled::New => {
                if let Some(accepted) = self.session.intake.accepted() {
                    let id = &accepted.document.id;
                    let signed = text::signed_by(&accepted.document.signers).unwrap_or_default();
                    tracing::info!(
                        event = "document-accepted",
                        fleet = %id.fleet,
                        version = id.version,
                        signers = text::key_names(&accepted.document.signers),
                        "a new document: {} version {}{}{signed}",
                        id.fleet,
                        id.version,
                        if signed.is_empty() { "" } else { ", " }
                    );
                }
            }
            Polled::Refused(refusal) if refused_before != Some(refusal.since) => {
                for error in &refusal.errors {
                    tracing::error!(
                        event = "document-refused",
                        version = refusal.version,
                        "{} was refused: {error}",
                        refusal.which()
                    );
                }
            }
            Polled::Unreachable(error) if failures == 0 => {
                let so = if self.session.intake.accepted().is_some() {
                    "the last good document is kept"
                } else {
                    "there is no document yet"
                };
                tracing::warn!(
                    event = "bucket-unreachable",
                    error = chain(error),
                    "the bucket does not answer, and {so}: {}",
                    chain(error)
                );
            }
            _ => {}
        }
        if failures > 0 && self.state.bucket_failures() == 0 {
            tracing::info!(
                event = "bucket-answers",
                failures,
                "the bucket answers again, after {failures} failures"
            );
        }
    }

    /// A name for this box that differs from the others', for spreading their polls over the interval.
    pub(super) fn phase_name(&self) -> String {
        let clues = &self.session.clues;
        let named = clues.setting.as_ref().map(ToString::to_string);
        named
            .or_else(|| clues.instance_id.clone())
            .or_else(|| clues.hostnames.first().cloned())
            .unwrap_or_default()
    }
}
