//! Points where a test can have the process killed, to show that the next start converges, or made to hang, to show
//! that systemd's watchdog sees it.
//!
//! Only in builds with debug assertions: a release build has no such points.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The environment variable that names the hit to die at: the process sends itself SIGKILL at the N-th point it passes.
pub const CRASH_AT: &str = "AGENTD_CRASH_AT";

/// The environment variable that names a file: the process sends itself SIGKILL at the point whose name stands in the
/// file, once, for the file is removed before. So a test can say where while the process runs.
pub const CRASH_IF: &str = "AGENTD_CRASH_IF";

/// The environment variable that names a file: as long as it is there, the thread stays at the point that it came to.
pub const HANG_WHILE: &str = "AGENTD_HANG_WHILE";

/// The environment variable that names the point to panic at.
pub const PANIC_AT: &str = "AGENTD_PANIC_AT";

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
    if at == Some(hit) || is_asked_for(name) {
        tracing::error!(
            event = "crash-asked-for",
            point = name,
            hit,
            "crashing on request at {name}, hit {hit}"
        );
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
    hang(name);
}

/// Whether the file says to die here. Where it cannot be removed nobody dies: it would be again and again.
fn is_asked_for(name: &str) -> bool {
    let Some(file) = std::env::var_os(CRASH_IF) else {
        return false;
    };
    std::fs::read_to_string(&file).is_ok_and(|asked| asked.trim() == name)
        && std::fs::remove_file(&file).is_ok()
}

/// As a call of the system does that never returns: the whole thread, and with it the daemon's loop.
fn hang(name: &str) {
    let Some(file) = std::env::var_os(HANG_WHILE) else {
        return;
    };
    if Path::new(&file).exists() {
        tracing::error!(
            event = "hang-asked-for",
            point = name,
            "hanging on request at {name}"
        );
    }
    while Path::new(&file).exists() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A point where a panic must be told as what it is.
///
/// # Panics
///
/// Where a test asks for it.
pub fn panic_point(name: &str) {
    let asked = || std::env::var(PANIC_AT).is_ok_and(|at| at == name);
    assert!(!(cfg!(debug_assertions) && asked()), "on request");
}
