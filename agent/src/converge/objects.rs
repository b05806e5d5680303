//! Objects of the bucket that files of this box are made of: fetched before a run, compared with what the document says,
//! kept as long as a document wants them, so that a run without the bucket has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Intent, Session, last_good, state};
use crate::bucket::Fetched;
use crate::fleet::{Fleet, Name, applies, bundles};
use crate::resource::{OBJECTS, TROUBLE};
use crate::system::chain;
use crate::system::digest::sha256_hex;
use crate::system::file::{FileError, Files, Found};

/// The most bytes of an object: what is read of a file.
const LIMIT: u64 = Files::READ_LIMIT;
/// Nobody but root: who may read the file that is made of it is said of that file.
const MODE: u32 = 0o600;

impl Session {
    /// Fetches what files of this box are made of and is not here yet, one request each. Failures are kept beside the
    /// objects: the files' steps say why. Only with the lock of runs. `progress` is called before each.
    pub async fn fetch_objects(
        &self,
        intent: &Intent,
        progress: &dyn Fn(&str),
    ) -> Result<(), FileError> {
        let files = self.converger.files();
        let wanted = objects(&intent.document.fleet, &intent.node);
        let mut kept: BTreeSet<String> = wanted.keys().cloned().collect();
        if let Some(good) = last_good::load(files)? {
            kept.extend(objects(&good.fleet, &intent.node).into_keys());
        }
        forget_others(files, &kept)?;
        for (sha256, key) in &wanted {
            let path = path(sha256);
            if files.look(&path)?.is_some() {
                continue;
            }
            progress(&format!("fetching {}", self.bucket.url(key)));
            let trouble = match self.object(key, sha256).await {
                Ok(bytes) => {
                    files.write(&path, &bytes, MODE)?;
                    None
                }
                Err(why) => Some(why),
            };
            let told = path.with_file_name(format!("{sha256}{TROUBLE}"));
            match trouble {
                Some(why) => {
                    // The same again is not written again.
                    let is_known = matches!(
                        files.read(&told)?,
                        Found::File { bytes, .. } if bytes == why.as_bytes()
                    );
                    if !is_known {
                        tracing::warn!(
                            event = "object-failed",
                            key = key.as_str(),
                            "the object {key} could not be had: {why}"
                        );
                        files.write(&told, why.as_bytes(), MODE)?;
                    }
                }
                None => files.remove(&told)?,
            }
        }
        Ok(())
    }

    /// The object, if it is what the document says.
    async fn object(&self, key: &str, sha256: &str) -> Result<Vec<u8>, String> {
        let deadline = self.settings.s3.timeout + std::time::Duration::from_secs(LIMIT / SLOWEST);
        let bucket = self.bucket.within(deadline);
        match bucket.get(key, None, LIMIT).await {
            Ok(Fetched::Object { bytes, .. }) => {
                let found = sha256_hex(&bytes);
                if found == sha256 {
                    Ok(bytes)
                } else {
                    Err(format!(
                        "its SHA-256 in the bucket is {found}, and the document says {sha256}: put the right object there, or correct the document"
                    ))
                }
            }
            Ok(Fetched::Unchanged) => Err("the bucket gave no answer that could be used".into()),
            Err(error) => Err(chain(&error)),
        }
    }
}

/// A second for so many bytes, at the worst.
const SLOWEST: u64 = 256 * 1024;

/// The keys of the objects that files of a box are made of, by SHA-256.
fn objects(fleet: &Fleet, node: &Name) -> BTreeMap<String, String> {
    let Some(server) = fleet.servers.get(node) else {
        return BTreeMap::new();
    };
    let files = bundles(fleet, server)
        .into_iter()
        .flat_map(|bundle| bundle.files().values());
    files
        .filter(|file| applies(&file.on, server))
        .filter_map(|file| {
            let (key, sha256) = file.object.as_ref().zip(file.sha256.as_ref())?;
            Some((sha256.to_string(), key.to_string()))
        })
        .collect()
}

/// Removes what no document wants any more.
fn forget_others(files: &Files, kept: &BTreeSet<String>) -> Result<(), FileError> {
    let dir = state::path(OBJECTS);
    let mut removed = false;
    for name in files.list(&dir)? {
        let of = name.strip_suffix(TROUBLE).unwrap_or(&name);
        if !kept.contains(of) {
            files.remove(&dir.join(&name))?;
            removed = true;
        }
    }
    if removed {
        files.remove_empty_dir(&dir)?;
    }
    Ok(())
}

fn path(sha256: &str) -> PathBuf {
    state::path(OBJECTS).join(sha256)
}
