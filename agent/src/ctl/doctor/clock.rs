//! This box's clock, beside the bucket's.

use jiff::Timestamp;

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::report::text::age;

/// S3 refuses what is signed by a clock that is off by more.
const REFUSED_SECS: i64 = 15 * 60;
/// Logs of several boxes cannot be laid side by side any more.
const OFF_SECS: i64 = 60;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let clocks = examined
        .bucket_state()
        .and_then(|bucket_state| bucket_state.clocks);
    match clocks {
        Some((there, here)) => judge(there, here, found),
        None => found.skip("the bucket did not tell the time"),
    }
}

pub(super) fn judge(there: Timestamp, here: Timestamp, found: &mut Findings) {
    let ahead = here.as_second() - there.as_second();
    let off = ahead.abs();
    let message = format!(
        "this box's clock is {} {} the bucket's",
        age(off),
        if ahead > 0 { "ahead of" } else { "behind" }
    );
    let hint = "systemctl enable --now chronyd (Debian: chrony), then chronyc makestep";
    if off > REFUSED_SECS {
        found.broken(format!("{message}: S3 refuses its requests"), hint);
    } else if off > OFF_SECS {
        found.warn(message, hint);
    }
}
