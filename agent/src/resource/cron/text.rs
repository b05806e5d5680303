//! The text of a job's table.

use std::fmt::Write as _;
use std::path::Path;

use super::record::JobDescription;
use super::{line, zone};
use crate::fleet::names::schedule::Times;
use crate::node::{CronView, Owner};

/// How long a command that was told to end has before it is killed, in seconds.
const GRACE_SECS: u64 = 10;
const SH: &str = "/bin/sh";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What looks after recorded jobs. The same as packages install.
pub(super) const AGENTCTL: &str = "/usr/bin/agentctl";

/// What a job's own values of `H` are worked out from. Not its origin: a job that moves within the document keeps its time.
fn seed(job: &CronView, server: &str) -> String {
    let (what, owner) = match &job.owner {
        Owner::Product(product) => ("product", product),
        Owner::Role(role) => ("role", role),
    };
    format!("{server} {what} {owner} {}", job.name)
}

/// What is said of a recorded job for those who look after it.
pub(super) fn description(job: &CronView, server: &str) -> JobDescription {
    let said = &job.job;
    JobDescription {
        format: 1,
        job: super::file_suffix(job),
        user: said.user.to_string(),
        schedule: said.schedule.of_server(&seed(job, server)),
        timezone: said.timezone.as_ref().map(ToString::to_string),
        timeout_secs: said.timeout.map(|most| most.duration().as_secs()),
    }
}

/// What keeps a job from being written.
#[derive(Debug)]
pub(super) struct Unmet {
    /// The field of the job that asks for it.
    pub(super) field: &'static str,
    /// Why, and what to do.
    pub(super) message: String,
}

/// The table of `job` on `server`. Where MAILTO is not set, cron mails output to the job's account, and where that
/// mail goes is the machine's own business (`/etc/aliases`).
pub(super) fn table(job: &CronView, server: &str, lock: &Path) -> Result<String, Unmet> {
    let (what, owner) = match &job.owner {
        Owner::Product(product) => ("product", product),
        Owner::Role(role) => ("role", role),
    };
    let said = &job.job;
    let seed = seed(job, server);
    let mut schedule = said.schedule.of_server(&seed);
    let shell = said.shell.as_ref().map_or(SH, |shell| shell.as_str());
    let times = said.timezone.as_ref().zip(Times::of(&schedule));

    let mut begin = String::new();
    if let Some((zone, times)) = &times {
        begin = zone::guard(zone, times) + " ";
        schedule = zone::moments(times);
    }
    let mut wrapped = String::new();
    if said.record {
        let _ = write!(wrapped, "{AGENTCTL} job {} ", super::file_suffix(job));
        if let Some(most) = said.timeout {
            let _ = write!(wrapped, "--timeout {}s ", most.duration().as_secs());
        }
        if said
            .mailto
            .as_ref()
            .is_some_and(|to| !to.as_str().is_empty())
        {
            wrapped.push_str("--print ");
        }
        wrapped.push_str("-- ");
    } else if said.lock {
        // -o: what the command leaves behind in the background does not hold the lock.
        let _ = write!(wrapped, "/usr/bin/flock -n -o {} ", lock.display());
    }
    if let Some(most) = said.timeout.filter(|_| !said.record) {
        let secs = most.duration().as_secs();
        let _ = write!(wrapped, "/usr/bin/timeout -k {GRACE_SECS} {secs} ");
    }
    if let Some(nice) = said.nice {
        let _ = write!(wrapped, "/usr/bin/nice -n {} ", nice.get());
    }
    let is_plain = begin.is_empty() && wrapped.is_empty();
    let command = said.command.as_str();
    let (outer, command) = if is_plain && shell == SH {
        (SH, line::escape(command))
    } else if is_plain && !command.contains("\\\\") && !command.contains("\\%") {
        (shell, line::escape(command))
    } else {
        // The line's own words are a POSIX shell's; the command is a word among them.
        (
            SH,
            format!("{begin}exec {wrapped}{shell} -c {}", line::word(command)),
        )
    };
    if command.len() > line::LONGEST {
        return Err(Unmet {
            field: "command",
            message: format!(
                "the command of the cron job {} is longer than {} bytes once it is written as cron needs it: the job's file stays as it is. Put the command into a script and call that",
                super::file_suffix(job),
                line::LONGEST
            ),
        });
    }

    let mut text = format!(
        "# Written by node-agent: job {} of {what} {owner}; edit the fleet document instead.\n# {}\n",
        job.name, job.origin
    );
    if times.is_some()
        && let Some(zone) = &said.timezone
    {
        let _ = writeln!(
            text,
            "# {} by the time of {zone}",
            said.schedule.of_server(&seed)
        );
    }
    let _ = writeln!(text, "SHELL={outer}");
    if !said.environment.contains_key("PATH") {
        let _ = writeln!(text, "PATH={PATH}");
    }
    if let Some(mailto) = &said.mailto {
        let _ = writeln!(text, "MAILTO=\"{mailto}\"");
    }
    for (name, value) in &said.environment {
        // Between quotes cron takes a value as it is, spaces at its beginning included; it knows no escapes.
        let quote = if value.as_str().contains('"') {
            '\''
        } else {
            '"'
        };
        let _ = writeln!(text, "{name}={quote}{value}{quote}");
    }
    let _ = writeln!(text, "{schedule} {} {command}", said.user);
    Ok(text)
}
