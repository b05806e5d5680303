//! What belongs to Apache as a whole rather than to one site: ports, unknown hosts, the include file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::facts::ApacheFacts;
use super::names::{HEALTH_FILE, WELL_KNOWN};
use super::quote::quoted;
use super::tls;
use super::vhost::GENERATION;
use crate::fleet::Pointer;
use crate::fleet::names::Port;
use crate::node::SiteView;
use crate::resource::LineOrigin;
use crate::resource::lines::Lines;
use crate::system::platform::Apache;

/// The content of [`HEALTH_FILE`].
pub(super) const HEALTH: &str = "serving\n";
/// The define that makes Apache read the generation that is to be checked.
pub(super) const STAGED: &str = "AGENTD_STAGED";

/// What [`super::current::FIRST`] says, its line with the generation's name aside.
pub(super) fn first(
    sites: &[SiteView],
    apache: &Apache,
    facts: &ApacheFacts,
) -> (String, Vec<LineOrigin>) {
    let mut ports: BTreeMap<u16, Pointer> = BTreeMap::new();
    for site in sites {
        for (port, origin) in site.site.entrances(&site.origin) {
            ports.entry(port.get()).or_insert(origin);
        }
    }

    let mut lines = Lines::default();
    for (port, origin) in &ports {
        if !facts.listens.contains_key(port) {
            // What has another port than HTTPS must be told.
            let protocol = match tls_site(sites, *port) {
                Some(_) if *port != Port::https().get() => " https",
                _ => "",
            };
            lines.add_for(origin.clone(), &format!("Listen {port}{protocol}"));
        }
    }
    for port in ports.keys().filter(|port| !facts.has_default(**port)) {
        let theirs = facts.listens.contains_key(port);
        let engine = tls_site(sites, *port).map(|site| tls::engine(site, facts));
        let engine = engine.unwrap_or_default();
        lines.add(&default_vhost(*port, theirs, apache, engine.text()));
    }
    lines.finish(ports.into_values().collect::<BTreeSet<_>>())
}

/// The first site that speaks TLS on a port: until a visitor has said whom he wants, somebody's certificate is needed.
fn tls_site(sites: &[SiteView], port: u16) -> Option<&SiteView> {
    sites
        .iter()
        .filter(|site| site.site.tls.is_some())
        .find(|site| site.site.ports().any(|own| own.get() == port))
}

/// Whether a line of the server's file only names the generation.
pub(super) fn is_generation_line(line: &str) -> bool {
    line.strip_prefix("Define ")
        .is_some_and(|rest| rest.starts_with(GENERATION))
}

/// The line that tells Apache which generation it is reading.
pub(super) fn generation_line(generation: &str) -> String {
    format!("Define {GENERATION} {generation}\n")
}

/// Requests for a host that no site has. Without this the alphabetically first site would answer them.
///
/// On a port that Apache's own configuration listens on (`theirs`) they get what they got before there were sites:
/// a vhost inherits the server's document root, aliases and logs, and its rewriting when asked to.
/// On a port that is there for the sites only, nobody ever answered them: 404.
/// Load balancers that cannot send a host name ask it whether Apache serves.
fn default_vhost(port: u16, theirs: bool, apache: &Apache, engine: &str) -> String {
    let file = format!("{}/${{{GENERATION}}}/{HEALTH_FILE}", apache.dir.display());
    let (comment, answers) = if theirs {
        (
            "Hosts that no site here has get what the server itself serves, not the pages of the first site.",
            "    <IfModule mod_rewrite.c>
        RewriteOptions Inherit
    </IfModule>",
        )
    } else {
        (
            "Hosts that no site here has get 404, not the pages of the first site.",
            "    ServerSignature Off
    RedirectMatch 404 \"^(?!/\\.well-known/node-agent$)\"",
        )
    };
    format!(
        "
# {comment} {WELL_KNOWN} is for load balancers.
<VirtualHost *:{port}>
{engine}    ServerName unknown-host.invalid
    Alias \"{WELL_KNOWN}\" \"{file}\"
{answers}
    <Location \"{WELL_KNOWN}\">
        AuthMerging Off
        Require all granted
        SetHandler None
    </Location>
</VirtualHost>
"
    )
}

/// The one file that Apache's own configuration includes.
pub(super) fn include(apache: &Apache) -> String {
    let read = |link: &str| {
        let pattern = |files: &str| quoted(&join(&apache.dir, link, files));
        format!(
            "    IncludeOptional {}\n    IncludeOptional {}\n",
            pattern("*.first"),
            pattern("*.conf")
        )
    };
    format!(
        "# Written by agentd: the virtual hosts of the fleet document. Edit the document instead.
# The test command with \"-D {STAGED}\" tests the generation that is about to be switched to.
<IfDefine {STAGED}>
{}</IfDefine>
<IfDefine !{STAGED}>
{}</IfDefine>
",
        read("staged"),
        read("current")
    )
}

fn join(dir: &Path, link: &str, files: &str) -> String {
    format!("{}/{link}/{files}", dir.display())
}
