//! The agent's own state on disk: small JSON files under `/var/lib/agentd`, each replaced as a whole.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::settings::STATE_DIR;
use crate::system::file::{FileError, Files, Found};

/// Reads a state file. One that cannot be understood counts as missing, with a warning: state is
/// rebuilt from the document and the disk, so that a damaged file never keeps a box from converging.
pub(super) fn load<T: DeserializeOwned>(files: &Files, name: &str) -> Result<Option<T>, FileError> {
    match files.read(&path(name)) {
        Ok(Found::File { bytes, .. }) => match serde_json::from_slice(&bytes) {
            Ok(state) => Ok(Some(state)),
            Err(error) => {
                damaged(name, &error);
                Ok(None)
            }
        },
        Ok(_) => Ok(None),
        Err(error @ FileError::TooLarge { .. }) => {
            damaged(name, &error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Says that a state file cannot be understood.
pub(super) fn damaged(name: &str, error: &dyn std::error::Error) {
    tracing::warn!(event = "state-damaged", path = %path(name).display(), error = %error, "{} cannot be understood; going on without it: {error}", path(name).display());
}

/// Replaces a state file. What could not be read again is not written.
pub(super) fn save<T: Serialize>(files: &Files, name: &str, state: &T) -> Result<(), FileError> {
    let path = path(name);
    let bytes = serde_json::to_vec(state).map_err(|error| FileError::Io {
        operation: "write",
        path: path.clone(),
        source: error.into(),
    })?;
    if bytes.len() as u64 > Files::READ_LIMIT {
        return Err(FileError::TooLarge {
            path,
            limit: Files::READ_LIMIT,
        });
    }
    files.write(&path, &bytes, 0o640).map(drop)
}

/// Where a state file stands.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(STATE_DIR).join(name)
}
