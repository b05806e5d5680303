//! The bucket that snapshots are in: the box's own, or the one that is named.

use super::super::args::{BucketArgs, Global};
use super::super::failure::Failure;
use super::super::place;
use crate::settings::{BucketUrl, DeskOverrides, DeskSettings, S3Settings};

/// Where it is. On a box without flags it is asked as the agent asks it. Not within a runtime: the agent's environment is taken over.
pub(super) fn named(
    global: &Global,
    args: &BucketArgs,
) -> Result<(BucketUrl, S3Settings), Failure> {
    let is_named = args.fleet.is_some() || args.desk.is_some();
    if !is_named && let Ok(settings) = place::plain_settings(global) {
        place::adopt_environment(global);
        return Ok((settings.bucket, settings.s3));
    }
    let desk = DeskSettings::load(&DeskOverrides {
        file: args.desk.clone(),
        may_be_missing: false,
        home: std::env::home_dir(),
        fleet: args.fleet.clone(),
        key: None,
    })?;
    let Some(url) = desk.bucket else {
        return Err(Failure::new("which bucket? none is named").hint(format!(
            "give --fleet s3://bucket/prefix, or write fleet = \"s3://bucket/prefix\" into {}",
            desk.file.display()
        )));
    };
    Ok((url, desk.s3))
}
