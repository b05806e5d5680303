//! The JSON Schema of the file, for editors and for `agentctl schema`. Generated from the types that read it.

use super::envelope::Envelope;

/// The schema of a whole fleet document, envelope included (JSON Schema 2020-12).
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Envelope<'_>).to_value()
}
