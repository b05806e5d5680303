//! The entries of an archive: what each is, and that it is nothing that could reach out of the tree. Writes nothing.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::Read;

use icu_normalizer::ComposingNormalizerBorrowed;
use tar::EntryType;

use super::{Bounded, UnpackError, read_error};

/// The longest path within an archive, in bytes.
const LONGEST_PATH: usize = 1024;
/// The longest name in it, in bytes: the file system's own limit.
const LONGEST_NAME: usize = 255;
/// The deepest that directories nest.
const DEEPEST: usize = 64;
/// What extended headers may have, in bytes.
const LONGEST_HEADER: u64 = 64 * 1024;
/// Bits by which a program runs as somebody else.
const SET_ID: u32 = 0o6000;

/// One entry, whose path is fit to be written.
pub(super) struct Entry<'e, 'p> {
    /// From the top of the tree, without `.` and `..`.
    pub path: String,
    pub what: What<'e, 'p>,
}

/// What an entry is.
pub(super) enum What<'e, 'p> {
    /// Nothing that is to be written.
    Passed,
    Directory {
        mode: u32,
    },
    File {
        mode: u32,
        size: u64,
        content: Box<tar::Entry<'e, Bounded<'p>>>,
    },
    Symlink {
        target: String,
    },
    /// `target` from the top of the tree.
    HardLink {
        target: String,
    },
}

/// What extended headers say of the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// The entries, one after the other.
pub(super) struct Entries<'e, 'p> {
    entries: tar::Entries<'e, Bounded<'p>>,
    seen: Seen,
}

impl<'e, 'p> Entries<'e, 'p> {
    pub fn new(archive: &'e mut tar::Archive<Bounded<'p>>) -> std::io::Result<Self> {
        // Raw: the library would read extended headers of any length into memory.
        let entries = archive.entries()?.raw(true);
        Ok(Self {
            entries,
            seen: Seen::default(),
        })
    }

    pub fn next(
        &mut self,
        stand_ins: &[(String, String)],
    ) -> Result<Option<Entry<'e, 'p>>, UnpackError> {
        let mut extended = Extended::default();
        loop {
            let Some(entry) = self.entries.next() else {
                return Ok(None);
            };
            let mut entry = entry.map_err(read_error)?;
            match entry.header().entry_type() {
                EntryType::GNULongName => extended.path = Some(long(&mut entry)?),
                EntryType::GNULongLink => extended.link = Some(long(&mut entry)?),
                EntryType::XHeader => extended.read(&long(&mut entry)?)?,
                // What it says of all entries (the commit, in archives of git) concerns no path.
                EntryType::XGlobalHeader => drop(long(&mut entry)?),
                _ => return self.judge(entry, extended, stand_ins).map(Some),
            }
        }
    }

    fn judge(
        &mut self,
        entry: tar::Entry<'e, Bounded<'p>>,
        extended: Extended,
        stand_ins: &[(String, String)],
    ) -> Result<Entry<'e, 'p>, UnpackError> {
        let header = entry.header();
        let bytes = extended
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let path = path(&bytes)?;
        let refuse = |why: String| refused(&bytes, why);
        if path.is_empty() {
            return Ok(Entry {
                path,
                what: What::Passed,
            });
        }
        let is_passed = stand_ins
            .iter()
            .any(|(other, _)| is_at_or_under(&path, other));
        let kind = header.entry_type();
        let mode = header
            .mode()
            .map_err(|error| UnpackError::Damaged(error.to_string()))?;
        if mode & SET_ID != 0 && (kind.is_file() || kind.is_dir()) {
            return Err(refuse(format!(
                "it is setuid or setgid ({:04o}): no file of a release runs as somebody else",
                mode & 0o7777
            )));
        }
        let mode = mode & 0o755;
        let link = extended
            .link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let what = match kind {
            EntryType::Directory => What::Directory { mode },
            EntryType::Regular => {
                let size = header
                    .size()
                    .map_err(|error| UnpackError::Damaged(error.to_string()))?;
                What::File {
                    mode,
                    size,
                    content: Box::new(entry),
                }
            }
            EntryType::Symlink => {
                let link = link.unwrap_or_default();
                let target = symlink_target(&path, &link).map_err(refuse)?;
                What::Symlink { target }
            }
            EntryType::Link => {
                let target = link.unwrap_or_default();
                let target = self::path(&target)
                    .map_err(|error| refuse(format!("a hard link that leads out: {error}")))?;
                What::HardLink { target }
            }
            EntryType::Char | EntryType::Block => return Err(refuse("it is a device".into())),
            EntryType::Fifo => return Err(refuse("it is a FIFO".into())),
            EntryType::GNUSparse => {
                return Err(refuse(
                    "it is a sparse file: pack it without --sparse".into(),
                ));
            }
            other => {
                return Err(refuse(format!(
                    "it is of a kind that releases do not have ({:?})",
                    char::from(other.as_byte())
                )));
            }
        };
        let is_directory = matches!(what, What::Directory { .. });
        self.seen.note(&path, is_directory).map_err(refuse)?;
        if is_passed {
            return Ok(Entry {
                path,
                what: What::Passed,
            });
        }
        Ok(Entry { path, what })
    }
}

/// The content of an extended header, bounded.
fn long(entry: &mut tar::Entry<'_, Bounded<'_>>) -> Result<Vec<u8>, UnpackError> {
    let size = entry.size();
    if size > LONGEST_HEADER {
        return Err(UnpackError::Damaged(format!(
            "it has an extended header of {size} bytes, the limit is {LONGEST_HEADER}"
        )));
    }
    let mut bytes = Vec::new();
    entry
        .take(LONGEST_HEADER)
        .read_to_end(&mut bytes)
        .map_err(read_error)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

impl Extended {
    /// Reads records of pax: `LENGTH KEY=VALUE\n`.
    fn read(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        let broken = || UnpackError::Damaged("it has an extended header that is none".into());
        for record in tar::PaxExtensions::new(bytes) {
            let record = record.map_err(|_| broken())?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => {
                    return Err(UnpackError::TooMuch(
                        "a file of the archive is larger than 8 GiB".into(),
                    ));
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(UnpackError::Refused {
                        entry: "a file".into(),
                        why: "it is a sparse file: pack it without --sparse".into(),
                    });
                }
                // Times, owners, extended attributes: the agent gives files those itself.
                _ => {}
            }
        }
        Ok(())
    }
}

/// The path of an entry from the top of the tree; empty for the top itself.
fn path(bytes: &[u8]) -> Result<String, UnpackError> {
    let refuse = |why: &str| refused(bytes, why.to_owned());
    let text = str::from_utf8(bytes).map_err(|_| refuse("its name is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(refuse("its name has a control character in it"));
    }
    if text.starts_with('/') {
        return Err(refuse("its path is absolute"));
    }
    if text.len() > LONGEST_PATH {
        return Err(refuse("its path is longer than 1024 bytes"));
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(refuse("its path has .. in it")),
            part if part.len() > LONGEST_NAME => {
                return Err(refuse("its name is longer than 255 bytes"));
            }
            part => parts.push(part),
        }
    }
    if parts.len() > DEEPEST {
        return Err(refuse("it lies deeper than 64 directories"));
    }
    Ok(parts.join("/"))
}

/// The target of the symbolic link at `path`, which stays within the tree whatever other links there are: it climbs at its
/// beginning only, past directories that are none, and no higher than the top.
fn symlink_target(path: &str, bytes: &[u8]) -> Result<String, String> {
    let text = str::from_utf8(bytes).map_err(|_| "its target is not UTF-8".to_owned())?;
    if text.is_empty() || text.len() > LONGEST_PATH || text.chars().any(char::is_control) {
        return Err("its target is no path".into());
    }
    let leads_out = || format!("it is a link that leads out of the release, to {text}");
    if text.starts_with('/') {
        return Err(leads_out());
    }
    let mut climbs = 0;
    let mut descends = false;
    for part in text.split('/') {
        match part {
            "" | "." => {}
            // What is climbed out of after a name may be a link to anywhere in the tree.
            ".." if descends => return Err(leads_out()),
            ".." => climbs += 1,
            part if part.len() > LONGEST_NAME => return Err("its target is no path".into()),
            _ => descends = true,
        }
    }
    if climbs > path.matches('/').count() {
        return Err(leads_out());
    }
    Ok(text.to_owned())
}

pub(super) fn is_at_or_under(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn refused(name: &[u8], why: String) -> UnpackError {
    let text = String::from_utf8_lossy(name);
    let shown: String = text
        .chars()
        .take(200)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    UnpackError::Refused { entry: shown, why }
}

/// The names that were seen, by hashes: two that differ only in case or in how Unicode writes them are the same on some
/// machines, and one of them would be taken for the other on these.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    /// By the hash of the folded path, of its exact form, and whether it is a directory.
    by_folded: HashMap<u64, (u64, bool)>,
}

impl Seen {
    fn note(&mut self, path: &str, is_directory: bool) -> Result<(), String> {
        let folded = ComposingNormalizerBorrowed::new_nfc()
            .normalize(&path.to_lowercase())
            .into_owned();
        let exact = self.hasher.hash_one(path);
        match self
            .by_folded
            .insert(self.hasher.hash_one(folded), (exact, is_directory))
        {
            None => Ok(()),
            Some((known, true)) if known == exact && is_directory => Ok(()),
            Some((known, _)) if known == exact => {
                Err("it is in the archive twice".to_owned())
            }
            Some(_) => Err(
                "the archive has another one whose name differs in case or in its Unicode form only"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_within_the_release_whatever_other_links_there_are() {
        for (path, target) in [
            ("a", "b"),
            ("a/b", "../c"),
            ("a/b/c", "../../d/e"),
            ("a/b", "../"),
            ("a/b", "./c"),
        ] {
            assert!(
                symlink_target(path, target.as_bytes()).is_ok(),
                "{path} -> {target}"
            );
        }
        for (path, target) in [
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("a/b", "../.."),
            // Were `c` a link to the top, this would be outside.
            ("a/b", "c/.."),
            ("a", ""),
            ("a", "b\nc"),
        ] {
            assert!(
                symlink_target(path, target.as_bytes()).is_err(),
                "{path} -> {target}"
            );
        }
    }

    #[test]
    fn paths_are_from_the_top_and_have_no_tricks() {
        assert_eq!(path(b"./a//b/").unwrap(), "a/b");
        assert_eq!(path(b"./").unwrap(), "");
        for wrong in [
            &b"/a"[..],
            b"../a",
            b"a/../b",
            b"a\n",
            b"a\x1b[31m",
            b"\xff",
            b"a\0b",
        ] {
            assert!(path(wrong).is_err(), "{wrong:?}");
        }
        assert!(path("x/".repeat(65).as_bytes()).is_err());
        assert!(path("x".repeat(256).as_bytes()).is_err());
    }

    #[test]
    fn names_that_some_machines_take_for_one_are_told_apart_by_nobody() {
        let mut seen = Seen::default();
        seen.note("A", true).unwrap();
        seen.note("A", true).unwrap();
        seen.note("A/b", false).unwrap();
        assert!(seen.note("A/b", false).is_err());
        assert!(seen.note("a/B", false).is_err());
        seen.note("\u{e9}", false).unwrap();
        assert!(seen.note("e\u{301}", false).is_err());
    }
}
