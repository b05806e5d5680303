//! PHP of sites: who runs it, and what Apache needs for that.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fleet::Name;
use crate::node::SiteView;
use crate::resource::lines::Lines;
use crate::resource::pool_names::{pool_file, pool_name, socket};
use crate::system::file::{Files, Found};
use crate::system::platform::Platform;

/// So much longer Apache waits than php-fpm lets a request take: whose limit it was is then told by PHP.
const LONGER: Duration = Duration::from_secs(5);

/// The products of `sites` whose pools are here.
pub(super) fn pools(sites: &[SiteView], platform: &Platform, files: &Files) -> BTreeSet<Name> {
    let products: BTreeSet<&Name> = sites
        .iter()
        .filter(|site| site.php.is_some())
        .map(|site| &site.product)
        .collect();
    products
        .into_iter()
        .filter(|product| {
            let file = pool_file(product, &platform.php);
            matches!(files.read(&file), Ok(Found::File { .. }))
        })
        .cloned()
        .collect()
}

/// Why a site's PHP cannot be run yet.
pub(super) fn waits(site: &SiteView, pools: Option<&BTreeSet<Name>>) -> Option<String> {
    site.php.as_ref()?;
    let pools = pools?;
    (!pools.contains(&site.product)).then(|| {
        format!(
            "site {} of {} waits for the product's PHP pool (step php): without it visitors would get errors, or the code itself",
            site.name, site.product
        )
    })
}

/// The directives that have a site's PHP run in the product's pool.
pub(super) fn handler(site: &SiteView, platform: &Platform) -> Lines {
    let mut lines = Lines::default();
    let Some(php) = &site.php else {
        return lines;
    };
    let at = site.php_pointer();
    lines.add("\n    <FilesMatch \"\\.php$\">");
    lines.add_for(
        at.clone(),
        &format!(
            "        SetHandler \"proxy:unix:{}|fcgi://{}\"",
            socket(&site.product, &platform.php).display(),
            pool_name(&site.product)
        ),
    );
    lines.add("    </FilesMatch>");
    // Else the code never sees who has logged in by HTTP.
    lines.add("    <Location \"/\">\n        CGIPassAuth On\n    </Location>");
    if let Some(timeout) = php.timeout {
        let secs = (timeout.duration() + LONGER).as_secs();
        lines.add_for(at.then("timeout"), &format!("    ProxyTimeout {secs}"));
    }
    lines
}
