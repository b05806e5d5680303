//! State files that nobody can read any more: moved aside when the agent starts, told, and made anew. Damaged state never keeps a
//! box from converging.

use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::state;
use crate::settings::STATE_DIR;
use crate::system::chain;
use crate::system::file::{FileError, Files, Found};

/// Where a person finds them: the last one of each name.
const DAMAGED: &str = "/var/lib/agentd/damaged";
/// What is in these directories is looked at too.
const WITH_FILES: [&str; 3] = ["orders", "pending", "runs"];
/// These are directories, or not there.
const DIRECTORIES: [&str; 9] = [
    "archives",
    "backups",
    "before",
    "objects",
    "orders",
    "originals",
    "pending",
    "releases",
    "runs",
];
/// What looks after itself: the signed bytes of documents are kept as they are for a person, under another name.
const DOCUMENTS: &str = "document.";
/// Without it older keys would count again, that may be revoked: who cannot read it takes no document, and says so.
const TRUST: &str = "trust.json";

/// Moves state files aside that are too large to be read, are no files, or no JSON. Called when the agent starts, before it reads any
/// of them. Not fatal where that fails: who reads them says why.
pub fn set_aside_damaged(files: &Files) {
    for name in DIRECTORIES {
        let dir = state::path(name);
        if files
            .look(&dir)
            .is_ok_and(|stamp| stamp.is_some_and(|stamp| stamp.is_file()))
        {
            set_aside(files, &dir, name, "it is a file, and should be a directory");
        }
    }
    let dirs = WITH_FILES.iter().map(|name| state::path(name));
    for dir in std::iter::once(PathBuf::from(STATE_DIR)).chain(dirs) {
        let names = files.list(&dir).unwrap_or_default();
        for name in names.iter().filter(|name| is_json(name) && *name != TRUST) {
            let path = dir.join(name);
            if let Some(why) = damage(files, &path, name) {
                set_aside(files, &path, name, &why);
            }
        }
    }
}

fn is_json(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "json")
}

/// What is wrong with a state file. `None`: nothing, as far as can be told.
fn damage(files: &Files, path: &Path, name: &str) -> Option<String> {
    let stamp = files.look(path).ok()??;
    if !stamp.is_file() {
        return Some("it is no file".into());
    }
    if stamp.size() > Files::READ_LIMIT {
        return Some(format!(
            "it has {} bytes, and none of the agent's has more than {}",
            stamp.size(),
            Files::READ_LIMIT
        ));
    }
    if name.starts_with(DOCUMENTS) {
        return None;
    }
    match files.read(path).ok()? {
        Found::File { bytes, .. } => {
            let read = serde_json::from_slice::<IgnoredAny>(&bytes);
            read.err().map(|error| error.to_string())
        }
        _ => None,
    }
}

fn set_aside(files: &Files, path: &Path, name: &str, why: &str) {
    let to = Path::new(DAMAGED).join(name);
    match moved(files, path, &to) {
        Ok(()) => tracing::warn!(
            event = "state-damaged",
            path = %path.display(),
            error = why,
            "{} is damaged, and was set aside as {}; going on without it: {why}",
            path.display(),
            to.display()
        ),
        Err(error) => tracing::warn!(
            event = "state-damaged",
            path = %path.display(),
            error = why,
            "{} is damaged ({why}), and could not be set aside: {}",
            path.display(),
            chain(&error)
        ),
    }
}

fn moved(files: &Files, path: &Path, to: &Path) -> Result<(), FileError> {
    files.create_dir(Path::new(DAMAGED), 0o700)?;
    // A directory makes way for nothing but an empty one.
    files.remove_tree(to)?;
    files.rename(path, to)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::system::root::Root;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "what others do to the agent's state"
    )]
    fn what_cannot_be_read_is_moved_aside_and_what_can_stays() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(root.path()).unwrap());
        let real = |path: &str| root.path().join("var/lib/agentd").join(path);
        for dir in ["pending", "orders"] {
            fs::create_dir_all(real(dir)).unwrap();
        }
        fs::write(real("ledger.json"), "{\"format\": 2").unwrap();
        fs::write(real("good.json"), "{}").unwrap();
        fs::write(real("document.json"), "signed by somebody").unwrap();
        fs::File::create(real("pending/hosts.json"))
            .unwrap()
            .set_len(17 * 1024 * 1024)
            .unwrap();
        fs::create_dir(real("quarantine.json")).unwrap();
        fs::write(real("runs"), "").unwrap();
        for _ in 0..2 {
            set_aside_damaged(&files);
            for damaged in ["ledger.json", "hosts.json", "quarantine.json", "runs"] {
                assert!(real("damaged").join(damaged).exists(), "{damaged}");
            }
            for gone in [
                "ledger.json",
                "pending/hosts.json",
                "quarantine.json",
                "runs",
            ] {
                assert!(!real(gone).exists(), "{gone}");
            }
            assert!(real("good.json").exists() && real("document.json").exists());
        }
    }
}
