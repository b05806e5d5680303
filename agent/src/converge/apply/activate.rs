//! Making changes take effect: units started, restarted, reloaded, stopped.

use super::super::plan::UnitChange;
use crate::report::Action;
use crate::resource::{Activation, Verb};
use crate::system::chain;
use crate::system::command::{self, CommandLine};
use crate::system::platform::Platform;
use crate::system::systemd;
use crate::system::tail::Tail;

/// What became of an activation.
pub(in super::super) enum Done {
    /// It was done: what.
    Did(String),
    /// There was no need: why.
    Skipped(String),
    /// systemd will do it: the answer comes with a later run.
    Deferred(String),
}

/// What is done to a unit, as a word.
pub(super) const fn verb(action: Action) -> &'static str {
    match action {
        Action::Restart => "restart",
        Action::Stop | Action::Remove => "stop",
        _ => "start",
    }
}

/// Changes a unit. The error says what systemd said.
pub(super) async fn unit(platform: &Platform, change: &UnitChange) -> Result<(), String> {
    let unit = change.unit.as_str();
    let commands = match change.action {
        Action::Restart => vec![systemd::restart(platform, unit)],
        Action::Stop | Action::Remove => vec![
            systemd::disable(platform, unit),
            systemd::stop(platform, unit),
        ],
        // Enabled first: a unit that starts but would be gone after a reboot is half done.
        _ => vec![
            systemd::enable(platform, unit),
            systemd::start(platform, unit),
        ],
    };
    for command in commands {
        run(&command).await?;
    }
    Ok(())
}

/// What undoes a unit's change once its files are back. `new`: it was not the agent's before.
pub(super) fn undo(change: &UnitChange, new: bool) -> UnitChange {
    let action = match change.action {
        Action::Stop => Action::Start,
        _ if new => Action::Stop,
        _ => Action::Restart,
    };
    UnitChange {
        action,
        unit: change.unit.clone(),
        drift: change.drift,
    }
}

/// Carries out an activation.
pub(in super::super) async fn activation(
    platform: &Platform,
    activation: &Activation,
    booting: bool,
) -> Result<Done, String> {
    let unit = activation.unit.clone();
    let states = systemd::unit_states(platform, std::slice::from_ref(&unit))
        .await
        .map_err(|error| chain(&error))?;
    let state = states.get(&unit).copied().unwrap_or_default();
    match (activation.verb, state.active) {
        (_, true) => {
            let reload = if booting {
                // It may be ordered after the agent, which is not up yet: its reload would wait for that.
                systemd::reload_at_once(platform, &unit)
            } else {
                systemd::reload(platform, &unit)
            };
            run(&reload).await?;
            Ok(Done::Did(format!("reload {unit}")))
        }
        (Verb::ReloadIfRunning, false) => Ok(Done::Skipped(format!(
            "{unit} is not running, so it was not reloaded"
        ))),
        (Verb::ReloadOrStart, false) if booting && state.enabled => {
            // It is ordered after the agent: waiting for it here would wait for ourselves.
            Ok(Done::Deferred(format!(
                "{unit} starts after the agent; it is probed when it runs"
            )))
        }
        // It may be ordered after the agent all the same; nobody starts it but the next run, a second after this one.
        (Verb::ReloadOrStart, false) if booting => Ok(Done::Deferred(format!(
            "{unit} is started once the agent itself is up"
        ))),
        (Verb::ReloadOrStart, false) => {
            run(&systemd::start(platform, &unit)).await?;
            Ok(Done::Did(format!("start {unit}")))
        }
    }
}

/// Which of the units that were reloaded or started has ended since, as a sentence: then waiting for its answer is in vain.
///
/// A reload only asks for it: Apache ends by itself, a moment later, where it cannot do what it was asked for.
pub(super) async fn ended(platform: &Platform, activations: &[Activation]) -> Option<String> {
    let units: Vec<String> = activations
        .iter()
        .filter(|activation| activation.verb == Verb::ReloadOrStart)
        .map(|activation| activation.unit.clone())
        .collect();
    // Not knowing is no reason to give up: the probes' own patience ends soon enough.
    let states = systemd::unit_states(platform, &units).await.ok()?;
    let unit = states
        .into_iter()
        .find_map(|(unit, state)| (!state.active).then_some(unit))?;
    Some(format!(
        "{unit} ended after it was asked to take the change on; see journalctl -u {unit}"
    ))
}

/// The services' own logs, from now on.
pub(super) fn logs(activations: &[Activation]) -> Vec<Tail> {
    let paths = activations
        .iter()
        .filter_map(|activation| activation.log.as_deref());
    paths.map(Tail::now).collect()
}

/// What the services' own logs say since of why one ended, as the end of an error's sentence. Empty: nothing.
///
/// systemd only knows that it did. Requests go on meanwhile: what their handling says is passed over.
pub(super) fn reasons(logs: &[Tail]) -> String {
    const LINES: usize = 5;
    let added: Vec<String> = logs.iter().map(Tail::added).collect();
    let reasons: Vec<&str> = added
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| is_reason(line))
        .take(LINES)
        .collect();
    if reasons.is_empty() {
        String::new()
    } else {
        format!("; its log says:\n{}", reasons.join("\n"))
    }
}

/// Apache says why it cannot start before it has a log to write to in its own form, or as an emergency.
fn is_reason(line: &str) -> bool {
    let grave = [":emerg]", ":alert]", ":crit]"];
    // AH00558: it found no name for itself, as on most boxes.
    (!line.starts_with('[') && !line.contains("AH00558"))
        || grave.iter().any(|level| line.contains(level))
}

async fn run(command: &CommandLine) -> Result<(), String> {
    let output = command::run(command).await.map_err(|error| chain(&error))?;
    if output.success {
        Ok(())
    } else {
        Err(format!("{command} failed: {}", output.said()))
    }
}
