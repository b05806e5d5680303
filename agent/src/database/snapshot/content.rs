//! What is in a dump: its schemas, tables, rows and definitions, counted and digested while it passes by. Pure.
//!
//! The same reader looks at the dump of a snapshot and at that of the server which a snapshot was restored into: where both
//! say the same, nothing was lost on the way. It reads what the dump tools write, not SQL at large: rows in `INSERT`
//! statements, everything else a line at a time. Bounded memory: no row is ever held, only its digest.
//!
//! Digests are sums over rows, so that neither the order of rows nor how many of them stand in a statement matters. They find
//! damage; against somebody who forges a dump there is the SHA-256 of the whole.

mod digest;
mod line;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::system::digest::Sha256;
use digest::Sum;
use line::{Insert, Meaning};

/// So much of a line is kept to see what it is.
const HEAD: usize = 2048;

/// What is in a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The schemas, by name.
    pub schemas: BTreeMap<String, Schema>,
}

/// A schema.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Its tables, by name.
    pub tables: BTreeMap<String, Table>,
    /// The digest of all statements that are no rows: definitions of tables, views, routines, triggers, events.
    pub definitions: String,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// How many rows it has.
    pub rows: u64,
    /// The digest of its rows, whatever their order.
    pub digest: String,
}

/// A dump that does not end as one does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// The dump tool had not come to its end.
    #[error("the dump has no end mark: it was cut off")]
    NoEnd,
    /// It ends in the middle of a statement.
    #[error("the dump ends in the middle of a statement")]
    InAStatement,
    /// It has no databases.
    #[error("there is no database in the dump")]
    Empty,
}

impl Content {
    /// How many tables there are, and rows in them.
    pub fn size(&self) -> (u64, u64) {
        let tables = || {
            self.schemas
                .values()
                .flat_map(|schema| schema.tables.values())
        };
        (
            tables().count() as u64,
            tables().map(|table| table.rows).sum(),
        )
    }

    /// In what `found` is not as this is: a sentence each, at most so many.
    pub fn differences(&self, found: &Self, most: usize) -> Vec<String> {
        let mut told = Vec::new();
        for (name, schema) in &self.schemas {
            let Some(other) = found.schemas.get(name) else {
                told.push(format!("the schema {name} is missing"));
                continue;
            };
            for (table, facts) in &schema.tables {
                match other.tables.get(table) {
                    None => told.push(format!("the table {name}.{table} is missing")),
                    Some(other) if other.rows != facts.rows => told.push(format!(
                        "{name}.{table} has {} rows instead of {}",
                        other.rows, facts.rows
                    )),
                    Some(other) if other.digest != facts.digest => {
                        told.push(format!("{name}.{table} has other rows"));
                    }
                    Some(_) => {}
                }
            }
            let more = other
                .tables
                .keys()
                .filter(|table| !schema.tables.contains_key(*table));
            told.extend(more.map(|table| format!("the table {name}.{table} is too many")));
            if other.definitions != schema.definitions {
                told.push(format!(
                    "{name} has other definitions (tables, views, routines, triggers or events)"
                ));
            }
        }
        let more = found
            .schemas
            .keys()
            .filter(|name| !self.schemas.contains_key(*name));
        told.extend(more.map(|name| format!("the schema {name} is too many")));
        told.truncate(most);
        told
    }
}

#[derive(Debug, Default)]
struct Open {
    tables: BTreeMap<String, Sum>,
    definitions: Sum,
}

/// Reads a dump piece by piece.
#[derive(Default)]
pub struct Scan {
    schemas: BTreeMap<String, Open>,
    /// The schema that is being read, once there is one.
    schema: Option<String>,
    state: State,
    /// Between `DELIMITER ;;` and `DELIMITER ;`: bodies of routines, where nothing is a row.
    in_body: bool,
    /// The last line that was not empty said that the dump is complete.
    complete: bool,
}

#[derive(Default)]
enum State {
    /// A line, of which this is the beginning.
    #[default]
    Begin,
    /// The beginning of a line is held, as long as it is not known what it is.
    Line(Line),
    /// Rows of a table.
    Rows(Box<Rows>),
}

struct Line {
    head: Vec<u8>,
    hash: Sha256,
}

struct Rows {
    table: String,
    insert: Insert,
    sum: Sum,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Scan({:?})", self.schema)
    }
}

impl Scan {
    /// Reads the next piece. How the dump is cut into pieces makes no difference.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            piece = self.step(piece);
        }
    }

    /// Reads some of a piece; returns the rest.
    fn step<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        match std::mem::take(&mut self.state) {
            State::Begin => {
                self.state = State::Line(Line {
                    head: Vec::new(),
                    hash: Sha256::new(),
                });
                piece
            }
            State::Rows(mut rows) => {
                let (rest, ended) = rows.insert.read(piece, &mut rows.sum);
                if ended {
                    self.add_rows(*rows);
                    // What stands behind it on its line is a line of its own: the end of the line.
                    self.state = State::Begin;
                } else {
                    self.state = State::Rows(rows);
                }
                rest
            }
            State::Line(line) => self.read_line(line, piece),
        }
    }

    fn read_line<'p>(&mut self, mut line: Line, piece: &'p [u8]) -> &'p [u8] {
        let end = piece.iter().position(|&byte| byte == b'\n');
        let (part, rest) = piece
            .split_at_checked(end.unwrap_or(piece.len()))
            .unwrap_or((piece, &[]));
        if self.schema.is_some() && !self.in_body {
            // The beginning is looked at byte by byte, until it can be no rows any more.
            let room = HEAD.saturating_sub(line.head.len());
            for (index, &byte) in part.iter().take(room).enumerate() {
                line.head.push(byte);
                match line::table_of_rows(&line.head) {
                    Meaning::Rows(table) => {
                        self.complete = false;
                        self.state = State::Rows(Box::new(Rows {
                            table,
                            insert: Insert::default(),
                            sum: Sum::default(),
                        }));
                        return piece.get(index + 1..).unwrap_or_default();
                    }
                    Meaning::MayBe => {}
                    Meaning::Other => {
                        let from = index + 1;
                        let more = part.get(from..room.min(part.len())).unwrap_or_default();
                        line.head.extend_from_slice(more);
                        break;
                    }
                }
            }
        } else {
            let room = HEAD.saturating_sub(line.head.len());
            line.head.extend(part.iter().take(room));
        }
        line.hash.update(part);
        if end.is_none() {
            self.state = State::Line(line);
            return rest;
        }
        self.end_line(line);
        self.state = State::Begin;
        rest.get(1..).unwrap_or_default()
    }

    fn end_line(&mut self, line: Line) {
        let head = line.head.as_slice();
        if head.is_empty() {
            return;
        }
        self.complete = !self.in_body && line::is_end(head);
        if head.starts_with(b"DELIMITER ") {
            self.in_body = head != b"DELIMITER ;";
        } else if !self.in_body && head.starts_with(b"--") {
            if let Some(schema) = line::schema(head) {
                self.schemas.entry(schema.clone()).or_default();
                self.schema = Some(schema);
            } else if let Some(table) = line::table(head) {
                // Also one without a row.
                if let Some(schema) = self.current() {
                    schema.tables.entry(table).or_default();
                }
            }
            return;
        }
        if let Some(schema) = self.current() {
            schema.definitions.add(line.hash);
        }
    }

    fn add_rows(&mut self, rows: Rows) {
        if let Some(schema) = self.current() {
            let sum = schema.tables.entry(rows.table).or_default();
            sum.join(&rows.sum);
        }
    }

    fn current(&mut self) -> Option<&mut Open> {
        self.schemas.get_mut(self.schema.as_ref()?)
    }

    /// What was in it, if it ended as dumps do.
    pub fn finish(mut self) -> Result<Content, Incomplete> {
        match std::mem::take(&mut self.state) {
            State::Begin => {}
            State::Line(line) => self.end_line(line),
            State::Rows(_) => return Err(Incomplete::InAStatement),
        }
        if !self.complete {
            return Err(Incomplete::NoEnd);
        }
        if self.schemas.is_empty() {
            return Err(Incomplete::Empty);
        }
        let table = |sum: Sum| Table {
            rows: sum.count(),
            digest: sum.hex(),
        };
        let schema = |open: Open| Schema {
            tables: (open.tables.into_iter())
                .map(|(name, sum)| (name, table(sum)))
                .collect(),
            definitions: open.definitions.hex(),
        };
        let schemas = self.schemas.into_iter();
        Ok(Content {
            schemas: schemas.map(|(name, open)| (name, schema(open))).collect(),
        })
    }
}
