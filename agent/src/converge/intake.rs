//! Intake of documents: fetch, read, accept or refuse, persist the last good one.

mod advice;
mod considered;
mod older;
mod persisted;
mod question;
mod reading;
mod rules;
mod staging;
mod succession;

use std::error::Error as _;
use std::path::Path;

use jiff::Timestamp;

use crate::bucket::{Advised, Bucket, BucketErrorKind, Fetched, Tag};
use crate::fleet::signing::Trust;
use crate::fleet::{Document, Name};
use crate::report::{DocumentId, Refusal, RolloutStatus, TrustStatus};
use crate::settings::Settings;
use crate::system::digest::sha256;
use crate::system::file::{FileError, Files, Found};
use crate::system::{chain, clock, crash};
use considered::Considered;
use persisted::Meta;
use reading::Known;
use rules::{Acceptance, Standing};
use staging::Staging;
use succession::Succession;

pub use considered::{BEFORE, note_start};
pub use persisted::{BAD, DOCUMENT, META};
pub use question::{Answer, Question};
pub use reading::{Read, Reading};
pub use staging::{BASE, Stage, WAITING};
pub use succession::TRUST;

/// The document's key in the bucket.
pub const KEY: &str = "fleet.json";

/// The accepted document, and what is known of its freshness.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The document.
    pub document: Document,
    /// When the bucket last said that it is the present one. After a start, until the first answer: when it was fetched.
    pub confirmed: Timestamp,
}

/// What one poll brought.
#[derive(Debug)]
pub enum Polled {
    /// The bucket's document is the accepted one.
    Unchanged,
    /// A new document was accepted and persisted.
    New,
    /// The bucket's document was refused; the accepted one stays.
    Refused(Refusal),
    /// The bucket did not answer; the accepted one stays.
    Unreachable(Advised),
}

/// What an answer of the bucket comes to.
#[derive(Debug)]
pub enum Heard {
    /// This.
    Polled(Polled),
    /// That has to be read first: see [`Intake::conclude`].
    News(Box<Reading>),
}

/// Why the last question to the bucket brought no document that could be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InVain {
    /// It has none.
    Missing,
    /// It did not give it: what went wrong and what to do, and why.
    Unanswered {
        /// The error's own words, with the advice.
        said: String,
        /// All its causes.
        cause: Option<String>,
    },
    /// It was refused: `version 4`.
    Refused(String),
}

impl InVain {
    fn of(polled: &Polled) -> Option<Self> {
        match polled {
            Polled::Unchanged | Polled::New => None,
            Polled::Refused(refusal) => Some(Self::Refused(refusal.which())),
            Polled::Unreachable(error) if error.error.kind == BucketErrorKind::Missing => {
                Some(Self::Missing)
            }
            Polled::Unreachable(error) => Some(Self::Unanswered {
                said: error.to_string(),
                cause: error.source().map(chain),
            }),
        }
    }
}

/// The bucket's present document, while it is refused.
#[derive(Debug)]
struct Refused {
    known: Known,
    /// SHA-256 of its bytes, so that the same ones are not read again under another tag.
    digest: [u8; 32],
    refusal: Refusal,
    /// Until when it would not have been expired: should the clock turn out to have been ahead, it is read again.
    expired: Option<Timestamp>,
}

/// Which documents a box takes, as its settings say.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The fleet that documents must name.
    pub pinned: Option<Name>,
    /// The most bytes of a document.
    pub limit: u64,
    /// Who must vouch for a document, until the bucket's `trust/N.json` say otherwise.
    pub trust: Trust,
    /// The number of the `trust/N.json` that has those keys; 0: none.
    pub generation: u64,
    /// How far a version may be above the one before, where somebody must vouch for it.
    pub version_step: u64,
}

impl Terms {
    /// Those of the settings.
    pub fn of(settings: &Settings) -> Self {
        Self {
            pinned: settings.pinned_fleet.clone(),
            limit: settings.document_limit,
            trust: settings.trust.clone(),
            generation: settings.trust_generation,
            version_step: settings.version_step,
        }
    }
}

/// The box's own copy of the document.
#[derive(Debug)]
pub struct Intake {
    files: Files,
    terms: Terms,
    succession: Succession,
    considered: Considered,
    staging: Staging,
    writes: bool,
    accepted: Option<Accepted>,
    /// The highest version that was ever accepted. It outlives a damaged copy of the document.
    highest: Option<DocumentId>,
    /// Under which generation of trust.
    highest_trust: u64,
    /// Under which tag the accepted document was seen last.
    known: Option<Known>,
    refused: Option<Refused>,
    /// Why the last answer brought no document.
    in_vain: Option<InVain>,
    /// A persisted document that cannot be used: set aside when the next one is persisted.
    damaged: Option<Vec<u8>>,
    /// A document is being read: how that ends is not known yet.
    reading: bool,
}

impl Intake {
    /// Reads the persisted document, if there is one. Writes nothing.
    ///
    /// A copy that is damaged, older than the one that was accepted, of another fleet than the pinned one, or not signed
    /// by those who must, is as none: a warning is logged, and it is set aside once there is a good one.
    pub fn open(files: &Files, terms: Terms) -> Result<Self, FileError> {
        let succession = Succession::load(files, &terms)?;
        let considered = Considered::load(files)?;
        let kept = persisted::load(files, terms.pinned.as_ref(), &succession, &considered)?;
        let highest_trust = kept.meta.as_ref().map_or(0, |meta| meta.trust);
        let known = kept.meta.as_ref().filter(|_| kept.fits).map(|meta| Known {
            tag: meta.tag.clone(),
            source: meta.source.clone(),
        });
        let fetched = kept.meta.as_ref().map(|meta| meta.fetched);
        let accepted = kept.document.map(|document| Accepted {
            confirmed: fetched.unwrap_or(document.fleet.issued.0),
            document,
        });
        let document = accepted.as_ref().map(|accepted| &accepted.document);
        let staging = Staging::load(files, document, &succession)?;
        let own = document.map(|document| document.id.clone());
        // A box that dies of its newest document stands on the one before, and has accepted the newest all the same.
        let recorded = kept.meta.map(|meta| meta.id);
        let highest = match (own, recorded) {
            (Some(own), Some(recorded))
                if recorded.fleet == own.fleet && recorded.version > own.version =>
            {
                Some(recorded)
            }
            (own, recorded) => own.or(recorded),
        };
        Ok(Self {
            files: files.clone(),
            terms,
            succession,
            considered,
            staging,
            highest_trust,
            writes: true,
            accepted,
            highest,
            known,
            refused: None,
            in_vain: None,
            damaged: kept.damaged,
            reading: false,
        })
    }

    /// Accepts documents in memory only: for runs that must not write.
    #[must_use]
    pub fn without_writing(mut self) -> Self {
        self.writes = false;
        self
    }

    /// Who must vouch for a document now.
    pub fn trust(&self) -> Trust {
        self.succession.trust()
    }

    /// How trust has moved; `None`: nobody must vouch for a document.
    pub fn trust_status(&self) -> Option<TrustStatus> {
        (self.terms.trust != Trust::Nobody).then(|| self.succession.status())
    }

    /// The highest version that counts: one from before trust moved does not, where it is above the floor that it brought.
    /// So a version that was published by a stolen key, or by mistake, and after which there are none left, can be undone.
    fn highest(&self) -> Option<&DocumentId> {
        let before = self.highest_trust < self.succession.number();
        let floor = self.succession.floor().filter(|_| before);
        let highest = self.highest.as_ref();
        highest.filter(|highest| floor.is_none_or(|floor| highest.version <= floor))
    }

    /// The last document that was accepted.
    pub const fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_ref()
    }

    /// Works out whether the server `node` may take the accepted document by now: see [`Intake::standing`].
    pub fn stage(&mut self, node: &Name) -> Result<Stage, FileError> {
        let Some(accepted) = &self.accepted else {
            return Ok(Stage::Taken);
        };
        let files = self.writes.then_some(&self.files);
        self.staging.stage(files, &accepted.document, node)
    }

    /// Like [`Intake::stage`], and writes nothing: for who has only begun to look.
    pub fn look_at_stage(&mut self, node: &Name) -> Result<(), FileError> {
        let Some(accepted) = &self.accepted else {
            return Ok(());
        };
        self.staging.stage(None, &accepted.document, node).map(drop)
    }

    /// What the server goes by: the accepted document, or while it waits for its wave an older one with what all servers must
    /// share of the new one. `None`: there is none, or it is not known yet which.
    pub fn standing(&self) -> Option<&Document> {
        if self.staging.is_waiting() {
            return self.staging.staged();
        }
        self.accepted.as_ref().map(|accepted| &accepted.document)
    }

    /// Where the server is in the rollout of the accepted document, while it waits.
    pub fn waits_in(&self, node: &Name) -> Option<RolloutStatus> {
        self.staging.status(node)
    }

    /// Why the last question to the bucket brought no document that could be accepted. `None`: it did, or none was asked.
    pub const fn in_vain(&self) -> Option<&InVain> {
        self.in_vain.as_ref()
    }

    /// Takes over the document that another process of the agent has accepted and persisted, where it is newer than this
    /// one's. Returns whether it was. Only with the lock of runs.
    pub fn catch_up(&mut self) -> Result<bool, FileError> {
        let Some(meta) = persisted::load_meta(&self.files)? else {
            return Ok(false);
        };
        // An older one, or one of another fleet, is what other settings accept: this process goes by its own.
        let newer = match &self.highest {
            Some(own) => {
                own.fleet == meta.id.fleet
                    && (own.version < meta.id.version || self.highest_trust < meta.trust)
            }
            None => true,
        };
        if !newer || !self.writes {
            return Ok(false);
        }
        let present = Self::open(&self.files, self.terms.clone())?;
        if present.accepted.is_none() || present.known.is_none() {
            return Ok(false);
        }
        *self = Self {
            reading: self.reading,
            ..present
        };
        Ok(true)
    }

    /// The persisted document as it came from the bucket, byte for byte.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>, FileError> {
        match self.files.read(Path::new(DOCUMENT))? {
            Found::File { bytes, .. } => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// A run with the accepted document has ended, or is not to be made: whatever comes now is not its doing. Nothing is settled while
    /// a document is being read.
    pub fn settle(&mut self) -> Result<(), FileError> {
        if self.writes && !self.reading {
            self.considered.end(&self.files)?;
        }
        Ok(())
    }

    /// What is being read is not waited for any more: nobody died of it.
    pub const fn give_up_reading(&mut self) {
        self.reading = false;
    }

    /// Asks the bucket once. A 304 writes nothing to disk.
    ///
    /// The error is the disk's: the new document was good, could not be persisted, and is not the accepted one.
    pub async fn poll(&mut self, bucket: &Bucket) -> Result<Polled, FileError> {
        let question = self.question(bucket);
        let answer = question.ask(bucket).await;
        self.hear(question, answer)
    }

    /// What to ask the bucket now: for who does something else until the answer comes. See [`Intake::hear`].
    pub fn question(&mut self, bucket: &Bucket) -> Question {
        let source = bucket.url(KEY);
        Question {
            known: self.known_at(&source, clock::now()),
            limit: self.terms.limit,
            source,
            trust: self.succession.walk(),
            rollout: self.staging.question(self.terms.limit),
        }
    }

    /// Takes in the bucket's answer. What it means, and the error, are as for [`Intake::poll`].
    pub fn hear(
        &mut self,
        question: Question,
        answer: impl Into<Answer>,
    ) -> Result<Polled, FileError> {
        match self.receive(question, answer)? {
            Heard::Polled(polled) => Ok(polled),
            Heard::News(reading) => self.conclude(reading.read()),
        }
    }

    /// The same for who does something else while a new document is read: that is all that may take long.
    pub fn receive(
        &mut self,
        question: Question,
        answer: impl Into<Answer>,
    ) -> Result<Heard, FileError> {
        let Answer {
            document,
            trust,
            rollout,
        } = answer.into();
        let fleet = self.highest.as_ref().map(|highest| highest.fleet.clone());
        let fleet = self.terms.pinned.clone().or(fleet);
        let files = self.writes.then_some(&self.files);
        if self.succession.follow(files, trust, fleet.as_ref())? {
            // What was refused may be good now.
            self.refused = None;
        }
        if let Some(rollout) = rollout {
            self.staging.hear(files, rollout, &self.succession)?;
        }
        let polled = match document {
            Err(error) => Polled::Unreachable(advice::advised(error)),
            Ok(Fetched::Unchanged) => self.unchanged(clock::now()),
            Ok(Fetched::Object { bytes, tag }) => {
                let source = question.source;
                let known = Known { tag, source };
                if let Some(refusal) = self.known_refusal(&bytes, &known, clock::now()) {
                    Polled::Refused(refusal)
                } else {
                    let reading = Reading::new(bytes, known, self.succession.trust());
                    if self.writes {
                        self.considered.begin(&self.files, reading.digest())?;
                    }
                    crash::point("a new document is about to be read");
                    self.reading = true;
                    return Ok(Heard::News(Box::new(reading)));
                }
            }
        };
        self.in_vain = InVain::of(&polled);
        Ok(Heard::Polled(polled))
    }

    /// Takes in the document that [`Intake::receive`] has handed out, now that it is read.
    pub fn conclude(&mut self, read: Read) -> Result<Polled, FileError> {
        self.reading = false;
        let trust = self.succession.trust();
        // Others may have come to sign while it was being read.
        let read = read.for_trust(&trust);
        let polled = self.judge(read, &trust, clock::now())?;
        self.in_vain = InVain::of(&polled);
        Ok(polled)
    }

    /// The tag to ask with: of what the bucket at `source` had last, accepted or not.
    fn known_at(&mut self, source: &str, now: Timestamp) -> Option<Tag> {
        self.refused = self.refused.take().filter(|refused| {
            refused.known.source == source && refused.expired.is_none_or(|expired| expired <= now)
        });
        let last = match &self.refused {
            Some(refused) => Some(&refused.known),
            None => self.known.as_ref(),
        };
        last.filter(|known| known.source == source && !known.tag.0.is_empty())
            .map(|known| known.tag.clone())
    }

    fn unchanged(&mut self, now: Timestamp) -> Polled {
        if let Some(refused) = &self.refused {
            return Polled::Refused(refused.refusal.clone());
        }
        if let Some(accepted) = &mut self.accepted {
            accepted.confirmed = now;
        }
        Polled::Unchanged
    }

    /// Why these bytes are refused unread, if they are: they were before, or the agent died of them.
    fn known_refusal(&mut self, bytes: &[u8], known: &Known, now: Timestamp) -> Option<Refusal> {
        let digest = sha256(bytes);
        if let Some(refused) = &mut self.refused
            && refused.digest == digest
        {
            refused.known = known.clone();
            return Some(refused.refusal.clone());
        }
        let why = self.considered.refuses(digest)?;
        let refusal = Refusal {
            version: None,
            since: now,
            errors: vec![why],
        };
        self.refused = Some(Refused {
            known: known.clone(),
            digest,
            refusal: refusal.clone(),
            expired: None,
        });
        Some(refusal)
    }

    fn judge(&mut self, read: Read, trust: &Trust, now: Timestamp) -> Result<Polled, FileError> {
        let Read {
            bytes,
            known,
            digest,
            document,
            ..
        } = read;
        let bytes = bytes.as_slice();
        let number = self.succession.number();
        let standing = Standing {
            trust,
            step: self.succession.step(),
            floor: self.succession.floor(),
            fleet_before: self.highest.as_ref().map(|highest| &highest.fleet),
            pinned: self.terms.pinned.as_ref(),
            highest: self.highest(),
            has_document: self.accepted.is_some(),
            moved: self
                .known
                .as_ref()
                .is_some_and(|before| before.source != known.source),
        };
        match rules::judge(document, &standing, now) {
            Acceptance::Same(document) => {
                self.refused = None;
                if self.known.as_ref() != Some(&known) {
                    let id = document.id.clone();
                    let mut meta = Meta::new(&known.tag, &known.source, now, id, &document.signers);
                    meta.trust = number;
                    let before = self.accepted.as_ref().map(|accepted| &accepted.document);
                    let signed_anew =
                        before.is_none_or(|before| before.signatures != document.signatures);
                    if self.writes && signed_anew {
                        // The older signatures may be of keys that count no longer at the next start.
                        persisted::keep(&self.files, bytes, &meta)?;
                    } else if self.writes {
                        persisted::keep_meta(&self.files, &meta)?;
                    }
                    if let Some(accepted) = &mut self.accepted {
                        accepted.document = *document;
                    }
                    self.highest_trust = number;
                    self.known = Some(known);
                }
                self.settle()?;
                Ok(self.unchanged(now))
            }
            Acceptance::New(document) => {
                let mut meta = Meta::new(
                    &known.tag,
                    &known.source,
                    now,
                    document.id.clone(),
                    &document.signers,
                );
                meta.trust = number;
                let before = self.accepted.as_ref().map(|accepted| &accepted.document);
                let before_bytes = self.bytes()?;
                let before = before.zip(before_bytes.as_deref());
                let files = self.writes.then_some(&self.files);
                self.staging.begin(files, &document, before)?;
                crash::point("the rollout persisted, its document not");
                if self.writes {
                    if let Some(damaged) = &self.damaged {
                        persisted::set_aside(&self.files, damaged)?;
                    }
                    persisted::keep(&self.files, bytes, &meta)?;
                    self.staging.tidy(&self.files)?;
                }
                self.damaged = None;
                self.refused = None;
                self.highest = Some(document.id.clone());
                self.highest_trust = number;
                self.known = Some(known);
                self.accepted = Some(Accepted {
                    document: *document,
                    confirmed: now,
                });
                Ok(Polled::New)
            }
            Acceptance::Refused {
                version,
                errors,
                expired,
            } => {
                let refusal = Refusal {
                    version,
                    since: now,
                    errors,
                };
                self.settle()?;
                self.refused = Some(Refused {
                    known,
                    digest,
                    refusal: refusal.clone(),
                    expired,
                });
                Ok(Polled::Refused(refusal))
            }
        }
    }
}

#[cfg(test)]
mod tests;
