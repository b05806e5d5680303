//! Publishing: check, plan, question, signature, `versions/N.json`, `fleet.json`. In this order, so that whatever happens in
//! between leaves a bucket that machines and desks can live with.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::args::PublishArgs;
use super::super::failure::Failure;
use super::super::validate;
use super::desk::Desk;
use super::published::{self, Published, described, told, version_key};
use super::{ask, masters, plan, waves};
use crate::bucket::{Bucket, BucketErrorKind, Condition};
use crate::converge::intake::KEY;
use crate::fleet::names::KeyName;
use crate::fleet::signing::{DOCUMENT_NAMESPACE, Trust};
use crate::fleet::{Document, Draft, Refused, Signature};
use crate::report::DocumentId;
use crate::system::clock;
use crate::system::crash;
use crate::system::file::Files;
use crate::system::root::Root;

/// So many versions that were begun and never published are passed over, and no more.
const MOST_ORPHANS: u64 = 100;
/// A signed document is nobody's secret, and its text is a person's.
const MODE: u32 = 0o644;

#[derive(Serialize)]
struct PublishedOutput<'a> {
    format: u32,
    document: &'a DocumentId,
    signers: &'a [KeyName],
    url: &'a str,
}

/// Why a document is published that is not simply the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ctl) enum Basis {
    /// It was edited from the version that its own text names.
    ItsVersion,
    /// Its version says nothing.
    Any,
}

/// A document that lacks nothing but signatures.
struct Next {
    name: String,
    draft: Draft,
    document: Document,
    signatures: Vec<Signature>,
    /// What is published now, if it is one that machines take.
    before: Option<Document>,
    /// On which condition it takes its place.
    condition: Condition,
    /// Whether all servers take it at once, whatever its rollout says.
    urgent: bool,
}

/// Publishes a file.
pub(super) async fn publish_file(
    desk: &Desk,
    file: &Path,
    how: &PublishArgs,
) -> Result<u8, Failure> {
    let (name, bytes) = validate::read(file)?;
    publish(desk, &name, &bytes, how, Basis::ItsVersion).await
}

/// Publishes an older version's content.
pub(super) async fn rollback(desk: &Desk, version: u64, how: &PublishArgs) -> Result<u8, Failure> {
    let bucket = desk.bucket().await?;
    let key = version_key(version);
    let old = Published::at(&bucket, &key, desk.trust()?).await?;
    let old = old.ok_or_else(|| {
        Failure::new(format!(
            "there is no version {version}: {}",
            bucket.url(&key)
        ))
        .hint("agentctl fleet log lists them")
    })?;
    old.good(&bucket.url(&key))?;
    let name = format!("version {version}");
    // What is signed with the old version in it must not count as signed.
    let draft = published_draft(&old.bytes, &name)?;
    publish(desk, &name, draft.sealed(&[]).as_bytes(), how, Basis::Any).await
}

/// Publishes a document.
pub(super) async fn publish(
    desk: &Desk,
    name: &str,
    bytes: &[u8],
    how: &PublishArgs,
    basis: Basis,
) -> Result<u8, Failure> {
    let bucket = desk.bucket().await?;
    let next = next(desk, &bucket, name, bytes, how, basis).await?;
    if !agreed(desk, &next, how, "publish")? {
        return Err(Failure::new("not published"));
    }
    let (signed, signers) = sign_and_put(desk, &bucket, next).await?;
    let output = PublishedOutput {
        format: 1,
        document: &signed.document.id,
        signers: &signers,
        url: &bucket.url(KEY),
    };
    desk.console.print(&output, |paint| {
        let what = described(signed.document.id.version, &signers);
        format!("{} {what}, at {}\n", paint.green("published"), output.url)
    })?;
    Ok(0)
}

/// Publishes a document and prints nothing but messages; returns which it was.
pub(in crate::ctl) async fn publish_quietly(
    desk: &Desk,
    name: &str,
    bytes: &[u8],
    how: &PublishArgs,
    basis: Basis,
) -> Result<DocumentId, Failure> {
    let bucket = desk.bucket().await?;
    let next = next(desk, &bucket, name, bytes, how, basis).await?;
    let (signed, signers) = sign_and_put(desk, &bucket, next).await?;
    let what = described(signed.document.id.version, &signers);
    desk.console.note(&format!("published: {what}"));
    Ok(signed.document.id)
}

async fn sign_and_put(
    desk: &Desk,
    bucket: &Bucket,
    next: Next,
) -> Result<(Next, Vec<KeyName>), Failure> {
    let signed = signed(desk, next)?;
    let signers = enough(desk, &signed)?;
    put(desk, bucket, &signed).await?;
    Ok((signed, signers))
}

/// Signs a document as the next version, into a file.
pub(super) async fn sign(
    desk: &Desk,
    file: &Path,
    out: &Path,
    how: &PublishArgs,
) -> Result<u8, Failure> {
    let (name, bytes) = validate::read(file)?;
    let bucket = desk.bucket().await?;
    let next = next(desk, &bucket, &name, &bytes, how, Basis::ItsVersion).await?;
    if !agreed(desk, &next, how, "sign")? {
        return Err(Failure::new("not signed"));
    }
    let mut signed = next;
    let signature = desk.sign(signed.draft.signed().as_bytes(), DOCUMENT_NAMESPACE)?;
    add(&mut signed.signatures, signature);
    write(out, &signed.draft.sealed(&signed.signatures))?;
    said_enough(desk, &signed, out);
    Ok(0)
}

/// Adds a signature to a signed document.
pub(super) async fn cosign(desk: &Desk, file: &Path, yes: bool) -> Result<u8, Failure> {
    let (name, bytes) = validate::read(file)?;
    let (draft, document) = checked(&name, &bytes)?;
    let bucket = desk.bucket().await?;
    let before = Published::now(&bucket, desk.trust()?).await?;
    let before = before.and_then(|before| match before.document {
        Ok(before) => Some(before),
        Err(refused) => {
            desk.console.note(&format!(
                "what is published is none that machines take, and nothing to compare with: {}",
                refused.reasons().join("; ")
            ));
            None
        }
    });
    let table = plan::of(
        &name,
        document.clone(),
        before.clone(),
        super::super::args::FamilyName::default(),
    );
    desk.console.progress(&table.table(desk.console.paint)?);
    let question = format!(
        "sign version {} of {}?",
        document.id.version, document.id.fleet
    );
    if !yes && !ask::yes(&question, desk.console)? {
        return Err(Failure::new("not signed"));
    }
    let signature = desk.sign(draft.signed().as_bytes(), DOCUMENT_NAMESPACE)?;
    let mut signatures = document.signatures.clone();
    add(&mut signatures, signature);
    write(file, &draft.sealed(&signatures))?;
    let signed = Next {
        name,
        draft,
        document,
        signatures,
        before,
        condition: Condition::Absent,
        urgent: false,
    };
    said_enough(desk, &signed, file);
    Ok(0)
}

/// A person's newer signature takes the place of the older one.
fn add(signatures: &mut Vec<Signature>, signature: Signature) {
    signatures.retain(|other| other.key != signature.key);
    signatures.push(signature);
}

fn said_enough(desk: &Desk, signed: &Next, file: &Path) {
    let file = file.display();
    match enough(desk, signed) {
        Ok(_) => desk.console.note(&format!(
            "those have signed who must: agentctl fleet publish {file}"
        )),
        Err(_) => desk.console.note(&format!(
            "others must sign too: have them run agentctl fleet cosign {file}"
        )),
    }
}

/// A file that a person named, replaced whole.
pub(in crate::ctl) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let absolute = std::path::absolute(file)
        .map_err(|error| Failure::because(format!("cannot write {}", file.display()), error))?;
    Files::new(Root::machine()).write(&absolute, text.as_bytes(), MODE)?;
    Ok(())
}

fn checked(name: &str, bytes: &[u8]) -> Result<(Draft, Document), Failure> {
    Draft::read(bytes).map_err(|mistakes| validate::not_good(&mistakes, name, bytes))
}

/// A draft of what was published before this version of the agent had all its rules.
fn published_draft(bytes: &[u8], name: &str) -> Result<Draft, Failure> {
    checked(name, bytes).map(|(draft, _)| draft)
}

/// The document as it would be published: checked, with its version and moments.
async fn next(
    desk: &Desk,
    bucket: &Bucket,
    name: &str,
    bytes: &[u8],
    how: &PublishArgs,
    basis: Basis,
) -> Result<Next, Failure> {
    let trust = desk.trust()?;
    let (draft, document) = checked(name, bytes)?;
    let now = Published::now(bucket, trust).await?;
    let condition = now
        .as_ref()
        .map_or(Condition::Absent, |now| Condition::Matches(now.tag.clone()));
    let before = match now.map(|now| now.document) {
        Some(Err(refused)) if !how.replace_unverified => {
            return Err(unverified(&bucket.url(KEY), &refused));
        }
        Some(Err(_)) | None => None,
        Some(Ok(before)) => Some(before),
    };
    of_this_fleet(desk, &document, before.as_ref())?;
    let published = before.as_ref().map(|before| before.id.version);
    let keys = matches!(trust, Trust::Keys(_));
    if keys && Document::signers(bytes, trust).is_ok() {
        if let Some(published) = published.filter(|published| document.id.version <= *published) {
            return Err(Failure::new(format!(
                "{name} was signed as version {}, and version {published} is published by now",
                document.id.version
            ))
            .hint("sign it anew: agentctl fleet sign"));
        }
        return Ok(Next {
            name: name.into(),
            draft,
            signatures: document.signatures.clone(),
            document,
            before,
            condition,
            urgent: how.urgent,
        });
    }
    if let (Some(before), Basis::ItsVersion, false) = (&before, basis, how.any_version)
        && before.id.version != document.id.version
    {
        return Err(Failure::new(format!(
            "{name} was edited from version {}, and {} is published: what changed in between would be lost",
            document.id.version,
            described(before.id.version, &before.signers)
        ))
        .hint(format!(
            "agentctl fleet diff {} {} shows it; put it into {name}, set its version to {}, and try again (--any-version publishes all the same)",
            document.id.version, before.id.version, before.id.version
        )));
    }
    // Without a document that counts, the file's own version is the best that is known.
    let own = if how.replace_unverified {
        document.id.version
    } else {
        0
    };
    // A version from before trust moved does not count where it is above the floor that this brought, nor for machines.
    let floor = desk.generation.as_ref().map(|one| one.version_floor);
    let step = desk.settings.version_step;
    let counts = |version: &u64| floor.is_none_or(|floor| version.saturating_sub(floor) <= step);
    let first = published.filter(counts).or(floor).unwrap_or(own);
    let version = free(bucket, first.saturating_add(1)).await?;
    let issued = clock::now();
    let expires = how.valid_for.map(|time| later(issued, time)).transpose()?;
    let draft = draft.with(version, issued, expires);
    let sealed = draft.sealed(&[]);
    let (draft, document) = checked(name, sealed.as_bytes())?;
    if document.fleet.expires.0 <= issued {
        return Err(Failure::new(format!(
            "{name} has expired: its `expires` is {}",
            document.fleet.expires
        ))
        .hint("--valid-for 30d sets it anew"));
    }
    for warning in validate::pressing(&document.fleet, issued) {
        desk.console.note(&format!("{name}: {warning}"));
    }
    if let Some(before) = &before {
        for warning in masters::warnings(bucket, &before.fleet, &document.fleet).await {
            desk.console.note(&format!("{name}: {warning}"));
        }
    }
    Ok(Next {
        name: name.into(),
        draft,
        document,
        signatures: Vec::new(),
        before,
        condition,
        urgent: how.urgent,
    })
}

fn later(from: Timestamp, time: std::time::Duration) -> Result<Timestamp, Failure> {
    SignedDuration::try_from(time)
        .and_then(|time| from.checked_add(time))
        .map_err(|error| Failure::because("--valid-for leads to no moment", error))
}

fn unverified(url: &str, refused: &Refused) -> Failure {
    Failure::new(format!(
        "what lies at {url} is none that machines take: {}",
        refused.reasons().join("; ")
    ))
    .hint("find out who put it there; --replace-unverified publishes over it, with the version after your file's own")
}

fn of_this_fleet(
    desk: &Desk,
    document: &Document,
    before: Option<&Document>,
) -> Result<(), Failure> {
    let pinned = desk.settings.fleet_name.as_ref();
    let expected = pinned.or(before.map(|before| &before.id.fleet));
    match expected.filter(|expected| **expected != document.id.fleet) {
        None => Ok(()),
        Some(expected) => Err(Failure::new(format!(
            "the document is of fleet {}, and this is fleet {expected}",
            document.id.fleet
        ))
        .hint("publish it where that fleet's machines look, or correct `fleet` in it")),
    }
}

/// The first version from `first` on that nobody has begun to publish. One that somebody begun and did not finish (a desk that
/// was killed) is passed over: what it says, nobody has decided.
async fn free(bucket: &Bucket, first: u64) -> Result<u64, Failure> {
    for version in first..first.saturating_add(MOST_ORPHANS) {
        let key = version_key(version);
        let taken = bucket.list(&key, None, 1).await.map_err(told)?;
        if taken.entries.iter().all(|entry| entry.key != key) {
            return Ok(version);
        }
    }
    Err(Failure::new(format!(
        "versions {first} to {} were begun and never published",
        first.saturating_add(MOST_ORPHANS - 1)
    ))
    .hint("somebody fills the bucket: look who may write it, and remove what is above the published version"))
}

/// Shows what the document would change, and asks.
fn agreed(desk: &Desk, next: &Next, how: &PublishArgs, verb: &str) -> Result<bool, Failure> {
    let table = plan::of(
        &next.name,
        next.document.clone(),
        next.before.clone(),
        how.platform,
    );
    // Data goes to standard output: the question and what it is about go beside it.
    desk.console.progress(&table.table(desk.console.paint)?);
    if let Some(announced) = waves::announced(&next.document, next.urgent) {
        desk.console.note(&announced);
    }
    if how.yes {
        return Ok(true);
    }
    let id = &next.document.id;
    let question = format!("{verb} version {} of {}?", id.version, id.fleet);
    ask::yes(&question, desk.console)
}

/// Signs it, unless enough have.
fn signed(desk: &Desk, mut next: Next) -> Result<Next, Failure> {
    let unsigned = next.signatures.is_empty();
    // Where nobody must sign, whoever has a key may.
    let signs = match desk.trust()? {
        Trust::Keys(_) => unsigned,
        Trust::Nobody => unsigned && desk.settings.signer.is_some(),
    };
    if signs {
        let signature = desk.sign(next.draft.signed().as_bytes(), DOCUMENT_NAMESPACE)?;
        next.signatures.push(signature);
    }
    Ok(next)
}

/// Who has signed, where they are enough.
fn enough(desk: &Desk, next: &Next) -> Result<Vec<KeyName>, Failure> {
    let signed = next.draft.signed().as_bytes();
    desk.trust()?
        .signers(signed, &next.signatures, DOCUMENT_NAMESPACE)
        .map_err(|why| {
            Failure::new(format!("no machine would take it: {why}")).hint(
                "where several must sign: agentctl fleet sign FILE --out SIGNED, the others cosign it, and the last publishes it",
            )
        })
}

/// Puts it into the bucket: first where nobody can write twice, then where machines look.
async fn put(desk: &Desk, bucket: &Bucket, next: &Next) -> Result<(), Failure> {
    let bytes = next.draft.sealed(&next.signatures).into_bytes();
    let version = next.document.id.version;
    let key = version_key(version);
    crash::point("signed, and nothing of it in the bucket");
    let first = bucket
        .put(&key, bytes.clone(), Some(&Condition::Absent))
        .await;
    if let Err(error) = first {
        // Ours already: from before, or by a try whose answer was lost.
        match published::get(bucket, &key).await? {
            Some((there, _)) if there == bytes => {}
            Some(_) => return Err(overtaken(desk, bucket, version).await),
            None => return Err(told(error)),
        }
    }
    if next.urgent {
        // First: machines look at it as soon as the version is published.
        waves::open_all(bucket, &next.document).await?;
    }
    crash::point("the version is in the bucket, and is not published");
    let second = bucket.put(KEY, bytes.clone(), Some(&next.condition)).await;
    if let Err(error) = second {
        let there = published::get(bucket, KEY).await?;
        if there.is_some_and(|(there, _)| there == bytes) {
            return Ok(());
        }
        return Err(match error.kind {
            BucketErrorKind::Conflict => overtaken(desk, bucket, version).await,
            _ => told(error).hint(format!(
                "version {version} lies at {} and is not published; publish again: it gets another number",
                bucket.url(&key)
            )),
        });
    }
    crash::point("published");
    Ok(())
}

/// Somebody else was first: who, and with what.
async fn overtaken(desk: &Desk, bucket: &Bucket, version: u64) -> Failure {
    let now = match desk.trust() {
        Ok(trust) => Published::now(bucket, trust).await,
        Err(failure) => return failure,
    };
    let who = match now {
        Ok(Some(now)) => match &now.document {
            Ok(document) => described(document.id.version, &document.signers),
            Err(_) => "something that no machine takes".into(),
        },
        Ok(None) => "a version that is not in its place yet".into(),
        Err(failure) => return failure,
    };
    Failure::new(format!(
        "somebody else published while you did: what is there now is {who}; your version {version} is not published"
    ))
    .hint("see it with agentctl fleet diff, put your change into what agentctl fleet get gives, and publish again")
}
