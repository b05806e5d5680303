//! Keys and signatures as people make them: with OpenSSH's own programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::{Output, Trouble, cache, run};

/// What fleet documents are signed for.
pub const NAMESPACE: &str = "node-agent-fleet";
/// How long ssh-keygen may take.
const KEYGEN: Duration = Duration::from_secs(20);

/// The library of a FIDO token made of software, as `SSH_SK_PROVIDER` wants it. `tests/setup-token.sh` unpacks it.
pub fn software_token() -> Result<PathBuf, Trouble> {
    let library = cache().join("openssh-tests/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so");
    library
        .canonicalize()
        .map_err(|e| Trouble::caused("no software token: run tests/setup-token.sh", e))
}

/// A key in a file, as `ssh-keygen` makes it.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The private key's path; the public one has `.pub` after it.
    pub path: PathBuf,
    /// The line of the public key, with its name.
    pub line: String,
}

impl KeyFile {
    /// Makes an Ed25519 key without a passphrase.
    pub fn new(dir: &Path, name: &str) -> Result<Self, Trouble> {
        Self::of_type(dir, name, "ed25519")
    }

    /// Makes a key of any type.
    pub fn of_type(dir: &Path, name: &str, kind: &str) -> Result<Self, Trouble> {
        let path = dir.join(name);
        let file = path.display().to_string();
        let argv = [
            "ssh-keygen",
            "-q",
            "-t",
            kind,
            "-N",
            "",
            "-C",
            name,
            "-f",
            &file,
        ];
        ssh_keygen(&argv, b"")?;
        let line = fs::read_to_string(path.with_extension("pub"))
            .map_err(|e| Trouble::caused("the public key", e))?;
        Ok(Self {
            path,
            line: line.trim_end().to_owned(),
        })
    }

    /// Signs for a namespace: the armored signature.
    pub fn sign(&self, namespace: &str, message: &[u8]) -> Result<String, Trouble> {
        let file = self.path.display().to_string();
        let argv = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", &file];
        ssh_keygen(&argv, message).map(|output| output.stdout)
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        self.line.rsplit(' ').next().unwrap_or_default()
    }
}

fn ssh_keygen(argv: &[&str], input: &[u8]) -> Result<Output, Trouble> {
    let output = run(argv, input, KEYGEN)?;
    if output.code == Some(0) {
        Ok(output)
    } else {
        Err(Trouble::new(format!(
            "{}: {}",
            argv.join(" "),
            output.stderr
        )))
    }
}

/// Puts a signed part into its envelope, byte for byte, with the signatures of these keys.
pub fn signed_by(signed: &str, keys: &[&KeyFile]) -> Result<String, Trouble> {
    let signatures = keys.iter().map(|key| {
        let sshsig = key.sign(NAMESPACE, signed.as_bytes())?;
        Ok(json!({ "key": key.name(), "sshsig": sshsig }))
    });
    let signatures: Vec<Value> = signatures.collect::<Result<_, Trouble>>()?;
    Ok(envelope(signed, &signatures))
}

/// Puts a signed part into its envelope, byte for byte.
pub fn envelope(signed: &str, signatures: &[Value]) -> String {
    let signatures = Value::from(signatures.to_vec());
    format!("{{\"signatures\": {signatures}, \"signed\": {signed}}}\n")
}

/// The section of `agentd.toml` that trusts these keys.
pub fn trust_section(keys: &[&KeyFile], threshold: usize) -> String {
    let lines: Vec<String> = keys.iter().map(|key| format!("{:?}", key.line)).collect();
    format!(
        "[trust]\nkeys = [{}]\nthreshold = {threshold}\n",
        lines.join(", ")
    )
}
