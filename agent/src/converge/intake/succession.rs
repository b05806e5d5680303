//! Who must vouch for a document on this box: first as the settings say, then as each `trust/N.json` of the bucket says that
//! those have signed who had to until then. It is persisted, and never goes back.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Terms;
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Fetched};
use crate::fleet::Name;
use crate::fleet::signing::{Generation, Keyring, TRUST_LIMIT, Trust};
use crate::report::TrustStatus;
use crate::system::chain;
use crate::system::file::{FileError, Files, Found};

/// What a box remembers of the generations that it has followed.
pub const TRUST: &str = "/var/lib/agentd/trust.json";

/// So many steps are walked in one poll; the next poll goes on from there.
const MOST_STEPS: u64 = 16;
/// Where no document calls for it, the bucket is asked so often whether trust has moved.
const ASK_EVERY: Duration = Duration::from_mins(15);
/// So many generations are remembered: documents that were accepted under older ones are long replaced.
const REMEMBERED: usize = 16;
/// Whose trust it is, is root's business; who is trusted, everybody's.
const MODE: u32 = 0o644;

/// What is persisted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// 1.
    format: u32,
    /// The oldest first.
    generations: Vec<Generation>,
}

/// Who must vouch for a document now, and who had to before.
#[derive(Debug)]
pub(super) struct Succession {
    /// As the settings say; the generation of its keys is `first`.
    settings: Trust,
    first: u64,
    step: u64,
    /// Those that were followed since, or before the settings were written anew.
    followed: Vec<Generation>,
    /// When the bucket was asked last.
    asked: Option<Instant>,
    /// Why the next generation that lies in the bucket is not followed.
    refused: Option<String>,
}

/// What to ask the bucket for, beside the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    from: u64,
    /// Ask also where the document is the one that is known.
    due: bool,
}

/// What the bucket has of the generations that follow.
#[derive(Debug, Default)]
pub(super) struct Walked {
    files: Vec<(u64, Vec<u8>)>,
    asked: bool,
    error: Option<BucketError>,
}

impl Walk {
    /// Asks for them, one after the other, until there is no next one.
    pub(super) async fn walk(self, bucket: &Bucket, news: bool) -> Walked {
        let mut walked = Walked::default();
        if !news && !self.due {
            return walked;
        }
        walked.asked = true;
        for number in self.from..self.from.saturating_add(MOST_STEPS) {
            match bucket
                .get(&Generation::object(number), None, TRUST_LIMIT)
                .await
            {
                Ok(Fetched::Object { bytes, .. }) => walked.files.push((number, bytes)),
                Ok(Fetched::Unchanged) => break,
                Err(error) if error.kind == BucketErrorKind::Missing => break,
                Err(error) => {
                    walked.error = Some(error);
                    break;
                }
            }
        }
        walked
    }
}

impl Succession {
    /// As the settings say, and as this box has followed it since.
    pub(super) fn load(files: &Files, terms: &Terms) -> Result<Self, FileError> {
        let mut succession = Self {
            settings: terms.trust.clone(),
            first: terms.generation,
            step: terms.version_step,
            followed: Vec::new(),
            asked: None,
            refused: None,
        };
        if succession.settings == Trust::Nobody {
            return Ok(succession);
        }
        let Found::File { bytes, .. } = files.read(Path::new(TRUST))? else {
            return Ok(succession);
        };
        match serde_json::from_slice::<State>(&bytes) {
            // Settings that name later keys than this box has found are newer than its state; others never lead back.
            Ok(state)
                if state
                    .generations
                    .last()
                    .is_some_and(|last| last.number >= terms.generation) =>
            {
                succession.followed = state.generations;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(
                event = "trust-not-read",
                path = TRUST,
                %error,
                "who signs now cannot be read from {TRUST}; going on from the keys of agentd.toml: {error}"
            ),
        }
        Ok(succession)
    }

    /// The newest generation that was followed; `None`: the settings' own.
    pub(super) fn generation(&self) -> Option<&Generation> {
        self.followed.last()
    }

    /// The newest generation's number, be it followed or the settings'.
    pub(super) fn number(&self) -> u64 {
        self.generation().map_or(self.first, |last| last.number)
    }

    fn keyring(&self) -> Option<&Keyring> {
        match (&self.settings, self.generation()) {
            (Trust::Nobody, _) => None,
            (Trust::Keys(_), Some(last)) => Some(&last.keyring),
            (Trust::Keys(keyring), None) => Some(keyring),
        }
    }

    /// Who must vouch for a document now.
    pub(super) fn trust(&self) -> Trust {
        self.keyring()
            .map_or(Trust::Nobody, |keyring| Trust::Keys(keyring.clone()))
    }

    /// Who had to vouch for a document that was accepted under this generation; now, where that is not remembered.
    pub(super) fn trust_at(&self, number: u64) -> Trust {
        if self.settings == Trust::Nobody {
            return Trust::Nobody;
        }
        if number == self.first && !self.followed.is_empty() {
            return self.settings.clone();
        }
        let then = self.followed.iter().find(|one| one.number == number);
        then.map_or_else(|| self.trust(), |one| Trust::Keys(one.keyring.clone()))
    }

    /// How far a version may be above the one before.
    pub(super) fn step(&self) -> u64 {
        let said = self.generation().and_then(|last| last.version_step);
        said.unwrap_or(self.step)
    }

    /// The version below which none is taken.
    pub(super) fn floor(&self) -> Option<u64> {
        self.generation().map(|last| last.version_floor)
    }

    /// For reports.
    pub(super) fn status(&self) -> TrustStatus {
        TrustStatus {
            generation: self.number(),
            expires: self.generation().and_then(|last| last.expires),
            refused: self.refused.clone(),
        }
    }

    /// What to ask the bucket for now; `None`: nobody must vouch for anything.
    pub(super) fn walk(&self) -> Option<Walk> {
        self.keyring()?;
        Some(Walk {
            from: self.number().saturating_add(1),
            due: self.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY),
        })
    }

    /// Follows what the bucket has. Returns whether trust has moved; persists it before anything goes by it.
    pub(super) fn follow(
        &mut self,
        files: Option<&Files>,
        walked: Walked,
        fleet: Option<&Name>,
    ) -> Result<bool, FileError> {
        if let Some(error) = &walked.error {
            // The document is judged by those who are trusted so far: whoever hides a file from a box could hide all.
            tracing::warn!(
                event = "trust-not-asked",
                error = chain(error),
                "whether others sign now is not known: {}",
                chain(error)
            );
            return Ok(false);
        }
        if !walked.asked {
            return Ok(false);
        }
        // A box that slept long is not done in one poll.
        let more = walked.files.len() as u64 == MOST_STEPS;
        self.asked = (!more).then(Instant::now);
        let before = self.followed.len();
        let mut refused = None;
        let mut followed = self.followed.clone();
        for (number, bytes) in walked.files {
            let keyring = followed
                .last()
                .map(|last| &last.keyring)
                .or_else(|| self.keyring());
            let Some(keyring) = keyring else { break };
            match Generation::read(&bytes, number, keyring, fleet) {
                Ok(generation) => followed.push(generation),
                Err(error) => {
                    refused = Some(format!("{}: {error}", Generation::object(number)));
                    break;
                }
            }
        }
        if refused != self.refused
            && let Some(refused) = &refused
        {
            tracing::error!(
                event = "trust-refused",
                "a change of who signs was refused, and {} of before go on to count: {refused}",
                self.trust().in_short()
            );
        }
        self.refused = refused;
        if followed.len() == before {
            return Ok(false);
        }
        for generation in followed.iter().skip(before) {
            tracing::info!(
                event = "trust-moved",
                generation = generation.number,
                "others sign from now on: {generation}"
            );
        }
        let surplus = followed.len().saturating_sub(REMEMBERED);
        followed.drain(..surplus);
        if let Some(files) = files {
            let state = State {
                format: 1,
                generations: followed.clone(),
            };
            // Plain fields only: nothing here can fail to be written as JSON.
            let text = serde_json::to_vec_pretty(&state).unwrap_or_default();
            files.write(Path::new(TRUST), &text, MODE)?;
        }
        self.followed = followed;
        Ok(true)
    }
}
