//! Whether a change works: the check before the switch, the probes after it, and who is to blame where they fail.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::super::change::Change;
use super::super::hands::path::Ready;
use super::super::plan::PlannedStep;
use super::complaint::without_noise;
use super::explain::explain;
use super::fault::Fault;
use super::probe::{self, RefusalLog, Unproven, Where};
use super::{Applier, activate};
use crate::resource::Check;
use crate::system::chain;
use crate::system::command::{self, CommandError};

impl Applier<'_> {
    /// Runs the check. A fault that was there before the change is not the change's; neither is one that somebody has
    /// mended between the two looks.
    pub(super) async fn check(&self, check: &Check, step: &PlannedStep) -> Result<(), Fault> {
        let run = async |command| {
            let output = command::run(command).await;
            output.map_err(|error| Fault::Box(chain(&error)))
        };
        if run(&check.staged).await?.success {
            return Ok(());
        }
        let present = run(&check.present).await?;
        if !present.success {
            return Err(Fault::Box(format!(
                "{} fails without our change too, so nothing was switched; mend the configuration by hand: {}",
                check.present,
                without_noise(&present.said())
            )));
        }
        let staged = run(&check.staged).await?;
        if staged.success {
            return Ok(());
        }
        let said = without_noise(&staged.said());
        let mut members = step.complained_of(&said);
        let refused = format!("{} refused the change", check.staged);
        let Some(explained) = explain(&said, step, self.platform.family) else {
            return Err(Fault::Change {
                error: format!("{refused}: {said}"),
                members,
            });
        };
        // The reason first: what is cut off after a line is the rest.
        for why in members.values_mut() {
            why.clone_from(&explained.reason);
        }
        let mut lines = vec![explained.headline(), refused];
        lines.extend(explained.rest);
        Err(Fault::Change {
            error: lines.join("\n"),
            members,
        })
    }

    /// Runs the checks of single files that are staged, all of them, so that all members that are refused are known at
    /// once. A program that cannot be run is the box's fault.
    pub(super) async fn check_files(
        &self,
        step: &PlannedStep,
        staged: &[(&Change, Ready)],
    ) -> Result<(), Fault> {
        let mut errors: Vec<String> = Vec::new();
        let mut members = BTreeMap::new();
        for check in &step.file_checks {
            let of_it = |(change, _): &&(&Change, Ready)| change.thing.path() == Some(&check.path);
            let Some((change, ready)) = staged.iter().find(of_it) else {
                continue;
            };
            let Some(path) = ready.staged_path() else {
                continue;
            };
            self.say(&format!("checking {}", check.path.display()), step);
            let command = check.for_staged(&self.files.root().real(&path));
            let ended = command::run(&command).await;
            let is_secret = change.is_secret();
            let output = ended.map_err(|error| {
                Fault::Box(match error {
                    CommandError::Deadline { secs, .. } if is_secret => {
                        format!("{} did not end within {secs} s", check.command)
                    }
                    error => chain(&error),
                })
            })?;
            if output.success {
                continue;
            }
            let said = if is_secret {
                "what it said is not shown, for it may quote a secret".to_owned()
            } else {
                // People know the file by the name that it would have.
                let staged = path.display().to_string();
                let known = check.path.display().to_string();
                without_noise(&output.said()).replace(&staged, &known)
            };
            let error = format!(
                "{} refused what {} would be ({}): {said}",
                check.command,
                check.path.display(),
                output.ended()
            );
            if let Some(member) = &check.member {
                members.insert(member.clone(), error.clone());
            }
            errors.push(error);
        }
        if errors.is_empty() {
            return Ok(());
        }
        if members.len() < errors.len() {
            members.clear();
        }
        Err(Fault::Change {
            error: errors.join("\n"),
            members,
        })
    }

    /// Before the switch: a place where the service runs and gives nobody any answer. If it gives none afterwards
    /// either, that is not the change's fault.
    pub(super) async fn silent_before(&self, step: &PlannedStep) -> Option<Where> {
        let mut asked = BTreeSet::new();
        if activate::ended(self.platform, &step.known.activate)
            .await
            .is_some()
            || step.known.activate.is_empty()
        {
            return None;
        }
        for probe in &step.probes {
            let place = Where::of(&probe.question);
            if asked.insert(place.clone()) && !probe::answers(&probe.question).await {
                // A port that the change is to open gives nobody an answer yet.
                return place.is_open().then_some(place);
            }
        }
        None
    }

    /// Asks all probes, so that all members that do not answer as expected are known at once.
    pub(super) async fn prove(
        &self,
        step: &PlannedStep,
        silent: Option<&Where>,
        refusals: &[RefusalLog],
    ) -> Result<(), Fault> {
        let deadline = probe::deadline();
        let ended = || activate::ended(self.platform, &step.known.activate);
        let mut errors: Vec<String> = Vec::new();
        let mut members = BTreeMap::new();
        let mut whole = false;
        let mut refused = 0;
        for (probe, log) in step.probes.iter().zip(refusals) {
            let what = format!("probing {}", step.name);
            let progress = || self.say(&what, step);
            progress();
            // Who answers late is waited for once: by then all have had their time.
            let until = if errors.is_empty() {
                deadline
            } else {
                Instant::now()
            };
            let Err(unproven) = probe::ask(&probe.question, until, &ended, log, &progress).await
            else {
                continue;
            };
            let place = Where::of(&probe.question);
            if matches!(unproven, Unproven::Silent(_)) && silent == Some(&place) {
                return Err(Fault::Box(format!(
                    "{}; nobody gave an answer at {place} before the change either, so the fault is this machine's and not the document's (all workers busy? see the service's own status and error log); it will be tried again",
                    unproven.into_sentence()
                )));
            }
            let otherwise = matches!(unproven, Unproven::Otherwise(_) | Unproven::Refused(_));
            refused += usize::from(matches!(unproven, Unproven::Refused(_)) && !log.by_own_rules());
            let ends = matches!(unproven, Unproven::Ended(_));
            let error = unproven.into_sentence();
            match &probe.member {
                Some(member) if otherwise => drop(members.insert(member.clone(), error.clone())),
                _ => whole = true,
            }
            errors.push(error);
            if ends {
                break;
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        let error = errors.join("\n");
        if refused == step.probes.len() {
            // All of them, and none by rules of its own: it is how this machine is set up.
            return Err(Fault::Box(error));
        }
        Err(Fault::Change {
            error,
            members: if whole { BTreeMap::new() } else { members },
        })
    }
}
