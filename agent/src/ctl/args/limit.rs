//! What `-w` and `-c` of `agentctl check` take.

use std::str::FromStr;

use crate::report::watch::Range;

/// `[NAME=]RANGE` of `-w` and `-c`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Of which reading.
    pub name: String,
    /// When it alarms.
    pub range: Range,
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, range) = text.split_once('=').unwrap_or(("document_age", text));
        Ok(Self {
            name: name.into(),
            range: range.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_names_its_reading_or_means_the_age_of_the_document() {
        let limit = |text: &str| text.parse::<Limit>();
        assert_eq!(limit("10:").unwrap().name, "document_age");
        let memory = limit("memory=@1:2").unwrap();
        assert_eq!(
            (memory.name.as_str(), memory.range.to_string()),
            ("memory", "@1:2".into())
        );
        assert!(limit("memory=").is_err());
        assert!(limit("ten").is_err());
    }
}
