//! Which keys an object can have, in a bucket as in a directory.

use super::error::{BucketErrorKind, Failure};

/// The longest key, in bytes: S3's limit.
const LONGEST: usize = 1024;

/// A key is a relative path. None of its parts is empty or begins with a dot, so that `..` leads nowhere, and the
/// directory's own files (locks, half-written objects) are no objects.
pub(super) fn check(key: &str) -> Result<(), Failure> {
    check_characters(key)?;
    if key.split('/').any(str::is_empty) {
        return refuse(key, "has an empty part");
    }
    Ok(())
}

/// The beginning of keys: empty, or any first bytes of one.
pub(super) fn check_prefix(prefix: &str) -> Result<(), Failure> {
    check_characters(prefix)?;
    let whole = prefix.strip_suffix('/').unwrap_or(prefix);
    if !prefix.is_empty() && whole.split('/').any(str::is_empty) {
        return refuse(prefix, "has an empty part");
    }
    Ok(())
}

fn check_characters(text: &str) -> Result<(), Failure> {
    if text.len() > LONGEST {
        return refuse("it", "is longer than 1024 bytes");
    }
    if text.chars().any(char::is_control) {
        return refuse(text, "has control characters");
    }
    if text.split('/').any(|part| part.starts_with('.')) {
        return refuse(text, "has a part that begins with a dot");
    }
    Ok(())
}

fn refuse(key: &str, why: &str) -> Result<(), Failure> {
    Err(Failure::new(
        BucketErrorKind::InvalidRequest,
        format!("{key:?} is no key: it {why}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_inside_and_prefixes_are_their_beginnings() {
        let long = "k".repeat(LONGEST);
        for key in ["fleet.json", "nodes/unknown/i-0a.json", "a/b..c", &long] {
            assert!(check(key).is_ok(), "{key}");
            assert!(check_prefix(key).is_ok(), "{key}");
        }
        let longer = "k".repeat(LONGEST + 1);
        for key in [
            "/etc/passwd",
            "..",
            "../fleet.json",
            "a/../../b",
            "a/./b",
            ".agentd.lock",
            "a/.b",
            "a//b",
            "a\nb",
            "/",
            &longer,
        ] {
            assert!(check(key).is_err(), "{key}");
            assert!(check_prefix(key).is_err(), "{key}");
        }
        for prefix in ["", "nodes/", "nod"] {
            assert!(check_prefix(prefix).is_ok(), "{prefix}");
        }
        for key in ["", "nodes/"] {
            assert!(check(key).is_err(), "{key}");
        }
    }
}
