//! The accepted document while this box waits for its wave: which rollout, on which older document the box stands meanwhile, what
//! the bucket says of the rollout.
//!
//! What is persisted says that the box waits, never that it may go on: where it is lost, an accepted document is taken; where it is
//! damaged, the box waits. It is written before the document, and belongs to that one by its digest; where the box waited already,
//! also to the one before, for a crash between the two writes must open neither.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::older;
use super::succession::Succession;
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Fetched, Tag};
use crate::converge::rollout::{self, Progress, Read};
use crate::fleet::{Document, Name};
use crate::node::{Waves, staged};
use crate::report::{DocumentId, RolloutStatus};
use crate::system::chain;
use crate::system::digest::sha256_hex;
use crate::system::file::{FileError, Files, Found};

/// That this box waits for its wave.
pub const WAITING: &str = "/var/lib/agentd/rollout.json";
/// The document that the box stands on while it waits, byte for byte.
pub const BASE: &str = "/var/lib/agentd/document.base.json";

/// So many versions are looked at for one that a box without any can begin with.
const MOST_SEARCHED: u32 = 20;
const MODE: u32 = 0o640;

/// What is persisted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// 1.
    format: u32,
    /// The document that is waited for.
    #[serde(flatten)]
    id: DocumentId,
    /// The last wave that may take it, as far as this box has heard.
    open: u32,
    /// Why it goes no further.
    halted: Option<String>,
    /// The document that was waited for until this one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<DocumentId>,
}

impl State {
    /// Of a document of whose rollout nothing was heard yet.
    const fn new(id: DocumentId, replaces: Option<DocumentId>) -> Self {
        Self {
            format: 1,
            id,
            open: 0,
            halted: None,
            replaces,
        }
    }
}

/// What to ask the bucket for, beside the document.
#[derive(Debug, Clone)]
pub(super) struct RolloutQuestion {
    version: u64,
    known: Option<Tag>,
    /// An older version to look at, and the most bytes that it may have.
    older: Option<(u64, u64)>,
}

/// The answer.
#[derive(Debug)]
pub(super) struct RolloutAnswer {
    progress: Result<Read, BucketError>,
    older: Option<(u64, Result<Option<Older>, BucketError>)>,
}

/// An older version, and how far it went.
#[derive(Debug)]
struct Older {
    bytes: Vec<u8>,
    progress: Read,
}

impl RolloutQuestion {
    /// Asks: one request; two more where an older version is looked at.
    pub(super) async fn ask(&self, bucket: &Bucket) -> RolloutAnswer {
        let progress = rollout::read(bucket, self.version, self.known.as_ref()).await;
        let older = match self.older {
            Some((version, limit)) if progress.is_ok() => {
                Some((version, older_version(bucket, version, limit).await))
            }
            _ => None,
        };
        RolloutAnswer { progress, older }
    }
}

async fn older_version(
    bucket: &Bucket,
    version: u64,
    limit: u64,
) -> Result<Option<Older>, BucketError> {
    let bytes = match bucket
        .get(&format!("versions/{version}.json"), None, limit)
        .await
    {
        Ok(Fetched::Object { bytes, .. }) => bytes,
        Ok(Fetched::Unchanged) => return Ok(None),
        Err(error) if error.kind == BucketErrorKind::Missing => return Ok(None),
        Err(error) => return Err(error),
    };
    let progress = rollout::read(bucket, version, None).await?;
    Ok(Some(Older { bytes, progress }))
}

/// Whether this box may take the accepted document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has, long since.
    Taken,
    /// It may from now on.
    JustTaken,
    /// It waits, and stands on an older one.
    Waiting,
    /// The bucket must be asked once more before that is known.
    Undecided,
}

/// Whether the accepted document waits, and for what.
#[derive(Debug, Default)]
pub(super) struct Staging {
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    state: State,
    waves: Waves,
    /// What the box stands on meanwhile.
    base: Option<Document>,
    /// The rollout's tag, once it was heard of since the start.
    tag: Option<Tag>,
    heard: bool,
    /// The last question had no answer.
    unanswered: bool,
    /// What lies in the bucket is none.
    wrong: Option<String>,
    search: Search,
    /// What this server goes by while it waits: the older one, with what all must share of the new one.
    staged: Option<(Name, Document)>,
}

/// The search for a version to begin with.
#[derive(Debug)]
struct Search {
    next: u64,
    left: u32,
    /// A version that may be the one.
    found: Option<(Document, Vec<u8>, Progress)>,
}

impl Search {
    fn below(version: u64) -> Self {
        Self {
            next: version.saturating_sub(1),
            left: MOST_SEARCHED,
            found: None,
        }
    }

    const fn is_over(&self) -> bool {
        self.next == 0 || self.left == 0
    }

    const fn go_on(&mut self) {
        self.next = self.next.saturating_sub(1);
        self.left = self.left.saturating_sub(1);
    }
}

impl Waiting {
    fn new(state: State, waves: Waves, base: Option<Document>) -> Self {
        Self {
            search: Search::below(state.id.version),
            state,
            waves,
            base,
            tag: None,
            heard: false,
            unanswered: false,
            wrong: None,
            staged: None,
        }
    }
}

impl Staging {
    /// What was persisted about the accepted document. Writes nothing.
    pub(super) fn load(
        files: &Files,
        accepted: Option<&Document>,
        succession: &Succession,
    ) -> Result<Self, FileError> {
        let none = Self::default();
        let (Some(accepted), Found::File { bytes, .. }) =
            (accepted, files.read(Path::new(WAITING))?)
        else {
            return Ok(none);
        };
        let Some(waves) = Waves::of(&accepted.fleet) else {
            return Ok(none);
        };
        let state = match serde_json::from_slice::<State>(&bytes) {
            Ok(state) if state.id == accepted.id => state,
            Ok(state) if state.replaces.as_ref() == Some(&accepted.id) => {
                State::new(accepted.id.clone(), None)
            }
            Ok(_) => return Ok(none),
            Err(error) => {
                tracing::warn!(event = "state-damaged", path = WAITING, %error, "{WAITING} cannot be understood: this box waits for its wave of version {}: {error}", accepted.id.version);
                State::new(accepted.id.clone(), None)
            }
        };
        let base = match files.read(Path::new(BASE))? {
            Found::File { bytes, .. } => older::read(&bytes, succession),
            _ => None,
        };
        Ok(Self {
            waiting: Some(Box::new(Waiting::new(state, waves, base))),
        })
    }

    /// Called before `new` is persisted as the accepted document: from here on the box waits for its wave, where it has one.
    /// `before`: the document that was the accepted one until now, and its bytes. `files`: where to write; `None`: nowhere.
    pub(super) fn begin(
        &mut self,
        files: Option<&Files>,
        new: &Document,
        before: Option<(&Document, &[u8])>,
    ) -> Result<(), FileError> {
        let Some(waves) = Waves::of(&new.fleet) else {
            self.waiting = None;
            return Ok(());
        };
        let (base, replaces) = if let Some(waiting) = self.waiting.take() {
            // It was waiting: what it stands on stays so.
            (waiting.base, Some(waiting.state.id))
        } else {
            let before = before.filter(|(before, _)| before.id.fleet == new.id.fleet);
            if let (Some(files), Some((_, bytes))) = (files, before) {
                files.write(Path::new(BASE), bytes, MODE)?;
            }
            (before.map(|(document, _)| document.clone()), None)
        };
        let state = State::new(new.id.clone(), replaces);
        if let Some(files) = files {
            save(files, &state)?;
        }
        self.waiting = Some(Box::new(Waiting::new(state, waves, base)));
        Ok(())
    }

    /// Removes what is persisted, where nothing waits. After the document was persisted, and after it was taken.
    pub(super) fn tidy(&self, files: &Files) -> Result<(), FileError> {
        if self.waiting.is_none() {
            files.remove(Path::new(WAITING))?;
            files.remove(Path::new(BASE))?;
        }
        Ok(())
    }

    /// What to ask the bucket; at most `limit` bytes of an older version.
    pub(super) fn question(&self, limit: u64) -> Option<RolloutQuestion> {
        let waiting = self.waiting.as_ref()?;
        let searches = waiting.base.is_none()
            && waiting.heard
            && waiting.search.found.is_none()
            && !waiting.search.is_over();
        Some(RolloutQuestion {
            version: waiting.state.id.version,
            known: waiting.tag.clone(),
            older: searches.then_some((waiting.search.next, limit)),
        })
    }

    /// Takes the answer in. `files`: where to persist it.
    pub(super) fn hear(
        &mut self,
        files: Option<&Files>,
        answer: RolloutAnswer,
        succession: &Succession,
    ) -> Result<(), FileError> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(());
        };
        waiting.unanswered = false;
        let before = waiting.state.clone();
        match answer.progress {
            Ok(Read::Unchanged) => {}
            Ok(Read::Absent) => (waiting.heard, waiting.tag) = (true, None),
            Ok(Read::Object { bytes, tag }) => {
                waiting.heard = true;
                waiting.tag = Some(tag);
                let id = &waiting.state.id;
                match rollout::parse(&bytes, &id.fleet, id.version) {
                    Ok(progress) => {
                        waiting.wrong = None;
                        waiting.state.open = waiting.state.open.max(progress.open);
                        waiting.state.halted = progress.halted.map(|halt| halt.reason);
                    }
                    Err(wrong) => waiting.note_wrong(wrong.to_string()),
                }
            }
            Err(error) => {
                waiting.unanswered = true;
                tracing::warn!(
                    event = "rollout-unreachable",
                    version = waiting.state.id.version,
                    error = chain(&error),
                    "how far version {} may go cannot be read, and this box waits: {}",
                    waiting.state.id.version,
                    chain(&error)
                );
            }
        }
        let asked = (answer.older).filter(|(version, _)| *version == waiting.search.next);
        match asked {
            Some((version, Ok(found))) => {
                waiting.search.found =
                    found.and_then(|found| understand(found, version, &before.id, succession));
                if waiting.search.found.is_none() {
                    waiting.search.go_on();
                }
            }
            Some((_, Err(_))) => waiting.unanswered = true,
            None => {}
        }
        match files.filter(|_| waiting.state != before) {
            Some(files) => save(files, &waiting.state),
            None => Ok(()),
        }
    }

    /// Works out whether the server `node` may take the accepted document by now, and if not what it goes by meanwhile.
    pub(super) fn stage(
        &mut self,
        files: Option<&Files>,
        accepted: &Document,
        node: &Name,
    ) -> Result<Stage, FileError> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(Stage::Taken);
        };
        let stage = waiting.stage(files, accepted, node)?;
        if stage == Stage::JustTaken {
            self.waiting = None;
            if let Some(files) = files {
                self.tidy(files)?;
            }
        }
        Ok(stage)
    }

    /// What the server goes by while it waits. `None`: it does not wait, or has nothing to go by yet.
    pub(super) fn staged(&self) -> Option<&Document> {
        let (_, document) = self.waiting.as_ref()?.staged.as_ref()?;
        Some(document)
    }

    /// Whether the accepted document waits.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// For the status, where the box waits.
    pub(super) fn status(&self, node: &Name) -> Option<RolloutStatus> {
        let waiting = self.waiting.as_ref()?;
        Some(RolloutStatus {
            version: waiting.state.id.version,
            wave: waiting.waves.of_server(node)? + 1,
            waves: waiting.waves.count(),
            open: waiting.heard.then_some(waiting.state.open + 1),
            taken: false,
            halted: waiting
                .wrong
                .clone()
                .or_else(|| waiting.state.halted.clone()),
            waits_for: None,
        })
    }
}

impl Waiting {
    fn note_wrong(&mut self, wrong: String) {
        if self.wrong.as_ref() != Some(&wrong) {
            tracing::error!(
                event = "rollout-wrong",
                version = self.state.id.version,
                "how far version {} may go cannot be understood, and this box waits: {wrong}",
                self.state.id.version
            );
        }
        self.wrong = Some(wrong);
    }

    fn stage(
        &mut self,
        files: Option<&Files>,
        accepted: &Document,
        node: &Name,
    ) -> Result<Stage, FileError> {
        let wave = self.waves.of_server(node);
        let is_open = self.heard
            && self.wrong.is_none()
            && self.state.halted.is_none()
            && wave.is_some_and(|wave| self.state.open >= wave);
        if wave.is_none() || is_open {
            return Ok(Stage::JustTaken);
        }
        if let Some((document, bytes, progress)) = self.search.found.take() {
            let went = Waves::of(&document.fleet).is_none_or(|waves| {
                let wave = waves.of_server(node);
                progress.halted.is_none() && wave.is_none_or(|wave| progress.open >= wave)
            });
            if went {
                if let Some(files) = files {
                    files.write(Path::new(BASE), &bytes, MODE)?;
                }
                tracing::info!(
                    event = "rollout-base",
                    version = document.id.version,
                    "this box begins with version {}, until its wave may take version {}",
                    document.id.version,
                    self.state.id.version
                );
                self.base = Some(document);
            } else {
                self.search.go_on();
            }
        }
        if let Some(base) = &self.base {
            let is_made = (self.staged.as_ref()).is_some_and(|(of, _)| of == node);
            if !is_made {
                let Some(fleet) = staged(&base.fleet, &accepted.fleet, node) else {
                    return Ok(Stage::JustTaken);
                };
                let digest = format!("{}+{}", base.id.digest, accepted.id.digest);
                let document = Document {
                    fleet: Arc::new(fleet),
                    id: DocumentId {
                        digest: sha256_hex(digest.as_bytes()),
                        ..base.id.clone()
                    },
                    signatures: Vec::new(),
                    signers: base.signers.clone(),
                };
                self.staged = Some((node.clone(), document));
            }
            let undecided = !self.heard && !self.unanswered;
            return Ok(if undecided {
                Stage::Undecided
            } else {
                Stage::Waiting
            });
        }
        if self.unanswered {
            return Ok(Stage::Waiting);
        }
        if self.heard && self.search.is_over() {
            // A fleet's first version: there is nothing that it could make worse.
            return Ok(Stage::JustTaken);
        }
        Ok(Stage::Undecided)
    }
}

/// A version that a box may begin with: one of this fleet, older, signed by those who had to.
fn understand(
    found: Older,
    version: u64,
    newer: &DocumentId,
    succession: &Succession,
) -> Option<(Document, Vec<u8>, Progress)> {
    let document = older::read(&found.bytes, succession)?;
    if document.id.fleet != newer.fleet || document.id.version != version {
        return None;
    }
    let progress = match found.progress {
        Read::Object { bytes, .. } => rollout::parse(&bytes, &newer.fleet, version).ok()?,
        Read::Absent | Read::Unchanged => Progress::new(newer.fleet.clone(), version),
    };
    Some((document, found.bytes, progress))
}

fn save(files: &Files, state: &State) -> Result<(), FileError> {
    // Plain fields only: nothing here can fail to be written as JSON.
    let text = serde_json::to_vec(state).unwrap_or_default();
    files.write(Path::new(WAITING), &text, MODE).map(drop)
}

#[cfg(test)]
mod tests;
