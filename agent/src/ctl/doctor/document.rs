//! The document in the bucket: accepted, and not expired.

use jiff::Timestamp;

use super::examined_box::ExaminedBox;
use super::finding::Findings;
use crate::converge::intake::Polled;
use crate::report::text::{ago, moment};
use crate::system::clock;

/// Mistakes that are told; the rest is counted.
const TOLD: usize = 5;
/// So long before the document expires it is told.
const SOON_SECS: i64 = 3 * 24 * 60 * 60;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    let Some(bucket_state) = examined.bucket_state() else {
        return found.skip("the configuration cannot be used");
    };
    if let Ok(Polled::Refused(refusal)) = &bucket_state.polled {
        let which = refusal.version.map_or_else(
            || "the document".into(),
            |version| format!("version {version}"),
        );
        let mut errors: Vec<_> = refusal.errors.iter().take(TOLD).cloned().collect();
        let more = refusal.errors.len().saturating_sub(TOLD);
        if more > 0 {
            errors.push(format!("and {more} more"));
        }
        found.broken(
            format!("{which} in the bucket is refused: {}", errors.join("; ")),
            "publish a mended one with a higher version; agentctl validate fleet.json lists all mistakes",
        );
    }
    match &bucket_state.document {
        Some(document) => expiry(document.fleet.expires.0, clock::now(), found),
        None => found.skip("there is none"),
    }
}

pub(super) fn expiry(expires: Timestamp, now: Timestamp, found: &mut Findings) {
    let left = expires.as_second() - now.as_second();
    let hint = "publish it anew with a later `expires` and a higher version";
    if left <= 0 {
        found.broken(
            format!(
                "the document expired {} ({}): a new box would not take it",
                ago(expires, now),
                moment(expires)
            ),
            hint,
        );
    } else if left < SOON_SECS {
        found.warn(format!("the document expires {}", ago(expires, now)), hint);
    }
}
