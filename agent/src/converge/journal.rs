//! The journal: the last runs with their diffs, bounded in number and bytes.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use super::state;
use crate::report::RunRecord;
use crate::settings::JournalSettings;
use crate::system::file::{FileError, Files, Found};

pub(super) const RUNS: &str = "runs";
pub(super) const BACKUPS: &str = "backups";
/// The most bytes of a copy's name, less than what a file system allows.
const LONGEST_NAME: usize = 200;

/// The kept runs, newest first, at most `most`. A record that cannot be read is left out, with a warning in the log.
pub fn last(files: &Files, most: usize) -> Result<Vec<RunRecord>, FileError> {
    let mut ids = ids(files)?;
    ids.reverse();
    let mut runs = Vec::new();
    for id in ids {
        if runs.len() >= most {
            break;
        }
        runs.extend(load(files, id)?);
    }
    Ok(runs)
}

/// The id of the newest kept run.
pub fn newest(files: &Files) -> Result<Option<u64>, FileError> {
    Ok(ids(files)?.pop())
}

/// One run; `None` where it is not kept.
pub fn load(files: &Files, id: u64) -> Result<Option<RunRecord>, FileError> {
    state::load(files, &file(id))
}

/// The id of the next run.
pub(super) fn next_id(files: &Files) -> Result<u64, FileError> {
    // Backups count too: a run that crashed before its record may have left some.
    let backups = files.list(&state::path(BACKUPS))?;
    let newest = ids(files)?
        .into_iter()
        .chain(backups.iter().filter_map(|name| name.parse().ok()))
        .max();
    Ok(newest.unwrap_or(0).saturating_add(1))
}

/// Keeps a run, and drops the oldest where there are too many. Of one that changed very much not all is kept: see
/// [`RunRecord::bounded`].
pub fn keep(files: &Files, run: &RunRecord, limits: JournalSettings) -> Result<(), FileError> {
    state::save(files, &file(run.id), &run.bounded())?;
    prune(files, limits)
}

/// Where a run keeps a copy of what somebody else had written at `path`.
pub(super) fn backup_path(run: u64, path: &Path) -> PathBuf {
    state::path(BACKUPS)
        .join(run.to_string())
        .join(copy_name(path))
}

/// One flat directory a run, so that dropping a run drops its copies without walking trees.
fn copy_name(path: &Path) -> String {
    let flat = path
        .to_string_lossy()
        .trim_start_matches('/')
        .replace('/', ":");
    if flat.len() <= LONGEST_NAME {
        return flat;
    }
    // Its end says more than its beginning.
    let digest = crate::system::digest::sha256_hex(flat.as_bytes());
    let end = flat.ceil_char_boundary(flat.len() - LONGEST_NAME / 2);
    format!(
        "{}…{}",
        digest.get(..16).unwrap_or_default(),
        flat.get(end..).unwrap_or_default()
    )
}

/// The newest run's copy of `path`, where it has just this content (so many bytes, and `is_same` says so) and that run changed nothing: who fails again and
/// again keeps one.
pub(super) fn kept_copy(
    files: &Files,
    path: &Path,
    size: u64,
    is_same: impl FnOnce(&[u8]) -> bool,
) -> Result<Option<PathBuf>, FileError> {
    let runs = files.list(&state::path(BACKUPS))?;
    let Some(newest) = runs.iter().filter_map(|run| run.parse::<u64>().ok()).max() else {
        return Ok(None);
    };
    if load(files, newest)?.is_some_and(|run| run.changed()) {
        // It goes with its run, before the one that asks does.
        return Ok(None);
    }
    let copy = backup_path(newest, path);
    let has_same_size = files.look(&copy)?.is_some_and(|stamp| stamp.size() == size);
    if !has_same_size {
        return Ok(None);
    }
    Ok(match files.read(&copy)? {
        Found::File { bytes: kept, .. } if is_same(&kept) => Some(copy),
        _ => None,
    })
}

fn file(id: u64) -> String {
    format!("{RUNS}/{id}.json")
}

fn ids(files: &Files) -> Result<Vec<u64>, FileError> {
    let names = files.list(&state::path(RUNS))?;
    let mut ids: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

fn prune(files: &Files, limits: JournalSettings) -> Result<(), FileError> {
    let mut ids = ids(files)?;
    ids.reverse();
    // Copies of a run that was killed before its record was kept: they go as if it had been.
    let oldest = ids.iter().take(limits.runs).next_back().copied();
    for orphan in files.list(&state::path(BACKUPS))? {
        let id: Option<u64> = orphan.parse().ok();
        if let Some(id) = id.filter(|id| oldest > Some(*id) && !ids.contains(id)) {
            drop_copies(files, id)?;
        }
    }
    for id in ids.split_off(limits.runs.max(1).min(ids.len())) {
        drop_run(files, id)?;
    }
    let mut kept = Kept::of(files, &ids)?;
    while kept.bytes() > limits.bytes {
        // Whoever rewrites one file again and again takes room from nobody else's copies.
        if let Some(copy) = kept.take_copy() {
            files.remove(&copy)?;
            if let Some(dir) = copy.parent() {
                files.remove_empty_dir(dir)?;
            }
            continue;
        }
        let Some(id) = kept.take_run() else {
            break;
        };
        drop_run(files, id)?;
    }
    Ok(())
}

/// What the journal holds.
struct Kept {
    /// The runs, oldest first, with the bytes of their records.
    runs: Vec<(u64, u64)>,
    /// The copies by the path that they are of, oldest first, with the bytes of each.
    copies: BTreeMap<String, VecDeque<(PathBuf, u64)>>,
}

impl Kept {
    /// Of these runs, newest first.
    fn of(files: &Files, ids: &[u64]) -> Result<Self, FileError> {
        let mut kept = Self {
            runs: Vec::new(),
            copies: BTreeMap::new(),
        };
        for id in ids.iter().rev() {
            kept.runs
                .push((*id, size(files, &state::path(&file(*id)))?));
            for copy in backups_of(files, *id)? {
                let name = copy.file_name().unwrap_or_default().to_string_lossy();
                let bytes = size(files, &copy)?;
                let copies = kept.copies.entry(name.into_owned()).or_default();
                copies.push_back((copy, bytes));
            }
        }
        Ok(kept)
    }

    fn bytes(&self) -> u64 {
        let runs = self.runs.iter().map(|(_, bytes)| bytes);
        let copies = self.copies.values().flatten().map(|(_, bytes)| bytes);
        runs.chain(copies).sum()
    }

    /// The oldest copy of the path whose copies need most room. `None`: no path has more than one.
    fn take_copy(&mut self) -> Option<PathBuf> {
        let many = self.copies.values_mut().filter(|copies| copies.len() > 1);
        let largest = many.max_by_key(|copies| copies.iter().map(|(_, bytes)| bytes).sum::<u64>());
        largest?.pop_front().map(|(copy, _)| copy)
    }

    /// The oldest run, with what it has of copies; never the newest, for a journal that forgets what just happened is none.
    fn take_run(&mut self) -> Option<u64> {
        if self.runs.len() < 2 {
            return None;
        }
        let (id, _) = self.runs.remove(0);
        let dir = state::path(BACKUPS).join(id.to_string());
        for copies in self.copies.values_mut() {
            copies.retain(|(copy, _)| !copy.starts_with(&dir));
        }
        Some(id)
    }
}

fn drop_run(files: &Files, id: u64) -> Result<(), FileError> {
    drop_copies(files, id)?;
    files.remove(&state::path(&file(id)))
}

fn drop_copies(files: &Files, id: u64) -> Result<(), FileError> {
    for copy in backups_of(files, id)? {
        files.remove(&copy)?;
    }
    files
        .remove_empty_dir(&state::path(BACKUPS).join(id.to_string()))
        .map(drop)
}

fn backups_of(files: &Files, id: u64) -> Result<Vec<PathBuf>, FileError> {
    let dir = state::path(BACKUPS).join(id.to_string());
    Ok(files
        .list(&dir)?
        .into_iter()
        .map(|name| dir.join(name))
        .collect())
}

fn size(files: &Files, path: &Path) -> Result<u64, FileError> {
    Ok(files.look(path)?.map_or(0, |stamp| stamp.size()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;

    const LIMITS: JournalSettings = JournalSettings {
        runs: 20,
        bytes: 1024 * 1024,
    };

    fn run(id: u64) -> RunRecord {
        serde_json::from_value(serde_json::json!({
            "format": 1, "id": id, "node": "web-1", "trigger": "drift", "took_ms": 1, "steps": [], "problems": [],
            "document": {"fleet": "f", "version": 1, "digest": ""}, "started": "2026-11-30T00:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn who_floods_the_journal_pushes_out_nobody_elses_copies() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let (innocent, flooder) = (Path::new("/etc/hosts"), Path::new("/srv/shop/nodes"));
        files
            .write(&backup_path(1, innocent), b"by hand", 0o640)
            .unwrap();
        keep(&files, &run(1), LIMITS).unwrap();
        for id in 2..12 {
            let flood = vec![b'x'; 600 * 1024];
            files
                .write(&backup_path(id, flooder), &flood, 0o640)
                .unwrap();
            keep(&files, &run(id), LIMITS).unwrap();
        }
        let exists = |id, path| files.look(&backup_path(id, path)).unwrap().is_some();
        assert!(exists(1, innocent));
        let of_flooder: Vec<u64> = (2..12).filter(|id| exists(*id, flooder)).collect();
        assert_eq!(of_flooder, [11]);
        assert_eq!(last(&files, 20).unwrap().len(), 11, "no run was forgotten");
    }

    #[test]
    fn runs_are_bounded_in_number_and_the_newest_always_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let few = JournalSettings {
            runs: 3,
            bytes: 1024 * 1024,
        };
        for id in 1..6 {
            keep(&files, &run(id), few).unwrap();
        }
        assert_eq!(ids(&files).unwrap(), [3, 4, 5]);
        let tiny = JournalSettings { runs: 3, bytes: 1 };
        keep(&files, &run(6), tiny).unwrap();
        assert_eq!(ids(&files).unwrap(), [6]);
    }

    #[test]
    fn a_long_path_keeps_its_end_as_it_is_written() {
        let long = format!(
            "/srv/{}/etc/memcached-nodes-of-the-shop.json",
            "d/".repeat(150)
        );
        let name = copy_name(Path::new(&long));
        assert!(
            name.ends_with(":etc:memcached-nodes-of-the-shop.json"),
            "{name}"
        );
        assert!(name.len() <= 255 && !name.contains('/'));
        let other = long.replacen("/srv", "/opt", 1);
        assert_ne!(name, copy_name(Path::new(&other)));
        let umlauts = format!("/{}", "ü".repeat(180));
        assert!(copy_name(Path::new(&umlauts)).len() <= 255);
    }
}
