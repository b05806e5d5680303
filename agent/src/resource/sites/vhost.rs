//! One site as an Apache virtual host.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::Lines;
use super::quote::{header_value, quoted};
use crate::fleet::Pointer;
use crate::node::SiteView;
use crate::system::platform::Apache;

/// The variable that holds the name of the generation that Apache has loaded.
pub(super) const GENERATION: &str = "AGENTD_GENERATION";
/// The URL path that the agent's own files lie under.
pub(super) const WELL_KNOWN: &str = "/.well-known/node-agent";

/// Which requests get past what a site's own rules may do to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarded {
    /// The vhost has no rewriting and no proxying: an alias is enough.
    Plain,
    /// An override template may rewrite or proxy everything: the probe is taken out of that first.
    Rewriting,
}

/// The name of a site's files, without extension. No two sites share it: names have no underscore.
pub(super) fn stem(site: &SiteView) -> String {
    format!("{}_{}", site.product, site.name)
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

/// The lines within `<VirtualHost>`.
pub(super) fn body(site: &SiteView, apache: &Apache, guarded: Guarded) -> Lines {
    let wish = &site.site;
    let mut lines = Lines::default();

    let domains = site.origin.then("domains");
    for (index, domain) in wish.domains.iter().enumerate() {
        let directive = if index == 0 {
            "ServerName"
        } else {
            "ServerAlias"
        };
        lines.add_for(domains.item(index), &format!("    {directive} {domain}"));
    }
    let root = quoted(wish.root.as_str());
    lines.add_for(
        site.origin.then("root"),
        &format!("    DocumentRoot {root}"),
    );
    lines.add("    DirectoryIndex index.php index.html\n    ServerSignature Off\n");

    // Named "…log" at the end: both distributions' logrotate takes them with the server's own.
    // No LogLevel: who turns the server's up to look for something wants it here too.
    let log = |what: &str| {
        quoted(&format!(
            "{}/{}-{what}.log",
            apache.log_dir.display(),
            stem(site)
        ))
    };
    lines.add(&format!(
        "\n    ErrorLog {}\n    CustomLog {} combined\n\n",
        log("error"),
        log("access")
    ));
    if !wish.allow.is_empty() {
        // A Location, so that no .htaccess can widen it; And, so that it opens nothing that was closed. Before the probe's: the later one counts.
        lines.add("    <Location \"/\">\n        AuthMerging And\n        <RequireAny>\n");
        let allow = site.origin.then("allow");
        for (index, network) in wish.allow.iter().enumerate() {
            lines.add_for(
                allow.item(index),
                &format!("            Require ip {network}"),
            );
        }
        lines.add("        </RequireAny>\n    </Location>\n\n");
    }
    lines.add(&probe(site, apache, guarded));
    lines.add("\n    # Hidden files (.git, .env, .htpasswd) are no part of a site.\n    RedirectMatch 404 \"/\\.(?!well-known(/|$))\"\n");

    let (aliases, directories) = aliases(site);
    if !aliases.is_empty() {
        lines.add("\n");
    }
    for alias in aliases {
        lines.add_for(alias.origin, &alias.line);
    }

    // AllowOverride All: products ship .htaccess files that close directories; ignoring those would open them.
    // FollowSymLinks: "current" is a symlink, and IfOwnerMatch would fail on it and only seem safer.
    lines.add(&format!(
        "\n    <Directory {root}>\n        Options FollowSymLinks\n        AllowOverride All\n        Require all granted\n    </Directory>\n"
    ));
    for directory in directories {
        // No overrides: such directories tend to be where uploads land.
        lines.add(&format!(
            "    <Directory {}>\n        Options FollowSymLinks\n        AllowOverride None\n        Require all granted\n    </Directory>\n",
            quoted(directory)
        ));
    }

    if !wish.headers.is_empty() {
        lines.add("\n");
    }
    let headers = site.origin.then("headers");
    for (name, value) in &wish.headers {
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
    lines
}

/// The whole default vhost, from `<VirtualHost>` to `</VirtualHost>`.
pub(super) fn whole(site: &SiteView, apache: &Apache, guarded: Guarded) -> Lines {
    let mut vhost = Lines::default();
    vhost.add_for(
        site.origin.then("port"),
        &format!("<VirtualHost *:{}>", site.site.port),
    );
    vhost.append(body(site, apache, guarded));
    vhost.add("</VirtualHost>\n");
    vhost
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

struct AliasLine {
    origin: Pointer,
    line: String,
}

/// A site's aliases, the longer first (Apache takes the first that fits), and the directories to open for them.
fn aliases(site: &SiteView) -> (Vec<AliasLine>, BTreeSet<&str>) {
    let origin = site.origin.then("aliases");
    let mut by_url = BTreeMap::new();
    let mut directories = BTreeSet::new();
    for (written, directory) in &site.site.aliases {
        let directory = directory.as_str();
        // "/media/" and "/srv/media" would glue together to "/srv/mediafile": both with the slash, or both without.
        let url = written.as_str().trim_end_matches('/');
        let line = if url.is_empty() {
            format!("    Alias \"/\" {}", quoted(&format!("{directory}/")))
        } else {
            format!("    Alias {} {}", quoted(url), quoted(directory))
        };
        let pointer = origin.then(written);
        by_url.insert(
            (std::cmp::Reverse(url.len()), url, written.as_str()),
            AliasLine {
                origin: pointer,
                line,
            },
        );
        if directory != site.site.root.as_str() {
            directories.insert(directory);
        }
    }
    (by_url.into_values().collect(), directories)
}
