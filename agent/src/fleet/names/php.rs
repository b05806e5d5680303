//! What php-fpm's configuration is made of: settings of PHP and their values, numbers of children.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use smol_str::SmolStr;

use super::is_printable;
use super::written::{InvalidString, Written, read_written};

/// Whether a text stays what it is between double quotes: there `"` and `\` have a meaning, and `${` begins a variable.
fn is_quotable(text: &str, most: usize) -> bool {
    text.len() <= most && is_printable(text) && !text.contains(['"', '\\']) && !text.contains("${")
}

typed_string!(
    /// The name of a setting of PHP: `memory_limit`, `opcache.enable`.
    IniName,
    expected: "the name of a setting of php.ini: 1 to 64 letters, digits, _ . and - (a letter first)",
    pattern: "^[A-Za-z][A-Za-z0-9_.-]{0,63}$",
    accepts: |text| {
        text.len() <= 64
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    }
);

typed_string!(
    /// The value of a setting of PHP, as it stands between quotes: `128M`, `off`, `/srv/shop/tmp`, or nothing.
    IniValue,
    expected: "a text of at most 1000 printable ASCII characters without \", \\ and ${",
    pattern: "^[ !#-\\[\\]-~]{0,1000}$",
    accepts: |text| is_quotable(text, 1000)
);

typed_string!(
    /// The value of a variable of the environment of a pool. php-fpm takes one that begins with `$` from its own.
    PoolValue,
    expected: "a text of 1 to 900 printable ASCII characters without \", \\ and ${, and no $ first",
    pattern: "^[ !#%-\\[\\]-~][ !#-\\[\\]-~]{0,899}$",
    accepts: |text| !text.is_empty() && !text.starts_with('$') && is_quotable(text, 900)
);

super::amounts::bounded!(
    /// How many children a pool of php-fpm may have, 1 to 1,000.
    Children(u16), 1 to 1000, expected: "a number of children from 1 to 1000"
);
super::amounts::bounded!(
    /// After how many requests a child of a pool is replaced, 1 to 10,000,000.
    Requests(u32), 1 to 10_000_000, expected: "a number of requests from 1 to 10000000"
);
