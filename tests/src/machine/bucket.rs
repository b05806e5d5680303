//! The fleet's bucket: the S3-protocol server on the fleet's network, and what agents need to use it.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::fleet::{Fleet, NetChild};
use super::node::Machine;
use super::process::{Trouble, failed};
use super::{MachineSpec, TEST_ADDRESS, built};

const ACCESS_KEY: &str = "AKIATESTONLY00000000";
const SECRET_KEY: &str = "only-for-tests-on-fleet-networks";
const PORT: u16 = 9000;
/// Where the server itself is when a proxy stands at [`PORT`].
const BEHIND: u16 = 9001;
/// Longer than any run of tests; it ends with the fleet anyway.
const FOR_SECS: &str = "86400";
const SOON: Duration = Duration::from_secs(20);

/// A running S3-protocol server at [`TEST_ADDRESS`] with one bucket, `fleet`. Dropped, it is gone, objects and all.
#[derive(Debug)]
pub struct FleetBucket<'fleet> {
    fleet: &'fleet Fleet,
    server: NetChild,
    port: u16,
    proxy: Option<Failing>,
}

/// A proxy that fails on purpose, and the file that says how.
#[derive(Debug)]
struct Failing {
    orders: tempfile::NamedTempFile,
    _proxy: NetChild,
}

impl<'fleet> FleetBucket<'fleet> {
    /// Starts it, empty.
    pub fn start(fleet: &'fleet Fleet) -> Result<Self, Trouble> {
        Ok(Self {
            fleet,
            server: serve(fleet, PORT)?,
            port: PORT,
            proxy: None,
        })
    }

    /// Starts it, empty, behind a proxy that fails as [`FleetBucket::treat`] says. The test itself goes around it.
    pub fn start_behind_proxy(fleet: &'fleet Fleet) -> Result<Self, Trouble> {
        let server = serve(fleet, BEHIND)?;
        let orders = tempfile::NamedTempFile::new()
            .map_err(|e| Trouble::caused("cannot make the proxy's orders", e))?;
        let argv = [
            &built("fault-proxy")?.display().to_string(),
            "--listen",
            &format!("{TEST_ADDRESS}:{PORT}"),
            "--upstream",
            &format!("{TEST_ADDRESS}:{BEHIND}"),
            "--orders",
            &orders.path().display().to_string(),
        ];
        let mut proxy = fleet.spawn_in_net(&argv, &[])?;
        proxy.wait_for("listens", SOON)?;
        Ok(Self {
            fleet,
            server,
            port: BEHIND,
            proxy: Some(Failing {
                orders,
                _proxy: proxy,
            }),
        })
    }

    /// How the proxy treats its clients from now on: an address, or `*` for all others, and a mode as
    /// [`crate::proxy::Mode`] reads it. Who is not named is treated as ever.
    pub fn treat(&self, orders: &[(String, String)]) -> Result<(), Trouble> {
        let proxy = self
            .proxy
            .as_ref()
            .ok_or_else(|| Trouble::new("this bucket has no proxy"))?;
        let lines: Vec<_> = orders
            .iter()
            .map(|(who, how)| format!("{who} {how}"))
            .collect();
        // In place: the proxy does not take a file that is half written for one that it understands.
        File::create(proxy.orders.path())
            .and_then(|mut file| file.write_all(lines.join("\n").as_bytes()))
            .map_err(|e| Trouble::caused("cannot write the proxy's orders", e))?;
        // Longer than it takes to look into the file again.
        std::thread::sleep(3 * crate::proxy::ORDERS_EVERY);
        Ok(())
    }

    /// Loses everything: an empty bucket in its place. The proxy stays.
    pub fn empty(&mut self) -> Result<(), Trouble> {
        self.server.stop()?;
        self.server = serve(self.fleet, self.port)?;
        Ok(())
    }

    /// An object; `None`: there is none.
    pub fn get(&self, key: &str) -> Result<Option<String>, Trouble> {
        let url = format!("http://{TEST_ADDRESS}:{}/fleet/{key}", self.port);
        let user = format!("{ACCESS_KEY}:{SECRET_KEY}");
        let argv = [
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "5",
            "--aws-sigv4",
            "aws:amz:us-east-1:s3",
            "--user",
            &user,
            // Which this curl does not send by itself.
            "--header",
            "x-amz-content-sha256: UNSIGNED-PAYLOAD",
            "--write-out",
            "\n%{http_code}",
            &url,
        ];
        let output = self.fleet.run(&argv, SOON)?;
        match output.stdout.rsplit_once('\n') {
            Some((body, "200")) if output.success() => Ok(Some(body.to_owned())),
            Some((_, "404")) => Ok(None),
            _ => Err(failed(&argv, &output)),
        }
    }

    /// Puts the fleet document, whatever it says.
    pub fn publish(&self, document: &Value) -> Result<(), Trouble> {
        self.put("prod/fleet.json", document.to_string().as_bytes())
    }

    /// Puts an object.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<(), Trouble> {
        // With a client of its own on the fleet's network, for this process is not on it.
        let program = built("s3-put")?.display().to_string();
        let endpoint = format!("http://{TEST_ADDRESS}:{}", self.port);
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

fn serve(fleet: &Fleet, port: u16) -> Result<NetChild, Trouble> {
    let program = built("s3-server")?.display().to_string();
    let listen = format!("{TEST_ADDRESS}:{port}");
    let listen = ["--listen", &listen, "--bucket", "fleet", "--for", FOR_SECS];
    let keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY];
    let mut server =
        fleet.spawn_in_net(&[&[program.as_str()], &listen[..], &keys].concat(), &[])?;
    server.wait_for(&format!("{port}"), SOON)?;
    Ok(server)
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
