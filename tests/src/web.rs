//! A web server under test: a booted machine whose sites `agentd --once` keeps, run by run, by a document in a directory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::{Fleet, Image, Machine, MachineSpec, Output, Trouble};

/// Where the machine has its bucket.
const DOCUMENT: &str = "/srv/bucket/fleet.json";
/// How long one run may take: longer than the agent's own patience with a server that does not answer.
const RUN: Duration = Duration::from_mins(1);

/// The machine and the version of its document.
#[derive(Debug)]
pub struct WebBox {
    /// The machine.
    pub machine: Machine,
    version: AtomicU64,
}

/// One run of the agent.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; 137 where it was killed.
    pub code: i32,
    /// What it said, on both outputs.
    pub said: String,
    /// How long it took.
    pub took: Duration,
}

impl WebBox {
    /// Boots `web-1` with Apache running, the agent installed and not started, and what `more` adds.
    pub fn boot(
        fleet: &Fleet,
        image: Image,
        more: impl FnOnce(MachineSpec) -> MachineSpec,
    ) -> Result<Self, Trouble> {
        let config = "fleet = \"file:///srv/bucket\"\ntrust = \"none\"\nnode = \"web-1\"\n";
        let spec = MachineSpec::new("web-1", image, "10.77.0.11")
            .with_agent_installed(config)?
            .enable(image.apache_unit());
        Ok(Self {
            machine: fleet.boot(more(spec))?,
            version: AtomicU64::new(0),
        })
    }

    /// Publishes the next version of the document, with these sites of the product `shop`.
    pub fn publish(&self, sites: &Value) -> Result<u64, Trouble> {
        self.publish_with(sites, false)
    }

    /// The same, for a document that confirms that sites go.
    pub fn publish_with(&self, sites: &Value, confirm: bool) -> Result<u64, Trouble> {
        self.publish_product(&json!({"sites": sites}), confirm)
    }

    /// The same, for all that the product is.
    pub fn publish_product(&self, product: &Value, confirm: bool) -> Result<u64, Trouble> {
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let mut document = json!({"signatures": [], "signed": {
            "format": 1, "fleet": "test", "version": version,
            "issued": "2026-11-22T20:00:00Z", "expires": "2046-11-22T20:00:00Z",
            "servers": {"web-1": {"address": "10.77.0.11", "roles": ["web"], "products": ["shop"]}},
            "roles": {"web": {}},
            "products": {"shop": product},
        }});
        if confirm && let Some(signed) = document.get_mut("signed") {
            signed["confirm"] = json!(true);
        }
        self.machine
            .write(DOCUMENT, document.to_string().as_bytes())?;
        Ok(version)
    }

    /// `agentd --once`.
    pub fn once(&self) -> Result<Run, Trouble> {
        self.run_agent("")
    }

    /// `agentd --once`, killed by SIGKILL at the N-th crash point that it passes.
    pub fn once_killed_at(&self, point: u32) -> Result<Run, Trouble> {
        self.run_agent(&format!("AGENTD_CRASH_AT={point}"))
    }

    fn run_agent(&self, environment: &str) -> Result<Run, Trouble> {
        // Within a shell, which says by its own exit code that a signal ended it.
        let script = format!("env {environment} /usr/sbin/agentd --once; echo \"ended $?\"");
        let start = std::time::Instant::now();
        let output = self.machine.run_with(&["bash", "-c", &script], b"", RUN)?;
        let took = start.elapsed();
        let code = output
            .stdout
            .rsplit("ended ")
            .next()
            .and_then(|code| code.trim().parse().ok())
            .ok_or_else(|| Trouble::new(format!("no exit code in {output:?}")))?;
        let said = output.stdout + &output.stderr;
        Ok(Run { code, said, took })
    }

    /// The newest record of the agent's journal.
    pub fn last_run(&self) -> Result<Value, Trouble> {
        let newest = "cat \"$(ls /var/lib/agentd/runs/*.json | sort -V | tail -n 1)\"";
        let text = self.machine.must(&["sh", "-c", newest])?;
        serde_json::from_str(&text).map_err(|e| Trouble::caused("the newest run", e))
    }

    /// What that record says of the sites: the row of the step.
    pub fn sites_row(&self) -> Result<Value, Trouble> {
        self.row("sites")
    }

    /// What the last run did about a step.
    pub fn row(&self, step: &str) -> Result<Value, Trouble> {
        let run = self.last_run()?;
        let rows = run.get("steps").and_then(Value::as_array);
        let rows = rows.cloned().unwrap_or_default();
        rows.into_iter()
            .find(|row| row["step"] == step)
            .ok_or_else(|| Trouble::new(format!("no step {step} in {run}")))
    }

    /// Apache's own directory.
    pub fn apache_dir(&self) -> &'static str {
        match self.machine.image() {
            Image::Debian => "/etc/apache2",
            Image::CentosLayout => "/etc/httpd",
        }
    }

    /// Apache's main configuration file.
    pub fn main_config(&self) -> &'static str {
        match self.machine.image() {
            Image::Debian => "/etc/apache2/apache2.conf",
            Image::CentosLayout => "/etc/httpd/conf/httpd.conf",
        }
    }

    /// The directory of Apache's logs.
    pub fn log_dir(&self) -> &'static str {
        match self.machine.image() {
            Image::Debian => "/var/log/apache2",
            Image::CentosLayout => "/var/log/httpd",
        }
    }

    /// Apache's own log of errors and of reloads.
    pub fn error_log(&self) -> Result<String, Trouble> {
        let name = match self.machine.image() {
            Image::Debian => "error.log",
            Image::CentosLayout => "error_log",
        };
        self.machine.read(&format!("{}/{name}", self.log_dir()))
    }

    /// How many times Apache has been reloaded gracefully, by its own log.
    pub fn reloads(&self) -> Result<usize, Trouble> {
        Ok(self.error_log()?.matches("AH00493").count())
    }

    /// Apache's configuration test, with more arguments.
    pub fn apache_test(&self, more: &[&str]) -> Result<Output, Trouble> {
        let test: &[&str] = match self.machine.image() {
            Image::Debian => &["/usr/sbin/apache2ctl", "-t"],
            Image::CentosLayout => &["/usr/sbin/httpd", "-t"],
        };
        self.machine.run(&[test, more].concat())
    }

    /// The generation of vhosts that Apache is to serve. Empty: none.
    pub fn generation(&self) -> Result<String, Trouble> {
        let link = format!("{}/agentd/current", self.apache_dir());
        let read = ["sh", "-c", "readlink \"$1\" || true", "sh", &link];
        Ok(self.machine.must(&read)?.trim().to_owned())
    }

    /// All generations on the disk.
    pub fn generations(&self) -> Result<Vec<String>, Trouble> {
        let find = format!(
            "cd {}/agentd 2>/dev/null && find . -mindepth 1 -maxdepth 1 -type d -printf '%f\\n' || true",
            self.apache_dir()
        );
        let found = self.machine.must(&["sh", "-c", &find])?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// What a site answers, asked on the machine itself: status code and body. `None`: nobody answered.
    pub fn ask(&self, port: u16, host: &str, path: &str) -> Option<(u16, String)> {
        let url = format!("http://127.0.0.1:{port}{path}");
        self.machine.get(&url, Some(host)).ok()
    }

    /// Whether a vhost answers as the one of the present generation.
    pub fn proves(&self, port: u16, host: &str, site: &str) -> Result<bool, Trouble> {
        let path = format!("/.well-known/node-agent/{}", self.generation()?);
        Ok(self.ask(port, host, &path) == Some((200, format!("shop/{site}\n"))))
    }

    /// The headers of an answer, asked on the machine itself, without the line of the status.
    pub fn headers(&self, host: &str, path: &str) -> Result<Vec<(String, String)>, Trouble> {
        let (url, host) = (format!("http://127.0.0.1{path}"), format!("Host: {host}"));
        let curl = [
            "curl",
            "--silent",
            "--max-time",
            "5",
            "--dump-header",
            "-",
            "--output",
            "/dev/null",
            "--header",
            &host,
            &url,
        ];
        let said = self.machine.must(&curl)?;
        let lines = said.lines().filter_map(|line| line.split_once(": "));
        Ok(lines
            .map(|(name, value)| (name.to_owned(), value.trim_end_matches('\r').to_owned()))
            .collect())
    }
}
