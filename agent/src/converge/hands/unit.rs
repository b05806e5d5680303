//! systemd units: enabled and running with what they are to read, or stopped and disabled.

use std::path::Path;
use std::time::Duration;

use super::super::change::{After, Change, Inverse, UnitOrder, When};
use super::super::ledger::{Form, Owned, digest_of};
use super::super::saved::Saved;
use super::super::situation::{Seen, Situation};
use crate::report::Action;
use crate::resource::{Step, Thing, Want, Wish};
use crate::system::chain;
use crate::system::command::{self, CommandLine};
use crate::system::platform::Platform;
use crate::system::systemd::{self, UnitState};

/// So often, and so far apart, a service that was started is looked at.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(400);

/// See [`super::difference`].
pub(super) fn difference(
    unit: &str,
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
    touched: &dyn Fn(&Path) -> bool,
) -> Result<Option<Change>, String> {
    let Wish::Running { reads } = &want.wish else {
        return Err(format!("{unit} is no path"));
    };
    let Some(state) = state(&want.thing, situation)? else {
        return Ok(None);
    };
    if !state.loaded {
        return Err(format!(
            "systemd does not know the unit {unit}; install the package's units and run systemctl daemon-reload"
        ));
    }
    let owned = situation.ledger.things.get(&want.thing);
    let wished = digest_of(want, step);
    // It may have been started before what it reads was written, and nobody can ask it. An older version of the agent
    // has not noted what it read: that is no reason to restart it.
    let read = owned.map(|owned| owned.digest.as_str());
    let stale = reads.iter().any(|path| touched(path))
        || read.is_some_and(|read| !read.is_empty() && read != wished)
        || situation.owes(&step.name, &want.thing);
    let order = UnitOrder {
        mask: None,
        enable: (!state.enabled).then_some(true),
        run: match (state.active, stale) {
            (false, _) => Some(Action::Start),
            (true, true) => Some(Action::Restart),
            (true, false) => None,
        },
    };
    let Some(action) = order.action() else {
        return Ok(None);
    };
    Ok(Some(Change {
        thing: want.thing.clone(),
        action,
        when: When::Activate,
        before: Saved::Unit(state),
        // One of the agent's own goes on with what is put back for it; another is left as it was found.
        inverse: if owned.is_some() {
            Inverse::Restored
        } else {
            Inverse::Removed
        },
        after: Some(After::Unit(order)),
        form: Form::Unit,
        drift: owned.is_some_and(|owned| owned.digest == wished),
        digest: wished,
        adopts: false,
        backup: false,
        diff_base: None,
        hidden: false,
        shown_as: None,
        origins: want.origins.clone(),
    }))
}

/// See [`super::removal`].
pub(super) fn removal(unit: &str, owned: &Owned, situation: &Situation<'_>) -> Option<Change> {
    let thing = Thing::Unit(unit.to_owned());
    let state = state(&thing, situation).ok().flatten()?;
    if owned.adopted || !(state.active || state.enabled) {
        return None;
    }
    Some(Change {
        thing,
        action: Action::Stop,
        when: When::Activate,
        before: Saved::Unit(state),
        inverse: Inverse::Restored,
        after: Some(After::Unit(UnitOrder {
            mask: None,
            enable: state.enabled.then_some(false),
            run: Some(Action::Stop),
        })),
        form: Form::Unit,
        digest: String::new(),
        drift: false,
        adopts: false,
        backup: false,
        diff_base: None,
        hidden: false,
        shown_as: None,
        origins: owned.origins.clone(),
    })
}

/// `None`: units are left alone, for this is no machine that runs.
fn state(thing: &Thing, situation: &Situation<'_>) -> Result<Option<UnitState>, String> {
    match situation.sight.get(thing) {
        Some(Ok(Seen::Unit(state))) => Ok(Some(*state)),
        Some(Err(error)) => Err(error.clone()),
        Some(Ok(_)) | None => Ok(None),
    }
}

impl UnitOrder {
    /// What is done, in one word. `None`: nothing.
    pub(in super::super) fn action(self) -> Option<Action> {
        match (self.run, self.mask, self.enable) {
            (Some(action), _, _) => Some(action),
            (None, Some(true), _) => Some(Action::Mask),
            (None, _, Some(true)) => Some(Action::Enable),
            (None, _, Some(false)) => Some(Action::Disable),
            (None, Some(false), None) => Some(Action::Unmask),
            (None, None, None) => None,
        }
    }
}

/// Carries an order out. The error says what systemd said.
pub(in super::super) async fn commit(
    platform: &Platform,
    unit: &str,
    order: UnitOrder,
    booting: bool,
) -> Result<(), String> {
    // Enabled first: a unit that starts but would be gone after a reboot is half done. Disabled first: one that would
    // come back is half gone.
    let enable = order.enable.map(|on| {
        if on {
            systemd::enable(platform, unit)
        } else {
            systemd::disable(platform, unit)
        }
    });
    let run = order.run.map(|action| match action {
        Action::Restart => systemd::restart(platform, unit),
        Action::Stop => systemd::stop(platform, unit),
        // It may be ordered after the agent: waiting for it would be waiting for ourselves.
        Action::Start if booting => systemd::start_at_once(platform, unit),
        _ => systemd::start(platform, unit),
    });
    let (unmask, mask) = match order.mask {
        Some(true) => (None, Some(systemd::mask(platform, unit))),
        Some(false) => (Some(systemd::unmask(platform, unit)), None),
        None => (None, None),
    };
    for command in unmask.into_iter().chain(enable).chain(run).chain(mask) {
        self::run(&command).await?;
    }
    Ok(())
}

/// Whether a unit that was just started goes on running, a moment later: many a service ends as soon as it has read its
/// configuration. The error says that it has not.
pub(in super::super) async fn stays_up(platform: &Platform, unit: &str) -> Result<(), String> {
    for _ in 0..LOOKS {
        tokio::time::sleep(PAUSE).await;
        let units = [unit.to_owned()];
        let states = systemd::unit_states(platform, &units).await;
        let states = states.map_err(|error| chain(&error))?;
        let state = states.get(unit).copied().unwrap_or_default();
        if !state.active && !state.activating {
            return Err(format!(
                "{unit} was started and has ended since; journalctl -u {unit} says why"
            ));
        }
    }
    Ok(())
}

/// What undoes a change once what the unit reads is back. `state`: what it was before the step.
pub(in super::super) fn undo(state: UnitState, inverse: Inverse, order: UnitOrder) -> UnitOrder {
    let own = inverse == Inverse::Restored;
    UnitOrder {
        mask: None,
        enable: order.enable.map(|_| state.enabled).filter(|enabled| {
            // What the agent keeps enabled stays so.
            !own || *enabled || order.run == Some(Action::Stop)
        }),
        run: match order.run {
            Some(Action::Stop) => state.active.then_some(Action::Start),
            Some(_) if state.active || own => Some(Action::Restart),
            Some(_) => Some(Action::Stop),
            None => None,
        },
    }
}

/// Runs a command of systemd's. The error says what it said.
pub(in super::super) async fn run(command: &CommandLine) -> Result<(), String> {
    let output = command::run(command).await.map_err(|error| chain(&error))?;
    if output.success {
        Ok(())
    } else {
        Err(format!("{command} failed: {}", output.said()))
    }
}
