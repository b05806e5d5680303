//! Archives of code: unpacked into a directory that nobody else can enter meanwhile, bounded in everything, never out of it.
//!
//! Not where they come from, and not what becomes of the directory.

mod entry;
mod partial;
mod tree;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::bufread::MultiGzDecoder;

pub use partial::{Arrived, Arriving};

use self::entry::{Entries, Entry, What};
use self::tree::Tree;
use super::chain;
use super::file::{FileError, Files};

/// The most memory of a zstd window, as a power of two: 128 MiB, what `zstd` itself takes without being told.
const LARGEST_WINDOW: u32 = 27;

/// What is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// How much an archive may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, unpacked: all of the tar file, its headers and padding included.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Time.
    pub time: Duration,
}

impl Limits {
    /// Of a release.
    pub const RELEASE: Self = Self {
        bytes: 16 * 1024 * 1024 * 1024,
        entries: 200_000,
        time: Duration::from_mins(30),
    };
}

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// By zstd.
    Zstd,
    /// By gzip.
    Gzip,
}

impl Packing {
    /// By the end of a name: `.tar.zst`, `.tar.gz` or `.tgz`.
    pub fn of(name: &str) -> Option<Self> {
        let gzip = [".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end));
        match (name.ends_with(".tar.zst"), gzip) {
            (true, _) => Some(Self::Zstd),
            (_, true) => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// To whom what is unpacked belongs, what is left out of it, and who may stop it.
#[derive(Debug)]
pub struct Terms<'t> {
    /// Its bounds.
    pub limits: Limits,
    /// User and group; `None`: whoever unpacks.
    pub owner: Option<(u32, u32)>,
    /// Links that stand in it, each by its path and with what it points to: what the archive has there is passed over.
    pub stand_ins: &'t [(String, String)],
    /// How far it is, and whether it is to go on.
    pub progress: &'t Progressing,
}

/// How far an archive is, told across threads.
#[derive(Debug, Default)]
pub struct Progressing {
    /// Bytes unpacked.
    pub bytes: AtomicU64,
    /// Files, directories and links unpacked.
    pub entries: AtomicU64,
    /// Nobody waits for it any more.
    pub stop: AtomicBool,
}

/// What came of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of its files.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// One line a file or link, in the order of the archive: see [`compare`]. `None`: too long to be kept.
    pub list: Option<String>,
}

/// An archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// An entry of it is not taken.
    #[error("{entry}: {why}")]
    Refused {
        /// Its name, made fit for a line.
        entry: String,
        /// Why.
        why: String,
    },
    /// It is more than it may be.
    #[error("{0}")]
    TooMuch(String),
    /// It is not what its name says, or damaged.
    #[error("the archive cannot be read: {0}")]
    Damaged(String),
    /// It took too long, or nobody waits for it any more.
    #[error("{0}")]
    Stopped(String),
    /// The file system did not take it: full, read-only.
    #[error("cannot write {path}")]
    Write {
        /// Which entry.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The place to unpack to, or the archive, is out of reach.
    #[error(transparent)]
    File(#[from] FileError),
}

impl UnpackError {
    /// Whether it is the archive's fault, and would fail again.
    pub const fn is_of_archive(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::TooMuch(_) | Self::Damaged(_)
        )
    }
}

/// Unpacks `archive` into the directory `into`, which must not be there: it is made, for root alone until all is in it.
/// Then it is synced, and has its owner. Blocks; a failure leaves what is there by then: see [`Files::remove_tree`].
///
/// Permission bits are the archive's, without those by which others than the owner may write. What an archive of one top
/// directory has in it stays in that directory.
pub fn unpack(
    archive: File,
    packing: Packing,
    files: &Files,
    into: &Path,
    terms: &Terms<'_>,
) -> Result<Unpacked, UnpackError> {
    let packed = BufReader::with_capacity(CHUNK, archive);
    let reader: Box<dyn Read> = match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Packing::Zstd => {
            let mut decoder =
                zstd::Decoder::with_buffer(packed).map_err(|error| damaged(&error))?;
            decoder
                .window_log_max(LARGEST_WINDOW)
                .map_err(|error| damaged(&error))?;
            Box::new(decoder)
        }
    };
    let until = Instant::now() + terms.limits.time;
    let reader = Bounded {
        reader,
        left: terms.limits.bytes,
        until,
        progress: terms.progress,
    };
    let tree = Tree::make(files, into, terms.owner)?;
    write(reader, tree, terms)
}

fn write(reader: Bounded<'_>, mut tree: Tree, terms: &Terms<'_>) -> Result<Unpacked, UnpackError> {
    let mut archive = tar::Archive::new(reader);
    let mut entries = Entries::new(&mut archive).map_err(read_error)?;
    let mut count = 0_u64;
    while let Some(entry) = entries.next(terms.stand_ins)? {
        count += 1;
        if count > terms.limits.entries {
            return Err(UnpackError::TooMuch(format!(
                "the archive has more than {} files, directories and links",
                terms.limits.entries
            )));
        }
        let Entry { path, what } = entry;
        match what {
            What::Passed => continue,
            What::Directory { mode } => tree.directory(&path, mode)?,
            What::File {
                mode,
                size,
                mut content,
            } => {
                tree.file(&path, mode, size, &mut content, &read_error)?;
            }
            What::Symlink { target } => tree.symlink(&path, &target)?,
            What::HardLink { target } => tree.hard_link(&path, &target)?,
        }
        terms.progress.entries.store(count, Ordering::Relaxed);
    }
    if count == 0 {
        return Err(UnpackError::Damaged("it is empty".into()));
    }
    for (path, target) in terms.stand_ins {
        tree.symlink(path, target)?;
    }
    tree.finish(count)
}

fn damaged(error: &io::Error) -> UnpackError {
    UnpackError::Damaged(chain(error))
}

/// What reading the archive came to: bounds of the reader are passed through it as errors.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn read_error(error: io::Error) -> UnpackError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(one) = source {
        if let Some(bound) = one.downcast_ref::<Bound>() {
            return bound.error();
        }
        if let Some(io) = one.downcast_ref::<io::Error>()
            && let Some(bound) = io.get_ref().and_then(|inner| inner.downcast_ref::<Bound>())
        {
            return bound.error();
        }
        source = one.source();
    }
    damaged(&error)
}

/// A bound that was reached while reading.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Bound {
    #[error("too large")]
    Size,
    #[error("too late")]
    Time,
    #[error("stopped")]
    Stop,
}

impl Bound {
    fn error(self) -> UnpackError {
        match self {
            Self::Size => UnpackError::TooMuch(
                "the archive is larger, unpacked, than a release may be (16 GiB)".into(),
            ),
            Self::Time => UnpackError::Stopped(
                "unpacking took longer than half an hour: is the disk overloaded?".into(),
            ),
            Self::Stop => UnpackError::Stopped("the agent is stopping".into()),
        }
    }
}

/// What comes out of the packing, as far as the limits go.
struct Bounded<'t> {
    reader: Box<dyn Read>,
    left: u64,
    until: Instant,
    progress: &'t Progressing,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(Bound::Stop));
        }
        if Instant::now() >= self.until {
            return Err(io::Error::other(Bound::Time));
        }
        let most = buffer.len().min(CHUNK);
        let read = self
            .reader
            .read(buffer.get_mut(..most).unwrap_or_default())?;
        let bytes = read as u64;
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| io::Error::other(Bound::Size))?;
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(read)
    }
}

/// A file or link that is otherwise than its list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// Its path within the tree.
    pub path: String,
    /// How it is otherwise.
    pub what: String,
}

/// Compares the tree `at` with the list of what was unpacked there: at most `most` deviations, and how many files and links
/// were looked at. What came beside them is not looked at. Blocks.
pub fn compare(
    files: &Files,
    at: &Path,
    list: &str,
    most: usize,
) -> Result<(u64, Vec<Deviation>), FileError> {
    tree::compare(files, at, list, most)
}
