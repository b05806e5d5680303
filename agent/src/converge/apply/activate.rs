//! Making changes take effect: services reloaded, or started.

use super::super::hands::unit;
use super::complaint::is_noise;
use crate::resource::{Activation, Verb};
use crate::system::chain;
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

/// Carries out an activation.
pub(in super::super) async fn activation(
    platform: &Platform,
    activation: &Activation,
    booting: bool,
) -> Result<Done, String> {
    let name = activation.unit.clone();
    let states = systemd::unit_states(platform, std::slice::from_ref(&name))
        .await
        .map_err(|error| chain(&error))?;
    let state = states.get(&name).copied().unwrap_or_default();
    match (activation.verb, state.active) {
        (Verb::RestartIfRunning, true) => {
            let restart = if booting {
                // As below: what it is ordered after may be this very agent.
                systemd::restart_at_once(platform, &name)
            } else {
                systemd::restart(platform, &name)
            };
            unit::run(&restart).await?;
            Ok(Done::Did(format!("restart {name}")))
        }
        (_, true) => {
            let reload = if booting {
                // It may be ordered after the agent, which is not up yet: its reload would wait for that.
                systemd::reload_at_once(platform, &name)
            } else {
                systemd::reload(platform, &name)
            };
            unit::run(&reload).await?;
            Ok(Done::Did(format!("reload {name}")))
        }
        (Verb::ReloadIfRunning, false) => Ok(Done::Skipped(format!(
            "{name} is not running, so it was not reloaded"
        ))),
        (Verb::RestartIfRunning, false) => Ok(Done::Skipped(format!(
            "{name} is not running, so it was not restarted"
        ))),
        (Verb::ReloadOrStart, false) if booting && state.enabled => {
            // It is ordered after the agent: waiting for it here would wait for ourselves.
            Ok(Done::Deferred(format!(
                "{name} starts after the agent; it is probed when it runs"
            )))
        }
        // It may be ordered after the agent all the same; nobody starts it but the next run, a second after this one.
        (Verb::ReloadOrStart, false) if booting => Ok(Done::Deferred(format!(
            "{name} is started once the agent itself is up"
        ))),
        (Verb::ReloadOrStart, false) => {
            unit::run(&systemd::start(platform, &name)).await?;
            Ok(Done::Did(format!("start {name}")))
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
    !is_noise(line) && (!line.starts_with('[') || grave.iter().any(|level| line.contains(level)))
}
