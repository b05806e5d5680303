//! The envelope around the signed part: which bytes are signed, and by whom. Not whether a signature is right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::model::Fleet;
use super::names::{Name, SignatureText};
use super::strict;

/// A fleet document: what the fleet should be, and who says so.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "node-agent fleet document", rename = "Document")]
pub(super) struct Envelope<'a> {
    /// Where editors find the schema of this file. The agent does not read it.
    #[serde(rename = "$schema", default)]
    #[schemars(with = "Option<String>")]
    _schema: Option<std::borrow::Cow<'a, str>>,
    /// Signatures over the exact bytes of `signed`. Empty or absent: nobody signed it.
    #[serde(default, deserialize_with = "strict::list")]
    pub signatures: Vec<Signature>,
    /// What the fleet should be.
    #[serde(borrow)]
    #[schemars(with = "Fleet")]
    pub signed: &'a RawValue,
}

/// One signature over the exact bytes of `signed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The name of the key, as `agentd.toml` lists it.
    pub key: Name,
    /// The Ed25519 signature in base64.
    pub signature: SignatureText,
}
