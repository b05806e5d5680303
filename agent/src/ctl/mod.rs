//! `agentctl`: what a person types. One module a subcommand; this one reads the command line and prints errors.

mod apply;
mod args;
mod check;
mod completions;
mod console;
mod db;
mod doctor;
mod failure;
mod fleet;
mod history;
mod job;
mod jobs;
mod local_status;
mod metrics;
mod munin;
mod order;
mod panel;
mod place;
mod plan;
mod release;
mod schema;
mod seal;
mod status;
mod trust_reset;
mod undo;
mod validate;
mod warnings;
mod why;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;

pub use args::{
    ApplyArgs, Args, CheckArgs, Color, Command, DbCommand, DeskArgs, FleetArgs, FleetCommand,
    Format, JobArgs, KeyCommand, MuninAsk, OrderArgs, PanelArgs, ReleaseCommand, StatusArgs,
    UndoArgs,
};
use console::Console;
use failure::Failure;

/// Wrong usage (`EX_USAGE` of sysexits.h).
const WRONG_USAGE: u8 = 64;

/// All of `agentctl`: reads the command line of this process, does it, says what went wrong.
pub fn main() -> ExitCode {
    let of_nagios = check::is_meant(std::env::args_os());
    if of_nagios {
        check::panics_are_unknown();
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if of_nagios => return ExitCode::from(check::usage(&error)),
        Err(error) => {
            // Nobody is left to tell where this cannot be printed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { WRONG_USAGE } else { 0 });
        }
    };
    let console = Console::new(&args.global);
    console.say_warnings();
    match run(&args, console) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            console.fail(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn run(args: &Args, console: Console) -> Result<u8, Failure> {
    let global = &args.global;
    match &args.command {
        Command::Status { ack } => status::status(global, *ack, console),
        Command::Doctor => doctor::doctor(global, console),
        Command::Plan(wanted) => plan::plan(global, wanted, console),
        Command::Apply(wanted) => apply::apply(global, wanted, console),
        Command::History { number } => history::history(global, *number, console),
        Command::Show { run } => history::show(global, *run, console),
        Command::Why { subject, name } => why::why(global, subject, name.as_deref(), console),
        Command::Validate { file, against } => {
            validate::validate(file, against.as_deref(), console)
        }
        Command::Hold(wanted) => order::hold(global, wanted, console),
        Command::Drain(wanted) => order::drain(global, wanted, console),
        Command::Undo(wanted) => undo::undo(global, wanted, console),
        Command::Undrain => order::undrain(global, console),
        Command::Jobs { job } => jobs::jobs(global, job.as_deref(), console),
        Command::Job(wanted) => job::job(global, wanted, console),
        Command::Seal => seal::seal(global, console),
        Command::Check(wanted) => check::check(global, wanted, console),
        Command::Munin { what } => munin::munin(global, *what, console),
        Command::Metrics { write } => metrics::metrics(global, write.as_deref(), console),
        Command::Db { command } => db::db(global, command, console),
        Command::Fleet(wanted) => fleet::fleet(global, wanted, console),
        Command::Panel(wanted) => panel::panel(global, wanted, console),
        Command::TrustReset { forget_version } => {
            trust_reset::trust_reset(global, *forget_version, console)
        }
        Command::Release { command } => release::release(global, command, console),
        Command::Schema => schema::schema(console),
        Command::Completions { shell } => completions::completions(*shell, console),
    }
}
