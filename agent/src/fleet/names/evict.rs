//! After how long a dead server is taken out.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::values::Span;
use super::written::{InvalidString, Written, read_written};

/// The shortest: a machine that restarts its web server is not dead, and two looks at it must fit.
const LEAST: Duration = Duration::from_secs(20);
/// The longest: by then a person has acted.
const MOST: Duration = Duration::from_hours(1);

/// How long a server must be found dead before it is taken out, 20 seconds to an hour, or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvictAfter(Option<Span>);

impl EvictAfter {
    /// How long. `None`: it never is.
    pub fn duration(self) -> Option<Duration> {
        self.0.map(Span::duration)
    }
}

impl FromStr for EvictAfter {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        if text == "never" {
            return Ok(Self(None));
        }
        let span = text.parse::<Span>().ok();
        let within = span.filter(|span| (LEAST..=MOST).contains(&span.duration()));
        match within {
            Some(span) => Ok(Self(Some(span))),
            None => Err(InvalidString(format!("expected {}", Self::EXPECTED))),
        }
    }
}

impl Written for EvictAfter {
    const EXPECTED: &'static str = "a length of time from 20s to 1h such as 1m, or `never`";
}

impl<'de> Deserialize<'de> for EvictAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_written(deserializer)
    }
}

impl fmt::Display for EvictAfter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(span) => write!(out, "{span}"),
            None => write!(out, "never"),
        }
    }
}

impl Serialize for EvictAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for EvictAfter {
    fn schema_name() -> Cow<'static, str> {
        "EvictAfter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([1-9][0-9]*[smh]|never)$", "description": Self::EXPECTED })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_within_bounds_are_read_and_written_as_they_were() {
        for text in ["20s", "1m", "90s", "1h", "never"] {
            assert_eq!(text.parse::<EvictAfter>().unwrap().to_string(), text);
        }
        for text in ["19s", "61m", "1d", "Never", "", "60", "0s"] {
            assert!(text.parse::<EvictAfter>().is_err(), "{text}");
        }
    }
}
