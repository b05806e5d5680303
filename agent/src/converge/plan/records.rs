//! The plan as rows that people read.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use similar::TextDiff;

use super::super::change::{After, Change};
use super::super::hands::account;
use super::super::ledger::Form;
use super::super::original::Original;
use super::super::saved::{Content, Saved};
use super::{Decision, Plan, PlannedStep};
use crate::fleet::Pointer;
use crate::report::{Action, ChangeRecord, Outcome, StepRecord};
use crate::resource::{self, Activation, Verb};
use crate::system::digest::sha256_hex;
use crate::system::file::Attributes;
use crate::system::package_manager::Wanted;

/// The most bytes of one diff that are kept.
const DIFF_LIMIT: usize = 64 * 1024;
/// A text of more bytes, or of more lines, is not compared line by line: two that have nothing in common would take minutes.
const READ_LIMIT: usize = 1024 * 1024;
const MOST_LINES: usize = 25_000;
/// Two long texts are compared no longer than this; then the difference is told as it is found so far, less well.
const PATIENCE: Duration = Duration::from_millis(250);
const DIRECTORY: &str = "(a directory)\n";
const ORIGINAL: &str = "(what stood there before the agent)\n";
/// Of what nothing asks for any more and that stays.
const NOTHING_TAKEN: &str =
    "nothing was taken away: it was there before the agent, or is gone already";
/// What stands for a text that is another's.
const NOT_SHOWN: &str = "(not shown)\n";
/// What stands for a text that has a secret in it.
const SECRET: &str = "(not shown: it has a secret in it)\n";

impl Plan {
    /// What a run of this plan would record, if all went well: a row for each step with something to do, diffs included.
    ///
    /// `activates`: whether services are asked to take it on; under a root no command is run.
    pub fn records(&self, activates: bool) -> Vec<StepRecord> {
        let steps = self.steps.iter();
        let row = |step: &PlannedStep| {
            let mut row = step.record();
            if activates && step.touches() {
                row.activated = step.known.activate.iter().map(foretold).collect();
            }
            row
        };
        steps.map(row).collect()
    }
}

impl PlannedStep {
    /// The row of this step, as it would be if all went well.
    pub(in super::super) fn record(&self) -> StepRecord {
        let (outcome, error) = match &self.decision {
            Decision::Do => (Outcome::Changed, None),
            Decision::Held(why) | Decision::OnHold(why) => (Outcome::Held, Some(why.clone())),
            Decision::Quarantined(why) => (Outcome::Quarantined, Some(why.clone())),
            Decision::Obstructed(why) => (Outcome::Failed, Some(why.clone())),
        };
        StepRecord {
            kind: self.kind(),
            step: self.name.clone(),
            private: self.private || self.changes.iter().any(Change::is_private),
            cause: self.cause,
            outcome,
            changes: self
                .changes
                .iter()
                .filter(|change| !change.hidden)
                .filter_map(Change::record)
                .map(|change| ChangeRecord {
                    internal: resource::is_internal(self.kind(), &change.path, &change.diff),
                    ..change
                })
                .collect(),
            activated: Vec::new(),
            error,
            notes: if self.is_removal() && self.changes.is_empty() && self.touches() {
                vec![NOTHING_TAKEN.to_owned()]
            } else {
                Vec::new()
            },
            took_ms: 0,
        }
    }
}

/// What an activation will be, as people say it.
fn foretold(activation: &Activation) -> String {
    match activation.verb {
        Verb::ReloadOrStart => format!("reload {}", activation.unit),
        Verb::ReloadIfRunning => format!("reload {}, where it runs", activation.unit),
        Verb::RestartIfRunning => format!("restart {}, where it runs", activation.unit),
    }
}

impl Change {
    fn record(&self) -> Option<ChangeRecord> {
        let text = self.change_of_text();
        let attributes = self.change_of_attributes();
        // Under a new path, but for people the same thing.
        let renewed = self.action == Action::Create && self.diff_base.is_some();
        if renewed && text.as_ref().is_some_and(|(base, after)| base == after) {
            return None;
        }
        Some(ChangeRecord {
            action: if renewed { Action::Update } else { self.action },
            path: self.thing.as_path().into_owned(),
            shown_as: self.shown_as.clone(),
            diff: attributes + &text.map_or_else(String::new, |(base, after)| diff(&base, &after)),
            backup: None,
            internal: false,
            origins: self
                .origins
                .iter()
                .map(|origin| origin.pointer.clone())
                .collect::<BTreeSet<Pointer>>()
                .into_iter()
                .collect(),
        })
    }

    /// Whether what people know under this name becomes another one.
    pub(in super::super) fn is_news(&self) -> bool {
        self.record().is_some()
    }

    /// What people read before and after. `None`: it is nothing to read.
    fn change_of_text(&self) -> Option<(String, String)> {
        if let Some(After::Account(order)) = &self.after {
            return Some((account::text(&self.before), account::text(&order.becomes)));
        }
        let base = match (&self.diff_base, &self.before) {
            (_, Saved::Unit(_) | Saved::Group(_) | Saved::User(_)) => return None,
            (_, Saved::Package(version)) => version_line(version.as_deref()),
            (_, Saved::File { .. } | Saved::Withheld) if self.is_secret() => SECRET.into(),
            (_, Saved::File { attributes, .. }) if self.is_of_another(attributes) => {
                NOT_SHOWN.into()
            }
            (Some(base), _) => readable(base.as_bytes()),
            (None, Saved::File { content, .. }) => match content {
                Content::Memory(bytes) => readable(bytes),
                Content::Large { digest, size } => in_short(*size, digest),
                Content::Disk { .. } | Content::Secret(_) => String::new(),
            },
            (None, Saved::Link(target)) => link_text(target),
            (None, Saved::Directory(_)) => DIRECTORY.into(),
            (None, Saved::Absent | Saved::Withheld) => String::new(),
        };
        let after = match &self.after {
            Some(After::File { text, .. }) if text.is_secret() => SECRET.into(),
            Some(After::File { text, .. } | After::Private { text, .. }) => {
                readable(text.shown().map_or_else(|| text.bytes(), str::as_bytes))
            }
            Some(After::Directory(_) | After::Original(Original::Directory(_))) => DIRECTORY.into(),
            Some(After::Original(Original::File { .. })) => ORIGINAL.into(),
            Some(After::Block { whole, .. }) => readable(whole),
            Some(After::Link(target) | After::Original(Original::Link(target))) => {
                link_text(target)
            }
            Some(After::Unit(_) | After::Account(_)) => return None,
            Some(After::Release(wish)) => {
                format!("from {}\nSHA-256 {}\n", wish.object, wish.sha256)
            }
            Some(After::Package(Wanted::There { version, .. })) => {
                // Which version it will be, the repository knows.
                version_line(version.as_deref().or_else(|| before_version(&self.before)))
            }
            Some(After::Package(Wanted::Gone)) | None => String::new(),
        };
        Some((base, after))
    }

    /// Whether not every account may read what is there, or will be.
    fn is_private(&self) -> bool {
        let is_closed = |attributes: &Attributes| attributes.mode & 0o004 == 0;
        let before = match &self.before {
            Saved::File { attributes, .. } => is_closed(attributes),
            Saved::Withheld => true,
            _ => false,
        };
        let after = match &self.after {
            Some(After::File { attributes, .. }) => is_closed(attributes),
            Some(After::Private { .. }) => true,
            _ => false,
        };
        before || after
    }

    /// Whether what stands in an account's directory is not that account's: a hard link may have led here what is nobody's
    /// business. Whose it would have been that goes, is not known.
    fn is_of_another(&self, found: &Attributes) -> bool {
        match (&self.after, self.form) {
            (Some(After::Private { attributes, .. }), _) => attributes.uid != found.uid,
            (_, Form::Private) => true,
            _ => false,
        }
    }

    /// Lines that say how owner and permissions change, if they do.
    fn change_of_attributes(&self) -> String {
        let (
            Saved::File {
                attributes: old, ..
            }
            | Saved::Directory(old),
            Some(
                After::File {
                    attributes: new, ..
                }
                | After::Private {
                    attributes: new, ..
                }
                | After::Directory(new)
                | After::Original(
                    Original::File {
                        attributes: new, ..
                    }
                    | Original::Directory(new),
                ),
            ),
        ) = (&self.before, &self.after)
        else {
            return String::new();
        };
        // Files that were written as one's own without being told so are nobody's news.
        if old == new || self.diff_base.is_some() {
            return String::new();
        }
        let said = |attributes: &Attributes| format!("({attributes})");
        format!("-{}\n+{}\n", said(old), said(new))
    }
}

fn version_line(version: Option<&str>) -> String {
    version.map_or_else(String::new, |version| format!("version {version}\n"))
}

fn before_version(before: &Saved) -> Option<&str> {
    match before {
        Saved::Package(version) => version.as_deref(),
        _ => None,
    }
}

/// A text to compare. What is none, or more than anybody reads, is named by its size and digest.
fn readable(bytes: &[u8]) -> String {
    let is_short =
        bytes.len() <= READ_LIMIT && bytes.split(|byte| *byte == b'\n').count() <= MOST_LINES;
    match std::str::from_utf8(bytes) {
        Ok(text) if is_short && !text.contains('\0') => text.to_owned(),
        _ => in_short(bytes.len() as u64, &sha256_hex(bytes)),
    }
}

fn in_short(size: u64, digest: &str) -> String {
    format!("({size} bytes, SHA-256 {digest})\n")
}

fn link_text(target: &Path) -> String {
    format!("-> {}\n", target.display())
}

fn diff(before: &str, after: &str) -> String {
    let diff = TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(before, after);
    let mut text = diff.unified_diff().context_radius(3).to_string();
    if text.len() > DIFF_LIMIT {
        let cut = text.floor_char_boundary(DIFF_LIMIT);
        text.truncate(cut);
        text.push_str("\n… (diff cut here)\n");
    }
    text
}
