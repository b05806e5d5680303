//! A service of a role or product: whether it runs, and whether it starts at boot.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::names::Name;
use super::pointer::Place;
use super::tree::{Node, Value};
use super::walk::{Walk, Walker, found};

/// What is wished of a systemd unit. What is not said stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Whether it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
    /// Whether it starts at boot; "masked": nothing can start it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<AtBoot>,
    /// The roles on whose servers this is wished. Empty: every server of the role or product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Name>,
}

/// Whether a service starts at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AtBoot {
    /// It does.
    Enabled,
    /// It does not.
    Disabled,
    /// Nothing can start it, neither the boot nor other services nor a person.
    Masked,
}

/// What a person should have written.
const EXPECTED: &str = "true, false or \"masked\"";

impl fmt::Display for AtBoot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Enabled => "true",
            Self::Disabled => "false",
            Self::Masked => "\"masked\"",
        })
    }
}

impl Serialize for AtBoot {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Enabled => out.serialize_bool(true),
            Self::Disabled => out.serialize_bool(false),
            Self::Masked => out.serialize_str("masked"),
        }
    }
}

impl<'de> Deserialize<'de> for AtBoot {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = AtBoot;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(EXPECTED)
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<AtBoot, E> {
                Ok(if value {
                    AtBoot::Enabled
                } else {
                    AtBoot::Disabled
                })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AtBoot, E> {
                if text == "masked" {
                    Ok(AtBoot::Masked)
                } else {
                    Err(E::custom(format_args!("expected {EXPECTED}")))
                }
            }
        }

        input.deserialize_any(Either)
    }
}

impl Walk for AtBoot {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        match &node.value {
            Value::Bool(_) => true,
            Value::Text(text) if text == "masked" => true,
            _ => {
                walker.findings.add_at(node.start, at, || {
                    format!("expected {EXPECTED}; found {}", found(node))
                });
                false
            }
        }
    }
}

impl JsonSchema for AtBoot {
    fn schema_name() -> Cow<'static, str> {
        "AtBoot".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [true, false, "masked"] })
    }
}
