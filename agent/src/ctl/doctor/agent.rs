//! The daemon: whether it runs, answers, is of this version, and tells monitors.

use std::path::Path;

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::control::client::{self, ControlError};
use crate::report::Status;
use crate::report::text::age;
use crate::settings::RUN_DIR;
use crate::system::clock;
use crate::system::file::Found;

/// It is written every minute.
const STALE_SECS: i64 = 180;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    match client::status(&examined.root) {
        Ok(status) => version(&status, found),
        // An image that is being baked has none.
        Err(ControlError::NotRunning { .. }) if !examined.root.is_machine() => {
            found.skip("no agent runs under this root");
        }
        Err(ControlError::NotRunning { start, .. }) => found.broken(
            "the agent does not run: nothing keeps this box as the document says",
            format!("{start}; why it stopped: journalctl -u agentd -n 30"),
        ),
        Err(ControlError::Denied { .. }) => found.skip("its socket is root's"),
        Err(error @ ControlError::Silent { .. }) => found.broken(
            error.to_string(),
            "journalctl -u agentd -n 30 shows what it did last; systemctl restart agentd touches no service",
        ),
        Err(error) => found.broken(error.to_string(), "systemctl restart agentd"),
    }
}

fn version(status: &Status, found: &mut Findings) {
    let own = env!("CARGO_PKG_VERSION");
    if status.agent.version != own {
        found.warn(
            format!(
                "agentd {} runs, and agentctl is {own}: it was not restarted after an update",
                status.agent.version
            ),
            "systemctl restart agentd",
        );
    }
}

/// What monitors read.
pub fn status_file(examined: &ExaminedBox, found: &mut Findings) {
    let path = Path::new(RUN_DIR).join("status.json");
    let bytes = match examined.files.read(&path) {
        Ok(Found::File { bytes, .. }) => bytes,
        // No agent, no file: that it does not run is told by itself.
        Ok(Found::Absent) => return,
        Ok(_) => {
            return found.broken(
                format!("{} is not a file", path.display()),
                format!("rm -r {}; the agent writes it again", path.display()),
            );
        }
        Err(error) => return found.skip(error.to_string()),
    };
    let status: Status = match serde_json::from_slice(&bytes) {
        Ok(status) => status,
        Err(error) => {
            return found.warn(
                format!("{} is not understood: {error}", path.display()),
                "systemctl restart agentd writes it again",
            );
        }
    };
    let now = clock::now().as_second();
    let old = now - status.written.as_second();
    // Of an agent that does not run it is always old.
    if old > STALE_SECS && client::status(&examined.root).is_ok() {
        found.broken(
            format!(
                "{} was last written {} ago: monitors see an old picture",
                path.display(),
                age(old)
            ),
            "journalctl -u agentd says why it cannot be written (disk full? /run?)",
        );
    } else if old < -STALE_SECS {
        found.warn(
            format!(
                "{} was written in the future: the clock was set back",
                path.display()
            ),
            "check the clock: chronyc tracking, timedatectl",
        );
    }
}
