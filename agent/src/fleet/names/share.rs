//! Shares of the fleet.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::written::{InvalidString, Written, read_written};

/// A share of the fleet in whole percent, written `25%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    percent: u8,
}

impl Share {
    /// All of it.
    pub const ALL: Self = Self { percent: 100 };

    /// How many of `all` it is, rounded up: never none, unless there are none.
    pub const fn of(self, all: usize) -> usize {
        all.saturating_mul(self.percent as usize).div_ceil(100)
    }
}

impl FromStr for Share {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        let digits = text.strip_suffix('%').unwrap_or_default();
        let is_number = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        match is_number.then(|| digits.parse().ok()).flatten() {
            Some(percent @ 1..=100) => Ok(Self { percent }),
            _ => Err(InvalidString(format!("expected {}", Self::EXPECTED))),
        }
    }
}

impl Written for Share {
    const EXPECTED: &'static str = "a share of the fleet from 1% to 100%";
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_written(deserializer)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}%", self.percent)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([1-9][0-9]?|100)%$", "description": Self::EXPECTED })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_up() {
        let share = |text: &str| text.parse::<Share>().unwrap();
        assert_eq!(share("25%").of(10), 3);
        assert_eq!(share("1%").of(1), 1);
        assert_eq!(share("1%").of(0), 0);
        assert_eq!(share("100%").of(7), 7);
        for text in ["0%", "101%", "25", "%", "", "05%", "2.5%", "-1%", "25 %"] {
            assert!(text.parse::<Share>().is_err(), "{text:?}");
        }
    }
}
