//! What a document would change on each server, against the one that is published.

use std::path::Path;

use super::super::args::FamilyName;
use super::super::failure::Failure;
use super::super::plan::{self, layout};
use super::super::validate;
use super::desk::Desk;
use super::published::Published;
use crate::fleet::Document;
use crate::report::exit_code;
use crate::settings::HostsScope;

/// Shows it for a file.
pub(super) async fn plan(desk: &Desk, file: &Path, platform: FamilyName) -> Result<u8, Failure> {
    let document = validate::document(file, desk.console)?;
    let bucket = desk.bucket().await?;
    let before = Published::now(&bucket, desk.trust()?).await?;
    let before = before.map(|before| before.good("what is published").cloned());
    let plan = of(
        &file.display().to_string(),
        document,
        before.transpose()?,
        platform,
    );
    let (changes, failures) = plan.show(desk.console)?;
    Ok(exit_code(changes, failures))
}

/// A plan for all servers.
pub(in crate::ctl) fn of(
    name: &str,
    document: Document,
    before: Option<Document>,
    platform: FamilyName,
) -> plan::Desk {
    let (family, layout) = layout(platform);
    let stands = before.as_ref().map_or_else(
        || "has nothing yet".to_owned(),
        |before| {
            format!(
                "stands on version {}, which is published",
                before.id.version
            )
        },
    );
    plan::Desk {
        basis: format!("{name}, on a machine that {stands}; {layout}"),
        document,
        before,
        family,
        hosts: HostsScope::Products,
        trouble: None,
    }
}
