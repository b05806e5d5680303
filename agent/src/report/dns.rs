//! This box's own records in DNS, as the status has them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fleet::Name;

/// This box's addresses at one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsStatus {
    /// The name.
    pub name: String,
    /// The product whose name it is.
    pub product: Name,
    /// The addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether they are there. `None`: not known.
    pub present: Option<bool>,
    /// Whether they should be.
    pub wanted: bool,
    /// Why they should not, or are there all the same; empty where all is as it should be.
    pub reason: String,
    /// When the name server was last asked.
    pub checked: Option<Timestamp>,
    /// Why they are not as they should be, or that cannot be seen.
    pub error: Option<String>,
}

impl DnsStatus {
    /// In a line: `www.example.com: 198.51.100.11 there`.
    pub fn line(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let is = match self.present {
            Some(true) => "there",
            Some(false) => "not there",
            None => "not known",
        };
        let why = match (&self.error, self.reason.as_str()) {
            (Some(error), _) => format!(": {error}"),
            (None, "") => String::new(),
            (None, reason) => format!(": {reason}"),
        };
        format!("{}: {} {is}{why}", self.name, addresses.join(", "))
    }
}
