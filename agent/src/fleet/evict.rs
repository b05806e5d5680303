//! After how long a server that is found dead is taken out by the others of its product: the words of the document. How that is
//! found and agreed on stands in `node::eviction`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::EvictAfter;

/// What a server does for a product that others can find dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvictPart {
    /// It serves the product's sites.
    Web,
    /// It runs the product's memcached instances.
    Cache,
}

impl EvictPart {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Web, Self::Cache];

    /// As people and programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Cache => "cache",
        }
    }
}

impl std::fmt::Display for EvictPart {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(self.as_str())
    }
}

/// After how long servers of a product that do not answer are taken out by the others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evict {
    /// A dead web server's records leave DNS after this (default: never).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<EvictAfter>,
    /// A dead memcached server leaves the node lists after this (default: never).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<EvictAfter>,
}

impl Evict {
    /// What the document says of a part, where it says anything.
    pub(super) const fn said(&self, part: EvictPart) -> Option<EvictAfter> {
        match part {
            EvictPart::Web => self.web,
            EvictPart::Cache => self.cache,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Product;

    #[test]
    fn nobody_is_taken_out_where_the_document_does_not_say_so() {
        let product = |json: &str| -> Product { serde_json::from_str(json).unwrap() };
        let dns = r#""dns": {"zone": "example.com", "names": ["example.com"]}, "sites": {"www": {"domains": ["example.com"], "root": "/srv/www"}}"#;
        let cache = r#""cache": {"port": 11211, "memory": "64M"}"#;
        let of = |more: &str| {
            let product = product(&format!("{{{dns}, {cache}{more}}}"));
            EvictPart::ALL.map(|part| product.evict_after(part).map(|after| after.as_secs()))
        };
        assert_eq!(of(""), [None, None]);
        assert_eq!(
            of(r#", "evict": {"web": "2m", "cache": "30s"}"#),
            [Some(120), Some(30)]
        );
        assert_eq!(of(r#", "evict": {"web": "never"}"#), [None, None]);
        let nowhere = product(r#"{"evict": {"web": "2m", "cache": "30s"}}"#);
        assert_eq!(
            EvictPart::ALL.map(|part| nowhere.evict_after(part)),
            [None, None]
        );
    }
}
