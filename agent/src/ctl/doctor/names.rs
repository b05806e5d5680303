//! Whether the names in `/etc/hosts` are what programs get.

use std::path::Path;

use super::super::place;
use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::node::View;
use crate::resource::{Hosts, Resource as _};

const NSSWITCH: &str = "/etc/nsswitch.conf";

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    // Without the file the C library looks into /etc/hosts first.
    if let Ok(text) = examined.text(Path::new(NSSWITCH)) {
        order(&text, found);
    }
    match examined.view() {
        Some(view) => shadows(examined, view, found),
        None => found.skip("shadowed names: which server this box is is not known"),
    }
}

/// What `hosts:` says.
pub(super) fn order(nsswitch: &str, found: &mut Findings) {
    let line = nsswitch.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        line.strip_prefix("hosts:")
    });
    let Some(line) = line else {
        return;
    };
    let place = |wanted: &str| line.split_whitespace().position(|source| source == wanted);
    let hint = "write `hosts: files dns` (with your other sources after files) in /etc/nsswitch.conf; running programs see it after their restart";
    match (place("files"), place("dns")) {
        // systemd-resolved reads /etc/hosts itself.
        (None, _) if place("resolve").is_none() => found.broken(
            format!("{NSSWITCH} leaves files out of `hosts:{line}`: no program sees /etc/hosts, mysql-master is not found"),
            hint,
        ),
        (Some(files), Some(dns)) if dns < files => found.warn(
            format!("{NSSWITCH} asks DNS before /etc/hosts (`hosts:{line}`): a name that DNS has too leads elsewhere, and without DNS every look-up is slow"),
            hint,
        ),
        _ => {}
    }
}

/// Lines of others in `/etc/hosts` that give one of the agent's names another address.
fn shadows(examined: &ExaminedBox, view: &View, found: &mut Findings) {
    let observed = place::block_on(Hosts.observe(view, &examined.platform, &examined.files));
    let Ok(Ok(facts)) = observed else {
        return found.skip("/etc/hosts was not read");
    };
    for problem in Hosts.desired(view, &examined.platform, &facts).problems {
        found.warn(
            problem.message,
            "the agent does not touch lines that it did not write",
        );
    }
}
