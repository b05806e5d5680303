//! Mistakes while they are collected: where they are, and which parts of the document they make doubtful.

use std::collections::{BTreeMap, BTreeSet};

use super::document::Mistake;
use super::pointer::Pointer;
use super::tree::Node;

/// The most mistakes that are reported of one document.
const MOST: usize = 100;

/// The mistakes of one document.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Found>,
    /// Places that nothing more is said about: they, or something in them, are known to be wrong.
    doubtful: BTreeSet<String>,
    /// Items of lists that do not count, by list, ascending.
    masked_items: BTreeMap<String, Vec<usize>>,
    left_out: usize,
}

#[derive(Debug)]
struct Found {
    pointer: Pointer,
    /// Where in the text, in bytes, if that is already known.
    offset: Option<usize>,
    message: String,
}

impl Findings {
    /// Records a mistake that stands at `offset` of the text.
    pub fn add_at(&mut self, offset: usize, pointer: &Pointer, message: impl FnOnce() -> String) {
        self.doubt(pointer);
        self.push(Some(offset), pointer, message);
    }

    /// Records a mistake in what the document means.
    pub fn add(&mut self, pointer: &Pointer, message: impl FnOnce() -> String) {
        self.push(None, pointer, message);
    }

    fn push(&mut self, offset: Option<usize>, pointer: &Pointer, message: impl FnOnce() -> String) {
        if self.found.len() >= MOST {
            self.left_out += 1;
            return;
        }
        self.found.push(Found {
            pointer: pointer.clone(),
            offset,
            message: message(),
        });
    }

    /// Says no more about `pointer` and what it is part of.
    pub fn doubt(&mut self, pointer: &Pointer) {
        self.doubtful.insert(pointer.0.clone());
    }

    /// Leaves the `index`th item of the list at `pointer` out of what is left of it.
    pub fn mask_item(&mut self, pointer: &Pointer, index: usize) {
        self.masked_items
            .entry(pointer.0.clone())
            .or_default()
            .push(index);
    }

    /// The place in the file of the `index`th item that is left of the list at `pointer`.
    pub fn item(&self, pointer: &Pointer, index: usize) -> Pointer {
        let mut in_file = index;
        for masked in self.masked_items.get(&pointer.0).into_iter().flatten() {
            if *masked <= in_file {
                in_file += 1;
            }
        }
        pointer.item(in_file)
    }

    /// Whether something in `pointer` was read wrongly, so that what it means cannot be judged.
    pub fn is_doubtful(&self, pointer: &Pointer) -> bool {
        if self.doubtful.is_empty() {
            return false;
        }
        let inside = format!("{}/", pointer.0);
        self.doubtful.contains(&pointer.0)
            || self
                .doubtful
                .range(inside.clone()..)
                .next()
                .is_some_and(|first| first.starts_with(&inside))
    }

    /// Whether the object at `pointer` may have had a `key` that could not be read.
    pub fn may_hide(&self, pointer: &Pointer, key: &str) -> bool {
        self.doubtful.contains(&pointer.0) || self.is_doubtful(&pointer.then(key))
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The mistakes in the order of the file, each with its line and column.
    pub fn into_mistakes(self, text: &str, tree: Option<&Node<'_>>) -> Vec<Mistake> {
        let mut by_offset: BTreeMap<usize, Vec<Found>> = BTreeMap::new();
        for found in self.found {
            let offset = found
                .offset
                .or_else(|| tree.map(|tree| tree.locate(&found.pointer)));
            by_offset
                .entry(offset.unwrap_or(0))
                .or_default()
                .push(found);
        }
        let mut mistakes = Vec::new();
        for (offset, mut found) in by_offset {
            let position = Some(line_column(text, offset));
            found.sort_by(|a, b| a.pointer.cmp(&b.pointer));
            for Found {
                pointer, message, ..
            } in found
            {
                let mistake = Mistake {
                    pointer,
                    position,
                    message,
                };
                if mistakes.last() != Some(&mistake) {
                    mistakes.push(mistake);
                }
            }
        }
        if self.left_out > 0 {
            mistakes.push(Mistake {
                pointer: Pointer(String::new()),
                position: None,
                message: format!(
                    "{} more mistakes are left out: mend these first",
                    self.left_out
                ),
            });
        }
        mistakes
    }
}

/// Line and column (in characters) of a place in the text, both from 1.
pub(super) fn line_column(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let lines = before.bytes().filter(|byte| *byte == b'\n').count();
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
    (count(lines), count(column))
}

/// The one of `known` that `word` was most likely meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let most = (word.chars().count() / 3).clamp(1, 3);
    let folded = word.to_lowercase().replace('_', "-");
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(folded.len()) <= most)
        .map(|candidate| (strsim::osa_distance(&folded, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "`a`, `b` and `c`", each between `quote`s and with `last` before the last one.
pub(super) fn listed<'k>(
    names: impl IntoIterator<Item = &'k str>,
    quote: char,
    last: &str,
) -> String {
    let quoted: Vec<String> = names
        .into_iter()
        .map(|name| format!("{quote}{name}{quote}"))
        .collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [many @ .., end] => format!("{} {last} {end}", many.join(", ")),
    }
}

/// `text` as a message may show it: shortened, nothing that a terminal obeys.
pub(super) fn shown(text: &str) -> String {
    const MOST_CHARACTERS: usize = 60;
    let mut shown = String::new();
    for character in text.chars().take(MOST_CHARACTERS) {
        match character {
            // Needs no escape here: it is what stands in the file.
            '\'' => shown.push('\''),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(MOST_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}
