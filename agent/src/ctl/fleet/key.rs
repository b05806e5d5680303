//! Who may sign: each change is the next `trust/N.json`, signed by those of before and by those from then on.

use std::fmt::Write as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::args::{FamilyName, KeyCommand, PublishArgs, RotateArgs};
use super::super::failure::Failure;
use super::super::validate;
use super::ask;
use super::desk::Desk;
use super::init::read_key;
use super::publish::{self, Basis};
use super::published::{self, Published, told};
use crate::bucket::{BucketErrorKind, Condition};
use crate::fleet::names::KeyName;
use crate::fleet::signing::{BadTrust, Generation, Keyring, SigningKey, TRUST_NAMESPACE, Trust};
use crate::fleet::{Document, Name, Signature};
use crate::report::text::{Paint, ago, moment};
use crate::settings::Signer;
use crate::system::{clock, crash};

#[derive(Serialize)]
struct KeyRow {
    name: KeyName,
    fingerprint: String,
    line: String,
}

#[derive(Serialize)]
struct KeyList {
    format: u32,
    generation: u64,
    threshold: usize,
    expires: Option<Timestamp>,
    version_floor: Option<u64>,
    keys: Vec<KeyRow>,
}

/// Lists or changes who may sign.
pub(super) async fn key(desk: &Desk, command: &KeyCommand) -> Result<u8, Failure> {
    let keyring = keyring(desk)?;
    match command {
        KeyCommand::List => list(desk, keyring),
        KeyCommand::Add { file, how } => {
            let mut keys = keyring.keys().to_vec();
            keys.push(read_key(file)?);
            rotate(desk, keys, keyring.threshold(), how).await
        }
        KeyCommand::Remove { name, how } => {
            let keys: Vec<SigningKey> = keyring.keys().to_vec();
            let rest: Vec<SigningKey> = keys
                .iter()
                .filter(|key| key.name.as_str() != name)
                .cloned()
                .collect();
            if rest.len() == keys.len() {
                return Err(Failure::new(format!("there is no key {name}"))
                    .hint("agentctl fleet key list names them"));
            }
            rotate(desk, rest, keyring.threshold(), how).await
        }
        KeyCommand::Threshold { number, how } => {
            rotate(desk, keyring.keys().to_vec(), *number, how).await
        }
        KeyCommand::Renew { how } => {
            rotate(desk, keyring.keys().to_vec(), keyring.threshold(), how).await
        }
        KeyCommand::Cosign { file, yes } => cosign(desk, file, *yes),
        KeyCommand::Publish { file, yes } => publish_file(desk, file, *yes).await,
    }
}

fn keyring(desk: &Desk) -> Result<&Keyring, Failure> {
    match desk.trust()? {
        Trust::Keys(keyring) => Ok(keyring),
        Trust::Nobody => Err(Failure::new("nobody must sign here: trust = \"none\"").hint(
            "write [trust] with the first keys into desk.toml and into agentd.toml of the machines: docs/signing.md",
        )),
    }
}

fn list(desk: &Desk, keyring: &Keyring) -> Result<u8, Failure> {
    let generation = desk.generation.as_ref();
    let list = KeyList {
        format: 1,
        generation: desk.trust_number(),
        threshold: keyring.threshold(),
        expires: generation.and_then(|one| one.expires),
        version_floor: generation.map(|one| one.version_floor),
        keys: keyring
            .keys()
            .iter()
            .map(|key| KeyRow {
                name: key.name.clone(),
                fingerprint: key.fingerprint(),
                line: key.to_string(),
            })
            .collect(),
    };
    desk.console.print(&list, |paint| listed(&list, paint))?;
    warn_of_loss(desk, keyring);
    Ok(0)
}

fn listed(list: &KeyList, paint: Paint) -> String {
    let mut out = format!(
        "trust {}: {} of these must sign\n",
        list.generation, list.threshold
    );
    for key in &list.keys {
        let _ = writeln!(
            out,
            "  {}  {}",
            paint.bold(&format!("{:<20}", key.name)),
            key.fingerprint
        );
    }
    if let Some(floor) = list.version_floor {
        let _ = writeln!(out, "versions count from {floor} on");
    }
    if let Some(expires) = list.expires {
        let _ = writeln!(
            out,
            "to be renewed before {} ({})",
            moment(expires),
            ago(expires, clock::now())
        );
    }
    out
}

fn warn_of_loss(desk: &Desk, keyring: &Keyring) {
    if keyring.threshold() == keyring.keys().len() {
        desk.console.note(
            "all keys are needed: with one of them lost nobody can sign any more, nor change that. Add a spare key and keep it in a safe: \
             agentctl fleet key add FILE",
        );
    }
}

/// Has these keys count from now on.
async fn rotate(
    desk: &Desk,
    keys: Vec<SigningKey>,
    threshold: usize,
    how: &RotateArgs,
) -> Result<u8, Failure> {
    let keyring = Keyring::new(keys, threshold)
        .map_err(|error| Failure::because("these keys cannot count together", error))?;
    let bucket = desk.bucket().await?;
    let now = Published::now(&bucket, desk.trust()?).await?;
    let published = now.as_ref().and_then(|now| now.document.as_ref().ok());
    let fleet = fleet_of(desk, published)?;
    let before = desk.generation.as_ref().map_or(0, |one| one.version_floor);
    let issued = clock::now();
    let expires = how.valid_for.map(|time| {
        SignedDuration::try_from(time)
            .and_then(|time| issued.checked_add(time))
            .map_err(|error| Failure::because("--valid-for leads to no moment", error))
    });
    let generation = Generation {
        number: desk.trust_number().saturating_add(1),
        fleet,
        issued: Timestamp::from_second(issued.as_second()).unwrap_or(issued),
        expires: expires.transpose()?,
        keyring,
        version_floor: how
            .version_floor
            .unwrap_or_else(|| published.map_or(before, |document| document.id.version)),
        version_step: desk.generation.as_ref().and_then(|one| one.version_step),
    };
    warn_of_loss(desk, &generation.keyring);
    if !how.yes && !ask::yes(&question(&generation, "sign"), desk.console)? {
        return Err(Failure::new("not changed"));
    }
    let message = generation.to_signed();
    let mut signatures = Vec::new();
    if let Ok(signer) = desk.signer() {
        signatures.push(desk.sign_with(signer, message.as_bytes(), TRUST_NAMESPACE)?);
    }
    for file in &how.also_key {
        let signer = Signer::Key(file.clone());
        signatures.push(desk.sign_with(&signer, message.as_bytes(), TRUST_NAMESPACE)?);
    }
    let text = generation.sealed(&signatures);
    if let Some(out) = &how.out {
        publish::write(out, &text)?;
        said_enough(desk, &text, generation.number, out);
        return Ok(0);
    }
    put(desk, &text, generation.number).await
}

fn fleet_of(desk: &Desk, published: Option<&Document>) -> Result<Name, Failure> {
    let named = desk.settings.fleet_name.clone();
    let generation = desk.generation.as_ref().map(|one| one.fleet.clone());
    named
        .or(generation)
        .or_else(|| published.map(|document| document.id.fleet.clone()))
        .ok_or_else(|| {
            Failure::new("which fleet? nothing is published")
                .hint("write fleet_name = \"NAME\" into desk.toml")
        })
}

fn question(generation: &Generation, verb: &str) -> String {
    let names = generation.keyring.keys().iter();
    let names: Vec<&str> = names.map(|key| key.name.as_str()).collect();
    format!(
        "{verb} trust {} of {}: {} of {} must sign from then on, and versions count from {} on?",
        generation.number,
        generation.fleet,
        generation.keyring.threshold(),
        names.join(", "),
        generation.version_floor
    )
}

fn bad(error: BadTrust, name: &str) -> Failure {
    Failure::because(format!("no machine would follow {name}"), error)
}

fn judged(desk: &Desk, text: &str, number: u64) -> Result<Generation, BadTrust> {
    // Whoever comes here has a keyring: `key` looked.
    let Some(Trust::Keys(before)) = &desk.settings.trust else {
        return Err(BadTrust::Broken("nobody must sign here".into()));
    };
    Generation::read(
        text.as_bytes(),
        number,
        before,
        desk.settings.fleet_name.as_ref(),
    )
}

fn said_enough(desk: &Desk, text: &str, number: u64, file: &Path) {
    let file = file.display();
    match judged(desk, text, number) {
        Ok(_) => desk.console.note(&format!(
            "those have signed who must: agentctl fleet key publish {file}"
        )),
        Err(why) => desk.console.note(&format!(
            "others must sign too: have them run agentctl fleet key cosign {file} ({why})"
        )),
    }
}

fn cosign(desk: &Desk, file: &Path, yes: bool) -> Result<u8, Failure> {
    let (name, bytes) = validate::read(file)?;
    let (generation, mut signatures) =
        Generation::read_unsigned(&bytes).map_err(|error| bad(error, &name))?;
    if !yes && !ask::yes(&question(&generation, "sign"), desk.console)? {
        return Err(Failure::new("not signed"));
    }
    let message = signed(&bytes)?;
    let signature = desk.sign(message.as_bytes(), TRUST_NAMESPACE)?;
    signatures.retain(|other: &Signature| other.key != signature.key);
    signatures.push(signature);
    let text = crate::fleet::sealed(message, &signatures);
    publish::write(file, &text)?;
    said_enough(desk, &text, generation.number, file);
    Ok(0)
}

fn signed(bytes: &[u8]) -> Result<&str, Failure> {
    let unsealed = crate::fleet::unsealed(bytes).map(|(signed, _)| signed);
    unsealed.ok_or_else(|| Failure::new("the file has no signed part"))
}

async fn publish_file(desk: &Desk, file: &Path, yes: bool) -> Result<u8, Failure> {
    let (name, bytes) = validate::read(file)?;
    let (generation, _) = Generation::read_unsigned(&bytes).map_err(|error| bad(error, &name))?;
    if !yes && !ask::yes(&question(&generation, "publish"), desk.console)? {
        return Err(Failure::new("not published"));
    }
    put(desk, &String::from_utf8_lossy(&bytes), generation.number).await
}

/// Puts it into the bucket, if machines would follow it; then, where what is published does not count any more, that anew.
async fn put(desk: &Desk, text: &str, number: u64) -> Result<u8, Failure> {
    let expected = desk.trust_number().saturating_add(1);
    let key = Generation::object(number);
    let generation = judged(desk, text, expected).map_err(|error| {
        bad(error, &key).hint(
            "where others must sign too: --out FILE, the others run agentctl fleet key cosign FILE, and the last agentctl fleet key publish \
             FILE; where old and new keys are yours: --also-key FILE",
        )
    })?;
    let bucket = desk.bucket().await?;
    let before = Published::now(&bucket, desk.trust()?).await?;
    let put = bucket
        .put(&key, text.as_bytes().to_vec(), Some(&Condition::Absent))
        .await;
    if let Err(error) = put {
        let there = published::get(&bucket, &key).await?;
        if there.is_none_or(|(there, _)| there != text.as_bytes()) {
            return Err(match error.kind {
                BucketErrorKind::Conflict => Failure::new(format!(
                    "somebody else changed who signs while you did: {} is there already",
                    bucket.url(&key)
                ))
                .hint("agentctl fleet key list shows it; try again"),
                _ => told(error),
            });
        }
    }
    crash::point("trust moved, and the document is the one of before");
    desk.console
        .note(&format!("published: {generation}, at {}", bucket.url(&key)));
    let after = Desk {
        settings: crate::settings::DeskSettings {
            trust: Some(Trust::Keys(generation.keyring.clone())),
            ..desk.settings.clone()
        },
        generation: Some(generation),
        console: desk.console,
    };
    renew(&after, before.as_ref()).await?;
    list(&after, keyring(&after)?)
}

/// Publishes what is published once more, where machines that come now would not take it: its signatures do not count any more, or
/// its version does not.
async fn renew(desk: &Desk, before: Option<&Published>) -> Result<(), Failure> {
    // What nobody had signed who must, nobody signs unseen.
    let Some((before, Ok(document))) = before.map(|before| (before, &before.document)) else {
        return Ok(());
    };
    let floor = desk.generation.as_ref().map_or(0, |one| one.version_floor);
    let counts =
        (floor..=floor.saturating_add(desk.settings.version_step)).contains(&document.id.version);
    if counts && Document::signers(&before.bytes, desk.trust()?).is_ok() {
        return Ok(());
    }
    desk.console.note(&format!(
        "what is published, version {}, does not count any more: it is published anew",
        document.id.version
    ));
    let how = PublishArgs {
        yes: true,
        valid_for: None,
        any_version: true,
        replace_unverified: true,
        urgent: false,
        platform: FamilyName::default(),
    };
    let name = format!("version {}", document.id.version);
    let draft = crate::fleet::sealed(signed(&before.bytes)?, &[]);
    publish::publish_quietly(desk, &name, draft.as_bytes(), &how, Basis::Any)
        .await
        .map(drop)
        .inspect_err(|_| {
            desk.console.note(
                "who signs has changed, and the document is not published anew: machines that stand on it keep it, new ones take none. \
                 Have those who sign now publish it: agentctl fleet sign, cosign, publish --replace-unverified",
            );
        })
}
