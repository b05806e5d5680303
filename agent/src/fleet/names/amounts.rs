//! What memcached is told in numbers, and the addresses that a service listens on.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::written::{InvalidString, Written, read_written};

/// Makes a newtype over a number within bounds.
macro_rules! bounded {
    ($(#[$doc:meta])* $type:ident($number:ty), $least:literal to $most:literal, expected: $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $type($number);

        impl $type {
            /// What a person should have written, as error messages say it.
            pub const EXPECTED: &'static str = $expected;

            /// `None` out of bounds.
            pub const fn new(number: $number) -> Option<Self> {
                if matches!(number, $least..=$most) { Some(Self(number)) } else { None }
            }

            /// The number.
            pub const fn get(self) -> $number {
                self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = <$number>::deserialize(deserializer)?;
                Self::new(number)
                    .ok_or_else(|| serde::de::Error::custom(format_args!("expected {}", Self::EXPECTED)))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": $least, "maximum": $most, "description": $expected })
            }
        }
    };
}

pub(super) use bounded;

bounded!(
    /// How many connections a memcached takes at once, 16 to 100,000.
    Connections(u32), 16 to 100_000, expected: "a number of connections from 16 to 100000"
);
bounded!(
    /// How many threads a memcached has, 1 to 64.
    Threads(u16), 1 to 64, expected: "a number of threads from 1 to 64"
);
bounded!(
    /// How much a job lets others go before it, 1 to 19.
    Niceness(u8), 1 to 19, expected: "a niceness from 1 to 19"
);
bounded!(
    /// A server's share of the keys in proportion to the others', 1 to 100.
    Weight(u16), 1 to 100, expected: "a weight from 1 to 100"
);

/// The size of memcached's largest item in kibibytes, written `512K` or `4M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemSize {
    kibibytes: u32,
}

impl ItemSize {
    /// The size in KiB, 1 to 1,048,576.
    pub const fn kibibytes(self) -> u32 {
        self.kibibytes
    }
}

impl FromStr for ItemSize {
    type Err = InvalidString;

    fn from_str(text: &str) -> Result<Self, InvalidString> {
        let (digits, factor) = match (text.strip_suffix('K'), text.strip_suffix('M')) {
            (Some(digits), _) => (digits, 1),
            (_, Some(digits)) => (digits, 1024),
            _ => ("", 0),
        };
        let is_number = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        let number = is_number.then(|| digits.parse::<u32>().ok()).flatten();
        match number.and_then(|number| number.checked_mul(factor)) {
            Some(kibibytes @ 1..=1_048_576) => Ok(Self { kibibytes }),
            _ => Err(InvalidString(format!("expected {}", Self::EXPECTED))),
        }
    }
}

impl Written for ItemSize {
    const EXPECTED: &'static str = "the size of an item such as 512K or 4M (at most 1024M)";
}

impl<'de> Deserialize<'de> for ItemSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_written(deserializer)
    }
}

impl fmt::Display for ItemSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kibibytes.is_multiple_of(1024) {
            write!(out, "{}M", self.kibibytes / 1024)
        } else {
            write!(out, "{}K", self.kibibytes)
        }
    }
}

impl Serialize for ItemSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ItemSize {
    fn schema_name() -> Cow<'static, str> {
        "ItemSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[1-9][0-9]{0,6}[KM]$", "description": Self::EXPECTED })
    }
}

/// One address or several: written as a string, or as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(Vec<IpAddr>);

impl Addresses {
    /// In the order of the document.
    pub fn as_slice(&self) -> &[IpAddr] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected an address or a list of addresses")]
        enum OneOrMore {
            One(IpAddr),
            More(Vec<IpAddr>),
        }
        Ok(Self(match OneOrMore::deserialize(deserializer)? {
            OneOrMore::One(address) => vec![address],
            OneOrMore::More(addresses) => addresses,
        }))
    }
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            more => more.serialize(serializer),
        }
    }
}

impl JsonSchema for Addresses {
    fn schema_name() -> Cow<'static, str> {
        "Addresses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = || json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] });
        json_schema!({
            "anyOf": [one(), { "type": "array", "items": one(), "minItems": 1 }],
            "description": "an address, or a list of addresses"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_items() {
        for (text, kibibytes, shown) in [
            ("1K", 1, "1K"),
            ("512K", 512, "512K"),
            ("2048K", 2048, "2M"),
            ("1024M", 1_048_576, "1024M"),
        ] {
            let size: ItemSize = text.parse().unwrap();
            assert_eq!(
                (size.kibibytes(), size.to_string().as_str()),
                (kibibytes, shown)
            );
        }
        for text in [
            "",
            "0K",
            "01K",
            "1",
            "1k",
            "1G",
            "1.5M",
            "1025M",
            "4294967296K",
            "-1K",
            "1M\n",
        ] {
            assert!(text.parse::<ItemSize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(Connections::new(15), None);
        assert_eq!(Connections::new(100_001), None);
        assert_eq!(Threads::new(0), None);
        assert_eq!(Weight::new(101), None);
        assert_eq!(Weight::new(100).map(Weight::get), Some(100));
        assert!(serde_json::from_str::<Threads>("\"4\"").is_err());
    }

    #[test]
    fn one_address_or_several() {
        let read = |text| serde_json::from_str::<Addresses>(text);
        assert_eq!(
            serde_json::to_string(&read(r#""::1""#).unwrap()).unwrap(),
            r#""::1""#
        );
        let two = r#"["10.0.0.1","::1"]"#;
        assert_eq!(serde_json::to_string(&read(two).unwrap()).unwrap(), two);
        assert!(read(r#""10.0.0.1,::1""#).is_err());
        assert!(read("7").is_err());
    }
}
