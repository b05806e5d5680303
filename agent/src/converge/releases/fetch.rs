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
    let view = node::view(
        fleet,
        &intent.node,
        intent.hosts,
        &intent.elections,
        &intent.evictions,
    );
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
    let is_resumed = tagged;
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
        if is_resumed {
            // What was there of it may have been damaged on this disk.
            return Ok(Err(Failed::ForNow(
                "what had come of it before was damaged: it is fetched anew".into(),
            )));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::PIECE;
    use crate::settings::{BucketUrl, S3Settings};
    use crate::system::digest::sha256_hex;
    use crate::system::root::Root;

    const OBJECT: &str = "releases/shop/1.tar.zst";

    struct Place {
        dir: tempfile::TempDir,
        files: Files,
        bucket: Bucket,
        archive: Vec<u8>,
        sha256: String,
    }

    impl Place {
        /// A bucket with an archive of three pieces.
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let settings = S3Settings {
                endpoint: None,
                region: None,
                path_style: false,
                timeout: Duration::from_secs(10),
            };
            std::fs::create_dir(dir.path().join("bucket")).unwrap();
            let url = BucketUrl::Directory(dir.path().join("bucket"));
            let bucket = Bucket::open(&url, &settings).await;
            let pieces = usize::try_from(PIECE).unwrap() * 2 + 1000;
            let archive: Vec<u8> = (0..=250_u8).cycle().take(pieces).collect();
            bucket.put(OBJECT, archive.clone(), None).await.unwrap();
            let root = dir.path().join("root");
            std::fs::create_dir(&root).unwrap();
            Self {
                files: Files::new(Root::machine_at(&root)),
                sha256: sha256_hex(&archive),
                dir,
                bucket,
                archive,
            }
        }

        async fn fetch(&self, sha256: &str) -> Result<(), Failed> {
            let fetched = piece_by_piece(&self.bucket, &self.files, OBJECT, sha256, &|_| ());
            fetched.await.unwrap()
        }

        /// What a fetch that was cut off after some bytes leaves.
        async fn cut_off(&self, bytes: &[u8]) {
            let tag = self.bucket.get_range(OBJECT, 0, 1, None).await.unwrap().tag;
            let path = archive_path(&self.sha256);
            self.files
                .write(&path.with_extension("partial"), bytes, MODE)
                .unwrap();
            self.files
                .write(&path.with_extension("tag"), tag.0.as_bytes(), MODE)
                .unwrap();
        }

        fn has_it(&self) -> bool {
            let path = self
                .dir
                .path()
                .join("root")
                .join(archive_path(&self.sha256).strip_prefix("/").unwrap());
            std::fs::read(path).is_ok_and(|bytes| bytes == self.archive)
        }

        fn names(&self) -> Vec<String> {
            self.files
                .list(Path::new(crate::resource::ARCHIVES))
                .unwrap()
        }
    }

    #[tokio::test]
    async fn an_archive_comes_whole_or_from_where_it_was_cut_off() {
        let place = Place::new().await;
        assert!(place.fetch(&place.sha256).await.is_ok());
        assert!(place.has_it());
        assert_eq!(place.names(), [place.sha256.as_str()]);

        let place = Place::new().await;
        let came = usize::try_from(PIECE).unwrap();
        place.cut_off(&place.archive[..came]).await;
        // Had it begun anew, the object's beginning would have been asked for.
        let asked = std::cell::RefCell::new(Vec::new());
        let progress = |what: &str| asked.borrow_mut().push(what.to_owned());
        let fetched = piece_by_piece(
            &place.bucket,
            &place.files,
            OBJECT,
            &place.sha256,
            &progress,
        );
        assert!(fetched.await.unwrap().is_ok());
        assert!(place.has_it());
        assert_eq!(
            asked.borrow().len(),
            3,
            "a word before, and one for each of two pieces: {asked:?}"
        );
    }

    #[tokio::test]
    async fn a_damaged_beginning_is_fetched_anew_and_another_archive_never() {
        let place = Place::new().await;
        place.cut_off(&vec![7; 1000]).await;
        assert!(matches!(
            place.fetch(&place.sha256).await,
            Err(Failed::ForNow(_))
        ));
        assert!(place.fetch(&place.sha256).await.is_ok() && place.has_it());

        let place = Place::new().await;
        let other = "0".repeat(64);
        assert!(matches!(place.fetch(&other).await, Err(Failed::ForGood(_))));
        assert!(place.names().is_empty(), "{:?}", place.names());

        // It was replaced since: what had come of the old one is of no use.
        let mut place = Place::new().await;
        place.cut_off(&place.archive[..1000]).await;
        place.archive[0] = 9;
        place
            .bucket
            .put(OBJECT, place.archive.clone(), None)
            .await
            .unwrap();
        let sha256 = std::mem::replace(&mut place.sha256, sha256_hex(&place.archive));
        let from = archive_path(&sha256);
        let to = archive_path(&place.sha256);
        for ending in ["partial", "tag"] {
            place
                .files
                .rename(&from.with_extension(ending), &to.with_extension(ending))
                .unwrap();
        }
        assert!(place.fetch(&place.sha256).await.is_ok() && place.has_it());
    }

    #[tokio::test]
    async fn what_is_not_there_is_asked_for_again() {
        let place = Place::new().await;
        place.bucket.delete(OBJECT, None).await.unwrap();
        assert!(matches!(
            place.fetch(&place.sha256).await,
            Err(Failed::ForNow(_))
        ));
    }
}
