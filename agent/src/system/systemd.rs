//! systemd, through `systemctl`: what it says of units, and the commands that change them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command::{self, CommandError, CommandLine};
use super::platform::Platform;

/// How long a question may take.
const ASK: Duration = Duration::from_secs(10);
/// How long a reload may take.
const RELOAD: Duration = Duration::from_secs(30);
/// How long a start, stop or restart may take: systemd's own default for a unit.
const START: Duration = Duration::from_secs(90);

/// What systemd says of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitState {
    /// There is such a unit.
    pub loaded: bool,
    /// It runs, or is reloading.
    pub active: bool,
    /// It is started at boot.
    pub enabled: bool,
}

/// The states of `units` (full names), by one question to systemd. A unit that it does not mention is left out.
pub async fn unit_states(
    platform: &Platform,
    units: &[String],
) -> Result<BTreeMap<String, UnitState>, CommandError> {
    let ask = [
        "show",
        "--property=Id,LoadState,ActiveState,UnitFileState",
        "--",
    ];
    let arguments = ask.into_iter().chain(units.iter().map(String::as_str));
    let output = command::run(&systemctl(platform, arguments, ASK)).await?;
    Ok(parse(&output.stdout))
}

/// Starts a unit and waits until it runs.
pub fn start(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, ["start", "--", unit], START)
}

/// Stops a unit and waits until it is gone.
pub fn stop(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, ["stop", "--", unit], START)
}

/// Restarts a unit, or starts it where it is stopped.
pub fn restart(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, ["restart", "--", unit], START)
}

/// Reloads a unit that runs.
pub fn reload(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, ["reload", "--", unit], RELOAD)
}

/// Has a unit started at boot.
pub fn enable(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, ["enable", "--quiet", "--", unit], ASK)
}

/// Has a unit no longer started at boot.
pub fn disable(platform: &Platform, unit: &str) -> CommandLine {
    systemctl(platform, ["disable", "--quiet", "--", unit], ASK)
}

fn systemctl<'a>(
    platform: &Platform,
    arguments: impl IntoIterator<Item = &'a str>,
    deadline: Duration,
) -> CommandLine {
    let program = platform.systemctl.to_string_lossy().into_owned();
    let arguments = arguments.into_iter().map(str::to_owned);
    CommandLine::new([program].into_iter().chain(arguments), deadline)
}

/// Reads `systemctl show`: blocks of `Key=value` lines, an empty line between units.
fn parse(text: &str) -> BTreeMap<String, UnitState> {
    let mut states = BTreeMap::new();
    for block in text.split("\n\n") {
        let value = |key: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .unwrap_or_default()
        };
        let id = value("Id");
        if !id.is_empty() {
            let state = UnitState {
                loaded: value("LoadState") == "loaded",
                active: matches!(value("ActiveState"), "active" | "reloading"),
                enabled: matches!(
                    value("UnitFileState"),
                    "enabled" | "static" | "generated" | "alias" | "indirect"
                ),
            };
            states.insert(id.to_owned(), state);
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_by_block() {
        let text = "Id=a.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n\
                    Id=b.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n";
        let states = parse(text);
        assert_eq!(
            states["a.service"],
            UnitState {
                loaded: true,
                active: true,
                enabled: true
            }
        );
        assert_eq!(states["b.service"], UnitState::default());
        assert_eq!(states.len(), 2);
    }
}
