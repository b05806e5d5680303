//! `agentctl check`: a Nagios plugin. It answers in time whatever hangs, and whatever goes wrong in itself is UNKNOWN.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::args::{CheckArgs, Format, Global};
use super::console::Console;
use super::failure::Failure;
use super::local_status::{LocalStatus, within};
use crate::report::nagios::{self, Answer, UNKNOWN};
use crate::report::watch::{Alarm, Area, Level, Told, Watch};
use crate::system::{clock, crash};

/// What is said where it hangs.
const HANGS: &str = "no answer in time; is /run or /proc stuck?";

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct CheckOutput {
    format: u32,
    code: u8,
    line: String,
    alarms: Vec<Alarm>,
    readings: Vec<Told>,
}

/// Checks and prints. Returns the exit code.
pub fn check(global: &Global, args: &CheckArgs, console: Console) -> Result<u8, Failure> {
    let areas = if args.parts.is_empty() {
        Area::ALL.to_vec()
    } else {
        args.parts.clone()
    };
    let (global, wanted) = (global.clone(), args.clone());
    let work = move || look(&global, &wanted, &areas);
    let said = match within(Duration::from_secs(args.timeout), work) {
        Some(Ok(said)) => said,
        Some(Err(why)) => vec![nothing(args, &why)],
        None => vec![nothing(args, HANGS)],
    };
    if args.passive {
        let lines: String = said
            .iter()
            .map(|one| nagios::passive(&one.host, &one.service, &one.answer))
            .collect();
        console.print_text(&lines)?;
        return Ok(0);
    }
    let Some(one) = said.into_iter().next() else {
        return Ok(UNKNOWN);
    };
    if console.format == Format::Json {
        let line = one.answer.text.split(" | ").next();
        let said = CheckOutput {
            format: 1,
            code: one.answer.code,
            line: line.unwrap_or_default().into(),
            alarms: one.alarms,
            readings: one.readings,
        };
        console.print(&said, |_| String::new())?;
    } else {
        console.print_text(&(one.answer.text + "\n"))?;
    }
    Ok(one.answer.code)
}

/// The plugin output for one service, and all that it is made of.
struct ServiceCheck {
    host: String,
    service: String,
    answer: Answer,
    alarms: Vec<Alarm>,
    readings: Vec<Told>,
}

fn look(global: &Global, args: &CheckArgs, areas: &[Area]) -> Result<Vec<ServiceCheck>, String> {
    crash::panic_point("check");
    let look = LocalStatus::read(global).map_err(|failure| failure.to_string())?;
    let mut watch = Watch::new(look.seen(), clock::now());
    for (level, limits) in [
        (Level::Warning, &args.warning),
        (Level::Critical, &args.critical),
    ] {
        for limit in limits {
            watch.limit(level, &limit.name, limit.range)?;
        }
    }
    let node = look
        .status
        .as_ref()
        .and_then(|status| status.node.name.as_ref());
    let host = args.host.clone();
    let host = host.or_else(|| node.map(ToString::to_string));
    let host = host.unwrap_or_else(host_name);
    let one = |service: String, areas: &[Area]| ServiceCheck {
        host: host.clone(),
        service,
        answer: nagios::answer(&watch, areas, args.verbose),
        alarms: watch.alarms(areas),
        readings: watch.told(areas),
    };
    // Passive results of parts that were named are services of their own.
    Ok(if args.passive && !args.parts.is_empty() {
        let of = |area: &Area| one(format!("{} {area}", args.service), &[*area]);
        areas.iter().map(of).collect()
    } else {
        vec![one(args.service.clone(), areas)]
    })
}

fn nothing(args: &CheckArgs, why: &str) -> ServiceCheck {
    ServiceCheck {
        host: args.host.clone().unwrap_or_else(host_name),
        service: args.service.clone(),
        answer: nagios::unknown(why),
        alarms: Vec::new(),
        readings: Vec::new(),
    }
}

/// This machine's name, as its kernel has it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim().to_owned()
}

/// Whether this command line is one of `check`, right or wrong: Nagios takes whatever it exits with for a verdict.
pub fn is_meant(args: impl IntoIterator<Item = OsString>) -> bool {
    let mut args = args.into_iter().skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--config" | "--root" | "--output" | "--color") => drop(args.next()),
            Some(flag) if flag.starts_with('-') => {}
            word => return word == Some("check"),
        }
    }
    false
}

/// A panic is no verdict either.
pub fn panics_are_unknown() {
    std::panic::set_hook(Box::new(|panic| {
        let answer = nagios::unknown(&format!("agentctl itself failed: {panic}"));
        // Not `println!`, which panics where nobody listens.
        let _ = writeln!(std::io::stdout(), "{}", answer.text);
        std::process::exit(UNKNOWN.into());
    }));
}

/// Prints what is wrong with the command line, or the help that was asked for, where Nagios reads it. By the
/// guidelines both are UNKNOWN.
pub fn usage(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    let mut out = std::io::stdout();
    if error.use_stderr() {
        let first = text.lines().next().unwrap_or_default();
        let what = first.strip_prefix("error: ").unwrap_or(first);
        let line = nagios::unknown(&format!("wrong usage: {what}"));
        let _ = writeln!(out, "{}", line.text);
        let _ = write!(out, "{}", text.replace('|', "/"));
    } else {
        let _ = write!(out, "{text}");
    }
    UNKNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_of_check_is_known_however_wrong_it_is() {
        let meant = |line: &str| is_meant(line.split(' ').map(OsString::from));
        for line in [
            "agentctl check",
            "agentctl --root /r check --frob",
            "agentctl --root=/r --frob check",
            "agentctl --color never check status",
            "agentctl check -w",
        ] {
            assert!(meant(line), "{line}");
        }
        for line in [
            "agentctl",
            "agentctl status check",
            "agentctl --root check",
            "agentctl --root check status",
            "agentctl why check",
        ] {
            assert!(!meant(line), "{line}");
        }
    }
}
