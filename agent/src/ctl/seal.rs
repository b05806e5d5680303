//! `agentctl seal`: makes an image fit to be cloned.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::control::client::{self, ControlError};
use crate::converge::{Sealed, seal as seal_state};
use crate::settings::RUN_DIR;
use crate::system::file::Files;
use crate::system::lock::Lock;

#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    #[serde(flatten)]
    sealed: &'a Sealed,
}

/// Makes this box's state, or that under `--root`, fit to be cloned.
pub fn seal(global: &Global, console: Console) -> Result<u8, Failure> {
    let settings = place::settings(global)?;
    if let Some(node) = &settings.node {
        let file = global.config_name();
        return Err(Failure::new(format!(
            "{file} says node = \"{node}\": every clone would take itself for that server"
        ))
        .hint(
            "take the line out; a clone finds itself by its instance id, a tag or its host name",
        ));
    }
    let root = &settings.root;
    if !matches!(client::status(root), Err(ControlError::NotRunning { .. })) {
        return Err(Failure::new(
            "agentd runs here: it would write down anew what is forgotten now",
        )
        .hint(
            "stop it first (systemctl stop agentd); on a machine that is no template, do not seal",
        ));
    }
    let Some(_lock) = Lock::try_take(root, &Path::new(RUN_DIR).join("run.lock"))? else {
        return Err(Failure::new("a run is going on").hint("wait for its end, then seal"));
    };
    let sealed = seal_state(&Files::new(root.clone()))?;
    let report = Report {
        format: 1,
        sealed: &sealed,
    };
    console.print(&report, |_| text(&sealed))?;
    Ok(0)
}

fn text(sealed: &Sealed) -> String {
    let mut out = format!(
        "sealed: every clone starts with the last good document and owns {} paths of it\n",
        sealed.owned
    );
    // Writing to a string cannot fail.
    for path in &sealed.disarmed {
        let path = path.display();
        let _ = writeln!(
            out,
            "  out of use until a clone knows which server it is: {path}"
        );
    }
    for path in &sealed.forgotten {
        let _ = writeln!(out, "  forgotten: {}", path.display());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_a_clone_will_find() {
        let sealed = Sealed {
            disarmed: vec!["/etc/cron.d/agentd-shop_tick".into()],
            forgotten: vec!["/var/lib/agentd/runs/1.json".into()],
            owned: 9,
        };
        insta::assert_snapshot!(text(&sealed), @r"
        sealed: every clone starts with the last good document and owns 9 paths of it
          out of use until a clone knows which server it is: /etc/cron.d/agentd-shop_tick
          forgotten: /var/lib/agentd/runs/1.json
        ");
    }
}
