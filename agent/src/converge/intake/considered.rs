//! Which document is being taken, on disk before anything of it is read, until a run with it has ended: so a box that dies of
//! one, again and again, knows after the second time, and goes on with the one before.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::system::file::{FileError, Files, Found};

/// The document that is being taken.
const CONSIDERED: &str = "/var/lib/agentd/considered.json";
/// The document that the box stood on before the present one, byte for byte.
pub const BEFORE: &str = "/var/lib/agentd/document.before.json";

/// So many deaths are none of chance.
const MOST_DEATHS: u32 = 2;
const MODE: u32 = 0o640;

/// What is persisted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// 1.
    format: u32,
    /// SHA-256 of its bytes, in hexadecimal.
    digest: String,
    /// How often the daemon died while it took it.
    deaths: u32,
}

/// The document that is being taken, or that is taken no more.
#[derive(Debug, Default)]
pub(super) struct Considered {
    state: Option<State>,
}

/// Called by a daemon that starts, before it reads any document: if the one before it died while it took one, that is counted.
pub fn note_start(files: &Files) -> Result<(), FileError> {
    let Some(mut state) = load(files)? else {
        return Ok(());
    };
    if state.deaths >= MOST_DEATHS {
        return Ok(());
    }
    state.deaths += 1;
    tracing::warn!(
        event = "died-of-a-document",
        deaths = state.deaths,
        "the agent ended without notice while it took a document, {}",
        match state.deaths {
            1 => "for the first time: it is tried once more",
            _ => "for the second time: it is not taken any more",
        }
    );
    save(files, &state)
}

fn load(files: &Files) -> Result<Option<State>, FileError> {
    let Found::File { bytes, .. } = files.read(Path::new(CONSIDERED))? else {
        return Ok(None);
    };
    // What cannot be read counts nothing: it is written anew with the next document.
    Ok(serde_json::from_slice(&bytes).ok())
}

fn save(files: &Files, state: &State) -> Result<(), FileError> {
    // Plain fields only: nothing here can fail to be written as JSON.
    let text = serde_json::to_vec(state).unwrap_or_default();
    files.write(Path::new(CONSIDERED), &text, MODE).map(drop)
}

impl Considered {
    pub(super) fn load(files: &Files) -> Result<Self, FileError> {
        Ok(Self {
            state: load(files)?,
        })
    }

    /// Why a document is not taken any more, if it is not.
    pub(super) fn refuses(&self, digest: [u8; 32]) -> Option<String> {
        let state = self.state.as_ref()?;
        let banned = state.deaths >= MOST_DEATHS && state.digest == hex::encode(digest);
        banned.then(|| {
            format!(
                "the agent died {} times while it took this document, and goes on with the one before; publish another version, and tell \
                 node-agent's people (to have this box try it again: stop agentd, remove {CONSIDERED}, start it)",
                state.deaths
            )
        })
    }

    /// Remembers that this one is being taken.
    pub(super) fn begin(&mut self, files: &Files, digest: [u8; 32]) -> Result<(), FileError> {
        let digest = hex::encode(digest);
        if self
            .state
            .as_ref()
            .is_some_and(|state| state.digest == digest)
        {
            return Ok(());
        }
        let state = State {
            format: 1,
            digest,
            deaths: 0,
        };
        save(files, &state)?;
        self.state = Some(state);
        Ok(())
    }

    /// It was taken, or refused, and nobody died of it.
    pub(super) fn end(&mut self, files: &Files) -> Result<(), FileError> {
        if self
            .state
            .as_ref()
            .is_some_and(|state| state.deaths < MOST_DEATHS)
        {
            files.remove(Path::new(CONSIDERED))?;
            self.state = None;
        }
        Ok(())
    }
}
