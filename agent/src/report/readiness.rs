//! Whether a box is ready to serve its products: a fact that is asked each minute, and not a memory of a switch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::Name;

/// Whether a product is served as its smoke tests want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// All of its smoke tests passed.
    True,
    /// One of them failed.
    False,
    /// Nobody has looked yet, or there is nothing to look at.
    Unknown,
}

impl Ready {
    /// As people and programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Unknown => "unknown",
        }
    }
}

/// The readiness of one product on one box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductReadiness {
    /// The product.
    pub product: Name,
    /// Whether it is ready.
    pub ready: Ready,
    /// Why it is not, or why that is not known; empty where it is ready.
    pub reason: String,
    /// Since when it is so.
    pub since: Timestamp,
    /// When it was last asked. `None`: not yet.
    pub checked: Option<Timestamp>,
    /// The release that it is served from. `None`: from none.
    pub release: Option<String>,
}
