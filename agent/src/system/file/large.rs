//! Files that are not kept in memory: looked at by their digest, copied in pieces.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::sys::stat::FileStat;

use super::{Attributes, FileError, Files, Found, Keep};
use crate::system::digest::Sha256;

/// How much is in memory at once, in bytes.
const PIECE: usize = 64 * 1024;

impl Files {
    /// The largest file that [`Files::read_small`] keeps in memory, in bytes. What the agent writes mostly has a few thousand;
    /// what has more than this was mostly put there by somebody else.
    pub const SMALL: u64 = 1024 * 1024;

    /// What stands at `path`, content included where that has at most [`Files::SMALL`] bytes; of larger files the digest. Those
    /// of more than [`Files::READ_LIMIT`] are an error all the same.
    pub fn read_small(&self, path: &Path) -> Result<Found, FileError> {
        match self.parent("read", path)? {
            Some((dir, name)) => self.read_at(&dir, name, path, Self::SMALL),
            None => Ok(self.absent(path)),
        }
    }

    /// Copies the file `from`, of which the content has this SHA-256, to `to`, durably and with the permission bits `mode`, in
    /// pieces. An error where that is not what stands there by now.
    pub fn copy(&self, from: &Path, digest: &str, to: &Path, mode: u32) -> Result<(), FileError> {
        let failed = |source: io::Error| FileError::io("copy", from, source);
        let mut source = self.open(from)?.take(Self::READ_LIMIT + 1);
        let mut staged = self.stage_as(to, b"", Keep::Present(mode))?;
        let mut copied = Sha256::new();
        pieces(&mut source, |piece| {
            copied.update(piece);
            staged.append(piece)
        })
        .map_err(failed)?;
        if copied.finish_hex() != digest {
            return Err(failed(io::Error::other(
                "somebody writes it in this moment; that is looked at again",
            )));
        }
        staged.sync().map_err(failed)?;
        staged.commit().map(drop)
    }
}

/// How many bytes a file has.
pub(super) fn size(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// A file by its digest.
pub(super) fn digested(file: File, stat: &FileStat, path: &Path) -> Result<Found, FileError> {
    let mut digest = Sha256::new();
    let mut size = 0_u64;
    pieces(&mut file.take(Files::READ_LIMIT + 1), |piece| {
        digest.update(piece);
        size += piece.len() as u64;
        Ok(())
    })
    .map_err(|source| FileError::io("read", path, source))?;
    if size > Files::READ_LIMIT {
        return Err(FileError::TooLarge {
            path: path.into(),
            limit: Files::READ_LIMIT,
        });
    }
    Ok(Found::Large {
        size,
        digest: digest.finish_hex(),
        attributes: Attributes::of(stat),
    })
}

/// Reads to the end, piece by piece.
fn pieces(source: &mut impl Read, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => take(piece.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
