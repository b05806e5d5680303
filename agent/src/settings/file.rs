//! What the file says: each setting right by itself, none of them required yet.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeTable;

use super::mistakes::Mistakes;
use super::section::Section;
use super::{BucketUrl, HostsScope, LogFormat, MetadataUse, Trust};
use crate::fleet::Name;
use crate::fleet::names::ByteSize;

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    pub fleet: Option<BucketUrl>,
    pub trust: Option<Trust>,
    pub node: Option<Name>,
    pub fleet_name: Option<Name>,
    pub poll: Option<Span<100, 3_600_000>>,
    pub hosts: Option<HostsScope>,
    pub document_limit: Option<ByteSize>,
    pub s3_endpoint: Option<Endpoint>,
    pub s3_region: Option<Word>,
    pub s3_path_style: Option<bool>,
    pub s3_timeout: Option<Span<100, 30_000>>,
    pub guard_share: Option<f64>,
    pub guard_from: Option<usize>,
    pub metadata: Option<MetadataUse>,
    pub metadata_tag: Option<Word>,
    pub metadata_endpoint: Option<Endpoint>,
    pub journal_runs: Option<usize>,
    pub journal_bytes: Option<ByteSize>,
    pub log_format: Option<LogFormat>,
    pub log_level: Option<tracing::Level>,
    pub lease_poll: Option<Span<500, 60_000>>,
    pub database: super::database::Said,
}

impl FileSettings {
    /// Reads the file's text. What is wrong in it goes to `mistakes`, all of it.
    pub(super) fn read(text: &str, mistakes: &mut Mistakes<'_>) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // What a broken line was meant to say is unknown: judging the rest would only add noise.
            for error in errors {
                mistakes.at(
                    error.span(),
                    format!("this is not TOML: {}", error.message()),
                );
            }
            return Self::default();
        }
        let mut top = Section::top(document.get_ref());
        let mut read = Self {
            fleet: top.parsed("fleet", mistakes),
            trust: top.parsed("trust", mistakes),
            node: top.parsed("node", mistakes),
            fleet_name: top.parsed("fleet_name", mistakes),
            poll: top.parsed("poll", mistakes),
            lease_poll: top.parsed("lease_poll", mistakes),
            hosts: top.word(
                "hosts",
                &[
                    ("products", HostsScope::Products),
                    ("fleet", HostsScope::Fleet),
                ],
                mistakes,
            ),
            document_limit: top.parsed("document_limit", mistakes),
            ..Self::default()
        };
        read.sections(&mut top, mistakes);
        top.finish(mistakes);
        read
    }

    fn sections(&mut self, top: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) {
        let mut s3 = top.section("s3", mistakes);
        self.s3_endpoint = s3.parsed("endpoint", mistakes);
        self.s3_region = s3.parsed("region", mistakes);
        self.s3_path_style = s3.flag("path_style", mistakes);
        self.s3_timeout = s3.parsed("timeout", mistakes);
        s3.finish(mistakes);

        let mut guard = top.section("guard", mistakes);
        self.guard_share = guard.share("share", mistakes);
        self.guard_from = guard.number("from", (1, 1_000_000), mistakes);
        guard.finish(mistakes);

        let mut identity = top.section("identity", mistakes);
        self.metadata = identity.word(
            "metadata",
            &[
                ("auto", MetadataUse::Auto),
                ("on", MetadataUse::On),
                ("off", MetadataUse::Off),
            ],
            mistakes,
        );
        self.metadata_tag = identity.parsed("tag", mistakes);
        self.metadata_endpoint = identity.parsed("endpoint", mistakes);
        identity.finish(mistakes);

        let mut journal = top.section("journal", mistakes);
        self.journal_runs = journal.number("runs", (1, 100_000), mistakes);
        self.journal_bytes = journal.parsed("bytes", mistakes);
        journal.finish(mistakes);

        let mut log = top.section("log", mistakes);
        self.log_format = log.word("format", LogFormat::WORDS, mistakes);
        self.log_level = log.word(
            "level",
            &[
                ("error", tracing::Level::ERROR),
                ("warn", tracing::Level::WARN),
                ("info", tracing::Level::INFO),
                ("debug", tracing::Level::DEBUG),
                ("trace", tracing::Level::TRACE),
            ],
            mistakes,
        );
        log.finish(mistakes);

        self.database = super::database::Said::read(top, mistakes);
    }
}

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

impl FromStr for Trust {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::Nobody),
            _ => Err(super::TRUST_NEEDED.into()),
        }
    }
}
