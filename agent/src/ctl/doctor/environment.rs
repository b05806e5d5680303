//! The environment of the agent's unit: where credentials and proxies may come from.
//!
//! In a person's shell they are not set, and a probe of the bucket would fail that the agent itself passes.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use super::super::args::Global;
use super::super::place;
use crate::settings::{self, Overrides, Settings};
use crate::system::command::{self, CommandLine};
use crate::system::platform::Platform;
use crate::system::systemd;

/// Set in the process that has adopted it, so that it does so once.
const ADOPTED: &str = "AGENTCTL_ADOPTED_ENVIRONMENT";
const DEADLINE: Duration = Duration::from_secs(5);

/// Starts this very command again, in this process's place, with what the unit sets. Where that cannot be: goes on as it is.
pub fn adopt(global: &Global) {
    let machine = place::root(global).is_ok_and(|root| root.is_machine());
    if !machine || std::env::var_os(ADOPTED).is_some() {
        return;
    }
    let variables = of_unit();
    let new = variables
        .iter()
        .any(|(name, value)| std::env::var(name).ok().as_ref() != Some(value));
    let (true, Ok(own)) = (new, std::env::current_exe()) else {
        return;
    };
    // Comes back only where it failed.
    let _ = Command::new(own)
        .args(std::env::args_os().skip(1))
        .envs(variables)
        .env(ADOPTED, "1")
        .exec();
}

/// What the unit and the files that it names set, as far as it concerns requests to the bucket.
fn of_unit() -> BTreeMap<String, String> {
    let Ok(root) = settings::root_of(&Overrides::default()) else {
        return BTreeMap::new();
    };
    // Where the settings are wrong a later check says so.
    let platform = Settings::load(&Overrides::default()).map(|settings| settings.platform);
    let platform = platform.unwrap_or_else(|_| Platform::detect(&root));
    let systemctl = platform.systemctl.display().to_string();
    let show = [&systemctl, "show", "--", "agentd.service"].map(str::to_owned);
    let answer = place::block_on(command::run(&CommandLine::new(show, DEADLINE)));
    let Ok(Ok(output)) = answer else {
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
pub(super) fn assignment(line: &str) -> Option<(String, String)> {
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
pub(super) fn words(text: &str) -> Vec<String> {
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
