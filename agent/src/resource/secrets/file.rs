//! Secrets in files of the machine that root alone may read.

use std::path::Path;

use super::{Keeper, SecretError, SecretText};
use crate::fleet::names::AbsolutePath;
use crate::system::chain;
use crate::system::file::{Attributes, Files, Found};

/// A secret in a file.
pub(super) struct InFile<'a>(pub(super) &'a AbsolutePath);

impl Keeper for InFile<'_> {
    async fn read(&self, files: &Files) -> Result<SecretText, SecretError> {
        let path = self.0;
        let found = files.read(Path::new(path.as_str())).map_err(|error| {
            SecretError(format!("the secret cannot be read: {}", chain(&error)))
        })?;
        let wrong = |why: &str| Err(SecretError(format!("the secret's file {path} {why}")));
        match found {
            Found::File { bytes, attributes } => {
                let own = Attributes::own(attributes.mode);
                if attributes.uid != own.uid {
                    return wrong("belongs to another account than root: chown root it");
                }
                if !attributes.is_private() {
                    return wrong("can be read by others than root: chmod 600 it");
                }
                SecretText::read(bytes).or_else(wrong)
            }
            Found::Absent => {
                wrong("is not there: write the secret into it, readable by root alone")
            }
            Found::Link(_) => wrong("is a symlink, which is not followed: name the file itself"),
            Found::Large { .. } => wrong("is too large for a secret"),
            Found::Directory(_) | Found::Other => wrong("is no file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::system::root::Root;

    async fn said(files: &Files) -> String {
        let path = "/secret".parse().unwrap();
        match InFile(&path).read(files).await {
            Ok(secret) => secret.exposed().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a person at work in a scratch directory"
    )]
    async fn only_what_root_alone_can_read_is_a_secret() {
        let dir = TempDir::new().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let path = dir.path().join("secret");
        assert!(said(&files).await.contains("is not there"));
        fs::write(&path, "hunter2\n").unwrap();
        for (mode, expected) in [
            (0o644, "can be read by others"),
            (0o640, "can be read by others"),
            (0o602, "can be read by others"),
            (0o600, "hunter2"),
            (0o400, "hunter2"),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let said = said(&files).await;
            assert!(said.contains(expected), "{mode:o}: {said}");
            assert_eq!(
                said.contains("hunter2"),
                mode == 0o600 || mode == 0o400,
                "{said}"
            );
        }
        fs::rename(&path, dir.path().join("other")).unwrap();
        symlink("other", &path).unwrap();
        assert!(said(&files).await.contains("symlink"));
    }
}
