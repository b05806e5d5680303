//! The file with the database accounts: root's alone, never shown.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The most bytes that are read.
const LIMIT: u64 = 64 * 1024;

/// A password. It prints as dots, whoever prints it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Of these characters.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The characters: for the server alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

/// A database account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// Its password; empty where the server knows root by the socket.
    #[serde(default)]
    pub password: Secret,
}

/// How peers are talked to over the network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authorities that sign the servers' certificates, PEM.
    pub ca: PathBuf,
}

/// What the credentials file says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The administrator on this machine, over the unix socket.
    #[serde(default = "root")]
    pub local: Account,
    /// The account by which the chain's servers know each other, the same on all of them.
    pub peer: Account,
    /// The account that replicates; the peers' where it is not named.
    #[serde(default)]
    pub replication: Option<Account>,
    /// Sessions between servers are encrypted, and replication too; without it they are not.
    #[serde(default)]
    pub tls: Option<Tls>,
}

fn root() -> Account {
    Account {
        user: "root".to_owned(),
        password: Secret::default(),
    }
}

impl Credentials {
    /// The account that replicates.
    pub fn replication(&self) -> &Account {
        self.replication.as_ref().unwrap_or(&self.peer)
    }
}

/// The credentials file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("cannot read the database credentials {path}")]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others could read it.
    #[error(
        "the database credentials {path} can be read by others (mode {mode:o}, owner {owner}): chown root and chmod 600"
    )]
    Open {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// It says something else. Without the text: the text is secret.
    #[error("the database credentials {path}: {what}")]
    Wrong {
        /// Where.
        path: PathBuf,
        /// What is wrong, without quoting the file.
        what: String,
    },
}

/// Reads the file, which must belong to root (or to whoever the agent runs as) and be closed to everybody else.
pub fn read(path: &Path) -> Result<Credentials, CredentialsError> {
    let failed = |source| CredentialsError::Read {
        path: path.into(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let mode = meta.mode() & 0o7777;
    let own = nix::unistd::geteuid().as_raw();
    if mode & 0o077 != 0 || (meta.uid() != 0 && meta.uid() != own) {
        return Err(CredentialsError::Open {
            path: path.into(),
            mode,
            owner: meta.uid(),
        });
    }
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
    toml::from_str(&text).map_err(|error: toml::de::Error| CredentialsError::Wrong {
        path: path.into(),
        // `Display` of the error would quote the line, password and all.
        what: match error.span() {
            Some(span) => {
                let before = text.get(..span.start).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a scratch file")]
    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_least_is_the_account_of_the_peers() {
        let file = file("[peer]\nuser = \"agentd\"\npassword = \"hush\"\n", 0o600);
        let credentials = read(file.path()).unwrap();
        assert_eq!(credentials.local.user, "root");
        assert_eq!(credentials.replication().password.reveal(), "hush");
        assert!(!format!("{credentials:?}").contains("hush"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660] {
            let file = file("[peer]\nuser = \"agentd\"\n", mode);
            let error = read(file.path()).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn mistakes_are_told_without_the_secret() {
        let file = file("[peer]\nuser = \"agentd\"\npassword = hush\n", 0o600);
        let error = read(file.path()).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
        assert!(!error.contains("hush"), "{error}");
        let file = self::file("[peer]\nuser = \"agentd\"\npasswort = \"hush\"\n", 0o600);
        let error = read(file.path()).unwrap_err().to_string();
        assert!(
            error.contains("passwort") && !error.contains("hush"),
            "{error}"
        );
    }
}
