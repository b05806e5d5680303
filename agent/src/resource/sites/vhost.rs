//! One site as an Apache virtual host.

use std::path::PathBuf;

use super::names::{HEALTH_FILE, Part, WELL_KNOWN, stem};
use super::quote::{header_value, quoted};
use super::{access, directories, php, tls};
use crate::fleet::{Redirect, Scheme};
use crate::node::SiteView;
use crate::resource::lines::Lines;
use crate::system::platform::{Apache, Platform};

/// The variable that holds the name of the generation that Apache has loaded.
pub(super) const GENERATION: &str = "AGENTD_GENERATION";

/// Which requests get past what a site's own rules may do to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarded {
    /// The vhost has no rewriting and no proxying: an alias is enough.
    Plain,
    /// An override template may rewrite or proxy everything: the probe is taken out of that first.
    Rewriting,
}

/// A log of a site's own.
pub(super) fn log(site: &SiteView, apache: &Apache, what: &str) -> PathBuf {
    apache.log_dir.join(format!("{}-{what}.log", stem(site)))
}

/// The file whose content a site's probe answers with, as the configuration names it.
fn probe_file(site: &SiteView, apache: &Apache) -> String {
    format!(
        "{}/${{{GENERATION}}}/{}.probe",
        apache.dir.display(),
        stem(site)
    )
}

/// Whether a vhost of this text answers the agent's probe.
pub(super) fn answers_probe(text: &str, site: &SiteView, apache: &Apache) -> bool {
    text.contains(&probe_file(site, apache))
}

/// What a vhost needs to answer the agent's probe: a path that only the right vhost of the right generation serves.
///
/// `Alias` goes first: Apache takes the first that fits. The file's path has a variable and is therefore not escaped for `${`.
pub(super) fn probe(site: &SiteView, apache: &Apache, guarded: Guarded) -> String {
    let url = format!("{WELL_KNOWN}/${{{GENERATION}}}");
    let file = probe_file(site, apache);
    let passes = match guarded {
        Guarded::Plain => String::new(),
        Guarded::Rewriting => format!(
            r#"    <IfModule mod_rewrite.c>
        RewriteRule "^/\.well-known/node-agent/" - [END]
    </IfModule>
    <IfModule mod_proxy.c>
        ProxyPass "{WELL_KNOWN}/" "!"
    </IfModule>
"#
        ),
    };
    format!(
        r#"    # agentd asks this after a reload: only this vhost of this generation has the right answer.
{passes}    Alias "{url}" "{file}"
    <Location "{url}">
        AuthMerging Off
        Require local
        SetHandler None
    </Location>
"#
    )
}

/// The lines within a `<VirtualHost>` with these of the site's names.
pub(super) fn body(
    site: &SiteView,
    part: &Part<'_>,
    platform: &Platform,
    guarded: Guarded,
) -> Lines {
    let apache = &platform.apache;
    let wish = &site.site;
    let mut lines = Lines::default();
    names(site, part, &mut lines);
    if let Some(root) = &wish.root {
        let root = quoted(root.as_str());
        lines.add_for(
            site.origin.then("root"),
            &format!("    DocumentRoot {root}"),
        );
        lines.add("    DirectoryIndex index.php index.html");
    }
    lines.add("    ServerSignature Off\n");
    logs(site, apache, &mut lines);
    lines.append(access::lines(site));
    lines.add(&probe(site, apache, guarded));
    if part.catches_all() {
        // Balancers that send no host name get here, and not to the server's default vhost.
        lines.add(&health(apache));
    }
    match &wish.redirect {
        Some(redirect) => redirects(site, redirect, &mut lines),
        None => lines.add("\n    # Hidden files (.git, .env, .htpasswd) are no part of a site.\n    RedirectMatch 404 \"/\\.(?!well-known(/|$))\"\n"),
    }
    lines.append(directories::aliases(site));
    lines.append(directories::directories(site));
    lines.append(php::handler(site, platform));
    error_documents(site, &mut lines);
    headers(site, &mut lines);
    lines.append(tls::extras(site));
    lines
}

/// What the default vhost has for load balancers, for a site whose name is every name.
fn health(apache: &Apache) -> String {
    let file = format!("{}/${{{GENERATION}}}/{HEALTH_FILE}", apache.dir.display());
    let url = WELL_KNOWN.replace('.', "\\.");
    format!(
        "    AliasMatch \"^{url}$\" \"{file}\"
    <LocationMatch \"^{url}$\">
        AuthMerging Off
        Require all granted
        SetHandler None
    </LocationMatch>
"
    )
}

fn names(site: &SiteView, part: &Part<'_>, lines: &mut Lines) {
    let domains = site.origin.then("domains");
    let https = site.site.scheme == Scheme::Https;
    if let Some(first) = site.site.domains.first() {
        let scheme = if https { "https://" } else { "" };
        lines.add_for(domains.item(0), &format!("    ServerName {scheme}{first}"));
    }
    for (index, domain) in part.names.iter().filter(|(index, _)| *index > 0) {
        lines.add_for(domains.item(*index), &format!("    ServerAlias {domain}"));
    }
    if https {
        // What applications look at where the server does not speak TLS itself.
        lines.add_for(site.origin.then("scheme"), "    SetEnv HTTPS on");
    }
}

fn logs(site: &SiteView, apache: &Apache, lines: &mut Lines) {
    // Named "…log" at the end: both distributions' logrotate takes them with the server's own.
    // No LogLevel: who turns the server's up to look for something wants it here too.
    let log = |what: &str| quoted(&log(site, apache, what).display().to_string());
    lines.add(&format!("\n    ErrorLog {}\n", log("error")));
    let format = &site.site.access_log;
    let origin = site.origin.then("access_log");
    if format.is_off() {
        // A vhost without a log writes to the server's own: this one writes where nobody reads, and never.
        lines.add_for(
            origin,
            "    CustomLog \"/dev/null\" common env=AGENTD_NEVER",
        );
    } else if format.is_combined() {
        lines.add(&format!("    CustomLog {} combined", log("access")));
    } else {
        let format = match format.as_str() {
            "common" => "common".to_owned(),
            own => quoted(own),
        };
        lines.add_for(origin, &format!("    CustomLog {} {format}", log("access")));
    }
    lines.add("\n");
}

/// Everything goes elsewhere but what the agent and load balancers ask.
fn redirects(site: &SiteView, redirect: &Redirect, lines: &mut Lines) {
    let (rest, to) = if redirect.keep_path {
        let base = redirect.to.as_str().trim_end_matches('/');
        ("(.*)$", format!("{base}/$1"))
    } else {
        ("", redirect.to.to_string())
    };
    lines.add("\n");
    lines.add_for(
        site.origin.then("redirect"),
        &format!(
            "    RedirectMatch {} \"(?s)^/(?!\\.well-known/node-agent(?:/|$)){rest}\" {}",
            redirect.status,
            quoted(&to)
        ),
    );
}

fn error_documents(site: &SiteView, lines: &mut Lines) {
    let documents = &site.site.error_documents;
    if !documents.is_empty() {
        lines.add("\n");
    }
    let origin = site.origin.then("error_documents");
    for (status, path) in documents {
        lines.add_for(
            origin.then(status),
            &format!("    ErrorDocument {status} {}", quoted(path.as_str())),
        );
    }
}

fn headers(site: &SiteView, lines: &mut Lines) {
    if !site.site.headers.is_empty() {
        lines.add("\n");
    }
    let headers = site.origin.then("headers");
    for (name, value) in &site.site.headers {
        // "always" alone would send the header twice where the site's code sets it too: Apache keeps two tables.
        let origin = headers.then(name);
        lines.add_for(
            origin.clone(),
            &format!("    Header onsuccess unset {name}"),
        );
        lines.add_for(
            origin,
            &format!(
                "    Header always set {name} {}",
                header_value(value.as_str())
            ),
        );
    }
}

/// The whole default vhost of these names, from `<VirtualHost>` to `</VirtualHost>`.
///
/// `addresses`: where it stands, as `<VirtualHost>` has it.
/// `engine`: what has it speak TLS.
pub(super) fn whole(
    site: &SiteView,
    part: &Part<'_>,
    platform: &Platform,
    guarded: Guarded,
    addresses: &str,
    engine: Lines,
) -> Lines {
    let mut vhost = Lines::default();
    vhost.add_for(
        site.site.port_pointer(&site.origin, 0),
        &format!("<VirtualHost {addresses}>"),
    );
    vhost.append(engine);
    vhost.append(body(site, part, platform, guarded));
    vhost.add("</VirtualHost>\n");
    vhost
}

/// The vhosts that send who comes by plain HTTP on to the site.
pub(super) fn sending_on(
    site: &SiteView,
    part: &Part<'_>,
    apache: &Apache,
    addresses: &str,
) -> Lines {
    let mut vhosts = Lines::default();
    let origin = site.origin.then("tls").then("redirect");
    for (name, names) in tls::redirected(part) {
        vhosts.add("\n");
        vhosts.add_for(origin.clone(), &format!("<VirtualHost {addresses}>"));
        let own = name.map(str::to_owned).or_else(|| {
            let first = site.site.domains.first();
            first.map(ToString::to_string)
        });
        vhosts.add(&format!("    ServerName {}", own.unwrap_or_default()));
        for alias in names.iter().filter(|alias| Some(**alias) != name) {
            vhosts.add(&format!("    ServerAlias {alias}"));
        }
        vhosts.add("    ServerSignature Off\n");
        logs(site, apache, &mut vhosts);
        vhosts.add(&probe(site, apache, Guarded::Plain));
        if part.catches_all() && name.is_none() {
            vhosts.add(&health(apache));
        }
        vhosts.add("\n");
        tls::send_on(site, name, &mut vhosts);
        vhosts.add("</VirtualHost>\n");
    }
    vhosts
}

/// The comment that a vhost's file begins with.
pub(super) fn heading(site: &SiteView) -> Lines {
    let mut lines = Lines::default();
    lines.add(&format!(
        "# Site {} of product {}. Written by agentd: edit the fleet document instead.\n",
        site.name, site.product
    ));
    lines
}
