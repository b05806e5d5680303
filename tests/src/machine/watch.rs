//! What many tests of machines with the agent do: publish the sample fleet, be its web server, wait and see.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Image, Machine, MachineSpec, Trouble, wait_until, with_agent};

/// Longer than any step should take on a busy host.
pub const SOON: Duration = Duration::from_secs(40);

/// The sample fleet, at a version, changed as the test wants.
pub fn sample(version: u64, change: impl FnOnce(&mut Value)) -> Value {
    let text = include_str!("../../fleets/heavy.json");
    let mut document: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(signed) = document.get_mut("signed") {
        change(signed);
    }
    if let Some(said) = document.pointer_mut("/signed/version") {
        *said = json!(version);
    }
    document
}

/// The sample's web-1: Apache, the agent, and the code of the sites.
pub fn web_1(image: Image) -> Result<MachineSpec, Trouble> {
    let spec = MachineSpec::new("web-1", image, "10.77.0.11")
        .enable(image.apache_unit())
        .file("/srv/shop/current/public/index.html", "the shop")
        .file("/srv/shop/current/admin/index.html", "the shop's office")
        .file("/srv/video/current/public/index.html", "the videos");
    with_agent(spec)
}

/// Whether a site of the machine answers with this page.
pub fn serves(machine: &Machine, domain: &str, page: &str) -> bool {
    let url = format!("http://{}/", machine.address());
    machine
        .get(&url, Some(domain))
        .is_ok_and(|answer| answer == (200, page.to_owned()))
}

/// `agentctl status` says that all is as it should be.
pub fn converged(machine: &Machine) -> bool {
    machine
        .run(&["agentctl", "status"])
        .is_ok_and(|said| said.code == Some(0))
}

/// The same, with nothing left for a later run, as the activation that a boot puts off: the agent touches no service now.
pub fn settled(machine: &Machine) -> bool {
    converged(machine) && !machine.exists("/var/lib/agentd/pending")
}

/// What a machine says of itself: for the words of a test that fails.
pub struct Story<'a>(pub &'a Machine);

impl fmt::Display for Story<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0.run(&["agentctl", "status"]);
        let status = status.map_or_else(|e| e.to_string(), |said| said.stdout + &said.stderr);
        let log = self.0.journal("agentd.service").unwrap_or_default();
        write!(out, "{}\n{status}\n{log}", self.0.name())
    }
}

/// Waits until something holds; the time that took.
///
/// # Panics
///
/// Where the wait is in vain: the test fails, with the machine's own words.
#[track_caller]
#[expect(clippy::panic, reason = "the test fails here")]
pub fn see(machine: &Machine, what: &str, holds: impl FnMut() -> bool) -> Duration {
    match wait_until(what, SOON, holds) {
        Ok(took) => took,
        Err(e) => panic!("{e}\n{}", Story(machine)),
    }
}

/// Who serves the sites, and how often it was told to read its configuration again: equal where nobody touched it.
#[derive(Debug, PartialEq, Eq)]
pub struct Apache {
    pid: String,
    reloads: usize,
}

impl Apache {
    /// As it is now.
    pub fn of(machine: &Machine) -> Result<Self, Trouble> {
        let unit = machine.image().apache_unit();
        Ok(Self {
            pid: machine.property(unit, "MainPID")?,
            reloads: machine.journal(unit)?.matches("Reloaded ").count(),
        })
    }

    /// Reloads so far, in all boots.
    pub fn reloads(&self) -> usize {
        self.reloads
    }
}
