//! What a newer version of the agent wrote into the ledger: kept as it stands and written back, so that going back to
//! that version finds it. It is never acted on: what it is, this version does not know.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{FORMAT, Ledger};

/// Members of the ledger that are maps of things that may be of kinds unknown here.
const MAPS: [&str; 3] = ["things", "steps", "lists"];
/// As many are named in a report.
const NAMED: usize = 5;

/// What is not understood, by where it stood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Unknown {
    /// Members of the ledger itself.
    members: BTreeMap<String, Value>,
    /// Entries of its maps, whole.
    entries: BTreeMap<(&'static str, String), Value>,
    /// Members of entries that are otherwise understood.
    details: BTreeMap<(&'static str, String), Map<String, Value>>,
}

/// Reads as much as is understood; the rest is in [`Ledger::unknown`].
pub(super) fn read(value: Value) -> Result<Ledger, serde_json::Error> {
    let mut all: Map<String, Value> = serde_json::from_value(value)?;
    let mut unknown = Unknown::default();
    let mut known = Map::new();
    known.insert("format".into(), FORMAT.into());
    all.remove("format");
    for name in MAPS {
        let entries = match all.remove(name) {
            Some(entries) => serde_json::from_value(entries)?,
            None => Map::new(),
        };
        let understood = match name {
            "things" => unknown.sorted::<super::Owned>(name, entries),
            "steps" => unknown.sorted::<super::KnownStep>(name, entries),
            _ => unknown.sorted::<Vec<String>>(name, entries),
        };
        known.insert(name.into(), Value::Object(understood));
    }
    known.insert("dirs".into(), all.remove("dirs").unwrap_or_default());
    known.insert("good".into(), all.remove("good").unwrap_or_default());
    if known.get("dirs") == Some(&Value::Null) {
        known.insert("dirs".into(), Value::Array(Vec::new()));
    }
    unknown.members = all.into_iter().collect();
    let mut ledger: Ledger = serde_json::from_value(Value::Object(known))?;
    ledger.unknown = unknown;
    Ok(ledger)
}

impl Unknown {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.entries.is_empty() && self.details.is_empty()
    }

    /// The entries of a map that are understood as `T`; the others, and what is too much in some, is kept here.
    fn sorted<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        entries: Map<String, Value>,
    ) -> Map<String, Value> {
        let mut understood = Map::new();
        for (key, value) in entries {
            let is_key = name != "things" || key.parse::<crate::resource::Thing>().is_ok();
            if is_key && serde_json::from_value::<T>(value.clone()).is_ok() {
                understood.insert(key, value);
            } else if let Some((plain, details)) = is_key.then(|| plain::<T>(&value)).flatten() {
                self.details.insert((name, key.clone()), details);
                understood.insert(key, plain);
            } else {
                self.entries.insert((name, key), value);
            }
        }
        understood
    }

    /// The ledger with all that is not understood put back where it stood. What this version has written since under
    /// the same name stays.
    pub(super) fn joined(&self, ledger: &Ledger) -> Value {
        let Ok(Value::Object(mut all)) = serde_json::to_value(ledger) else {
            return Value::Null;
        };
        for (name, value) in &self.members {
            all.insert(name.clone(), value.clone());
        }
        for ((name, key), value) in &self.entries {
            if let Some(Value::Object(entries)) = all.get_mut(*name) {
                entries.entry(key).or_insert_with(|| value.clone());
            }
        }
        for ((name, key), details) in &self.details {
            if let Some(Value::Object(entry)) = all.get_mut(*name).and_then(|map| map.get_mut(key))
            {
                for (member, value) in details {
                    entry.entry(member).or_insert_with(|| value.clone());
                }
            }
        }
        Value::Object(all)
    }

    /// What it is, for people.
    pub(super) fn sentence(&self) -> Option<String> {
        let entries = self.entries.keys().map(|(_, key)| key.as_str());
        let names: Vec<&str> = (entries.chain(self.members.keys().map(String::as_str))).collect();
        if names.is_empty() {
            return None;
        }
        let mut named = names
            .iter()
            .take(NAMED)
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        if names.len() > NAMED {
            named.push_str(", …");
        }
        Some(format!(
            "a newer node-agent wrote {} entries into {} that this version ({}) does not know ({named}): they are kept, and neither repaired nor removed until that version runs again",
            names.len(),
            super::state::path(super::FILE).display(),
            env!("CARGO_PKG_VERSION"),
        ))
    }
}

/// An entry without the members that `T` does not have, and those members. `None`: it is no `T` without them either.
fn plain<T: DeserializeOwned>(value: &Value) -> Option<(Value, Map<String, Value>)> {
    let mut left = value.as_object()?.clone();
    let mut details = Map::new();
    // One after the other: which members a type has, only reading it tells.
    for (member, _) in value.as_object()? {
        let mut without = left.clone();
        let taken = without.remove(member)?;
        let is_too_much = !is_known_to::<T>(&left, member);
        if is_too_much {
            details.insert(member.clone(), taken);
            left = without;
        }
    }
    let plain = Value::Object(left);
    serde_json::from_value::<T>(plain.clone()).ok()?;
    (!details.is_empty()).then_some((plain, details))
}

/// Whether a member is none that `T` refuses by its name.
fn is_known_to<T: DeserializeOwned>(entry: &Map<String, Value>, member: &str) -> bool {
    let mut alone = Map::new();
    if let Some(value) = entry.get(member) {
        alone.insert(member.to_owned(), value.clone());
    }
    match serde_json::from_value::<T>(Value::Object(alone)) {
        Ok(_) => true,
        Err(error) => !error.to_string().starts_with("unknown field"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_members_are_those_of_the_ledger() {
        let ledger = serde_json::to_value(super::Ledger::default()).unwrap();
        let mut members: Vec<_> = ledger.as_object().unwrap().keys().cloned().collect();
        let mut known: Vec<_> = super::MAPS.map(String::from).into();
        known.extend(["format", "dirs", "good"].map(String::from));
        members.sort();
        known.sort();
        assert_eq!(members, known);
    }
}
