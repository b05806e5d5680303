//! Who may say what the fleet is: signatures as `ssh-keygen -Y sign` makes them, and the keys that count. Pure.
//!
//! Signed are the exact bytes of the `signed` member: there is no canonical form that two programs could make differently.

mod generation;
mod keyring;
mod signing_key;
mod sshsig;
#[cfg(test)]
pub(crate) mod tests;

pub use generation::{BadTrust, Generation, TRUST_LIMIT, TRUST_NAMESPACE};
pub use keyring::{Keyring, MOST_KEYS, Trust, UnfitKeyring, Unverified};
pub use signing_key::{SigningKey, UnfitKey};
pub use sshsig::{BadSignature, Sshsig};

/// What signatures of fleet documents are made for: `ssh-keygen -Y sign -n node-agent-fleet`.
pub const DOCUMENT_NAMESPACE: &str = "node-agent-fleet";
