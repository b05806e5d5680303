//! Typed strings: every string of the document that can reach a file, a command or a URL.
//!
//! Each type accepts only what is safe wherever the agent writes it, so that control characters,
//! quotes and path tricks are impossible by type. What a string *refers to* is checked elsewhere.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A string was not of its type. The message says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidString(pub String);

/// Makes a newtype over `String` with one accepted form: `FromStr`, serde and JSON Schema agree on it.
macro_rules! typed_string {
    ($(#[$doc:meta])* $type:ident, expected: $expected:literal, pattern: $pattern:literal, accepts: $accepts:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(Box<str>);

        impl $type {
            /// What a person should have written, as error messages say it.
            pub const EXPECTED: &'static str = $expected;

            /// The string as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidString;

            fn from_str(text: &str) -> Result<Self, InvalidString> {
                let accepts: fn(&str) -> bool = $accepts;
                if accepts(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidString(format!("expected {}", $expected)))
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $expected })
            }
        }
    };
}

fn is_label(text: &str, more: fn(u8) -> bool) -> bool {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || more(*b))
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

typed_string!(
    /// The name of a server, product, role, cron job or site.
    Name,
    expected: "a name of 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end",
    pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    accepts: |text| is_label(text, |_| false)
);

typed_string!(
    /// A DNS host name in lower case, without a trailing dot. Never `localhost`.
    HostName,
    expected: "a lower-case host name such as www.example.com (labels of letters, digits and hyphens; not localhost)",
    pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
    accepts: |text| {
        text.len() <= 253
            && text != "localhost"
            && !text.ends_with(".localhost")
            && text.parse::<IpAddr>().is_err()
            && text.split('.').all(|label| is_label(label, |_| false))
    }
);

typed_string!(
    /// An absolute path with no `.`, `..`, doubled or trailing slash, of characters that no configuration file gives a meaning.
    AbsolutePath,
    expected: "an absolute path of letters, digits and any of / . _ + @ - (no .., no // and no / at the end)",
    pattern: "^(/[A-Za-z0-9._+@-]+)+$",
    accepts: |text| {
        text.len() <= 1024
            && text.strip_prefix('/').is_some_and(|rest| {
                rest.split('/').all(|part| {
                    !part.is_empty()
                        && part.len() <= 255
                        && part != "."
                        && part != ".."
                        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+@-".contains(&b))
                })
            })
    }
);

typed_string!(
    /// The path part of a URL, as Apache's `Alias` takes it.
    UrlPath,
    expected: "a URL path such as /media (letters, digits and any of / . _ ~ -)",
    pattern: "^/[A-Za-z0-9._~/-]*$",
    accepts: |text| {
        text.len() <= 1024
            && text.starts_with('/')
            && !text.split('/').any(|part| part == "..")
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._~-".contains(&b))
    }
);

typed_string!(
    /// A Unix account's name.
    UserName,
    expected: "a user name of 1 to 32 lower-case letters, digits, _ and -, starting with a letter or _",
    pattern: "^[a-z_][a-z0-9_-]{0,31}$",
    accepts: |text| {
        text.len() <= 32
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
    }
);

typed_string!(
    /// A systemd service's name, as CentOS knows it, with or without `.service`.
    UnitName,
    expected: "a systemd service name such as httpd or php-fpm.service",
    pattern: "^[A-Za-z0-9][A-Za-z0-9:_.@-]{0,127}$",
    accepts: |text| {
        text.len() <= 128
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.@-".contains(&b))
    }
);

typed_string!(
    /// A cloud's instance id.
    InstanceId,
    expected: "an instance id such as i-0a1b2c3d4e5f60718",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$",
    accepts: |text| {
        text.len() <= 128
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    }
);

typed_string!(
    /// An availability zone, rack or data centre.
    ZoneName,
    expected: "a zone such as us-east-1a (letters, digits, _ . and -)",
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
    accepts: |text| {
        text.len() <= 63
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    }
);

typed_string!(
    /// An HTTP header's name.
    HeaderName,
    expected: "a header name of letters, digits and hyphens",
    pattern: "^[A-Za-z][A-Za-z0-9-]{0,63}$",
    accepts: |text| {
        text.len() <= 64
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    }
);

typed_string!(
    /// An HTTP header's value: one line of printable ASCII. How Apache quotes it is the sites resource's work.
    HeaderValue,
    expected: "one line of 1 to 1024 printable ASCII characters, no space at either end",
    pattern: "^[!-~]([ -~]{0,1022}[!-~])?$",
    accepts: |text| !text.is_empty() && text.len() <= 1024 && is_printable(text) && text.trim() == text
);

typed_string!(
    /// A shell command in one line, as a person would type it.
    ShellCommand,
    expected: "one line of 1 to 900 printable ASCII characters, no space at either end",
    pattern: "^[!-~]([ -~]{0,898}[!-~])?$",
    // Cron implementations cap a crontab's command near 1,000 characters; escaping may lengthen ours.
    accepts: |text| !text.is_empty() && text.len() <= 900 && is_printable(text) && text.trim() == text
);

typed_string!(
    /// A crontab schedule: five fields, or one of cron's `@` words. `@reboot` is not one: it is no schedule.
    CronSchedule,
    expected: "five cron fields such as */5 * * * *, or @hourly, @daily, @weekly, @monthly or @yearly",
    pattern: "^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|[-0-9*/,A-Za-z]+( [-0-9*/,A-Za-z]+){4})$",
    accepts: super::schedule::is_schedule
);

typed_string!(
    /// An Ed25519 signature in base64.
    SignatureText,
    expected: "an Ed25519 signature in base64 (86 characters and ==)",
    pattern: "^[A-Za-z0-9+/]{86}==$",
    accepts: |text| {
        text.strip_suffix("==").is_some_and(|body| {
            body.len() == 86
                && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
        })
    }
);

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Port(u16);

impl Port {
    /// Port 80.
    pub const fn http() -> Self {
        Self(80)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// `None` for 0.
    pub const fn new(port: u16) -> Option<Self> {
        if port == 0 { None } else { Some(Self(port)) }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        u16::try_from(number)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| de::Error::custom("expected a TCP port from 1 to 65535"))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl JsonSchema for Port {
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 65535, "description": "a TCP port from 1 to 65535" })
    }
}

/// Makes a type that is written in the document as a string of its own grammar.
macro_rules! text_form {
    ($type:ident, pattern: $pattern:literal, expected: $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $expected })
            }
        }
    };
}

/// An amount of memory in whole mebibytes, written `64M` or `2G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize {
    mebibytes: u32,
}

impl ByteSize {
    /// The amount in MiB, 1 to 1,048,576.
    pub const fn mebibytes(self) -> u32 {
        self.mebibytes
    }
}

impl FromStr for ByteSize {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        let (digits, factor) = match (text.strip_suffix('M'), text.strip_suffix('G')) {
            (Some(digits), _) => (digits, 1),
            (_, Some(digits)) => (digits, 1024),
            _ => ("", 0),
        };
        let number = (digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0'))
            .then(|| digits.parse::<u32>().ok())
            .flatten();
        match number.and_then(|n| n.checked_mul(factor)) {
            Some(mebibytes @ 1..=1_048_576) => Ok(Self { mebibytes }),
            _ => Err(InvalidString(
                "expected an amount of memory such as 64M or 2G (at most 1024G)".into(),
            )),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mebibytes.is_multiple_of(1024) {
            write!(out, "{}G", self.mebibytes / 1024)
        } else {
            write!(out, "{}M", self.mebibytes)
        }
    }
}

text_form!(ByteSize, pattern: "^[1-9][0-9]{0,6}[MG]$", expected: "an amount of memory such as 64M or 2G");

/// A length of time in whole seconds, written `30s`, `15m`, `2h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    secs: u64,
}

impl Span {
    /// The length.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.secs)
    }
}

impl FromStr for Span {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        let wrong = || {
            InvalidString(
                "expected a length of time such as 30s, 15m, 2h or 7d (at most 366d)".into(),
            )
        };
        let (digits, unit) = text
            .split_at_checked(text.len().saturating_sub(1))
            .ok_or_else(wrong)?;
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let secs = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor))
            .ok_or_else(wrong)?;
        if (1..=366 * 86_400).contains(&secs) {
            Ok(Self { secs })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.secs {
            s if s.is_multiple_of(86_400) => (s / 86_400, 'd'),
            s if s.is_multiple_of(3_600) => (s / 3_600, 'h'),
            s if s.is_multiple_of(60) => (s / 60, 'm'),
            s => (s, 's'),
        };
        write!(out, "{number}{unit}")
    }
}

text_form!(Span, pattern: "^[1-9][0-9]*[smhd]$", expected: "a length of time such as 30s, 15m, 2h or 7d");

/// A moment in UTC, written as RFC 3339 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub Timestamp);

impl FromStr for Stamp {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        text.parse()
            .map(Self)
            .map_err(|_| InvalidString("expected a moment such as 2026-11-22T20:00:00Z".into()))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

text_form!(Stamp, pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$", expected: "a moment such as 2026-11-22T20:00:00Z");

/// A network in CIDR form, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        let wrong = || InvalidString("expected a network such as 10.0.0.0/8, or an address".into());
        let net = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| wrong())?,
        };
        if net.trunc() == net {
            Ok(Self(net))
        } else {
            Err(InvalidString(format!(
                "expected a network with no host bits set: {}",
                net.trunc()
            )))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(out)
        } else {
            self.0.fmt(out)
        }
    }
}

text_form!(Network, pattern: "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$", expected: "a network such as 10.0.0.0/8, or an address");
