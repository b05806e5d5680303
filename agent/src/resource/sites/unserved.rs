//! What keeps visitors of a vhost from getting anything, though it is as the document says: it lies outside of Apache's files.

use std::path::Path;

use super::facts::ApacheFacts;
use super::scan::Place;
use crate::fleet::Pointer;
use crate::fleet::names::DirectoryPath;
use crate::node::SiteView;
use crate::system::presence::Presence;

/// So many are named one by one.
const NAMED: usize = 10;

/// What is missing on the box, each with where the document asks for it. `sites`: each with its vhost's text.
pub(super) fn unserved(
    sites: &[(&SiteView, String)],
    facts: &ApacheFacts,
) -> Vec<(String, Pointer)> {
    let mut found = Vec::new();
    for (site, text) in sites {
        let named = format!("site {} of {}", site.name, site.product);
        let mut tell = |what: String, origin| found.push((format!("{named}: {what}"), origin));
        let wish = &site.site;
        for (index, port) in wish.ports().enumerate() {
            let port = port.get();
            let inside = facts.listens.get(&port);
            let Some(listened) = inside.filter(|_| facts.unreachable.contains(&port)) else {
                continue;
            };
            let addresses: Vec<_> = listened.addresses.iter().map(ToString::to_string).collect();
            let place = listened.place.as_ref().map(|place| format!(" ({place})"));
            tell(
                format!(
                    "Apache listens on port {port} at {} only{}, and no proxy on this box listens for others: nobody outside reaches the site. Write `Listen {port}` there, or give the site another port",
                    addresses.join(" and "),
                    place.unwrap_or_default()
                ),
                wish.port_pointer(&site.origin, index),
            );
        }
        // A template may have its pages elsewhere.
        let missing = |path: &str| {
            let presence = facts.missing.get(Path::new(path)).copied();
            presence.filter(|_| text.contains(path))
        };
        if let Some(root) = wish.root.as_ref().map(DirectoryPath::as_str)
            && let Some(presence) = missing(root)
        {
            let what = match presence {
                Presence::Absent => "is not there",
                Presence::NoDirectory => "is no directory",
            };
            tell(
                format!("its root {root} {what}: visitors get an error until its pages are there"),
                site.origin.then("root"),
            );
        }
        for (url, path) in &wish.aliases {
            let path = path.as_str();
            if missing(path) == Some(Presence::Absent) {
                tell(
                    format!(
                        "{path} is not there, from which {url} is served: visitors get an error there"
                    ),
                    site.origin.then("aliases").then(url.as_str()),
                );
            }
        }
    }
    let more = found.len().saturating_sub(NAMED);
    found.truncate(NAMED);
    if more > 0
        && let Some((message, _)) = found.last_mut()
    {
        *message = format!("{message} (and {more} more of this kind)");
    }
    found
}

/// Apache's own configuration closes everything in a way that no vhost opens.
pub(super) fn closed(place: &Place, said: &str) -> String {
    format!(
        "{place} says `{said}` of everything, and no vhost opens what that closes: every answer would be 403"
    )
}

/// What to do about that.
pub(super) const OPEN: &str =
    "Write `Require all denied` in its place: that the sites' own directories open again";
