//! What releases and smoke tests are made of: versions, directories within a release, what is asked and expected of a site.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use smol_str::SmolStr;

use super::amounts::bounded;
use super::is_path_part;
use super::written::{InvalidString, Written, read_written};

typed_string!(
    /// The version of a release: the name of its directory.
    ReleaseVersion,
    expected: "a version of 1 to 64 letters, digits and any of . _ + - (a letter or digit first; not ending in .failed or .partial)",
    pattern: "^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$",
    accepts: |text| {
        text.len() <= 64
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
            // What the agent calls those that failed, and those that are not whole yet.
            && !text.ends_with(".failed")
            && !text.ends_with(".partial")
    }
);

typed_string!(
    /// A directory within a release, from its top.
    ReleasePath,
    expected: "a path within the release of letters, digits and any of / . _ + @ - (no / at either end, no part . or ..)",
    pattern: "^[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*$",
    accepts: |text| {
        text.len() <= 512
            && text.split('/').count() <= 16
            && text.split('/').all(is_path_part)
    }
);

typed_string!(
    /// What is asked of a site: a path, with or without a query.
    RequestPath,
    expected: "a path such as /health or /search?q=shoes: 1 to 1024 printable ASCII characters, a / first, no space, no #",
    pattern: "^/[!\"$-~]{0,1023}$",
    accepts: |text| {
        text.len() <= 1024
            && text.starts_with('/')
            && text.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'#')
    }
);

typed_string!(
    /// A piece of a page, looked for byte by byte.
    PageText,
    expected: "1 to 1024 characters, in UTF-8, without control characters",
    pattern: "^[^\\u0000-\\u001f\\u007f]{1,1024}$",
    accepts: |text| !text.is_empty() && text.chars().count() <= 1024 && !text.chars().any(char::is_control)
);

bounded!(
    /// How many releases stay on a machine, 1 to 20.
    KeptReleases(u8), 1 to 20, expected: "a number of releases from 1 to 20"
);
bounded!(
    /// How often a smoke test that failed is asked again, 0 to 10.
    Retries(u8), 0 to 10, expected: "a number of retries from 0 to 10"
);
bounded!(
    /// How many requests warm a site up, 0 to 100.
    WarmUps(u8), 0 to 100, expected: "a number of requests from 0 to 100"
);
bounded!(
    /// The status of an answer, 200 to 599.
    AnswerStatus(u16), 200 to 599, expected: "an HTTP status from 200 to 599"
);

impl KeptReleases {
    /// What stands where a document says nothing.
    pub const USUAL: Self = Self(3);
}

impl Retries {
    /// What stands where a document says nothing.
    pub const USUAL: Self = Self(2);
}

impl WarmUps {
    /// What stands where a document says nothing.
    pub const NONE: Self = Self(0);
}

impl AnswerStatus {
    /// What stands where a document says nothing.
    pub const OK: Self = Self(200);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_directorys_name_and_none_that_the_agent_gives() {
        for good in ["2026-11-28.1", "1", "v1.2.3+abc", "main_4f2a"] {
            assert!(good.parse::<ReleaseVersion>().is_ok(), "{good}");
        }
        for wrong in [
            "",
            ".1",
            "-1",
            "a/b",
            "a b",
            "..",
            "1.failed",
            "1.partial",
            &"a".repeat(65),
        ] {
            assert!(wrong.parse::<ReleaseVersion>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_within_a_release_stays_in_it() {
        for good in ["storage", "var/log", ".env", "a..b"] {
            assert!(good.parse::<ReleasePath>().is_ok(), "{good}");
        }
        for wrong in [
            "", "/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a b", "a\0",
        ] {
            assert!(wrong.parse::<ReleasePath>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_is_one_word_of_a_request() {
        for good in ["/", "/health", "/a?b=c&d=%20"] {
            assert!(good.parse::<RequestPath>().is_ok(), "{good}");
        }
        for wrong in ["", "health", "/a b", "/a#b", "/\r\nHost: x", "/ü"] {
            assert!(wrong.parse::<RequestPath>().is_err(), "{wrong}");
        }
        assert!("Grüße".parse::<PageText>().is_ok());
        assert!("a\nb".parse::<PageText>().is_err());
    }
}
