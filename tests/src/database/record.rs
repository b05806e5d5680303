//! What writers recorded, and what can be read from it: who acknowledged what when, what was lost, how long it took.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::machine::Trouble;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It was acknowledged.
    Ok,
    /// It was refused, or never sent.
    Failed,
    /// It may have been done.
    Unknown,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The row's number.
    pub id: u64,
    /// When it was sent, in milliseconds since boot.
    pub sent: u64,
    /// When its answer came, or was waited for no longer.
    pub ended: u64,
    /// What became of it.
    pub became: Became,
    /// The `server_id` of who was asked; 0 for nobody.
    pub server: u32,
    /// Why not.
    pub why: String,
}

/// All writes of a history, by the time that they ended.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The writes.
    pub writes: Vec<Write>,
}

impl Record {
    /// Reads what writers printed. A last line that was cut off is left out.
    pub fn read(texts: &[String]) -> Result<Self, Trouble> {
        let mut writes = Vec::new();
        for text in texts {
            let lines: Vec<&str> = text.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                match parse(line) {
                    Some(write) => writes.push(write),
                    None if at + 1 == lines.len() => {}
                    None => return Err(Trouble::new(format!("no writer's line: {line}"))),
                }
            }
        }
        writes.sort_by_key(|write| write.ended);
        Ok(Self { writes })
    }

    /// Those that were acknowledged.
    pub fn acknowledged(&self) -> impl Iterator<Item = &Write> {
        self.writes
            .iter()
            .filter(|write| write.became == Became::Ok)
    }

    /// Acknowledged rows that `present`, the rows of the master at the end, lacks.
    pub fn lost(&self, present: &BTreeSet<u64>) -> BTreeSet<u64> {
        let ids = self.acknowledged().map(|write| write.id);
        ids.filter(|id| !present.contains(id)).collect()
    }

    /// Rows that were refused, or never sent, and are there all the same.
    pub fn ghosts(&self, present: &BTreeSet<u64>) -> BTreeSet<u64> {
        let failed = self
            .writes
            .iter()
            .filter(|write| write.became == Became::Failed);
        failed
            .map(|write| write.id)
            .filter(|id| present.contains(id))
            .collect()
    }

    /// Who acknowledged, in turn: the servers' numbers, each as often as its word came back to it. With one master at a
    /// time these are the owners of the epochs, in order; more turns than epochs are two masters.
    ///
    /// An answer of the last one that was on its way while the next one gave its first is no turn.
    pub fn reigns(&self) -> Vec<u32> {
        let reigns = self.reigns_with_writes();
        reigns.into_iter().map(|(server, _)| server).collect()
    }

    /// The same, each with what was acknowledged in it.
    pub fn reigns_with_writes(&self) -> Vec<(u32, Vec<&Write>)> {
        let mut reigns: Vec<(u32, Vec<&Write>)> = Vec::new();
        for write in self.acknowledged() {
            let last = reigns.len().saturating_sub(1);
            let since = reigns.last().and_then(|(_, writes)| writes.first());
            let late = since.is_some_and(|first| write.sent <= first.ended);
            let at = match reigns.last() {
                Some((server, _)) if *server == write.server => Some(last),
                Some(_) if late => last.checked_sub(1).filter(|&before| {
                    reigns
                        .get(before)
                        .is_some_and(|(server, _)| *server == write.server)
                }),
                _ => None,
            };
            match at.and_then(|at| reigns.get_mut(at)) {
                Some((_, writes)) => writes.push(write),
                None => reigns.push((write.server, vec![write])),
            }
        }
        reigns
    }

    /// The longest time without an acknowledgement, in milliseconds: between two, or from the last one to the end of
    /// the record. The outage that clients saw.
    pub fn outage(&self) -> u64 {
        let ends: Vec<u64> = self.acknowledged().map(|write| write.ended).collect();
        let end = self.writes.last().map(|write| write.ended);
        let gaps = ends.iter().zip(ends.iter().skip(1).chain(&end));
        gaps.map(|(from, to)| to.saturating_sub(*from))
            .max()
            .unwrap_or(0)
    }
}

fn parse(line: &str) -> Option<Write> {
    let value: Value = serde_json::from_str(line).ok()?;
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    Some(Write {
        id: number("id")?,
        sent: number("sent")?,
        ended: number("ended")?,
        became: match value.get("result")?.as_str()? {
            "ok" => Became::Ok,
            "failed" => Became::Failed,
            "unknown" => Became::Unknown,
            _ => return None,
        },
        server: u32::try_from(number("server")?).ok()?,
        why: value.get("why")?.as_str()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u64, sent: u64, ended: u64, result: &str, server: u32) -> String {
        format!(
            r#"{{"id":{id},"sent":{sent},"ended":{ended},"result":"{result}","server":{server},"why":""}}"#
        )
    }

    fn record(lines: &[String]) -> Record {
        Record::read(&[lines.join("\n")]).unwrap()
    }

    #[test]
    fn losses_and_outages_are_seen() {
        let record = record(&[
            line(1, 0, 1, "ok", 11),
            line(2, 10, 11, "ok", 11),
            line(3, 20, 1020, "unknown", 11),
            line(4, 1030, 1030, "failed", 0),
            line(5, 9000, 9001, "ok", 12),
        ]);
        assert_eq!(record.outage(), 8990);
        assert_eq!(record.lost(&[1, 3, 5].into()), [2].into());
        assert_eq!(record.ghosts(&[1, 4].into()), [4].into());
        assert_eq!(record.reigns(), [11, 12]);
    }

    #[test]
    fn an_outage_that_does_not_end_counts_too() {
        let record = record(&[
            line(1, 0, 1, "ok", 11),
            line(2, 10, 11, "ok", 11),
            line(3, 20, 1020, "unknown", 11),
            line(4, 5000, 5011, "failed", 0),
        ]);
        assert_eq!(record.outage(), 5000);
    }

    #[test]
    fn two_masters_are_seen() {
        let mut lines = vec![
            line(1, 0, 1, "ok", 11),
            line(2, 10, 11, "ok", 12),
            // Under way while the word passed: not yet two.
            line(3, 5, 20, "ok", 11),
        ];
        assert_eq!(record(&lines).reigns(), [11, 12]);
        lines.push(line(4, 30, 31, "ok", 11));
        assert_eq!(record(&lines).reigns(), [11, 12, 11]);
    }

    #[test]
    fn a_line_cut_off_at_the_end_is_none_and_in_the_middle_an_error() {
        let text = format!("{}\n{{\"id\":2,", line(1, 0, 1, "ok", 11));
        assert_eq!(
            Record::read(std::slice::from_ref(&text))
                .unwrap()
                .writes
                .len(),
            1
        );
        assert!(Record::read(&[format!("{text}\n{}", line(3, 0, 1, "ok", 11))]).is_err());
    }
}
