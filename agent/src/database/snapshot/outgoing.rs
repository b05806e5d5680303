//! A copy on its way into the bucket: compressed, cut into parts, uploaded while the next part fills. Bounded memory.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use zstd::stream::write::Encoder;

use super::manifest::ObjectFacts;
use crate::bucket::{
    Bucket, BucketError, BucketErrorKind, Condition, LARGEST_UPLOAD, Upload, backoff,
};
use crate::system::digest::Sha256;

/// What parts may take in memory, the one under way and the one that fills, in bytes.
const MEMORY: usize = 56 * 1024 * 1024;
/// zstd's own default: more costs much time and brings little.
const LEVEL: i32 = 3;
/// A bucket that does not answer is asked again for so long; the dump waits meanwhile.
const PATIENCE: Duration = Duration::from_mins(5);
/// The first of the waits between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// A copy could not be put into the bucket.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The bucket did not take it.
    #[error("the copy could not be put into the bucket")]
    Bucket(#[from] BucketError),
    /// It could not be compressed.
    #[error("the copy could not be compressed")]
    Compress(#[from] std::io::Error),
    /// There is more of it than parts can be.
    #[error("the compressed copy has more than {} GiB, the most that can be uploaded", LARGEST_UPLOAD >> 30)]
    TooLarge,
    /// The task that uploads has died.
    #[error("the upload has died: see the log")]
    Died,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The object.
    pub object: ObjectFacts,
    /// How many bytes there were before compression.
    pub bytes: u64,
}

/// An upload that is being written to.
pub struct Outgoing {
    bucket: Bucket,
    key: String,
    encoder: Encoder<'static, Vec<u8>>,
    hash: Sha256,
    bytes: u64,
    limit: Option<u64>,
    /// Before this moment no part may begin: the limit.
    next: Instant,
    /// `None` while a part is under way.
    idle: Option<Upload>,
    sending: Option<JoinHandle<(Upload, Result<(), BucketError>)>>,
    in_flight: usize,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Outgoing({}, {} bytes)", self.key, self.bytes)
    }
}

impl Outgoing {
    /// Begins one. `limit`: so many bytes a second, on the average over parts.
    pub async fn begin(
        bucket: &Bucket,
        key: &str,
        limit: Option<u64>,
    ) -> Result<Self, UploadError> {
        let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
        encoder.include_checksum(true)?;
        let upload = bucket.begin_upload(key).await?;
        Ok(Self {
            bucket: bucket.clone(),
            key: key.to_owned(),
            encoder,
            hash: Sha256::new(),
            bytes: 0,
            limit,
            next: Instant::now(),
            idle: Some(upload),
            sending: None,
            in_flight: 0,
        })
    }

    /// How many bytes were written, before compression.
    pub const fn written(&self) -> u64 {
        self.bytes
    }

    /// Takes the next piece, and waits where the bucket is slower.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), UploadError> {
        self.encoder.write_all(piece)?;
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        let filled = self.encoder.get_ref().len();
        if self.sending.is_some() && filled.saturating_add(self.in_flight) > MEMORY {
            self.wait().await?;
        }
        while let Some(size) = self.full() {
            self.wait().await?;
            let rest = self.encoder.get_mut().split_off(size);
            let part = std::mem::replace(self.encoder.get_mut(), rest);
            self.send(part)?;
        }
        Ok(())
    }

    /// The size of the part that is full.
    fn full(&self) -> Option<usize> {
        // While one is under way its successor's size is not known yet, which is the same or larger.
        let size = match &self.idle {
            Some(upload) => upload.part_size(),
            None => self.in_flight,
        };
        (self.encoder.get_ref().len() >= size.max(1)).then_some(size)
    }

    fn send(&mut self, part: Vec<u8>) -> Result<(), UploadError> {
        let Some(mut upload) = self.idle.take() else {
            return Err(UploadError::Died);
        };
        if upload.size().saturating_add(part.len() as u64) > LARGEST_UPLOAD {
            self.idle = Some(upload);
            return Err(UploadError::TooLarge);
        }
        self.hash.update(&part);
        self.in_flight = part.len();
        let begin = self.next.max(Instant::now());
        if let Some(limit) = self.limit {
            #[expect(clippy::cast_precision_loss, reason = "a rate, by and large")]
            let takes = part.len() as f64 / limit.max(1) as f64;
            self.next = begin + Duration::from_secs_f64(takes);
        }
        let part = Bytes::from(part);
        self.sending = Some(tokio::spawn(async move {
            sleep_until(begin).await;
            let done = put(&mut upload, part).await;
            (upload, done)
        }));
        Ok(())
    }

    /// Waits until no part is under way.
    async fn wait(&mut self) -> Result<(), UploadError> {
        let Some(sending) = self.sending.take() else {
            return Ok(());
        };
        let (upload, done) = sending.await.map_err(|_| UploadError::Died)?;
        self.idle = Some(upload);
        self.in_flight = 0;
        Ok(done?)
    }

    /// Uploads what is left and makes the object, if there is none of that key. On failure it is aborted.
    pub async fn finish(mut self) -> Result<Uploaded, UploadError> {
        match self.complete().await {
            Ok(uploaded) => Ok(uploaded),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn complete(&mut self) -> Result<Uploaded, UploadError> {
        // Flushes what the encoder still holds, and ends the frame.
        self.encoder.do_finish()?;
        loop {
            self.wait().await?;
            let last = match self.full() {
                Some(size) => {
                    let rest = self.encoder.get_mut().split_off(size);
                    std::mem::replace(self.encoder.get_mut(), rest)
                }
                None => std::mem::take(self.encoder.get_mut()),
            };
            if last.is_empty() {
                break;
            }
            self.send(last)?;
        }
        let Some(upload) = &self.idle else {
            return Err(UploadError::Died);
        };
        let size = upload.size();
        let done = upload.complete(Some(&Condition::Absent)).await;
        if let Err(error) = done {
            // It may have been made all the same: the key is nobody else's.
            let is_doubtful = error.kind == BucketErrorKind::Unavailable;
            if !(is_doubtful && self.is_there(size).await) {
                return Err(error.into());
            }
        }
        let hash = std::mem::take(&mut self.hash);
        Ok(Uploaded {
            object: ObjectFacts {
                bytes: size,
                sha256: hash.finish_hex(),
            },
            bytes: self.bytes,
        })
    }

    async fn is_there(&self, size: u64) -> bool {
        for turn in 1..=3 {
            sleep(backoff(PAUSE, turn)).await;
            match self.bucket.get_range(&self.key, 0, 1, None).await {
                Ok(piece) => return piece.size == size,
                Err(error) if error.kind == BucketErrorKind::Unavailable => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Gives it up, and what it takes of the bucket. Where that fails too, the next snapshot's beginning does it.
    pub async fn abort(mut self) {
        let _ = self.wait().await;
        if let Some(upload) = self.idle.take()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(
                event = "upload-left",
                error = crate::system::chain(&error),
                "an upload could not be aborted: {error}"
            );
        }
    }
}

/// Puts a part, again and again where the bucket does not answer, for [`PATIENCE`].
async fn put(upload: &mut Upload, part: Bytes) -> Result<(), BucketError> {
    let until = Instant::now() + PATIENCE;
    let mut failures = 0;
    loop {
        match upload.put_part(part.clone()).await {
            Err(error) if error.kind == BucketErrorKind::Unavailable && Instant::now() < until => {
                failures += 1;
                sleep(backoff(PAUSE, failures).min(Duration::from_secs(20))).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::SMALLEST_PART;
    use crate::settings::{BucketUrl, S3Settings};

    async fn bucket(dir: &std::path::Path) -> Bucket {
        let settings = S3Settings {
            endpoint: None,
            region: None,
            path_style: false,
            timeout: Duration::from_secs(10),
        };
        Bucket::open(&BucketUrl::Directory(dir.into()), &settings).await
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..bytes).map(|_| random.u8(..)).collect()
    }

    #[tokio::test]
    async fn many_parts_are_the_object_that_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = bucket(dir.path()).await;
        // Three parts and a piece.
        let text = noise(26 * 1024 * 1024);
        let mut outgoing = Outgoing::begin(&bucket, "a/b", None).await.unwrap();
        for piece in text.chunks(300_000) {
            outgoing.write(piece).await.unwrap();
        }
        let uploaded = outgoing.finish().await.unwrap();
        assert_eq!(uploaded.bytes, text.len() as u64);
        let stored = std::fs::read(dir.path().join("a/b")).unwrap();
        assert_eq!(stored.len() as u64, uploaded.object.bytes);
        assert_eq!(
            crate::system::digest::sha256_hex(&stored),
            uploaded.object.sha256
        );
        assert!(zstd::decode_all(stored.as_slice()).unwrap() == text);
        assert!(bucket.pending_uploads("").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_given_up_leaves_nothing_and_never_replaces_anything() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = bucket(dir.path()).await;
        let mut outgoing = Outgoing::begin(&bucket, "a/b", None).await.unwrap();
        outgoing.write(&noise(2 * SMALLEST_PART)).await.unwrap();
        outgoing.abort().await;
        assert!(bucket.pending_uploads("").await.unwrap().is_empty());
        assert!(bucket.list("", None, 10).await.unwrap().entries.is_empty());

        bucket.put("a/b", b"old".to_vec(), None).await.unwrap();
        let mut outgoing = Outgoing::begin(&bucket, "a/b", None).await.unwrap();
        outgoing.write(b"new").await.unwrap();
        let error = outgoing.finish().await.unwrap_err();
        assert!(matches!(error, UploadError::Bucket(it) if it.kind == BucketErrorKind::Conflict));
        assert_eq!(std::fs::read(dir.path().join("a/b")).unwrap(), b"old");
        assert!(bucket.pending_uploads("").await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_kept_on_the_average() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = bucket(dir.path()).await;
        let began = Instant::now();
        let limit = 1024 * 1024;
        let mut outgoing = Outgoing::begin(&bucket, "a/b", Some(limit)).await.unwrap();
        for piece in noise(24 * 1024 * 1024).chunks(1_000_000) {
            outgoing.write(piece).await.unwrap();
        }
        outgoing.finish().await.unwrap();
        // The third part begins after two parts' time.
        assert!(
            began.elapsed() >= Duration::from_secs(16),
            "{:?}",
            began.elapsed()
        );
    }
}
