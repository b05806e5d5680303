//! `agentctl trust-reset`: a box goes by the keys of its `agentd.toml` again, whatever it has followed since.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::control::client::{self, ControlError};
use crate::converge::intake::{DOCUMENT, META, TRUST};
use crate::settings::RUN_DIR;
use crate::system::file::{Files, Found};
use crate::system::lock::Lock;

#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    forgotten: &'a [PathBuf],
}

/// Forgets who signs; with `forget_version`, also which version was accepted last.
pub fn trust_reset(global: &Global, forget_version: bool, console: Console) -> Result<u8, Failure> {
    let root = place::root(global)?;
    if !matches!(client::status(&root), Err(ControlError::NotRunning { .. })) {
        return Err(
            Failure::new("agentd runs here: it would go on by what it knows")
                .hint("systemctl stop agentd, then this, then systemctl start agentd"),
        );
    }
    let Some(_lock) = Lock::try_take(&root, &Path::new(RUN_DIR).join("run.lock"))? else {
        return Err(Failure::new("a run is going on").hint("wait for its end, then try again"));
    };
    let files = Files::new(root);
    let paths: &[&str] = if forget_version {
        &[TRUST, META, DOCUMENT]
    } else {
        &[TRUST]
    };
    let mut forgotten = Vec::new();
    for path in paths.iter().map(Path::new) {
        if !matches!(files.read(path)?, Found::Absent) {
            files.remove(path)?;
            forgotten.push(path.to_path_buf());
        }
    }
    let report = Report {
        format: 1,
        forgotten: &forgotten,
    };
    console.print(&report, |_| {
        if forgotten.is_empty() {
            return "nothing to forget: this box goes by agentd.toml\n".into();
        }
        let paths: Vec<String> = forgotten
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        format!(
            "forgotten: {}\nstart agentd: it goes by the keys of agentd.toml\n",
            paths.join(", ")
        )
    })?;
    Ok(0)
}
