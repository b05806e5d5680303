//! Releases on their way: fetched before a run, unpacked in it, tidied up after it.

mod fetch;
mod make;
mod rollback;
mod smoke;
mod tidy;

pub use fetch::fetch_releases;
pub use rollback::{RolledBack, roll_back};
pub(super) use rollback::{in_use, pins};
pub use smoke::{Verdict, ask as ask_smoke};
pub(super) use tidy::tidy;

use std::collections::BTreeMap;

use crate::fleet::Name;
use crate::resource::{self, ReleaseRecord};
use crate::system::file::{FileError, Files};

/// Has releases that failed tried again: a person said so.
pub(super) fn forgive(files: &Files) -> Result<(), FileError> {
    for product in files.list(resource::RECORDS.as_ref())? {
        let Ok(product) = product.parse::<Name>() else {
            continue;
        };
        let records: BTreeMap<_, _> = ReleaseRecord::load_all(files, &product)?;
        for mut record in records.into_values() {
            if record.failed.take().is_some() {
                record.save(files, &product)?;
            }
        }
    }
    Ok(())
}
