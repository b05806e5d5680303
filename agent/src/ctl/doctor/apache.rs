//! Apache, on a box with sites: there, including the agent's file, sound, and running.

use std::time::Duration;

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::resource::Sites;

const TEST_DEADLINE: Duration = Duration::from_secs(20);
/// Lines of Apache's complaint that are quoted.
const QUOTED: usize = 3;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let Some(view) = examined.view() else {
        return found.skip("which server this box is is not known");
    };
    if view.sites.is_empty() {
        return;
    }
    let apache = &examined.platform.apache;
    let main = apache.main_config.display();
    let Some(included) = Sites::is_included(&examined.files, apache) else {
        return found.broken(
            format!("this box has sites and no Apache: {main} is not there"),
            "install httpd (Debian: apache2), or correct [platform.apache] in agentd.toml",
        );
    };
    let include = apache.include.display();
    if !included {
        found.broken(
            format!("{main} does not include {include}: Apache will not see the sites"),
            Sites::how_to_include(apache),
        );
    }
    if let Some((said, hint)) = Sites::obstacle(&examined.files, apache) {
        found.broken(said, hint);
    }
    if let Some(dir) = apache.include.parent()
        && !examined.has(dir)
    {
        found.warn(
            format!(
                "{} is not there: the agent makes it, but no package did",
                dir.display()
            ),
            "see whether httpd is installed whole: rpm -V httpd",
        );
    }
    if examined.root.is_machine() {
        test(examined, found);
    }
    service(examined, found);
}

fn test(examined: &ExaminedBox, found: &mut Findings) {
    let test = &examined.platform.apache.test;
    match examined.run(test.iter().map(String::as_str), TEST_DEADLINE) {
        Ok(output) if output.success => {}
        Ok(output) => {
            let said = output.said();
            let lines: Vec<_> = said.lines().take(QUOTED).collect();
            found.broken(
                format!("Apache's configuration is wrong, so no site can be changed: {}", lines.join("; ")),
                format!("{} names the file; what lies in {} is the agent's, everything else is yours", test.join(" "), examined.platform.apache.dir.display()),
            );
        }
        Err(error) => found.broken(
            format!("Apache's configuration cannot be tested: {error}"),
            "see whether httpd is installed whole, and whether something that its configuration names hangs",
        ),
    }
}

fn service(examined: &ExaminedBox, found: &mut Findings) {
    let name = &examined.platform.apache.unit;
    let unit = match examined.unit(name) {
        Ok(unit) => unit,
        Err(why) => return found.skip(why),
    };
    if !unit.is_loaded() {
        return found.broken(
            format!("systemd has no usable {name} ({})", unit.get("LoadState")),
            format!("systemctl unmask {name}, or install Apache again"),
        );
    }
    if !unit.is_active() {
        found.broken(
            format!(
                "{name} does not run ({}): no site of this box is served",
                unit.get("ActiveState")
            ),
            format!("systemctl start {name}; why it stopped: journalctl -u {name} -n 30"),
        );
    }
    if !unit.is_enabled() {
        found.warn(
            format!("{name} is not enabled: after the next boot the sites are away until the agent's first change"),
            format!("systemctl enable {name}"),
        );
    }
}
