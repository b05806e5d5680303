//! What strace saw of a process, and which of it is a write.

use std::fmt;

/// Calls that write to a file system whatever their arguments, or that wait until what was written is on disk.
const WRITING: &[&str] = &[
    "chmod",
    "chown",
    "copy_file_range",
    "creat",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fdatasync",
    "fremovexattr",
    "fsetxattr",
    "fsync",
    "ftruncate",
    "futimesat",
    "lchown",
    "link",
    "linkat",
    "lremovexattr",
    "lsetxattr",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "mount",
    "msync",
    "open_by_handle_at",
    "pwritev",
    "pwritev2",
    "removexattr",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendfile",
    "setxattr",
    "splice",
    "symlink",
    "symlinkat",
    "sync",
    "sync_file_range",
    "syncfs",
    "truncate",
    "umount2",
    "unlink",
    "unlinkat",
    "utime",
    "utimensat",
    "utimes",
    "io_uring_setup",
    "io_uring_enter",
];

/// Calls that write to what their first argument is: a file system's file, or a pipe, socket or event.
const BY_DESCRIPTOR: &[&str] = &["write", "writev", "pwrite64"];

/// The options for a log that [`offences`] understands: all threads and children, all calls, descriptors with their paths.
pub const OPTIONS: [&str; 4] = ["-f", "-qq", "-y", "-s256"];

/// A call that an idle run has no business with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    /// The name of the call.
    pub call: String,
    /// The whole line.
    pub line: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.line)
    }
}

/// The calls of a log that write to a file system, successful or not, or start another process. `lock` is the end of
/// the path of the one file that may be opened with `O_CREAT`, if only for reading and if it is there already.
pub fn offences(log: &str, lock: &str) -> Vec<Offence> {
    let mut started = false;
    log.lines()
        .filter_map(|line| {
            let (call, arguments) = call(line)?;
            // The first one is strace's own, of the program itself.
            let program = call == "execve" && !std::mem::replace(&mut started, true);
            (!program && offends(call, arguments, lock)).then(|| Offence {
                call: call.into(),
                line: line.into(),
            })
        })
        .collect()
}

/// How many calls a log has: a checker that sees nothing must not pass for a run that does nothing.
pub fn calls(log: &str) -> usize {
    log.lines().filter_map(call).count()
}

/// The name and the rest of a line such as `123 openat(AT_FDCWD, …`. `None`: a signal, an exit, the end of a call that began earlier.
fn call(line: &str) -> Option<(&str, &str)> {
    let line = line
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start();
    let (name, arguments) = line.split_once('(')?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then_some((name, arguments))
}

fn offends(call: &str, arguments: &str, lock: &str) -> bool {
    match call {
        "open" | "openat" | "openat2" => opens_for_writing(arguments, lock),
        "execve" | "execveat" | "fork" | "vfork" => true,
        "clone" | "clone3" => !arguments.contains("CLONE_THREAD"),
        _ if BY_DESCRIPTOR.contains(&call) => writes_to_a_file(arguments),
        _ => WRITING.contains(&call),
    }
}

fn opens_for_writing(arguments: &str, lock: &str) -> bool {
    let has = |flag: &str| {
        arguments
            .split([',', '|', ' ', ')'])
            .any(|word| word == flag)
    };
    if ["O_WRONLY", "O_RDWR", "O_TRUNC", "O_TMPFILE", "O_APPEND"]
        .iter()
        .any(|flag| has(flag))
    {
        return true;
    }
    let is_lock = has("O_RDONLY") && !has("O_EXCL") && arguments.contains(&format!("{lock}\""));
    has("O_CREAT") && !is_lock
}

/// `1</tmp/file>, "…"` is one; `1<pipe:[123]>` and `4<anon_inode:[eventfd]>` are none.
fn writes_to_a_file(arguments: &str) -> bool {
    let path = arguments.split_once('<').map(|(_, path)| path);
    path.is_none_or(|path| path.starts_with('/') && !path.starts_with("/dev/null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offending(line: &str) -> bool {
        let log = format!("1 execve(\"/usr/sbin/agentd\", []) = 0\n{line}\n");
        !offences(&log, "run.lock").is_empty()
    }

    #[test]
    fn writes_are_told_from_reads() {
        for line in [
            r#"1 openat(3</r>, "x", O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600) = 4</r/x>"#,
            r#"1 openat(AT_FDCWD, "x", O_WRONLY|O_CLOEXEC) = -1 EACCES (Permission denied)"#,
            r#"1 openat(3</r>, "other.lock", O_RDONLY|O_CREAT, 0600) = 4</r/other.lock>"#,
            r#"1 openat(3</r>, "run.lock", O_RDONLY|O_CREAT|O_EXCL, 0600) = 4</r/run.lock>"#,
            r#"1 openat(3</r>, "run.lock", O_RDWR|O_CREAT, 0600) = 4</r/run.lock>"#,
            r#"22 renameat(3</r>, "a", 3</r>, "b") = 0"#,
            "22 fsync(4</r/x> <unfinished ...>",
            r#"22 write(4</r/x>, "x", 1) = 1"#,
            r#"22 write(4, "x", 1) = 1"#,
            "22 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD}, 88) = 23",
            r#"23 execve("/bin/true", ["true"]) = 0"#,
            r#"1 utimensat(AT_FDCWD, "x", NULL, 0) = 0"#,
        ] {
            assert!(offending(line), "{line}");
        }
        for line in [
            r#"1 openat(3</r/run/agentd>, "run.lock", O_RDONLY|O_CREAT|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC, 0600) = 4</r/run/agentd/run.lock>"#,
            r#"1 openat(AT_FDCWD, "/etc/O_RDWR", O_RDONLY|O_CLOEXEC) = 3</etc/O_RDWR>"#,
            r#"1 write(1<pipe:[77]>, "nothing to do\n", 14) = 14"#,
            r#"1 write(6<anon_inode:[eventfd]>, "\1\0\0\0\0\0\0\0", 8) = 8"#,
            "1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD|CLONE_SYSVSEM, exit_signal=0}, 88) = 24",
            "1 <... fsync resumed>) = 0",
            "1 --- SIGCHLD {si_signo=SIGCHLD} ---",
            "1 +++ exited with 0 +++",
            "1 flock(4</r/run.lock>, LOCK_EX|LOCK_NB) = 0",
        ] {
            assert!(!offending(line), "{line}");
        }
    }
}
