//! Who may see a site: networks, passwords, and who is believed about where a visitor comes from.

use super::quote::quoted;
use crate::fleet::Satisfy;
use crate::node::SiteView;
use crate::resource::lines::Lines;

/// The lines that decide it. They stand before the probe's, which the later one counts against.
///
/// In a `Location`, so that no `.htaccess` can widen it; merged with `And`, so that it opens nothing that was closed.
pub(super) fn lines(site: &SiteView) -> Lines {
    let mut lines = Lines::default();
    proxies(site, &mut lines);
    let wish = &site.site;
    if wish.allow.is_empty() && wish.auth.is_none() {
        return lines;
    }
    lines.add("    <Location \"/\">");
    if let Some(auth) = &wish.auth {
        let origin = site.origin.then("auth");
        lines.add("        AuthType Basic");
        lines.add_for(
            origin.then("realm"),
            &format!("        AuthName {}", quoted(auth.realm.as_str())),
        );
        lines.add("        AuthBasicProvider file");
        lines.add_for(
            origin.then("file"),
            &format!("        AuthUserFile {}", quoted(auth.file.as_str())),
        );
    }
    lines.add("        AuthMerging And");
    let both = !wish.allow.is_empty() && wish.auth.is_some();
    let all = both
        && wish
            .auth
            .as_ref()
            .is_some_and(|auth| auth.satisfy == Satisfy::All);
    if all {
        lines.add("        <RequireAll>\n        Require valid-user");
    }
    lines.add("        <RequireAny>");
    let allow = site.origin.then("allow");
    for (index, network) in wish.allow.iter().enumerate() {
        lines.add_for(
            allow.item(index),
            &format!("            Require ip {network}"),
        );
    }
    if wish.auth.is_some() && !all {
        lines.add_for(site.origin.then("auth"), "            Require valid-user");
    }
    lines.add("        </RequireAny>");
    if all {
        lines.add("        </RequireAll>");
    }
    lines.add("    </Location>\n\n");
    refused_pages(site, &mut lines);
    lines
}

/// Balancers in front are believed when they say who the client is, and nobody else.
fn proxies(site: &SiteView, lines: &mut Lines) {
    let Some(proxies) = &site.site.trusted_proxies else {
        return;
    };
    if proxies.is_empty() {
        return;
    }
    lines.add("    RemoteIPHeader X-Forwarded-For");
    let origin = site.origin.then("trusted_proxies");
    for (index, network) in proxies.iter().enumerate() {
        // Not RemoteIPTrustedProxy: that one does not believe in clients of private networks.
        lines.add_for(
            origin.item(index),
            &format!("    RemoteIPInternalProxy {network}"),
        );
    }
    lines.add("\n");
}

/// Who is turned away must be able to see the page that says so, and only then.
fn refused_pages(site: &SiteView, lines: &mut Lines) {
    let documents = site.origin.then("error_documents");
    for (status, path) in &site.site.error_documents {
        if !matches!(status.as_str(), "401" | "403") {
            continue;
        }
        lines.add_for(
            documents.then(status),
            &format!("    <Location {}>", quoted(path.as_str())),
        );
        lines.add(
            "        AuthMerging Off
        Require expr \"%{reqenv:REDIRECT_STATUS} -in {'401', '403'}\"
    </Location>\n\n",
        );
    }
}
