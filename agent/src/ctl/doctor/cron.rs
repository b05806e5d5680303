//! cron, on a box with jobs.

use super::examined_box::ExaminedBox;
use super::finding::Findings;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let Some(view) = examined.view() else {
        return found.skip("which server this box is is not known");
    };
    if view.cron.is_empty() {
        return;
    }
    let name = examined.platform.unit("crond");
    let unit = match examined.unit(&name) {
        Ok(unit) => unit,
        Err(why) => return found.skip(why),
    };
    let jobs = view.cron.len();
    if !unit.is_loaded() {
        found.broken(
            format!(
                "systemd has no usable {name} ({}): the box's {jobs} cron jobs do not run",
                unit.get("LoadState")
            ),
            "dnf install cronie (Debian: apt install cron); a masked one: systemctl unmask",
        );
    } else if !unit.is_active() {
        found.broken(
            format!("{name} does not run: the box's {jobs} cron jobs do not run"),
            format!("systemctl enable --now {name}"),
        );
    } else if !unit.is_enabled() {
        found.warn(
            format!(
                "{name} is not enabled: after the next boot the box's {jobs} cron jobs do not run"
            ),
            format!("systemctl enable {name}"),
        );
    }
}
