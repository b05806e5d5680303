//! `health/PRODUCT.json`: what the servers of a product have found out about each other, in the bucket; and who is left out, as it is
//! kept over a restart: `/var/lib/agentd/evictions.json`.
//!
//! The object is a fact, not intent: machines write it by compare-and-swap, and nothing follows from it but who is left out of DNS and of
//! node lists, a third of a product at most.

use serde::{Deserialize, Serialize};

use super::state;
use crate::bucket::{Bucket, BucketError, BucketErrorKind, Condition, Fetched, Tag};
use crate::fleet::Name;
use crate::node::eviction::{Evictions, Health};
use crate::system::file::{FileError, Files};

/// The largest such object, in bytes.
const LIMIT: u64 = 256 * 1024;
const FILE: &str = "evictions.json";

/// The object under this key is none of this product.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key} does not say how the servers of {product} are: {why}; delete it, and it is written anew"
)]
pub struct HealthError {
    key: String,
    product: Name,
    why: String,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthRead {
    /// It still has the tag that was given.
    Unchanged,
    /// There is none: nothing was ever said of the product.
    Absent,
    /// Its bytes: see [`parse`].
    Object(Vec<u8>, Tag),
}

/// The key of a product's health.
pub fn key(product: &Name) -> String {
    format!("health/{product}.json")
}

/// Reads it, unless its tag still is `known`. One request.
pub async fn read(
    bucket: &Bucket,
    product: &Name,
    known: Option<&Tag>,
) -> Result<HealthRead, BucketError> {
    match bucket.get(&key(product), known, LIMIT).await {
        Ok(Fetched::Unchanged) => Ok(HealthRead::Unchanged),
        Ok(Fetched::Object { bytes, tag }) => Ok(HealthRead::Object(bytes, tag)),
        Err(error) if error.kind == BucketErrorKind::Missing => Ok(HealthRead::Absent),
        Err(error) => Err(error),
    }
}

/// Understands it.
pub fn parse(bytes: &[u8], fleet: &Name, product: &Name) -> Result<Health, HealthError> {
    let wrong = |why: String| HealthError {
        key: key(product),
        product: product.clone(),
        why,
    };
    let health: Health = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if health.format != 1 {
        let format = health.format;
        return Err(wrong(format!(
            "its format is {format}, and this version of node-agent knows 1"
        )));
    }
    if health.fleet != *fleet || health.product != *product {
        let (fleet, product) = (&health.fleet, &health.product);
        return Err(wrong(format!("it is of {product} of {fleet}")));
    }
    Ok(health)
}

/// Writes it, where it still is as it was read: with this tag, or absent. One request. [`BucketErrorKind::Conflict`]: somebody else was
/// faster.
pub async fn write(
    bucket: &Bucket,
    health: &Health,
    read: Option<&Tag>,
) -> Result<Tag, BucketError> {
    // Plain fields only: nothing here can fail to be written as JSON.
    let bytes = serde_json::to_vec_pretty(health).unwrap_or_default();
    let condition = read.map_or(Condition::Absent, |tag| Condition::Matches(tag.clone()));
    bucket
        .put(&key(&health.product), bytes, Some(&condition))
        .await
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Persisted {
    format: u32,
    products: Evictions,
}

/// Who was left out when this box last heard of it.
pub fn load(files: &Files) -> Result<Evictions, FileError> {
    let persisted: Option<Persisted> = state::load(files, FILE)?;
    Ok(persisted.unwrap_or_default().products)
}

/// Keeps it.
pub fn save(files: &Files, evictions: &Evictions) -> Result<(), FileError> {
    let persisted = Persisted {
        format: 1,
        products: evictions.clone(),
    };
    state::save(files, FILE, &persisted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::eviction::{LeftOut, Out, Record};
    use crate::system::root::Root;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn out() -> Out {
        Out {
            since: "2026-11-30T10:00:00Z".parse().unwrap(),
            by: Vec::new(),
            word: String::new(),
        }
    }

    #[test]
    fn what_is_written_can_be_read_and_anothers_is_none() {
        let mut health = Health::new(name("f"), name("shop"));
        let record = Record {
            out: Some(out()),
            times: 1,
            ..Record::default()
        };
        health.web.insert(name("web-1"), record);
        let bytes = serde_json::to_vec(&health).unwrap();
        assert_eq!(parse(&bytes, &name("f"), &name("shop")).unwrap(), health);
        for (bytes, why) in [
            ("{}", "missing field"),
            (
                r#"{"format": 2, "fleet": "f", "product": "shop"}"#,
                "format is 2",
            ),
            (
                r#"{"format": 1, "fleet": "g", "product": "shop"}"#,
                "of shop of g",
            ),
            (
                r#"{"format": 1, "fleet": "f", "product": "blog"}"#,
                "of blog of f",
            ),
        ] {
            let error = parse(bytes.as_bytes(), &name("f"), &name("shop")).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn who_is_left_out_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        assert!(load(&files).unwrap().is_empty());
        let left = LeftOut {
            cache: [(name("cache-1"), out())].into(),
            ..LeftOut::default()
        };
        let evictions = Evictions::from([(name("shop"), left)]);
        save(&files, &evictions).unwrap();
        assert_eq!(load(&files).unwrap(), evictions);
    }
}
