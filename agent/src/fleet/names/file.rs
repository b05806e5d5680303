//! What a file of the document is written with: its text, its mode, where its content comes from.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use super::written::{InvalidString, Written, read_written};
use super::{AbsolutePath, is_printable};

/// The most bytes of a text that stands in the document.
pub const LONGEST_TEXT: usize = 256 * 1024;

typed_string!(
    /// The text of a file, or the template of one: lines of UTF-8.
    FileText,
    expected: "a text of at most 256 KiB, without control characters but line ends and tabs",
    pattern: "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f]*$",
    accepts: |text| {
        text.len() <= LONGEST_TEXT
            && text.bytes().all(|b| (b >= 0x20 && b != 0x7f) || matches!(b, b'\n' | b'\t' | b'\r'))
    }
);

typed_string!(
    /// The key of an object in the fleet's bucket.
    ObjectKey,
    expected: "an object's key such as files/logo.png (letters, digits and any of / . _ + @ = - , no part of it empty or with a dot first)",
    pattern: "^[A-Za-z0-9_+@=-][A-Za-z0-9._+@=-]*(/[A-Za-z0-9_+@=-][A-Za-z0-9._+@=-]*)*$",
    accepts: |text| {
        text.len() <= 1024
            && text.split('/').all(|part| {
                !part.is_empty()
                    && !part.starts_with('.')
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+@=-".contains(&b))
            })
    }
);

typed_string!(
    /// A SHA-256 in hexadecimal.
    Sha256Hex,
    expected: "a SHA-256, 64 hexadecimal digits in lower case",
    pattern: "^[0-9a-f]{64}$",
    accepts: |text| {
        text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    }
);

typed_string!(
    /// Where a symbolic link points: an absolute path, or one from the link's directory.
    LinkTarget,
    expected: "a path of letters, digits and any of / . _ + @ - (no // and no / at the end)",
    pattern: "^/?[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*$",
    accepts: |text| {
        text.len() <= 1024
            && text.strip_prefix('/').unwrap_or(text).split('/').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+@-".contains(&b))
            })
    }
);

typed_string!(
    /// A word of a command that is run without a shell.
    CommandWord,
    expected: "a word of a command: 1 to 900 printable ASCII characters",
    pattern: "^[ -~]{1,900}$",
    accepts: |text| !text.is_empty() && text.len() <= 900 && is_printable(text)
);

typed_string!(
    /// The name or ARN of a secret of AWS Secrets Manager.
    AwsSecretName,
    expected: "a secret's name or ARN in AWS Secrets Manager (letters, digits and any of / _ + = . @ : -)",
    pattern: "^[A-Za-z0-9/_+=.@:-]{1,512}$",
    accepts: |text| {
        !text.is_empty()
            && text.len() <= 512
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@:-".contains(&b))
    }
);

/// Permission bits, written as an octal number in quotes: `"0644"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileMode(u32);

impl FileMode {
    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl Written for FileMode {
    const EXPECTED: &'static str =
        "permission bits as an octal number in quotes, such as \"0640\" (0000 to 1777)";
}

impl FromStr for FileMode {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        let is_octal =
            matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|bits| is_octal && *bits <= 0o1777)
            .map(Self)
            .ok_or_else(|| InvalidString(format!("expected {}", Self::EXPECTED)))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04o}", self.0)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_written(deserializer)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> Cow<'static, str> {
        "FileMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[01]?[0-7]{3}$", "description": Self::EXPECTED })
    }
}

impl AbsolutePath {
    /// Whether it is `directory` or stands somewhere in it.
    pub fn is_at_or_under(&self, directory: &str) -> bool {
        self.as_str()
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_make_no_program_somebody_elses() {
        for (text, bits) in [
            ("0644", 0o644),
            ("644", 0o644),
            ("1777", 0o1777),
            ("0000", 0),
        ] {
            assert_eq!(text.parse::<FileMode>().unwrap().bits(), bits);
        }
        for wrong in [
            "",
            "64",
            "0888",
            "2755",
            "4755",
            "00644",
            "+644",
            "rw-r--r--",
        ] {
            assert!(wrong.parse::<FileMode>().is_err(), "{wrong}");
        }
        assert_eq!("640".parse::<FileMode>().unwrap().to_string(), "0640");
    }

    #[test]
    fn texts_have_lines_and_no_control_characters() {
        for good in ["", "a\n\tb\r\n", "Grüße\n"] {
            assert!(good.parse::<FileText>().is_ok(), "{good:?}");
        }
        let long = "a".repeat(LONGEST_TEXT + 1);
        for wrong in ["\0", "\u{1b}[31m", "\u{7f}", &long] {
            assert!(wrong.parse::<FileText>().is_err());
        }
    }

    #[test]
    fn keys_and_targets_stay_where_they_belong() {
        for good in ["files/logo.png", "a", "releases/2026-11=x/b@c"] {
            assert!(good.parse::<ObjectKey>().is_ok(), "{good}");
        }
        for wrong in ["", "/a", "a//b", "../a", "a/.b", "a/", "a b"] {
            assert!(wrong.parse::<ObjectKey>().is_err(), "{wrong}");
        }
        for good in ["/srv/shop", "../shop", "a"] {
            assert!(good.parse::<LinkTarget>().is_ok(), "{good}");
        }
        for wrong in ["", "/", "a//b", "a b", "a/"] {
            assert!(wrong.parse::<LinkTarget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_is_under_a_directory_and_not_under_one_that_only_begins_alike() {
        let path: AbsolutePath = "/etc/shop/app.ini".parse().unwrap();
        assert!(path.is_at_or_under("/etc") && path.is_at_or_under("/etc/shop/app.ini"));
        assert!(!path.is_at_or_under("/etc/sh") && !path.is_at_or_under("/etc/shop/app.ini/x"));
    }
}
