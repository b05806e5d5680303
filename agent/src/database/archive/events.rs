//! The events of `MariaDB`'s binary log, as far as they say where transactions begin and end. Pure.
//!
//! Every event has a head with its time, kind, server and length. Read are the description of the log's format, the list of
//! transactions before it, the number that each transaction begins with, what ends one, and the text of statements. Rows are
//! nobody's business here: applying them is the server's own tools'.

use serde::{Deserialize, Serialize};

use super::gtid::{Gtid, Tips};

/// What a binary log begins with.
pub const MAGIC: &[u8; 4] = b"\xfebin";
/// The head of every event, in bytes.
pub const HEAD: usize = 19;
/// The largest event that is archived, in bytes: one row of an event of rows cannot be cut.
pub const LARGEST: u64 = 64 * 1024 * 1024;

const QUERY: u8 = 2;
const FORMAT: u8 = 15;
const XID: u8 = 16;
const XA_PREPARE: u8 = 38;
const GTID: u8 = 162;
const GTID_LIST: u8 = 163;
const ENCRYPTION: u8 = 164;

/// The transaction is one event by itself, without an end of its own.
const STANDALONE: u8 = 1;
/// What follows its statement's own context: it is no end of a transaction that is one event.
const CONTEXT: [u8; 5] = [5, 13, 14, 160, 161];

/// A log that is none, or not one that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongLog {
    /// It does not begin as one.
    #[error("it does not begin as a binary log of MariaDB does")]
    NoLog,
    /// An event says what cannot be.
    #[error("the event at byte {0} says what cannot be: it is damaged")]
    Damaged(u64),
    /// An event is larger than any that is kept.
    #[error("the event at byte {at} has {} MiB: more than the {} that can be archived", bytes >> 20, LARGEST >> 20)]
    TooLarge {
        /// Where.
        at: u64,
        /// Its size, in bytes.
        bytes: u64,
    },
    /// It is encrypted, with a key that only its server has.
    #[error("it is encrypted (encrypt_binlog): only its own server could read it again")]
    Encrypted,
}

/// An event, whole.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// When it happened, in seconds since 1970, by the clock of the server that wrote it first; statements can change it.
    pub time: u32,
    /// Which kind.
    pub kind: u8,
    /// The server that wrote it first.
    pub server: u32,
    /// All of it, its head too.
    pub bytes: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let piece = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(piece.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let piece = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(piece.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let piece = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(piece.try_into().ok()?))
}

/// The event that `bytes` begin with, which stand at the byte `at` of their log. `None`: it is not all there yet.
pub fn next(bytes: &[u8], at: u64) -> Result<Option<Event<'_>>, WrongLog> {
    let Some(head) = bytes.get(..HEAD) else {
        return Ok(None);
    };
    let (Some(time), Some(&kind), Some(server), Some(length), Some(end)) = (
        u32_at(head, 0),
        head.get(4),
        u32_at(head, 5),
        u32_at(head, 9),
        u32_at(head, 13),
    ) else {
        return Ok(None);
    };
    let size = u64::from(length);
    // Logs may be larger than their own numbers.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "that is what the server writes"
    )]
    let is_end = end == at.wrapping_add(size) as u32;
    if length < 19 || !is_end {
        return Err(WrongLog::Damaged(at));
    }
    if size > LARGEST {
        return Err(WrongLog::TooLarge { at, bytes: size });
    }
    let whole = usize::try_from(size)
        .ok()
        .and_then(|size| bytes.get(..size));
    Ok(whole.map(|bytes| Event {
        time,
        kind,
        server,
        bytes,
    }))
}

impl<'a> Event<'a> {
    fn body(&self) -> &'a [u8] {
        self.bytes.get(HEAD..).unwrap_or_default()
    }

    /// Whether it describes the log's format.
    pub const fn is_format(&self) -> bool {
        self.kind == FORMAT
    }

    /// Whether events end with a checksum, as a description of the format says.
    fn has_checksums(&self) -> bool {
        let at = self.bytes.len().checked_sub(5);
        at.and_then(|at| self.bytes.get(at)) == Some(&1)
    }

    /// The number of the transaction that begins, and whether it is one event.
    fn begins(&self) -> Option<(Gtid, bool)> {
        if self.kind != GTID {
            return None;
        }
        let body = self.body();
        let gtid = Gtid {
            sequence: u64_at(body, 0)?,
            domain: u32_at(body, 8)?,
            server: self.server,
        };
        Some((gtid, body.get(12)? & STANDALONE != 0))
    }

    /// The last transactions before this log.
    fn list(&self) -> Option<Tips> {
        if self.kind != GTID_LIST {
            return None;
        }
        let body = self.body();
        // The upper bits are flags.
        let count = usize::try_from(u32_at(body, 0)? & 0x0fff_ffff).ok()?;
        let mut tips = Tips::default();
        for index in 0..count {
            let at = index.checked_mul(16)?.checked_add(4)?;
            tips.raise(Gtid {
                domain: u32_at(body, at)?,
                server: u32_at(body, at.checked_add(4)?)?,
                sequence: u64_at(body, at.checked_add(8)?)?,
            });
        }
        Some(tips)
    }

    /// The database and the text of a statement.
    pub fn statement(&self, has_checksums: bool) -> Option<(&'a [u8], &'a [u8])> {
        if self.kind != QUERY {
            return None;
        }
        let body = self.body();
        let end = body.len().checked_sub(if has_checksums { 4 } else { 0 })?;
        let name = usize::from(*body.get(8)?);
        let status = usize::from(u16_at(body, 11)?);
        let from = status.checked_add(13)?;
        let to = from.checked_add(name)?;
        Some((body.get(from..to)?, body.get(to.checked_add(1)?..end)?))
    }
}

/// The transaction that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which.
    pub gtid: Gtid,
    /// It ends with its statement.
    pub is_single: bool,
}

/// What an event is of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing of a transaction.
    Aside,
    /// A transaction begins.
    Begins(Gtid),
    /// A part of the one that is open.
    Inside(Gtid),
    /// The last part of it.
    Ends(Gtid),
}

/// Follows a log from its beginning, event by event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follower {
    /// The last transactions that have ended, or stood before the log.
    pub done: Tips,
    /// The one that has not.
    pub open: Option<Open>,
    /// Events end with a checksum.
    pub has_checksums: bool,
}

impl Follower {
    /// Reads the next event.
    pub fn see(&mut self, event: &Event<'_>) -> Result<Step, WrongLog> {
        match event.kind {
            FORMAT => {
                self.has_checksums = event.has_checksums();
                return Ok(Step::Aside);
            }
            ENCRYPTION => return Err(WrongLog::Encrypted),
            GTID_LIST => {
                for gtid in event.list().iter().flat_map(Tips::iter) {
                    self.done.raise(gtid);
                }
                return Ok(Step::Aside);
            }
            _ => {}
        }
        if let Some((gtid, is_single)) = event.begins() {
            // One that was left open by a server's death was not committed there.
            self.open = Some(Open { gtid, is_single });
            return Ok(Step::Begins(gtid));
        }
        let Some(open) = self.open else {
            return Ok(Step::Aside);
        };
        if !self.is_end(event, open.is_single) {
            return Ok(Step::Inside(open.gtid));
        }
        self.open = None;
        self.done.set(open.gtid);
        Ok(Step::Ends(open.gtid))
    }

    fn is_end(&self, event: &Event<'_>, is_single: bool) -> bool {
        match event.kind {
            XID | XA_PREPARE => true,
            kind if is_single => !CONTEXT.contains(&kind),
            QUERY => event
                .statement(self.has_checksums)
                .is_some_and(|(_, text)| ends_transactions(text)),
            _ => false,
        }
    }
}

fn ends_transactions(text: &[u8]) -> bool {
    let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    let begins = |words: &str| {
        text.get(..words.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(words.as_bytes()))
    };
    is("COMMIT") || is("ROLLBACK") || begins("XA COMMIT") || begins("XA ROLLBACK")
}

#[cfg(test)]
pub(in crate::database::archive) mod tests {
    use super::*;

    /// Writes logs as a server does, without checksums.
    #[derive(Debug, Clone)]
    pub(in crate::database::archive) struct Pen {
        pub(in crate::database::archive) log: Vec<u8>,
        pub(in crate::database::archive) time: u32,
    }

    impl Pen {
        /// A log with its format and what stood before it.
        pub(in crate::database::archive) fn new(time: u32, before: &str) -> Self {
            let mut pen = Self {
                log: MAGIC.to_vec(),
                time,
            };
            pen.event(FORMAT, 1, &[0; 30]);
            let tips: Tips = before.parse().unwrap();
            let count = u32::try_from(tips.iter().count()).unwrap();
            let mut body = count.to_le_bytes().to_vec();
            for gtid in tips.iter() {
                body.extend(gtid.domain.to_le_bytes());
                body.extend(gtid.server.to_le_bytes());
                body.extend(gtid.sequence.to_le_bytes());
            }
            pen.event(GTID_LIST, 1, &body);
            pen
        }

        pub(in crate::database::archive) fn event(&mut self, kind: u8, server: u32, body: &[u8]) {
            let length = u32::try_from(HEAD + body.len()).unwrap();
            let end = u32::try_from(self.log.len()).unwrap() + length;
            self.log.extend(self.time.to_le_bytes());
            self.log.push(kind);
            for number in [server, length, end] {
                self.log.extend(number.to_le_bytes());
            }
            self.log.extend([0, 0]);
            self.log.extend(body);
        }

        pub(in crate::database::archive) fn begin(&mut self, gtid: &str, flags: u8) {
            let gtid: Gtid = gtid.parse().unwrap();
            let mut body = gtid.sequence.to_le_bytes().to_vec();
            body.extend(gtid.domain.to_le_bytes());
            body.push(flags);
            body.extend([0; 6]);
            self.event(GTID, gtid.server, &body);
        }

        pub(in crate::database::archive) fn query(&mut self, text: &str) {
            let mut body = vec![0; 8];
            body.extend([4, 0, 0, 0, 0]);
            body.extend(b"shop\0");
            body.extend(text.as_bytes());
            self.event(QUERY, 1, &body);
        }

        /// A transaction with a row.
        pub(in crate::database::archive) fn row(&mut self, gtid: &str) {
            self.begin(gtid, 0);
            self.event(23, 1, b"a row");
            self.event(XID, 1, &[0; 8]);
        }

        /// A statement by itself.
        pub(in crate::database::archive) fn statement(&mut self, gtid: &str, text: &str) {
            self.begin(gtid, STANDALONE);
            self.query(text);
        }
    }

    fn steps(log: &[u8]) -> (Vec<String>, Follower) {
        let mut follower = Follower::default();
        let mut at = MAGIC.len();
        let mut told = Vec::new();
        while let Some(event) = next(&log[at..], at as u64).unwrap() {
            told.push(format!("{:?}", follower.see(&event).unwrap()));
            at += event.bytes.len();
        }
        (told, follower)
    }

    #[test]
    fn transactions_begin_with_their_number_and_end_as_they_are() {
        let mut pen = Pen::new(7, "0-11-4,0-12-9");
        pen.row("0-11-10");
        pen.statement("0-11-11", "DROP TABLE t");
        pen.begin("0-11-12", 0);
        pen.query("INSERT INTO a VALUES (1)");
        pen.query("commit");
        pen.event(3, 1, &[]);
        let (told, follower) = steps(&pen.log);
        let kinds: String = told
            .iter()
            .map(|step| step.chars().next().unwrap())
            .collect();
        assert_eq!(kinds, "AABIEBEBIEA");
        assert_eq!(follower.done.to_string(), "0-11-12");
        assert_eq!(follower.open, None);
        // One that has not ended is not done.
        pen.begin("0-11-13", 0);
        pen.query("INSERT INTO a VALUES (2)");
        let (_, follower) = steps(&pen.log);
        assert_eq!(follower.done.to_string(), "0-11-12");
        assert_eq!(follower.open.unwrap().gtid.to_string(), "0-11-13");
    }

    #[test]
    fn what_is_cut_is_waited_for_and_what_cannot_be_is_told() {
        let mut pen = Pen::new(7, "");
        pen.row("0-11-1");
        let at = MAGIC.len();
        for end in at..at + HEAD + 30 {
            assert!(next(&pen.log[at..end], 4).unwrap().is_none(), "{end}");
        }
        assert!(next(&pen.log[at..], 4).unwrap().is_some());
        // At another place than it says.
        assert_eq!(next(&pen.log[at..], 5).unwrap_err(), WrongLog::Damaged(5));
        assert_eq!(
            next(&[0; 40], 4).unwrap_err(),
            WrongLog::Damaged(4),
            "no length"
        );
        let mut large = pen.log[at..].to_vec();
        let length = u32::try_from(LARGEST + 1).unwrap();
        large[9..13].copy_from_slice(&length.to_le_bytes());
        large[13..17].copy_from_slice(&(length + 4).to_le_bytes());
        assert!(matches!(next(&large, 4), Err(WrongLog::TooLarge { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), kind in 0_u8..170) {
            let mut pen = Pen::new(7, "");
            let from = pen.log.len();
            pen.event(kind, 1, &bytes);
            let mut follower = Follower::default();
            if let Ok(Some(event)) = next(&pen.log[from..], from as u64) {
                let _ = follower.see(&event);
                let _ = event.statement(true);
            }
            let _ = next(&bytes, 4);
        }
    }
}
