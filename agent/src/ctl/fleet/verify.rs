//! Reading documents at a desk: the published one, and whether a file is good and signed.

use std::path::Path;

use serde::Serialize;

use super::super::failure::Failure;
use super::super::validate;
use super::desk::Desk;
use super::publish::write;
use super::published::{Published, described};
use crate::converge::intake::KEY;
use crate::fleet::names::KeyName;
use crate::fleet::{Document, Refused};
use crate::report::DocumentId;

/// Gets the published document.
pub(super) async fn get(desk: &Desk, file: Option<&Path>) -> Result<u8, Failure> {
    let published = desk.published().await?;
    let document = published.good("what is published")?;
    // A document is UTF-8, or it would be none.
    let text = String::from_utf8_lossy(&published.bytes);
    match file {
        None => desk.console.print_text(&text)?,
        Some(file) => {
            write(file, &text)?;
            desk.console.note(&format!(
                "{} is {} of {}",
                file.display(),
                described(document.id.version, &document.signers),
                document.id.fleet
            ));
        }
    }
    Ok(0)
}

/// Checks a file as the agent does, and whether machines would take it after the published one.
pub(super) async fn validate(desk: &Desk, file: &Path) -> Result<u8, Failure> {
    // A bucket is not needed to check a file; its version is set when it is published.
    let Ok(bucket) = desk.bucket().await else {
        return validate::checked(file, None, desk.console);
    };
    let trust = desk.trust()?;
    let now = Published::now(&bucket, trust).await?;
    let Some(Ok(before)) = now.map(|now| now.document) else {
        return validate::checked(file, None, desk.console);
    };
    let (_, bytes) = validate::read(file)?;
    let same_version =
        Document::read(&bytes).is_ok_and(|read| read.id.version == before.id.version);
    // What was edited from the published version still has its number, and gets the next one.
    let before = (!same_version).then_some((&before, bucket.url(KEY)));
    validate::checked(file, before, desk.console)
}

#[derive(Serialize)]
struct VerifyOutput<'a> {
    format: u32,
    file: &'a str,
    verified: bool,
    trust: String,
    document: Option<&'a DocumentId>,
    signers: &'a [KeyName],
    reasons: Vec<String>,
}

/// Says who signed a file.
pub(super) fn verify(desk: &Desk, file: &Path) -> Result<u8, Failure> {
    let (name, bytes) = validate::read(file)?;
    let trust = desk.trust()?;
    let read = Document::read_trusted(&bytes, trust);
    let (document, reasons) = match &read {
        Ok(document) => (Some(document), Vec::new()),
        Err(Refused::Mistakes(mistakes)) => {
            return Err(validate::not_good(mistakes, &name, &bytes));
        }
        Err(refused) => (None, refused.reasons()),
    };
    let output = VerifyOutput {
        format: 1,
        file: &name,
        verified: document.is_some(),
        trust: trust.in_short(),
        document: document.map(|document| &document.id),
        signers: document.map_or(&[], |document| &document.signers),
        reasons,
    };
    desk.console.print(&output, |paint| match document {
        Some(document) => format!(
            "{name}: {} {} of {} (needed: {})\n",
            paint.green("good:"),
            described(document.id.version, &document.signers),
            document.id.fleet,
            trust.in_short()
        ),
        None => format!(
            "{name}: {} {}\n",
            paint.alarm("no machine takes it:"),
            output.reasons.join("; ")
        ),
    })?;
    Ok(u8::from(document.is_none()))
}
