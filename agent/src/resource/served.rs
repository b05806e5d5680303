//! What a product is served from on a box, and what shows that it is: releases and smoke tests, as data.

use std::net::SocketAddr;

use crate::fleet::names::ReleaseVersion;
use crate::fleet::{Name, SmokeTest};
use crate::system::command::CommandLine;

/// How a release is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseWish {
    /// The product.
    pub product: Name,
    /// The version.
    pub version: ReleaseVersion,
    /// The key of its archive.
    pub object: String,
    /// The SHA-256 of that.
    pub sha256: String,
    /// The account that its files belong to; `None`: root.
    pub user: Option<String>,
    /// Directories that all releases share.
    pub shared: Vec<String>,
    /// What must succeed before it is switched to; `None`: nothing, or it is run elsewhere.
    pub before: Option<CommandLine>,
}

/// A smoke test of a site, as it is asked on this box.
#[derive(Debug, Clone, PartialEq)]
pub struct Smoke {
    /// The product.
    pub product: Name,
    /// The release that is switched to, where this is about one.
    pub release: Option<ReleaseVersion>,
    /// What is asked and expected.
    pub test: SmokeTest,
    /// Where the server listens.
    pub at: SocketAddr,
    /// Whether it speaks TLS there. It is told the host by name (SNI).
    pub tls: bool,
    /// The site's first name.
    pub host: String,
}

/// A product that a box serves.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedProduct {
    /// The product.
    pub product: Name,
    /// The release that it is served from. `None`: from none.
    pub release: Option<ReleaseVersion>,
    /// What shows that it works.
    pub tests: Vec<Smoke>,
}
