//! systemd, through `systemctl`: the state of units in one call, and the commands that change it.
//!
//! Thin: what is done to which unit and when is decided elsewhere.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{self, CommandError, CommandLine};
use super::platform::Platform;

/// Asking is answered at once, unless systemd itself is stuck.
const ASK: Duration = Duration::from_secs(10);
/// A little more than systemd's own default for a start or stop, so that it says itself what was wrong.
const START: Duration = Duration::from_secs(95);
const STOP: Duration = Duration::from_secs(95);
const RELOAD: Duration = Duration::from_secs(30);
/// `enable` and `disable` make a link and have systemd read its units again.
const ENABLE: Duration = Duration::from_secs(30);

/// What systemd says of a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// There is such a unit, and it is neither broken nor masked.
    pub loaded: bool,
    /// Running (a reload under way included).
    pub active: bool,
    /// Started at boot, or by what wants it: enabling it would change nothing.
    pub enabled: bool,
    /// It is on its way: systemd is starting it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub activating: bool,
    /// It ended, and systemd starts it again and again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub restarting: bool,
    /// Nothing can start it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub masked: bool,
    /// It has no link for the boot, and can have none: it is static, made by a generator, or another's alias.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fixed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What units are really called: of an alias that is another name. Names that systemd does not know are left out.
pub async fn real_names(
    platform: &Platform,
    units: &[String],
) -> Result<BTreeMap<String, String>, CommandError> {
    if units.is_empty() {
        return Ok(BTreeMap::new());
    }
    let command = show(platform, units);
    let output = command::run(&command).await?.checked(&command)?;
    let paragraphs = output.stdout.split("\n\n");
    let paragraphs = paragraphs.filter(|paragraph| !paragraph.trim().is_empty());
    let names = units
        .iter()
        .zip(paragraphs)
        .filter_map(|(unit, paragraph)| {
            let is_known = property(paragraph, "LoadState") != Some("not-found");
            let name = property(paragraph, "Id").filter(|_| is_known)?;
            Some((unit.clone(), name.to_owned()))
        });
    Ok(names.collect())
}

/// The states of `units`, by the names given, in one call of `systemctl`.
///
/// A unit that does not exist is in the result, not loaded. An error where systemd does not run here.
pub async fn unit_states(
    platform: &Platform,
    units: &[String],
) -> Result<BTreeMap<String, UnitState>, CommandError> {
    if units.is_empty() {
        return Ok(BTreeMap::new());
    }
    let command = show(platform, units);
    let output = command::run(&command).await?.checked(&command)?;
    parse_show(&output.stdout, units).ok_or_else(|| CommandError::Failed {
        command: command.to_string(),
        ended: "its answer does not fit the question".to_owned(),
        said: output.said(),
    })
}

/// Those of `units` that have ended, failed or never started, or are about to: one that is started again and again serves
/// nobody.
pub async fn not_serving(
    platform: &Platform,
    units: &[String],
) -> Result<Vec<String>, CommandError> {
    let command = show(platform, units);
    let output = command::run(&command).await?.checked(&command)?;
    let paragraphs = output
        .stdout
        .split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty());
    // By place, as above.
    let still = units.iter().zip(paragraphs).filter(|(_, paragraph)| {
        matches!(
            property(paragraph, "ActiveState"),
            Some("inactive" | "failed" | "activating" | "deactivating")
        )
    });
    Ok(still.map(|(unit, _)| unit.clone()).collect())
}

/// The main process of a unit. `None`: it does not run, or systemd does not say.
pub async fn main_pid(platform: &Platform, unit: &str) -> Option<i32> {
    let systemctl = platform.systemctl.display().to_string();
    let command = CommandLine::new([&systemctl, "show", "--property=MainPID", "--", unit], ASK);
    let output = command::run(&command).await.ok()?;
    let pid = property(&output.stdout, "MainPID")?.trim().parse().ok()?;
    (output.success && pid > 0).then_some(pid)
}

fn show(platform: &Platform, units: &[String]) -> CommandLine {
    let fixed = [
        platform.systemctl.display().to_string(),
        "show".to_owned(),
        "--property=Id,ActiveState,SubState,UnitFileState,LoadState".to_owned(),
        "--".to_owned(),
    ];
    CommandLine::new(fixed.into_iter().chain(units.iter().cloned()), ASK)
}

/// One paragraph a unit, in the order asked. By place and not by `Id`: for an alias that is another name.
fn parse_show(text: &str, units: &[String]) -> Option<BTreeMap<String, UnitState>> {
    let paragraphs: Vec<UnitState> = text
        .split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty())
        .map(parse_unit)
        .collect();
    (paragraphs.len() == units.len()).then(|| units.iter().cloned().zip(paragraphs).collect())
}

fn parse_unit(paragraph: &str) -> UnitState {
    let value = |wanted: &str| property(paragraph, wanted);
    UnitState {
        loaded: value("LoadState") == Some("loaded"),
        active: matches!(
            value("ActiveState"),
            Some("active" | "reloading" | "refreshing")
        ),
        enabled: matches!(
            value("UnitFileState"),
            Some("enabled" | "static" | "alias" | "indirect" | "generated")
        ),
        activating: value("ActiveState") == Some("activating")
            && value("SubState") != Some("auto-restart"),
        restarting: value("SubState") == Some("auto-restart"),
        masked: value("LoadState") == Some("masked")
            || matches!(value("UnitFileState"), Some("masked" | "masked-runtime")),
        fixed: matches!(
            value("UnitFileState"),
            Some("static" | "alias" | "generated" | "transient")
        ),
    }
}

/// The first value of a property in what `systemctl show` says of one unit.
pub fn property<'a>(shown: &'a str, wanted: &str) -> Option<&'a str> {
    shown
        .lines()
        .filter_map(|line| line.split_once('='))
        .find_map(|(key, value)| (key == wanted).then_some(value))
}

/// `systemctl start`, waiting until it runs.
pub fn start(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, "start", unit, START)
}

/// `systemctl stop`, waiting until it has ended.
pub fn stop(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, "stop", unit, STOP)
}

/// `systemctl restart`, waiting until it runs again. Starts a stopped one.
pub fn restart(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, "restart", unit, START)
}

/// `systemctl reload`. Fails on a unit that does not run.
pub fn reload(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, "reload", unit, RELOAD)
}

/// The same without waiting for the units that it is ordered after: for whoever is such a unit and still starts.
pub fn reload_at_once(platform: &Platform, unit: &str) -> CommandLine {
    let systemctl = platform.systemctl.display().to_string();
    let mode = "--job-mode=ignore-dependencies";
    CommandLine::new([&systemctl, "reload", mode, "--", unit], RELOAD)
}

/// The same of `systemctl restart`.
pub fn restart_at_once(platform: &Platform, unit: &str) -> CommandLine {
    let systemctl = platform.systemctl.display().to_string();
    let mode = "--job-mode=ignore-dependencies";
    CommandLine::new([&systemctl, "restart", mode, "--", unit], START)
}

/// When units were started last, in seconds since 1970, by the names given. Those that do not run, or of which
/// systemd does not say it, are left out.
pub async fn started(
    platform: &Platform,
    units: &[String],
) -> Result<BTreeMap<String, i64>, CommandError> {
    let mut started = BTreeMap::new();
    for unit in units {
        let systemctl = platform.systemctl.display().to_string();
        let property_of = "--property=ActiveState,ActiveEnterTimestampMonotonic";
        let command = CommandLine::new([&systemctl, "show", property_of, "--", unit.as_str()], ASK);
        let output = command::run(&command).await?.checked(&command)?;
        let since_boot = property(&output.stdout, "ActiveEnterTimestampMonotonic");
        if property(&output.stdout, "ActiveState") == Some("active")
            && let Some(since_boot) = since_boot.and_then(|micros| micros.parse::<u64>().ok())
        {
            started.insert(unit.clone(), super::clock::wall_time_of(since_boot));
        }
    }
    Ok(started)
}

/// `systemctl enable`. Does not start it.
pub fn enable(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, "enable", unit, ENABLE)
}

/// `systemctl mask`. Does not stop it.
pub fn mask(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, "mask", unit, ENABLE)
}

/// `systemctl unmask`.
pub fn unmask(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, "unmask", unit, ENABLE)
}

/// `systemctl start`, not waiting: for whoever is waited for by it.
pub fn start_at_once(platform: &Platform, unit: &str) -> CommandLine {
    let systemctl = platform.systemctl.display().to_string();
    CommandLine::new([&systemctl, "start", "--no-block", "--", unit], ENABLE)
}

/// `systemctl disable`. Does not stop it.
pub fn disable(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, "disable", unit, ENABLE)
}

fn systemctl(platform: &Platform, verb: &str, unit: &str, deadline: Duration) -> CommandLine {
    CommandLine::new(
        [&platform.systemctl.display().to_string(), verb, "--", unit],
        deadline,
    )
}
