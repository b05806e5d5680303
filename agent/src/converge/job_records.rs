//! The files that recorded jobs write their records into: made here, for nobody but root can make one. See
//! [`crate::resource::JobRecord`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::resource::{JOB_RECORDS, descriptions, record_path};
use crate::system::accounts;
use crate::system::chain;
use crate::system::file::{Attributes, FileError, Files, Keep};

/// Accounts may reach what is theirs in it, and look at nothing else.
const DIRECTORY: u32 = 0o711;
const RECORD: u32 = 0o600;
/// After so long no more accounts are looked up in one run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sees to it that each recorded job has a file to write to, that it is its account's, and that no other is left. What fails is
/// told, and tried again with the next run: a job without one runs all the same. Blocks only for as long as the name service
/// does, twenty seconds at the most.
pub(super) async fn tend(files: &Files) {
    if !files.root().is_machine() {
        // The accounts of another root have other numbers here.
        return;
    }
    if let Err(error) = try_tend(files).await {
        let error = chain(&error);
        tracing::warn!(
            event = "jobs-not-recorded",
            error,
            "some cron jobs run unrecorded: {error}"
        );
    }
}

async fn try_tend(files: &Files) -> Result<(), FileError> {
    let jobs = descriptions(files)?;
    let standing: BTreeSet<String> = files.list(Path::new(JOB_RECORDS))?.into_iter().collect();
    if jobs.is_empty() && standing.is_empty() {
        return Ok(());
    }
    files.create_dir(Path::new(JOB_RECORDS), DIRECTORY)?;
    let began = Instant::now();
    let mut owners: BTreeMap<&str, Option<(u32, u32)>> = BTreeMap::new();
    for job in &jobs {
        if !owners.contains_key(job.user.as_str()) {
            // One that is not known yet, or not now, has its file with a later run. A directory service that is away must not hold up
            // the run once for each account.
            let owner = if began.elapsed() < PATIENCE {
                accounts::user_and_group(job.user.clone()).await
            } else {
                Ok(None)
            };
            owners.insert(&job.user, owner.ok().flatten());
        }
        let Some(Some((uid, gid))) = owners.get(job.user.as_str()).copied() else {
            continue;
        };
        let path = record_path(&job.job);
        let found = files.look(&path)?;
        if found.is_some_and(|found| found.owner() == (uid, gid) && found.permissions() == RECORD) {
            continue;
        }
        // Of another account, or opened to others: what it says is that one's word. It is begun anew.
        let attributes = Attributes {
            mode: RECORD,
            uid,
            gid,
        };
        files
            .stage_as(&path, b"", Keep::NotEvenLink(attributes))?
            .commit()?;
    }
    let wanted: BTreeSet<&str> = jobs.iter().map(|job| job.job.as_str()).collect();
    for left in standing
        .iter()
        .filter(|name| !wanted.contains(name.as_str()))
    {
        files.remove(&record_path(left))?;
    }
    Ok(())
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "files of a scratch directory, as accounts would write them"
)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::system::root::Root;

    fn describe(dir: &Path, job: &str, user: &str) {
        let text =
            format!(r#"{{"format": 1, "job": "{job}", "user": "{user}", "schedule": "@daily"}}"#);
        fs::write(dir.join(format!("etc/agentd/cron/{job}.job")), text).unwrap();
    }

    #[tokio::test]
    async fn each_job_has_a_file_of_its_account_s_and_no_other_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::machine_at(dir.path()));
        let me = nix::unistd::User::from_uid(nix::unistd::geteuid())
            .unwrap()
            .unwrap();
        tend(&files).await;
        assert!(!dir.path().join("var").exists(), "nothing to do");

        fs::create_dir_all(dir.path().join("etc/agentd/cron")).unwrap();
        describe(dir.path(), "shop_tick", &me.name);
        describe(dir.path(), "shop_other", "no-such-account-here");
        tend(&files).await;
        let records = dir.path().join("var/lib/agentd-jobs");
        assert_eq!(fs::metadata(&records).unwrap().mode() & 0o7777, 0o711);
        let tick = records.join("shop_tick");
        let made = fs::metadata(&tick).unwrap();
        assert_eq!((made.mode() & 0o7777, made.uid()), (0o600, me.uid.as_raw()));
        assert!(!records.join("shop_other").exists());

        // What it says stays, and is begun anew where others could have written it.
        fs::write(&tick, "said").unwrap();
        tend(&files).await;
        assert_eq!(fs::read_to_string(&tick).unwrap(), "said");
        fs::set_permissions(&tick, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        tend(&files).await;
        assert_eq!(fs::read_to_string(&tick).unwrap(), "");
        assert_eq!(fs::metadata(&tick).unwrap().mode() & 0o7777, 0o600);

        fs::remove_file(dir.path().join("etc/agentd/cron/shop_tick.job")).unwrap();
        tend(&files).await;
        assert!(!tick.exists());
    }
}
