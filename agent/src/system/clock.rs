//! The clocks: wall time for people, a clock that counts suspend for deadlines and ages.

use jiff::Timestamp;

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
