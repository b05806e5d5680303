//! TLS of sites: what a vhost needs for it, who is sent on to it, and what is wrong with certificates.

use super::facts::ApacheFacts;
use super::names::{Part, WELL_KNOWN};
use super::quote::quoted;
use crate::fleet::Tls;
use crate::fleet::names::{Port, SiteDomain};
use crate::node::SiteView;
use crate::resource::lines::Lines;
use crate::system::certificate::Certificate;

/// So long before a certificate ends it is told: whoever renews it should have done so by then.
const SOON_SECS: i64 = 14 * 86_400;

/// What is known of a site's certificate. `None`: it has none, or this is no machine.
pub(super) fn certificate<'f>(
    tls: &Tls,
    facts: &'f ApacheFacts,
) -> Option<&'f Result<Certificate, String>> {
    facts.certificates.get(&tls.files())
}

/// The directives that have a site's vhost speak TLS, if it does. A renewed certificate makes another text, so that Apache reads
/// it.
pub(super) fn engine(site: &SiteView, facts: &ApacheFacts) -> Lines {
    let mut lines = Lines::default();
    let Some(tls) = &site.site.tls else {
        return lines;
    };
    let at = site.origin.then("tls");
    lines.add_for(at.clone(), "    SSLEngine on");
    if let Some(Ok(known)) = certificate(tls, facts) {
        lines.add_for(
            at.then("certificate"),
            &format!(
                "    # The certificate {}, good until {}.",
                known.fingerprint,
                known.until.strftime("%F")
            ),
        );
    }
    let file = quoted(tls.certificate.as_str());
    lines.add_for(
        at.then("certificate"),
        &format!("    SSLCertificateFile {file}"),
    );
    let key = quoted(tls.key.file.as_str());
    lines.add_for(at.then("key"), &format!("    SSLCertificateKeyFile {key}"));
    lines.add_for(at.clone(), "    SSLProtocol all -SSLv3 -TLSv1 -TLSv1.1");
    lines
}

/// What stands in the vhost of a site besides: HTTP/2, and that browsers are to come over TLS only.
pub(super) fn extras(site: &SiteView) -> Lines {
    let mut lines = Lines::default();
    let Some(tls) = &site.site.tls else {
        return lines;
    };
    let at = site.origin.then("tls");
    if tls.http2 {
        lines.add("    <IfModule http2_module>\n        Protocols h2 http/1.1\n    </IfModule>");
    }
    if let Some(hsts) = tls.hsts {
        lines.add_for(
            at.then("hsts"),
            &format!(
                "    Header always set Strict-Transport-Security \"max-age={}\"",
                hsts.duration().as_secs()
            ),
        );
    }
    lines
}

/// What sends visitors of plain HTTP on, to the same page of the same name. The agent's and balancers' questions are answered.
pub(super) fn send_on(site: &SiteView, name: Option<&str>, lines: &mut Lines) {
    let port = site.site.ports().next().map_or(443, Port::get);
    let port = if port == 443 {
        String::new()
    } else {
        format!(":{port}")
    };
    let probe = WELL_KNOWN.replace('.', "\\.");
    let origin = site.origin.then("tls").then("redirect");
    match name {
        Some(name) => lines.add_for(
            origin,
            &format!(
                "    RedirectMatch 301 \"(?s)^/(?!{}(?:/|$))(.*)$\" \"https://{name}{port}/$1\"",
                probe.trim_start_matches('/')
            ),
        ),
        // A name that stands for many: the visitor's own.
        None => lines.add(
            &format!(
                "    RewriteEngine On\n    RewriteCond %{{HTTP_HOST}} \"^([a-zA-Z0-9.-]+)\"\n    RewriteRule \"^(?!{probe}(?:/|$))\" \"https://%1{port}%{{REQUEST_URI}}\" [R=301,L,NE]"
            ),
        ),
    }
}

/// The names that each vhost of the redirect has: each exact name has its own, so that nobody is sent to another.
pub(super) fn redirected<'p>(part: &'p Part<'_>) -> Vec<(Option<&'p str>, Vec<&'p str>)> {
    let (wild, exact): (Vec<_>, Vec<_>) = (part.names.iter())
        .map(|(_, name)| *name)
        .partition(|name| name.is_wildcard());
    let mut vhosts: Vec<(Option<&str>, Vec<&str>)> = exact
        .into_iter()
        .map(|name| (Some(name.as_str()), vec![name.as_str()]))
        .collect();
    if !wild.is_empty() {
        vhosts.push((None, wild.into_iter().map(SiteDomain::as_str).collect()));
    }
    vhosts
}

/// Why a site cannot be served with its certificate, with the field that says it.
pub(super) fn unusable(site: &SiteView, facts: &ApacheFacts) -> Option<(String, &'static str)> {
    let tls = site.site.tls.as_ref()?;
    let why = certificate(tls, facts)?.as_ref().err()?;
    Some((
        format!("site {} of {}: {why}", site.name, site.product),
        "tls",
    ))
}

/// Why a site cannot speak TLS beside others: on one port all do or none.
pub(super) fn beside_plain(site: &SiteView, sites: &[SiteView]) -> Option<(String, &'static str)> {
    site.site.tls.as_ref()?;
    let other = sites.iter().find(|other| {
        other.site.tls.is_none()
            && other.site.template.is_none()
            && (other.site.ports()).any(|theirs| site.site.ports().any(|own| own == theirs))
    })?;
    Some((
        format!(
            "site {} of {} speaks TLS and site {} of {} does not, on the same port: give one of them another port",
            site.name, site.product, other.name, other.product
        ),
        "tls",
    ))
}

/// What of a certificate does not keep Apache from serving, and browsers from coming: each a sentence, with whether it does so
/// already.
pub(super) fn doubts(site: &SiteView, facts: &ApacheFacts) -> Vec<(String, bool)> {
    let now = facts.looked;
    let Some(tls) = &site.site.tls else {
        return Vec::new();
    };
    let Some(Ok(known)) = certificate(tls, facts) else {
        return Vec::new();
    };
    let named = format!("site {} of {}", site.name, site.product);
    let file = &tls.certificate;
    let mut doubts = Vec::new();
    let uncovered: Vec<String> = (site.site.domains.iter())
        .filter(|domain| !known.covers(domain.as_str()))
        .map(ToString::to_string)
        .collect();
    if !uncovered.is_empty() {
        let names = if known.names.is_empty() {
            "no host name at all".to_owned()
        } else {
            known.names.join(", ")
        };
        doubts.push((
            format!(
                "{named}: the certificate in {file} is for {names}, and not for {}: browsers warn their visitors. Get one that names them all",
                uncovered.join(", ")
            ),
            true,
        ));
    }
    if known.exposed {
        doubts.push((
            format!(
                "{named}: every account of this machine can read the private key in {key}: chmod 600 {key}",
                key = tls.key.file
            ),
            false,
        ));
    }
    let left = known.until.as_second() - now.as_second();
    let until = known.until.strftime("%F %H:%M UTC");
    if known.from > now {
        doubts.push((
            format!(
                "{named}: the certificate in {file} is good from {} on only: is this machine's clock right?",
                known.from.strftime("%F %H:%M UTC")
            ),
            true,
        ));
    } else if left <= 0 {
        doubts.push((
            format!("{named}: the certificate in {file} ended {until}: renew it, and Apache takes it by itself"),
            true,
        ));
    } else if left < SOON_SECS {
        doubts.push((
            format!(
                "{named}: the certificate in {file} ends in {} days ({until}), and nobody has renewed it yet",
                left / 86_400
            ),
            false,
        ));
    }
    doubts
}
