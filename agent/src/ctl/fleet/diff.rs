//! How two versions differ: as a person wrote them, and in a line.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use similar::TextDiff;

use super::super::failure::Failure;
use super::super::validate;
use super::desk::Desk;
use super::published::{Published, version_key};
use crate::converge::intake::KEY;
use crate::fleet::signed_part;

/// Names of a part that the summary lists; the others are counted.
const NAMED: usize = 3;

/// A document to compare.
struct Side {
    name: String,
    bytes: Vec<u8>,
}

/// Shows how two versions or files differ.
pub(super) async fn diff(
    desk: &Desk,
    before: Option<&str>,
    after: Option<&str>,
) -> Result<u8, Failure> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (side(desk, before).await?, side(desk, after).await?),
        (Some(before), None) => (side(desk, before).await?, now(desk).await?),
        _ => {
            let after = now(desk).await?;
            let version = version_of(&after.bytes).unwrap_or(0);
            (older(desk, version).await?, after)
        }
    };
    let text = unified(&before.bytes, &after.bytes);
    let summary = summary(&before.bytes, &after.bytes);
    let output = serde_json::json!({
        "format": 1, "before": before.name, "after": after.name, "summary": summary, "diff": text,
    });
    desk.console.print(&output, |paint| {
        let mut out = format!("{} to {}: {summary}\n", before.name, after.name);
        for line in text.lines() {
            let line = crate::report::text::shown(line);
            out.push_str(&match line.as_bytes().first() {
                Some(b'+') => paint.green(&line),
                Some(b'-') => paint.alarm(&line),
                _ => line.into_owned(),
            });
            out.push('\n');
        }
        out
    })?;
    Ok(0)
}

async fn now(desk: &Desk) -> Result<Side, Failure> {
    let published = desk.published().await?;
    Ok(Side {
        name: format!("version {}", version_of(&published.bytes).unwrap_or(0)),
        bytes: published.bytes,
    })
}

/// A number is a version, everything else a file.
async fn side(desk: &Desk, what: &str) -> Result<Side, Failure> {
    if let Ok(version) = what.parse::<u64>() {
        return version_side(desk, version)
            .await?
            .ok_or_else(|| Failure::new(format!("there is no version {version}")));
    }
    let (name, bytes) = validate::read(Path::new(what))?;
    Ok(Side { name, bytes })
}

async fn version_side(desk: &Desk, version: u64) -> Result<Option<Side>, Failure> {
    let bucket = desk.bucket().await?;
    let found = Published::at(&bucket, &version_key(version), desk.trust()?).await?;
    found
        .map(|found| {
            found.good(&bucket.url(&version_key(version)))?;
            Ok(Side {
                name: format!("version {version}"),
                bytes: found.bytes,
            })
        })
        .transpose()
}

/// The newest one below a version.
async fn older(desk: &Desk, version: u64) -> Result<Side, Failure> {
    for version in (1..version).rev().take(100) {
        if let Some(side) = version_side(desk, version).await? {
            return Ok(side);
        }
    }
    Err(Failure::new(format!(
        "there is no version before the published one, {KEY}"
    )))
}

fn version_of(bytes: &[u8]) -> Option<u64> {
    let signed: Value = serde_json::from_str(signed_part(bytes)?).ok()?;
    signed.get("version")?.as_u64()
}

/// A version as it was published.
pub(in crate::ctl) async fn version_bytes(desk: &Desk, version: u64) -> Result<Vec<u8>, Failure> {
    Ok(side(desk, &version.to_string()).await?.bytes)
}

/// What a version changed: what the one before it is called, and the difference.
pub(in crate::ctl) async fn changes_of(
    desk: &Desk,
    version: u64,
) -> Result<(String, String), Failure> {
    let after = side(desk, &version.to_string()).await?;
    let before = older(desk, version).await?;
    let text = unified(&before.bytes, &after.bytes);
    Ok((before.name, text))
}

/// How two documents differ, line by line; what is none is compared as the text that it is.
pub(in crate::ctl) fn unified(before: &[u8], after: &[u8]) -> String {
    let text = |bytes: &[u8]| match signed_part(bytes) {
        Some(signed) => format!("{signed}\n"),
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    let (before, after) = (text(before), text(after));
    TextDiff::from_lines(before.as_str(), after.as_str())
        .unified_diff()
        .context_radius(3)
        .to_string()
}

/// What changed, in a line: `servers: +web-9, ~web-1; products: -old`.
pub(super) fn summary(before: &[u8], after: &[u8]) -> String {
    let signed = |bytes| {
        let signed = signed_part(bytes).unwrap_or_default();
        serde_json::from_str::<Value>(signed).unwrap_or_default()
    };
    let (before, after) = (signed(before), signed(after));
    let empty = serde_json::Map::new();
    let (old, new) = (
        before.as_object().unwrap_or(&empty),
        after.as_object().unwrap_or(&empty),
    );
    let mut parts = Vec::new();
    let mut plain = Vec::new();
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (was, is) = (old.get(key), new.get(key));
        let named = |value: Option<&Value>| value.is_none_or(Value::is_object);
        if was == is || matches!(key.as_str(), "version" | "issued" | "expires") {
            continue;
        }
        if !named(was) || !named(is) {
            plain.push(key.as_str());
            continue;
        }
        let (was, is) = (
            was.and_then(Value::as_object).unwrap_or(&empty),
            is.and_then(Value::as_object).unwrap_or(&empty),
        );
        let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let changed: Vec<String> = names
            .into_iter()
            .filter_map(|name| match (was.get(name), is.get(name)) {
                (None, _) => Some(format!("+{name}")),
                (_, None) => Some(format!("-{name}")),
                (was, is) => (was != is).then(|| format!("~{name}")),
            })
            .collect();
        let more = changed.len().saturating_sub(NAMED);
        let mut part = format!(
            "{key}: {}",
            changed
                .iter()
                .take(NAMED)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        );
        if more > 0 {
            let _ = write!(part, " and {more} more");
        }
        parts.push(part);
    }
    if !plain.is_empty() {
        parts.push(plain.join(", "));
    }
    if parts.is_empty() {
        "nothing but version and dates".into()
    } else {
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::summary;

    fn document(servers: &str, more: &str) -> Vec<u8> {
        format!("{{\"signed\": {{\"version\": 1, \"servers\": {servers}{more}}}}}").into_bytes()
    }

    #[test]
    fn what_changed_is_said_in_a_line() {
        let before = document(
            r#"{"a": 1, "b": 2, "c": 3}"#,
            r#", "domain": "x", "roles": {"web": {}}"#,
        );
        let after = document(r#"{"a": 2, "d": 1, "e": 1, "c": 3}"#, r#", "domain": "y""#);
        assert_eq!(
            summary(&before, &after),
            "roles: -web; servers: ~a, -b, +d and 1 more; domain"
        );
        assert_eq!(summary(&before, &before), "nothing but version and dates");
    }
}
