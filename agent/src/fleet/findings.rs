//! Mistakes while they are collected: where they are, and which parts of the document they make doubtful.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::pointer::Pointer;
use super::position::line_column;
use super::tree::Node;
use super::wording::shown;

/// The most mistakes that are reported of one document.
const MOST: usize = 100;

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// Where, as a JSON pointer into the file.
    pub pointer: Pointer,
    /// Line and column of the value (or the key) in the file, both from 1, where they are known.
    pub position: Option<(u32, u32)>,
    /// What is wrong, what was expected, and the nearest right name for a misspelt one.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.position {
            write!(out, "{line}:{column}: ")?;
        }
        if !self.pointer.0.is_empty() {
            // Keys come from the file: nothing that a terminal obeys may get through.
            write!(out, "{}: ", shown_pointer(&self.pointer))?;
        }
        out.write_str(&self.message)
    }
}

fn shown_pointer(pointer: &Pointer) -> String {
    let segments: Vec<String> = pointer.0.split('/').map(shown).collect();
    segments.join("/")
}

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
