//! What a database server did not do, told apart as far as decisions differ.

use std::io;

use mysql_async::{DriverError, Error, IoError};

/// A server did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// It lives, and has no connection left to give. Never a reason to take it for dead.
    #[error(
        "{place} has no connection left (error {code}): give it an extra_port, or raise max_connections"
    )]
    Full {
        /// Which server.
        place: String,
        /// 1040, or 1203 for the account's own limit.
        code: u16,
    },
    /// Nobody listens there: the process is gone, or was never started.
    #[error("{place} is not running: {cause}")]
    NoProcess {
        /// Which server.
        place: String,
        /// What the kernel said.
        cause: String,
    },
    /// The way to it is broken: no route, reset, refused by a filter.
    #[error("{place} cannot be reached: {cause}")]
    Unreachable {
        /// Which server.
        place: String,
        /// What the kernel or the library said.
        cause: String,
    },
    /// No answer in time. A stopped process takes connections, and a hung disk takes statements, without an answer.
    #[error("{place} did not answer within {millis} ms: {statement}")]
    Hangs {
        /// Which server.
        place: String,
        /// What it was asked.
        statement: String,
        /// How long was waited.
        millis: u64,
    },
    /// It does not let us in, or does not let us do it.
    #[error(
        "{place} refuses (error {code}): {message}; check the account in the credentials file and its grants"
    )]
    Denied {
        /// Which server.
        place: String,
        /// Its own number.
        code: u16,
        /// Its own words.
        message: String,
    },
    /// It answered with an error.
    #[error("{place} says (error {code}): {message}; asked: {statement}")]
    Said {
        /// Which server.
        place: String,
        /// Its own number.
        code: u16,
        /// Its own words.
        message: String,
        /// What it was asked, without secrets.
        statement: String,
    },
    /// The connection broke with the statement under way: it may have been done.
    #[error("{place} broke the connection during: {statement}: {cause}")]
    Lost {
        /// Which server.
        place: String,
        /// What it was asked, without secrets.
        statement: String,
        /// What the kernel or the library said.
        cause: String,
    },
    /// Its answer makes no sense.
    #[error("{place} answered what is not understood: {what}")]
    Odd {
        /// Which server.
        place: String,
        /// What.
        what: String,
    },
    /// It would not be safe, and was not done.
    #[error("not done on {place}: {why}")]
    Unsafe {
        /// Which server.
        place: String,
        /// Why, and what a person can do.
        why: String,
    },
}

impl ServerError {
    /// The process lives and answers: it is full, or said no. Everything else may be death.
    pub fn alive(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Denied { .. } | Self::Said { .. } | Self::Unsafe { .. }
        )
    }

    /// The server's own error number.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Full { code, .. } | Self::Denied { code, .. } | Self::Said { code, .. } => {
                Some(*code)
            }
            _ => None,
        }
    }

    /// From the library's error: while connecting there is no `statement` yet.
    pub(super) fn of(place: &str, statement: Option<&str>, error: &Error) -> Self {
        let place = place.to_owned();
        match error {
            Error::Server(said) => match said.code {
                code @ (1040 | 1203) => Self::Full { place, code },
                code @ (1044 | 1045 | 1095 | 1130 | 1142 | 1227 | 1698) => Self::Denied {
                    place,
                    code,
                    message: said.message.clone(),
                },
                // The server is going down, or somebody killed this session: both end the connection.
                1053 | 1927 | 3169 => Self::Lost {
                    place,
                    statement: statement.unwrap_or("connecting").to_owned(),
                    cause: said.message.clone(),
                },
                code => Self::Said {
                    place,
                    code,
                    message: said.message.clone(),
                    statement: statement.unwrap_or("connecting").to_owned(),
                },
            },
            Error::Io(IoError::Io(cause)) if statement.is_none() => match cause.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NoProcess {
                    place,
                    cause: cause.to_string(),
                },
                _ => Self::Unreachable {
                    place,
                    cause: cause.to_string(),
                },
            },
            Error::Driver(DriverError::FromRow { .. } | DriverError::FromValue { .. }) => {
                // Without the row: it may hold anything.
                Self::Odd {
                    place,
                    what: "a value of another type".to_owned(),
                }
            }
            other => match statement {
                Some(statement) => Self::Lost {
                    place,
                    statement: statement.to_owned(),
                    cause: other.to_string(),
                },
                None => Self::Unreachable {
                    place,
                    cause: other.to_string(),
                },
            },
        }
    }
}
