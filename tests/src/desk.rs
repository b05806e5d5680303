//! A desk: `agentctl fleet` with a key, and a bucket that is a directory. What goes wrong panics: it is of tests.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a part of the tests that use it"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Agent, Scratch};
use crate::machine::{Output, built, run, wait_until};
use crate::signing::{KeyFile, trust_section};

/// Longer than anything should take on a busy host.
pub const SOON: Duration = Duration::from_secs(30);

/// A desk with a key, and a bucket that is a directory.
#[derive(Debug)]
pub struct Desk {
    dir: TempDir,
    /// The operator's key, `alice`.
    pub key: KeyFile,
}

/// Writes a file, as an operator does.
#[expect(clippy::disallowed_methods, reason = "the operator at work")]
pub fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

impl Desk {
    /// A desk that signs with `alice`, where `alice` alone counts.
    #[expect(clippy::new_without_default, reason = "it makes keys and directories")]
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("bucket")).unwrap();
        let key = KeyFile::new(dir.path(), "alice").unwrap();
        let desk = Self { dir, key };
        desk.configure(
            &Desk::signs_with(&desk.key),
            &trust_section(&[&desk.key], 1),
        );
        desk
    }

    /// The line of desk.toml that signs with this key.
    pub fn signs_with(key: &KeyFile) -> String {
        format!("key = {:?}", key.path.display().to_string())
    }

    /// Writes desk.toml.
    pub fn configure(&self, signer: &str, trust: &str) {
        let settings = format!(
            "fleet = \"file://{}\"\nfleet_name = \"shop\"\n{signer}\n{trust}",
            self.bucket().display()
        );
        put(&self.path("desk.toml"), &settings);
    }

    /// A path in the directory of the desk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The bucket.
    pub fn bucket(&self) -> PathBuf {
        self.path("bucket")
    }

    /// Runs `agentctl fleet` with these variables in its environment.
    pub fn fleet_with(&self, env: &[(&str, &str)], arguments: &[&str]) -> Output {
        let program = built("agentctl").unwrap().display().to_string();
        let desk = self.path("desk.toml").display().to_string();
        let env: Vec<String> = env
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut argv = vec!["env"];
        argv.extend(env.iter().map(String::as_str));
        argv.extend([
            program.as_str(),
            "--color",
            "never",
            "fleet",
            "--desk",
            &desk,
        ]);
        argv.extend(arguments);
        run(&argv, b"", SOON).unwrap()
    }

    /// Runs `agentctl fleet`.
    pub fn fleet(&self, arguments: &[&str]) -> Output {
        self.fleet_with(&[], arguments)
    }

    /// Runs it; it must succeed: what it printed.
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.fleet(arguments);
        assert!(
            output.success(),
            "{arguments:?}: {}{}",
            output.stdout,
            output.stderr
        );
        output.stdout
    }

    /// Runs it; it must fail: what it said.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.fleet(arguments);
        assert_eq!(output.code, Some(1), "{arguments:?}: {}", output.stdout);
        output.stderr
    }

    /// Writes a document of this version, in which web-2 has this address.
    pub fn write(&self, name: &str, version: u64, address: &str) -> String {
        let file = self.path(name);
        put(&file, &document(version, address));
        file.display().to_string()
    }

    /// Publishes that; returns what was printed.
    pub fn publish(&self, version: u64, address: &str) -> String {
        let file = self.write("edited.json", version, address);
        self.good(&["publish", &file, "--yes"])
    }

    /// An object of the bucket; null where there is none.
    pub fn object(&self, key: &str) -> Value {
        let text = fs::read_to_string(self.bucket().join(key)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The directory of the desk.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether OpenSSH itself finds that this key signed what is published.
    pub fn ssh_keygen_verifies(&self, line: &str) {
        let text = fs::read_to_string(self.bucket().join("fleet.json")).unwrap();
        let (_, rest) = text.split_once("\"signed\": ").unwrap();
        let signed = rest.strip_suffix("\n}\n").unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let sshsig = document
            .pointer("/signatures/0/sshsig")
            .and_then(Value::as_str)
            .unwrap();
        put(&self.path("sig"), sshsig);
        put(&self.path("allowed"), &format!("someone {line}\n"));
        let (allowed, sig) = (self.path("allowed"), self.path("sig"));
        let argv = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-n",
            "node-agent-fleet",
            "-I",
            "someone",
            "-f",
            allowed.to_str().unwrap(),
            "-s",
            sig.to_str().unwrap(),
        ];
        let output = run(&argv, signed.as_bytes(), SOON).unwrap();
        assert!(output.success(), "{}{}", output.stdout, output.stderr);
    }

    /// A box that trusts these keys, and its agent.
    pub fn agent(&self, trust: &str) -> (Scratch, Agent) {
        let config = format!(
            "fleet = \"file://{}\"\nnode = \"web-1\"\npoll = \"100ms\"\n{trust}",
            self.bucket().display()
        );
        let scratch = Scratch::new(&config).unwrap();
        let agent = Agent::start(scratch.root(), &[], &[]).unwrap();
        (scratch, agent)
    }
}

/// A document of fleet `shop` in which `web-2` has this address.
pub fn document(version: u64, address: &str) -> String {
    let signed = json!({
        "format": 1, "fleet": "shop", "version": version,
        "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": {
            "web-1": {"address": "10.0.0.1", "products": ["shop"]},
            "web-2": {"address": address, "products": ["shop"]}
        },
        "products": {"shop": {}}
    });
    let document = json!({ "signatures": [], "signed": signed });
    serde_json::to_string_pretty(&document).unwrap()
}

/// Waits until the status of a box is so.
pub fn sees(scratch: &Scratch, what: &str, so: impl Fn(&Value) -> bool) {
    let seen = wait_until(what, SOON, || so(&scratch.status()));
    assert!(seen.is_ok(), "{what}: {:#}", scratch.status());
}
