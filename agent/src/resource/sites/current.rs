//! What the generation in use says of itself, as far as that must be known without rendering it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::system::file::{Files, Found};
use crate::system::platform::Apache;

/// The file of a generation that is read before its vhosts. Its ending keeps it apart from any site's.
pub(super) const FIRST: &str = "server.first";

/// The ports that the generation in use opens. None where it cannot be read: then others seem to have taken them, and the report says so.
pub(super) fn ports(files: &Files, apache: &Apache) -> BTreeSet<u16> {
    let Some(generation) = generation(files, apache) else {
        return BTreeSet::new();
    };
    let Ok(Found::File { bytes, .. }) = files.read(&generation.join(FIRST)) else {
        return BTreeSet::new();
    };
    String::from_utf8_lossy(&bytes)
        .lines()
        .filter_map(|line| line.strip_prefix("Listen ")?.parse().ok())
        .collect()
}

/// The texts of the vhosts of the generation in use.
pub(super) fn vhosts(files: &Files, apache: &Apache) -> Vec<String> {
    let Some(generation) = generation(files, apache) else {
        return Vec::new();
    };
    let names = files.list(&generation).unwrap_or_default();
    names
        .into_iter()
        .filter(|name| name.strip_suffix(".conf").is_some())
        .filter_map(|name| match files.read(&generation.join(name)) {
            Ok(Found::File { bytes, .. }) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        })
        .collect()
}

fn generation(files: &Files, apache: &Apache) -> Option<PathBuf> {
    match files.read(&apache.dir.join("current")) {
        Ok(Found::Link(generation)) => Some(apache.dir.join(generation)),
        _ => None,
    }
}
