//! The agent's own unit: there, enabled, as it was shipped, and not failing again and again.

use std::path::Path;

use super::examined_box::{ExaminedBox, Unit};
use super::finding::Findings;

const UNIT: &str = "agentd.service";
/// The unit that belongs to this version.
const SHIPPED: &str = include_str!("../../../../systemd/agentd.service");
/// What the agent exits with then.
const WRONG_CONFIGURATION: &str = "78";
/// So many restarts since boot are no accident.
const OFTEN: u32 = 3;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    match examined.unit(UNIT) {
        Ok(unit) => {
            judge(&unit, found);
            let fragment = Path::new(unit.get("FragmentPath"));
            if unit.is_loaded() && !is_own(examined, fragment) {
                found.warn(
                    format!("{} is not the unit of this version of the agent: somebody edited or copied it", fragment.display()),
                    "install the package again; put what you changed into a drop-in (systemctl edit agentd), which updates leave alone",
                );
            }
        }
        Err(why) => found.skip(why),
    }
}

fn is_own(examined: &ExaminedBox, fragment: &Path) -> bool {
    // What cannot be read is as good as right: a finding must be sure.
    examined.text(fragment).map_or(true, |text| text == SHIPPED)
}

pub(super) fn judge(unit: &Unit, found: &mut Findings) {
    match unit.get("LoadState") {
        "loaded" => {}
        "masked" => {
            return found.broken(
                format!("{UNIT} is masked: nothing can start the agent"),
                "systemctl unmask agentd && systemctl enable --now agentd",
            );
        }
        "not-found" => {
            return found.broken(
                format!("systemd does not know {UNIT}"),
                "install the package again; by hand: copy it to /usr/lib/systemd/system and systemctl daemon-reload",
            );
        }
        other => {
            return found.broken(
                format!("systemd cannot load {UNIT} ({other})"),
                "systemctl status agentd says which line is wrong; drop-ins lie in /etc/systemd/system/agentd.service.d",
            );
        }
    }
    if !unit.is_enabled() {
        found.warn(
            format!(
                "{UNIT} is {}: after the next boot nothing keeps this box",
                match unit.get("UnitFileState") {
                    "" => "not enabled",
                    state => state,
                }
            ),
            "systemctl enable agentd",
        );
    }
    let restarts: u32 = unit.get("NRestarts").parse().unwrap_or_default();
    let how = format!(
        "last result: {}, exit status {}",
        unit.get("Result"),
        unit.get("ExecMainStatus")
    );
    if unit.get("ActiveState") == "failed" && unit.get("ExecMainStatus") == WRONG_CONFIGURATION {
        found.broken(
            format!("{UNIT} has failed, and is not started again: its configuration had mistakes when it was last started"),
            "correct agentd.toml (journalctl -u agentd -n 30 lists the mistakes), then systemctl restart agentd",
        );
    } else if unit.get("ActiveState") == "failed" {
        found.broken(
            format!("{UNIT} has failed ({how})"),
            "journalctl -u agentd -n 30 says why; then systemctl restart agentd",
        );
    } else if unit.get("SubState") == "auto-restart" {
        found.broken(
            match restarts {
                // The first is still to come, or systemd is one that does not count.
                0 => format!("the agent has ended, and is about to be started again ({how})"),
                1 => format!("the agent ends again and again: 1 restart since boot ({how})"),
                many => {
                    format!("the agent ends again and again: {many} restarts since boot ({how})")
                }
            },
            "journalctl -u agentd -n 30 says why",
        );
    } else if restarts >= OFTEN {
        found.warn(
            format!(
                "the agent was started again {restarts} times since boot, after it had ended badly"
            ),
            "journalctl -u agentd says when and why; it should not happen: please report it",
        );
    }
    if unit.get("NeedDaemonReload") == "yes" {
        found.warn(
            format!("{UNIT} was changed on disk and systemd has not read it yet"),
            "systemctl daemon-reload && systemctl restart agentd",
        );
    }
}
