//! Positions in the stream of transactions: read strictly, compared, counted.
//!
//! Pure. Two grammars that have nothing in common but their purpose: `MariaDB`'s lists of domain, server and sequence
//! number, and `MySQL`'s sets of intervals a server. Whoever decides something asks [`Gtids`]; nobody else looks into
//! the strings.

mod mariadb;
mod mysql;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use mariadb::Positions;
pub use mysql::Sets;

/// The longest text that is read, in bytes: a set of a thousand servers fits.
pub const LONGEST: usize = 64 * 1024;

/// Whose grammar, and whose statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// `MariaDB` 10.6 or later.
    MariaDb,
    /// `MySQL` 8.0 or later.
    MySql,
}

impl fmt::Display for Flavour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        })
    }
}

/// What is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {flavour} position: {why}")]
pub struct GtidError {
    /// Whose grammar it should have been.
    pub flavour: Flavour,
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl GtidError {
    fn new(flavour: Flavour, text: &str, why: &'static str) -> Self {
        Self {
            flavour,
            text: text.chars().take(80).collect(),
            why,
        }
    }
}

/// Whether one holds all of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containment {
    /// It does.
    Yes,
    /// It does not: the other has transactions that it lacks, or has others in their place.
    No,
    /// What is known does not say. Whoever decides about safety takes it for `No`.
    Unknown,
}

/// The transactions that a server has, or a point that it has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gtids {
    /// `MariaDB`'s.
    MariaDb(Positions),
    /// `MySQL`'s.
    MySql(Sets),
}

impl Gtids {
    /// No transactions.
    pub fn none(flavour: Flavour) -> Self {
        match flavour {
            Flavour::MariaDb => Self::MariaDb(Positions::default()),
            Flavour::MySql => Self::MySql(Sets::default()),
        }
    }

    /// Reads what a server of this flavour says. The empty string is no transactions.
    pub fn parse(flavour: Flavour, text: &str) -> Result<Self, GtidError> {
        if text.len() > LONGEST {
            return Err(GtidError::new(flavour, text, "too long"));
        }
        match flavour {
            Flavour::MariaDb => Positions::parse(text).map(Self::MariaDb),
            Flavour::MySql => Sets::parse(text).map(Self::MySql),
        }
    }

    /// Whose they are.
    pub fn flavour(&self) -> Flavour {
        match self {
            Self::MariaDb(_) => Flavour::MariaDb,
            Self::MySql(_) => Flavour::MySql,
        }
    }

    /// No transactions at all.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MariaDb(positions) => positions.is_empty(),
            Self::MySql(sets) => sets.is_empty(),
        }
    }

    /// Whether all of `other` is in these.
    pub fn contains(&self, other: &Self) -> Containment {
        match (self, other) {
            (Self::MariaDb(own), Self::MariaDb(other)) => own.contains(other),
            (Self::MySql(own), Self::MySql(other)) if other.minus(own).is_empty() => {
                Containment::Yes
            }
            (Self::MySql(_), Self::MySql(_)) => Containment::No,
            // A chain of both flavours cannot be compared, and is refused elsewhere.
            _ if other.is_empty() => Containment::Yes,
            _ => Containment::Unknown,
        }
    }

    /// Those that this server wrote; `MySQL`'s sets name servers otherwise, and are returned as they are.
    #[must_use]
    pub fn written_by(&self, server_id: u32) -> Self {
        match self {
            Self::MariaDb(own) => Self::MariaDb(own.written_by(server_id)),
            Self::MySql(_) => self.clone(),
        }
    }

    /// What is in these and not in `other`. Of `MariaDB`'s, which name only ends, the ends beyond `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MariaDb(own), Self::MariaDb(other)) => Self::MariaDb(own.minus(other)),
            (Self::MySql(own), Self::MySql(other)) => Self::MySql(own.minus(other)),
            _ => self.clone(),
        }
    }

    /// Where these and `other` part: `MariaDB`'s last transactions in common, one a domain, `MySQL`'s whole intersection.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MariaDb(own), Self::MariaDb(other)) => Self::MariaDb(own.common(other)),
            (Self::MySql(own), Self::MySql(other)) => Self::MySql(own.minus(&own.minus(other))),
            _ => Self::none(self.flavour()),
        }
    }

    /// How many transactions of these `other` lacks. Exact for `MySQL`; for `MariaDB` exact as long as the sequence
    /// numbers have no gaps, which the server makes none of.
    pub fn beyond(&self, other: &Self) -> u64 {
        match (self, other) {
            (Self::MariaDb(own), Self::MariaDb(other)) => own.beyond(other),
            (Self::MySql(own), Self::MySql(other)) => own.minus(other).count(),
            (Self::MariaDb(own), _) => own.beyond(&Positions::default()),
            (Self::MySql(own), _) => own.count(),
        }
    }

    /// All of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MariaDb(own), Self::MariaDb(other)) => Self::MariaDb(own.union(other)),
            (Self::MySql(own), Self::MySql(other)) => Self::MySql(own.union(other)),
            _ => self.clone(),
        }
    }

    /// The point to write down and to start replication from: `MariaDB`'s last transaction of each domain, `MySQL`'s
    /// whole set.
    #[must_use]
    pub fn tip(&self) -> Self {
        match self {
            Self::MariaDb(positions) => Self::MariaDb(positions.tip()),
            Self::MySql(_) => self.clone(),
        }
    }
}

impl fmt::Display for Gtids {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MariaDb(positions) => positions.fmt(out),
            Self::MySql(sets) => sets.fmt(out),
        }
    }
}
