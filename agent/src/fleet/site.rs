//! The model of a web site: one Apache virtual host. Not how it is read or checked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{
    AbsolutePath, DirectoryPath, ErrorStatus, HeaderName, HeaderValue, LogFormat, Name, Network,
    Port, Realm, RedirectStatus, RedirectUrl, SiteDomain, UrlPath,
};
use super::pointer::Pointer;
use super::strict;
use super::tls::Tls;

/// One Apache virtual host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Host names it answers to. The first is its `ServerName` and has no wildcard.
    #[schemars(length(min = 1))]
    pub domains: Vec<SiteDomain>,
    /// The directory it serves. Needed, unless the site redirects or has a template of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<DirectoryPath>,
    /// Serves nothing and sends everybody elsewhere.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub redirect: Option<Redirect>,
    /// The TCP port it listens on (default 80, with `tls` 443).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Several ports, in place of `port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Apache speaks TLS to its visitors itself.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub tls: Option<Tls>,
    /// What its visitors' addresses begin with: `https` where a balancer in front of it speaks TLS.
    #[serde(
        default,
        deserialize_with = "strict::word",
        skip_serializing_if = "Scheme::is_http"
    )]
    pub scheme: Scheme,
    /// Networks and addresses of balancers in front, which are believed when they say who the client is
    /// (`X-Forwarded-For`). An empty list says that there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_proxies: Option<Vec<Network>>,
    /// Networks and addresses that may use it. Empty: everyone.
    #[serde(default)]
    pub allow: Vec<Network>,
    /// A password is asked for.
    #[serde(
        default,
        deserialize_with = "strict::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub auth: Option<BasicAuth>,
    /// URL paths served from other directories.
    #[serde(default, deserialize_with = "strict::map")]
    pub aliases: BTreeMap<UrlPath, DirectoryPath>,
    /// URL paths below which no PHP is run or shown: where visitors' uploads land.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_php: Vec<UrlPath>,
    /// What `.htaccess` files in the root may say (default: everything). An empty list: they are not read.
    #[serde(
        default,
        deserialize_with = "strict::optional_words",
        skip_serializing_if = "Option::is_none"
    )]
    pub allow_override: Option<Vec<Override>>,
    /// What the root's directories may do (default: `FollowSymLinks`). An empty list: none of it.
    #[serde(
        default,
        deserialize_with = "strict::optional_words",
        skip_serializing_if = "Option::is_none"
    )]
    pub options: Option<Vec<DirectoryOption>>,
    /// The site's own pages for errors: status → URL path.
    #[serde(
        default,
        deserialize_with = "strict::map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub error_documents: BTreeMap<ErrorStatus, UrlPath>,
    /// Response headers set on every answer.
    #[serde(default, deserialize_with = "strict::map")]
    pub headers: BTreeMap<HeaderName, HeaderValue>,
    /// The format of its access log (default `combined`), or `off`.
    #[serde(
        default = "LogFormat::combined",
        skip_serializing_if = "LogFormat::is_combined"
    )]
    pub access_log: LogFormat,
    /// An override template of this name in the machine's template directory, for those who need their own vhost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Name>,
}

impl Site {
    /// The ports it listens on, in the order of the document; never none.
    pub fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        let usual = if self.tls.is_some() {
            Port::https()
        } else {
            Port::http()
        };
        let one = self.ports.is_empty().then(|| self.port.unwrap_or(usual));
        one.into_iter().chain(self.ports.iter().copied())
    }

    /// The port on which plain HTTP is sent on to TLS.
    pub fn redirect_port(&self) -> Option<Port> {
        let redirects = self.tls.as_ref().is_some_and(|tls| tls.redirect);
        redirects.then(Port::http)
    }

    /// All ports on which visitors come in, each with where the document says so, the site standing at `at`.
    pub fn entrances(&self, at: &Pointer) -> Vec<(Port, Pointer)> {
        let ports = self.ports().enumerate();
        let own = ports.map(|(index, port)| (port, self.port_pointer(at, index)));
        let redirect = self.redirect_port();
        let redirect = redirect.map(|port| (port, at.then("tls").then("redirect")));
        own.chain(redirect).collect()
    }

    /// What its visitors' addresses begin with.
    pub const fn visitors_scheme(&self) -> Scheme {
        if self.tls.is_some() {
            Scheme::Https
        } else {
            self.scheme
        }
    }

    /// Where the document says the `index`th of [`Self::ports`], the site standing at `at`.
    pub fn port_pointer(&self, at: &Pointer, index: usize) -> Pointer {
        if self.ports.is_empty() {
            at.then("port")
        } else {
            at.then("ports").item(index)
        }
    }
}

/// What visitors' addresses begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Apache speaks to them itself.
    #[default]
    Http,
    /// A balancer in front speaks TLS to them, and plain HTTP to Apache.
    Https,
}

impl Scheme {
    /// Whether it is what stands where a document says nothing.
    pub const fn is_http(&self) -> bool {
        matches!(self, Self::Http)
    }
}

/// Where a site sends everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Where to.
    pub to: RedirectUrl,
    /// With which status (default 302). Browsers keep a 301 or 308 for good.
    #[serde(default)]
    pub status: RedirectStatus,
    /// Whether what was asked for is added to it, path and query (default true). Else everybody gets to `to` itself.
    #[serde(default = "yes")]
    pub keep_path: bool,
}

const fn yes() -> bool {
    true
}

/// A password that a site asks for (HTTP Basic).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The file of users and passwords on the machine, as `htpasswd` writes it. Its server must be able to read it.
    pub file: AbsolutePath,
    /// What the browser shows (default `Restricted`).
    #[serde(default = "Realm::usual")]
    pub realm: Realm,
    /// Whether a visitor needs the password and an address of `allow`, or one of them.
    #[serde(default, deserialize_with = "strict::word")]
    pub satisfy: Satisfy,
}

/// What a visitor must have, where a site has both `auth` and `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Satisfy {
    /// The password and an address of `allow`.
    #[default]
    All,
    /// The password, or an address of `allow`.
    Any,
}

/// What `.htaccess` files may say, in Apache's own words.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Override {
    /// Passwords and who may come in.
    AuthConfig,
    /// Types, handlers, rewriting, headers, error documents.
    FileInfo,
    /// Lists of directories.
    Indexes,
    /// Who may come in, in the words of Apache 2.2.
    Limit,
    /// `Options` and PHP's settings.
    Options,
}

/// What a directory may do, in Apache's own words.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum DirectoryOption {
    /// CGI scripts run.
    ExecCGI,
    /// Symbolic links are followed.
    FollowSymLinks,
    /// Server-side includes, `exec` among them.
    Includes,
    /// Server-side includes without `exec`.
    IncludesNOEXEC,
    /// Directories without an index are listed.
    Indexes,
    /// Content negotiation.
    MultiViews,
    /// Symbolic links are followed to what the same account owns.
    SymLinksIfOwnerMatch,
}

/// Shows a word as the document writes it.
macro_rules! shown_as_written {
    ($($type:ident),*) => {
        $(impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self, out)
            }
        })*
    };
}

shown_as_written!(Override, DirectoryOption);
