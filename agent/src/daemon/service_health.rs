//! Health of the services that serve what the agent writes: Apache, memcached, cron. Reported while one is down.
//!
//! Runs start Apache and memcached where the document wants them to serve; who is told here could not be started, or was
//! not yet. Cron is somebody else's: it is left to people.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::converge::ledger::Ledger;
use crate::report::{Kind, ServiceDown, Trigger};
use crate::settings::Settings;
use crate::system::file::{Files, Found};
use crate::system::platform::Platform;
use crate::system::systemd;

/// They are checked this often, or when somebody asks: it costs a command.
const INTERVAL: Duration = Duration::from_secs(50);
/// The same while one is down: it may just be between two starts.
pub(super) const INTERVAL_WHILE_DOWN: Duration = Duration::from_secs(5);

/// When the services are checked next.
#[derive(Debug, Default)]
pub(super) struct ServiceHealth {
    next: Option<Instant>,
}

impl ServiceHealth {
    /// The services that are down, each with what that means and what to do. `None`: it is not time to check. `were_down`:
    /// some were when they were last checked, and the run since then may have started them.
    pub(super) async fn check(
        &mut self,
        settings: &Settings,
        files: &Files,
        trigger: Trigger,
        were_down: bool,
    ) -> Option<Vec<ServiceDown>> {
        let now = Instant::now();
        let asked = were_down || matches!(trigger, Trigger::Person | Trigger::Signal);
        if !asked && self.next.is_some_and(|next| now < next) {
            return None;
        }
        let down = down_services(settings, files).await;
        self.next = Some(
            now + if down.is_empty() {
                INTERVAL
            } else {
                INTERVAL_WHILE_DOWN
            },
        );
        Some(down)
    }
}

/// Empty also where systemd does not say.
pub(super) async fn down_services(settings: &Settings, files: &Files) -> Vec<ServiceDown> {
    if !settings.root.is_machine() {
        return Vec::new();
    }
    let wanted = wanted(&settings.platform, files);
    if wanted.is_empty() {
        return Vec::new();
    }
    let units: Vec<String> = wanted.iter().map(|(unit, _)| unit.clone()).collect();
    let down = systemd::not_serving(&settings.platform, &units).await;
    let down = down.unwrap_or_default();
    wanted
        .into_iter()
        .filter(|(unit, _)| down.contains(unit))
        .map(|(unit, serves)| ServiceDown {
            message: message(&unit, serves),
            unit,
            serves,
        })
        .collect()
}

/// The services that serve something of the agent's, each with what that is.
fn wanted(platform: &Platform, files: &Files) -> Vec<(String, Kind)> {
    let mut wanted = Vec::new();
    let current = platform.apache.dir.join("current");
    if matches!(files.read(&current), Ok(Found::Link(_))) {
        wanted.push((platform.apache.unit.clone(), Kind::Sites));
    }
    // A ledger that cannot be read is told by the runs.
    let ledger = Ledger::load(files).unwrap_or_default();
    if ledger.paths().any(|(_, owned)| owned.kind == Kind::Php) {
        wanted.push((platform.with_what_came(files).unit("php-fpm"), Kind::Php));
    }
    wanted.extend(
        ledger
            .units()
            .map(|(unit, owned)| (unit.to_owned(), owned.kind)),
    );
    if has_jobs(files, &platform.cron_dir) {
        wanted.push((platform.unit("crond"), Kind::Cron));
    }
    wanted
}

fn message(unit: &str, serves: Kind) -> String {
    let so = match serves {
        Kind::Sites => "no site of this box is served; the agent tries to start it",
        Kind::Php => "no PHP of this box's sites runs; the agent tries to start it",
        Kind::Cron => "no cron job of this box runs",
        _ => "nobody gets what it serves; the agent tries to start it",
    };
    format!(
        "{unit} does not run: {so}; systemctl start {unit}, and journalctl -u {unit} says why it stopped"
    )
}

fn has_jobs(files: &Files, cron_dir: &Path) -> bool {
    let names = files.list(cron_dir).unwrap_or_default();
    names.iter().any(|name| name.starts_with("agentd-"))
}
