//! `desk.toml`: what a desk knows of its fleet, for `agentctl fleet`. No machine reads it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::mistakes::{Mistakes, Place};
use super::section::Section;
use super::values::{Argument, Endpoint, Span, Word};
use super::{BucketUrl, S3Settings, SettingsError, Trust, load, trust};
use crate::fleet::Name;

/// What the command line and the environment say over the file.
#[derive(Debug, Clone, Default)]
pub struct DeskOverrides {
    /// The file, which must then exist, unless it is about to be written.
    pub file: Option<PathBuf>,
    /// Whether a file that was named may be missing.
    pub may_be_missing: bool,
    /// The home directory, in which the default file is looked for: `.config/node-agent/desk.toml`.
    pub home: Option<PathBuf>,
    /// The bucket's URL.
    pub fleet: Option<String>,
    /// The key to sign with.
    pub key: Option<PathBuf>,
}

/// What a desk knows, checked. What a command needs and is not here, it says itself.
#[derive(Debug, Clone)]
pub struct DeskSettings {
    /// The file that was read, or that would have been.
    pub file: PathBuf,
    /// Whether it exists.
    pub exists: bool,
    /// The bucket.
    pub bucket: Option<BucketUrl>,
    /// The fleet that documents must name.
    pub fleet_name: Option<Name>,
    /// Who signs.
    pub signer: Option<Signer>,
    /// Who must sign; `None`: nobody has said.
    pub trust: Option<Trust>,
    /// Which `trust/N.json` has the keys of the settings; 0: none.
    pub trust_generation: u64,
    /// How far a version may be above the one before.
    pub version_step: u64,
    /// The S3 client.
    pub s3: S3Settings,
}

/// What makes signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// `ssh-keygen -Y sign -f` this file: a private key, or a public one whose private one an agent or a token has.
    Key(PathBuf),
    /// A program and its arguments. It reads what is to be signed from standard input, and prints the signature.
    Program(Vec<String>),
}

impl DeskSettings {
    /// Reads the file, if there is one, with what stands over it.
    pub fn load(overrides: &DeskOverrides) -> Result<Self, SettingsError> {
        let home = overrides.home.as_deref();
        let path = overrides.file.clone().unwrap_or_else(|| {
            home.unwrap_or_else(|| Path::new("/"))
                .join(".config/node-agent/desk.toml")
        });
        let text = match load::read(&path) {
            Ok(text) => Some(text),
            Err(SettingsError::Read { source, .. })
                if (overrides.file.is_none() || overrides.may_be_missing)
                    && source.kind() == std::io::ErrorKind::NotFound =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        let source = text.as_deref().unwrap_or_default();
        let mut mistakes = Mistakes::of(source);
        let mut settings = Self::read(source, &path, home, &mut mistakes);
        settings.exists = text.is_some();
        if let Some(url) = &overrides.fleet {
            match url.parse() {
                Ok(url) => settings.bucket = Some(url),
                Err(message) => mistakes.add(Place::Option("--fleet"), message),
            }
        }
        if let Some(key) = &overrides.key {
            settings.signer = Some(Signer::Key(key.clone()));
        }
        if mistakes.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError::Mistakes {
                mistakes: mistakes.into_list(),
                path,
            })
        }
    }

    fn read(text: &str, path: &Path, home: Option<&Path>, mistakes: &mut Mistakes<'_>) -> Self {
        let mut settings = Self {
            file: path.into(),
            exists: false,
            bucket: None,
            fleet_name: None,
            signer: None,
            trust: None,
            trust_generation: 0,
            version_step: trust::VERSION_STEP,
            s3: S3Settings {
                endpoint: None,
                region: None,
                path_style: false,
                timeout: Duration::from_secs(10),
            },
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in errors {
                let message = format!("this is not TOML: {}", error.message());
                mistakes.at(error.span(), message);
            }
            return settings;
        }
        let mut top = Section::top(document.get_ref());
        settings.bucket = top.parsed("fleet", mistakes);
        settings.fleet_name = top.parsed("fleet_name", mistakes);
        let key = top.parsed::<Argument>("key", mistakes);
        let signer = top.each("signer", mistakes, |word| {
            word.parse::<Argument>()
                .map(|word| word.0)
                .map_err(str::to_owned)
        });
        if let Some(said) = trust::read(&mut top, mistakes) {
            settings.trust = Some(said.trust);
            settings.version_step = said.version_step;
            settings.trust_generation = said.generation;
        }
        let mut s3 = top.section("s3", mistakes);
        settings.s3.endpoint = s3.parsed::<Endpoint>("endpoint", mistakes).map(|url| url.0);
        settings.s3.region = s3.parsed::<Word>("region", mistakes).map(|word| word.0);
        settings.s3.path_style = s3.flag("path_style", mistakes).unwrap_or(false);
        if let Some(Span(timeout)) = s3.parsed::<Span<100, 60_000>>("timeout", mistakes) {
            settings.s3.timeout = timeout;
        }
        s3.finish(mistakes);
        settings.signer = match (key, signer) {
            (Some(_), Some((_, span))) => {
                let message = "signer: a key is named too: leave one of them out";
                mistakes.at(Some(span), message);
                None
            }
            (None, Some((words, span))) if words.is_empty() => {
                mistakes.at(Some(span), "signer: expected a program and its arguments");
                None
            }
            (None, Some((words, _))) => Some(Signer::Program(words)),
            (Some(Argument(key)), None) => Some(Signer::Key(from_home(&key, home))),
            (None, None) => None,
        };
        top.finish(mistakes);
        settings
    }
}

/// A path that may begin with `~/`.
fn from_home(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a scratch file")]
    fn load(text: &str) -> Result<DeskSettings, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("desk.toml");
        std::fs::write(&file, text).unwrap();
        let overrides = DeskOverrides {
            file: Some(file),
            home: Some("/home/ops".into()),
            ..DeskOverrides::default()
        };
        DeskSettings::load(&overrides).map_err(|error| {
            let text = error.to_string();
            text.split_once(": ")
                .map_or(text.clone(), |(_, rest)| rest.to_owned())
        })
    }

    #[test]
    fn a_desk_knows_what_its_file_says() {
        let desk = load(
            "fleet = \"s3://fleet/prod\"\nfleet_name = \"prod\"\nkey = \"~/.ssh/id_ed25519\"\ntrust = \"none\"\n[s3]\nregion = \"eu-north-1\"\n",
        )
        .unwrap();
        assert_eq!(desk.bucket.unwrap().to_string(), "s3://fleet/prod");
        assert_eq!(
            desk.signer,
            Some(Signer::Key("/home/ops/.ssh/id_ed25519".into()))
        );
        assert_eq!(desk.trust, Some(Trust::Nobody));
        assert_eq!(desk.s3.region.as_deref(), Some("eu-north-1"));
        let program = load("signer = [\"/usr/bin/kms-sign\", \"--key\", \"ops\"]\n").unwrap();
        let words = ["/usr/bin/kms-sign", "--key", "ops"].map(str::to_owned);
        assert_eq!(program.signer, Some(Signer::Program(words.into())));
        assert!(program.trust.is_none() && program.bucket.is_none());
    }

    #[test]
    fn a_wrong_desk_is_told() {
        let wrong =
            "flet = \"s3://fleet\"\nkey = \"k\"\nsigner = [\"p\"]\n[trust]\nthreshold = 1\n";
        insta::assert_snapshot!(load(wrong).unwrap_err());
    }

    #[test]
    fn no_file_is_no_mistake_unless_it_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = DeskOverrides {
            home: Some(dir.path().into()),
            ..DeskOverrides::default()
        };
        assert!(!DeskSettings::load(&home).unwrap().exists);
        let named = DeskOverrides {
            file: Some(dir.path().join("desk.toml")),
            ..home
        };
        assert!(DeskSettings::load(&named).is_err());
    }
}
