//! Which release a product is at besides what the document says: a person's rollbacks, and what is in use.

use std::collections::BTreeMap;

use crate::fleet::names::ReleaseVersion;
use crate::fleet::{Fleet, Name};
use crate::resource::{ReleaseRecord, Rollback, keep_rollbacks, releases_dir, rollbacks, served};
use crate::system::clock;
use crate::system::file::{FileError, Files};
use crate::system::platform::Platform;

/// The releases that persons rolled back to, by product: those that hold. One holds until the document names another version.
pub(in crate::converge) fn pins(
    files: &Files,
    fleet: &Fleet,
) -> Result<BTreeMap<Name, ReleaseVersion>, FileError> {
    let all = rollbacks(files)?;
    Ok(all
        .into_iter()
        .filter(|(product, rollback)| holds(fleet, product, rollback))
        .map(|(product, rollback)| (product, rollback.to))
        .collect())
}

fn holds(fleet: &Fleet, product: &Name, rollback: &Rollback) -> bool {
    let product = fleet.products.get(product);
    let release = product.and_then(|product| product.release.as_ref());
    release.is_some_and(|release| release.version == rollback.from)
}

/// The releases in use, by product. What the document before the present one says of a product's release may be older than that.
pub(in crate::converge) fn in_use(
    files: &Files,
    platform: &Platform,
) -> BTreeMap<Name, ReleaseVersion> {
    served(files, &platform.apache)
        .into_iter()
        .filter_map(|(product, versions)| Some((product, versions.into_iter().next_back()?)))
        .collect()
}

/// What a rollback came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The version of the document.
    pub from: ReleaseVersion,
    /// The version that the product goes back to.
    pub to: ReleaseVersion,
    /// Releases after that one which ran a command here before they were switched to: what it did is not undone.
    pub ran_before: Vec<ReleaseVersion>,
}

/// Has `product` go back to `to` or, without it, to the release before the one in use. The error says why it cannot. The next run
/// does it. `to` the document's own version ends a rollback.
pub fn roll_back(
    files: &Files,
    platform: &Platform,
    fleet: &Fleet,
    product: &Name,
    to: Option<&ReleaseVersion>,
) -> Result<RolledBack, String> {
    let failed = |error: FileError| crate::system::chain(&error);
    let release = fleet
        .products
        .get(product)
        .and_then(|product| product.release.as_ref())
        .ok_or_else(|| format!("the document has no release of {product}"))?;
    let from = release.version.clone();
    let records = ReleaseRecord::load_all(files, product).map_err(failed)?;
    let standing = files.list(&releases_dir(product)).map_err(failed)?;
    let is_ready = |record: &&ReleaseRecord| {
        record.ready
            && record.failed.is_none()
            && standing.iter().any(|name| name == record.version.as_str())
    };
    let present = in_use(files, platform).remove(product);
    let present = present.as_ref();
    let mut ready: Vec<&ReleaseRecord> = records.values().filter(is_ready).collect();
    ready.sort_by_key(|record| record.order());
    let target = match to {
        Some(to) => ready.iter().find(|record| record.version == *to).copied(),
        None => ready
            .iter()
            .rfind(|record| Some(&record.version) != present)
            .copied(),
    };
    let Some(target) = target else {
        let names: Vec<&str> = ready.iter().map(|record| record.version.as_str()).collect();
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        return Err(match to {
            Some(to) => format!(
                "the release {to} of {product} is not on this box, or failed; there are: {names}"
            ),
            None => {
                format!("there is no release of {product} to go back to; on this box are: {names}")
            }
        });
    };
    let mut all = rollbacks(files).map_err(failed)?;
    all.retain(|product, rollback| holds(fleet, product, rollback));
    if target.version == from {
        all.remove(product);
    } else {
        let rollback = Rollback {
            from: from.clone(),
            to: target.version.clone(),
            since: clock::now(),
        };
        all.insert(product.clone(), rollback);
    }
    keep_rollbacks(files, &all).map_err(failed)?;
    let later = records.values().filter(|record| {
        record.ran_before.is_some()
            && record.version != target.version
            && record.number > target.number
    });
    Ok(RolledBack {
        from,
        to: target.version.clone(),
        ran_before: later.map(|record| record.version.clone()).collect(),
    })
}
