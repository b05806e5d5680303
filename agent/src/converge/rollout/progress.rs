//! `rollouts/N.json`: which waves may take version N, who opened them, why it was halted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bucket::{Bucket, BucketError, BucketErrorKind, Condition, Fetched, Tag};
use crate::fleet::Name;

/// The largest such object, in bytes.
const LIMIT: u64 = 64 * 1024;
/// The most characters of what is quoted in it.
const LONGEST: usize = 300;
/// Two who write at once: the second one looks again, so often.
const TRIES: usize = 3;

/// How far a version may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The format of this record: 1.
    pub format: u32,
    /// The fleet.
    pub fleet: Name,
    /// The version.
    pub version: u64,
    /// The last wave that may take it, counted from 0.
    pub open: u32,
    /// How the waves after the first were opened.
    #[serde(default)]
    pub opened: Vec<Opening>,
    /// Why it goes no further, while it does not.
    #[serde(default)]
    pub halted: Option<Halt>,
    /// How often a person let it go on after it was halted: who watched before begins anew.
    #[serde(default)]
    pub resumed: u32,
}

/// That a wave may take the version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The wave, counted from 0.
    pub wave: u32,
    /// When.
    pub at: Timestamp,
    /// Who opened it: a server's name, or a person at a desk.
    pub by: String,
    /// What was seen.
    pub evidence: String,
}

/// That the version goes no further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// When.
    pub at: Timestamp,
    /// Who halted it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Something else lies there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is not the progress of version {version} of {fleet}: {why}")]
pub struct ProgressError {
    key: String,
    version: u64,
    fleet: Name,
    why: String,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// It still has the tag that was given.
    Unchanged,
    /// There is none: the first wave may take the version.
    Absent,
    /// It.
    Object {
        /// Its bytes: see [`parse`].
        bytes: Vec<u8>,
        /// Its version.
        tag: Tag,
    },
}

/// What came of [`change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It stands there so.
    Done(Progress),
    /// There was nothing to change any more: somebody else was faster.
    Unneeded(Progress),
}

impl Written {
    /// What stands there now.
    pub fn progress(self) -> Progress {
        match self {
            Self::Done(progress) | Self::Unneeded(progress) => progress,
        }
    }
}

impl Progress {
    /// Of a version of which nothing was written yet.
    pub fn new(fleet: Name, version: u64) -> Self {
        Self {
            format: 1,
            fleet,
            version,
            open: 0,
            opened: Vec::new(),
            halted: None,
            resumed: 0,
        }
    }

    /// Lets `wave` take the version.
    pub fn open(&mut self, wave: u32, at: Timestamp, by: &str, evidence: &str) {
        self.open = self.open.max(wave);
        self.opened.push(Opening {
            wave,
            at,
            by: by.to_owned(),
            evidence: short(evidence),
        });
    }

    /// Lets it go no further.
    pub fn halt(&mut self, at: Timestamp, by: &str, reason: &str) {
        self.halted = Some(Halt {
            at,
            by: by.to_owned(),
            reason: short(reason),
        });
    }
}

fn short(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    text
}

/// The key of a version's progress.
pub fn key(version: u64) -> String {
    format!("rollouts/{version}.json")
}

/// Reads it, unless its tag still is `known`. One request.
pub async fn read(bucket: &Bucket, version: u64, known: Option<&Tag>) -> Result<Read, BucketError> {
    match bucket.get(&key(version), known, LIMIT).await {
        Ok(Fetched::Unchanged) => Ok(Read::Unchanged),
        Ok(Fetched::Object { bytes, tag }) => Ok(Read::Object { bytes, tag }),
        Err(error) if error.kind == BucketErrorKind::Missing => Ok(Read::Absent),
        Err(error) => Err(error),
    }
}

/// Understands it.
pub fn parse(bytes: &[u8], fleet: &Name, version: u64) -> Result<Progress, ProgressError> {
    let wrong = |why: String| ProgressError {
        key: key(version),
        version,
        fleet: fleet.clone(),
        why: short(&why),
    };
    let progress: Progress =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if progress.format != 1 {
        return Err(wrong(format!(
            "its format is {}, and this version of node-agent knows 1",
            progress.format
        )));
    }
    if progress.fleet != *fleet || progress.version != version {
        return Err(wrong(format!(
            "it says version {} of {}",
            progress.version, progress.fleet
        )));
    }
    Ok(progress)
}

/// Changes it by compare-and-swap: `with` is given what stands there, and says what is to; `None`: nothing.
///
/// # Errors
///
/// The bucket's; [`BucketErrorKind::Conflict`] where others wrote again and again. What cannot be understood is replaced by nobody:
/// [`BucketErrorKind::WrongAnswer`].
pub async fn change(
    bucket: &Bucket,
    fleet: &Name,
    version: u64,
    with: impl Fn(&Progress) -> Option<Progress>,
) -> Result<Written, BucketError> {
    let mut tries = 0;
    loop {
        let (before, condition) = match read(bucket, version, None).await? {
            Read::Object { bytes, tag } => match parse(&bytes, fleet, version) {
                Ok(progress) => (progress, Condition::Matches(tag)),
                Err(wrong) => {
                    return Err(BucketError {
                        operation: "get",
                        url: bucket.url(&key(version)),
                        kind: BucketErrorKind::WrongAnswer,
                        source: Some(wrong.into()),
                    });
                }
            },
            Read::Absent | Read::Unchanged => {
                (Progress::new(fleet.clone(), version), Condition::Absent)
            }
        };
        let Some(after) = with(&before) else {
            return Ok(Written::Unneeded(before));
        };
        let bytes = serde_json::to_vec_pretty(&after).unwrap_or_default();
        match bucket.put(&key(version), bytes, Some(&condition)).await {
            Ok(_) => return Ok(Written::Done(after)),
            Err(error) if error.kind == BucketErrorKind::Conflict && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Name {
        "f".parse().unwrap()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut progress = Progress::new(fleet(), 7);
        let at = "2026-11-30T10:00:00Z".parse().unwrap();
        progress.open(1, at, "web-1", "web-1 stood well for 5 min");
        progress.halt(at, "web-1", "line\nline");
        let bytes = serde_json::to_vec(&progress).unwrap();
        assert_eq!(parse(&bytes, &fleet(), 7).unwrap(), progress);
        assert_eq!(progress.halted.unwrap().reason, "line line");
    }

    #[test]
    fn another_versions_or_fleets_or_formats_are_none() {
        for (bytes, why) in [
            ("{}", "missing field"),
            (
                r#"{"format": 2, "fleet": "f", "version": 7, "open": 1}"#,
                "format is 2",
            ),
            (
                r#"{"format": 1, "fleet": "g", "version": 7, "open": 1}"#,
                "version 7 of g",
            ),
            (
                r#"{"format": 1, "fleet": "f", "version": 8, "open": 1}"#,
                "version 8 of f",
            ),
        ] {
            let error = parse(bytes.as_bytes(), &fleet(), 7).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
