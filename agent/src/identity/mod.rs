//! Which server of the document this box is: what a person said, the cloud's metadata, the host name, in that order.
//!
//! Clues are gathered once, within a few seconds whatever hangs, and then held against each document. Not
//! what happens to a box that no document names.

mod metadata;

use std::path::Path;
use std::time::Duration;

use metadata::Asked;

use crate::fleet::{Fleet, Name, Server, ServerState};
use crate::settings::{IdentitySettings, MetadataUse, Settings};
use crate::system::root::Root;
use crate::system::spelling::nearest;

/// The most that gathering clues may take, all together.
pub const GATHER_DEADLINE: Duration = Duration::from_secs(3);

/// What this box knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clues {
    /// The setting `node`, or `--node`. Where it is set, nothing else counts.
    pub setting: Option<Name>,
    /// The cloud's instance id.
    pub instance_id: Option<String>,
    /// The tag that was asked for, and its value.
    pub tag: Option<(String, String)>,
    /// The host name in full, then up to its first dot. Lower case.
    pub hostnames: Vec<String>,
    /// What was tried in vain, and why.
    pub tried: Vec<String>,
    /// The metadata service should have answered and did not: it is worth asking again.
    pub metadata_failed: bool,
}

impl Clues {
    /// Gathers what can be known, within [`GATHER_DEADLINE`]. Fails at nothing: what cannot be had is told in `tried`.
    pub async fn gather(settings: &Settings) -> Self {
        let mut clues = Self {
            setting: settings.node.clone(),
            ..Self::default()
        };
        if clues.setting.is_some() {
            return clues;
        }
        clues.ask_metadata(&settings.root, &settings.identity).await;
        match hostname(&settings.root) {
            Ok(full) => {
                let full = full.to_ascii_lowercase();
                let short = full.split('.').next().map(str::to_owned);
                clues.hostnames = std::iter::once(full).chain(short).collect();
                clues.hostnames.dedup();
            }
            Err(error) => clues.tried.push(format!("the host name ({error})")),
        }
        clues
    }

    async fn ask_metadata(&mut self, root: &Root, settings: &IdentitySettings) {
        match settings.metadata {
            MetadataUse::Off => return,
            MetadataUse::Auto if !is_ec2(root) => {
                self.tried
                    .push("instance metadata (not asked: the firmware does not say that this is an EC2 instance)".into());
                return;
            }
            MetadataUse::Auto | MetadataUse::On => {}
        }
        if metadata_is_disabled() {
            self.tried
                .push("instance metadata (not asked: AWS_EC2_METADATA_DISABLED is set)".into());
            return;
        }
        let asking = metadata::ask(settings.endpoint.as_deref(), &settings.tag);
        match tokio::time::timeout(GATHER_DEADLINE, asking).await {
            Ok(asked) => self.note(asked, &settings.tag),
            Err(_) => self.note(
                Asked::NoAnswer(format!("no answer within {} s", GATHER_DEADLINE.as_secs())),
                &settings.tag,
            ),
        }
    }

    fn note(&mut self, asked: Asked, tag: &str) {
        match asked {
            Asked::NoAnswer(why) => {
                self.tried.push(format!("instance metadata ({why})"));
                self.metadata_failed = true;
            }
            Asked::Answered {
                instance_id,
                tag: value,
            } => {
                self.instance_id = Some(instance_id);
                match value {
                    Ok(value) => self.tag = Some((tag.into(), value)),
                    Err(why) => self.tried.push(format!("the instance tag {tag} ({why})")),
                }
            }
        }
    }

    /// The server that this box is, and how that was found: `the setting node`, `the instance id i-…`,
    /// `the tag agentd-node`, `the host name web-1`.
    ///
    /// Retired servers are found too: their boxes have to clean up. But where one clue leads to several servers, an
    /// active one comes before one that drains, and that before a retired one: what a machine was once must not
    /// clean up what it is now. A name that a person set and that the document does not have is nobody: guessing
    /// on would make this box another server. So is a name whose server has another instance id than this box:
    /// that is the machine which replaced it.
    pub fn find(&self, fleet: &Fleet) -> Option<(Name, String)> {
        if let Some(name) = &self.setting {
            let known = fleet.servers.contains_key(name);
            return known.then(|| (name.clone(), "the setting node".into()));
        }
        if let Some(id) = &self.instance_id {
            let servers = fleet.servers.iter().filter(|(_, server)| {
                server
                    .instance
                    .as_ref()
                    .is_some_and(|instance| instance.as_str() == id)
            });
            if let Some((name, _)) = most_active(servers) {
                return Some((name.clone(), format!("the instance id {id}")));
            }
        }
        if let Some((tag, value)) = &self.tag
            && let Some((name, _)) = self.named(fleet, value)
        {
            return Some((name.clone(), format!("the tag {tag}")));
        }
        let (name, _) = most_active(
            self.hostnames
                .iter()
                .filter_map(|host| self.named(fleet, host)),
        )?;
        Some((name.clone(), format!("the host name {name}")))
    }

    /// The server called `text`, unless it is another machine than this one.
    fn named<'f>(&self, fleet: &'f Fleet, text: &str) -> Option<(&'f Name, &'f Server)> {
        let (name, server) = fleet.servers.get_key_value(text)?;
        (!self.is_another(server)).then_some((name, server))
    }

    /// Whether the document says that `server` is a machine with another instance id than this one's.
    fn is_another(&self, server: &Server) -> bool {
        match (&self.instance_id, &server.instance) {
            (Some(own), Some(instance)) => instance.as_str() != own,
            _ => false,
        }
    }

    /// Why `fleet` has no server for this box: what was tried, and what to do.
    pub fn not_found(&self, fleet: &Fleet) -> String {
        let document = format!("version {} of fleet {}", fleet.version, fleet.fleet);
        if let Some(name) = &self.setting {
            let servers = fleet.servers.keys().map(Name::as_str);
            let near = nearest(name.as_str(), servers)
                .map_or_else(String::new, |server| format!(" (did you mean {server}?)"));
            return format!(
                "{document} has no server {name}, which the setting node says this box is{near}: add it to the document, or correct node in agentd.toml"
            );
        }
        let mut tried = Vec::new();
        tried.extend(
            self.instance_id
                .iter()
                .map(|id| format!("the instance id {id}")),
        );
        tried.extend(
            self.tag
                .iter()
                .map(|(tag, value)| format!("the tag {tag}={value}")),
        );
        tried.extend(
            self.hostnames
                .iter()
                .map(|host| format!("the host name {host}")),
        );
        tried.extend(self.tried.iter().cloned());
        let names = self.tag.iter().map(|(_, value)| value);
        let replaced = names
            .chain(&self.hostnames)
            .find_map(|name| Some((name, fleet.servers.get(name.as_str())?.instance.as_ref()?)));
        if let (Some(own), Some((name, instance))) = (&self.instance_id, replaced) {
            return format!(
                "no server in {document} is this box, whose instance id is {own}: {name} is {instance} there; if this box is {name}, correct \"instance\" of {name} in the document"
            );
        }
        let how = match (&self.instance_id, self.hostnames.last()) {
            (Some(id), _) => format!("add a server with \"instance\": \"{id}\" to the document"),
            (None, Some(host)) => format!("add the server {host} to the document"),
            (None, None) => "add it to the document".into(),
        };
        format!(
            "no server in {document} is this box; tried {}: {how}, or set node in agentd.toml",
            tried.join(", ")
        )
    }
}

/// The first by name of the most active of `servers`.
fn most_active<'f>(
    servers: impl Iterator<Item = (&'f Name, &'f Server)>,
) -> Option<(&'f Name, &'f Server)> {
    servers.min_by_key(|(name, server)| {
        let rank = match server.state {
            ServerState::Active => 0,
            ServerState::Draining => 1,
            ServerState::Retired => 2,
        };
        (rank, *name)
    })
}

/// The host name. Under a root the machine's own name means nothing: what counts is the image's.
pub fn hostname(root: &Root) -> std::io::Result<String> {
    let path = if root.is_machine() {
        "/proc/sys/kernel/hostname"
    } else {
        "/etc/hostname"
    };
    let path = root.real(Path::new(path));
    let text = std::fs::read_to_string(&path).map_err(|error| {
        std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    })?;
    match text.trim() {
        "" | "(none)" => Err(std::io::Error::other("none is set")),
        name => Ok(name.into()),
    }
}

/// Whether the firmware says that this is an EC2 instance. Elsewhere nobody may answer at the link-local address,
/// and each start would wait in vain.
fn is_ec2(root: &Root) -> bool {
    let read = |path: &str| std::fs::read_to_string(root.real(Path::new(path))).unwrap_or_default();
    ["sys_vendor", "board_vendor", "bios_vendor"]
        .iter()
        .any(|file| read(&format!("/sys/class/dmi/id/{file}")).contains("Amazon"))
        || read("/sys/hypervisor/uuid")
            .to_ascii_lowercase()
            .starts_with("ec2")
}

/// The switch that all AWS tools know.
fn metadata_is_disabled() -> bool {
    std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests;
