//! The JSON Schema of the file, for editors and for `agentctl schema`. Generated from the types that read it.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::envelope::Envelope;

/// The schema of a whole fleet document, envelope included (JSON Schema 2020-12).
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Envelope).to_value()
}

/// An address, in the formats that JSON Schema knows.
pub(super) fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
}

/// A list of addresses.
pub(super) fn addresses(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": address(generator) })
}

#[cfg(test)]
mod tests;
