//! What is left of releases after a run: those that failed are set aside, older ones are pruned, what a crash left goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::fleet::Name;
use crate::fleet::names::ReleaseVersion;
use crate::node::{ReleaseView, View};
use crate::resource::{
    ARCHIVES, FAILED, PARTIAL, ProductReleases, ReleaseRecord, archive_path, releases_dir, served,
};
use crate::system::file::{FileError, Files};
use crate::system::platform::Platform;
use crate::system::{chain, clock, crash};

/// Tidies up. Blocks for as long as removing takes. A failure is told, and tried again after the next run.
/// `are_proven`: what the sites are served from was shown to work.
pub(in crate::converge) fn tidy(files: &Files, platform: &Platform, view: &View, are_proven: bool) {
    let mut all = served(files, &platform.apache);
    let mut archives = BTreeSet::new();
    for release in &view.releases {
        let served = all.remove(&release.product).unwrap_or_default();
        let served = (served, are_proven);
        let tidied = of_product(files, release, view, served, &mut archives);
        if let Err(error) = tidied {
            told(&format!("releases of {}", release.product), &error);
        }
    }
    if let Err(error) = forget_archives(files, &archives) {
        told(ARCHIVES, &error);
    }
}

fn told(what: &str, error: &FileError) {
    let error = chain(error);
    tracing::warn!(event = "release-not-tidied", error, "{what}: {error}");
}

fn of_product(
    files: &Files,
    view: &ReleaseView,
    box_view: &View,
    (served, are_proven): (BTreeSet<ReleaseVersion>, bool),
    archives: &mut BTreeSet<String>,
) -> Result<(), FileError> {
    let product = &view.product;
    let dir = releases_dir(product);
    let is_served_here =
        (box_view.sites.iter()).any(|site| site.product == *product && site.release.is_some());
    let known = ProductReleases::look(files, product, served);
    if known.unseen.is_some() {
        // Told by the releases themselves.
        return Ok(());
    }
    let mut in_use = known.served.clone();
    if !is_served_here && known.is_ready(&view.version) {
        in_use.insert(view.version.clone());
    }
    let mut records = known.records;
    if are_proven {
        prove(files, product, &in_use, &mut records)?;
    }
    set_aside(files, product, &in_use, &known.standing, &mut records)?;
    prune(files, view, &in_use, &known.standing, &mut records)?;
    // What a crash left of unpacking.
    for name in files.list(&dir)? {
        if name.starts_with('.') && name.ends_with(PARTIAL) {
            files.remove_tree(&dir.join(name))?;
        }
    }
    let wanted = records.get(&view.version);
    let is_made = wanted.is_some_and(|record| record.unpacked.is_some() || record.failed.is_some());
    if !is_made {
        archives.insert(view.release.sha256.to_string());
    }
    Ok(())
}

/// What is in use after a run was shown to work.
fn prove(
    files: &Files,
    product: &Name,
    in_use: &BTreeSet<ReleaseVersion>,
    records: &mut BTreeMap<ReleaseVersion, ReleaseRecord>,
) -> Result<(), FileError> {
    for record in records.values_mut() {
        if in_use.contains(&record.version) && record.proven.is_none() && record.failed.is_none() {
            record.proven = Some(clock::now());
            record.save(files, product)?;
        }
    }
    Ok(())
}

/// One that failed stays for people to look at, in a place where nothing can be served from: one a product.
fn set_aside(
    files: &Files,
    product: &Name,
    in_use: &BTreeSet<ReleaseVersion>,
    standing: &BTreeSet<ReleaseVersion>,
    records: &mut BTreeMap<ReleaseVersion, ReleaseRecord>,
) -> Result<(), FileError> {
    let dir = releases_dir(product);
    for record in records.values_mut() {
        let version = &record.version;
        if record.failed.is_none() || in_use.contains(version) || !standing.contains(version) {
            continue;
        }
        for name in files.list(&dir)? {
            if name.ends_with(FAILED) {
                files.remove_tree(&dir.join(name))?;
            }
        }
        let aside = dir.join(format!("{version}{FAILED}"));
        files.rename(&dir.join(version.as_str()), &aside)?;
        crash::point("release set aside");
        record.unpacked = None;
        record.ready = false;
        record.save(files, product)?;
    }
    Ok(())
}

/// Removes all but the newest: never one in use, nor the one that is wanted.
fn prune(
    files: &Files,
    view: &ReleaseView,
    in_use: &BTreeSet<ReleaseVersion>,
    standing: &BTreeSet<ReleaseVersion>,
    records: &mut BTreeMap<ReleaseVersion, ReleaseRecord>,
) -> Result<(), FileError> {
    let product = &view.product;
    let wanted = [&view.version, &view.release.version];
    let stays = |version: &ReleaseVersion| in_use.contains(version) || wanted.contains(&version);
    let staying = standing.iter().filter(|version| stays(version)).count();
    let mut others: Vec<&ReleaseRecord> = records
        .values()
        .filter(|record| standing.contains(&record.version) && !stays(&record.version))
        .filter(|record| record.failed.is_none())
        .collect();
    // Newest first, those that worked before those that did not come that far.
    others.sort_by_key(|record| std::cmp::Reverse(record.order()));
    let room = view.release.kept().saturating_sub(staying);
    let pruned: Vec<ReleaseVersion> = others
        .into_iter()
        .skip(room)
        .map(|record| record.version.clone())
        .collect();
    let dir = releases_dir(product);
    for version in pruned {
        // Under another name first: half of one must not pass for a whole one.
        let leaving = dir.join(format!(".{version}{PARTIAL}"));
        files.remove_tree(&leaving)?;
        files.rename(&dir.join(version.as_str()), &leaving)?;
        crash::point("release pruned");
        ReleaseRecord::forget(files, product, &version)?;
        files.remove_tree(&leaving)?;
        records.remove(&version);
    }
    // Of what is neither there nor of any interest.
    let gone: Vec<ReleaseVersion> = records
        .keys()
        .filter(|version| !standing.contains(*version) && !wanted.contains(version))
        .cloned()
        .collect();
    for version in gone {
        ReleaseRecord::forget(files, product, &version)?;
        records.remove(&version);
    }
    Ok(())
}

/// Removes archives that nobody waits for.
fn forget_archives(files: &Files, wanted: &BTreeSet<String>) -> Result<(), FileError> {
    for name in files.list(Path::new(ARCHIVES))? {
        let of = name.split('.').next().unwrap_or(&name);
        if !wanted.contains(of) {
            files.remove(&archive_path(&name))?;
        }
    }
    Ok(())
}
