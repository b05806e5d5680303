//! A file that comes in pieces and may be interrupted: what is there of it is the beginning of what is wanted.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::CHUNK;
use crate::system::digest::Sha256;
use crate::system::file::{FileError, Files};

/// A file on its way, with the SHA-256 of what has come.
pub struct Arriving {
    files: Files,
    path: PathBuf,
    partial: PathBuf,
    file: File,
    size: u64,
    hash: Sha256,
}

/// What has come, whole.
#[derive(Debug)]
pub struct Arrived {
    arriving: Arriving,
    /// Its SHA-256.
    pub sha256: String,
}

impl std::fmt::Debug for Arriving {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = &mut out.debug_struct("Arriving");
        fields
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Arriving {
    /// Goes on with what is there of the file that is to be at `path`, or begins it. At most `most` bytes are taken for its
    /// beginning; more is somebody else's, and it is begun anew. Blocks: what is there is read.
    pub fn open(files: &Files, path: &Path, most: u64) -> Result<Self, FileError> {
        let mut partial = path.to_path_buf().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let mut file = files.open_to_append(&partial, 0o600)?;
        let failed = |source| FileError::Io {
            operation: "read",
            path: partial.clone(),
            source,
        };
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = file.read(&mut chunk).map_err(failed)?;
            if read == 0 {
                break;
            }
            size += read as u64;
            if size > most {
                break;
            }
            hash.update(chunk.get(..read).unwrap_or_default());
        }
        let mut arriving = Self {
            files: files.clone(),
            path: path.into(),
            partial,
            file,
            size,
            hash,
        };
        if size > most {
            arriving.begin_anew()?;
        }
        Ok(arriving)
    }

    /// How many bytes have come.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a piece.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(piece)
            .map_err(|source| self.failed("write", source))?;
        self.hash.update(piece);
        self.size += piece.len() as u64;
        Ok(())
    }

    /// Forgets what has come.
    pub fn begin_anew(&mut self) -> Result<(), FileError> {
        self.file
            .set_len(0)
            .map_err(|source| self.failed("write", source))?;
        self.size = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    /// All of it has come.
    pub fn end(self) -> Arrived {
        let sha256 = self.hash.clone().finish_hex();
        Arrived {
            arriving: self,
            sha256,
        }
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> FileError {
        FileError::Io {
            operation,
            path: self.partial.clone(),
            source,
        }
    }
}

impl Arrived {
    /// It is what was wanted: it gets its name, durably.
    pub fn keep(self) -> Result<(), FileError> {
        let arriving = self.arriving;
        arriving
            .file
            .sync_all()
            .map_err(|source| arriving.failed("sync", source))?;
        arriving.files.rename(&arriving.partial, &arriving.path)
    }

    /// It is not.
    pub fn forget(self) -> Result<(), FileError> {
        self.arriving.files.remove(&self.arriving.partial)
    }
}
