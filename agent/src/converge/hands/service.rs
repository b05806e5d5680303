//! Services of others: running or not, started at boot or not, as the document says.

use super::super::change::{After, Change, Inverse, UnitOrder, When};
use super::super::ledger::{Form, digest_of};
use super::super::saved::Saved;
use super::super::situation::{Seen, Situation};
use crate::fleet::AtBoot;
use crate::report::Action;
use crate::resource::{Step, Want, Wish};
use crate::system::systemd::UnitState;

/// See [`super::difference`].
pub(super) fn difference(
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
) -> Result<Option<Change>, String> {
    let Wish::Service { running, enabled } = &want.wish else {
        return Ok(None);
    };
    let unit = want.thing.unit().unwrap_or_default();
    let state = match situation.sight.get(&want.thing) {
        Some(Ok(Seen::Unit(state))) => *state,
        Some(Err(error)) => return Err(error.clone()),
        Some(Ok(_)) | None => return Ok(None),
    };
    let Some(order) = order(unit, state, *running, *enabled)? else {
        return Ok(None);
    };
    let Some(action) = order.action() else {
        return Ok(None);
    };
    let owned = situation.ledger.things.get(&want.thing);
    let wished = digest_of(want, step);
    Ok(Some(Change {
        thing: want.thing.clone(),
        action,
        when: When::Activate,
        before: Saved::Unit(state),
        inverse: Inverse::Never("what of it came true is as the document says"),
        after: Some(After::Unit(order)),
        form: Form::Service,
        drift: owned.is_some_and(|owned| owned.digest == wished),
        digest: wished,
        backup: false,
        diff_base: None,
        hidden: false,
        adopts: false,
        shown_as: None,
        origins: want.origins.clone(),
    }))
}

/// What the unit is to be told. The error says why that is of no use.
fn order(
    unit: &str,
    state: UnitState,
    running: Option<bool>,
    enabled: Option<AtBoot>,
) -> Result<Option<UnitOrder>, String> {
    let is_there = state.loaded || state.masked;
    let is_wanted = running == Some(true) || enabled == Some(AtBoot::Enabled);
    if !is_there && !is_wanted {
        // What is not there does not run, and does not start.
        return Ok(None);
    }
    if !is_there {
        return Err(format!(
            "systemd does not know the unit {unit}: the package that brings it is not there, or it is called otherwise here"
        ));
    }
    let masks = enabled == Some(AtBoot::Masked);
    let mask = match (state.masked, masks) {
        (false, true) => Some(true),
        (true, false) if is_wanted || enabled == Some(AtBoot::Disabled) => Some(false),
        _ => None,
    };
    let enable = match enabled {
        // What is static is started by others, and cannot be told to start at boot, or not to.
        Some(AtBoot::Enabled) if !state.enabled => Some(true),
        Some(AtBoot::Disabled) if state.enabled && !state.fixed => Some(false),
        _ => None,
    };
    // What is masked and goes on running would be half gone.
    let running = if masks { Some(false) } else { running };
    let run = match running {
        Some(true) if state.restarting => {
            return Err(format!(
                "{unit} ends as soon as it runs, and systemd starts it again and again: journalctl -u {unit} says why"
            ));
        }
        // It is on its way.
        Some(true) if !state.active && !state.activating => Some(Action::Start),
        Some(false) if state.active || state.activating || state.restarting => Some(Action::Stop),
        _ => None,
    };
    Ok(Some(UnitOrder { mask, enable, run }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        state: UnitState,
        running: Option<bool>,
        enabled: Option<AtBoot>,
    ) -> Result<Option<Action>, String> {
        Ok(order("x.service", state, running, enabled)?.and_then(UnitOrder::action))
    }

    #[test]
    fn units_of_every_kind_are_told_what_they_need() {
        use AtBoot::{Disabled, Enabled, Masked};
        let there = UnitState {
            loaded: true,
            ..UnitState::default()
        };
        let up = UnitState {
            active: true,
            enabled: true,
            ..there
        };
        let masked = UnitState {
            masked: true,
            ..UnitState::default()
        };
        let fixed = UnitState { fixed: true, ..up };
        let starting = UnitState {
            activating: true,
            ..there
        };
        let none = UnitState::default();
        for (state, running, enabled, action) in [
            (there, Some(true), Some(Enabled), Some(Action::Start)),
            (there, None, Some(Enabled), Some(Action::Enable)),
            (up, Some(true), Some(Enabled), None),
            (up, Some(false), None, Some(Action::Stop)),
            (up, None, Some(Disabled), Some(Action::Disable)),
            (up, None, Some(Masked), Some(Action::Stop)),
            (there, None, Some(Masked), Some(Action::Mask)),
            (masked, None, Some(Masked), None),
            (masked, None, Some(Disabled), Some(Action::Unmask)),
            (masked, Some(true), None, Some(Action::Start)),
            (masked, Some(false), None, None),
            (fixed, None, Some(Disabled), None),
            (starting, Some(true), None, None),
            (starting, Some(false), None, Some(Action::Stop)),
            (none, Some(false), Some(Disabled), None),
        ] {
            let found = told(state, running, enabled);
            assert_eq!(found, Ok(action), "{state:?} {running:?} {enabled:?}");
        }
        assert!(told(none, Some(true), None).is_err());
        let again = UnitState {
            restarting: true,
            ..there
        };
        assert!(told(again, Some(true), None).is_err());
    }
}
