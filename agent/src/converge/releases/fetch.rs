//! Fetching the archives of releases: in pieces, with the SHA-256 on the way, going on where an earlier try was cut off.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::rollback::pins;
use crate::bucket::{Bucket, BucketErrorKind, Tag};
use crate::converge::Intent;
use crate::fleet::Name;
use crate::node::{self, ReleaseView};
use crate::resource::{ProductReleases, ReleaseFailure, ReleaseRecord, archive_path, served};
use crate::system::archive::Arriving;
use crate::system::file::{FileError, Files, Found};
use crate::system::platform::Platform;
use crate::system::{chain, clock, disk};

/// The largest archive, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024 * 1024;
/// The longest that one fetch may take: what came by then stays, and the next one goes on.
const LONGEST: Duration = Duration::from_mins(30);
/// What stays free of the disk, in bytes.
const ROOM: u64 = 256 * 1024 * 1024;
const MODE: u32 = 0o600;

/// Fetches the archives of releases that this box is to have and that are not here. Failures are kept: the steps of the
/// releases say why. `progress` is called before each piece.
pub async fn fetch_releases(
    bucket: Arc<Bucket>,
    files: Files,
    platform: Platform,
    intent: Intent,
    progress: &dyn Fn(&str),
) -> Result<(), FileError> {
    let fleet = &intent.document.fleet;
    let view = node::view(fleet, &intent.node, intent.hosts, &intent.elections);
    let Some(mut view) = view.filter(|view| !view.releases.is_empty()) else {
        return Ok(());
    };
    view.pin_releases(&pins(&files, fleet)?);
    let mut served = served(&files, &platform.apache);
    for release in &view.releases {
        let served = served.remove(&release.product).unwrap_or_default();
        let known = ProductReleases::look(&files, &release.product, served);
        if known.unseen.is_none() && is_due(release, &known) {
            fetch(&bucket, &files, release, progress).await?;
        }
    }
    Ok(())
}

fn is_due(view: &ReleaseView, known: &ProductReleases) -> bool {
    let sha256 = view.release.sha256.as_str();
    let record = known.records.get(&view.version);
    let is_here = known.standing.contains(&view.version)
        && (known.served.contains(&view.version)
            || record.is_some_and(|record| record.unpacked.is_some()));
    let has_failed =
        record.is_some_and(|record| record.sha256 == sha256 && record.failed.is_some());
    view.is_documents() && !is_here && !has_failed && !known.archives.contains(sha256)
}

/// How a fetch failed.
enum Failed {
    /// It may go better next time.
    ForNow(String),
    /// It is not what the document says, and will not be.
    ForGood(String),
}

async fn fetch(
    bucket: &Bucket,
    files: &Files,
    view: &ReleaseView,
    progress: &dyn Fn(&str),
) -> Result<(), FileError> {
    let (product, release) = (&view.product, &view.release);
    let (object, sha256) = (release.object.as_str(), release.sha256.as_str());
    let fetched = piece_by_piece(bucket, files, object, sha256, progress).await?;
    let known = ReleaseRecord::load(files, product, &view.version)?;
    let mut record = known
        .filter(|record| record.sha256 == sha256)
        .unwrap_or_else(|| ReleaseRecord::new(view.version.clone(), object, sha256));
    match fetched {
        Ok(()) => record.trouble = None,
        Err(Failed::ForNow(why)) => {
            if record.trouble.as_ref() != Some(&why) {
                tell(product, view, &why);
            }
            record.trouble = Some(why);
        }
        Err(Failed::ForGood(error)) => {
            tell(product, view, &error);
            record.trouble = None;
            record.failed = Some(ReleaseFailure {
                since: clock::now(),
                error,
            });
        }
    }
    record.save(files, product)
}

fn tell(product: &Name, view: &ReleaseView, why: &str) {
    tracing::warn!(
        event = "release-not-fetched",
        product = product.as_str(),
        release = view.version.as_str(),
        "the release {} of {product} could not be fetched: {why}",
        view.version
    );
}

async fn piece_by_piece(
    bucket: &Bucket,
    files: &Files,
    object: &str,
    sha256: &str,
    progress: &dyn Fn(&str),
) -> Result<Result<(), Failed>, FileError> {
    let until = Instant::now() + LONGEST;
    let path = archive_path(sha256);
    let tag_path = path.with_extension("tag");
    progress(&format!("fetching {}", bucket.url(object)));
    let opened = {
        let (files, path) = (files.clone(), path.clone());
        spawn_blocking(move || Arriving::open(&files, &path, LARGEST)).await
    };
    let Ok(arriving) = opened else {
        return Ok(Err(Failed::ForNow("the agent is stopping".into())));
    };
    let mut arriving = arriving?;
    let tag = match files.read(&tag_path)? {
        Found::File { bytes, .. } => String::from_utf8(bytes).ok().map(Tag),
        _ => None,
    };
    let mut reader = match tag {
        Some(tag) if arriving.size() > 0 => bucket.resume(object, arriving.size(), tag, LARGEST),
        _ => {
            arriving.begin_anew()?;
            bucket.reader(object, LARGEST)
        }
    };
    let mut tagged = arriving.size() > 0;
    loop {
        let piece = match reader.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            // Another object stands there since: what came of the old one is of no use.
            Err(error) if error.kind == BucketErrorKind::Conflict && tagged => {
                arriving.begin_anew()?;
                files.remove(&tag_path)?;
                tagged = false;
                reader = bucket.reader(object, LARGEST);
                continue;
            }
            Err(error) => return Ok(Err(Failed::ForNow(chain(&error)))),
        };
        if !tagged {
            let tag = reader.tag().map_or("", |tag| tag.0.as_str());
            files.write(&tag_path, tag.as_bytes(), MODE)?;
            tagged = true;
        }
        let size = reader.size().unwrap_or_default();
        if let Some(why) = no_room(files, size.saturating_sub(arriving.size())) {
            return Ok(Err(Failed::ForNow(why)));
        }
        // On this thread: a piece is written to the page cache in a few milliseconds.
        if let Err(error) = arriving.add(&piece) {
            arriving.end().forget()?;
            files.remove(&tag_path)?;
            return Ok(Err(Failed::ForNow(chain(&error))));
        }
        progress(&format!(
            "fetching {}: {} of {} MiB",
            bucket.url(object),
            arriving.size() >> 20,
            size >> 20
        ));
        if Instant::now() >= until {
            return Ok(Err(Failed::ForNow(format!(
                "after half an hour {} of {} MiB have come; the next run goes on from there",
                arriving.size() >> 20,
                size >> 20
            ))));
        }
    }
    let arrived = arriving.end();
    files.remove(&tag_path)?;
    if arrived.sha256 != sha256 {
        let found = arrived.sha256.clone();
        arrived.forget()?;
        return Ok(Err(Failed::ForGood(format!(
            "the SHA-256 of {} is {found}, and the document says {sha256}: it is another archive, or was changed on its way",
            bucket.url(object)
        ))));
    }
    arrived.keep()?;
    Ok(Ok(()))
}

/// Why `more` bytes have no room beside what else the disk is for.
fn no_room(files: &Files, more: u64) -> Option<String> {
    let state = files.root().real(Path::new(crate::settings::STATE_DIR));
    let room = disk::room(&state).ok()?;
    (room.free < more.saturating_add(ROOM)).then(|| {
        format!(
            "the disk is nearly full: {} MiB are free below {}, and {} MiB are to come, beside which {} MiB stay free",
            room.free >> 20,
            crate::settings::STATE_DIR,
            more >> 20,
            ROOM >> 20
        )
    })
}
