//! Edits of a document's text: a member set or removed, and all else as a person wrote it, to the byte.

use serde_json::Value;

use super::pointer::Pointer;
use super::position::line_column;
use super::tree::{self, Node};

/// One edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The member has this value from now on; objects on the way to it that are missing are made.
    Set(Pointer, Value),
    /// The member is gone; that it was not there is no mistake.
    Remove(Pointer),
}

/// Why a text could not be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no JSON: where, and what is wrong.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// From 1.
        line: u32,
        /// From 1, in bytes.
        column: u32,
        /// What is wrong.
        message: String,
    },
    /// Something on the way to the place is no object.
    #[error("{0} is no object: nothing can be put into it")]
    NoObject(Pointer),
    /// The whole document cannot be set or removed.
    #[error("no member is named")]
    Nothing,
}

impl Edit {
    /// The text after this edit.
    pub fn apply(&self, text: &str) -> Result<String, EditError> {
        let tree = Node::parse(text).map_err(|error| {
            let (line, column) = line_column(text, error.offset);
            EditError::Syntax {
                line,
                column,
                message: error.message,
            }
        })?;
        match self {
            Self::Set(pointer, value) => set(text, &tree, pointer, value),
            Self::Remove(pointer) => remove(text, &tree, pointer),
        }
    }
}

fn set(text: &str, tree: &Node<'_>, pointer: &Pointer, value: &Value) -> Result<String, EditError> {
    let mut node = tree.clone();
    let mut place = Pointer(String::new());
    let mut segments = pointer.segments().peekable();
    if segments.peek().is_none() {
        return Err(EditError::Nothing);
    }
    while let Some(segment) = segments.next() {
        let tree::Value::Object(members) = &node.value else {
            return Err(EditError::NoObject(place));
        };
        place = place.then(&segment);
        let members: Vec<_> = members.iter().collect();
        if let Some(member) = members.iter().find(|member| member.key == segment) {
            if segments.peek().is_none() {
                let start = member.value.start;
                return Ok(replaced(text, start, member.value.end, &written(value)));
            }
            node = member.value.clone();
            continue;
        }
        let rest: Vec<String> = segments.collect();
        let value = rest.into_iter().rev().fold(value.clone(), |value, key| {
            Value::Object([(key, value)].into_iter().collect())
        });
        let entry = format!("{}: {}", Value::String(segment), written(&value));
        return Ok(match members.last() {
            Some(last) => {
                let after = last.value.end;
                replaced(
                    text,
                    after,
                    after,
                    &format!(",{}{entry}", space_before(text, last)),
                )
            }
            None => replaced(text, node.start + 1, node.start + 1, &entry),
        });
    }
    Err(EditError::Nothing)
}

fn remove(text: &str, tree: &Node<'_>, pointer: &Pointer) -> Result<String, EditError> {
    let mut node = tree.clone();
    let mut segments = pointer.segments().peekable();
    if segments.peek().is_none() {
        return Err(EditError::Nothing);
    }
    while let Some(segment) = segments.next() {
        let tree::Value::Object(members) = &node.value else {
            return Ok(text.into());
        };
        let members: Vec<_> = members.iter().collect();
        let Some(index) = members.iter().position(|member| member.key == segment) else {
            return Ok(text.into());
        };
        let Some(member) = members.get(index) else {
            return Ok(text.into());
        };
        if segments.peek().is_some() {
            node = member.value.clone();
            continue;
        }
        let last = member.value.end;
        let before = index.checked_sub(1).and_then(|index| members.get(index));
        return Ok(match (before, members.get(index + 1)) {
            // With the comma before it.
            (Some(before), _) => replaced(text, before.value.end, last, ""),
            (None, Some(next)) => replaced(text, member.key_start, next.key_start, ""),
            (None, None) => replaced(text, member.key_start, last, ""),
        });
    }
    Err(EditError::Nothing)
}

/// The space that stands before a member: a new one gets the same.
fn space_before<'t>(text: &'t str, member: &tree::Member<'_>) -> &'t str {
    let before = text.get(..member.key_start).unwrap_or_default();
    let space = before.trim_end_matches([' ', '\t', '\n', '\r']).len();
    before.get(space..).unwrap_or_default()
}

fn replaced(text: &str, from: usize, to: usize, with: &str) -> String {
    let mut out = String::with_capacity(text.len() + with.len());
    out.push_str(text.get(..from).unwrap_or_default());
    out.push_str(with);
    out.push_str(text.get(to..).unwrap_or_default());
    out
}

/// A value in one line, spaced as people write it.
fn written(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::String(key.clone()), written(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const TEXT: &str = "{\n  \"a\": {\"x\":1,   \"y\" : [1, 2]},\n  \"b\": {}\n}\n";

    fn set(pointer: &str, value: Value) -> Edit {
        Edit::Set(Pointer(pointer.into()), value)
    }

    fn remove(pointer: &str) -> Edit {
        Edit::Remove(Pointer(pointer.into()))
    }

    #[test]
    fn only_what_is_edited_changes() {
        for (edit, after) in [
            (
                set("/a/x", json!("z")),
                "{\n  \"a\": {\"x\":\"z\",   \"y\" : [1, 2]},\n  \"b\": {}\n}\n",
            ),
            (
                set("/a/z", json!({"p": [1, "q"], "r": null})),
                "{\n  \"a\": {\"x\":1,   \"y\" : [1, 2],   \"z\": {\"p\": [1, \"q\"], \"r\": null}},\n  \"b\": {}\n}\n",
            ),
            (
                set("/b/c/d", json!(true)),
                "{\n  \"a\": {\"x\":1,   \"y\" : [1, 2]},\n  \"b\": {\"c\": {\"d\": true}}\n}\n",
            ),
            (
                set("/c~1d", json!(1)),
                "{\n  \"a\": {\"x\":1,   \"y\" : [1, 2]},\n  \"b\": {},\n  \"c/d\": 1\n}\n",
            ),
            (
                remove("/a/x"),
                "{\n  \"a\": {\"y\" : [1, 2]},\n  \"b\": {}\n}\n",
            ),
            (remove("/a/y"), "{\n  \"a\": {\"x\":1},\n  \"b\": {}\n}\n"),
            (remove("/b"), "{\n  \"a\": {\"x\":1,   \"y\" : [1, 2]}\n}\n"),
            (remove("/b/nothing/there"), TEXT),
        ] {
            assert_eq!(edit.apply(TEXT).unwrap(), after, "{edit:?}");
        }
    }

    #[test]
    fn what_cannot_be_edited_says_where() {
        let error = set("/a/x/y", json!(1)).apply(TEXT).unwrap_err();
        assert_eq!(error, EditError::NoObject(Pointer("/a/x".into())));
        let error = remove("/a").apply("{\n  \"a\": 1,\n}").unwrap_err();
        assert!(
            matches!(error, EditError::Syntax { line: 2, .. }),
            "{error}"
        );
        assert_eq!(set("", json!(1)).apply(TEXT), Err(EditError::Nothing));
    }

    proptest! {
        #[test]
        fn an_edit_of_the_text_is_an_edit_of_the_value(
            first in "[a-c]", second in "[a-c/~é\"]", value in "[ -~]{0,8}", take in any::<bool>()
        ) {
            let text = "{ \"a\" : { \"b\" : [ {} , \"}\" ] , \"c\" : 2 } , \"b\" : { } }";
            let pointer = Pointer::of([first.as_str(), second.as_str()]);
            let mut model: Value = serde_json::from_str(text).unwrap();
            let edit = if take {
                if let Some(members) = model.get_mut(&first).and_then(Value::as_object_mut) {
                    members.remove(&second);
                }
                Edit::Remove(pointer)
            } else {
                model[first.as_str()][second.as_str()] = json!(value);
                Edit::Set(pointer, json!(value))
            };
            let after = edit.apply(text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), model);
        }
    }
}
