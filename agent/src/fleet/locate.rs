//! Where the values stand that pointers lead to: all of them on one way through the text.

use std::collections::BTreeMap;

use super::pointer::Pointer;
use super::tree::{Node, Value};

/// A place that is looked for.
struct Sought<'p> {
    pointer: &'p Pointer,
    segments: Vec<String>,
    /// The nearest place so far.
    start: usize,
}

impl Node<'_> {
    /// Where the value that each of `pointers` leads to starts; the nearest place around it, where it leads nowhere. All are
    /// found on one way through the text.
    pub fn locate<'p>(
        &self,
        pointers: impl IntoIterator<Item = &'p Pointer>,
    ) -> BTreeMap<&'p Pointer, usize> {
        let mut sought: Vec<Sought<'p>> = pointers
            .into_iter()
            .map(|pointer| Sought {
                pointer,
                segments: pointer.segments().collect(),
                start: self.start,
            })
            .collect();
        self.find(&mut sought.iter_mut().collect::<Vec<_>>(), 0);
        let found = sought.into_iter();
        found.map(|sought| (sought.pointer, sought.start)).collect()
    }

    /// Leads those of which this is the place in `depth` to where they lead in it.
    fn find(&self, sought: &mut [&mut Sought<'_>], depth: usize) {
        let mut by_segment: BTreeMap<String, Vec<&mut Sought<'_>>> = BTreeMap::new();
        for one in sought {
            one.start = self.start;
            if let Some(segment) = one.segments.get(depth).cloned() {
                by_segment.entry(segment).or_default().push(one);
            }
        }
        if by_segment.is_empty() {
            return;
        }
        match &self.value {
            Value::Object(members) => {
                for member in members.iter() {
                    // The first of two with one key; and no more is read than is looked for.
                    if let Some(mut inner) = by_segment.remove(member.key.as_ref()) {
                        member.value.find(&mut inner, depth + 1);
                        if by_segment.is_empty() {
                            return;
                        }
                    }
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Some(mut inner) = by_segment.remove(&index.to_string()) {
                        item.find(&mut inner, depth + 1);
                        if by_segment.is_empty() {
                            return;
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_is_found_at_the_nearest_place() {
        let text = r#"{"a": {"b": [10, {"c": 1}], "b": 2}, "d": "x"}"#;
        let tree = Node::parse(text).unwrap();
        let pointers = [
            "",
            "/a/b/1/c",
            "/a/b/0",
            "/a/b/7",
            "/a/nothing",
            "/d",
            "/d/x",
        ]
        .map(|pointer| Pointer(pointer.into()));
        let found = tree.locate(&pointers);
        let rest: Vec<&str> = pointers
            .iter()
            .map(|pointer| text.get(found[pointer]..).unwrap().get(..3).unwrap())
            .collect();
        assert_eq!(
            rest,
            ["{\"a", "1}]", "10,", "[10", "{\"b", "\"x\"", "\"x\""]
        );
    }
}
