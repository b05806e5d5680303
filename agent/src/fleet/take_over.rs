//! Taking a draft over to what somebody else has published meanwhile: its changes, made in the newer text, where the two do not touch the
//! same thing.

use serde_json::Value;

use super::pointer::Pointer;
use super::text_edit::Edit;

/// The edits that make of `theirs` what also has the changes from `base` to `mine`; or the places that both have changed, each in another
/// way. The version and the moment of issue are those of `theirs`.
pub fn take_over(base: &Value, mine: &Value, theirs: &Value) -> Result<Vec<Edit>, Vec<Pointer>> {
    let mut edits = Vec::new();
    changes(base, mine, &Pointer(String::new()), &mut edits);
    edits.retain(|edit| !matches!(place(edit).0.as_str(), "/signed/version" | "/signed/issued"));
    let mut clashes = Vec::new();
    edits.retain(|edit| {
        let at = place(edit);
        let (was, is) = (base.pointer(&at.0), theirs.pointer(&at.0));
        let wanted = match edit {
            Edit::Set(_, value) => Some(value),
            Edit::Remove(_) => None,
        };
        // What it stands in may be gone: a part of a server that somebody has removed.
        let around = at.0.rsplit_once('/').map_or("", |(around, _)| around);
        let orphan = base.pointer(around).is_some() && theirs.pointer(around).is_none();
        if is == wanted {
            return false;
        }
        if is != was || orphan {
            clashes.push(at.clone());
        }
        true
    });
    if clashes.is_empty() {
        Ok(edits)
    } else {
        Err(clashes)
    }
}

const fn place(edit: &Edit) -> &Pointer {
    match edit {
        Edit::Set(pointer, _) | Edit::Remove(pointer) => pointer,
    }
}

/// The smallest members that differ.
fn changes(before: &Value, after: &Value, at: &Pointer, out: &mut Vec<Edit>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            out.push(Edit::Set(at.clone(), after.clone()));
        }
        return;
    };
    for (key, value) in old {
        match new.get(key) {
            Some(now) => changes(value, now, &at.then(key), out),
            None => out.push(Edit::Remove(at.then(key))),
        }
    }
    for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        out.push(Edit::Set(at.then(key), value.clone()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn both(base: &Value, mine: &Value, theirs: &Value) -> Result<Value, Vec<String>> {
        let edits = take_over(base, mine, theirs)
            .map_err(|clashes| clashes.into_iter().map(|at| at.0).collect::<Vec<_>>())?;
        let text = theirs.to_string();
        let text = edits
            .iter()
            .fold(text, |text, edit| edit.apply(&text).unwrap());
        Ok(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn changes_of_different_things_come_together() {
        let base =
            json!({"signed": {"version": 2, "servers": {"a": {"zone": "x"}, "b": {}, "c": {}}}});
        let mine = json!({"signed": {"version": 2, "servers": {"a": {"zone": "x", "state": "draining"}, "b": {}, "d": {}}}});
        let theirs = json!({"signed": {"version": 3, "servers": {"a": {"zone": "y"}, "b": {}, "c": {}, "e": {}}}});
        assert_eq!(
            both(&base, &mine, &theirs).unwrap(),
            json!({"signed": {"version": 3, "servers": {"a": {"zone": "y", "state": "draining"}, "b": {}, "d": {}, "e": {}}}})
        );
        // What both have done is done.
        assert_eq!(both(&base, &theirs, &theirs).unwrap(), theirs);
    }

    #[test]
    fn what_both_have_changed_is_for_a_person() {
        let base = json!({"servers": {"a": {"zone": "x", "roles": ["p"]}, "b": {"zone": "x"}}});
        for (mine, theirs, clash) in [
            (
                json!({"servers": {"a": {"zone": "y", "roles": ["p"]}, "b": {"zone": "x"}}}),
                json!({"servers": {"a": {"zone": "z", "roles": ["p"]}, "b": {"zone": "x"}}}),
                "/servers/a/zone",
            ),
            // Removed here, changed there; and the other way round.
            (
                json!({"servers": {"a": {"zone": "x", "roles": ["p"]}}}),
                json!({"servers": {"a": {"zone": "x", "roles": ["p"]}, "b": {"zone": "y"}}}),
                "/servers/b",
            ),
            (
                json!({"servers": {"a": {"zone": "x", "roles": ["p"]}, "b": {"zone": "x", "state": "retired"}}}),
                json!({"servers": {"a": {"zone": "x", "roles": ["p"]}}}),
                "/servers/b/state",
            ),
            // A list is one thing.
            (
                json!({"servers": {"a": {"zone": "x", "roles": ["p", "q"]}, "b": {"zone": "x"}}}),
                json!({"servers": {"a": {"zone": "x", "roles": ["p", "r"]}, "b": {"zone": "x"}}}),
                "/servers/a/roles",
            ),
        ] {
            assert_eq!(both(&base, &mine, &theirs).unwrap_err(), [clash]);
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..3_i64).prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::btree_map("[ab/~]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn what_only_one_has_changed_is_as_that_one_has_it(base in tree(), mine in tree()) {
            let (base, mine) = (json!({ "d": base }), json!({ "d": mine }));
            prop_assert_eq!(both(&base, &mine, &base).unwrap(), mine.clone());
            prop_assert_eq!(both(&base, &base, &mine).unwrap(), mine);
        }
    }
}
