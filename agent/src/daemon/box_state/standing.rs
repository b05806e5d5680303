//! On which version a box stands, whether it is well on it, and how the rollout of the newest one goes.

use jiff::Timestamp;

use crate::converge::Session;
use crate::fleet::Name;
use crate::report::{Health, Ready, RolloutStatus, Status};

/// What is known of it.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Standing {
    /// The version that the last run made of this box.
    pub(super) version: Option<u64>,
    /// Since when it has been well on it without a break.
    pub(super) well_since: Option<Timestamp>,
    /// How the rollout goes that this box has taken part in, or watches over.
    pub(in crate::daemon) rollout: Option<RolloutStatus>,
    /// Why that rollout was halted, where this box watches over it: one box tells.
    pub(in crate::daemon) halted: Option<String>,
}

impl Standing {
    /// A run was made with this version.
    pub(super) fn ran(&mut self, version: u64) {
        if self.version != Some(version) {
            self.version = Some(version);
            self.well_since = None;
        }
    }

    /// Notes whether this box is well on what the last run made of it. Returns since when.
    pub(super) fn note_wellness(&mut self, status: &Status) -> Option<Timestamp> {
        let is_well = self.version.is_some()
            && status.health == Health::Converged
            && status.steps.all() == 0
            && status.readiness.iter().all(|one| one.ready != Ready::False);
        self.well_since = is_well.then(|| self.well_since.unwrap_or(status.written));
        self.well_since
    }

    /// Where this box is in the rollout of the newest version.
    pub(super) fn rollout(&self, session: &Session, node: Option<&Name>) -> Option<RolloutStatus> {
        let mut waits = session.intake.waits_in(node?);
        let watched = self.rollout.as_ref();
        if let (Some(waits), Some(watched)) = (&mut waits, watched) {
            waits.waits_for.clone_from(&watched.waits_for);
        }
        waits.or_else(|| watched.cloned())
    }

    /// Why the box that watches calls itself degraded, where the rollout was halted.
    pub(super) fn halted_reason(&self) -> Option<String> {
        let (why, rollout) = (self.halted.as_ref()?, self.rollout.as_ref()?);
        Some(format!(
            "the rollout of version {} was halted: {why}; publish a mended version, or let it go on: agentctl fleet rollout resume",
            rollout.version
        ))
    }
}
