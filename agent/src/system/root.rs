//! Where the agent's world lies: the machine itself, or everything under one directory.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Maps the paths that the agent speaks of (`/etc/hosts`) to the paths that it opens.
///
/// With `--root DIR` every path lies under DIR and no command is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    dir: Option<PathBuf>,
    /// A test's directory that counts as a whole machine.
    #[cfg(test)]
    commands: bool,
}

impl Root {
    /// The machine itself.
    pub const fn machine() -> Self {
        Self {
            dir: None,
            #[cfg(test)]
            commands: true,
        }
    }

    /// Everything under `dir`, which must exist. Symlinks in `dir` itself are resolved once, here.
    pub fn under(dir: &Path) -> io::Result<Self> {
        let dir = dir.canonicalize()?;
        Ok(Self {
            dir: (dir != Path::new("/")).then_some(dir),
            #[cfg(test)]
            commands: false,
        })
    }

    /// A directory in which commands may run, for tests of what happens around them.
    #[cfg(test)]
    pub fn machine_at(dir: &Path) -> Self {
        Self {
            dir: dir.canonicalize().ok(),
            commands: true,
        }
    }

    /// Whether this is the machine itself: commands may run, services exist.
    pub const fn is_machine(&self) -> bool {
        #[cfg(test)]
        if self.commands {
            return true;
        }
        self.dir.is_none()
    }

    /// The directory that all paths lie under: `/` on the machine itself.
    pub fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("/"))
    }

    /// The path to open for `path`. Only its normal components count: `..` and a leading `/` cannot lead out.
    pub fn real(&self, path: &Path) -> PathBuf {
        let mut real = self.dir().to_path_buf();
        real.extend(
            path.components()
                .filter(|part| matches!(part, Component::Normal(_))),
        );
        real
    }
}

/// A path without `.`, `..` and doubled slashes, worked out from its text: symlinks are not looked at.
pub fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}
