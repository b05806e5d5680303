//! What accounts are made of: names, numbers, comments, rules of sudo.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use smol_str::SmolStr;

use super::is_printable;
use super::written::{InvalidString, Written, read_written};

typed_string!(
    /// The name of a user or a group that the agent makes: what the tools of every distribution take.
    AccountName,
    expected: "an account's name of 1 to 32 lower-case letters, digits, _ and - (a letter or _ first)",
    pattern: "^[a-z_][a-z0-9_-]{0,31}$",
    accepts: |text| {
        text.len() <= 32
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
    }
);

typed_string!(
    /// The name of a group that others may have made: `wheel`, `systemd-journal`.
    GroupName,
    expected: "a group's name of 1 to 32 letters, digits and any of _ . - (a letter or _ first)",
    pattern: "^[A-Za-z_][A-Za-z0-9_.-]{0,31}$",
    accepts: |text| {
        text.len() <= 32
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    }
);

typed_string!(
    /// Whose an account is, as it stands in the fifth field of `/etc/passwd`.
    AccountComment,
    expected: "a comment of 1 to 128 printable ASCII characters, no colon, no space at either end",
    pattern: "^[!-9;-~]([ -9;-~]{0,126}[!-9;-~])?$",
    accepts: |text| {
        !text.is_empty()
            && text.len() <= 128
            && is_printable(text)
            && text.trim() == text
            && !text.contains(':')
    }
);

typed_string!(
    /// What a user may do by sudo: a rule of sudoers without the user at its front. What it means, `visudo` checks.
    SudoRule,
    expected: "a rule of sudoers without the user, in one line that does not end in a backslash: ALL=(root) NOPASSWD: /usr/bin/systemctl reload httpd",
    pattern: "^[!-~][ -~]{0,998}[!-\\[\\]-~]$",
    accepts: |text| {
        (2..=1000).contains(&text.len())
            && is_printable(text)
            && text.trim() == text
            // It would go on in the next line.
            && !text.ends_with('\\')
    }
);

super::amounts::bounded!(
    /// The number of a user or group that the agent makes: one for people and products, 1000 to 60,000. Those of the
    /// system lie below, those that systemd and name spaces give out lie above.
    AccountId(u32), 1000 to 60_000, expected: "an id from 1000 to 60000 (lower ones are the system's, higher ones systemd's)"
);
