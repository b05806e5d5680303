//! The clocks: wall time for people, a clock that counts suspend for deadlines and ages.

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Now by the wall clock, in whole seconds: for logs, reports and expiry, never for deadlines.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_second(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Time since boot, suspend included: for deadlines and ages. It never jumps; it starts again at a boot.
pub fn boottime() -> Duration {
    // Linux has had this clock since 2.6.39 and reading it cannot fail.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
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
