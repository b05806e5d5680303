//! Servers that were found dead by the others of their product, as the status has them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::{EvictPart, Name};

/// A server that others find dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictionStatus {
    /// The product.
    pub product: Name,
    /// What it serves the product with.
    pub part: EvictPart,
    /// The server.
    pub server: Name,
    /// Whether it is left out: of DNS, of node lists. Else it is only accused.
    pub out: bool,
    /// Since when.
    pub since: Timestamp,
    /// Who finds it dead, or did when it was taken out.
    pub by: Vec<Name>,
    /// What they saw.
    pub why: String,
    /// What it says itself, where it says anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
}

impl EvictionStatus {
    /// In a line: `cache-2 (cache of shop) is left out since …: web-1 and web-2 found it dead (…)`.
    pub fn line(&self) -> String {
        let names: Vec<&str> = self.by.iter().map(Name::as_str).collect();
        let by = match names.as_slice() {
            [] => "nobody".to_owned(),
            [one] => (*one).to_owned(),
            [all @ .., last] => format!("{} and {last}", all.join(", ")),
        };
        let is = if self.out {
            "is left out"
        } else {
            "is in doubt"
        };
        let found = match (self.out, self.by.len()) {
            (true, _) => "found",
            (false, 1) => "finds",
            (false, _) => "find",
        };
        let why = match self.why.as_str() {
            "" => String::new(),
            why => format!(" ({why})"),
        };
        let says = match &self.says {
            None => String::new(),
            Some(says) => format!("; it says itself: {says}"),
        };
        format!(
            "{} ({} of {}) {is} since {}: {by} {found} it dead{why}{says}",
            self.server, self.part, self.product, self.since
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_saw_what() {
        let mut one = EvictionStatus {
            product: "shop".parse().unwrap(),
            part: EvictPart::Cache,
            server: "cache-2".parse().unwrap(),
            out: true,
            since: "2026-11-30T10:00:00Z".parse().unwrap(),
            by: vec!["web-1".parse().unwrap(), "web-2".parse().unwrap()],
            why: "10.0.0.22:11211: no connection within 3 s".into(),
            says: None,
        };
        assert_eq!(
            one.line(),
            "cache-2 (cache of shop) is left out since 2026-11-30T10:00:00Z: web-1 and web-2 found it dead \
             (10.0.0.22:11211: no connection within 3 s)"
        );
        (one.out, one.says) = (false, Some("it is well".into()));
        one.by.truncate(1);
        assert_eq!(
            one.line(),
            "cache-2 (cache of shop) is in doubt since 2026-11-30T10:00:00Z: web-1 finds it dead \
             (10.0.0.22:11211: no connection within 3 s); it says itself: it is well"
        );
    }
}
