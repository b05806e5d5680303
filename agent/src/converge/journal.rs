//! The journal: the last runs with their diffs, bounded in number and bytes.

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

/// Keeps a run, and drops the oldest where there are too many.
pub fn keep(files: &Files, run: &RunRecord, limits: JournalSettings) -> Result<(), FileError> {
    state::save(files, &file(run.id), run)?;
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

/// The newest run's copy of `path`, where it has just this content and that run changed nothing: who fails again and
/// again keeps one.
pub(super) fn kept_copy(
    files: &Files,
    path: &Path,
    bytes: &[u8],
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
    Ok(match files.read(&copy)? {
        Found::File { bytes: kept, .. } if kept == bytes => Some(copy),
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
    let mut bytes = 0;
    for (kept, id) in ids.into_iter().enumerate() {
        bytes += weight(files, id)?;
        // The newest run always stays: a journal that forgets what just happened is none.
        if kept > 0 && (kept >= limits.runs || bytes > limits.bytes) {
            drop_copies(files, id)?;
            files.remove(&state::path(&file(id)))?;
        }
    }
    Ok(())
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

fn weight(files: &Files, id: u64) -> Result<u64, FileError> {
    let mut bytes = 0;
    for path in backups_of(files, id)?
        .into_iter()
        .chain([state::path(&file(id))])
    {
        if let Found::File { bytes: content, .. } = files.read(&path)? {
            bytes += content.len() as u64;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

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
