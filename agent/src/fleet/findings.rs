//! Mistakes while they are collected: where they are, and which parts of the document they make doubtful.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use super::pointer::{Place, Pointer};
use super::position::Positions;
use super::tree::Node;
use super::wording::shown;

/// The most mistakes that are reported of one document, and that are looked for.
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
    /// The other place that matters, where two clash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<OtherPlace>,
}

/// The other one of two places that clash: either of them could be what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OtherPlace {
    /// Where, as a JSON pointer into the file.
    pub pointer: Pointer,
    /// Its line and column in the file, both from 1, where they are known.
    pub position: Option<(u32, u32)>,
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
        out.write_str(&self.message)?;
        let other = self.other.as_ref().and_then(|other| other.position);
        match other {
            Some((line, column)) => write!(out, " (there: {line}:{column})"),
            None => Ok(()),
        }
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
    /// There was one more than that: the rest of the document is not looked at.
    stopped: bool,
}

#[derive(Debug)]
struct Found {
    pointer: Pointer,
    /// Where in the text, in bytes, if that is already known.
    offset: Option<usize>,
    message: String,
    /// The other place of a clash.
    other: Option<Pointer>,
}

impl Findings {
    /// Records a mistake that stands at `offset` of the text.
    pub fn add_at(&mut self, offset: usize, place: &Place<'_>, message: impl FnOnce() -> String) {
        if self.is_full() {
            return;
        }
        let pointer = place.pointer();
        self.doubtful.insert(pointer.0.clone());
        self.push(Some(offset), || pointer, message, None);
    }

    /// Records a mistake in what the document means.
    pub fn add(&mut self, place: &Place<'_>, message: impl FnOnce() -> String) {
        self.push(None, || place.pointer(), message, None);
    }

    /// Records that what stands at `place` clashes with what stands at `other`: both are shown.
    pub fn clash(
        &mut self,
        place: &Place<'_>,
        other: &Place<'_>,
        message: impl FnOnce() -> String,
    ) {
        self.push(None, || place.pointer(), message, Some(other.pointer()));
    }

    /// The same of places that are known by their pointers.
    pub fn clash_of(&mut self, pointer: Pointer, other: Pointer, message: impl FnOnce() -> String) {
        self.push(None, || pointer, message, Some(other));
    }

    fn push(
        &mut self,
        offset: Option<usize>,
        pointer: impl FnOnce() -> Pointer,
        message: impl FnOnce() -> String,
        other: Option<Pointer>,
    ) {
        if self.is_full() {
            return;
        }
        self.found.push(Found {
            pointer: pointer(),
            offset,
            message: message(),
            other,
        });
    }

    /// Whether there are as many as are told. Asked for another one, it notes that there are more.
    fn is_full(&mut self) -> bool {
        self.stopped |= self.found.len() >= MOST;
        self.stopped
    }

    /// Whether there are more than are told: then nobody need look for others.
    pub const fn stopped(&self) -> bool {
        self.stopped
    }

    /// Says no more about `place` and what it is part of.
    pub fn doubt(&mut self, place: &Place<'_>) {
        self.doubtful.insert(place.pointer().0);
    }

    /// Leaves the `index`th item of the list at `place` out of what is left of it. Of one list, in their order.
    pub fn mask_item(&mut self, place: &Place<'_>, index: usize) {
        self.masked_items
            .entry(place.pointer().0)
            .or_default()
            .push(index);
    }

    /// The place in the file of the `index`th item that is left of the list at `place`.
    pub fn item<'p>(&self, place: &'p Place<'p>, index: usize) -> Place<'p> {
        if self.masked_items.is_empty() {
            return place.item(index);
        }
        let masked = self
            .masked_items
            .get(&place.pointer().0)
            .map_or(&[][..], Vec::as_slice);
        // The nth masked item has as many that are left before it as its own index less n. Found by halving: a list
        // may have a hundred thousand items, and half of them may be wrong.
        let (mut low, mut high) = (0, masked.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let left_before = masked.get(middle).map_or(usize::MAX, |at| at - middle);
            if left_before <= index {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        place.item(index + low)
    }

    /// Whether something in `place` was read wrongly, so that what it means cannot be judged.
    pub fn is_doubtful(&self, place: &Place<'_>) -> bool {
        !self.doubtful.is_empty() && self.is_doubtful_at(&place.pointer())
    }

    /// The same of a place that is known by its pointer.
    pub fn is_doubtful_at(&self, pointer: &Pointer) -> bool {
        if self.doubtful.contains(&pointer.0) {
            return true;
        }
        let pointer = format!("{}/", pointer.0);
        let next = self
            .doubtful
            .range::<str, _>((Bound::Included(pointer.as_str()), Bound::Unbounded))
            .next();
        next.is_some_and(|first| first.starts_with(&pointer))
    }

    /// Whether the object at `place` may have had a `key` that could not be read.
    pub fn may_hide(&self, place: &Place<'_>, key: &str) -> bool {
        !self.doubtful.is_empty()
            && (self.doubtful.contains(&place.pointer().0) || self.is_doubtful(&place.then(key)))
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The mistakes in the order of the file, each with its line and column.
    pub fn into_mistakes(self, text: &str, tree: Option<&Node<'_>>) -> Vec<Mistake> {
        let without_offset = self.found.iter().filter(|found| found.offset.is_none());
        let sought = without_offset.map(|found| &found.pointer);
        let sought = sought.chain(self.found.iter().filter_map(|found| found.other.as_ref()));
        let places = tree.map_or_else(BTreeMap::new, |tree| tree.locate(sought));
        let offset_of = |pointer: &Pointer| places.get(pointer).copied();
        let mut in_order: Vec<(usize, &Found)> = self
            .found
            .iter()
            .map(|found| {
                let offset = found.offset.or_else(|| offset_of(&found.pointer));
                (offset.unwrap_or(0), found)
            })
            .collect();
        in_order.sort_by(|(at, one), (also_at, other)| {
            at.cmp(also_at)
                .then_with(|| one.pointer.cmp(&other.pointer))
        });
        let mut positions = Positions::new(text);
        let mut mistakes: Vec<Mistake> = Vec::new();
        for (offset, found) in in_order {
            let other = found.other.as_ref().map(|pointer| OtherPlace {
                position: offset_of(pointer).map(|at| positions.of(at)),
                pointer: pointer.clone(),
            });
            let mistake = Mistake {
                pointer: found.pointer.clone(),
                position: Some(positions.of(offset)),
                message: found.message.clone(),
                other,
            };
            if mistakes.last() != Some(&mistake) {
                mistakes.push(mistake);
            }
        }
        if self.stopped {
            mistakes.push(Mistake {
                pointer: Pointer(String::new()),
                position: None,
                message: format!(
                    "there are more than {MOST} mistakes, and no more were looked for: mend these first"
                ),
                other: None,
            });
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_is_left_keeps_its_place_in_the_file() {
        let list = Place::TOP.then("list");
        let masked = [0, 1, 4, 7, 8];
        let mut findings = Findings::default();
        for index in masked {
            findings.mask_item(&list, index);
        }
        let left: Vec<usize> = (0..12).filter(|index| !masked.contains(index)).collect();
        for (index, in_file) in left.iter().enumerate() {
            assert_eq!(
                findings.item(&list, index).pointer(),
                list.item(*in_file).pointer()
            );
        }
        let other = Place::TOP.then("other");
        assert_eq!(findings.item(&other, 3).pointer(), other.item(3).pointer());
    }
}
