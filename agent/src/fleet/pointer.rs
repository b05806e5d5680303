//! Places in the document.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where in the document a wish stands: a JSON pointer into the file, such as `/signed/products/shop/cron/tick`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pointer(pub String);

impl fmt::Display for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
