//! Numbers, amounts, moments and networks: what the document writes in a grammar of its own.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::written::{InvalidString, Written, read_written};

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Port(u16);

impl Port {
    /// What a person should have written, as error messages say it.
    pub const EXPECTED: &'static str = "a TCP port, a number from 1 to 65535";

    /// The port of HTTPS.
    pub const fn https() -> Self {
        Self(443)
    }

    /// The port of HTTP.
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
        let number = u16::deserialize(deserializer)?;
        Self::new(number)
            .ok_or_else(|| de::Error::custom(format_args!("expected {}", Self::EXPECTED)))
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
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 65535, "description": Self::EXPECTED })
    }
}

/// Makes a type that is written in the document as a string of its own grammar.
macro_rules! text_form {
    ($type:ident, pattern: $pattern:literal, expected: $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read_written(deserializer)
            }
        }

        impl Written for $type {
            const EXPECTED: &'static str = $expected;
        }

        impl $type {
            fn wrong() -> InvalidString {
                InvalidString(concat!("expected ", $expected).into())
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
            _ => Err(Self::wrong()),
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

text_form!(ByteSize, pattern: "^[1-9][0-9]{0,6}[MG]$", expected: "an amount of memory such as 64M or 2G (at most 1024G)");

/// A length of time in whole seconds, written `30s`, `15m`, `2h`, `7d`, `5w` or `1y`, which is 365 days.
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
        let (digits, unit) = text
            .split_at_checked(text.len().saturating_sub(1))
            .ok_or_else(Self::wrong)?;
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            "y" => 365 * 86_400,
            _ => return Err(Self::wrong()),
        };
        if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Self::wrong());
        }
        let secs = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor))
            .ok_or_else(Self::wrong)?;
        if (1..=366 * 86_400).contains(&secs) {
            Ok(Self { secs })
        } else {
            Err(Self::wrong())
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

text_form!(Span, pattern: "^[1-9][0-9]*[smhdwy]$", expected: "a length of time such as 30s, 15m, 2h or 7d (at most 366d)");

/// A moment in UTC, written as RFC 3339 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub Timestamp);

impl FromStr for Stamp {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        // The parser takes more forms than RFC 3339 has, and than other readers of the file know.
        if !is_rfc3339(text) {
            return Err(Self::wrong());
        }
        text.parse().map(Self).map_err(|_| {
            if text.starts_with("9999-12-3") {
                InvalidString(
                    "expected a moment up to 9999-12-30T22:00:00Z, the last one that there is here"
                        .into(),
                )
            } else {
                Self::wrong()
            }
        })
    }
}

fn is_rfc3339(text: &str) -> bool {
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(byte, wanted)| match wanted {
                    b'0' => byte.is_ascii_digit(),
                    b'+' => byte == b'+' || byte == b'-',
                    other => byte == other,
                })
    };
    let Some((moment, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else {
        return false;
    };
    let zone = rest.strip_prefix('.').map_or(Some(rest), |rest| {
        let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        (zone.len() < rest.len()).then_some(zone)
    });
    shape(moment, "0000-00-00T00:00:00")
        && zone.is_some_and(|zone| zone == "Z" || shape(zone, "+00:00"))
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
        let net = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| Self::wrong())?,
        };
        if let IpAddr::V6(address) = net.addr()
            && let Some(v4) = address.to_ipv4_mapped()
        {
            // Apache refuses a configuration with one, and no client has such an address.
            let bits = net.prefix_len().checked_sub(96);
            let meant = bits.and_then(|bits| IpNet::new(v4.into(), bits).ok());
            let meant = meant.map_or_else(String::new, |net| format!(": `{}`", net.trunc()));
            return Err(InvalidString(format!(
                "expected the IPv4 network itself, not as an IPv6 one{meant}"
            )));
        }
        if net.trunc() == net {
            Ok(Self(net))
        } else {
            Err(InvalidString(format!(
                "expected a network with no host bits set: `{}`",
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
