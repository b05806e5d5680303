//! Secrets in AWS Secrets Manager: the document can name them, this version cannot ask for them yet.

use super::{Keeper, SecretError, SecretText};
use crate::fleet::names::AwsSecretName;
use crate::system::file::Files;

/// A secret in AWS Secrets Manager.
pub(super) struct InAws<'a>(pub(super) &'a AwsSecretName);

impl Keeper for InAws<'_> {
    async fn read(&self, _files: &Files) -> Result<SecretText, SecretError> {
        Err(SecretError(format!(
            "the secret {} is in AWS Secrets Manager, which this version of node-agent ({}) does not ask: have it written to a file that root alone can read, and name that as `file`",
            self.0,
            env!("CARGO_PKG_VERSION")
        )))
    }
}
