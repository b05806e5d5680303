//! Releases of products' code: fetched before a run, unpacked in it, each a step of its own. What is switched to is said by the
//! sites, and [`CurrentLinks`] follow.
//!
//! ```text
//! /srv/shop/releases/42             a release
//! /srv/shop/releases/.43.partial    one that is being unpacked
//! /srv/shop/releases/41.failed      one that failed, for people to look at
//! /srv/shop/shared/storage          what all releases share
//! /srv/shop/current -> releases/42  for cron and people
//! ```

mod current;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

pub use current::{CurrentLinks, CurrentLinksFacts};
pub use record::{
    ARCHIVES, FAILED, PARTIAL, RECORDS, ReleaseFailure, ReleaseRecord, Rollback, SERVED,
    archive_path, keep_rollbacks, list_path, releases_dir, rollbacks, served,
};

use super::{
    Desired, LineOrigin, ObserveError, Phase, ReleaseWish, Resource, Step, Thing, Want, Wish,
};
use crate::fleet::Name;
use crate::fleet::names::ReleaseVersion;
use crate::node::{ReleaseView, View};
use crate::report::{Kind, StepName};
use crate::system::chain;
use crate::system::command::CommandLine;
use crate::system::file::{FileError, Files};
use crate::system::platform::Platform;

/// How long unpacking may take, with what is done before and after it.
const UNPACKING: Duration = Duration::from_mins(35);
/// Runs a program as another account, whatever its shell is.
const AS_USER: [&str; 2] = ["/usr/sbin/runuser", "-u"];
/// Runs what follows in a directory.
const IN_DIRECTORY: &str = "cd -- \"$0\" && exec \"$@\"";

/// The releases of a box.
#[derive(Debug, Clone, Copy, Default)]
pub struct Releases;

/// What is known of the releases of a box's products.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReleasesFacts {
    /// By product. `None`: nobody has looked.
    pub products: Option<BTreeMap<Name, ProductReleases>>,
}

/// What is known of a product's releases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProductReleases {
    /// What the agent knows of each.
    pub records: BTreeMap<ReleaseVersion, ReleaseRecord>,
    /// Those whose directories are there.
    pub standing: BTreeSet<ReleaseVersion>,
    /// The archives that wait.
    pub archives: BTreeSet<String>,
    /// Those that sites are served from.
    pub served: BTreeSet<ReleaseVersion>,
    /// Why it could not be looked at.
    pub unseen: Option<String>,
}

impl ProductReleases {
    /// What is known of the releases of `product`. Where it cannot be looked at, for its account has put something in the
    /// way, it is this product's trouble alone.
    pub fn look(files: &Files, product: &Name, served: BTreeSet<ReleaseVersion>) -> Self {
        Self::try_look(files, product, served.clone()).unwrap_or_else(|error| Self {
            served,
            unseen: Some(chain(&error)),
            ..Self::default()
        })
    }

    fn try_look(
        files: &Files,
        product: &Name,
        served: BTreeSet<ReleaseVersion>,
    ) -> Result<Self, FileError> {
        let names = files.list(&releases_dir(product))?;
        let standing = names.iter().filter_map(|name| name.parse().ok()).collect();
        let archives = files.list(Path::new(ARCHIVES))?;
        Ok(Self {
            records: ReleaseRecord::load_all(files, product)?,
            standing,
            archives: archives.into_iter().collect(),
            served,
            unseen: None,
        })
    }

    /// Whether sites may be served from `version`: from one that they are served from already, whatever became of it since.
    pub fn can_serve(&self, version: &ReleaseVersion) -> bool {
        self.served.contains(version) || self.is_ready(version)
    }

    /// Whether `version` can be switched to.
    pub fn is_ready(&self, version: &ReleaseVersion) -> bool {
        let record = self.records.get(version);
        self.standing.contains(version)
            && record.is_some_and(|record| record.ready && record.failed.is_none())
    }

    /// Whether there is one beside `version` that was shown to work, and could be gone back to.
    pub fn has_another(&self, version: &ReleaseVersion) -> bool {
        self.records.values().any(|record| {
            record.version != *version && record.proven.is_some() && self.is_ready(&record.version)
        })
    }

    /// Whether `version` was shown to work.
    pub fn is_proven(&self, version: &ReleaseVersion) -> bool {
        let record = self.records.get(version);
        record.is_some_and(|record| record.proven.is_some())
    }
}

impl Resource for Releases {
    type Facts = ReleasesFacts;

    fn kind(&self) -> Kind {
        Kind::Releases
    }

    async fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
    ) -> Result<ReleasesFacts, ObserveError> {
        let mut products = BTreeMap::new();
        if !view.releases.is_empty() {
            let mut all = served(files, &platform.apache);
            for release in &view.releases {
                let served = all.remove(&release.product).unwrap_or_default();
                let known = ProductReleases::look(files, &release.product, served);
                products.insert(release.product.clone(), known);
            }
        }
        Ok(ReleasesFacts {
            products: Some(products),
        })
    }

    fn desired(&self, view: &View, _: &Platform, facts: &ReleasesFacts) -> Desired {
        let mut desired = Desired::default();
        for release in &view.releases {
            let name = StepName(format!("release/{}", release.product));
            let known = facts
                .products
                .as_ref()
                .and_then(|all| all.get(&release.product));
            match obstacle(release, known) {
                Some(why) => {
                    desired.hold(Kind::Releases, name, why, Some(release.origin.clone()));
                }
                None => desired.steps.push(step(name, release)),
            }
        }
        desired
    }
}

/// Why a release cannot be made now, and what to do.
fn obstacle(view: &ReleaseView, known: Option<&ProductReleases>) -> Option<String> {
    let known = known?;
    if let Some(why) = &known.unseen {
        return Some(format!(
            "the releases of {} cannot be looked at: {why}",
            view.product
        ));
    }
    let (product, version) = (&view.product, &view.version);
    let record = known.records.get(version);
    if !view.is_documents() {
        return (!known.is_ready(version)).then(|| {
            format!("the release {version} of {product}, which it was rolled back to, is not there any more: agentctl release list {product}")
        });
    }
    let sha256 = view.release.sha256.as_str();
    if let Some(record) = record
        && record.sha256 != sha256
        && known.standing.contains(version)
    {
        return Some(format!(
            "the release {version} of {product} is here already, from another archive (SHA-256 {}): what has other content is another version",
            record.sha256
        ));
    }
    let record = record.filter(|record| record.sha256 == sha256);
    if let Some(failed) = record.and_then(|record| record.failed.as_ref()) {
        return Some(format!(
            "the release {version} of {product} failed and is not tried again: {}\nname another version, or agentctl apply --retry",
            failed.error
        ));
    }
    let is_unpacked =
        record.is_some_and(|record| record.unpacked.is_some()) && known.standing.contains(version);
    let is_taken_over = record.is_none() && known.served.contains(version);
    if is_unpacked || is_taken_over || known.archives.contains(sha256) {
        return None;
    }
    let trouble = record.and_then(|record| record.trouble.clone());
    Some(match trouble {
        Some(trouble) => {
            format!("the release {version} of {product} could not be fetched: {trouble}")
        }
        None => {
            format!("the release {version} of {product} is not on this box yet: a run fetches it")
        }
    })
}

fn step(name: StepName, view: &ReleaseView) -> Step {
    let (product, version) = (&view.product, &view.version);
    let release = &view.release;
    let before = release
        .before
        .as_ref()
        .filter(|_| view.runs_before && view.is_documents())
        .map(|before| {
            let words = before.command.iter().map(|word| word.as_str().to_owned());
            command(
                product,
                version,
                release.user.as_ref().map(AsRef::as_ref),
                words,
                before.time(),
            )
        });
    let mut step = Step::new(Kind::Releases, name);
    let hook = before.as_ref().map_or(0, |command| command.deadline_ms);
    step.may_take = UNPACKING + Duration::from_millis(hook);
    step.wants = vec![Want {
        thing: Thing::Release(format!("{product}/{version}")),
        wish: Wish::Release(Box::new(ReleaseWish {
            product: product.clone(),
            version: version.clone(),
            object: release.object.to_string(),
            sha256: release.sha256.to_string(),
            user: release.user.as_ref().map(ToString::to_string),
            shared: release.shared.iter().map(ToString::to_string).collect(),
            before,
        })),
        phase: Phase::Commit,
        shown_as: None,
        origins: vec![LineOrigin {
            line: None,
            pointer: view.origin.clone(),
        }],
    }];
    step
}

/// The command before the switch, as it is run: in the release, by its account.
fn command(
    product: &Name,
    version: &ReleaseVersion,
    user: Option<&str>,
    words: impl IntoIterator<Item = String>,
    time: Duration,
) -> CommandLine {
    let dir = crate::node::release_dir(product, version);
    let mut argv: Vec<String> = Vec::new();
    if let Some(user) = user {
        argv.extend(AS_USER.map(str::to_owned));
        argv.extend([user.to_owned(), "--".to_owned()]);
    }
    argv.extend(["/bin/sh", "-c", IN_DIRECTORY, &dir].map(str::to_owned));
    let mut words = words.into_iter();
    argv.extend(words.next().map(|program| {
        if program.starts_with('/') {
            program
        } else {
            format!("{dir}/{program}")
        }
    }));
    argv.extend(words);
    CommandLine::new(argv, time)
}
