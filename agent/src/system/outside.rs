//! Commands that change the base system: outside the daemon's sandbox, as units of systemd's own.
//!
//! The daemon's unit can write to configuration and state only, and so can its children. Package managers and `useradd`
//! write elsewhere and run other people's scripts: systemd starts those itself.

use std::path::Path;
use std::time::Duration;

use nix::sys::prctl;

use super::command::{self, CommandError, CommandLine, Output};

const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";
/// There where systemd is the machine's init.
const SYSTEMD: &str = "/run/systemd/system";
/// To start the unit, and to hear that it has ended.
const ROOM: Duration = Duration::from_secs(10);
/// What a shell finds programs in, as every command of the agent's.
const ENVIRONMENT: [&str; 3] = [
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "LC_ALL=C",
];

/// Runs a command to its end or its deadline, outside the daemon's sandbox where this process is in it: what it leaves
/// running stays too when the daemon ends. `environment`: variables more, `NAME=value`.
///
/// Before systemd 236 (CentOS 7) it runs as any other child: there most of the sandbox is not known either.
pub async fn run(command: &CommandLine, environment: &[&str]) -> Result<Output, CommandError> {
    let is_confined = prctl::get_no_new_privs().unwrap_or(false);
    if is_confined && Path::new(SYSTEMD).exists() {
        let output = command::run(&as_unit(command, environment)).await?;
        if !is_unknown_here(&output) {
            return Ok(output);
        }
    }
    if environment.is_empty() {
        return command::run(command).await;
    }
    let mut argv = vec!["/usr/bin/env".to_owned()];
    argv.extend(environment.iter().map(ToString::to_string));
    argv.extend(command.argv.iter().cloned());
    let deadline_ms = command.deadline_ms;
    command::run(&CommandLine { argv, deadline_ms }).await
}

/// The same command as a child in a scope of its own, with so much memory at most, in bytes: not out of the unit's allowance.
/// Where this process is in no unit's sandbox, it is the command as it is.
pub fn in_scope(line: CommandLine, memory: u64) -> CommandLine {
    let is_confined = prctl::get_no_new_privs().unwrap_or(false);
    if is_confined && Path::new(SYSTEMD).exists() {
        as_scope(line, memory)
    } else {
        line
    }
}

/// `systemd-run` becomes the command: it stays our child, within the sandbox.
fn as_scope(line: CommandLine, memory: u64) -> CommandLine {
    let mut argv = [SYSTEMD_RUN, "--quiet", "--scope"]
        .map(str::to_owned)
        .to_vec();
    argv.push(format!("--property=MemoryMax={memory}"));
    argv.push("--".to_owned());
    argv.extend(line.argv);
    CommandLine {
        argv,
        deadline_ms: line.deadline_ms,
    }
}

fn as_unit(command: &CommandLine, environment: &[&str]) -> CommandLine {
    let deadline = Duration::from_millis(command.deadline_ms);
    let mut argv: Vec<String> = [SYSTEMD_RUN, "--quiet", "--pipe", "--wait", "--collect"]
        .map(str::to_owned)
        .into();
    // What is killed here is only who waits for it: the unit has the same deadline.
    argv.push(format!(
        "--property=RuntimeMaxSec={}",
        deadline.as_secs().max(1)
    ));
    let variables = ENVIRONMENT.iter().chain(environment);
    argv.extend(variables.map(|variable| format!("--setenv={variable}")));
    argv.push("--".to_owned());
    // systemd puts variables of the unit's environment in the place of words with a dollar.
    let words = command.argv.iter();
    argv.extend(words.map(|word| word.replace('$', "$$")));
    CommandLine::new(argv, deadline + ROOM)
}

/// An older `systemd-run`, which cannot wait for what it starts, has started nothing.
fn is_unknown_here(output: &Output) -> bool {
    !output.success
        && output.stderr.contains("systemd-run")
        && output.stderr.contains("unrecognized option")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_as_a_unit_keeps_its_words_and_its_deadline() {
        let command = CommandLine::new(
            ["/usr/sbin/usermod", "--comment", "a $HOME b", "deploy"],
            Duration::from_mins(1),
        );
        let unit = as_unit(&command, &["DEBIAN_FRONTEND=noninteractive"]);
        insta::assert_snapshot!(unit.to_string(), @"/usr/bin/systemd-run --quiet --pipe --wait --collect --property=RuntimeMaxSec=60 --setenv=PATH=/usr/sbin:/usr/bin:/sbin:/bin --setenv=LANG=C.UTF-8 --setenv=LC_ALL=C --setenv=DEBIAN_FRONTEND=noninteractive -- /usr/sbin/usermod --comment a $$HOME b deploy");
        assert_eq!(unit.deadline_ms, 70_000);
    }

    #[test]
    fn a_scope_changes_no_word_of_the_command() {
        let line = CommandLine::new(["/usr/bin/env", "a $HOME b"], Duration::from_mins(1));
        let scope = as_scope(line, 1 << 30);
        insta::assert_snapshot!(scope.to_string(), @"/usr/bin/systemd-run --quiet --scope --property=MemoryMax=1073741824 -- /usr/bin/env a $HOME b");
        assert_eq!(scope.deadline_ms, 60_000);
    }

    #[tokio::test]
    async fn outside_the_sandbox_it_is_a_child_with_the_variables() {
        let command = CommandLine::new(["/bin/sh", "-c", "echo $A"], Duration::from_secs(10));
        let output = run(&command, &["A=b"]).await.unwrap();
        assert_eq!(output.stdout, "b\n");
    }
}
