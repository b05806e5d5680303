//! The plan as rows that people read.

use std::collections::BTreeSet;
use std::path::PathBuf;

use similar::TextDiff;

use super::super::pending::Saved;
use super::{After, Change, Plan, PlannedStep, UnitChange, Verdict};
use crate::fleet::Pointer;
use crate::report::{ChangeRecord, Outcome, StepRecord};

/// The most bytes of one diff that are kept.
const DIFF_LIMIT: usize = 64 * 1024;

impl Plan {
    /// What a run of this plan would record, if all went well: a row for each step with something to do, diffs included.
    pub fn records(&self) -> Vec<StepRecord> {
        self.steps.iter().map(PlannedStep::record).collect()
    }
}

impl PlannedStep {
    /// The row of this step, as it would be if all went well.
    pub(in super::super) fn record(&self) -> StepRecord {
        let (outcome, error) = match &self.verdict {
            Verdict::Do => (Outcome::Changed, None),
            Verdict::Held(why) => (Outcome::Held, Some(why.clone())),
            Verdict::Quarantined(why) => (Outcome::Quarantined, Some(why.clone())),
            Verdict::Obstructed(why) => (Outcome::Failed, Some(why.clone())),
        };
        StepRecord {
            kind: self.kind(),
            step: self.name.clone(),
            cause: self.cause,
            outcome,
            changes: self
                .changes
                .iter()
                .filter(|change| !change.hidden)
                .filter_map(Change::record)
                .chain(self.units.iter().map(UnitChange::record))
                .collect(),
            activated: Vec::new(),
            error,
            notes: Vec::new(),
            took_ms: 0,
        }
    }
}

impl Change {
    fn record(&self) -> Option<ChangeRecord> {
        let base = match (&self.diff_base, &self.before) {
            (Some(base), _) => base.clone(),
            (None, Saved::File { bytes, .. }) => String::from_utf8_lossy(bytes).into_owned(),
            (None, Saved::Link(target)) => link_text(target),
            (None, Saved::Absent) => String::new(),
        };
        let after = match &self.after {
            Some(After::Text { text, .. }) => text.clone(),
            Some(After::Link { target, .. }) => link_text(target),
            None => String::new(),
        };
        let action = match (self.action, &self.diff_base) {
            // Under a new path, but for people the same thing.
            (crate::report::Action::Create, Some(base)) if *base == after => return None,
            (crate::report::Action::Create, Some(_)) => crate::report::Action::Update,
            (action, _) => action,
        };
        Some(ChangeRecord {
            action,
            path: self.path.clone(),
            shown_as: self.shown_as.clone(),
            diff: diff(&base, &after),
            backup: None,
            origins: self
                .origins
                .iter()
                .map(|origin| origin.pointer.clone())
                .collect::<BTreeSet<Pointer>>()
                .into_iter()
                .collect(),
        })
    }
}

impl UnitChange {
    fn record(&self) -> ChangeRecord {
        ChangeRecord {
            action: self.action,
            path: PathBuf::from(&self.unit),
            shown_as: None,
            diff: String::new(),
            backup: None,
            origins: Vec::new(),
        }
    }
}

fn link_text(target: &std::path::Path) -> String {
    format!("-> {}\n", target.display())
}

fn diff(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut text = diff.unified_diff().context_radius(3).to_string();
    if text.len() > DIFF_LIMIT {
        let cut = text.floor_char_boundary(DIFF_LIMIT);
        text.truncate(cut);
        text.push_str("\n… (diff cut here)\n");
    }
    text
}
