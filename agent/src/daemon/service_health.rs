//! Health of the services that serve what the agent writes (Apache, cron) and that it does not start: reported while one is
//! down.
//!
//! Somebody may have stopped one for a reason, so that is left to people.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::report::Trigger;
use crate::settings::Settings;
use crate::system::file::{Files, Found};
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
    /// The services that are down, each with what that means and what to do. `None`: it is not time to check.
    pub(super) async fn check(
        &mut self,
        settings: &Settings,
        files: &Files,
        trigger: Trigger,
    ) -> Option<Vec<String>> {
        let now = Instant::now();
        let asked = matches!(trigger, Trigger::Person | Trigger::Signal);
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
async fn down_services(settings: &Settings, files: &Files) -> Vec<String> {
    if !settings.root.is_machine() {
        return Vec::new();
    }
    let platform = &settings.platform;
    let mut wanted = Vec::new();
    let current = platform.apache.dir.join("current");
    if matches!(files.read(&current), Ok(Found::Link(_))) {
        wanted.push((
            platform.apache.unit.clone(),
            "no site of this box is served",
        ));
    }
    if has_jobs(files, &platform.cron_dir) {
        wanted.push((platform.unit("crond"), "no cron job of this box runs"));
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    let units: Vec<String> = wanted.iter().map(|(unit, _)| unit.clone()).collect();
    let down = systemd::standing_still(platform, &units).await;
    let down = down.unwrap_or_default();
    wanted
        .into_iter()
        .filter(|(unit, _)| down.contains(unit))
        .map(|(unit, so)| {
            format!("{unit} does not run: {so}; systemctl start {unit}, and journalctl -u {unit} says why it stopped")
        })
        .collect()
}

fn has_jobs(files: &Files, cron_dir: &Path) -> bool {
    let names = files.list(cron_dir).unwrap_or_default();
    names.iter().any(|name| name.starts_with("agentd-"))
}
