//! The clocks: wall time for people, a clock that counts suspend for deadlines and ages.

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// The environment variable that names a file with seconds by which the wall clock is wrong: so a test lets it jump while
/// the process runs. Only in builds with debug assertions.
pub const WRONG_BY: &str = "AGENTD_CLOCK_WRONG_BY";

/// Now by the wall clock, in whole seconds: for logs, reports and expiry, never for deadlines.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let right = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(right.saturating_add(wrong_by())).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn wrong_by() -> i64 {
    if !cfg!(debug_assertions) {
        return 0;
    }
    let file = std::env::var_os(WRONG_BY);
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Time since boot, suspend included: for deadlines and ages. It never jumps; it starts again at a boot.
pub fn boottime() -> Duration {
    // Linux has had this clock since 2.6.39 and reading it cannot fail.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The wall time, in seconds since 1970, of a moment so many microseconds after the boot by the clock that stops in suspend,
/// which is systemd's.
pub fn wall_time_of(since_boot: u64) -> i64 {
    let uptime = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let ago = uptime.saturating_sub(Duration::from_micros(since_boot));
    let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
    now().as_second().saturating_sub(ago)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run() {
        // The project began later than this.
        assert!(now() > Timestamp::from_second(1_700_000_000).unwrap());
        let before = boottime();
        assert!(before > Duration::ZERO);
        std::thread::sleep(Duration::from_millis(2));
        assert!(boottime().saturating_sub(before) >= Duration::from_millis(2));
    }
}
