//! What a log gets from a moment on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The most bytes that are read of it.
const LIMIT: u64 = 64 * 1024;

/// A log, and how long it was.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    from: u64,
}

impl Tail {
    /// From now on. A log that is not there yet is empty.
    pub fn now(path: &Path) -> Self {
        Self {
            path: path.into(),
            from: path.metadata().map_or(0, |meta| meta.len()),
        }
    }

    /// What was added since; the whole log where it was started anew. Nothing where it cannot be read.
    pub fn added(&self) -> String {
        self.read().unwrap_or_default()
    }

    fn read(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        let from = if file.metadata()?.len() < self.from {
            0
        } else {
            self.from
        };
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The last bytes of a log. Nothing where it cannot be read.
pub fn last(path: &Path, bytes: u64) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut end = Vec::new();
        file.take(bytes).read_to_end(&mut end)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&end).into_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn only_what_was_added_since_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let absent = Tail::now(&path);
        assert_eq!(absent.added(), "");
        let mut log = File::create(&path).unwrap();
        log.write_all(b"before\n").unwrap();
        let tail = Tail::now(&path);
        log.write_all(b"after\n").unwrap();
        assert_eq!(tail.added(), "after\n");
        assert_eq!(absent.added(), "before\nafter\n");
        File::create(&path).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(tail.added(), "new\n");
    }
}
