//! The environment of the agent's unit: where credentials and proxies may come from.
//!
//! In a person's shell they are not set, and a request to the bucket would fail there that the agent itself makes.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use super::command::{self, CommandLine};
use super::platform::Platform;
use super::systemd;

/// The file that the agent's unit reads its environment from.
pub const FILE: &str = "/etc/agentd/environment";
/// Set in the process that has adopted it, so that it does so once.
const ADOPTED: &str = "AGENT_ADOPTED_ENVIRONMENT";
const DEADLINE: Duration = Duration::from_secs(5);

/// Starts this very command again, in this process's place, with what the agent's unit sets; for who runs on the machine
/// itself. Where the unit sets credentials, those of the person's shell do not count: what is found is what the agent
/// finds. Where that cannot be: goes on as it is.
pub fn adopt(platform: &Platform) {
    // A unit that systemd starts has its environment already.
    if std::env::var_os(ADOPTED).is_some() || std::env::var_os("INVOCATION_ID").is_some() {
        return;
    }
    let variables = of_unit(platform);
    let others = shadowed(&variables, std::env::vars().map(|(name, _)| name));
    let differs =
        |(name, value): (&String, &String)| std::env::var(name).ok().as_ref() != Some(value);
    let (true, Ok(own)) = (
        variables.iter().any(differs) || (!variables.is_empty() && !others.is_empty()),
        std::env::current_exe(),
    ) else {
        return;
    };
    let mut again = Command::new(own);
    for name in others {
        again.env_remove(name);
    }
    // Comes back only where it failed.
    let _ = again
        .args(std::env::args_os().skip(1))
        .envs(variables)
        .env(ADOPTED, "1")
        .exec();
}

/// The variables of a shell that would mix with the unit's: half of its credentials with half of the unit's are none.
fn shadowed(unit: &BTreeMap<String, String>, own: impl Iterator<Item = String>) -> Vec<String> {
    let of_aws = |name: &str| name.to_ascii_uppercase().starts_with("AWS_");
    if !unit.keys().any(|name| of_aws(name)) {
        return Vec::new();
    }
    own.filter(|name| of_aws(name) && !unit.contains_key(name))
        .collect()
}

/// What the unit and the files that it names set, as far as it concerns requests to the bucket.
fn of_unit(platform: &Platform) -> BTreeMap<String, String> {
    let systemctl = platform.systemctl.display().to_string();
    let show = [&systemctl, "show", "--", "agentd.service"].map(str::to_owned);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return BTreeMap::new();
    };
    let Ok(output) = runtime.block_on(command::run(&CommandLine::new(show, DEADLINE))) else {
        return BTreeMap::new();
    };
    let mut set: BTreeMap<String, String> = systemd::property(&output.stdout, "Environment")
        .map(words)
        .unwrap_or_default()
        .iter()
        .filter_map(|word| assignment(word))
        .collect();
    let files = output
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("EnvironmentFiles="));
    for file in files {
        let path = file.split(" (").next().unwrap_or_default();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        set.extend(text.lines().filter_map(assignment));
    }
    set.retain(|name, _| concerns_requests(name));
    set
}

fn concerns_requests(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.starts_with("AWS_")
        || upper.starts_with("SSL_CERT_")
        || matches!(
            upper.as_str(),
            "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY" | "NO_PROXY" | "HOME"
        )
}

/// `NAME=value`, the value quoted or not. Comments are none.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    let value = value.trim();
    let bare = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    Some((name.trim().into(), bare.into()))
}

/// The words of a property, of which those with spaces are quoted.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => {
                if let Some(word) = words.last_mut() {
                    word.push(other);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_unit_sets_is_read_as_systemd_reads_it() {
        assert_eq!(
            words(r#"A=1 "B=two words" C="#),
            ["A=1", "B=two words", "C="]
        );
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(
            assignment("AWS_REGION=\"eu-west-1\""),
            pair("AWS_REGION", "eu-west-1")
        );
        assert_eq!(assignment("  A = 'x y' "), pair("A", "x y"));
        assert_eq!(assignment("# A=1"), None);
        assert_eq!(assignment("; A=1"), None);
        assert_eq!(assignment("nothing"), None);
    }

    #[test]
    fn credentials_of_a_shell_do_not_mix_with_those_of_the_unit() {
        let own = || ["AWS_SESSION_TOKEN", "AWS_PROFILE", "PATH", "AWS_REGION"].map(str::to_owned);
        let unit = |names: &[&str]| -> BTreeMap<String, String> {
            let set = names.iter().map(|name| ((*name).to_owned(), "x".into()));
            set.collect()
        };
        assert_eq!(
            shadowed(
                &unit(&["AWS_ACCESS_KEY_ID", "AWS_REGION"]),
                own().into_iter()
            ),
            ["AWS_SESSION_TOKEN", "AWS_PROFILE"]
        );
        assert!(shadowed(&unit(&["HTTPS_PROXY"]), own().into_iter()).is_empty());
    }
}
