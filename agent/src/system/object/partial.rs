//! Objects that are written bit by bit, under a name that no object has, before they stand under their own.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use super::{ObjectError, move_new, move_over};

/// What the names of such files end with.
const SUFFIX: &str = ".agentd-upload";

/// Where what will be the file at `path` is written: beside it, so that it can be moved there whole. `id` tells several
/// writers apart.
pub fn place(path: &Path, id: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(id);
    name.push(SUFFIX);
    path.with_file_name(name)
}

/// The name of the file that this one is to be, and the id, where `name` is one of [`place`]'s.
pub fn parse(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix('.')?
        .strip_suffix(SUFFIX)?
        .rsplit_once('.')
}

/// Makes an empty one, and its directory. An error where it exists.
pub fn begin(partial: &Path) -> Result<(), ObjectError> {
    let dir = partial.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).map_err(ObjectError::io("make the directory of", partial))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(partial)
        .map(drop)
        .map_err(ObjectError::io("write", partial))
}

/// Writes at the byte `at`, in place of all that stands from there on. It is an error where less than that was written.
pub fn write(partial: &Path, at: u64, bytes: &[u8]) -> Result<(), ObjectError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).open(partial)?;
        if file.metadata()?.len() < at {
            return Err(io::Error::other("what was written before is gone"));
        }
        file.set_len(at)?;
        file.seek(io::SeekFrom::Start(at))?;
        file.write_all(bytes)?;
        // Now, and not all at once when it is complete.
        file.sync_data()
    };
    write().map_err(ObjectError::io("write", partial))
}

/// Makes it the file at `path`, atomically and durably; `new`: which must not exist. Under [`super::lock`] only.
pub fn complete(partial: &Path, path: &Path, new: bool) -> Result<(), ObjectError> {
    let complete = || {
        File::open(partial)?.sync_all()?;
        if new {
            move_new(partial, path)?;
        } else {
            move_over(partial, path)?;
        }
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    complete().map_err(ObjectError::io("write", path))
}
