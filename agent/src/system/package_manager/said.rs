//! What package managers say when they fail, told apart: who is in the way, what is away, what does not fit. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::runner::Ended;
use crate::system::process;

/// Why a transaction failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody else works on the package database: who.
    Locked(String),
    /// A repository does not give what it should.
    Unreachable,
    /// There is no package of that name or version, as far as the lists on this machine know.
    Unknown,
    /// The file system is full.
    NoSpace,
    /// dpkg was interrupted, and wants to be told to go on.
    Interrupted,
    /// What is installed conflicts with what is wanted, or needs it.
    Conflict,
    /// A package's script failed, or something else did.
    Failed,
}

const LOCKED: [&str; 7] = [
    "Could not get lock",
    "Unable to acquire the dpkg frontend lock",
    "Unable to lock",
    "dpkg frontend lock was locked by another process",
    "dpkg status database is locked",
    "can't create transaction lock",
    "Waiting for process with pid",
];
const NO_SPACE: [&str; 6] = [
    "No space left on device",
    "don't have enough free space",
    "more space needed on",
    "more space on the",
    "more inodes on the",
    "Disk Requirements:",
];
const INTERRUPTED: [&str; 1] = ["dpkg was interrupted, you must"];
const UNREACHABLE: [&str; 13] = [
    "Failed to fetch",
    "Failed to download metadata",
    "Cannot download",
    "Errors during downloading metadata",
    "Ignoring repositories:",
    "Cannot prepare internal mirrorlist",
    "have incorrect checksum",
    "All mirrors were tried",
    "Unable to fetch some archives",
    "Some index files failed to download",
    "There are no enabled repositories",
    "does not have a Release file",
    "is not signed",
];
const UNKNOWN: [&str; 8] = [
    "Unable to find a match",
    "No match for argument",
    "No package matches",
    "Unable to locate package",
    "was not found",
    "has no installation candidate",
    "Couldn't find any package",
    "filtered out by",
];
const CONFLICT: [&str; 8] = [
    "unmet dependencies",
    "held broken packages",
    "conflicting requests",
    "nothing provides",
    "conflicts with",
    "Packages need to be removed",
    "downgraded and -y was used",
    "is needed by (installed)",
];

/// What dnf ends with where somebody else holds its lock and it was told not to wait.
const DNF_LOCKED: i32 = 200;

fn has(said: &str, words: &[&str]) -> bool {
    words.iter().any(|word| said.contains(word))
}

/// Why it failed. Of something that ended well: nothing.
pub(super) fn cause(ended: &Ended) -> Option<Cause> {
    let said = &ended.said;
    if ended.code == Some(0) {
        return None;
    }
    Some(if ended.code == Some(DNF_LOCKED) || has(said, &LOCKED) {
        Cause::Locked(holder(said))
    } else if has(said, &INTERRUPTED) {
        Cause::Interrupted
    } else if has(said, &NO_SPACE) {
        Cause::NoSpace
    } else if has(said, &UNREACHABLE) {
        Cause::Unreachable
    } else if has(said, &UNKNOWN) {
        Cause::Unknown
    } else if has(said, &CONFLICT) {
        Cause::Conflict
    } else {
        Cause::Failed
    })
}

/// Whether refreshing the lists of packages told of a repository that could not be reached.
pub(super) fn is_unreachable(said: &str) -> bool {
    has(said, &UNREACHABLE)
}

/// Who holds the lock, as `PID (name)`.
fn holder(said: &str) -> String {
    let number = |mark: &str| -> Option<i32> {
        let (_, rest) = said.rsplit_once(mark)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let marks = ["held by process ", "process with pid ", "PID "];
    let named = marks.iter().find_map(|mark| number(mark));
    match named.or_else(holder_of_rpm) {
        Some(pid) => match process::identity(pid) {
            Some(process) => format!("process {pid} ({})", process.name),
            None => format!("process {pid}, which has ended by now"),
        },
        None => "another process".to_owned(),
    }
}

/// rpm does not say who holds the lock of its database; the kernel does.
fn holder_of_rpm() -> Option<i32> {
    use std::os::unix::fs::MetadataExt as _;
    let files = ["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"];
    let inode = files
        .iter()
        .find_map(|path| std::fs::metadata(path).ok())?
        .ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(4);
        let pid = fields.next()?.parse().ok().filter(|pid| *pid > 0)?;
        let (_, found) = fields.next()?.rsplit_once(':')?;
        (found.parse() == Ok(inode)).then_some(pid)
    })
}

/// So many lines are quoted, of so many characters.
const LINES: usize = 12;
const WIDTH: usize = 300;

/// What matters of what it said: the lines about errors, else the last ones.
pub(super) fn essence(said: &str) -> String {
    let marks = [
        "error",
        "Error",
        "E: ",
        "fail",
        "Fail",
        "Problem",
        "exit status",
        "needed by",
        "conflict",
        "No match",
        "nothing provides",
        "Depends:",
        "Conflicts:",
        "Errors were",
        "WARNING",
        "space needed",
    ];
    let told: Vec<&str> = lines(said).filter(|line| has(line, &marks)).collect();
    let told = if told.is_empty() {
        lines(said).collect()
    } else {
        told
    };
    quoted(&told)
}

fn lines(said: &str) -> impl DoubleEndedIterator<Item = &str> {
    let lines = said.lines().map(str::trim_end);
    lines.filter(|line| !line.trim().is_empty())
}

/// The last lines, each cut.
fn quoted(lines: &[&str]) -> String {
    let from = lines.len().saturating_sub(LINES);
    let shown = lines.iter().skip(from).map(|line| {
        let end = line.floor_char_boundary(WIDTH);
        line.get(..end).unwrap_or(line).trim()
    });
    let text = shown.collect::<Vec<_>>().join("\n");
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        text
    }
}

/// Of `names` those that the errors in what was said are about, each with what was said of it.
pub(super) fn blamed<'n>(
    said: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> BTreeMap<String, String> {
    let marks = [
        "error",
        "Error",
        "E: ",
        "No match",
        "Unable to",
        "filtered out",
        "scriptlet failed",
        "Depends:",
        "Conflicts:",
        "needed by",
        "nothing provides",
        "requires",
        "conflicts with",
        "install failed",
    ];
    let mut blamed = BTreeMap::new();
    let told: Vec<&str> = lines(said).filter(|line| has(line, &marks)).collect();
    // dpkg names them, one a line, at its end.
    let mut listed = BTreeSet::new();
    for line in lines(said).skip_while(|line| !line.starts_with("Errors were encountered")) {
        if line.starts_with(' ') {
            listed.insert(line.trim());
        }
    }
    for name in names {
        let of_it: Vec<&str> = (told.iter().copied())
            .filter(|line| is_named(line, name))
            .collect();
        let is_listed = listed.iter().any(|line| is_named(line, name));
        if !of_it.is_empty() || is_listed {
            blamed.insert(name.to_owned(), quoted(&of_it));
        }
    }
    blamed
}

/// Whether a line is about the package: its name stands there by itself, or with its version behind it.
fn is_named(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let part = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let mut after = line.get(at + name.len()..).unwrap_or_default().chars();
        let ends = match after.next() {
            Some('-') => after.next().is_some_and(|next| next.is_ascii_digit()),
            Some('.') => after
                .next()
                .is_none_or(|next| !next.is_ascii_alphanumeric()),
            Some(next) => !part(next) || next == '_',
            None => true,
        };
        ends && !before.is_some_and(part)
    })
}

/// The package whose script, or files, the manager was at when it was killed.
pub(super) fn last_at(said: &str) -> Option<&str> {
    let marks = [
        "Running scriptlet: ",
        "Installing       : ",
        "Upgrading        : ",
        "Setting up ",
        "Unpacking ",
    ];
    lines(said).rev().find_map(|line| {
        let (_, rest) = marks.iter().find_map(|mark| line.split_once(mark))?;
        rest.split_whitespace().next()
    })
}

/// Scripts that failed without their packages being worse off for it, as rpm sees it.
pub(super) fn failed_scripts(said: &str) -> Vec<String> {
    let mut scripts: Vec<String> = lines(said)
        .filter(|line| line.starts_with("Error in ") && line.contains("scriptlet in rpm package"))
        .map(str::to_owned)
        .collect();
    scripts.dedup();
    scripts.truncate(LINES);
    scripts
}

/// What a simulation of apt-get would do to packages beyond installing them: `(verb, name)`, where the verb is `Remv` or, of
/// one that is there already, `Inst`.
pub(super) fn simulated(said: &str) -> Vec<(&str, &str)> {
    let read = |line: &'_ str| -> Option<(usize, usize)> {
        let rest = line
            .strip_prefix("Remv ")
            .or_else(|| line.strip_prefix("Inst "))?;
        let name = rest.split_whitespace().next()?;
        let is_there = line.starts_with("Remv ") || rest.get(name.len()..)?.starts_with(" [");
        is_there.then_some((4, name.len()))
    };
    said.lines()
        .filter_map(|line| {
            let (verb, name) = read(line)?;
            Some((line.get(..verb)?, line.get(verb + 1..verb + 1 + name)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32, said: &str) -> Option<Cause> {
        cause(&Ended {
            code: Some(code),
            said: said.into(),
        })
    }

    #[test]
    fn failures_are_told_apart() {
        assert_eq!(of(0, "Complete!"), None);
        assert_eq!(
            of(
                100,
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 999999999 (apt-get)"
            ),
            Some(Cause::Locked(
                "process 999999999, which has ended by now".into()
            ))
        );
        assert!(
            matches!(of(200, "Waiting for process with pid 1 to finish."), Some(Cause::Locked(who)) if who.starts_with("process 1 ("))
        );
        for (code, said, cause) in [
            (
                1,
                "No match for argument: nothere\nError: Unable to find a match: nothere",
                Cause::Unknown,
            ),
            (
                1,
                "Ignoring repositories: local\nNo match for argument: hangs\nError: Unable to find a match: hangs",
                Cause::Unreachable,
            ),
            (
                1,
                "Error: Some packages from local repository have incorrect checksum",
                Cause::Unreachable,
            ),
            (100, "E: Unable to locate package nothere", Cause::Unknown),
            (
                100,
                "E: Version '9.9' for 'alpha' was not found",
                Cause::Unknown,
            ),
            (
                100,
                "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
                Cause::Interrupted,
            ),
            (
                100,
                "E: You don't have enough free space in /var/cache/apt/archives/.",
                Cause::NoSpace,
            ),
            (
                1,
                "Error: Transaction test error:\n  installing package big-1-1.noarch needs 30MB more space on the / filesystem",
                Cause::NoSpace,
            ),
            (
                100,
                "E: Packages were downgraded and -y was used without --allow-downgrades.",
                Cause::Conflict,
            ),
            (1, "Error: Transaction failed", Cause::Failed),
        ] {
            assert_eq!(of(code, said), Some(cause), "{said}");
        }
    }

    #[test]
    fn who_is_to_blame_is_found() {
        let dpkg = "Setting up beta (1.0-1) ...\nit is broken\ndpkg: error processing package broken (--configure):\n installed broken package post-installation script subprocess returned error exit status 3\nErrors were encountered while processing:\n broken\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n";
        insta::assert_debug_snapshot!(blamed(dpkg, ["alpha", "beta", "broken"]), @r#"
        {
            "broken": "dpkg: error processing package broken (--configure):\ninstalled broken package post-installation script subprocess returned error exit status 3",
        }
        "#);
        let archive = "dpkg: error processing archive /srv/repo/./prebroken_1.0-1_all.deb (--unpack):\n new prebroken package pre-installation script subprocess returned error exit status 3\nErrors were encountered while processing:\n /srv/repo/./prebroken_1.0-1_all.deb\n";
        assert!(
            blamed(archive, ["prebroken", "broken"])
                .keys()
                .eq(["prebroken"])
        );
        let dnf = "No match for argument: php-nothere\nError: Unable to find a match: php-nothere";
        assert!(
            blamed(dnf, ["php", "php-nothere"])
                .keys()
                .eq(["php-nothere"])
        );
        let rpm = "error: %prein(prebroken-1.0-1.noarch) scriptlet failed, exit status 3\nError in PREIN scriptlet in rpm package prebroken\nerror: prebroken-1.0-1.noarch: install failed";
        assert!(
            blamed(rpm, ["broken", "prebroken"])
                .keys()
                .eq(["prebroken"])
        );
    }

    #[test]
    fn what_a_simulation_would_take_along_is_seen() {
        let said = "Remv beta [1.0-1]\nInst alpha [1.0-1] (2.0-1 repo [all])\nInst new (1.0 repo [all])\nConf new (1.0 repo [all])\n";
        assert_eq!(simulated(said), [("Remv", "beta"), ("Inst", "alpha")]);
    }

    #[test]
    fn the_package_that_was_worked_at_is_known() {
        assert_eq!(
            last_at("Setting up beta (1.0-1) ...\nSetting up hangs (1.0-1) ...\n"),
            Some("hangs")
        );
        let dnf = "  Installing       : hangs-1.0-1.noarch   1/1 \n  Running scriptlet: hangs-1.0-1.noarch     1/1";
        assert_eq!(last_at(dnf), Some("hangs-1.0-1.noarch"));
        assert_eq!(last_at("Downloading Packages:"), None);
    }
}
