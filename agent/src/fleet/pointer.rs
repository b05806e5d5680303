//! Places in the document.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a wish stands: a JSON pointer into the document, such as `/signed/products/shop/cron/tick`; or, without a
/// slash at its front, what it follows from besides: a lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pointer(pub String);

impl Pointer {
    /// The place that `segments` lead to from the top of the file, escaped as RFC 6901 has it.
    pub fn of<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Self {
        let mut text = String::new();
        for segment in segments {
            push(&mut text, segment.as_ref());
        }
        Self(text)
    }

    /// The lease of `product`, in the epoch in which `owner` owns it.
    pub fn in_lease(product: impl AsRef<str>, epoch: u64, owner: impl AsRef<str>) -> Self {
        let (product, owner) = (product.as_ref(), owner.as_ref());
        Self(format!("leases/{product}.json, epoch {epoch}: {owner}"))
    }

    /// The place called `segment` in this one.
    #[must_use]
    pub fn then(&self, segment: impl AsRef<str>) -> Self {
        let mut text = self.0.clone();
        push(&mut text, segment.as_ref());
        Self(text)
    }

    /// The `index`th place of the list that stands here, from 0.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// The keys and indices that lead here from the top of the file, unescaped.
    pub fn segments(&self) -> impl Iterator<Item = String> {
        self.0
            .split('/')
            .skip(1)
            .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
    }

    /// Whether this is `other` or a place in it.
    pub fn is_in(&self, other: &Self) -> bool {
        self.0
            .strip_prefix(&other.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn push(text: &mut String, segment: &str) {
    text.push('/');
    if !segment.contains(['~', '/']) {
        text.push_str(segment);
        return;
    }
    for character in segment.chars() {
        match character {
            '~' => text.push_str("~0"),
            '/' => text.push_str("~1"),
            other => text.push(other),
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A place in the document while it is walked. It becomes a [`Pointer`], a text of its own, only where there is
/// something to say of it: in a document of thousands of servers, nearly never.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    within: Option<(&'p Self, Segment<'p>)>,
}

#[derive(Debug, Clone, Copy)]
enum Segment<'p> {
    Key(&'p str),
    Item(usize),
}

impl<'p> Place<'p> {
    /// The top of the file.
    pub const TOP: Self = Self { within: None };

    /// The place called `key` in this one.
    pub const fn then(&'p self, key: &'p str) -> Self {
        Self {
            within: Some((self, Segment::Key(key))),
        }
    }

    /// The `index`th place of the list that stands here, from 0.
    pub const fn item(&'p self, index: usize) -> Self {
        Self {
            within: Some((self, Segment::Item(index))),
        }
    }

    pub fn pointer(&self) -> Pointer {
        let mut text = String::new();
        self.write(&mut text);
        Pointer(text)
    }

    /// No deeper than the document is nested, and no deeper nesting than 32 is read.
    fn write(&self, text: &mut String) {
        if let Some((within, segment)) = self.within {
            within.write(text);
            match segment {
                Segment::Key(key) => push(text, key),
                Segment::Item(index) => push(text, &index.to_string()),
            }
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pointer().fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_pointer_of_its_segments() {
        let (sites, aliases) = (Place::TOP.then("sites"), "a~b/c");
        let site = sites.item(12);
        let place = site.then(aliases);
        assert_eq!(place.pointer().0, "/sites/12/a~0b~1c");
        assert_eq!(place.pointer(), Pointer::of(["sites", "12", "a~b/c"]));
        assert_eq!(Place::TOP.pointer().0, "");
    }
}
