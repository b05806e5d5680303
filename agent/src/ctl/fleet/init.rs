//! Beginning a fleet: a key if there is none, the desk's settings, a first document, and the lines that machines need.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::args::{FamilyName, PublishArgs};
use super::super::failure::Failure;
use super::super::validate;
use super::desk::Desk;
use super::publish::{self, Basis};
use super::published;
use super::signer::public_file;
use crate::converge::intake::KEY;
use crate::fleet::signing::{Keyring, SigningKey, Trust};
use crate::fleet::{Draft, Name};
use crate::settings::Signer;
use crate::system::{clock, interactive};

/// How long a first document lasts, where it does not say itself.
const FIRST_SPAN: Duration = Duration::from_hours(30 * 24);
/// How long making a key may take.
const KEYGEN: Duration = Duration::from_mins(2);

/// Begins a fleet.
pub(super) async fn init(
    desk: &Desk,
    name: &Name,
    document: Option<&Path>,
    keys: &[PathBuf],
) -> Result<u8, Failure> {
    let url = desk.url()?.to_string();
    let file = &desk.settings.file;
    if desk.settings.exists {
        return Err(
            Failure::new(format!("{} exists: this desk has a fleet", file.display()))
                .hint("name another file with --desk to begin another fleet"),
        );
    }
    let bucket = desk.bucket().await?;
    if published::get(&bucket, KEY).await?.is_some() {
        return Err(
            Failure::new(format!("there is a fleet at {} already", bucket.url(KEY)))
                .hint("write its trusted keys into your desk.toml instead: docs/signing.md"),
        );
    }
    let dir = file.parent().unwrap_or_else(|| Path::new("/"));
    std::fs::create_dir_all(dir)
        .map_err(|error| Failure::because(format!("cannot make {}", dir.display()), error))?;
    let keys = if keys.is_empty() {
        vec![make_key(dir, name)?]
    } else {
        keys.to_vec()
    };
    let trusted: Vec<SigningKey> = keys
        .iter()
        .map(|file| read_key(file))
        .collect::<Result<_, _>>()?;
    let keyring = Keyring::new(trusted, 1)
        .map_err(|error| Failure::because("these keys cannot be trusted together", error))?;
    let first = keys
        .first()
        .map(|key| std::path::absolute(key).unwrap_or_else(|_| key.clone()));
    let first = first.unwrap_or_default();
    let section = trust_section(&keyring);
    let settings = format!(
        "# A desk of node-agent: agentctl fleet. No machine reads this.\nfleet = {url:?}\nfleet_name = \"{name}\"\n\
         # What signs: ssh-keygen -Y sign -f KEY. A .pub file: its key is in ssh-agent or in a token.\nkey = {:?}\n{}\n{section}",
        first.display().to_string(),
        s3_section(desk)
    );
    publish::write(file, &settings)?;

    let text = match document {
        Some(file) => {
            let (name, bytes) = validate::read(file)?;
            let (draft, _) = Draft::read(&bytes)
                .map_err(|mistakes| validate::not_good(&mistakes, &name, &bytes))?;
            draft.sealed(&[])
        }
        None => empty(name),
    };
    let desk = Desk {
        settings: crate::settings::DeskSettings {
            exists: true,
            fleet_name: Some(name.clone()),
            signer: Some(Signer::Key(first)),
            trust: Some(Trust::Keys(keyring)),
            ..desk.settings.clone()
        },
        generation: None,
        console: desk.console,
    };
    let how = PublishArgs {
        yes: true,
        valid_for: document.is_none().then_some(FIRST_SPAN),
        any_version: true,
        replace_unverified: false,
        urgent: false,
        platform: FamilyName::default(),
    };
    let published = publish::publish(
        &desk,
        "the first document",
        text.as_bytes(),
        &how,
        Basis::Any,
    );
    if let Err(failure) = published.await {
        // As if nothing had been tried: the next try must not find a desk.
        let _ = std::fs::remove_file(file);
        return Err(failure);
    }
    desk.console.note(&format!(
        "written: {}\n\nOn each machine, in /etc/agentd/agentd.toml:\n\nfleet = {url:?}\nfleet_name = \"{name}\"\n{section}\n\
         Next: agentctl fleet edit, or agentctl fleet get fleet.json, edit it, and agentctl fleet publish fleet.json.\n\
         Keep a second key in a safe: with one key alone, who loses it must write every machine's agentd.toml anew.",
        file.display()
    ));
    Ok(0)
}

fn make_key(dir: &Path, name: &Name) -> Result<PathBuf, Failure> {
    let file = dir.join(format!("{name}-key"));
    let text = file.display().to_string();
    // ssh-keygen asks for a passphrase itself, at the terminal; elsewhere the key has none.
    let passphrase: &[&str] = if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        &[]
    } else {
        &["-N", ""]
    };
    let argv = [
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-C",
        name.as_str(),
        "-f",
        &text,
    ];
    let argv: Vec<String> = argv
        .iter()
        .chain(passphrase)
        .map(|word| (*word).to_owned())
        .collect();
    let done = interactive::answer(&argv, b"", KEYGEN)
        .map_err(|error| Failure::because("cannot make a key with ssh-keygen", error))?;
    if !done.0.success() {
        return Err(Failure::new(format!("ssh-keygen made no key ({})", done.0)));
    }
    Ok(file)
}

/// The public key that a file names: its own, or that beside a private one.
pub(super) fn read_key(file: &Path) -> Result<SigningKey, Failure> {
    let public = public_file(file);
    let name = public.display().to_string();
    let line = std::fs::read_to_string(&public)
        .map_err(|error| Failure::because(format!("cannot read {name}"), error))?;
    SigningKey::from_line(&line).map_err(|error| Failure::because(name, error))
}

/// What trusts these keys, in `agentd.toml` and in `desk.toml`.
pub(super) fn trust_section(keyring: &Keyring) -> String {
    let mut out = "[trust]\nkeys = [\n".to_owned();
    for key in keyring.keys() {
        let _ = writeln!(out, "  \"{key}\",");
    }
    let _ = writeln!(out, "]\nthreshold = {}", keyring.threshold());
    out
}

fn s3_section(desk: &Desk) -> String {
    let s3 = &desk.settings.s3;
    let mut out = String::new();
    if let Some(endpoint) = &s3.endpoint {
        let _ = writeln!(
            out,
            "[s3]\nendpoint = {endpoint:?}\npath_style = {}",
            s3.path_style
        );
    }
    out
}

/// A document of a fleet without servers.
fn empty(name: &Name) -> String {
    let now = clock::now();
    format!(
        "{{\"signatures\": [], \"signed\": {{\n  \"format\": 1,\n  \"fleet\": \"{name}\",\n  \"version\": 1,\n  \"issued\": \"{now}\",\n  \"expires\": \"{now}\",\n  \"servers\": {{}},\n  \"roles\": {{}},\n  \"products\": {{}}\n}}}}"
    )
}
