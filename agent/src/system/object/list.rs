//! What lies in a directory of objects, in the order of the keys, as many as are wanted.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::ObjectError;

/// The most names that are looked at: links may lead in circles.
const MOST: usize = 1_000_000;
/// How deep objects lie at most, in directories.
const DEEPEST: usize = 32;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path under the directory.
    pub key: String,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was last written to.
    pub modified: Option<Timestamp>,
}

/// Which files are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What their keys begin with.
    pub prefix: &'a str,
    /// They stand after this key.
    pub after: Option<&'a str>,
    /// So many.
    pub most: usize,
    /// Whether a file of this name is one. Directories whose names begin with a dot are not looked into.
    pub name: fn(&str) -> bool,
}

/// The first files under `dir` that are wanted, in the order of their keys' bytes, and whether there are more.
///
/// Links are followed. What is no regular file, or has a name that no key can have, is left out.
pub fn list(dir: &Path, wanted: Wanted<'_>) -> Result<(Vec<Listed>, bool), ObjectError> {
    let mut walk = Walk {
        wanted,
        found: Vec::new(),
        more: false,
        left: MOST,
    };
    walk.visit(dir, "", DEEPEST)?;
    Ok((walk.found, walk.more))
}

struct Walk<'a> {
    wanted: Wanted<'a>,
    found: Vec<Listed>,
    more: bool,
    left: usize,
}

impl Walk<'_> {
    /// Visits `dir`, whose keys begin with `at`: empty, or with a slash at its end.
    fn visit(&mut self, dir: &Path, at: &str, deeper: usize) -> Result<(), ObjectError> {
        for (key, path) in self.names(dir, at)? {
            let is_dir = key.ends_with('/');
            if self.more || !self.concerns(&key, is_dir) {
                continue;
            }
            if is_dir {
                if let Some(deeper) = deeper.checked_sub(1) {
                    self.visit(&path, &key, deeper)?;
                }
            } else if let Some(status) = status(&path)?
                && status.is_file()
            {
                if self.found.len() == self.wanted.most {
                    self.more = true;
                } else {
                    self.found.push(Listed {
                        key,
                        size: status.len(),
                        modified: status
                            .modified()
                            .ok()
                            .and_then(|time| Timestamp::try_from(time).ok()),
                    });
                }
            }
        }
        Ok(())
    }

    /// The keys in `dir`, in order; those of directories have a slash at their end, for so they are sorted among files.
    fn names(&mut self, dir: &Path, at: &str) -> Result<Vec<(String, PathBuf)>, ObjectError> {
        let fail = || ObjectError::io("list", dir);
        let entries = match fs::read_dir(dir) {
            // It was deleted meanwhile, with its last object.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !at.is_empty() => {
                return Ok(Vec::new());
            }
            entries => entries.map_err(fail())?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fail())?;
            self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| fail()(io::Error::other("it has more than a million files")))?;
            let name = entry.file_name();
            let Some(name) = name
                .to_str()
                .filter(|name| !name.contains(char::is_control))
            else {
                continue;
            };
            let path = entry.path();
            let kind = entry.file_type().map_err(fail())?;
            let is_dir = if kind.is_symlink() {
                status(&path)?.is_some_and(|status| status.is_dir())
            } else {
                kind.is_dir()
            };
            if is_dir && !name.starts_with('.') {
                names.push((format!("{at}{name}/"), path));
            } else if !is_dir && (self.wanted.name)(name) {
                names.push((format!("{at}{name}"), path));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn concerns(&self, key: &str, is_dir: bool) -> bool {
        let Wanted { prefix, after, .. } = self.wanted;
        let begins = key.starts_with(prefix) || is_dir && prefix.starts_with(key);
        let comes = after.is_none_or(|after| key > after || is_dir && after.starts_with(key));
        begins && comes
    }
}

/// `None`: it is gone, or a link to nothing.
fn status(path: &Path) -> Result<Option<Metadata>, ObjectError> {
    match fs::metadata(path) {
        Ok(status) => Ok(Some(status)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ObjectError::io("list", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn keys(dir: &TempDir, prefix: &str, after: Option<&str>, most: usize) -> (Vec<String>, bool) {
        let wanted = Wanted {
            prefix,
            after,
            most,
            name: |name| !name.starts_with('.'),
        };
        let (found, more) = list(dir.path(), wanted).unwrap();
        (found.into_iter().map(|found| found.key).collect(), more)
    }

    #[test]
    fn any_page_of_any_prefix_is_what_sorting_all_keys_gives() {
        let dir = TempDir::new().unwrap();
        let mut all = [
            "a",
            "a.b",
            "a-b/c",
            "b/a",
            "b/a.x",
            "b/a-/z",
            "b/c/d/e",
            "b0",
            "nodes/web-1.json",
            "nodes/web-10.json",
            "nodes/unknown/i-1.json",
            "z/ü",
        ];
        for key in all {
            let path = dir.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap();
        }
        for hidden in [".lock", "b/.half"] {
            fs::File::create(dir.path().join(hidden)).unwrap();
        }
        fs::create_dir(dir.path().join("empty")).unwrap();
        all.sort_unstable();
        for prefix in ["", "a", "b/", "b/a", "nodes/", "nodes/web-1", "z", "no"] {
            for after in [
                None,
                Some(""),
                Some("a"),
                Some("b/a"),
                Some("b/c"),
                Some("b/b"),
                Some("nodes/v"),
                Some("zz"),
            ] {
                let expected: Vec<&str> = all
                    .into_iter()
                    .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| *key > after))
                    .collect();
                for most in [1, 2, 5, 100] {
                    let (found, more) = keys(&dir, prefix, after, most);
                    let page: Vec<&str> = expected.iter().copied().take(most).collect();
                    assert_eq!(found, page, "{prefix} {after:?} {most}");
                    assert_eq!(more, expected.len() > most, "{prefix} {after:?} {most}");
                }
            }
        }
    }

    #[test]
    fn links_that_lead_in_circles_end() {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::File::create(dir.path().join("a/file")).unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("a/dangling")).unwrap();
        let (found, more) = keys(&dir, "", None, 1000);
        assert_eq!(found.first().map(String::as_str), Some("a/file"));
        assert!(found.len() <= DEEPEST + 1 && !more, "{}", found.len());

        // Two circles: without an end to the patience, for ever.
        std::os::unix::fs::symlink(".", dir.path().join("a/again")).unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("a/more")).unwrap();
        fs::remove_file(dir.path().join("a/file")).unwrap();
        let mut walk = Walk {
            wanted: Wanted {
                prefix: "",
                after: None,
                most: 1000,
                name: |_| true,
            },
            found: Vec::new(),
            more: false,
            left: 10_000,
        };
        let error = walk.visit(dir.path(), "", DEEPEST).unwrap_err();
        assert!(matches!(error, ObjectError::Io { .. }), "{error}");
    }
}
