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
        for (port, origin) in wish.entrances(&site.origin) {
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
                origin,
            );
        }
        // A template may have its pages elsewhere.
        let missing = |path: &str| {
            let presence = facts.missing.get(Path::new(path));
            presence.filter(|_| text.contains(path))
        };
        if let Some(root) = wish.root.as_ref().map(DirectoryPath::as_str)
            && let Some(presence) = missing(root)
        {
            let until = "visitors get an error until its pages are there";
            let what = match presence {
                Presence::Absent => format!("its root {root} is not there: {until}"),
                Presence::NoDirectory => format!("its root {root} is no directory: {until}"),
                Presence::Closed(dir) => format!("its root {root} {}", shut(dir, &facts.user)),
            };
            tell(what, site.origin.then("root"));
        }
        for (url, path) in &wish.aliases {
            let path = path.as_str();
            let what = match missing(path) {
                Some(Presence::Absent) => {
                    format!(
                        "{path} is not there, from which {url} is served: visitors get an error there"
                    )
                }
                Some(Presence::Closed(dir)) => {
                    format!(
                        "{path}, from which {url} is served, {}",
                        shut(dir, &facts.user)
                    )
                }
                // An alias may lead to a file.
                Some(Presence::NoDirectory) | None => continue,
            };
            tell(what, site.origin.then("aliases").then(url.as_str()));
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

/// A directory that Apache's workers may not enter, and what to do.
fn shut(dir: &Path, user: &str) -> String {
    let dir = dir.display();
    format!(
        "is closed to {user}, as whom Apache serves, by {dir}: visitors get 403. Let it pass: chmod o+x {dir}, or a group that {user} is in"
    )
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
