//! Rollouts: canaries that are there, shares that grow to all.

use super::{Check, SERVERS, SIGNED};
use crate::fleet::model::ServerState;
use crate::fleet::names::Share;

/// Each wave costs a bake time: nobody means more.
const MOST_WAVES: usize = 20;
/// Canaries are some, not all.
const MOST_CANARIES: usize = 100;

impl Check<'_> {
    pub(super) fn rollout(&mut self) {
        let Some(rollout) = &self.fleet.rollout else {
            return;
        };
        let at = SIGNED.then("rollout");
        let canaries = at.then("canaries");
        self.list(&rollout.canaries, &canaries, MOST_CANARIES);
        for (index, canary) in rollout.canaries.iter().enumerate() {
            if !self.refers(&self.fleet.servers, &SERVERS, canary, &canaries, index) {
                continue;
            }
            let is_retired = (self.fleet.servers.get(canary))
                .is_some_and(|server| server.state == ServerState::Retired);
            if is_retired {
                let at = self.findings.item(&canaries, index);
                self.findings.add(&at, || {
                    format!("`{canary}` is retired: it can show nothing about a version")
                });
            }
        }
        let waves = at.then("waves");
        self.at_most(rollout.waves.len(), MOST_WAVES, &waves);
        for (index, pair) in rollout.waves.windows(2).enumerate() {
            if let [before, share] = pair
                && share <= before
            {
                let at = self.findings.item(&waves, index + 1);
                self.findings.add(&at, || {
                    format!("expected a larger share than the one before, {before}: each counts all servers that have the version by then; found {share}")
                });
            }
        }
        match rollout.waves.last() {
            Some(&Share::ALL) => {}
            Some(last) => self.findings.add(&waves, || {
                format!("expected 100% as the last wave, or the rest of the fleet would never take a version; found {last}")
            }),
            None => self.findings.add(&waves, || {
                "expected at least one wave: \"100%\"".to_owned()
            }),
        }
    }
}
