//! Cron jobs: one file a job in cron's drop-in directory. cron notices by itself; nothing is reloaded.

mod judge;
mod line;
mod record;
#[cfg(test)]
mod tests;
mod text;
mod zone;

pub use judge::look as look_at_jobs;
pub use record::{
    Held, HeldRecord, JOB, JobDescription, JobEnd, JobRecord, OUTPUT, RECORDS, descriptions,
    record_path,
};

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Desired, LineOrigin, ObserveError, Phase, Resource, Step, Text, Thing, Want, Wish};
use crate::fleet::Pointer;
use crate::fleet::advice::{bashism, instead_of};
use crate::node::{CronView, Owner, View};
use crate::report::{Kind, Problem, Severity, StepName};
use crate::system::accounts;
use crate::system::file::Files;
use crate::system::platform::Platform;

/// Where the system's time zones are, a file each.
const ZONES: &str = "/usr/share/zoneinfo";
/// Where locks of jobs lie: files that stay the same while their jobs change, so that a lock that is held goes on to count.
const LOCKS: &str = "/etc/agentd/cron";

/// What cron jobs must know of the box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CronFacts {
    /// Those of the accounts asked for that exist. `None` where accounts cannot be looked up (under a root, the name
    /// service is away).
    pub users: Option<BTreeSet<String>>,
    /// Those of the shells asked for that are programs here. `None` where that was not looked at.
    pub shells: Option<BTreeSet<String>>,
    /// Those of the time zones asked for that the system knows. `None` where that was not looked at.
    pub zones: Option<BTreeSet<String>>,
    /// `/bin/sh` was seen to be another shell than bash.
    pub sh_is_no_bash: bool,
    /// What looks after recorded jobs was looked for where packages install it, and is not there.
    pub no_agentctl: bool,
}

/// Cron jobs of products and roles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cron;

impl Resource for Cron {
    type Facts = CronFacts;

    fn kind(&self) -> Kind {
        Kind::Cron
    }

    async fn observe(
        &self,
        view: &View,
        _platform: &Platform,
        files: &Files,
    ) -> Result<CronFacts, ObserveError> {
        let mut facts = CronFacts::default();
        if files.root().is_machine() {
            let jobs = || view.cron.iter().map(|job| &job.job);
            facts.shells = Some(
                jobs()
                    .filter_map(|job| Some(job.shell.as_ref()?.to_string()))
                    .filter(|shell| is_program(Path::new(shell)))
                    .collect(),
            );
            facts.zones = Some(
                jobs()
                    .filter_map(|job| Some(job.timezone.as_ref()?.to_string()))
                    .filter(|zone| Path::new(ZONES).join(zone).is_file())
                    .collect(),
            );
            facts.no_agentctl =
                jobs().any(|job| job.record) && !is_program(Path::new(text::AGENTCTL));
            facts.sh_is_no_bash = fs::canonicalize("/bin/sh")
                .is_ok_and(|sh| sh.file_name().is_none_or(|name| name != "bash"));
            // Last: what a directory of accounts that is away leaves unknown is only that.
            let users = jobs().map(|job| job.user.to_string()).collect();
            facts.users = Some(accounts::existing(users).await?);
        }
        Ok(facts)
    }

    fn desired(&self, view: &View, platform: &Platform, facts: &CronFacts) -> Desired {
        let mut desired = Desired::default();
        for job in &view.cron {
            let name = file_suffix(job);
            let step = StepName(format!("cron/{name}"));
            let mut wants = vec![file(path(platform, &name), String::new(), &job.origin)];
            if job.job.record {
                let said = text::description(job, view.name.as_str());
                // Strings and numbers only: nothing here can fail to be written as JSON.
                let said = serde_json::to_string_pretty(&said).unwrap_or_default() + "\n";
                let at = Pointer(format!("{}/record", job.origin));
                let path = Path::new(LOCKS).join(format!("{name}{JOB}"));
                wants.push(file(path, said, &at));
            } else if job.job.lock {
                let text = format!(
                    "# Held by the cron job {name} while it runs. Written by node-agent.\n"
                );
                let at = Pointer(format!("{}/lock", job.origin));
                wants.push(file(lock_path(&name), text, &at));
            }
            let table = unmet(job, &name, facts).map_or_else(
                || text::table(job, view.name.as_str(), &lock_path(&name)),
                Err,
            );
            let table = match table {
                Ok(table) => table,
                Err(text::Unmet { field, message }) => {
                    let origin = Pointer(format!("{}/{field}", job.origin));
                    desired
                        .claims
                        .extend(wants.into_iter().map(|want| want.thing));
                    desired.hold(Kind::Cron, step, message, Some(origin));
                    continue;
                }
            };
            if let Some(Want {
                wish: Wish::File { text, .. },
                ..
            }) = wants.first_mut()
            {
                *text = Text::plain(table);
            }
            if let Some(sign) = bashism(&job.job).filter(|_| facts.sh_is_no_bash) {
                desired.problems.push(Problem {
                    kind: Kind::Cron,
                    step: Some(step.clone()),
                    severity: Severity::Warning,
                    message: format!(
                        "the command of the cron job {name} has `{sign}`, which is bash's, and /bin/sh is another shell here: it does something else. {}",
                        instead_of(sign)
                    ),
                    origin: Some(Pointer(format!("{}/command", job.origin))),
                });
            }
            let mut wanted = Step::new(Kind::Cron, step);
            wanted.wants = wants;
            desired.steps.push(wanted);
        }
        desired
    }
}

fn file(path: PathBuf, text: String, origin: &Pointer) -> Want {
    Want {
        thing: Thing::Path(path),
        wish: Wish::File {
            text: Text::plain(text),
            // Commands may have passwords in them.
            mode: 0o600,
        },
        phase: Phase::Commit,
        shown_as: None,
        origins: vec![LineOrigin {
            line: None,
            pointer: origin.clone(),
        }],
    }
}

/// What this machine lacks for a job.
fn unmet(job: &CronView, name: &str, facts: &CronFacts) -> Option<text::Unmet> {
    let is_missing = |known: &Option<BTreeSet<String>>, what: &str| {
        known.as_ref().is_some_and(|known| !known.contains(what))
    };
    let user = job.job.user.as_str();
    if is_missing(&facts.users, user) {
        return Some(text::Unmet {
            field: "user",
            message: format!(
                "the cron job {name} runs as {user}, and this machine has no such account: the job's file stays as it is. Create the account, or name another in the document"
            ),
        });
    }
    if let Some(shell) = &job.job.shell
        && is_missing(&facts.shells, shell.as_str())
    {
        return Some(text::Unmet {
            field: "shell",
            message: format!(
                "the cron job {name} is for the shell {shell}, and this machine has no such program: the job's file stays as it is. Install it, or name another in the document"
            ),
        });
    }
    if job.job.record && facts.no_agentctl {
        return Some(text::Unmet {
            field: "record",
            message: format!(
                "the runs of the cron job {name} are to be recorded by {}, which is not there: the job's file stays as it is. Install node-agent's package, or a link to agentctl there",
                text::AGENTCTL
            ),
        });
    }
    let zone = job.job.timezone.as_ref()?;
    is_missing(&facts.zones, zone.as_str()).then(|| text::Unmet {
        field: "timezone",
        message: format!(
            "the cron job {name} goes by the time of {zone}, and this machine has no {ZONES}/{zone}: the job's file stays as it is. Install the time zones (tzdata), or name another in the document"
        ),
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// `shop_tick`, `role_web_session-sweep`. Names have no underscore, so that no two jobs share one;
/// a product named `role` is told from a role by the number of underscores.
fn file_suffix(job: &CronView) -> String {
    match &job.owner {
        Owner::Product(product) => format!("{product}_{}", job.name),
        Owner::Role(role) => format!("role_{role}_{}", job.name),
    }
}

/// Letters, digits, `_` and `-` only: Debian's cron skips a file with a dot in its name without a word.
fn path(platform: &Platform, name: &str) -> PathBuf {
    platform.cron_dir.join(format!("agentd-{name}"))
}

fn lock_path(name: &str) -> PathBuf {
    Path::new(LOCKS).join(format!("{name}.lock"))
}
