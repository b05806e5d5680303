//! What is written of recorded jobs: which ones there are (root's), and how the last run of each went (its account's).
//!
//! Each job has one file for its record, in a directory that only root can write to: its account can write into it, and do
//! nothing else there. So nobody can put a link, a pipe or another's file in the way of who reads it, and a job of one account
//! can neither stop nor forge that of another. What an account says of its own jobs is its own word.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};

use crate::system::file::{FileError, Files, Found};
use crate::system::process;
use crate::system::root::Root;

/// Where the records lie, a file a job.
pub const RECORDS: &str = "/var/lib/agentd-jobs";
/// What a recorded job's description is called, behind its name.
pub const JOB: &str = ".job";
/// The most bytes of a record that are read.
const LONGEST: u64 = 64 * 1024;
/// The most bytes of what a job printed that are kept: the last ones.
pub const OUTPUT: usize = 4 * 1024;
/// So often a record that is being written in this moment is read again.
const TRIES: u32 = 3;

/// A recorded job, as the agent describes it for those who look after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDescription {
    /// The format: 1.
    pub format: u32,
    /// Its name.
    pub job: String,
    /// The account that it runs as.
    pub user: String,
    /// Its schedule on this server, without `H`.
    pub schedule: String,
    /// The time zone of that; `None`: the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// How long a run may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u64>,
}

/// How the runs of a job went: written by its own account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The format: 1.
    pub format: u32,
    /// The run that goes on, or that was ended without a word.
    #[serde(default)]
    pub running: Option<JobRun>,
    /// The last one that ended.
    #[serde(default)]
    pub last: Option<JobEnd>,
    /// When one last ended well.
    #[serde(default)]
    pub succeeded: Option<Timestamp>,
}

/// A run that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRun {
    /// When it began.
    pub started: Timestamp,
    /// The process that looks after it.
    pub pid: i32,
    /// When that began, in the kernel's ticks since boot.
    pub ticks: u64,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Its exit code; `None`: a signal ended it, or it could not be started.
    pub code: Option<i32>,
    /// How it ended: `exit code 1`, `killed by SIGKILL`, why it could not be started.
    pub ended: String,
    /// It was ended by its time limit.
    #[serde(default)]
    pub timed_out: bool,
    /// The end of what it printed, at most 4 KiB.
    #[serde(default)]
    pub output: String,
}

impl JobEnd {
    /// Whether it ended well.
    pub fn success(&self) -> bool {
        self.code == Some(0) && !self.timed_out
    }
}

/// Where the record of a job is.
pub fn record_path(job: &str) -> PathBuf {
    Path::new(RECORDS).join(job)
}

/// The recorded jobs of this box, by name. One whose description cannot be read is left out: it is the agent's own, and is mended
/// by the next run.
pub fn descriptions(files: &Files) -> Result<Vec<JobDescription>, FileError> {
    let dir = Path::new(super::LOCKS);
    let names = files.list(dir)?;
    let mut jobs = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(JOB)) {
        if let Found::File { bytes, .. } = files.read(&dir.join(name))? {
            jobs.extend(serde_json::from_slice::<JobDescription>(&bytes).ok());
        }
    }
    Ok(jobs)
}

impl JobRecord {
    /// Of a job. `None`: there is none yet. The error says why it cannot be read.
    pub fn read(files: &Files, job: &str) -> Result<Option<Self>, String> {
        let path = record_path(job);
        match files.look(&path) {
            Ok(None) => return Ok(None),
            Ok(Some(_)) => {}
            Err(error) => return Err(crate::system::chain(&error)),
        }
        let mut said = String::new();
        for _ in 0..TRIES {
            let file = files
                .open(&path)
                .map_err(|error| crate::system::chain(&error))?;
            match Self::of(file) {
                Ok(record) => return Ok(record),
                Err(error) => said = error.to_string(),
            }
        }
        Err(format!("{} is not understood: {said}", path.display()))
    }

    fn of(file: File) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        // Only the first value: one that is shorter than the last stands before the rest of that for a moment.
        let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter();
        match values.next() {
            Some(read) => Ok(Some(read?)),
            None => Ok(None),
        }
    }
}

/// A job's record, held by the one run of it that may go on.
#[derive(Debug)]
pub struct HeldRecord {
    file: Flock<File>,
    /// What it says.
    pub record: JobRecord,
}

/// What became of holding a record.
#[derive(Debug)]
pub enum Held {
    /// It is ours.
    Ours(Box<HeldRecord>),
    /// A run of the job goes on.
    Busy,
    /// There is none to hold, and why: the agent has not made it, or it is another account's.
    None(io::Error),
}

impl HeldRecord {
    /// Holds the record of a job, until it is dropped or the process ends, however it ends.
    pub fn hold(root: &Root, job: &str) -> Held {
        let path = root.real(&record_path(job));
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => return Held::None(error),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => {
                let read = file.try_clone().and_then(JobRecord::of);
                // What cannot be read is begun anew.
                let record = read.ok().flatten().unwrap_or_default();
                Held::Ours(Box::new(Self { file, record }))
            }
            Err((_, Errno::EWOULDBLOCK)) => Held::Busy,
            Err((_, errno)) => Held::None(errno.into()),
        }
    }

    /// A run begins, looked after by this process.
    pub fn begin(&mut self, started: Timestamp) -> io::Result<()> {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let ticks = process::identity(pid).map_or(0, |own| own.ticks());
        self.record.format = 1;
        self.record.running = Some(JobRun {
            started,
            pid,
            ticks,
        });
        self.write()
    }

    /// The run has ended.
    pub fn end(&mut self, end: JobEnd) -> io::Result<()> {
        if end.success() {
            self.record.succeeded = Some(end.started);
        }
        self.record.running = None;
        self.record.last = Some(end);
        self.write()
    }

    /// In place: the directory is root's. Who reads it meanwhile reads it again.
    fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.record)?;
        self.file.write_all_at(&bytes, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "files of a scratch directory, as accounts would write them"
)]
mod tests {
    use std::fs;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn end(code: i32, output: &str) -> JobEnd {
        JobEnd {
            started: at("2026-11-30T14:00:00Z"),
            took_ms: 3200,
            code: Some(code),
            ended: format!("exit code {code}"),
            timed_out: false,
            output: output.into(),
        }
    }

    fn slot() -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        fs::create_dir_all(dir.path().join("var/lib/agentd-jobs")).unwrap();
        fs::write(dir.path().join("var/lib/agentd-jobs/shop_tick"), "").unwrap();
        (dir, files)
    }

    fn held(files: &Files) -> Box<HeldRecord> {
        match HeldRecord::hold(files.root(), "shop_tick") {
            Held::Ours(held) => held,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_is_held_by_one_and_read_by_others() {
        let (_dir, files) = slot();
        assert_eq!(JobRecord::read(&files, "shop_tick"), Ok(None));
        let mut first = held(&files);
        first.begin(at("2026-11-30T14:00:00Z")).unwrap();
        assert!(matches!(
            HeldRecord::hold(files.root(), "shop_tick"),
            Held::Busy
        ));
        let read = JobRecord::read(&files, "shop_tick").unwrap().unwrap();
        assert_eq!(read.running.unwrap().started, at("2026-11-30T14:00:00Z"));
        first.end(end(1, &"long ".repeat(100))).unwrap();
        drop(first);
        // A shorter one leaves nothing of the longer.
        let mut second = held(&files);
        assert_eq!(second.record.last.as_ref().unwrap().code, Some(1));
        second.begin(at("2026-11-30T14:05:00Z")).unwrap();
        second.end(end(0, "")).unwrap();
        let read = JobRecord::read(&files, "shop_tick").unwrap().unwrap();
        assert_eq!(read.last, Some(end(0, "")));
        assert_eq!(read.succeeded, Some(at("2026-11-30T14:00:00Z")));
    }

    #[test]
    fn what_an_account_writes_there_is_bounded_and_no_link_is_followed() {
        let (dir, files) = slot();
        let path = dir.path().join("var/lib/agentd-jobs/shop_tick");
        fs::write(&path, "nonsense").unwrap();
        let error = JobRecord::read(&files, "shop_tick").unwrap_err();
        assert!(error.contains("is not understood"), "{error}");
        // As large as it likes: no more than the bound is ever read.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(JobRecord::read(&files, "shop_tick").is_err());
        fs::remove_file(&path).unwrap();
        fs::write(dir.path().join("secret"), r#"{"format": 1}"#).unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), &path).unwrap();
        assert!(JobRecord::read(&files, "shop_tick").is_err());
        assert!(matches!(
            HeldRecord::hold(files.root(), "shop_tick"),
            Held::None(_)
        ));
        assert_eq!(JobRecord::read(&files, "shop_other"), Ok(None));
    }
}
