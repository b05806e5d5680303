//! What a site serves from where: its root, its aliases, and where no PHP runs.

use std::collections::{BTreeMap, BTreeSet};

use super::quote::quoted;
use crate::fleet::Override;
use crate::fleet::Pointer;
use crate::fleet::names::DirectoryPath;
use crate::node::SiteView;
use crate::resource::lines::Lines;

/// Endings of files that PHP runs, somewhere on this earth. Of `x.php.jpg` too: handlers go by any ending.
const PHP: &str = "php[0-9]?|phtml|phps|phar|pht";

/// The aliases, the longer first: Apache takes the first that fits.
pub(super) fn aliases(site: &SiteView) -> Lines {
    let mut lines = Lines::default();
    let origin = site.origin.then("aliases");
    let mut by_url = BTreeMap::new();
    for (written, directory) in &site.site.aliases {
        let directory = directory.as_str();
        // "/media/" and "/srv/media" would glue together to "/srv/mediafile": both with the slash, or both without.
        let url = written.as_str().trim_end_matches('/');
        let line = if url.is_empty() {
            format!("    Alias \"/\" {}", quoted(&format!("{directory}/")))
        } else {
            format!("    Alias {} {}", quoted(url), quoted(directory))
        };
        by_url.insert(
            (std::cmp::Reverse(url.len()), url, written.as_str()),
            (origin.then(written), line),
        );
    }
    if !by_url.is_empty() {
        lines.add("\n");
    }
    for (origin, line) in by_url.into_values() {
        lines.add_for(origin, &line);
    }
    lines
}

/// What may be done in the root, in the directories of aliases, and where no PHP runs.
pub(super) fn directories(site: &SiteView) -> Lines {
    let mut lines = Lines::default();
    let wish = &site.site;
    let root = wish.root.as_ref().map(ToString::to_string);
    if let Some(root) = &root {
        lines.add(&format!("\n    <Directory {}>", quoted(root)));
        // FollowSymLinks: "current" is a symlink, and IfOwnerMatch would fail on it and only seem safer.
        set(
            &mut lines,
            site.origin.then("options"),
            "Options",
            wish.options.as_deref(),
            "FollowSymLinks",
        );
        // All: products ship .htaccess files that close directories; ignoring those would open them.
        set(
            &mut lines,
            site.origin.then("allow_override"),
            "AllowOverride",
            wish.allow_override.as_deref(),
            "All",
        );
        lines.add("        Require all granted\n    </Directory>");
    }
    let others: BTreeSet<&str> = wish
        .aliases
        .values()
        .map(DirectoryPath::as_str)
        .filter(|directory| Some(*directory) != root.as_deref())
        .collect();
    for directory in others {
        // No overrides: such directories tend to be where uploads land.
        lines.add(&format!(
            "    <Directory {}>\n        Options FollowSymLinks\n        AllowOverride None\n        Require all granted\n    </Directory>\n",
            quoted(directory)
        ));
    }
    for (index, path) in wish.no_php.iter().enumerate() {
        let origin = site.origin.then("no_php").item(index);
        no_php(
            site,
            path.as_str().trim_end_matches('/'),
            &origin,
            &mut lines,
        );
    }
    lines
}

/// A directive with the words of the document, or with `usual` where it has none.
fn set<T: ToString>(
    lines: &mut Lines,
    origin: Pointer,
    directive: &str,
    words: Option<&[T]>,
    usual: &str,
) {
    match words {
        None => lines.add(&format!("        {directive} {usual}")),
        Some([]) => lines.add_for(origin, &format!("        {directive} None")),
        Some(words) => {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            lines.add_for(origin, &format!("        {directive} {}", words.join(" ")));
        }
    }
}

/// Below `url` nothing is run, and the source of what would be is not shown.
///
/// By directory, because files go by their names there whatever leads to them; by URL too, because a PHP server that
/// requests are proxied to by their path never comes by a directory.
fn no_php(site: &SiteView, url: &str, origin: &Pointer, lines: &mut Lines) {
    let mut places = vec![];
    places.extend(directory_of(site, url));
    places.extend(
        (site.site.aliases.iter())
            .filter(|(alias, _)| is_below(alias.as_str().trim_end_matches('/'), url))
            .map(|(_, directory)| (directory.to_string(), "None")),
    );
    let mut done = BTreeSet::new();
    for (directory, overrides) in places {
        if !done.insert(directory.clone()) {
            continue;
        }
        lines.add_for(
            origin.clone(),
            &format!("    <Directory {}>", quoted(&directory)),
        );
        // What .htaccess files close stays closed; what else they say is passed over, for it may be a visitor's upload.
        lines.add(&format!(
            "        AllowOverride {overrides}
        <FilesMatch \".\">
            SetHandler default-handler
        </FilesMatch>
        <FilesMatch \"(?i)\\.({PHP})(\\.|$)\">
            Require all denied
        </FilesMatch>
    </Directory>"
        ));
    }
    let pattern = url.replace('.', "\\.").replace('/', "/+");
    lines.add_for(
        origin.clone(),
        &format!("    <LocationMatch \"(?i)^{pattern}/.*\\.({PHP})([./]|$)\">"),
    );
    lines.add("        Require all denied\n    </LocationMatch>");
}

/// The directory that `url` is served from, and what `.htaccess` files may say there at most.
fn directory_of(site: &SiteView, url: &str) -> Option<(String, &'static str)> {
    let alias = (site.site.aliases.iter())
        .map(|(alias, directory)| (alias.as_str().trim_end_matches('/'), directory))
        .filter(|(alias, _)| *alias == url || is_below(url, alias))
        .max_by_key(|(alias, _)| alias.len());
    if let Some((alias, directory)) = alias {
        let rest = url.strip_prefix(alias).unwrap_or_default();
        return Some((format!("{directory}{rest}"), "None"));
    }
    let root = site.site.root.as_ref()?;
    let may = |word| (site.site.allow_override.as_ref()).is_none_or(|words| words.contains(&word));
    let overrides = match (may(Override::AuthConfig), may(Override::Limit)) {
        (true, true) => "AuthConfig Limit Nonfatal=Override",
        (true, false) => "AuthConfig Nonfatal=Override",
        (false, true) => "Limit Nonfatal=Override",
        (false, false) => "None",
    };
    Some((format!("{root}{url}"), overrides))
}

/// Whether a URL path lies below another one, neither with a slash at its end.
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with('/'))
}
