//! Making a signature: with `ssh-keygen`, which knows key files, agents and tokens, or with the program that the desk names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::failure::Failure;
use super::desk::Desk;
use crate::fleet::Signature;
use crate::fleet::names::KeyName;
use crate::fleet::signing::{SigningKey, Sshsig, Trust};
use crate::settings::Signer;
use crate::system::interactive;

/// A person looks for the token and remembers the passphrase.
const PATIENCE: Duration = Duration::from_mins(5);

impl Desk {
    /// Who signs here; an error that says how to name one, where nobody is.
    pub(super) fn signer(&self) -> Result<&Signer, Failure> {
        self.settings.signer.as_ref().ok_or_else(|| {
            Failure::new("with which key? none is named").hint(format!(
                "give --key FILE, or write key = \"~/.ssh/id_ed25519\" into {}",
                self.settings.file.display()
            ))
        })
    }

    /// Signs these bytes.
    pub(super) fn sign(&self, message: &[u8], namespace: &str) -> Result<Signature, Failure> {
        self.sign_with(self.signer()?, message, namespace)
    }

    /// Signs these bytes with this key or program.
    pub(super) fn sign_with(
        &self,
        signer: &Signer,
        message: &[u8],
        namespace: &str,
    ) -> Result<Signature, Failure> {
        let (argv, public) = match signer {
            Signer::Key(file) => {
                let file = file.display().to_string();
                let argv = [
                    "ssh-keygen",
                    "-q",
                    "-Y",
                    "sign",
                    "-n",
                    namespace,
                    "-f",
                    &file,
                ];
                (argv.map(str::to_owned).to_vec(), Some(file))
            }
            Signer::Program(argv) => (argv.clone(), None),
        };
        let program = argv.first().cloned().unwrap_or_default();
        if let Some(file) = &public {
            self.console.progress(&format!("signing with {file}"));
        } else {
            self.console.progress(&format!("signing with {program}"));
        }
        let (status, printed) = interactive::answer(&argv, message, PATIENCE)
            .map_err(|error| Failure::because(format!("{program} could not sign"), error))?;
        if !status.success() {
            return Err(Failure::new(format!("{program} could not sign ({status})")).hint(
                "its own words stand above; try it by hand: echo x | ssh-keygen -Y sign -n test -f KEY",
            ));
        }
        let armor = String::from_utf8_lossy(&printed);
        let no_signature =
            |why: String| Failure::new(format!("what {program} printed is no signature: {why}"));
        let sshsig = armor
            .parse()
            .map_err(|error| no_signature(format!("{error}")))?;
        let read = Sshsig::from_armor(&armor).map_err(|error| no_signature(error.to_string()))?;
        let key = self
            .known_name(&read)
            .or_else(|| public.as_deref().and_then(name_in_file))
            .or_else(|| read.fingerprint().parse().ok())
            .ok_or_else(|| no_signature("its key has no name".into()))?;
        Ok(Signature { key, sshsig })
    }

    /// What the fleet calls the key of a signature.
    fn known_name(&self, sshsig: &Sshsig) -> Option<KeyName> {
        match &self.settings.trust {
            Some(Trust::Keys(keyring)) => keyring.name_of(sshsig).cloned(),
            _ => None,
        }
    }
}

/// Where the public key is: in this file, or beside the private one in it.
pub(super) fn public_file(file: &Path) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "pub") {
        return file.into();
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// What the key of this file is called.
fn name_in_file(file: &str) -> Option<KeyName> {
    let line = std::fs::read_to_string(public_file(Path::new(file))).ok()?;
    Some(SigningKey::from_line(&line).ok()?.name)
}
