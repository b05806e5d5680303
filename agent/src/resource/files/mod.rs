//! Files, directories and links that products and roles name: their content, whose they are, and which services read them.
//!
//! A file that no service reads is a step of its own. Those that the same services read are one step: all of them are
//! checked, all are switched, and the services are told once; a file that its check refuses is left out alone.

mod content;
mod facts;
mod restart;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use facts::{FileFacts, OBJECTS, TROUBLE};

use super::database_units::is_database_server;
use super::{
    Activation, Desired, FileCheck, LineOrigin, Member, MemberName, ObserveError, Phase, Resource,
    Step, Thing, USUAL_STEP, Unfit, Verb, Want, Wish,
};
use crate::fleet::names::UnitName;
use crate::node::{FileView, View};
use crate::report::{Kind, StepName};
use crate::system::command::CommandLine;
use crate::system::file::{Attributes, Files};
use crate::system::platform::Platform;

/// How long a check of a file may take.
const CHECK: Duration = Duration::from_secs(30);

/// The files that the document names.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlacedFiles;

impl Resource for PlacedFiles {
    type Facts = FileFacts;

    fn kind(&self) -> Kind {
        Kind::Files
    }

    async fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
    ) -> Result<FileFacts, ObserveError> {
        facts::observe(view, platform, files).await
    }

    fn assumed(&self) -> FileFacts {
        FileFacts::assumed()
    }

    fn desired(&self, view: &View, platform: &Platform, facts: &FileFacts) -> Desired {
        let mut desired = Desired::default();
        let mut steps: BTreeMap<StepName, Step> = BTreeMap::new();
        let placed = placed(view, platform);
        let sizes = sizes(&placed);
        let directories: BTreeMap<&Path, &StepName> = placed
            .iter()
            .filter(|one| one.file.file.directory)
            .map(|one| (one.path.as_path(), &one.step))
            .collect();
        for one in &placed {
            let thing = Thing::Path(one.path.clone());
            let is_alone = sizes.get(&one.step).is_none_or(|size| *size == 1);
            if one.file.left_out {
                desired.claims.push(thing);
                continue;
            }
            let wish = match one.wish(facts) {
                Ok(wish) => wish,
                Err(message) => {
                    desired.claims.push(thing);
                    let (step, origin) = (one.step.clone(), Some(one.file.origin.clone()));
                    if is_alone {
                        desired.hold(Kind::Files, step, message, origin);
                    } else {
                        desired.unfit.push(Unfit {
                            kind: Kind::Files,
                            step,
                            member: one.member(),
                            message,
                            origin,
                        });
                    }
                    continue;
                }
            };
            let step = steps
                .entry(one.step.clone())
                .or_insert_with(|| one.empty_step(view, platform));
            if !one.file.file.replace {
                step.not_over_others.insert(thing.clone());
            }
            step.file_checks.extend(one.check(is_alone));
            if !is_alone {
                let MemberName(file) = one.member();
                let name = one.member();
                step.members.push(Member { name, file });
            }
            let above = one.path.ancestors().skip(1);
            for name in above.filter_map(|above| directories.get(above)) {
                if **name != one.step && !step.needs.contains(name) {
                    step.needs.push((*name).clone());
                }
            }
            step.wants.push(Want {
                thing,
                wish,
                phase: Phase::Commit,
                shown_as: None,
                origins: vec![LineOrigin {
                    line: None,
                    pointer: one.file.origin.clone(),
                }],
            });
            step.may_take += CHECK * u32::from(!one.file.file.check.is_empty());
        }
        desired.problems.extend(restart::due(view, &placed, facts));
        desired.steps.extend(in_order(steps, &placed));
        desired
    }

    fn leave_out(
        &self,
        step: &StepName,
        members: &BTreeSet<MemberName>,
        view: &mut View,
        old: Option<&View>,
    ) {
        if !step.0.starts_with("files/") {
            return;
        }
        let is_member = |file: &FileView| {
            let paths = [
                Some(file.path.as_str()),
                file.file.debian.as_ref().map(AsRef::as_ref),
            ];
            paths
                .into_iter()
                .flatten()
                .any(|path| members.contains(&member_of(Path::new(path))))
        };
        for file in view.files.iter_mut().filter(|file| is_member(file)) {
            let before = old.into_iter().flat_map(|old| &old.files).find(|before| {
                before.path == file.path
                    && before.file.debian == file.file.debian
                    && before.file != file.file
            });
            match before {
                Some(before) => *file = before.clone(),
                None => file.left_out = true,
            }
        }
    }
}

/// A file with where it stands here and which step it is of.
struct Placed<'a> {
    file: &'a FileView,
    path: PathBuf,
    step: StepName,
}

/// The files of a box, by path, each path once.
fn placed<'a>(view: &'a View, platform: &Platform) -> Vec<Placed<'a>> {
    let mut placed: Vec<Placed<'_>> = view
        .files
        .iter()
        .map(|file| {
            let path = file.path_on(platform.family).to_path_buf();
            let step = step_name(file, &path);
            Placed { file, path, step }
        })
        .collect();
    placed.sort_by(|a, b| a.path.cmp(&b.path));
    placed.dedup_by(|a, b| a.path == b.path);
    placed
}

/// `files/etc/motd`, `files/reload-php-fpm`, `files/restart-mariadb`.
fn step_name(file: &FileView, path: &Path) -> StepName {
    let words = |verb: &str, units: &[UnitName]| {
        let mut units: Vec<&str> = units
            .iter()
            .map(|unit| unit.as_str().trim_end_matches(".service"))
            .collect();
        units.sort_unstable();
        (!units.is_empty()).then(|| format!("{verb}-{}", units.join(",")))
    };
    let services = [
        words("reload", &file.file.reload),
        words("restart", &file.file.restart),
    ];
    let services: Vec<String> = services.into_iter().flatten().collect();
    StepName(if services.is_empty() {
        format!("files{}", path.display())
    } else {
        format!("files/{}", services.join("-"))
    })
}

/// How many files each step has.
fn sizes(placed: &[Placed<'_>]) -> BTreeMap<StepName, usize> {
    let mut sizes = BTreeMap::new();
    for one in placed {
        *sizes.entry(one.step.clone()).or_default() += 1;
    }
    sizes
}

/// The steps in the order of their first paths: directories before what stands in them.
fn in_order(mut steps: BTreeMap<StepName, Step>, placed: &[Placed<'_>]) -> Vec<Step> {
    placed
        .iter()
        .filter_map(|one| steps.remove(&one.step))
        .collect()
}

fn member_of(path: &Path) -> MemberName {
    MemberName(
        path.display()
            .to_string()
            .trim_start_matches('/')
            .to_owned(),
    )
}

impl Placed<'_> {
    fn member(&self) -> MemberName {
        member_of(&self.path)
    }

    fn empty_step(&self, view: &View, platform: &Platform) -> Step {
        let mut step = Step::new(Kind::Files, self.step.clone());
        let file = &self.file.file;
        let reload = file.reload.iter().map(|unit| (unit, Verb::ReloadIfRunning));
        // A database that is written to is never taken away because a file changed.
        let restart = file
            .restart
            .iter()
            .filter(|unit| !is_database_server(unit.as_str()) || view.masters.is_empty())
            .map(|unit| (unit, Verb::RestartIfRunning));
        step.activate = reload
            .chain(restart)
            .map(|(unit, verb)| Activation {
                unit: platform.unit(unit.as_str()),
                verb,
                log: None,
            })
            .collect();
        step.may_take = USUAL_STEP;
        step
    }

    fn check(&self, is_alone: bool) -> Option<FileCheck> {
        let words = &self.file.file.check;
        (!words.is_empty()).then(|| FileCheck {
            path: self.path.clone(),
            command: CommandLine::new(words.iter().map(ToString::to_string), CHECK),
            member: (!is_alone).then(|| self.member()),
        })
    }

    /// What is wished of it. The error says why that cannot be had, and what to do.
    fn wish(&self, facts: &FileFacts) -> Result<Wish, String> {
        let file = &self.file.file;
        if let Some(target) = &file.link {
            return Ok(Wish::Link {
                target: target.as_str().into(),
            });
        }
        let attributes = Attributes {
            mode: file.bits(),
            uid: facts.uid(file.owner.as_ref(), &self.path)?,
            gid: facts.gid(file.group.as_ref(), &self.path)?,
        };
        if file.directory {
            return Ok(Wish::Directory { attributes });
        }
        let text = content::of(self.file, &self.path, facts)?;
        Ok(Wish::Placed { text, attributes })
    }
}
