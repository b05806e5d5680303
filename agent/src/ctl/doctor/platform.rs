//! What `[platform]` in agentd.toml says instead of the distribution's: whether it is there.
//!
//! That Apache includes the agent's file, and that services run, their own checks see.

use std::path::Path;

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::system::platform::Platform;

const CORRECT: &str = "correct it in [platform] of agentd.toml, then systemctl restart agentd";

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let Ok(settings) = &examined.settings else {
        return found.skip("there are no usable settings");
    };
    let here = &settings.platform;
    let usual = Platform::detect_within(&examined.root, here.family);
    // `systemctl` before units: without it nothing can be asked.
    if here.systemctl != usual.systemctl && !examined.has(&here.systemctl) {
        found.broken(missing("systemctl", &here.systemctl), CORRECT);
    }
    if let Some(program) = here.apache.test.first().map(Path::new)
        && here.apache.test != usual.apache.test
        && !examined.has(program)
    {
        found.broken(missing("apache.test", program), CORRECT);
    }
    // The agent makes its own directories, not those of others.
    for (key, path, usual) in [
        ("cron_dir", &here.cron_dir, &usual.cron_dir),
        (
            "apache.main_config",
            &here.apache.main_config,
            &usual.apache.main_config,
        ),
        (
            "apache.log_dir",
            &here.apache.log_dir,
            &usual.apache.log_dir,
        ),
    ] {
        if path != usual && !examined.has(path) {
            found.warn(missing(key, path), CORRECT);
        }
    }
    if let Some(dir) = here.apache.include.parent()
        && here.apache.include != usual.apache.include
        && !examined.has(dir)
    {
        found.warn(missing("apache.include", dir), CORRECT);
    }
    units(examined, here, &usual, found);
}

fn missing(key: &str, path: &Path) -> String {
    format!("[platform] {key}: {} is not there", path.display())
}

/// Services by the names that they are said to have here.
fn units(examined: &ExaminedBox, here: &Platform, usual: &Platform, found: &mut Findings) {
    let renamed = here
        .units
        .iter()
        .filter(|(there, name)| usual.units.get(*there) != Some(name));
    let mut units: Vec<(String, String)> = renamed
        .map(|(there, _)| (format!("units.{there}"), here.unit(there)))
        .collect();
    if here.apache.unit != usual.apache.unit {
        units.push(("apache.unit".into(), here.apache.unit.clone()));
    }
    for (key, unit) in units {
        match examined.unit(&unit) {
            Ok(known) if known.is_loaded() => {}
            Ok(known) => found.warn(
                format!(
                    "[platform] {key}: systemd has no usable {unit} ({})",
                    known.get("LoadState")
                ),
                CORRECT,
            ),
            Err(why) => return found.skip(why),
        }
    }
}
