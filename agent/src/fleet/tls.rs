//! The model of TLS for a web site.

use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::names::{AbsolutePath, Span};
use super::pointer::Place;
use super::strict;
use super::tree::{Node, Value};
use super::walk::{Walk, Walker, found};

/// TLS that Apache speaks itself for a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The file with the certificate and, after it, those of its issuers (PEM).
    pub certificate: AbsolutePath,
    /// The certificate's private key (PEM).
    pub key: TlsKey,
    /// Whether plain HTTP on port 80 is answered too, with a redirect to the same page over TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirect: bool,
    /// How long browsers are to remember that the site is reached over TLS only (HSTS). Default: they are told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Span>,
    /// Whether HTTP/2 is offered where Apache has it (default true).
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub http2: bool,
}

impl Tls {
    /// The files of the certificate and of its key.
    pub fn files(&self) -> (PathBuf, PathBuf) {
        (
            self.certificate.as_str().into(),
            self.key.file.as_str().into(),
        )
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_yes(yes: &bool) -> bool {
    *yes
}

/// Where a private key is: on the machine, by its path or as a secret that is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsKey {
    /// The file. Only root should be able to read it: Apache does so before it gives root's rights up.
    pub file: AbsolutePath,
    /// It is written as a secret.
    as_secret: bool,
}

/// A key as an object.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsKeyFields {
    /// The secret.
    #[serde(deserialize_with = "strict::object")]
    pub secret: TlsKeySecret,
}

/// A secret that is a file on the machine.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsKeySecret {
    /// The file.
    pub file: AbsolutePath,
}

/// What a person should have written.
const EXPECTED: &str = "a file's absolute path, or {\"secret\": {\"file\": PATH}}";

impl TlsKey {
    const fn path(file: AbsolutePath) -> Self {
        Self {
            file,
            as_secret: false,
        }
    }

    fn secret(fields: TlsKeyFields) -> Self {
        Self {
            file: fields.secret.file,
            as_secret: true,
        }
    }
}

impl Serialize for TlsKey {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let file = self.file.clone();
        if self.as_secret {
            let secret = TlsKeySecret { file };
            TlsKeyFields { secret }.serialize(out)
        } else {
            file.serialize(out)
        }
    }
}

impl<'de> Deserialize<'de> for TlsKey {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = TlsKey;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TlsKey, E> {
                text.parse().map(TlsKey::path).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<TlsKey, A::Error> {
                TlsKeyFields::deserialize(MapAccessDeserializer::new(fields)).map(TlsKey::secret)
            }
        }

        input.deserialize_any(Either)
    }
}

impl JsonSchema for TlsKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TlsKey".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let path = generator.subschema_for::<AbsolutePath>();
        let secret = generator.subschema_for::<TlsKeyFields>();
        json_schema!({
            "description": "Where the private key is: a file's path, or a secret that is a file.",
            "anyOf": [path, secret]
        })
    }
}

impl Walk for TlsKey {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        match &node.value {
            Value::Text(_) => AbsolutePath::walk(node, at, walker),
            Value::Object(_) => TlsKeyFields::walk(node, at, walker),
            _ => {
                walker.findings.add_at(node.start, at, || {
                    format!("expected {EXPECTED}; found {}", found(node))
                });
                false
            }
        }
    }
}
