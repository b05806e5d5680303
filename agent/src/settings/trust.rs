//! Whom to trust: `trust = "none"`, or the section `[trust]` with the keys that count.

use std::str::FromStr;

use super::mistakes::Mistakes;
use super::section::Section;
use crate::fleet::signing::{Keyring, MOST_KEYS, SigningKey, Trust};

/// How far a version may be above the one before, where nobody says otherwise. Far more than a fleet publishes in its life,
/// and so little that nobody gets to the end of all numbers by it.
pub const VERSION_STEP: u64 = 1_000_000;

/// The largest step that can be asked for.
const LARGEST_STEP: usize = 1_000_000_000_000;

/// What is said where nobody wrote whom to trust.
pub(super) const TRUST_NEEDED: &str = "write [trust] with keys = [\"ssh-ed25519 AAAA… name\"], the public keys that sign your documents \
     (agentctl fleet init makes these lines), or trust = \"none\" to accept unsigned ones: then whoever can write to the bucket \
     decides what this box does";

/// What the file says of trust.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub trust: Trust,
    pub version_step: u64,
    pub generation: u64,
}

impl Said {
    /// Unsigned documents are accepted.
    pub(super) const fn nobody() -> Self {
        Self {
            trust: Trust::Nobody,
            version_step: VERSION_STEP,
            generation: 0,
        }
    }
}

/// The only word for trust.
struct Nobody;

impl FromStr for Nobody {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            Ok(Self)
        } else {
            Err(TRUST_NEEDED)
        }
    }
}

/// Reads `trust`, a word or a section.
pub(super) fn read(top: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<Said> {
    if !top.has_table("trust") {
        return top
            .parsed::<Nobody>("trust", mistakes)
            .map(|_| Said::nobody());
    }
    let mut section = top.section("trust", mistakes);
    let place = section.place();
    let keys = section.each("keys", mistakes, |line| {
        SigningKey::from_line(line).map_err(|error| error.to_string())
    });
    let threshold = section.number("threshold", (1, MOST_KEYS), mistakes);
    let version_step = section.number("version_step", (1, LARGEST_STEP), mistakes);
    let (says_keys, says_threshold) = (section.has("keys"), section.has("threshold"));
    let generation = section.number("generation", (0, LARGEST_STEP), mistakes);
    section.finish(mistakes);
    let Some((keys, span)) = keys else {
        if !says_keys {
            mistakes.at(
                place,
                format!("keys are missing in [trust]: {TRUST_NEEDED}"),
            );
        }
        return None;
    };
    let threshold = match threshold {
        Some(threshold) => threshold,
        None if says_threshold => return None,
        // Of one key there is nothing to choose.
        None if keys.len() <= 1 => 1,
        None => {
            let message = format!(
                "threshold is missing in [trust]: how many of the {} keys must sign? write threshold = 1, or more",
                keys.len()
            );
            mistakes.at(place, message);
            return None;
        }
    };
    match Keyring::new(keys, threshold) {
        Ok(keyring) => Some(Said {
            generation: generation.map_or(0, |number| u64::try_from(number).unwrap_or(0)),
            trust: Trust::Keys(keyring),
            version_step: version_step.map_or(VERSION_STEP, |step| {
                u64::try_from(step).unwrap_or(VERSION_STEP)
            }),
        }),
        Err(error) => {
            mistakes.at(Some(span), format!("[trust]: {error}"));
            None
        }
    }
}
