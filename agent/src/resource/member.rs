//! Members: parts of a step that it can come true without.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of a step that can be left out without the rest: a virtual host among many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, as people say it: `shop/www`.
    pub name: MemberName,
    /// The name of the file that is its alone, by which a check's complaint is known to be about it.
    pub file: String,
}

/// The name of a part of a step, stable over runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberName(pub String);

impl fmt::Display for MemberName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}
