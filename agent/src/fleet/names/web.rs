//! What sites are made of: names with wildcards, directories, addresses to redirect to, formats of logs.
//!
//! Each type accepts only what means itself within the quotes of an Apache directive: no quote, no backslash where a
//! directive has a grammar of its own, no `$`, no `%` where a format would be read.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use serde::{Serialize, de};
use smol_str::SmolStr;

use super::written::{InvalidString, Written, read_written};
use super::{HostName, is_printable};

typed_string!(
    /// A name that a site answers to: a host name, `*.` before one for all names below it, or `*` for all that no
    /// other site has.
    SiteDomain,
    expected: "a lower-case host name such as www.example.com, *.example.com for all names below it, or * for all that no site has",
    pattern: "^(\\*|(\\*\\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*)$",
    check: |text| {
        if text == "*" {
            return Ok(());
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        if name.contains('*') {
            return Err(InvalidString(
                "a * stands for whole labels and only at the front: *.example.com, or * alone".into(),
            ));
        }
        if text.len() > 253 {
            return Err(InvalidString(format!("expected {}", SiteDomain::EXPECTED)));
        }
        name.parse::<HostName>().map(drop)
    }
);

impl SiteDomain {
    /// Whether it stands for many names.
    pub fn is_wildcard(&self) -> bool {
        self.as_str().starts_with('*')
    }

    /// How exact a wildcard is: the labels after its `*`. More than any wildcard's for a name without one.
    pub fn exactness(&self) -> usize {
        match self.as_str().strip_prefix('*') {
            Some(rest) => rest.matches('.').count(),
            None => usize::MAX,
        }
    }
}

/// Whether `text` is an absolute path of parts of these characters, none of them `.` or `..` or empty.
fn is_path(text: &str, accepts: fn(u8) -> bool) -> bool {
    text.len() <= 1024
        && text.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|part| {
                !part.is_empty()
                    && part.len() <= 255
                    && part != "."
                    && part != ".."
                    && part.trim() == part
                    && part.bytes().all(accepts)
            })
        })
}

typed_string!(
    /// A directory that a site serves: an absolute path, spaces allowed.
    DirectoryPath,
    expected: "an absolute path of letters, digits, spaces and any of / . _ + @ , = ( ) ' & ! ~ - (no .., no //, no / at the end, no space beside a /)",
    pattern: "^(/[A-Za-z0-9._+@,=()'&!~-]([A-Za-z0-9 ._+@,=()'&!~-]*[A-Za-z0-9._+@,=()'&!~-])?)+$",
    accepts: |text| is_path(text, |b| b.is_ascii_alphanumeric() || b" ._+@,=()'&!~-".contains(&b))
);

typed_string!(
    /// Where a site sends its visitors: an absolute `http` or `https` URL.
    RedirectUrl,
    expected: "a URL such as https://www.example.com/shop (http or https; in its path letters, digits and any of / . _ ~ -, in its query = & + too)",
    pattern: "^https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~/-]*)?(\\?[A-Za-z0-9._~/=&+-]*)?$",
    accepts: |text| {
        let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
            return false;
        };
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._~/-".contains(&b);
        text.len() <= 1024
            && host.parse::<HostName>().is_ok()
            && port.is_none_or(|port| !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok())
            && path.bytes().all(is_plain)
            && !path.split('/').any(|part| part == "..")
            && query.is_none_or(|query| query.bytes().all(|b| is_plain(b) || b"=&+".contains(&b)))
    }
);

typed_string!(
    /// What a browser says when it asks for a password.
    Realm,
    expected: "1 to 64 letters, digits, spaces and any of . , : _ / @ & ! ( ) ' -, no space at either end",
    pattern: "^[A-Za-z0-9.,:_/@&!()'-]([A-Za-z0-9 .,:_/@&!()'-]{0,62}[A-Za-z0-9.,:_/@&!()'-])?$",
    accepts: |text| {
        !text.is_empty()
            && text.len() <= 64
            && text.trim() == text
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b" .,:_/@&!()'-".contains(&b))
    }
);

impl Realm {
    /// What stands where a document names none.
    pub fn usual() -> Self {
        Self(SmolStr::new_static("Restricted"))
    }
}

typed_string!(
    /// What is written of each request: one of the formats that both distributions name, a format of its own, or nothing.
    LogFormat,
    expected: "combined, common, off, or a format of Apache's with at least one % (one line of at most 1024 printable ASCII characters)",
    pattern: "^(combined|common|off|[ -~]*%[ -~]*)$",
    accepts: |text| {
        matches!(text, "combined" | "common" | "off")
            || (text.contains('%') && text.len() <= 1024 && is_printable(text) && text.trim() == text)
    }
);

impl LogFormat {
    /// What stands where a document says nothing.
    pub fn combined() -> Self {
        Self(SmolStr::new_static("combined"))
    }

    /// Whether it is what stands where a document says nothing.
    pub fn is_combined(&self) -> bool {
        self.as_str() == "combined"
    }

    /// Whether nothing is written.
    pub fn is_off(&self) -> bool {
        self.as_str() == "off"
    }
}

typed_string!(
    /// A status that Apache has a page for.
    ErrorStatus,
    expected: "a status of an error that every Apache 2.4 knows: 400 to 417, 422, 423, 424, 426, 428, 429, 431, 500 to 508, 510 or 511",
    pattern: "^(40[0-9]|41[0-7]|42[234689]|431|50[0-8]|51[01])$",
    accepts: |text| {
        text.len() == 3
            && !text.starts_with(['+', '-'])
            && matches!(
                text.parse::<u16>(),
                Ok(400..=417 | 422..=424 | 426 | 428 | 429 | 431 | 500..=508 | 510 | 511)
            )
    }
);

/// The status of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(into = "u16")]
pub enum RedirectStatus {
    /// 301: for good. Browsers keep it.
    Permanent,
    /// 302: for now.
    #[default]
    Found,
    /// 307: for now, with the request's method kept.
    Temporary,
    /// 308: for good, with the request's method kept.
    PermanentKept,
}

impl RedirectStatus {
    /// What a person should have written, as error messages say it.
    pub const EXPECTED: &'static str = "301, 302, 307 or 308";

    /// The status of this number.
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            301 => Some(Self::Permanent),
            302 => Some(Self::Found),
            307 => Some(Self::Temporary),
            308 => Some(Self::PermanentKept),
            _ => None,
        }
    }
}

impl From<RedirectStatus> for u16 {
    fn from(status: RedirectStatus) -> Self {
        match status {
            RedirectStatus::Permanent => 301,
            RedirectStatus::Found => 302,
            RedirectStatus::Temporary => 307,
            RedirectStatus::PermanentKept => 308,
        }
    }
}

impl fmt::Display for RedirectStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        u16::from(*self).fmt(out)
    }
}

impl<'de> Deserialize<'de> for RedirectStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u16::deserialize(deserializer)?;
        Self::new(number)
            .ok_or_else(|| de::Error::custom(format_args!("expected {}", Self::EXPECTED)))
    }
}

impl JsonSchema for RedirectStatus {
    fn schema_name() -> Cow<'static, str> {
        "RedirectStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [301, 302, 307, 308], "description": Self::EXPECTED })
    }
}
