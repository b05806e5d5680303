//! Web sites, each by itself, and that no two claim one name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Check, PRODUCTS, paths};
use crate::fleet::model::Product;
use crate::fleet::names::{DirectoryPath, Name, Network, Port, RedirectUrl, SiteDomain, UrlPath};
use crate::fleet::pointer::Place;
use crate::fleet::site::{BasicAuth, Redirect, Satisfy, Scheme, Site};
use crate::fleet::tls::Tls;

/// Where browsers expect TLS.
const HTTPS: u16 = 443;
/// Headers that belong to the connection or frame the answer.
const FRAMING: [&str; 8] = [
    "Connection",
    "Content-Length",
    "Content-Range",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];
/// The most bytes of all response headers of a site, names and values: clients and balancers refuse more.
const MOST_HEADER_BYTES: usize = 64 * 1024;
/// The least bits of a network of balancers: who is in it can claim any address.
const LEAST_TRUSTED_BITS: (u8, u8) = (8, 16);

/// Which site answers to a host name on a port.
pub(super) type Claims<'f> = BTreeMap<(&'f SiteDomain, Port), (&'f Name, &'f Name, usize)>;

impl<'f> Check<'f> {
    pub(super) fn sites(&mut self, claims: &mut Claims<'f>, name: &'f Name, product: &'f Product) {
        let at = PRODUCTS.place.then(name.as_str());
        let sites = at.then("sites");
        self.at_most(product.sites.len(), 1_000, &sites);
        for (site_name, site) in &product.sites {
            let at = sites.then(site_name.as_str());
            self.site(site, &at);
            self.claim(claims, (name, site_name), site, &at);
        }
    }

    fn site(&mut self, site: &'f Site, at: &Place<'_>) {
        self.domains(site, at);
        self.content(site, at);
        self.listening(site, at);
        self.visitors(site, at);
        self.directories(site, at);
        self.headers(site, at);
    }

    fn domains(&mut self, site: &'f Site, at: &Place<'_>) {
        let domains = at.then("domains");
        self.list(&site.domains, &domains, 100);
        if self.findings.is_doubtful(&domains) {
            return;
        }
        match site.domains.first() {
            None => self.findings.add(&domains, || {
                "expected at least one host name; found an empty list".to_owned()
            }),
            Some(first) if first.is_wildcard() => self.findings.add(&domains.item(0), || {
                format!("the first is the site's own name (its ServerName) and has no *: put a host name before `{first}`")
            }),
            Some(_) => {}
        }
    }

    /// What it answers with: files, a redirect, or whatever its template says.
    fn content(&mut self, site: &'f Site, at: &Place<'_>) {
        let hidden = ["root", "redirect", "template"]
            .iter()
            .any(|field| self.findings.may_hide(at, field));
        if site.root.is_none() && site.redirect.is_none() && site.template.is_none() && !hidden {
            self.findings.add(at, || {
                "the field `root` is missing: the directory it serves (or `redirect`: where it sends everybody)".to_owned()
            });
        }
        let Some(redirect) = &site.redirect else {
            return;
        };
        let idle = [
            ("root", site.root.is_some()),
            ("aliases", !site.aliases.is_empty()),
            ("no_php", !site.no_php.is_empty()),
            ("allow_override", site.allow_override.is_some()),
            ("options", site.options.is_some()),
            ("error_documents", !site.error_documents.is_empty()),
            ("allow", !site.allow.is_empty()),
            ("auth", site.auth.is_some()),
        ];
        for (field, _) in idle.into_iter().filter(|(_, is_there)| *is_there) {
            self.findings.add(&at.then(field), || {
                format!("the site sends everybody elsewhere (`redirect`): leave `{field}` out, or `redirect`")
            });
        }
        self.redirect(site, redirect, &at.then("redirect"));
    }

    fn redirect(&mut self, site: &Site, redirect: &Redirect, at: &Place<'_>) {
        let to = at.then("to");
        if redirect.keep_path && redirect.to.as_str().contains('?') {
            self.findings.add(&to, || {
                "a path cannot be added behind a query: leave the ? and what follows out, or say \"keep_path\": false".to_owned()
            });
        }
        if leads_back(site, &redirect.to) {
            self.findings.add(&to, || {
                format!(
                    "{} is this site itself: its visitors would go in circles",
                    redirect.to
                )
            });
        }
    }

    fn listening(&mut self, site: &'f Site, at: &Place<'_>) {
        let ports = at.then("ports");
        self.list(&site.ports, &ports, 20);
        if site.port.is_some() && !site.ports.is_empty() {
            self.findings.add(&ports, || {
                "`port` and `ports` stand here both: keep one".to_owned()
            });
        }
        if let Some(tls) = &site.tls {
            self.tls(site, tls, at);
            return;
        }
        // A template may do TLS itself; `https` says that a balancer does.
        if site.template.is_none() && site.scheme.is_http() && !self.findings.may_hide(at, "tls") {
            let https = site.ports().position(|port| port.get() == HTTPS);
            if let Some(index) = https {
                let place = if site.ports.is_empty() {
                    at.then("port")
                } else {
                    ports.item(index)
                };
                self.findings.add(&place, || {
                    "443 is the port of HTTPS, and this site speaks plain HTTP: no browser would understand it. \
                     Give it a certificate (`tls`), or have a balancer end TLS and give the site another port"
                        .to_owned()
                });
            }
        }
    }

    fn tls(&mut self, site: &'f Site, tls: &Tls, at: &Place<'_>) {
        if site.template.is_some() {
            self.findings.add(&at.then("tls"), || {
                "the site's vhost is a template, which says itself how it speaks TLS: leave `tls` out, or `template`".to_owned()
            });
        }
        if !site.scheme.is_http() {
            self.findings.add(&at.then("scheme"), || {
                "Apache speaks TLS to visitors itself (`tls`): leave `scheme` out, or `tls` where a balancer ends TLS".to_owned()
            });
        }
        let plain = site.ports().position(|port| port == Port::http());
        if let Some(index) = plain {
            let ports = at.then("ports");
            let place = if site.ports.is_empty() {
                at.then("port")
            } else {
                ports.item(index)
            };
            self.findings.add(&place, || {
                "80 is the port of plain HTTP, and with `tls` the site speaks TLS on all of its ports: leave it out; \"redirect\": true in `tls` sends who comes there on to TLS".to_owned()
            });
        }
        let served = site.root.iter().chain(site.aliases.values());
        if let Some(directory) = served
            .map(DirectoryPath::as_str)
            .find(|directory| is_under(tls.key.file.as_str(), directory))
        {
            self.findings.add(&at.then("tls").then("key"), || {
                format!(
                    "the private key would be served: {} lies in {directory}",
                    tls.key.file
                )
            });
        }
        let own = site.headers.keys().find(|name| {
            tls.hsts.is_some()
                && name
                    .as_str()
                    .eq_ignore_ascii_case("Strict-Transport-Security")
        });
        if let Some(name) = own {
            self.findings
                .add(&at.then("headers").then(name.as_str()), || {
                    "`hsts` in `tls` sets this header: leave one of them out".to_owned()
                });
        }
    }

    /// Who may come in, and who is believed about who comes.
    fn visitors(&mut self, site: &'f Site, at: &Place<'_>) {
        self.list(&site.allow, &at.then("allow"), 1_000);
        let proxies = at.then("trusted_proxies");
        let trusted = site.trusted_proxies.as_deref().unwrap_or_default();
        self.list(trusted, &proxies, 100);
        for (index, network) in trusted.iter().enumerate() {
            let least = if network.0.addr().is_ipv4() {
                LEAST_TRUSTED_BITS.0
            } else {
                LEAST_TRUSTED_BITS.1
            };
            if network.0.prefix_len() < least {
                let at = self.findings.item(&proxies, index);
                self.findings.add(&at, || {
                    format!(
                        "{network} is too wide: whoever is in it could claim any address; name the balancers' own networks (at least /{least})"
                    )
                });
            }
        }
        let blind = site.scheme == Scheme::Https && !site.allow.is_empty() && trusted.is_empty();
        if blind && !self.findings.may_hide(at, "trusted_proxies") {
            self.findings.add(&at.then("allow"), || {
                "behind a balancer (\"scheme\": \"https\") `allow` sees the balancer's address and nobody else's: name the balancer's networks in `trusted_proxies`, so that it sees the visitor's".to_owned()
            });
        }
        if let Some(auth) = &site.auth {
            self.auth(site, auth, &at.then("auth"));
        }
    }

    fn auth(&mut self, site: &Site, auth: &BasicAuth, at: &Place<'_>) {
        let served = site.root.iter().chain(site.aliases.values());
        if let Some(directory) = served
            .map(DirectoryPath::as_str)
            .find(|directory| is_under(auth.file.as_str(), directory))
        {
            self.findings.add(&at.then("file"), || {
                format!(
                    "the passwords would be served: {} lies in {directory}",
                    auth.file
                )
            });
        }
        if auth.satisfy == Satisfy::Any && site.allow.is_empty() {
            self.findings.add(&at.then("satisfy"), || {
                "`any` chooses between the password and `allow`, and there is no `allow`: nobody would be asked; name the addresses that need no password, or leave `satisfy` out".to_owned()
            });
        }
    }

    fn directories(&mut self, site: &'f Site, at: &Place<'_>) {
        let aliases = at.then("aliases");
        self.at_most(site.aliases.len(), 100, &aliases);
        let mut paths = BTreeSet::new();
        for path in site.aliases.keys() {
            if !paths.insert(trimmed(path)) {
                self.findings.add(&aliases.then(path.as_str()), || {
                    format!("`{path}` stands here with and without a slash at its end: keep one")
                });
            }
        }
        let root = site.root.iter().map(|root| (at.then("root"), root));
        let others = site.aliases.iter();
        let others = others.map(|(url, directory)| (aliases.then(url.as_str()), directory));
        for (place, directory) in root.chain(others) {
            if let Some(why) = paths::not_served(directory.as_str()) {
                self.findings
                    .add(&place, || format!("{directory} cannot be served: {why}"));
            }
        }
        let no_php = at.then("no_php");
        self.list(&site.no_php, &no_php, 100);
        for (index, path) in site.no_php.iter().enumerate() {
            if path.as_str().contains("//") {
                let at = self.findings.item(&no_php, index);
                self.findings.add(&at, || {
                    format!("expected a URL path without //; found \"{path}\"")
                });
            }
        }
        if let Some(words) = &site.allow_override {
            self.list(words, &at.then("allow_override"), 16);
        }
        if let Some(words) = &site.options {
            self.list(words, &at.then("options"), 16);
        }
        let documents = at.then("error_documents");
        self.at_most(site.error_documents.len(), 32, &documents);
        let closed = !site.allow.is_empty() || site.auth.is_some();
        for (status, path) in &site.error_documents {
            // Whoever is refused gets this page: were it the application's front controller, he would get in by it.
            let is_static = [".html", ".htm", ".txt"]
                .iter()
                .any(|ending| path.as_str().ends_with(ending));
            if closed && matches!(status.as_str(), "401" | "403") && !is_static {
                self.findings.add(&documents.then(status.as_str()), || {
                    format!(
                        "whoever `allow` or `auth` turns away is shown {path}: it must be a page that runs nothing (.html, .htm or .txt)"
                    )
                });
            }
        }
    }

    fn headers(&mut self, site: &'f Site, at: &Place<'_>) {
        let headers = at.then("headers");
        self.at_most(site.headers.len(), 100, &headers);
        let mut names = BTreeSet::new();
        for header in site.headers.keys() {
            if FRAMING
                .iter()
                .any(|name| header.as_str().eq_ignore_ascii_case(name))
            {
                self.findings.add(&headers.then(header.as_str()), || {
                    format!("`{header}` says how an answer is sent, which is the server's own business: another value breaks every answer")
                });
            }
            if !names.insert(header.as_str().to_ascii_lowercase()) {
                self.findings.add(&headers.then(header.as_str()), || {
                    format!("the header `{header}` stands here twice, in another case: keep one")
                });
            }
        }
        let bytes: usize = site
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.as_str().len() + 4)
            .sum();
        if bytes > MOST_HEADER_BYTES {
            self.findings.add(&headers, || {
                format!("expected at most {MOST_HEADER_BYTES} bytes of headers in all; found {bytes}: clients would refuse every answer")
            });
        }
    }

    fn claim(
        &mut self,
        claims: &mut Claims<'f>,
        owner: (&'f Name, &'f Name),
        site: &'f Site,
        at: &Place<'_>,
    ) {
        // The port may be the part that could not be read.
        if self.findings.is_doubtful(at) {
            return;
        }
        for (index, domain) in site.domains.iter().enumerate() {
            for port in site.ports().chain(site.redirect_port()) {
                let (product, site, first) = *claims
                    .entry((domain, port))
                    .or_insert((owner.0, owner.1, index));
                if (product, site) == owner {
                    continue;
                }
                let domains = at.then("domains");
                let sites = PRODUCTS.place.then(product.as_str());
                let sites = sites.then("sites");
                let theirs = sites.then(site.as_str());
                let theirs = theirs.then("domains");
                let (here, there) = (
                    self.findings.item(&domains, index),
                    self.findings.item(&theirs, first),
                );
                let (here, there) = (here.pointer(), there.pointer());
                self.findings.clash_of(here, there, || {
                    format!(
                        "`{domain}` on port {port} already belongs to the site `{site}` of the product `{product}`"
                    )
                });
            }
        }
    }
}

/// Whether a visitor of the site who follows the redirect gets to the site again.
fn leads_back(site: &Site, to: &RedirectUrl) -> bool {
    let Some((scheme, rest)) = to.as_str().split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    };
    let same_port = match (site.visitors_scheme(), scheme) {
        (Scheme::Https, "https") => {
            let port = port.unwrap_or(HTTPS);
            // Behind a balancer its ports are not those of the visitors.
            (site.tls.is_none() && port == HTTPS) || site.ports().any(|own| own.get() == port)
        }
        (Scheme::Http, "http") => {
            let port = port.unwrap_or(80);
            site.ports().any(|own| own.get() == port)
        }
        _ => false,
    };
    // Of wildcards nothing is said: the name may well be another site's, which goes first.
    same_port && site.domains.iter().any(|domain| domain.as_str() == host)
}

fn is_under(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn trimmed(path: &UrlPath) -> &str {
    path.as_str().trim_end_matches('/')
}

/// Whether two networks have an address in common.
pub(in crate::fleet) fn overlap(one: &Network, other: &Network) -> bool {
    one.0.contains(&other.0.network()) || other.0.contains(&one.0.network())
}

/// Whether a network has this address.
pub(in crate::fleet) fn has(network: &Network, address: IpAddr) -> bool {
    network.0.contains(&address.to_canonical())
}
