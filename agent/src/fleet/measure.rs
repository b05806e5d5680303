//! How much a text holds, counted before any of it is read: what it costs in memory grows with the number of its values, and
//! not with its bytes alone.

/// The most objects of a document: servers, products, sites, jobs, and what they consist of. A server costs one, a product a
/// few, so that this is a fleet many times as large as any that one document describes.
const MOST_OBJECTS: usize = 100_000;
/// The most values of a document, of any kind.
const MOST_VALUES: usize = 1_000_000;

/// Why a text holds too much to be read, as a sentence. `None`: it does not.
pub(super) fn too_much(text: &str) -> Option<String> {
    let counted = count(text);
    let (what, found, most) = if counted.objects > MOST_OBJECTS {
        ("objects", counted.objects, MOST_OBJECTS)
    } else if counted.values > MOST_VALUES {
        ("values", counted.values, MOST_VALUES)
    } else {
        return None;
    };
    Some(format!(
        "the file has {found} {what}, and a fleet document has at most {most}: is it another kind of file?"
    ))
}

struct Counted {
    objects: usize,
    values: usize,
}

/// Counts what would be there if the text were JSON: brackets and commas that stand in no string.
fn count(text: &str) -> Counted {
    let mut counted = Counted {
        objects: 0,
        values: 1,
    };
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => loop {
                match bytes.next() {
                    None | Some(b'"') => break,
                    Some(b'\\') => drop(bytes.next()),
                    Some(_) => {}
                }
            },
            b'{' => {
                counted.objects += 1;
                counted.values += 1;
            }
            b'[' | b',' => counted.values += 1,
            _ => {}
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_are_not_counted() {
        let counted = count(r#"{"a{\"{,": [1, 2, {"b": "]},{"}], "c": "}"#);
        assert_eq!((counted.objects, counted.values), (2, 7));
    }

    #[test]
    fn as_many_as_are_allowed_are_read_and_not_one_more() {
        let objects = |n: usize| format!("[{}]", vec!["{}"; n].join(","));
        assert_eq!(too_much(&objects(MOST_OBJECTS)), None);
        let said = too_much(&objects(MOST_OBJECTS + 1)).unwrap();
        assert!(said.contains("100001 objects"), "{said}");
        assert!(too_much(&format!("[{}1]", "1,".repeat(MOST_VALUES))).is_some());
    }
}
