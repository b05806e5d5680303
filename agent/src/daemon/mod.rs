//! The daemon: what makes runs happen, and when. Not what a run does: that is [`crate::converge`].

mod args;
mod box_state;
mod certificate_watch;
mod database_drivers;
mod dns_keeper;
mod document_poll;
mod document_request;
mod drift;
mod event_loop;
mod eviction_watch;
mod flapping;
mod fleet_summary;
mod job_watch;
mod lease_notices;
mod lease_watch;
mod lifecycle;
mod log;
mod master_change;
mod once;
mod operator;
mod order_watch;
mod poll_interval;
mod publish_status;
mod readiness;
mod report_upload;
mod rollout_watch;
mod run;
mod service_health;
mod signals;
mod snapshot_workers;
mod systemd;
mod watchdog;

use std::process::ExitCode;

pub use args::Args;
use clap::Parser;

use crate::settings::{Settings, SettingsError};
use crate::system::unit_environment;

/// `EX_CONFIG` of sysexits.h: systemd does not start the daemon again before somebody has mended the configuration.
const WRONG_CONFIGURATION: u8 = 78;
/// Wrong usage (contract).
const USAGE: u8 = 64;

/// `agentd`.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match start(&args) {
        Ok(code) => code.into(),
        Err(error) => {
            print_error(error.as_ref());
            failure_code(&args, error.as_ref()).into()
        }
    }
}

fn start(args: &Args) -> Result<u8, Box<dyn std::error::Error>> {
    let settings = Settings::load(&args.overrides())?;
    if (args.noop || args.once) && settings.root.is_machine() {
        // A person's shell has not what the unit sets: credentials, proxies.
        unit_environment::adopt(&settings.platform);
    }
    log::init(settings.log);
    // One thread: the daemon waits nearly always, and what it does is mostly one after the other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = match (args.noop, args.once) {
        (true, _) => runtime.block_on(once::noop(settings)),
        (false, true) => runtime.block_on(once::once(settings)),
        (false, false) => runtime.block_on(lifecycle::run_until_stopped(settings)),
    };
    // A lookup that hangs in a thread of its own must not hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    code
}

/// What a daemon that cannot begin exits with. Only mistakes in a file that is there stay until somebody corrects them: one
/// that is missing may still be written, by cloud-init or a configuration tool.
fn failure_code(args: &Args, error: &(dyn std::error::Error + 'static)) -> u8 {
    let stays = !(args.noop || args.once);
    match error.downcast_ref() {
        Some(SettingsError::Mistakes { path, .. }) if stays && path.exists() => WRONG_CONFIGURATION,
        _ => 1,
    }
}

/// The one place where the daemon prints why it cannot go on: the error with the whole chain of its causes.
#[expect(clippy::print_stderr, reason = "the error that ends the process")]
fn print_error(error: &dyn std::error::Error) {
    eprintln!("agentd: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  caused by: {cause}");
        source = cause.source();
    }
}
