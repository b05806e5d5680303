//! A package of a role or product: a name alone, or an object that says more.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::names::{Name, PackageName, PackageVersion};
use super::pointer::Place;
use super::tree::{Node, Value};
use super::walk::{Walk, Walker, found};

/// A package that a server is to have, or not to have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name on CentOS.
    pub name: PackageName,
    /// Its name on Debian, where the platform table does not know it and it is another.
    pub debian: Option<PackageName>,
    /// The version that it is kept at. `None`: any.
    pub version: Option<PackageVersion>,
    /// Whether it may go back to that version from a newer one.
    pub downgrade: bool,
    /// It must not be there.
    pub absent: bool,
    /// The roles on whose servers it is wanted. Empty: every server of the role or product.
    pub on: Vec<Name>,
}

/// A package as an object.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PackageFields {
    /// Its name on CentOS.
    pub name: PackageName,
    /// Its name on Debian (default: what the platform table says, else the same name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian: Option<PackageName>,
    /// The version that it is kept at, with or without epoch and release: nobody's upgrade moves it, only this field does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<PackageVersion>,
    /// Whether it may go back to `version` from a newer one that is installed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub downgrade: bool,
    /// It must not be there: it is removed, unless others that are installed need it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// The roles on whose servers it is wanted. Empty: every server of the role or product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Name>,
}

/// What a person should have written.
const EXPECTED: &str = "a package's name, or an object with `name`";

impl Package {
    /// A package of which nothing but its name is said.
    pub const fn named(name: PackageName) -> Self {
        Self {
            name,
            debian: None,
            version: None,
            downgrade: false,
            absent: false,
            on: Vec::new(),
        }
    }
}

impl From<PackageFields> for Package {
    fn from(fields: PackageFields) -> Self {
        let PackageFields {
            name,
            debian,
            version,
            downgrade,
            absent,
            on,
        } = fields;
        Self {
            name,
            debian,
            version,
            downgrade,
            absent,
            on,
        }
    }
}

impl Serialize for Package {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if *self == Self::named(self.name.clone()) {
            return self.name.serialize(out);
        }
        PackageFields {
            name: self.name.clone(),
            debian: self.debian.clone(),
            version: self.version.clone(),
            downgrade: self.downgrade,
            absent: self.absent,
            on: self.on.clone(),
        }
        .serialize(out)
    }
}

impl<'de> Deserialize<'de> for Package {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Package;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Package, E> {
                let text: StrDeserializer<'_, E> = text.into_deserializer();
                PackageName::deserialize(text).map(Package::named)
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Package, A::Error> {
                PackageFields::deserialize(MapAccessDeserializer::new(fields)).map(Into::into)
            }
        }

        input.deserialize_any(Either)
    }
}

impl Walk for Package {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        match &node.value {
            Value::Text(_) => PackageName::walk(node, at, walker),
            Value::Object(_) => PackageFields::walk(node, at, walker),
            _ => {
                walker.findings.add_at(node.start, at, || {
                    format!("expected {EXPECTED}; found {}", found(node))
                });
                false
            }
        }
    }
}

impl JsonSchema for Package {
    fn schema_name() -> Cow<'static, str> {
        "Package".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<PackageName>();
        let fields = generator.subschema_for::<PackageFields>();
        json_schema!({
            "description": "A package: its name on CentOS, or an object that says more.",
            "anyOf": [name, fields],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_a_name_or_an_object() {
        for text in [
            r#""httpd""#,
            r#"{"name":"ImageMagick","debian":"imagemagick"}"#,
            r#"{"name":"httpd","version":"2.4.57-5.el9","downgrade":true,"on":["web"]}"#,
            r#"{"name":"telnet","absent":true}"#,
        ] {
            let package: Package = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&package).unwrap(), text);
        }
        for wrong in [
            "7",
            "[]",
            r#""-q""#,
            r#"{"name": "a*"}"#,
            r#"{"naem": "a"}"#,
        ] {
            assert!(serde_json::from_str::<Package>(wrong).is_err(), "{wrong}");
        }
    }
}
