//! The stages: the file, then the command line over it, then what is required and what is left to defaults.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::FileSettings;
use super::mistakes::{Mistakes, Place};
use super::{
    BucketUrl, CONFIG_FILE, DnsSettings, GuardSettings, HostsScope, IdentitySettings,
    JournalSettings, LogFormat, LogSettings, MetadataUse, S3Settings, Settings, SettingsError,
    trust::{self, TRUST_NEEDED},
};
use crate::fleet::Name;
use crate::fleet::names::ByteSize;
use crate::system::package_manager::Patience;
use crate::system::root::Root;

/// No agentd.toml is larger than this; what is, is some other file.
const FILE_LIMIT: u64 = 1024 * 1024;

/// What the command line says over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`: taken as it is typed, never under the root. Must exist.
    pub config: Option<PathBuf>,
    /// `--fleet`.
    pub fleet: Option<String>,
    /// `--node`.
    pub node: Option<String>,
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--trust none`.
    pub trust_none: bool,
}

/// The root alone, for what needs no other setting.
pub fn root_of(overrides: &Overrides) -> Result<Root, SettingsError> {
    match &overrides.root {
        None => Ok(Root::machine()),
        Some(dir) => Root::under(dir)
            .and_then(|root| {
                if root.dir().is_dir() {
                    Ok(root)
                } else {
                    Err(std::io::ErrorKind::NotADirectory.into())
                }
            })
            .map_err(|source| SettingsError::Root {
                dir: dir.clone(),
                source,
            }),
    }
}

impl Settings {
    /// Reads the settings of this box.
    ///
    /// The default file, `/etc/agentd/agentd.toml` under the root, may be missing where the command line says
    /// all that is required (`--fleet` and `--trust none`); one named with `--config` may not.
    pub fn load(overrides: &Overrides) -> Result<Self, SettingsError> {
        let root = root_of(overrides)?;
        let (path, text) = if let Some(path) = &overrides.config {
            (path.clone(), Some(read(path)?))
        } else {
            let path = root.real(Path::new(CONFIG_FILE));
            match read(&path) {
                Ok(text) => (path, Some(text)),
                Err(SettingsError::Read { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    (path, None)
                }
                Err(error) => return Err(error),
            }
        };
        let source = text.as_deref().unwrap_or_default();
        let mut mistakes = Mistakes::of(source);
        let said = FileSettings::read(source, &mut mistakes);
        let unclear = !mistakes.is_empty();
        let said = merge(said, overrides, &mut mistakes);
        // What is missing is told only where the file could be read: it may well stand in a broken line.
        if said.fleet.is_none() && overrides.fleet.is_none() && !unclear {
            mistakes.add(Place::Absent, missing_fleet(text.is_some()));
        }
        if said.trust.is_none() && !unclear {
            mistakes.add(Place::Absent, format!("trust is missing: {TRUST_NEEDED}"));
        }
        match (said.fleet.clone(), said.trust.clone()) {
            (Some(bucket), Some(trust)) if mistakes.is_empty() => {
                let file = text.is_some().then_some(path);
                Ok(complete(root, file, bucket, trust, said))
            }
            _ => Err(SettingsError::Mistakes {
                mistakes: mistakes.into_list(),
                path,
            }),
        }
    }
}

fn missing_fleet(file_exists: bool) -> String {
    let line = "fleet = \"s3://bucket/prefix\"";
    if file_exists {
        format!("fleet is missing: where is the fleet document? write {line}, or give --fleet")
    } else {
        format!(
            "there is no such file: write it, with {line} and whom to trust (packaging/agentd.toml is a commented sample), or give --fleet and --trust none"
        )
    }
}

pub(super) fn read(path: &Path) -> Result<String, SettingsError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_LIMIT + 1).read_to_string(&mut text))
        .and_then(|length| {
            if length as u64 > FILE_LIMIT {
                Err(std::io::ErrorKind::FileTooLarge.into())
            } else {
                Ok(text)
            }
        })
        .map_err(|source| SettingsError::Read {
            path: path.into(),
            source,
        })
}

fn merge(
    mut said: FileSettings,
    overrides: &Overrides,
    mistakes: &mut Mistakes<'_>,
) -> FileSettings {
    if let Some(url) = &overrides.fleet {
        match url.parse::<BucketUrl>() {
            Ok(url) => said.fleet = Some(url),
            Err(message) => mistakes.add(Place::Option("--fleet"), message),
        }
    }
    if let Some(name) = &overrides.node {
        match name.parse::<Name>() {
            Ok(name) => said.node = Some(name),
            Err(error) => mistakes.add(Place::Option("--node"), error.to_string()),
        }
    }
    if overrides.trust_none {
        said.trust = Some(trust::Said::nobody());
    }
    said
}

fn complete(
    root: Root,
    file: Option<PathBuf>,
    bucket: BucketUrl,
    trust: trust::Said,
    said: FileSettings,
) -> Settings {
    let platform = said.platform.platform(&root);
    let bytes = |mebibytes: u32| u64::from(mebibytes) * 1024 * 1024;
    Settings {
        root,
        file,
        bucket,
        trust: trust.trust,
        trust_generation: trust.generation,
        version_step: trust.version_step,
        node: said.node,
        pinned_fleet: said.fleet_name,
        poll: said.poll.map_or(Duration::from_secs(20), |span| span.0),
        lease_poll: said
            .lease_poll
            .map_or(Duration::from_secs(2), |span| span.0),
        lease_poll_idle: said
            .lease_poll_idle
            .map_or(Duration::from_secs(30), |span| span.0),
        reports: said.reports.unwrap_or(true),
        hosts: said.hosts.unwrap_or(HostsScope::Products),
        s3: S3Settings {
            endpoint: said.s3_endpoint.map(|url| url.0),
            region: said.s3_region.map(|word| word.0),
            path_style: said.s3_path_style.unwrap_or(false),
            timeout: said
                .s3_timeout
                .map_or(Duration::from_secs(10), |span| span.0),
        },
        guard: GuardSettings {
            share: said.guard_share.unwrap_or(GuardSettings::default().share),
            from: said.guard_from.unwrap_or(GuardSettings::default().from),
        },
        identity: IdentitySettings {
            metadata: said.metadata.unwrap_or(MetadataUse::Auto),
            tag: said
                .metadata_tag
                .map_or_else(|| "agentd-node".into(), |word| word.0),
            endpoint: said.metadata_endpoint.map(|url| url.0),
        },
        document_limit: bytes(said.document_limit.map_or(8, |limit| limit.0)),
        journal: JournalSettings {
            runs: said.journal_runs.unwrap_or(200),
            bytes: bytes(said.journal_bytes.map_or(16, ByteSize::mebibytes)),
        },
        packages: Patience {
            transaction: said
                .packages_timeout
                .map_or(Patience::default().transaction, |span| span.0),
            lock: said
                .packages_lock_timeout
                .map_or(Patience::default().lock, |span| span.0),
        },
        dns: DnsSettings {
            server: said.dns_server,
            key: said.dns_key.map(|path| path.as_str().into()),
        },
        platform,
        log: LogSettings {
            format: said.log_format.unwrap_or(LogFormat::Auto),
            level: said.log_level.unwrap_or(tracing::Level::INFO),
        },
        database: said.database.complete(),
    }
}
