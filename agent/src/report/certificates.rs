//! The certificates that this box's sites are served with, as the status has them.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A certificate, and until when it is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its file.
    pub file: PathBuf,
    /// One of the sites that are served with it, as `product/site`.
    pub site: String,
    /// How many sites are.
    pub sites: usize,
    /// Until when it is good.
    pub until: Timestamp,
}

impl CertificateStatus {
    /// Which it is, and until when it is good, in a line.
    pub fn line(&self) -> String {
        let others = match self.sites.saturating_sub(1) {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        format!(
            "{}: the certificate of {}{others} is good until {}",
            self.file.display(),
            self.site,
            self.until.strftime("%F %H:%M UTC")
        )
    }
}
