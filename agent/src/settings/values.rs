//! The types of values in the file: each with its own grammar, and with what is said where it is not met.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::BucketUrl;
use crate::fleet::names::{ByteSize, UnitName};

/// A length of time between two bounds, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<const LEAST_MS: u64, const MOST_MS: u64>(pub Duration);

impl<const LEAST_MS: u64, const MOST_MS: u64> FromStr for Span<LEAST_MS, MOST_MS> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = (
            Duration::from_millis(LEAST_MS),
            Duration::from_millis(MOST_MS),
        );
        humantime::parse_duration(text)
            .ok()
            .filter(|span| (least..=most).contains(span))
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "expected a length of time with its unit, from \"{}\" to \"{}\"",
                    humantime::format_duration(least),
                    humantime::format_duration(most)
                )
            })
    }
}

/// The URL of an HTTP endpoint.
#[derive(Debug, Clone)]
pub(super) struct Endpoint(pub String);

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        match rest {
            Some(host) if !host.is_empty() && !host.starts_with('/') && is_graphic(text) => {
                Ok(Self(text.trim_end_matches('/').into()))
            }
            _ => Err("expected an http:// or https:// URL such as \"http://127.0.0.1:9000\""),
        }
    }
}

/// The most bytes of a document, in mebibytes: not more than the agent reads of its own copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct DocumentLimit(pub u32);

impl FromStr for DocumentLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const MOST: u32 = 16;
        let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
        // Earlier versions took more: a box must not be without its agent for that.
        Ok(Self(size.mebibytes().min(MOST)))
    }
}

/// A word: not empty, no white space.
#[derive(Debug, Clone)]
pub(super) struct Word(pub String);

impl FromStr for Word {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.len() <= 256 && is_graphic(text) {
            Ok(Self(text.into()))
        } else {
            Err("expected a word of printable characters, without spaces")
        }
    }
}

/// One word of a command: no control characters, no end of a line.
#[derive(Debug, Clone)]
pub(super) struct Argument(pub String);

impl FromStr for Argument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= 1024 && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err("expected a word of a command, without control characters")
        }
    }
}

/// The full name of a service.
#[derive(Debug, Clone)]
pub(super) struct ServiceUnit(pub String);

impl FromStr for ServiceUnit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<UnitName>() {
            Ok(_) if text.ends_with(".service") && !text.contains("@.") => Ok(Self(text.into())),
            _ => Err("expected the full name of a service, such as \"httpd24-httpd.service\""),
        }
    }
}

/// The name of a template unit, up to its `@`.
#[derive(Debug, Clone)]
pub(super) struct TemplateUnit(pub String);

impl FromStr for TemplateUnit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('@').unwrap_or_default();
        match name.parse::<UnitName>() {
            Ok(_) if !name.contains('@') => Ok(Self(text.into())),
            _ => Err("expected the name of a template unit up to its @, such as \"memcached@\""),
        }
    }
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl FromStr for BucketUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "expected s3://bucket/prefix or file:///directory";
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if !is_bucket_name(bucket) {
                return Err(format!(
                    "{bucket:?} is no bucket name (3 to 63 lower-case letters, digits, dots and hyphens); {shape}"
                ));
            }
            let prefix = prefix.trim_end_matches('/');
            let wrong = |part: &str| matches!(part, "" | "." | "..");
            if !prefix.is_empty() && (!is_graphic(prefix) || prefix.split('/').any(wrong)) {
                return Err(format!(
                    "{prefix:?} is no prefix (parts of printable characters without spaces, one slash between them); {shape}"
                ));
            }
            Ok(Self::S3 {
                bucket: bucket.into(),
                prefix: prefix.into(),
            })
        } else if let Some(path) = text.strip_prefix("file://") {
            if path.starts_with('/') && !path.chars().any(char::is_control) {
                Ok(Self::Directory(path.into()))
            } else {
                Err(
                    "a directory needs its absolute path: file:///directory, with three slashes"
                        .into(),
                )
            }
        } else if text.starts_with("http://") || text.starts_with("https://") {
            Err(format!(
                "{shape}; another S3 service than AWS's is named by `endpoint` in [s3]"
            ))
        } else {
            Err(shape.into())
        }
    }
}

fn is_bucket_name(name: &str) -> bool {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.starts_with(ends)
        && name.ends_with(ends)
        && !name.contains("..")
        && name.chars().all(|c| ends(c) || c == '.' || c == '-')
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(out, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(out, "s3://{bucket}/{prefix}"),
            Self::Directory(path) => write!(out, "file://{}", path.display()),
        }
    }
}
