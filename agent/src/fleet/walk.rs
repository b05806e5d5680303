//! Finding all the ways in which a document's text does not fit the model: the slow path, walked only after the fast
//! one has failed. What is wrong is masked, so that one mistake is reported once and what is left can be judged.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;

use super::findings::Findings;
use super::names::{
    AccountId, Addresses, AnswerStatus, Children, Connections, KeptReleases, Niceness, Port,
    RedirectStatus, Requests, Retries, Threads, Ttl, WarmUps, Weight, Written,
};
use super::pointer::Place;
use super::position::Positions;
use super::tree::{Member, Node, Value};
use super::wording::{listed, shown};
use crate::system::spelling::nearest;
use serde::de::value::StrDeserializer;
use serde::de::{self, Deserialize, IntoDeserializer};

/// The longest key that is walked into, in bytes. No type of the model has keys as long: paths have less than 4,096.
const LONGEST_KEY: usize = 4096;

/// The state of a walk. It ends where more mistakes were found than are told.
pub(super) struct Walker<'t> {
    text: &'t str,
    positions: Positions<'t>,
    pub findings: Findings,
    /// Starts of the values, and of the keys of entries, that do not count.
    masked: BTreeSet<usize>,
}

/// A type of the model, as far as its mistakes are concerned.
pub(super) trait Walk {
    /// Records the mistakes of `node`, which stands at `at`. Whether it can be used, once what was masked is left out.
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool;
}

/// How a field is walked.
pub(super) type WalkFn = fn(&Node<'_>, &Place<'_>, &mut Walker<'_>) -> bool;

/// A field of an object of the model.
pub(super) struct Field {
    pub name: &'static str,
    pub required: bool,
    pub walk: WalkFn,
}

/// The walk of a field's type. The field itself is only named, so that the type is the model's own.
pub(super) fn of<S, T: Walk>(_: fn(&S) -> &T) -> WalkFn {
    T::walk
}

impl<'t> Walker<'t> {
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            positions: Positions::new(text),
            findings: Findings::default(),
            masked: BTreeSet::new(),
        }
    }

    fn wrong(&mut self, node: &Node<'_>, at: &Place<'_>, message: impl FnOnce() -> String) -> bool {
        self.findings.add_at(node.start, at, message);
        false
    }

    fn unexpected(&mut self, node: &Node<'_>, at: &Place<'_>, expected: &str) -> bool {
        self.wrong(node, at, || {
            format!("expected {expected}; found {}", found(node))
        })
    }

    fn mask(&mut self, start: usize) {
        self.masked.insert(start);
    }

    /// An object of the model: `fields` are its fields, `later` those of later versions.
    pub fn object(
        &mut self,
        node: &Node<'_>,
        at: &Place<'_>,
        fields: &[Field],
        later: &[&str],
    ) -> bool {
        let Value::Object(members) = &node.value else {
            let keys = listed(fields.iter().map(|field| field.name), '`', "and");
            return self.unexpected(node, at, &format!("an object with {keys}"));
        };
        let mut first_at: HashMap<Cow<'_, str>, usize> = HashMap::new();
        // Fields that are there under a misspelt name: no need to say that they are missing too.
        let mut misspelt: BTreeSet<&str> = BTreeSet::new();
        // Made only where a field is unknown.
        let mut there: Option<BTreeSet<&str>> = None;
        let mut usable = true;
        for member in members.iter() {
            if self.findings.stopped() {
                return usable;
            }
            let key = member.key.as_ref();
            let place = at.then(key);
            if let Some(first) = first_at.insert(member.key.clone(), member.key_start) {
                self.twice(key, first, member.key_start, &place);
                continue;
            }
            if let Some(field) = fields.iter().find(|field| field.name == key) {
                if !(field.walk)(&member.value, &place, self) {
                    self.mask(member.key_start);
                    usable &= !field.required;
                }
                continue;
            }
            self.mask(member.key_start);
            if later.contains(&key) {
                self.findings.add_at(member.key_start, &place, || {
                    format!(
                        "`{key}` is not supported by this version of node-agent ({})",
                        env!("CARGO_PKG_VERSION")
                    )
                });
                continue;
            }
            let there = there.get_or_insert_with(|| {
                let named = |member: Member<'_>| {
                    let field = fields.iter().find(|field| field.name == member.key)?;
                    Some(field.name)
                };
                members.iter().filter_map(named).collect()
            });
            let absent = fields.iter().filter(|field| !there.contains(field.name));
            let meant = nearest(key, absent.map(|field| field.name))
                .and_then(|name| fields.iter().find(|field| field.name == name));
            self.findings
                .add_at(member.key_start, &place, || match meant {
                    Some(field) => format!(
                        "unknown field `{}`; did you mean `{}`?",
                        shown(key),
                        field.name
                    ),
                    None => format!(
                        "unknown field `{}`; the fields here are {}",
                        shown(key),
                        listed(fields.iter().map(|field| field.name), '`', "and")
                    ),
                });
            if let Some(field) = meant {
                misspelt.insert(field.name);
                self.findings.doubt(&at.then(field.name));
                (field.walk)(&member.value, &place, self);
            }
        }
        for field in fields.iter().filter(|field| field.required) {
            if !first_at.contains_key(field.name) {
                usable = false;
                if !misspelt.contains(field.name) {
                    self.wrong(node, at, || {
                        format!("the field `{}` is missing", field.name)
                    });
                    self.findings.doubt(&at.then(field.name));
                }
            }
        }
        usable
    }

    fn twice(&mut self, key: &str, first: usize, second: usize, place: &Place<'_>) {
        self.mask(second);
        let positions = &mut self.positions;
        self.findings.add_at(second, place, || {
            let (line, column) = positions.of(first);
            format!(
                "`{}` stands here twice (first at {line}:{column}): keep one",
                shown(key)
            )
        });
    }

    /// What is left of `node` without what was masked, as JSON. Members of it that are missing are as `instead` says.
    pub fn unmasked(&self, node: &Node<'_>, instead: &[(&str, &str)]) -> String {
        let mut left = String::new();
        if let Value::Object(members) = &node.value {
            let members = members.iter().filter(|member| !self.is_masked(member));
            let mut missing: BTreeMap<&str, &str> = instead.iter().copied().collect();
            left.push('{');
            for member in members {
                missing.remove(member.key.as_ref());
                self.write_member(&member, &mut left);
            }
            for (key, value) in missing {
                separate(&mut left);
                left.extend(["\"", key, "\":", value]);
            }
            left.push('}');
        } else {
            self.write(node, &mut left);
        }
        left
    }

    fn is_masked(&self, member: &Member<'_>) -> bool {
        self.masked.contains(&member.key_start)
    }

    fn write_member(&self, member: &Member<'_>, left: &mut String) {
        separate(left);
        // The key as it stands there, with its colon.
        let before = self.text.get(member.key_start..member.value.start);
        left.push_str(before.unwrap_or_default());
        self.write(&member.value, left);
    }

    fn write(&self, node: &Node<'_>, left: &mut String) {
        if self.masked.range(node.start..node.end).next().is_none() {
            left.push_str(self.text.get(node.start..node.end).unwrap_or_default());
            return;
        }
        match &node.value {
            Value::List(items) => {
                left.push('[');
                for item in items.iter() {
                    if !self.masked.contains(&item.start) {
                        separate(left);
                        self.write(&item, left);
                    }
                }
                left.push(']');
            }
            Value::Object(members) => {
                left.push('{');
                for member in members.iter().filter(|member| !self.is_masked(member)) {
                    self.write_member(&member, left);
                }
                left.push('}');
            }
            _ => left.push_str(self.text.get(node.start..node.end).unwrap_or_default()),
        }
    }
}

/// Begins another entry.
fn separate(text: &mut String) {
    if !text.ends_with(['{', '[']) {
        text.push(',');
    }
}

/// What stands at `node`, for messages.
pub(super) fn found(node: &Node<'_>) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(text) => format!("the number {}", shown(text)),
        Value::Text(text) if text.is_empty() => "an empty string".to_owned(),
        Value::Text(text) => format!("\"{}\"", shown(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

impl<T: Written> Walk for T {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        let Value::Text(text) = &node.value else {
            return walker.unexpected(node, at, T::EXPECTED);
        };
        match text.parse::<T>() {
            Ok(_) => true,
            Err(error) => walker.wrong(node, at, || format!("{error}; found {}", found(node))),
        }
    }
}

impl<T: Walk> Walk for Option<T> {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        matches!(node.value, Value::Null) || T::walk(node, at, walker)
    }
}

impl<T: Walk> Walk for Vec<T> {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        let Value::List(items) = &node.value else {
            let hint = match &node.value {
                Value::Text(text) => format!("a list such as [\"{}\"]", shown(text)),
                _ => "a list".to_owned(),
            };
            return walker.unexpected(node, at, &hint);
        };
        for (index, item) in items.iter().enumerate() {
            if walker.findings.stopped() {
                return true;
            }
            if !T::walk(&item, &at.item(index), walker) {
                walker.mask(item.start);
                walker.findings.mask_item(at, index);
            }
        }
        true
    }
}

impl<K: Written, V: Walk> Walk for BTreeMap<K, V> {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        let Value::Object(members) = &node.value else {
            return walker.unexpected(node, at, "an object");
        };
        let mut first_at: HashMap<Cow<'_, str>, usize> = HashMap::new();
        for member in members.iter() {
            if walker.findings.stopped() {
                return true;
            }
            let key = member.key.as_ref();
            if key.len() > LONGEST_KEY {
                // Each mistake in it would tell all of it once more.
                walker.mask(member.key_start);
                walker.findings.add_at(member.key_start, at, || {
                    format!("a key of {} bytes: \"{}\"", key.len(), shown(key))
                });
                continue;
            }
            let place = at.then(key);
            if let Some(first) = first_at.insert(member.key.clone(), member.key_start) {
                walker.twice(key, first, member.key_start, &place);
                continue;
            }
            if let Err(error) = key.parse::<K>() {
                walker.mask(member.key_start);
                walker.findings.add_at(member.key_start, &place, || {
                    format!("the key is wrong: {error}; found \"{}\"", shown(key))
                });
            }
            if !V::walk(&member.value, &place, walker) {
                walker.mask(member.key_start);
            }
        }
        true
    }
}

impl Walk for IpAddr {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        match &node.value {
            Value::Text(text) if text.parse::<Self>().is_ok() => true,
            _ => walker.unexpected(node, at, "an IPv4 or IPv6 address such as 10.0.0.7"),
        }
    }
}

/// A number that `accepts` accepts.
fn number(
    node: &Node<'_>,
    at: &Place<'_>,
    walker: &mut Walker<'_>,
    expected: &str,
    accepts: fn(&str) -> bool,
) -> bool {
    match &node.value {
        Value::Number(text) if accepts(text) => true,
        Value::Text(text) if accepts(text) => {
            walker.unexpected(node, at, &format!("{expected} (without quotes)"))
        }
        _ => walker.unexpected(node, at, expected),
    }
}

impl Walk for Port {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        number(node, at, walker, Self::EXPECTED, |text| {
            text.parse().ok().and_then(Self::new).is_some()
        })
    }
}

/// Numbers with bounds of their own.
macro_rules! bounded {
    ($($type:ident),+) => {
        $(impl Walk for $type {
            fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
                number(node, at, walker, Self::EXPECTED, |text| {
                    text.parse().ok().and_then(Self::new).is_some()
                })
            }
        })+
    };
}

bounded!(
    AccountId,
    AnswerStatus,
    Children,
    Connections,
    KeptReleases,
    RedirectStatus,
    Requests,
    Retries,
    Threads,
    WarmUps,
    Weight,
    Niceness,
    Ttl
);

impl Walk for Addresses {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        match &node.value {
            Value::List(_) => Vec::<IpAddr>::walk(node, at, walker),
            _ => IpAddr::walk(node, at, walker),
        }
    }
}

impl Walk for u32 {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        number(node, at, walker, "a whole number", |text| {
            text.parse::<Self>().is_ok()
        })
    }
}

impl Walk for u64 {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        number(node, at, walker, "a whole number", |text| {
            text.parse::<Self>().is_ok()
        })
    }
}

impl Walk for bool {
    fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
        match &node.value {
            Value::Bool(_) => true,
            _ => walker.unexpected(node, at, "true or false (without quotes)"),
        }
    }
}

/// Text that only others read.
pub(super) fn any_text(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
    matches!(node.value, Value::Text(_) | Value::Null) || walker.unexpected(node, at, "a string")
}

/// One of the words of an enumeration.
pub(super) fn word<T: for<'de> Deserialize<'de>>(
    node: &Node<'_>,
    at: &Place<'_>,
    walker: &mut Walker<'_>,
) -> bool {
    // Any text that is no word makes serde name the words.
    let text = match &node.value {
        Value::Text(text) => text.as_ref(),
        _ => "",
    };
    let deserializer: StrDeserializer<'_, NotAWord> = text.into_deserializer();
    let Err(NotAWord(words)) = T::deserialize(deserializer) else {
        return true;
    };
    walker.wrong(node, at, || {
        let meant = nearest(text, words.iter().copied())
            .map(|word| format!("; did you mean \"{word}\"?"))
            .unwrap_or_default();
        let words = listed(words.iter().copied(), '"', "or");
        format!("expected {words}; found {}{meant}", found(node))
    })
}

/// A text is not among an enumeration's words, which are these.
#[derive(Debug)]
struct NotAWord(&'static [&'static str]);

impl fmt::Display for NotAWord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&listed(self.0.iter().copied(), '"', "or"))
    }
}

impl std::error::Error for NotAWord {}

impl de::Error for NotAWord {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, words: &'static [&'static str]) -> Self {
        Self(words)
    }
}
