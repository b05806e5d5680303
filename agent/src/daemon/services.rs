//! Services that serve what the agent writes and that it does not start by itself: told while they stand still.
//!
//! Somebody may have stopped one for a reason, so that is left to people.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::report::Trigger;
use crate::settings::Settings;
use crate::system::file::{Files, Found};
use crate::system::systemd;

/// They are looked at this often, or when somebody asks: it costs a command.
const LOOK: Duration = Duration::from_secs(50);
/// While one stands still. It may just be between two starts.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// When the services are looked at.
#[derive(Debug, Default)]
pub(super) struct Services {
    next: Option<Instant>,
}

impl Services {
    /// What stands still, each with what that means and what to do. `None`: it is not time to look.
    pub(super) async fn look(
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
        let still = standing_still(settings, files).await;
        self.next = Some(now + if still.is_empty() { LOOK } else { AGAIN });
        Some(still)
    }
}

/// Empty also where systemd does not say.
async fn standing_still(settings: &Settings, files: &Files) -> Vec<String> {
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
    let still = systemd::standing_still(platform, &units).await;
    let still = still.unwrap_or_default();
    wanted
        .into_iter()
        .filter(|(unit, _)| still.contains(unit))
        .map(|(unit, so)| {
            format!("{unit} does not run: {so}; systemctl start {unit}, and journalctl -u {unit} says why it stopped")
        })
        .collect()
}

fn has_jobs(files: &Files, cron_dir: &Path) -> bool {
    let names = files.list(cron_dir).unwrap_or_default();
    names.iter().any(|name| name.starts_with("agentd-"))
}
