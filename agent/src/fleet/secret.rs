//! Where a secret is kept: the document only names the place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{AbsolutePath, AwsSecretName, VariableName};

/// A place that keeps a secret: exactly one of `file` and `aws`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSource {
    /// A file on the machine that root alone may read. A line end at its end is not a part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<AbsolutePath>,
    /// A secret of AWS Secrets Manager, by its name or ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsSecretName>,
    /// The field of the secret in AWS, where it is a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<VariableName>,
}
