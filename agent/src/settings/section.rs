//! Reading one table of the file: each key by its type, so that one wrong value does not hide the next.

use std::fmt;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::Mistakes;
use crate::system::spelling::nearest;

/// One table of the file, or one that is not there.
pub(super) struct Section<'t, 'i> {
    /// Its whole name (`platform.apache`), empty for the top.
    name: String,
    table: Option<&'t DeTable<'i>>,
    known: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    pub(super) const fn top(table: &'t DeTable<'i>) -> Self {
        Self {
            name: String::new(),
            table: Some(table),
            known: Vec::new(),
        }
    }

    /// The table under `key`, empty where there is none.
    pub(super) fn section(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Self {
        let name = match self.name.as_str() {
            "" => key.to_owned(),
            above => format!("{above}.{key}"),
        };
        let table = self.take(key).and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                mistakes.at(
                    Some(value.span()),
                    format!(
                        "{name} is a section: write [{name}], and its settings in the lines below"
                    ),
                );
            }
            table
        });
        Section {
            name,
            table,
            known: Vec::new(),
        }
    }

    /// Whether the value of `key` is a table, which [`Section::section`] would read.
    pub(super) fn has_table(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// Whether it has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A list of strings, each of which `read` makes a value of; each that it cannot is a mistake at its own place.
    pub(super) fn each<T>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<(Vec<T>, std::ops::Range<usize>)> {
        let value = self.take(key)?;
        let Some(strings) = value.get_ref().as_array() else {
            let message = format!("{key}: expected a list of strings, in brackets");
            mistakes.at(Some(value.span()), message);
            return None;
        };
        let mut all = Vec::new();
        let mut whole = true;
        for string in strings {
            let text = string.get_ref().as_str();
            let read = text.map_or_else(|| Err("expected a string, in quotes".into()), &read);
            match read {
                Ok(value) => all.push(value),
                Err(message) => {
                    mistakes.at(Some(string.span()), format!("{key}: {message}"));
                    whole = false;
                }
            }
        }
        whole.then(|| (all, value.span()))
    }

    /// Where it begins, for mistakes of the section as a whole: its first key.
    pub(super) fn place(&self) -> Option<std::ops::Range<usize>> {
        let keys = self.table?.iter().map(|(key, _)| key.span());
        keys.min_by_key(|span| span.start)
    }

    /// The value of `key`, known from now on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table?.get(key)
    }

    /// A string that must be of its own grammar.
    pub(super) fn parsed<T>(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.read(key, mistakes, |value| match value {
            DeValue::String(text) => text.parse().map_err(|error: T::Err| error.to_string()),
            _ => Err("expected a string, in quotes".into()),
        })
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        mistakes: &mut Mistakes<'_>,
    ) -> Option<T> {
        self.read(key, mistakes, |value| {
            value
                .as_str()
                .and_then(|text| words.iter().find(|(word, _)| *word == text))
                .map(|(_, meaning)| *meaning)
                .ok_or_else(|| {
                    let words: Vec<_> = words
                        .iter()
                        .map(|(word, _)| format!("\"{word}\""))
                        .collect();
                    format!("expected {}", words.join(" or "))
                })
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<bool> {
        self.read(key, mistakes, |value| {
            value
                .as_bool()
                .ok_or_else(|| "expected true or false, without quotes".into())
        })
    }

    /// A whole number between two bounds.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        (least, most): (usize, usize),
        mistakes: &mut Mistakes<'_>,
    ) -> Option<usize> {
        self.read(key, mistakes, |value| {
            value
                .as_integer()
                .and_then(|digits| usize::from_str_radix(digits.as_str(), digits.radix()).ok())
                .filter(|number| (least..=most).contains(number))
                .ok_or_else(|| format!("expected a whole number from {least} to {most}"))
        })
    }

    /// A share, 0 to 1.
    pub(super) fn share(&mut self, key: &'static str, mistakes: &mut Mistakes<'_>) -> Option<f64> {
        self.read(key, mistakes, |value| {
            let text = match value {
                DeValue::Float(float) => float.as_str(),
                DeValue::Integer(digits) => digits.as_str(),
                _ => "",
            };
            text.parse()
                .ok()
                .filter(|share| (0.0..=1.0).contains(share))
                .ok_or_else(|| "expected a share from 0.0 to 1.0".into())
        })
    }

    /// A list of strings, each of its own grammar, of which `build` makes a value.
    pub(super) fn list<T, U>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
        build: impl FnOnce(&[T]) -> Result<U, String>,
    ) -> Option<U>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.read(key, mistakes, |value| {
            let strings = value
                .as_array()
                .ok_or("expected a list of strings, in brackets")?;
            let parsed: Result<Vec<T>, String> = strings
                .iter()
                .map(|string| {
                    string
                        .get_ref()
                        .as_str()
                        .ok_or("expected a list of strings")
                })
                .map(|string| string?.parse().map_err(|error: T::Err| error.to_string()))
                .collect();
            build(&parsed?)
        })
    }

    /// All of it, where keys are names too: both of one grammar.
    pub(super) fn pairs<T>(self, mistakes: &mut Mistakes<'_>) -> Vec<(T, T)>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let mut pairs = Vec::new();
        for (key, value) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            let value_text = value.get_ref().as_str();
            match (name.parse(), value_text.map(str::parse)) {
                (Ok(name), Some(Ok(value))) => pairs.push((name, value)),
                (Err(error), _) => mistakes.at(Some(key.span()), format!("{name}: {error}")),
                (_, Some(Err(error))) => {
                    mistakes.at(Some(value.span()), format!("{name}: {error}"));
                }
                (_, None) => mistakes.at(
                    Some(value.span()),
                    format!("{name}: expected a string, in quotes"),
                ),
            }
        }
        pairs
    }

    /// Names what stands in the table and was not asked for.
    pub(super) fn finish(self, mistakes: &mut Mistakes<'_>) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let place = match self.name.as_str() {
                "" => String::new(),
                section => format!(" in [{section}]"),
            };
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            mistakes.at(
                Some(key.span()),
                format!("there is no setting {name}{place}; {hint}"),
            );
        }
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes<'_>,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(key)?;
        read(value.get_ref())
            .map_err(|message| mistakes.at(Some(value.span()), format!("{key}: {message}")))
            .ok()
    }
}
