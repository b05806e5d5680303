//! A release goes into the bucket: looked at as machines will look at it, uploaded under a key that is never written twice, and
//! what the document has to say of it.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;

use super::super::failure::Failure;
use super::desk::Desk;
use crate::bucket::{Bucket, BucketErrorKind, Condition, SMALLEST_PART, part_size};
use crate::fleet::Name;
use crate::fleet::names::ReleaseVersion;
use crate::system::archive::{self, Limits, Packing, Progressing, Terms, Unpacked};
use crate::system::chain;
use crate::system::digest::Sha256;
use crate::system::file::Files;
use crate::system::root::Root;

/// The largest archive, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024 * 1024;
const ENDINGS: [&str; 3] = [".tar.zst", ".tar.gz", ".tgz"];
const CHUNK: usize = 1024 * 1024;

/// Uploads an archive and prints the product's `release`.
pub(super) async fn release(
    desk: &Desk,
    product: &Name,
    file: &Path,
    version: Option<&ReleaseVersion>,
) -> Result<u8, Failure> {
    let (stem, ending) = named(file)?;
    let version = match version {
        Some(version) => version.clone(),
        None => stem.parse().map_err(|error| {
            Failure::new(format!("{stem:?} is no version: {error}"))
                .hint("name the archive after its version, or give --version")
        })?,
    };
    let failed = |error| Failure::because(format!("cannot read {}", file.display()), error);
    let mut archive = File::open(file).map_err(failed)?;
    let size = archive.metadata().map_err(failed)?.len();
    if size > LARGEST {
        return Err(Failure::new(format!(
            "{} has {size} bytes, and machines take archives of at most {LARGEST}",
            file.display()
        )));
    }
    let checked = archive.try_clone().map_err(failed)?;
    desk.console.progress("unpacking it, as machines will");
    let unpacked = check(checked, ending)?;
    archive.rewind().map_err(failed)?;
    let sha256 = digest(&mut archive).map_err(failed)?;
    archive.rewind().map_err(failed)?;

    let bucket = desk.bucket().await?;
    let key = format!("releases/{product}/{version}{ending}");
    let url = bucket.url(&key);
    if upload(desk, &bucket, &key, &mut archive, size).await? {
        desk.console.note(&format!(
            "{url} is there now: {} files, {} MiB unpacked",
            unpacked.entries,
            unpacked.bytes >> 20
        ));
    } else {
        same(&bucket, &key, &sha256).await?;
        desk.console
            .note(&format!("{url} was there already, with the same content"));
    }
    let fragment = json!({"version": version, "object": key, "sha256": sha256});
    desk.console.print(&fragment, |_| {
        format!(
            "\"release\": {{\n  \"version\": \"{version}\",\n  \"object\": \"{key}\",\n  \"sha256\": \"{sha256}\"\n}}\n"
        )
    })?;
    desk.console.note(&format!(
        "put this into /signed/products/{product} (agentctl fleet edit), beside what else its `release` says"
    ));
    Ok(0)
}

/// The name of an archive without its ending, and that.
fn named(file: &Path) -> Result<(String, &'static str), Failure> {
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let ended = ENDINGS
        .into_iter()
        .find_map(|ending| Some((name.strip_suffix(ending)?.to_owned(), ending)));
    ended.ok_or_else(|| {
        Failure::new(format!(
            "{} is neither .tar.zst nor .tar.gz",
            file.display()
        ))
        .hint("tar -C build --zstd -cf VERSION.tar.zst .")
    })
}

/// Unpacks it beside everything, and away with that: what machines would refuse is told before anybody publishes it.
fn check(archive: File, ending: &str) -> Result<Unpacked, Failure> {
    let packing = Packing::of(ending).unwrap_or(Packing::Gzip);
    let files = Files::new(Root::machine());
    let temporary = std::env::temp_dir();
    let temporary = temporary.canonicalize().unwrap_or(temporary);
    let name = format!(
        "node-agent-release-{}-{:08x}",
        std::process::id(),
        fastrand::u32(..)
    );
    let at: PathBuf = temporary.join(name);
    let terms = Terms {
        limits: Limits::RELEASE,
        owner: None,
        stand_ins: &[],
        progress: &Progressing::default(),
    };
    let unpacked = archive::unpack(archive, packing, &files, &at, &terms);
    files.remove_tree(&at)?;
    unpacked.map_err(|error| {
        let said = format!("machines would not take this archive: {}", chain(&error));
        Failure::new(said)
    })
}

fn digest(archive: &mut File) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = archive.read(&mut chunk)?;
        if read == 0 {
            return Ok(hash.finish_hex());
        }
        hash.update(chunk.get(..read).unwrap_or_default());
    }
}

/// Reads up to `most` bytes.
fn piece(archive: &mut File, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    archive
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::because("cannot read the archive", error))?;
    Ok(bytes)
}

/// Whether it was put; not, where there is something under the key.
async fn upload(
    desk: &Desk,
    bucket: &Bucket,
    key: &str,
    archive: &mut File,
    size: u64,
) -> Result<bool, Failure> {
    let absent = Condition::Absent;
    if size < SMALLEST_PART as u64 {
        let bytes = piece(archive, SMALLEST_PART)?;
        return match bucket.put(key, bytes, Some(&absent)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == BucketErrorKind::Conflict => Ok(false),
            Err(error) => Err(Failure::because("the archive was not uploaded", error)),
        };
    }
    let failed = |error| Failure::because("the archive was not uploaded", error);
    let mut upload = bucket.begin_upload(key).await.map_err(failed)?;
    let mut number = 0;
    loop {
        let bytes = piece(archive, part_size(number))?;
        if bytes.is_empty() {
            break;
        }
        number += 1;
        if let Err(error) = upload.put_part(Bytes::from(bytes)).await {
            // What it takes of the bucket goes; where that fails too, the first failure says more.
            let _ = upload.abort().await;
            return Err(failed(error));
        }
        let (came, all) = (upload.size() >> 20, size >> 20);
        desk.console
            .progress(&format!("uploading: {came} of {all} MiB"));
    }
    match upload.complete(Some(&absent)).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == BucketErrorKind::Conflict => {
            let _ = upload.abort().await;
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

/// What is there already must be the same.
async fn same(bucket: &Bucket, key: &str, sha256: &str) -> Result<(), Failure> {
    let mut reader = bucket.reader(key, LARGEST);
    let mut hash = Sha256::new();
    while let Some(piece) = (reader.next().await)
        .map_err(|error| Failure::because("what is there cannot be read", error))?
    {
        hash.update(&piece);
    }
    if hash.finish_hex() == sha256 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} is there already, with another content: releases are never replaced",
        bucket.url(key)
    ))
    .hint("give this one another version"))
}
