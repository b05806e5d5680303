//! Why a command could not be done: the chain of causes, and what to do next.

use std::error::Error;
use std::fmt::Write;
use std::io;

use crate::report::text::{Paint, shown};

/// A command could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    message: String,
    source: Option<Box<dyn Error>>,
    hint: Option<String>,
    /// What `agentctl` exits with.
    pub code: u8,
}

impl Failure {
    /// A failure with no other cause.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
            hint: None,
            code: 1,
        }
    }

    /// A failure for this cause.
    pub fn because(message: impl Into<String>, cause: impl Error + 'static) -> Self {
        Self {
            source: Some(Box::new(cause)),
            ..Self::new(message)
        }
    }

    /// What to do next.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The whole chain: `error: …`, `  caused by: …`, `  hint: …`.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = paint.alarm("error:");
        push_message(&mut out, &self.message, "  ");
        let mut told = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // Some libraries repeat their cause in their own text.
            if !told.ends_with(&message) {
                out.push_str("  caused by:");
                push_message(&mut out, &message, "    ");
            }
            told = message;
            cause = error.source();
        }
        if let Some(hint) = self.hint.as_deref().or_else(|| self.usual_hint()) {
            let _ = write!(out, "  {}", paint.yellow("hint:"));
            push_message(&mut out, hint, "    ");
        }
        out
    }

    fn usual_hint(&self) -> Option<&'static str> {
        let mut cause = self.source();
        while let Some(error) = cause {
            let denied = error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
            if denied {
                return Some("the agent's state and files are root's: run this as root (sudo)");
            }
            cause = error.source();
        }
        None
    }
}

fn push_message(out: &mut String, message: &str, indent: &str) {
    for (index, line) in message.trim_end().lines().enumerate() {
        out.push_str(if index == 0 { " " } else { indent });
        out.push_str(&shown(line));
        out.push('\n');
    }
    if message.trim_end().is_empty() {
        out.push('\n');
    }
}

/// An error of a floor below is told by its own words.
macro_rules! told_by_itself {
    ($($error:ty),+) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self {
                    message: error.to_string(),
                    source: Some(Box::new(error)),
                    hint: None,
                    code: 1,
                }
            }
        }
    )+};
}

told_by_itself!(
    crate::system::file::FileError,
    crate::settings::SettingsError,
    crate::control::client::ControlError,
    crate::converge::RunError,
    crate::converge::NotReady,
    crate::bucket::BucketError,
    crate::database::server::credentials::CredentialsError,
    crate::database::archive::reach::ReachError,
    crate::database::archive::replay::ReplayError,
    crate::database::archive::store::StoreError,
    crate::database::snapshot::catalog::CatalogError,
    crate::database::snapshot::restore::RestoreError,
    crate::database::snapshot::throwaway::ThrowawayError
);
