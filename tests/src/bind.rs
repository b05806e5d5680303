//! A real name server (BIND) with a zone that is changed by signed updates: on loopback, or on a fleet's network.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::machine::{Trouble, wait_until};

/// The zone.
pub const ZONE: &str = "shop.test";
/// The name that the key may change the addresses of.
pub const NAME: &str = "www.shop.test";
/// The key, as `tsig-keygen` writes it.
pub const KEY: &str = "key \"agentd\" {\n\talgorithm hmac-sha256;\n\tsecret \"bm90IGEgc2VjcmV0LCBidXQgbG9uZyBlbm91Z2ggZm9yIG9uZQ==\";\n};\n";
/// The same key with another secret.
pub const WRONG_KEY: &str = "key \"agentd\" {\n\talgorithm hmac-sha256;\n\tsecret \"YW5vdGhlciBzZWNyZXQsIHdoaWNoIG5vYm9keSBlbHNlIGhhcw==\";\n};\n";
/// A key that it does not know.
pub const UNKNOWN_KEY: &str = "key \"stranger\" {\n\talgorithm hmac-sha256;\n\tsecret \"YW5vdGhlciBzZWNyZXQsIHdoaWNoIG5vYm9keSBlbHNlIGhhcw==\";\n};\n";

const SOON: Duration = Duration::from_secs(20);

/// Configuration, zone and journal of a name server, in a directory of its own.
#[derive(Debug)]
pub struct Zone {
    dir: tempfile::TempDir,
}

impl Zone {
    /// A zone with one name server, a name for the key's updates, and an alias.
    #[expect(clippy::disallowed_methods, reason = "files of a directory of its own")]
    pub fn new(address: &str, port: u16) -> Result<Self, Trouble> {
        let dir = tempfile::tempdir().map_err(|e| Trouble::caused("cannot make a directory", e))?;
        let at = dir.path().display();
        let config = format!(
            "{KEY}options {{ directory \"{at}\"; listen-on port {port} {{ {address}; }}; listen-on-v6 {{ none; }};
              recursion no; pid-file none; session-keyfile \"{at}/session.key\"; dnssec-validation no; }};
              controls {{ }};
              zone \"{ZONE}\" {{ type primary; file \"zone\"; update-policy {{
                grant agentd name {NAME} A AAAA; grant agentd name alias.{ZONE} A AAAA; }}; }};\n"
        );
        let zone = format!(
            "$TTL 60\n@ IN SOA ns hostmaster 1 60 60 60 60\n@ IN NS ns\nns IN A {address}\nalias IN CNAME www\n"
        );
        for (name, text) in [("named.conf", config), ("zone", zone)] {
            std::fs::write(dir.path().join(name), text)
                .map_err(|e| Trouble::caused(format!("cannot write {name}"), e))?;
        }
        Ok(Self { dir })
    }

    /// What starts its server in the foreground.
    pub fn command(&self) -> Vec<String> {
        let config = self.config().display().to_string();
        ["/usr/sbin/named", "-g", "-n", "1", "-c", &config]
            .map(str::to_owned)
            .into()
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("named.conf")
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A name server on loopback. It ends with its handle.
#[derive(Debug)]
pub struct Bind {
    child: Child,
    port: u16,
    _zone: Zone,
}

impl Bind {
    /// Starts one, and waits until it answers.
    pub fn start() -> Result<Self, Trouble> {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|e| Trouble::caused("there is no port", e))?
            .port();
        let zone = Zone::new("127.0.0.1", port)?;
        let log = std::fs::File::create(zone.dir().join("log"))
            .map_err(|e| Trouble::caused("cannot make a log", e))?;
        let argv = zone.command();
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| Trouble::new("no command"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| Trouble::caused("cannot start named (tests/setup installs it)", e))?;
        let bind = Self {
            child,
            port,
            _zone: zone,
        };
        wait_until("named to listen", SOON, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        Ok(bind)
    }

    /// Where it listens, as agentd.toml and documents say it.
    pub fn server(&self) -> String {
        format!("{}:{}", IpAddr::from([127, 0, 0, 1]), self.port)
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
