//! The fleet's bucket: the S3-protocol server on the fleet's network, and what agents need to use it.

use std::time::Duration;

use serde_json::Value;

use super::fleet::{Fleet, NetChild};
use super::node::Machine;
use super::process::{Trouble, failed};
use super::{MachineSpec, TEST_ADDRESS, built};

const ACCESS_KEY: &str = "AKIATESTONLY00000000";
const SECRET_KEY: &str = "only-for-tests-on-fleet-networks";
const PORT: u16 = 9000;
const SOON: Duration = Duration::from_secs(20);

/// A running S3-protocol server at [`TEST_ADDRESS`] with one bucket, `fleet`. Dropped, it is gone, objects and all.
#[derive(Debug)]
pub struct FleetBucket<'fleet> {
    fleet: &'fleet Fleet,
    server: NetChild,
}

impl<'fleet> FleetBucket<'fleet> {
    /// Starts it, empty.
    pub fn start(fleet: &'fleet Fleet) -> Result<Self, Trouble> {
        let program = built("s3-server")?.display().to_string();
        let listen = format!("{TEST_ADDRESS}:{PORT}");
        let listen = ["--listen", &listen, "--bucket", "fleet"];
        let keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY];
        let mut server =
            fleet.spawn_in_net(&[&[program.as_str()], &listen[..], &keys].concat(), &[])?;
        server.wait_for(&format!("{PORT}"), SOON)?;
        Ok(Self { fleet, server })
    }

    /// Puts the fleet document, whatever it says.
    pub fn publish(&self, document: &Value) -> Result<(), Trouble> {
        self.put("prod/fleet.json", document.to_string().as_bytes())
    }

    /// Puts an object.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<(), Trouble> {
        // With a client of its own on the fleet's network, for this process is not on it.
        let program = built("s3-put")?.display().to_string();
        let endpoint = format!("http://{TEST_ADDRESS}:{PORT}");
        let keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY];
        let argv = [
            &[program.as_str()],
            &keys[..],
            &["--endpoint", &endpoint, key],
        ]
        .concat();
        let output = self.fleet.run_with(&argv, bytes, SOON)?;
        if output.success() {
            Ok(())
        } else {
            Err(failed(&argv, &output))
        }
    }

    /// From now on it takes requests and does not answer.
    pub fn freeze(&self) -> Result<(), Trouble> {
        self.server.freeze()
    }

    /// It answers again.
    pub fn thaw(&self) -> Result<(), Trouble> {
        self.server.thaw()
    }

    /// From now on the network swallows what is sent to it; machines reach each other as before.
    pub fn cut(&self) -> Result<(), Trouble> {
        let rules = format!(
            "table inet bucket {{ chain input {{ type filter hook input priority 0; tcp dport {PORT} drop; }}; }}\n"
        );
        self.nft(&["nft", "-f", "-"], rules.as_bytes())
    }

    /// The network lets it through again.
    pub fn heal(&self) -> Result<(), Trouble> {
        self.nft(&["nft", "delete", "table", "inet", "bucket"], b"")
    }

    fn nft(&self, argv: &[&str], input: &[u8]) -> Result<(), Trouble> {
        let output = self.fleet.run_with(argv, input, SOON)?;
        if output.success() {
            Ok(())
        } else {
            Err(failed(argv, &output))
        }
    }
}

/// The `agentd.toml` of a machine of the fleet, polling the bucket each half second; `more` is appended.
pub fn agent_config(more: &str) -> String {
    format!(
        r#"fleet = "s3://fleet/prod"
trust = "none"
poll = "500ms"

[s3]
endpoint = "http://{TEST_ADDRESS}:{PORT}"
region = "us-east-1"
path_style = true
timeout = "2s"
{more}"#
    )
}

/// Credentials for the bucket, as variables of the daemon's environment.
pub fn credentials() -> String {
    format!(
        "AWS_ACCESS_KEY_ID={ACCESS_KEY}\nAWS_SECRET_ACCESS_KEY={SECRET_KEY}\nAWS_EC2_METADATA_DISABLED=true\n"
    )
}

/// A machine with the agent, its configuration, and credentials for the bucket the way a person would give them.
pub fn with_agent(spec: MachineSpec) -> Result<MachineSpec, Trouble> {
    with_agent_and(spec, &agent_config(""))
}

/// The same, with another `agentd.toml` than the usual [`agent_config`].
pub fn with_agent_and(spec: MachineSpec, config: &str) -> Result<MachineSpec, Trouble> {
    Ok(with_credentials(spec.agent(config)?))
}

/// A machine with credentials for the bucket, whose agent comes from elsewhere.
pub fn with_credentials(spec: MachineSpec) -> MachineSpec {
    spec.file("/etc/agentd/credentials", credentials()).file(
        "/etc/systemd/system/agentd.service.d/credentials.conf",
        "[Service]\nEnvironmentFile=/etc/agentd/credentials\n",
    )
}

/// Asks memcached at `address`, from within a machine, with its own text protocol: what it answers.
pub fn ask_memcached(
    machine: &Machine,
    address: &str,
    port: u16,
    words: &str,
) -> Result<String, Trouble> {
    let script = r#"exec 3<>"/dev/tcp/$1/$2" && printf '%s\r\nquit\r\n' "$3" >&3 && cat <&3"#;
    let port = port.to_string();
    let argv = ["bash", "-c", script, "ask", address, &port, words];
    let output = machine.run_with(&argv, b"", Duration::from_secs(5))?;
    if output.success() {
        Ok(output.stdout)
    } else {
        Err(failed(&argv, &output))
    }
}
