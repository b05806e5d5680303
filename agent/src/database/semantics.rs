//! The probe of a bucket's conditional writes: before anything is staked on them, they are tried.
//!
//! S3 implementations differ, and some take a write that they should refuse. One of those would make two masters. The
//! probe works on objects of its own (`probes/<server>/…`), about a dozen requests, once for each start of the daemon.

use super::lease::Nonce;
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Condition, Fetched, Tag};
use crate::fleet::Name;
use crate::system::chain;

/// The most bytes of a probe's object.
const PROBE_LIMIT: u64 = 4096;
/// How often two writers race for one object.
const RACES: u32 = 4;

/// What a bucket does with conditional requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Semantics {
    /// What leases need.
    Right,
    /// Something else: no master may be elected by it. Each finding is a sentence.
    Wrong(Vec<String>),
    /// It did not answer all questions: try again later. Why.
    Unknown(String),
}

/// Asks `bucket` what it does, on behalf of `server`.
pub async fn probe(bucket: &Bucket, server: &Name) -> Semantics {
    let mut probe = Probe {
        bucket,
        key: format!("probes/{server}/lease.json"),
        wrong: Vec::new(),
    };
    match probe.run(server).await {
        Err(error) => Semantics::Unknown(error),
        Ok(()) if probe.wrong.is_empty() => Semantics::Right,
        Ok(()) => Semantics::Wrong(probe.wrong),
    }
}

struct Probe<'b> {
    bucket: &'b Bucket,
    key: String,
    wrong: Vec<String>,
}

impl Probe<'_> {
    /// The error is that the bucket did not answer.
    async fn run(&mut self, server: &Name) -> Result<(), String> {
        let first = body()?;
        let tag = match self.get(None).await? {
            None => {
                let created = self.put(&first, &Condition::Absent).await?;
                self.expect(
                    created,
                    "a create-only write of a missing object was refused",
                )
            }
            Some((_, before)) => {
                let replaced = self.put(&first, &Condition::Matches(before)).await?;
                self.expect(
                    replaced,
                    "a write with If-Match on the present tag was refused",
                )
            }
        };
        let Some(tag) = tag else { return Ok(()) };
        self.reads_back(&first, &tag).await?;

        let second = body()?;
        if self.put(&second, &Condition::Absent).await?.is_some() {
            self.wrong("a create-only write replaced an object that was there");
        }
        // Whatever that came to, from here on the tag is known again.
        let Some((_, tag)) = self.get(None).await? else {
            self.wrong("an object that was written is not there");
            return Ok(());
        };
        let third = body()?;
        let replaced = self.put(&third, &Condition::Matches(tag.clone())).await?;
        let Some(next) = self.expect(
            replaced,
            "a write with If-Match on the present tag was refused",
        ) else {
            return Ok(());
        };
        if next == tag {
            self.wrong("two contents have the same tag");
        }
        let stale = body()?;
        if (self.put(&stale, &Condition::Matches(tag)).await?).is_some() {
            self.wrong("a write with If-Match on a tag of the past replaced the object");
            return Ok(());
        }
        self.reads_back(&third, &next).await?;
        self.missing(server, &next).await?;
        self.races(next).await
    }

    /// A write must be seen by the next read, under the tag that the write was answered with.
    async fn reads_back(&mut self, bytes: &str, tag: &Tag) -> Result<(), String> {
        match self.get(None).await? {
            Some((found, there)) if found == bytes && there == *tag => {}
            Some((found, _)) if found != bytes => {
                self.wrong("a read after a write did not see what was written");
            }
            Some((_, there)) => self.wrong(&format!(
                "a write was answered with the tag {}, and the object has {}",
                tag.0, there.0
            )),
            None => self.wrong("an object that was written is not there"),
        }
        if self.get(Some(tag)).await?.is_some() {
            self.wrong("a read with If-None-Match on the present tag was answered with the object");
        }
        Ok(())
    }

    /// If-Match on what is not there must write nothing.
    async fn missing(&mut self, server: &Name, tag: &Tag) -> Result<(), String> {
        let elsewhere = Probe {
            bucket: self.bucket,
            // Never used again: where the bucket is wrong, it exists from now on.
            key: format!("probes/{server}/missing-{}.json", nonce()?),
            wrong: Vec::new(),
        };
        let condition = Condition::Matches(tag.clone());
        let written = elsewhere.put(&body()?, &condition).await?.is_some();
        if written || elsewhere.get(None).await?.is_some() {
            self.wrong("a write with If-Match on a missing object created it");
        }
        Ok(())
    }

    /// Of two writes at the same moment one may win.
    async fn races(&mut self, mut tag: Tag) -> Result<(), String> {
        for _ in 0..RACES {
            let condition = Condition::Matches(tag.clone());
            let (one, other) = (body()?, body()?);
            let (first, second) =
                tokio::join!(self.put(&one, &condition), self.put(&other, &condition));
            let won = match (first?, second?) {
                (Some(_), Some(_)) => {
                    self.wrong("of two writes at once with If-Match on one tag, both were taken");
                    return Ok(());
                }
                (Some(won), None) => Some((one, won)),
                (None, Some(won)) => Some((other, won)),
                // Each refused for the other: allowed, though it helps nobody.
                (None, None) => None,
            };
            if let Some((bytes, won)) = won {
                self.reads_back(&bytes, &won).await?;
                tag = won;
            }
        }
        Ok(())
    }

    fn expect(&mut self, tag: Option<Tag>, otherwise: &str) -> Option<Tag> {
        match tag {
            None => self.wrong(otherwise),
            Some(tag) if tag.0.is_empty() => {
                self.wrong("a write was answered without an ETag");
                return None;
            }
            Some(tag) => return Some(tag),
        }
        None
    }

    fn wrong(&mut self, finding: &str) {
        if !self.wrong.iter().any(|told| told == finding) {
            self.wrong.push(finding.into());
        }
    }

    /// The object and its tag, unless it is `known`.
    async fn get(&self, known: Option<&Tag>) -> Result<Option<(String, Tag)>, String> {
        match self.bucket.get(&self.key, known, PROBE_LIMIT).await {
            Ok(Fetched::Object { bytes, tag }) => {
                Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), tag)))
            }
            Ok(Fetched::Unchanged) => Ok(None),
            Err(error) if error.kind == BucketErrorKind::Missing => Ok(None),
            Err(error) => Err(chain(&error)),
        }
    }

    /// The new tag; `None`: refused for its condition.
    async fn put(&self, bytes: &str, condition: &Condition) -> Result<Option<Tag>, String> {
        let put = self.bucket.put(&self.key, bytes.into(), Some(condition));
        match put.await {
            Ok(tag) => Ok(Some(tag)),
            Err(BucketError {
                kind: BucketErrorKind::Conflict | BucketErrorKind::Missing,
                ..
            }) => Ok(None),
            Err(error) => Err(chain(&error)),
        }
    }
}

fn nonce() -> Result<Nonce, String> {
    Nonce::fresh().map_err(|error| format!("no random numbers: {error}"))
}

/// No two are the same, so that no two have the same tag.
fn body() -> Result<String, String> {
    let nonce = nonce()?;
    Ok(format!("{{\"probe\": \"{nonce}\"}}\n"))
}
