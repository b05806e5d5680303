//! Reading all reports: the list of them, and those that are new since they were read last, so many at once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::bucket::{Bucket, BucketError, BucketErrorKind, Entry, Fetched, LONGEST_PAGE, Tag};
use crate::fleet::Name;
use crate::report::NodeReport;
use crate::report::fleet_status::{MachineReport, Reports};
use crate::system::chain;

/// Where they stand.
const PREFIX: &str = "nodes/";
/// Those of machines that no document names.
const UNKNOWN: &str = "nodes/unknown/";
/// How many are asked for at once.
const AT_ONCE: usize = 64;
/// The most bytes of a report: one with all its alarms has a tenth.
const LIMIT: u64 = 256 * 1024;
/// The most reports that are read: who can write to the bucket must not fill the memory of whoever looks.
const MOST: usize = 100_000;
/// So many failed requests, and it is the bucket that fails, not a report.
const MOST_FAILURES: usize = 50;

/// Reads all reports, again and again.
#[derive(Debug)]
pub struct ReportReader {
    bucket: Bucket,
    known: BTreeMap<String, Known>,
}

/// A report that was read.
#[derive(Debug)]
struct Known {
    /// Of which version.
    tag: Tag,
    /// When it was put, as the list says.
    put: Option<Timestamp>,
    /// It, or why it is none.
    report: Result<NodeReport, String>,
}

impl ReportReader {
    /// Will read those of this bucket.
    pub const fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            known: BTreeMap::new(),
        }
    }

    /// All reports as they are now: a list for each thousand, and a request for each that has changed.
    ///
    /// One report that cannot be read is a row of [`Reports::unread`]; a bucket that answers nothing, or refuses, an error.
    pub async fn read(&mut self) -> Result<Reports, BucketError> {
        let entries = self.list().await?;
        let mut unread = BTreeMap::new();
        if entries.len() > MOST {
            let why = format!("there are more than {MOST} reports: the others were not read");
            unread.insert(PREFIX.to_owned(), why);
        }
        let listed: BTreeMap<String, Entry> = entries
            .into_iter()
            .take(MOST)
            .map(|entry| (entry.key.clone(), entry))
            .collect();
        self.known.retain(|key, _| listed.contains_key(key));
        let wanted: Vec<(String, Option<Tag>)> = listed
            .values()
            .filter_map(|entry| {
                let tag = self.known.get(&entry.key).map(|known| known.tag.clone());
                // A directory's list names no tags: it is asked whether they still hold.
                let same = tag.is_some() && tag == entry.tag;
                (!same).then(|| (entry.key.clone(), tag))
            })
            .collect();
        self.fetch(wanted, &mut unread).await?;
        for (key, known) in &mut self.known {
            known.put = listed.get(key).and_then(|entry| entry.modified);
        }
        Ok(self.reports(unread))
    }

    /// Those of these servers, as they are now: a request for each, and no list. One that is not there, or that cannot be read, is left
    /// out; a bucket that answers nothing, or refuses, is an error.
    pub async fn read_of(&mut self, servers: &[Name]) -> Result<Vec<NodeReport>, BucketError> {
        let key = |server: &Name| format!("{PREFIX}{server}.json");
        let wanted = (servers.iter().map(key))
            .map(|key| {
                let tag = self.known.get(&key).map(|known| known.tag.clone());
                (key, tag)
            })
            .collect();
        self.fetch(wanted, &mut BTreeMap::new()).await?;
        let known = servers
            .iter()
            .filter_map(|server| self.known.get(&key(server)));
        Ok(known
            .filter_map(|known| known.report.as_ref().ok().cloned())
            .collect())
    }

    async fn list(&self) -> Result<Vec<Entry>, BucketError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map(|entry| entry.key.clone());
            let page = self.bucket.list(PREFIX, after.as_deref(), LONGEST_PAGE);
            let page = page.await?;
            entries.extend(page.entries);
            if !page.more || entries.len() > MOST {
                entries.retain(|entry| is_report(&entry.key));
                return Ok(entries);
            }
        }
    }

    /// Gets these, and remembers them.
    async fn fetch(
        &mut self,
        wanted: Vec<(String, Option<Tag>)>,
        unread: &mut BTreeMap<String, String>,
    ) -> Result<(), BucketError> {
        let mut wanted = wanted.into_iter();
        let mut under_way = JoinSet::new();
        let mut failures = 0;
        loop {
            while under_way.len() < AT_ONCE {
                let Some((key, tag)) = wanted.next() else {
                    break;
                };
                let bucket = self.bucket.clone();
                under_way.spawn(async move {
                    let got = bucket.get(&key, tag.as_ref(), LIMIT).await;
                    (key, got)
                });
            }
            let Some(done) = under_way.join_next().await else {
                return Ok(());
            };
            // Only a panic could be an error, and nothing in there does.
            let Ok((key, got)) = done else {
                continue;
            };
            match got {
                Ok(Fetched::Unchanged) => {}
                Ok(Fetched::Object { bytes, tag }) => {
                    let known = Known {
                        tag,
                        put: None,
                        report: believed(&key, &bytes),
                    };
                    self.known.insert(key, known);
                }
                // Deleted since it was listed.
                Err(error) if error.kind == BucketErrorKind::Missing => {
                    self.known.remove(&key);
                }
                Err(error) if is_of_the_report(error.kind) => {
                    // What it said before says nothing of now.
                    self.known.remove(&key);
                    unread.insert(key, chain(&error));
                }
                Err(error) if is_of_the_moment(error.kind) && failures < MOST_FAILURES => {
                    failures += 1;
                    self.known.remove(&key);
                    unread.insert(key, chain(&error));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn reports(&self, unread: BTreeMap<String, String>) -> Reports {
        let mut reports = Reports {
            unread,
            ..Reports::default()
        };
        for (key, known) in &self.known {
            let report = match &known.report {
                Ok(report) => report.clone(),
                Err(why) => {
                    reports.unread.insert(key.clone(), why.clone());
                    continue;
                }
            };
            let machine = MachineReport {
                put: known.put,
                report,
            };
            match (&machine.report.server, unknown_id(key)) {
                (_, Some(id)) => reports.unknown.insert(id.to_owned(), machine),
                (Some(server), None) => reports.servers.insert(server.clone(), machine),
                // Refused when it was read.
                (None, None) => None,
            };
        }
        reports
    }
}

/// Whether the failure is that of one object.
const fn is_of_the_report(kind: BucketErrorKind) -> bool {
    matches!(
        kind,
        BucketErrorKind::TooLarge | BucketErrorKind::InvalidRequest | BucketErrorKind::Archived
    )
}

/// Whether the next request may succeed.
const fn is_of_the_moment(kind: BucketErrorKind) -> bool {
    matches!(
        kind,
        BucketErrorKind::Unavailable | BucketErrorKind::WrongAnswer
    )
}

fn is_report(key: &str) -> bool {
    let rest = key.strip_prefix(UNKNOWN).or(key.strip_prefix(PREFIX));
    rest.and_then(|rest| rest.strip_suffix(".json"))
        .is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

fn unknown_id(key: &str) -> Option<&str> {
    key.strip_prefix(UNKNOWN)?.strip_suffix(".json")
}

/// A report, if it is of whom its key says: who may write one key must not speak for another machine.
fn believed(key: &str, bytes: &[u8]) -> Result<NodeReport, String> {
    let report: NodeReport =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no report: {error}"))?;
    if report.format != 1 {
        return Err(format!(
            "it has format {}, and this version of agentctl reads format 1",
            report.format
        ));
    }
    let says = report.server.as_ref().map(Name::as_str);
    let named = match unknown_id(key) {
        Some(_) => None,
        None => key
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix(".json")),
    };
    if says == named {
        return Ok(report);
    }
    Err(match says {
        Some(says) => format!("it says that it is of {says}"),
        None => "it does not say which server it is of".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = r#"{"format": 1, "written": "2026-11-22T20:00:00Z", "server": "web-1", "found_by": "the host name web-1",
        "machine": {}, "agent": {"version": "0.1.0", "started": "2026-11-22T19:00:00Z"}, "document": null,
        "health": "converged", "alarms": [], "steps": {}, "last_run": null}"#;

    #[test]
    fn a_report_speaks_for_the_machine_of_its_key_only() {
        assert!(believed("nodes/web-1.json", WEB.as_bytes()).is_ok());
        let other = believed("nodes/web-2.json", WEB.as_bytes()).unwrap_err();
        assert_eq!(other, "it says that it is of web-1");
        assert!(believed("nodes/unknown/web-1.json", WEB.as_bytes()).is_err());
        let nobody = WEB.replace("\"web-1\"", "null");
        assert!(believed("nodes/unknown/i-0a.json", nobody.as_bytes()).is_ok());
        assert!(believed("nodes/web-1.json", nobody.as_bytes()).is_err());
        let later = WEB.replace("\"format\": 1", "\"format\": 2");
        assert!(
            believed("nodes/web-1.json", later.as_bytes())
                .unwrap_err()
                .contains("format 2")
        );
        assert!(believed("nodes/web-1.json", b"{").is_err());
    }

    #[test]
    fn only_reports_are_read() {
        for (key, is) in [
            ("nodes/web-1.json", true),
            ("nodes/unknown/i-0a.json", true),
            ("nodes/unknown.json", true),
            ("nodes/web-1.json.tmp", false),
            ("nodes/a/b.json", false),
            ("nodes/.json", false),
        ] {
            assert_eq!(is_report(key), is, "{key}");
        }
    }
}
