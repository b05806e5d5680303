//! What the file system under a path has left, and what it forbids.

use std::io;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

/// What a file system has left, for root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its size in bytes.
    pub size: u64,
    /// Bytes free.
    pub free: u64,
    /// Inodes; 0 where it does not count them.
    pub inodes: u64,
    /// Inodes free.
    pub free_inodes: u64,
    /// Mounted read-only.
    pub read_only: bool,
}

/// The room under `path`, which must exist.
pub fn room(path: &Path) -> io::Result<Room> {
    let told = statvfs(path)?;
    let unit = told.fragment_size();
    Ok(Room {
        size: told.blocks().saturating_mul(unit),
        free: told.blocks_free().saturating_mul(unit),
        inodes: told.files(),
        free_inodes: told.files_free(),
        read_only: told.flags().contains(FsFlags::ST_RDONLY),
    })
}

/// What `chattr` has set on a file or directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Neither it nor what is in it can be replaced.
    pub immutable: bool,
    /// It can only grow.
    pub append_only: bool,
}

/// The marks of `path`; a link is not followed. None where the file system knows of no marks.
pub fn marks(path: &Path) -> io::Result<Marks> {
    let told = statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS,
    )?;
    let has = |mark| told.stx_attributes.contains(mark);
    Ok(Marks {
        immutable: has(StatxAttributes::IMMUTABLE),
        append_only: has(StatxAttributes::APPEND),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_room_and_a_new_file_no_marks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let room = room(file.path()).unwrap();
        assert!(
            room.size > 0 && room.free <= room.size && !room.read_only,
            "{room:?}"
        );
        assert_eq!(marks(file.path()).unwrap(), Marks::default());
        assert!(super::room(Path::new("/nowhere/at/all")).is_err());
        // The kernel's own files: /proc counts no room, and nobody can write to it.
        assert_eq!(super::room(Path::new("/proc")).unwrap().size, 0);
    }
}
