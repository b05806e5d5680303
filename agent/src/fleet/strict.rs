//! Maps that refuse a key that stands twice. Plain serde maps keep the last one in silence.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// For `#[serde(deserialize_with)]`: a map in which each key stands once.
pub(super) fn map<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    struct StrictMap<K, V>(PhantomData<(K, V)>);

    impl<'de, K, V> Visitor<'de> for StrictMap<K, V>
    where
        K: Deserialize<'de> + Ord + fmt::Display,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = entries.next_key()? {
                match map.entry(key) {
                    Entry::Vacant(place) => place.insert(entries.next_value()?),
                    Entry::Occupied(place) => {
                        return Err(A::Error::custom(format_args!(
                            "`{}` stands here twice",
                            place.key()
                        )));
                    }
                };
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(StrictMap(PhantomData))
}
