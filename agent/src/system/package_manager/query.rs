//! Asking the package database, which answers also while a transaction goes on and with the repository away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::PackageState;
use crate::system::command::{self, CommandError, CommandLine};
use crate::system::platform::Family;

/// It answers in a hundredth of a second, unless the disk is busy.
const ASK: Duration = Duration::from_secs(30);

/// The states of `names`, in one call.
pub(super) async fn states(
    family: Family,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, PackageState>, CommandError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let words: &[&str] = match family {
        Family::Centos => &[
            "/usr/bin/rpm",
            "-q",
            "--qf",
            "%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\tinstalled\\n",
            "--",
        ],
        Family::Debian => &[
            "/usr/bin/dpkg-query",
            "-W",
            "-f",
            "${Package}\\t${Version}\\t${db:Status-Status}\\n",
            "--",
        ],
    };
    let words = words.iter().map(|word| (*word).to_owned());
    let command = CommandLine::new(words.chain(names.iter().cloned()), ASK);
    let output = command::run(&command).await?;
    let said = format!("{}\n{}", output.stdout, output.stderr);
    let states = read(&said, names);
    // Its exit code says only that some are not there.
    if states.len() == names.len() {
        return Ok(states);
    }
    let failed = output.checked(&command)?;
    Err(CommandError::Failed {
        command: command.to_string(),
        ended: "it did not answer for all packages".to_owned(),
        said: failed.said(),
    })
}

/// What a query printed, errors included. Of a package that it says nothing of there is nothing in the result.
fn read(said: &str, names: &BTreeSet<String>) -> BTreeMap<String, PackageState> {
    let mut states = BTreeMap::new();
    for line in said.lines() {
        if let Some(name) = not_there(line)
            && names.contains(name)
        {
            states
                .entry(name.to_owned())
                .or_insert(PackageState::Absent);
            continue;
        }
        let mut fields = line.split('\t');
        let (Some(name), Some(version), Some(state)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if names.contains(name) {
            let version = version.strip_prefix("0:").unwrap_or(version);
            // Of more than one, as kernels and two architectures are, the last counts.
            let state = state_of(state, version);
            let known = states.get(name);
            if known.is_none_or(|known| *known == PackageState::Absent)
                || state != PackageState::Absent
            {
                states.insert(name.to_owned(), state);
            }
        }
    }
    states
}

fn not_there(line: &str) -> Option<&str> {
    let rpm = || {
        line.strip_prefix("package ")?
            .strip_suffix(" is not installed")
    };
    let dpkg = || line.strip_prefix("dpkg-query: no packages found matching ");
    rpm().or_else(dpkg)
}

fn state_of(word: &str, version: &str) -> PackageState {
    let version = version.to_owned();
    match word {
        // Others' triggers are theirs: the package itself is configured.
        "installed" | "triggers-awaited" | "triggers-pending" => {
            PackageState::Installed { version }
        }
        "not-installed" | "config-files" => PackageState::Absent,
        _ => PackageState::Broken {
            version,
            state: word.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_rpm_says_reads() {
        let said = "alpha\t0:1.0-1.el9\tinstalled\npackage beta is not installed\nbind\t32:9.16.23-1\tinstalled\n";
        let states = read(said, &names(&["alpha", "beta", "bind", "gamma"]));
        insta::assert_debug_snapshot!(states, @r#"
        {
            "alpha": Installed {
                version: "1.0-1.el9",
            },
            "beta": Absent,
            "bind": Installed {
                version: "32:9.16.23-1",
            },
        }
        "#);
    }

    #[test]
    fn what_dpkg_says_reads() {
        let said = "alpha\t2.0-1\tinstalled\nbroken\t1.0-1\thalf-configured\nold\t1.0\tconfig-files\n\ndpkg-query: no packages found matching nothere\n";
        let states = read(said, &names(&["alpha", "broken", "old", "nothere"]));
        insta::assert_debug_snapshot!(states, @r#"
        {
            "alpha": Installed {
                version: "2.0-1",
            },
            "broken": Broken {
                version: "1.0-1",
                state: "half-configured",
            },
            "nothere": Absent,
            "old": Absent,
        }
        "#);
    }
}
