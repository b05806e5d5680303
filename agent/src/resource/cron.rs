//! Cron jobs: one file a job in cron's drop-in directory. cron notices by itself; nothing is reloaded.

mod line;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Desired, LineOrigin, ObserveError, Phase, Resource, Step, Text, Thing, Want, Wish};
use crate::fleet::Pointer;
use crate::node::{CronView, Owner, View};
use crate::report::{Kind, StepName};
use crate::system::accounts;
use crate::system::file::Files;
use crate::system::platform::Platform;

/// What cron jobs must know of the box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CronFacts {
    /// Those of the accounts asked for that exist. `None` where accounts cannot be looked up (under a root, the name
    /// service is away).
    pub users: Option<BTreeSet<String>>,
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
            let users = view.cron.iter().map(|job| job.job.user.to_string());
            facts.users = Some(accounts::existing(users.collect()).await?);
        }
        Ok(facts)
    }

    fn desired(&self, view: &View, platform: &Platform, facts: &CronFacts) -> Desired {
        let mut desired = Desired::default();
        for job in &view.cron {
            let name = file_suffix(job);
            let step = StepName(format!("cron/{name}"));
            let thing = Thing::Path(path(platform, &name));
            let user = job.job.user.as_str();
            if facts
                .users
                .as_ref()
                .is_some_and(|users| !users.contains(user))
            {
                let message = format!(
                    "the cron job {name} runs as {user}, and this machine has no such account: the job's file stays as it is. Create the account, or name another in the document"
                );
                let origin = Pointer(format!("{}/user", job.origin));
                desired.claims.push(thing);
                desired.hold(Kind::Cron, step, message, Some(origin));
                continue;
            }
            let Some(command) = line::escape(job.job.command.as_str()) else {
                let message = format!(
                    "the command of the cron job {name} is longer than {} bytes once it is written as cron needs it: the job's file stays as it is. Put the command into a script and call that",
                    line::LONGEST
                );
                let origin = Pointer(format!("{}/command", job.origin));
                desired.claims.push(thing);
                desired.hold(Kind::Cron, step, message, Some(origin));
                continue;
            };
            let mut wanted = Step::new(Kind::Cron, step);
            wanted.wants.push(Want {
                thing,
                wish: Wish::File {
                    text: Text::plain(render(job, &command)),
                    mode: 0o644,
                },
                phase: Phase::Commit,
                shown_as: None,
                origins: vec![LineOrigin {
                    line: None,
                    pointer: job.origin.clone(),
                }],
            });
            desired.steps.push(wanted);
        }
        desired
    }
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

/// MAILTO is not set: cron mails output to the job's account, and where that mail goes is the
/// machine's own business (`/etc/aliases`).
fn render(job: &CronView, command: &str) -> String {
    let (what, owner) = match &job.owner {
        Owner::Product(product) => ("product", product),
        Owner::Role(role) => ("role", role),
    };
    format!(
        "# Written by node-agent: job {} of {what} {owner}; edit the fleet document instead.\n\
         # {}\n\
         SHELL=/bin/sh\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         {} {} {command}\n",
        job.name, job.origin, job.job.schedule, job.job.user,
    )
}
