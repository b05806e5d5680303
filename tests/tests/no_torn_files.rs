//! Promise: no torn file, neither by `kill -9` nor by a power cut. What a write replaced is there whole or what it wrote
//! is; a write that returned is there after the power cut.
//!
//! The power cut is one: an ext4 file system in a file is shut down in the middle, without writing its journal out, and
//! mounted again. Needs root, mkfs.ext4 and python3 (for the one ioctl that no other program offers).

#![cfg(test)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use node_agent::system::file::Files;
use node_agent::system::root::Root;
use node_agent_tests::machine::{Trouble, run};
use tempfile::TempDir;

const FILE: &str = "/etc/agentd-test/file";
/// Names the root under which the writer writes.
const ROOT: &str = "NO_TORN_FILES_ROOT";
/// How many writes the writer makes; the first is number [`FROM`].
const COUNT: &str = "NO_TORN_FILES_COUNT";
const FROM: &str = "NO_TORN_FILES_FROM";
/// Far more than a page and a block, and no multiple of either.
const LENGTH: usize = 300_001;
const PATIENCE: Duration = Duration::from_secs(30);
const LONG_PATIENCE: Duration = Duration::from_mins(5);
/// Tells a test that it runs in a mount namespace of its own.
const INSIDE: &str = "NO_TORN_FILES_INSIDE";

/// What write number `n` writes: nothing but one letter, so that any mixture shows.
fn content(n: u64) -> Vec<u8> {
    vec![letter(n); LENGTH]
}

fn letter(n: u64) -> u8 {
    b'a' + u8::try_from(n % 26).unwrap_or_default()
}

/// Which letter the file has, all through. `None`: there is no file.
fn whole(root: &Path) -> Result<Option<u8>, Trouble> {
    let bytes = match std::fs::read(root.join(FILE.trim_start_matches('/'))) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Trouble::caused("cannot read the file", error)),
    };
    match bytes.first() {
        Some(first) if bytes.len() == LENGTH && bytes.iter().all(|byte| byte == first) => {
            Ok(Some(*first))
        }
        first => Err(Trouble::new(format!(
            "torn: {} bytes, the first is {first:?}",
            bytes.len()
        ))),
    }
}

/// Not a test by itself: the other tests run this program again as the writer that they kill.
#[test]
fn writer() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0_u64)
    };
    let files = Files::new(Root::under(Path::new(&root)).unwrap());
    for n in number(FROM)..number(FROM) + number(COUNT) {
        files.write(Path::new(FILE), &content(n), 0o644).unwrap();
        // Unbuffered: the parent must know of each write that returned.
        println!("\nwrote {n}");
    }
}

/// Starts the writer on `root`; `point`: at which point of its first write it dies.
fn start(root: &Path, from: u64, count: u64, point: Option<u32>) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
        .env(ROOT, root)
        .env(FROM, from.to_string())
        .env(COUNT, count.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(point) = point {
        command.env("AGENTD_CRASH_AT", point.to_string());
    }
    command.spawn()
}

/// The number of the last write that the writer said it had done, once it has ended.
fn last_done(writer: &mut Child) -> Option<u64> {
    let mut said = String::new();
    writer.stdout.take()?.read_to_string(&mut said).ok()?;
    said.lines()
        .filter_map(|line| line.strip_prefix("wrote ")?.parse().ok())
        .next_back()
}

/// The same moments in each run of the tests.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below_micros: u64) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % below_micros)
    }
}

#[test]
fn killed_at_each_point_of_a_write() {
    let dir = TempDir::new().unwrap();
    let files = Files::new(Root::under(dir.path()).unwrap());
    let mut killed = 0;
    for point in 1.. {
        files.write(Path::new(FILE), &content(0), 0o644).unwrap();
        let mut writer = start(dir.path(), 1, 1, Some(point)).unwrap();
        let done = last_done(&mut writer);
        let ended = writer.wait().unwrap();
        let found = whole(dir.path()).unwrap();
        if ended.success() {
            assert_eq!((done, found), (Some(1), Some(letter(1))));
            break;
        }
        assert_eq!(done, None);
        assert!(
            [Some(letter(0)), Some(letter(1))].contains(&found),
            "point {point}: {found:?}"
        );
        files.sweep(Path::new(FILE).parent().unwrap()).unwrap();
        let names = std::fs::read_dir(dir.path().join("etc/agentd-test"))
            .unwrap()
            .count();
        assert_eq!(
            names, 1,
            "point {point}: something was left beside the file"
        );
        killed += 1;
    }
    assert!(
        killed >= 5,
        "the write passed only {killed} points: is this a build with debug assertions?"
    );
}

#[test]
fn killed_at_any_moment_while_others_read() {
    let dir = TempDir::new().unwrap();
    let mut moments = Moments(0x5EED);
    for round in 0..40 {
        let mut writer = start(dir.path(), round * 1000, 1000, None).unwrap();
        let moment = Duration::from_millis(5) + moments.next(60_000);
        let clock = std::time::Instant::now();
        while clock.elapsed() < moment {
            whole(dir.path()).unwrap();
        }
        writer.kill().unwrap();
        let done = last_done(&mut writer);
        writer.wait().unwrap();
        let found = whole(dir.path()).unwrap();
        if let Some(done) = done {
            assert!(
                [letter(done), letter(done + 1)].map(Some).contains(&found),
                "round {round}"
            );
        }
    }
}

/// An ext4 file system in a file. Dropped: unmounted.
struct Disk {
    dir: TempDir,
    mounted: bool,
}

impl Disk {
    fn new() -> Result<Self, Trouble> {
        let dir = TempDir::new().map_err(|e| Trouble::caused("cannot make a directory", e))?;
        let disk = Self {
            dir,
            mounted: false,
        };
        host(&["truncate", "-s", "48M", &disk.image()])?;
        host(&["mkfs.ext4", "-q", &disk.image()])?;
        host(&["mkdir", &disk.at().display().to_string()])?;
        Ok(disk)
    }

    fn image(&self) -> String {
        self.dir.path().join("image").display().to_string()
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn mount(&mut self) -> Result<(), Trouble> {
        host(&[
            "mount",
            "-o",
            "loop",
            &self.image(),
            &self.at().display().to_string(),
        ])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), Trouble> {
        self.mounted = false;
        host(&["umount", &self.at().display().to_string()])
    }

    /// Everything that is not on disk in this moment is lost, the journal's unwritten part included.
    fn cut_the_power(&self) -> Result<(), Trouble> {
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
        const CUT: &str = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        host(&["python3", "-c", CUT, &self.at().display().to_string()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = self.unmount();
        }
    }
}

fn host(line: &[&str]) -> Result<(), Trouble> {
    let output = run(line, b"", PATIENCE)?;
    if output.success() {
        Ok(())
    } else {
        Err(Trouble::caused(
            format!("{} failed", line.join(" ")),
            output.stderr,
        ))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the careless write that the power cut is tried on"
)]
fn carelessly(path: &Path) -> std::io::Result<()> {
    std::fs::write(path, content(0))
}

/// Runs the test `name` of this program once more, in a mount namespace of its own: a mount that some other process's
/// namespace has a copy of outlives its unmounting, and then it is the same broken file system that is mounted again.
/// Returns whether this is that run.
fn in_own_namespace(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let inside = format!("{INSIDE}=yes");
    let line = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "env",
        &inside,
        own.to_str().unwrap(),
        "--exact",
        name,
        "--nocapture",
    ];
    let output = run(&line, b"", LONG_PATIENCE).unwrap();
    assert!(output.success(), "{}{}", output.stdout, output.stderr);
    false
}

#[test]
fn a_power_cut_is_one() {
    if !in_own_namespace("a_power_cut_is_one") {
        return;
    }
    // A write that nobody synced is lost: so the other test can fail.
    let mut disk = Disk::new().unwrap();
    disk.mount().unwrap();
    carelessly(&disk.at().join("careless")).unwrap();
    disk.cut_the_power().unwrap();
    disk.unmount().unwrap();
    disk.mount().unwrap();
    assert!(!disk.at().join("careless").exists());
}

#[test]
fn the_power_is_cut_at_each_point_and_at_any_moment() {
    if !in_own_namespace("the_power_is_cut_at_each_point_and_at_any_moment") {
        return;
    }
    let mut disk = Disk::new().unwrap();
    let mut killed = 0;
    for point in 1.. {
        disk.mount().unwrap();
        let files = Files::new(Root::under(&disk.at()).unwrap());
        files.write(Path::new(FILE), &content(0), 0o644).unwrap();
        drop(files);
        let mut writer = start(&disk.at(), 1, 1, Some(point)).unwrap();
        let done = last_done(&mut writer);
        let completed = writer.wait().unwrap().success();
        disk.cut_the_power().unwrap();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        let found = whole(&disk.at()).unwrap();
        disk.unmount().unwrap();
        if completed {
            assert_eq!(
                (done, found),
                (Some(1), Some(letter(1))),
                "a write that returned was lost"
            );
            break;
        }
        assert!(
            [Some(letter(0)), Some(letter(1))].contains(&found),
            "point {point}: {found:?}"
        );
        killed += 1;
    }
    assert!(killed >= 5, "only {killed} points");

    let mut moments = Moments(0xD15C);
    for round in 0..15 {
        disk.mount().unwrap();
        let mut writer = start(&disk.at(), 26, 100_000, None).unwrap();
        // Not before it is at it: the first write has returned.
        let (sender, receiver) = mpsc::channel();
        let mut said = BufReader::new(writer.stdout.take().unwrap());
        let listening = std::thread::spawn(move || {
            let (mut last, mut line) = (0, String::new());
            while said.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(n) = line
                    .trim()
                    .strip_prefix("wrote ")
                    .and_then(|n| n.parse::<u64>().ok())
                {
                    last = n;
                    let _ = sender.send(n);
                }
                line.clear();
            }
            last
        });
        receiver.recv_timeout(PATIENCE).unwrap();
        std::thread::sleep(moments.next(50_000));
        disk.cut_the_power().unwrap();
        // Its next write fails, which ends it.
        let ended = writer.wait().unwrap();
        assert!(!ended.success());
        let last = listening.join().unwrap();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        let found = whole(&disk.at()).unwrap();
        disk.unmount().unwrap();
        let may = [letter(last), letter(last + 1)].map(Some);
        assert!(
            may.contains(&found),
            "round {round}: {last} was written, and then came {found:?}"
        );
    }
}
