//! `agentctl doctor`: what on this box keeps the agent from working, and how to mend it.
//!
//! One module a check, each a function that looks and tells; none changes anything. All run at once, each in a thread
//! of its own: a check whose file system or name service hangs is given up, and told, while the others answer.

mod agent;
mod apache;
mod bucket;
mod clock;
mod configuration;
mod cron;
mod directories;
mod disk;
mod document;
mod examined_box;
mod finding;
mod identity;
mod leftovers;
mod memcached;
mod names;
mod platform;
mod rights;
mod selinux;
mod targets;
#[cfg(test)]
mod tests;
mod text;
mod unit;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::place;
use examined_box::ExaminedBox;
use finding::{Diagnosis, Findings};

/// How long a check may take. Each request and command in it has less.
const DEADLINE: Duration = Duration::from_secs(30);

/// Looks, and tells what it found.
type Check = fn(&ExaminedBox, &mut Findings);

/// All checks: causes before what follows from them.
const CHECKS: [(&str, Check); 19] = [
    ("rights", rights::check),
    ("configuration", configuration::check),
    ("platform", platform::check),
    ("directories", directories::check),
    ("disk", disk::check),
    ("selinux", selinux::check),
    ("unit", unit::check),
    ("agent", agent::check),
    ("bucket", bucket::check),
    ("clock", clock::check),
    ("document", document::check),
    ("identity", identity::check),
    ("targets", targets::check),
    ("names", names::check),
    ("apache", apache::check),
    ("memcached", memcached::check),
    ("cron", cron::check),
    ("status file", agent::status_file),
    ("leftovers", leftovers::check),
];

/// Examines this box.
pub fn doctor(global: &Global, console: Console) -> Result<u8, Failure> {
    place::adopt_environment(global);
    let examined = Arc::new(ExaminedBox::new(global)?);
    let mut diagnosis = examine(&examined, &CHECKS, DEADLINE);
    diagnosis.retired = examined.retired();
    console.print(&diagnosis, |paint| text::text(&diagnosis, paint))?;
    Ok(diagnosis.exit_code())
}

/// Makes all checks at once, each for at most `deadline`.
fn examine(
    examined: &Arc<ExaminedBox>,
    checks: &[(&'static str, Check)],
    deadline: Duration,
) -> Diagnosis {
    let end = Instant::now() + deadline;
    let under_way: Vec<_> = checks
        .iter()
        .map(|&(name, check)| (name, begin(examined, name, check)))
        .collect();
    let found = under_way.into_iter().map(|(name, answer)| {
        let left = end.saturating_duration_since(Instant::now());
        answer.recv_timeout(left).unwrap_or_else(|why| {
            let mut findings = Findings::of(name);
            findings.warn(
                match why {
                    mpsc::RecvTimeoutError::Timeout => {
                        format!("not done after {} s", deadline.as_secs())
                    }
                    // The thread panicked, or was never started.
                    mpsc::RecvTimeoutError::Disconnected => "the check broke off".into(),
                },
                "something that it looks at hangs (a network file system, a directory service, systemd): see dmesg and journalctl",
            );
            findings
        })
    });
    Diagnosis::of(found.collect())
}

fn begin(
    examined: &Arc<ExaminedBox>,
    name: &'static str,
    check: Check,
) -> mpsc::Receiver<Findings> {
    let (tell, answer) = mpsc::channel();
    let examined = Arc::clone(examined);
    let thread = move || {
        let mut findings = Findings::of(name);
        check(&examined, &mut findings);
        // Nobody waits any more: it took too long.
        let _ = tell.send(findings);
    };
    // Where no thread can be had, the channel closes, and that is told.
    let _ = std::thread::Builder::new().name(name.into()).spawn(thread);
    answer
}
