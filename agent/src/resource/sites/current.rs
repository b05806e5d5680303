//! What the generation in use says of itself, as far as that must be known without rendering it.

use std::collections::BTreeSet;

use crate::system::file::{Files, Found};
use crate::system::platform::Apache;

/// The file of a generation that is read before its vhosts. Its ending keeps it apart from any site's.
pub(super) const FIRST: &str = "server.first";

/// The ports that the generation in use opens. None where it cannot be read: then others seem to have taken them, and the report says so.
pub(super) fn ports(files: &Files, apache: &Apache) -> BTreeSet<u16> {
    let Ok(Found::Link(generation)) = files.read(&apache.dir.join("current")) else {
        return BTreeSet::new();
    };
    let Ok(Found::File { bytes, .. }) = files.read(&apache.dir.join(generation).join(FIRST)) else {
        return BTreeSet::new();
    };
    String::from_utf8_lossy(&bytes)
        .lines()
        .filter_map(|line| line.strip_prefix("Listen ")?.parse().ok())
        .collect()
}
