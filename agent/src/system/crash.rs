//! Points where a test can have the process killed, to show that the next start converges.
//!
//! Only in builds with debug assertions: a release build has no such points.

use std::sync::atomic::{AtomicU32, Ordering};

/// The environment variable that names the hit to die at: the process sends itself SIGKILL at the N-th point it passes.
pub const CRASH_AT: &str = "AGENTD_CRASH_AT";

static HITS: AtomicU32 = AtomicU32::new(0);

/// A point where a crash must do no harm. `name` is printed before dying, so that a failed test says where.
pub fn point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let hit = HITS.fetch_add(1, Ordering::Relaxed) + 1;
    let at = std::env::var(CRASH_AT)
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    if at == Some(hit) {
        tracing::error!(
            event = "crash-asked-for",
            point = name,
            hit,
            "crashing on request"
        );
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
