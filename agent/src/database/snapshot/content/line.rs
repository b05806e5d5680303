//! What a line of a dump is, and where rows begin and end in an `INSERT` statement.

use super::digest::Sum;
use crate::system::digest::Sha256;

const INSERT: &[u8] = b"INSERT INTO `";
const VALUES: &[u8] = b"VALUES";

/// What the beginning of a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Rows of this table begin behind it.
    Rows(String),
    /// It may yet be rows.
    MayBe,
    /// It is something else.
    Other,
}

/// Whether the line of which this is the beginning has rows.
pub(super) fn table_of_rows(head: &[u8]) -> Meaning {
    let common = head.len().min(INSERT.len());
    if head.get(..common) != INSERT.get(..common) {
        return Meaning::Other;
    }
    match head.get(INSERT.len()..).and_then(ticked) {
        Some(name) => Meaning::Rows(name),
        None => Meaning::MayBe,
    }
}

/// The name up to its closing tick, which must be followed by something else than a tick; `None` while that has not come.
fn ticked(text: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'`' {
            match bytes.next() {
                None => return None,
                Some(b'`') => {}
                Some(_) => return Some(String::from_utf8_lossy(&name).into_owned()),
            }
        }
        name.push(byte);
    }
    None
}

/// The schema that a comment announces.
pub(super) fn schema(line: &[u8]) -> Option<String> {
    named(line, b"-- Current Database: `")
}

/// The table whose rows a comment announces.
pub(super) fn table(line: &[u8]) -> Option<String> {
    named(line, b"-- Dumping data for table `")
}

fn named(line: &[u8], before: &[u8]) -> Option<String> {
    let name = line.strip_prefix(before)?.strip_suffix(b"`")?;
    Some(String::from_utf8_lossy(name).replace("``", "`"))
}

/// Whether it is the last line of a dump that came to its end.
pub(super) fn is_end(line: &[u8]) -> bool {
    line.starts_with(b"-- Dump completed")
}

/// The part of an `INSERT` statement behind the table's name.
#[derive(Default)]
pub(super) struct Insert {
    place: Where,
    /// The quote that is open.
    quote: Option<u8>,
    /// The next byte stands for itself.
    escaped: bool,
    /// Brackets that are open.
    depth: u32,
    /// The last bytes before the rows.
    recent: Vec<u8>,
    hash: Option<Sha256>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Before the word `VALUES`: names of columns, perhaps.
    #[default]
    Columns,
    /// Behind it.
    Rows,
}

impl Insert {
    /// Reads on; each row is added to `sum`. Returns what is left of the piece, and whether the statement has ended.
    pub(super) fn read<'p>(&mut self, piece: &'p [u8], sum: &mut Sum) -> (&'p [u8], bool) {
        // Where in the piece the row began that is being read.
        let mut begin = 0;
        for (index, &byte) in piece.iter().enumerate() {
            if self.escaped {
                self.escaped = false;
                continue;
            }
            if let Some(quote) = self.quote {
                match byte {
                    // Names have no escapes but doubled ticks, which look like two names side by side.
                    b'\\' if quote != b'`' => self.escaped = true,
                    _ if byte == quote => self.quote = None,
                    _ => {}
                }
                continue;
            }
            match (self.place, byte) {
                (_, b'\'' | b'"' | b'`') => self.quote = Some(byte),
                (Where::Columns, b';') => return (rest(piece, index), true),
                (Where::Columns, _) => self.before_rows(byte),
                (Where::Rows, b'(') => {
                    if self.depth == 0 {
                        begin = index;
                        self.hash = Some(Sha256::new());
                    }
                    self.depth += 1;
                }
                (Where::Rows, b')') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0
                        && let Some(mut hash) = self.hash.take()
                    {
                        hash.update(piece.get(begin..=index).unwrap_or_default());
                        sum.add(hash);
                    }
                }
                (Where::Rows, b';') if self.depth == 0 => return (rest(piece, index), true),
                (Where::Rows, _) => {}
            }
        }
        if let Some(hash) = &mut self.hash {
            hash.update(piece.get(begin..).unwrap_or_default());
        }
        (&[], false)
    }

    fn before_rows(&mut self, byte: u8) {
        if self.recent.len() == VALUES.len() {
            self.recent.remove(0);
        }
        self.recent.push(byte);
        if self.recent == VALUES {
            self.place = Where::Rows;
        }
    }
}

fn rest(piece: &[u8], index: usize) -> &[u8] {
    piece.get(index + 1..).unwrap_or_default()
}
